"""What a propagation has left out, and how wrong it can make the values."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor


class TruncationWarning(UserWarning):
    """Values of a truncated propagation that what was left out could have changed altogether."""


@dataclass(frozen=True, eq=False)
class Truncation:
    """The strings a call dropped, for each sample and observable, float64.

    Attributes:
        bound: (B, M), the sum of |c| over the dropped strings. Whatever becomes of a string later, its expectation
            value stays within [-1, 1], with noise too, so no value is further than this from the exact one.
        estimate: (B, M), the root of the sum of c^2: the error where the dropped strings' expectation values are of
            independent signs and as large as can be. Not a bound.
        most_terms: the largest number of strings there were at once.
    """

    bound: Tensor
    estimate: Tensor
    most_terms: int

    @property
    def exact(self) -> bool:
        """Whether nothing was dropped."""
        return not bool(self.bound.any())

    def __str__(self) -> str:
        if self.exact:
            return f"nothing dropped of {self.most_terms:,} strings"
        return (
            f"at most {self.most_terms:,} strings; error estimate {float(self.estimate.max()):.2g}, "
            f"bound {float(self.bound.max()):.2g}"
        )
