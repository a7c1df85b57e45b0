"""From the simulator to the machine: jobs that are paid once, written down, and found again."""

from torchbp.hardware.attempt import Attempt, Cost
from torchbp.hardware.backoff import Backoff
from torchbp.hardware.budget import Budget, Price
from torchbp.hardware.calibration import Calibration, CalibrationDrift
from torchbp.hardware.jobs import JobRunner
from torchbp.hardware.ledger import Ledger
from torchbp.hardware.service import LocalService, Service, Usage

__all__ = [
    "Attempt",
    "Backoff",
    "Budget",
    "Calibration",
    "CalibrationDrift",
    "Cost",
    "JobRunner",
    "Ledger",
    "LocalService",
    "Price",
    "Service",
    "Usage",
]
