"""Lightning callbacks that watch and treat the quantum layers, one file each."""

from torchbp.callbacks.gradient_snr_monitor import GradientSNRMonitor

__all__ = ["GradientSNRMonitor"]
