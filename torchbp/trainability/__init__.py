"""Will it train? Answers before the first step: scaling of variances, Lie algebras, entanglement, landscapes."""

from torchbp.trainability.lie_algebra import LieAlgebra, lie_algebra
from torchbp.trainability.lie_growth import LieGrowth, lie_growth
from torchbp.trainability.moments import VarianceEstimate, variance_of
from torchbp.trainability.precheck import precheck
from torchbp.trainability.precheck_result import Precheck
from torchbp.trainability.scaling import ScalingFit, fit_scaling
from torchbp.trainability.scan import Progress, variance_scan
from torchbp.trainability.scan_result import ScanRow, VarianceScan

__all__ = [
    "LieAlgebra",
    "LieGrowth",
    "Precheck",
    "Progress",
    "ScalingFit",
    "ScanRow",
    "VarianceEstimate",
    "VarianceScan",
    "fit_scaling",
    "lie_algebra",
    "lie_growth",
    "precheck",
    "variance_of",
    "variance_scan",
]
