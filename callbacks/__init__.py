"""Lightning callbacks that watch and treat the quantum layers, one file each."""

from torchbp.callbacks.adaptive_shots import AdaptiveShots
from torchbp.callbacks.gradient_free_fallback import GradientFreeFallback
from torchbp.callbacks.gradient_snr_monitor import GradientSNRMonitor
from torchbp.callbacks.initialization_reset import InitializationReset
from torchbp.callbacks.layerwise_training import LayerwiseTraining
from torchbp.callbacks.natural_gradient import NaturalGradient
from torchbp.callbacks.on_trial import OnTrial
from torchbp.callbacks.plateau_detector import PlateauDetector
from torchbp.callbacks.plateau_guard import PlateauGuard
from torchbp.callbacks.plateau_stopping import PlateauStopping
from torchbp.callbacks.remedy import Remedy
from torchbp.callbacks.shot_budget import ShotBudget
from torchbp.callbacks.shot_ledger import ShotLedger

__all__ = [
    "AdaptiveShots",
    "GradientFreeFallback",
    "GradientSNRMonitor",
    "InitializationReset",
    "LayerwiseTraining",
    "NaturalGradient",
    "OnTrial",
    "PlateauDetector",
    "PlateauGuard",
    "PlateauStopping",
    "Remedy",
    "ShotBudget",
    "ShotLedger",
]
