"""Will it train? Answers before the first step: scaling of variances, Lie algebras, entanglement, landscapes."""

from torchbp.diagnosis.light_cone import LightCone, light_cone
from torchbp.trainability.algebras.lie_algebra import LieAlgebra, lie_algebra
from torchbp.trainability.algebras.lie_growth import LieGrowth, lie_growth
from torchbp.trainability.curvature import Curvatures, curvatures
from torchbp.trainability.entanglement import (
    EntanglementEntropy,
    EntanglingCapability,
    entanglement_entropy,
    entangling_capability,
)
from torchbp.trainability.expressibility import Expressibility, expressibility
from torchbp.trainability.information_content import InformationContent, information_content
from torchbp.trainability.landscape import Landscape, Path, landscape, training_path
from torchbp.trainability.prechecks.precheck import precheck
from torchbp.trainability.prechecks.result import Precheck
from torchbp.trainability.scans.moments import VarianceEstimate, variance_of
from torchbp.trainability.scans.result import ScanRow, VarianceScan
from torchbp.trainability.scans.scaling import ScalingFit, fit_scaling
from torchbp.trainability.scans.scan import Progress, variance_scan
from torchbp.trainability.search import Search, Standing, search

__all__ = [
    "Curvatures",
    "EntanglementEntropy",
    "EntanglingCapability",
    "Expressibility",
    "InformationContent",
    "Landscape",
    "LieAlgebra",
    "LieGrowth",
    "LightCone",
    "Path",
    "Precheck",
    "Progress",
    "ScalingFit",
    "ScanRow",
    "Search",
    "Standing",
    "VarianceEstimate",
    "VarianceScan",
    "curvatures",
    "entanglement_entropy",
    "entangling_capability",
    "expressibility",
    "fit_scaling",
    "information_content",
    "landscape",
    "lie_algebra",
    "lie_growth",
    "light_cone",
    "precheck",
    "search",
    "training_path",
    "variance_of",
    "variance_scan",
]
