"""Does a loss fall? A test that asks for no shape of the descent and knows no scale."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

BLOCKS = 12
"""Means that a window is cut into: noise averages out inside, and 12 in falling order come by chance once in 5e8."""

NORMAL = 1.4826
"""Standard deviation of normal numbers over the median of their sizes."""


@dataclass(frozen=True)
class LossTrend:
    """The loss over a window of steps, and since the start.

    Attributes:
        first: the first loss of the run: it can explode in one step.
        start: the loss at the start of the run, a mean over its first values.
        now: mean of the last quarter of the window.
        change: over the window, by the median slope of all pairs of block means (Sen 1968), which a spike can't turn.
        p_falling: p-value of "the loss does not fall", by Kendall's tau of the block means against time, one-sided and
            exact (Mann 1945): a falling curve of any shape has the smallest there is, white noise a uniform one.
            Noise that stays correlated for longer than a block, an eighth of a window or more, makes it too small.
        noise: standard deviation of single losses, from the median size of their differences to the next, so that
            neither a trend nor a spike counts.
        steps: length of the window.
        finite: whether every value is.
    """

    first: float
    start: float
    now: float
    change: float
    p_falling: float
    noise: float
    steps: int
    finite: bool

    @property
    def rate(self) -> float:
        """Fall of the loss per step; negative where it rises."""
        return -self.change / max(1, self.steps - 1)

    @property
    def fall(self) -> float:
        """From the start to now, as far as it is beyond two standard errors of a mean over a quarter of the window."""
        error = 2 * self.noise * math.sqrt(2 / max(1, self.steps // 4)) if self.steps > 3 else 0.0
        return self.start - self.now - error

    @classmethod
    def of(cls, losses: Sequence[float], beginning: Sequence[float] = ()) -> LossTrend:
        """The trend of these losses, one a step; at least four are needed for one.

        Args:
            losses: in their order.
            beginning: the first losses of the run, where they are not among them.
        """
        values = np.asarray(losses, dtype=float)
        if not len(values):
            return cls(math.nan, math.nan, math.nan, math.nan, 1.0, math.nan, 0, True)
        now = float(values[-max(1, len(values) // 4) :].mean())
        first = float(beginning[0] if len(beginning) else values[0])
        start = float(np.mean(beginning)) if len(beginning) else first
        if not np.isfinite(values).all() or len(values) < 4:
            return cls(first, start, now, math.nan, 1.0, math.nan, len(values), bool(np.isfinite(values).all()))
        means = np.array([part.mean() for part in np.array_split(values, min(BLOCKS, len(values)))])
        earlier, later = np.triu_indices(len(means), 1)
        differences = means[later] - means[earlier]
        slope = float(np.median(differences / (later - earlier)))
        steps = np.diff(values)
        noise = float(np.median(np.abs(steps - np.median(steps)))) * NORMAL / math.sqrt(2)
        falls = float((differences < 0).sum() + (differences == 0).sum() / 2)
        return cls(first, start, now, slope * (len(means) - 1), p_of_falls(falls, len(means)), noise, len(values), True)


def p_of_falls(falls: float, n: int) -> float:
    """Probability that n values in random order have at least this many pairs of which the later is the lower."""
    counts = _inversions(n)
    return float(counts[max(0, math.ceil(falls)) :].sum() / counts.sum())


@lru_cache(maxsize=64)
def _inversions(n: int) -> np.ndarray:
    """How many of n! orders have 0, 1, 2, ... inverted pairs: the coefficients of prod_k (1 + x + ... + x^(k-1))."""
    counts = np.ones(1)
    for k in range(2, n + 1):
        counts = np.convolve(counts, np.ones(k))
    return counts
