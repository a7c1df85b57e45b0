"""From the simulator to the machine: jobs that are paid once, written down, and found again."""

from torchbp.hardware.attempt import Attempt, Cost
from torchbp.hardware.budget import Budget, Price
from torchbp.hardware.calibration import Calibration, CalibrationDrift
from torchbp.hardware.ledger import Ledger

__all__ = ["Attempt", "Budget", "Calibration", "CalibrationDrift", "Cost", "Ledger", "Price"]
