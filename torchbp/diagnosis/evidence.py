"""What is known about a run when a verdict is due: plain values, gathered elsewhere, judged in `plateau`."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from scipy.special import stdtr

from torchbp.diagnosis.concentration import Concentration
from torchbp.gradients.stats import LayerSummary


@dataclass(frozen=True)
class LossTrend:
    """The loss over a window of steps, and since the start.

    Attributes:
        start: the first value of the run: a loss can explode in one step.
        now: mean of the last quarter of the window.
        slope: least-squares change over the whole window.
        p_falling: p-value of "the loss does not fall", from the slope's t-statistic with the number of independent
            values reduced by the residuals' autocorrelation.
        noise: standard deviation around the line.
        alternation: lag-1 autocorrelation of the residuals: near -1 for a zigzag, 0 for noise, near 1 for a curve.
        half_change, half_p_falling: the same over the latter half of the run, or the window if that is longer.
        finite: whether every value is.
    """

    start: float
    now: float
    slope: float
    p_falling: float
    noise: float
    alternation: float
    half_change: float
    half_p_falling: float
    finite: bool

    @classmethod
    def of(cls, losses: Sequence[float], window: int, start: float | None = None) -> LossTrend:
        """The trend of the last `window` of these losses; at least four are needed for a slope.

        Args:
            losses: of the latest steps, in their order.
            window: how many of them to judge by.
            start: the first loss of the run, where that is not among them.
        """
        values = np.asarray(losses, dtype=float)
        recent = values[-window:]
        quarter = max(1, len(recent) // 4)
        first, now = float(values[0]) if start is None else start, float(recent[-quarter:].mean())
        if not np.isfinite(values).all() or len(recent) < 4:
            finite = bool(np.isfinite(recent).all())
            return cls(first, now, math.nan, 1.0, math.nan, 0.0, math.nan, 1.0, finite)
        line, half = _Line.through(recent), _Line.through(values[-max(window, len(values) // 2) :])
        return cls(
            first,
            now,
            line.change,
            line.p_falling,
            line.noise,
            line.alternation,
            half.change,
            half.p_falling,
            True,
        )


@dataclass(frozen=True)
class _Line:
    """A least-squares line through equally spaced values: its change from end to end, and the residuals."""

    change: float
    p_falling: float
    noise: float
    alternation: float

    @classmethod
    def through(cls, values: np.ndarray) -> _Line:
        x = np.arange(len(values)) / (len(values) - 1) - 0.5
        change = float(x @ values / (x @ x))
        residuals = values - values.mean() - change * x
        power = float(residuals @ residuals)
        alternation = float(residuals[1:] @ residuals[:-1] / power) if power > 0 else 0.0
        noise = math.sqrt(power / (len(values) - 2))
        repeated = max(alternation, 0.0)  # correlated residuals are fewer than they seem
        independent = max(3.0, len(values) * (1 - repeated) / (1 + repeated))
        error = noise * math.sqrt(len(values) / independent / float(x @ x))
        p_falling = float(stdtr(independent - 2, change / error)) if error > 0 else float(change >= 0)
        return cls(change, p_falling, noise, alternation)


@dataclass(frozen=True)
class LossLandscape:
    """The loss on one batch at random quantum weights: its mean, spread and the share of points better than here."""

    here: float
    mean: float
    std: float
    share_better: float


@dataclass(frozen=True)
class Curvature:
    """Second derivatives of the loss along single weights: how many were probed, and the share that is positive."""

    probed: int
    share_positive: float
    median: float


@dataclass(frozen=True)
class ShotSignal:
    """What finite shots do to the gradient: medians over weights at the present point.

    Attributes:
        shots: shots for each circuit now.
        snr: SNR of the mean parameter-shift gradient at these shots.
        shots_to_resolve: shots at which it would reach 3; inf where there is no gradient at all.
    """

    shots: int
    snr: float
    shots_to_resolve: float


@dataclass(frozen=True)
class Evidence:
    """All that a verdict may rest on; None is "not gathered", and the verdict is then the less certain.

    Attributes:
        step: training steps so far.
        layers: the layers' gradients, pooled over the window.
        loss: its trend.
        scale: what the loss could change by: sum_m |dL/dy_m| times the bound of output y_m, mean over the batch. The
            largest that was measured: it does not shrink with the loss.
        sign_flips: share of resolved gradients whose sign changed from one measurement to the next.
        concentration: of the quantum layer's output, as it runs (with its noise).
        noiseless: the same without the noise model, where there is one.
        entanglement: subsystem Rényi-2 entropy over the Page value.
        landscape: the loss at random points.
        curvature: of the loss.
        shots: exact against finite-shot gradient, where the layer has finite shots.
        dead: layers whose gradient is exactly zero, with the reason if it is known.
        target: loss at which the task counts as solved.
        baseline: the layers' gradients against comparable runs, in standard deviations of the logarithm.
        drift: shift of a fixed reference circuit since the start, in standard errors.
    """

    step: int
    layers: tuple[LayerSummary, ...]
    loss: LossTrend
    scale: float
    sign_flips: float | None = None
    concentration: Concentration | None = None
    noiseless: Concentration | None = None
    entanglement: float | None = None
    landscape: LossLandscape | None = None
    curvature: Curvature | None = None
    shots: ShotSignal | None = None
    dead: tuple[str, ...] = ()
    target: float | None = None
    drift: float | None = None
    baseline: Mapping[str, float] = field(default_factory=dict)

    @property
    def quantum(self) -> tuple[LayerSummary, ...]:
        """The quantum layers only: a large classical head must never hide a quantum plateau."""
        return tuple(layer for layer in self.layers if layer.kind == "quantum")
