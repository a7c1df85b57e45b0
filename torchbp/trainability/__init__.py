"""Will it train? Answers before the first step: scaling of variances, entanglement, landscapes."""

from torchbp.trainability.lie_algebra import LieAlgebra, lie_algebra
from torchbp.trainability.lie_growth import LieGrowth, lie_growth

__all__ = [
    "LieAlgebra",
    "LieGrowth",
    "lie_algebra",
    "lie_growth",
]
