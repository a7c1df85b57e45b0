"""From the simulator to the machine: circuits as Qiskit has them, and jobs that are paid once and found again."""

from torchbp.hardware.attempt import Attempt, Cost
from torchbp.hardware.backoff import Backoff
from torchbp.hardware.budget import Budget, Price
from torchbp.hardware.calibration import Calibration, CalibrationDrift
from torchbp.hardware.comparison import Comparison, Measurement, compare
from torchbp.hardware.files import export, load
from torchbp.hardware.ibm import IBMService
from torchbp.hardware.jobs import JobRunner
from torchbp.hardware.ledger import Ledger
from torchbp.hardware.mitigation import MITIGATIONS, Mitigation
from torchbp.hardware.qiskit_backend import QiskitBackend
from torchbp.hardware.qiskit_export import QiskitExport, to_qiskit
from torchbp.hardware.qiskit_import import from_qiskit
from torchbp.hardware.rehearsal import RehearsalService
from torchbp.hardware.service import LocalService, Service, Usage

__all__ = [
    "MITIGATIONS",
    "Attempt",
    "Backoff",
    "Budget",
    "Calibration",
    "CalibrationDrift",
    "Comparison",
    "Cost",
    "IBMService",
    "JobRunner",
    "Ledger",
    "LocalService",
    "Measurement",
    "Mitigation",
    "Price",
    "QiskitBackend",
    "QiskitExport",
    "RehearsalService",
    "Service",
    "Usage",
    "compare",
    "export",
    "from_qiskit",
    "load",
    "to_qiskit",
]
