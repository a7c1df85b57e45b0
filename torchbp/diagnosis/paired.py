"""Is one state of a model better than another? Decided from losses of both on the same batches, pair by pair."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum

import numpy as np
from scipy.special import stdtrit

from torchbp.errors import InputError

_ROUNDING = 2.0**-20
"""Of a loss: what the sums of a float32 evaluation leave open."""


class Decision(str, Enum):
    """What a paired comparison came to."""

    BETTER = "better"
    WORSE = "worse"
    UNDECIDED = "undecided"


@dataclass(frozen=True)
class Comparison:
    """Losses before and after, and the confidence interval of their difference.

    Attributes:
        n: pairs.
        before, after: mean losses; NaN where no pair is finite.
        low, high: confidence interval of after - before.
        level: of the interval, two-sided: "better" and "worse" are each wrong with a probability of (1 - level) / 2.
    """

    n: int
    before: float
    after: float
    low: float
    high: float
    level: float

    @property
    def decision(self) -> Decision:
        """Better or worse where the interval lies on one side of zero."""
        if self.high < 0:
            return Decision.BETTER
        return Decision.WORSE if self.low > 0 else Decision.UNDECIDED

    def __str__(self) -> str:
        losses = f"the loss is {self.after:.4g}, against {self.before:.4g}"
        if math.isinf(self.high - self.low) or self.n < 2:
            return losses
        return f"{losses} (difference {self.low:+.2g} to {self.high:+.2g})"


def compare(before: Sequence[float], after: Sequence[float], level: float = 0.95) -> Comparison:
    """Student's t interval of the mean difference: d ± t_{(1+level)/2, n-1} s / sqrt(n), d = mean(after - before).

    Pairs share a batch and random numbers, so what both losses have in common cancels. Equal differences have an
    interval of no width but what a float32 loss leaves open. One pair decides nothing: its spread is not known. Of a
    pair in which one loss is not finite the other one is better, and that decides; both say nothing.

    Args:
        before, after: losses of the same batches, in the same order; lower is better.
        level: between 0 and 1.

    Raises:
        InputError: sequences of different length, or a level outside of 0 to 1.

    What it takes: pairs that are independent, and a mean difference that is nearly normal. It says nothing about
    batches unlike these, nor about where either state would go from here.
    """
    if len(before) != len(after):
        raise InputError(f"Losses come in pairs: got {len(before)} before and {len(after)} after.")
    if not 0 < level < 1:
        raise InputError(f"A confidence level lies between 0 and 1, got {level}.")
    old, new = np.asarray(before, dtype=float), np.asarray(after, dtype=float)
    known = np.isfinite(old) & np.isfinite(new)
    lost, found = (int((np.isfinite(a) & ~np.isfinite(b)).sum()) for a, b in ((old, new), (new, old)))
    old, new = old[known], new[known]
    n = len(old)
    means = (float(old.mean()), float(new.mean())) if n else (math.nan, math.nan)
    if lost != found:
        side = math.inf if lost > found else -math.inf
        return Comparison(n, *means, side, side, level)
    if n < 2:
        return Comparison(n, *means, -math.inf, math.inf, level)
    difference = new - old
    width = float(stdtrit(n - 1, (1 + level) / 2)) * float(difference.std(ddof=1)) / math.sqrt(n)
    width += _ROUNDING * float(np.abs([old, new]).max())
    middle = float(difference.mean())
    return Comparison(n, *means, middle - width, middle + width, level)
