"""Lightning callbacks that watch and treat the quantum layers, one file each."""

from torchbp.callbacks.gradient_snr_monitor import GradientSNRMonitor
from torchbp.callbacks.plateau_detector import PlateauDetector
from torchbp.callbacks.shot_ledger import ShotLedger

__all__ = ["GradientSNRMonitor", "PlateauDetector", "ShotLedger"]
