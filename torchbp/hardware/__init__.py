"""From the simulator to the machine: circuits as Qiskit has them, and jobs that are paid once and found again."""

from torchbp.hardware.calibration import Calibration, CalibrationDrift
from torchbp.hardware.comparison import Comparison, Measurement, compare
from torchbp.hardware.jobs.attempt import Attempt, Cost
from torchbp.hardware.jobs.backoff import Backoff
from torchbp.hardware.jobs.budget import Budget, Price
from torchbp.hardware.jobs.ibm import IBMService
from torchbp.hardware.jobs.ledger import Ledger
from torchbp.hardware.jobs.rehearsal import RehearsalService
from torchbp.hardware.jobs.runner import JobRunner
from torchbp.hardware.jobs.service import LocalService, Service, Usage
from torchbp.hardware.mitigation import MITIGATIONS, Mitigation
from torchbp.hardware.qiskit.export import QiskitExport, to_qiskit
from torchbp.hardware.qiskit.files import export, load
from torchbp.hardware.qiskit_backend import QiskitBackend
from torchbp.translation.qiskit.reading import from_qiskit

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
