"""Will it train? Answers before the first step: scaling of variances, entanglement, landscapes."""

from torchbp.trainability.moments import VarianceEstimate, variance_of
from torchbp.trainability.scaling import ScalingFit, fit_scaling
from torchbp.trainability.scan import Progress, variance_scan
from torchbp.trainability.scan_result import ScanRow, VarianceScan

__all__ = [
    "Progress",
    "ScalingFit",
    "ScanRow",
    "VarianceEstimate",
    "VarianceScan",
    "fit_scaling",
    "variance_of",
    "variance_scan",
]
