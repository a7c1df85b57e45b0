"""What is known about a run when a verdict is due: plain values, gathered elsewhere, judged in `plateau`."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

from torchbp.diagnosis.concentration import Concentration
from torchbp.diagnosis.trend import LossTrend
from torchbp.gradients.stats import LayerSummary


@dataclass(frozen=True)
class LossLandscape:
    """The loss on one batch at random weights of a layer: its mean, spread and the share of points better than here.

    NaN where the backend has no answer at random weights.
    """

    here: float
    mean: float
    std: float
    share_better: float


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
class Gain:
    """How much lower the loss is at other weights, on batches that had no part in finding them.

    Attributes:
        mean: of the paired differences over parts of the batches; negative where it is higher there.
        error: their standard error; 0 where all parts agree, as for a loss without data.
        count: parts compared.
    """

    mean: float
    error: float
    count: int

    def exceeds(self, line: float, errors: float = 3.0) -> bool:
        """Whether it is above a line by so many standard errors."""
        return self.mean - errors * self.error > line

    def stays_below(self, line: float, errors: float = 2.0) -> bool:
        """Whether it is below a line by so many standard errors; False where it is not a number."""
        return self.mean + errors * self.error < line


@dataclass(frozen=True)
class Descent:
    """What going down from here brings: with exact expectation values, all trained weights, on held batches.

    Attributes:
        gain: of the best point on the way.
        overshoot: loss at the end of one step of the optimizer's own length along the quantum gradient, above the
            present one; NaN where no step was seen.
        shorter: the same for the best of shorter steps: negative where one of them leads down.
        evaluations: of the loss and its gradient.
    """

    gain: Gain
    overshoot: float = math.nan
    shorter: float = math.nan
    evaluations: int = 0


@dataclass(frozen=True)
class Elsewhere:
    """The same descent from other weights of the quantum layers: how much lower than here it ends, at the best."""

    starts: int
    gain: Gain


@dataclass(frozen=True)
class LayerEvidence:
    """What is known about one quantum module.

    Attributes:
        path: of the module in its model.
        names: of its circuit layers.
        untrained: why it is not trained; empty if it is.
        n_shots: for each circuit now; None for exact values.
        noisy: whether it has a noise model, which can be left out.
        dead: names of circuit layers that can't change the loss, by structure or as measured.
        matters: whether the loss changes at all with its weights; None: not looked at.
        share: of the loss's fall in the window, what the steps of its weights brought to first order.
        concentration: of its output, as it runs (with its noise).
        noiseless: the same without the noise model, where there is one.
        entanglement: subsystem Rényi-2 entropy over the Page value.
        landscape: the loss at random weights of the module.
        shots: exact against finite-shot gradient, where it has finite shots.
    """

    path: str
    names: tuple[str, ...]
    untrained: str = ""
    n_shots: int | None = None
    noisy: bool = False
    dead: tuple[str, ...] = ()
    matters: bool | None = None
    share: float | None = None
    concentration: Concentration | None = None
    noiseless: Concentration | None = None
    entanglement: float | None = None
    landscape: LossLandscape | None = None
    shots: ShotSignal | None = None


@dataclass(frozen=True)
class Evidence:
    """All that a verdict may rest on; None is "not gathered".

    Attributes:
        step: training steps so far.
        loss: its trend.
        layers: what is known of each quantum module.
        span: what there is to gain or lose: the largest of the fall so far and, over the quantum modules, of the
            distance to the mean loss at random weights and twice its spread. NaN before it was looked for.
        scale: what the loss could change by to first order, see `Passage.scale`.
        horizon: steps ahead that progress is projected over: as many as the run has had, or has left if that is more.
        stalled: how many looks in a row saw no progress.
        patience: how many of them make a doubt.
        measured: the layers' gradients at the last measurement.
        descent, elsewhere: what going down from here, and from other weights, brings.
        noiseless: what going down from here would bring without the noise models.
        target: loss at which the task counts as solved.
        baseline: the layers' gradients against comparable runs, in standard deviations of the logarithm.
        drift: shift of a fixed reference circuit since the start, in standard errors.
        missing: why no experiment can be made; empty if they can.
    """

    step: int
    loss: LossTrend
    layers: tuple[LayerEvidence, ...] = ()
    span: float = math.nan
    scale: float = math.nan
    horizon: int = 1
    stalled: int = 0
    patience: int = 1
    measured: tuple[LayerSummary, ...] = ()
    descent: Descent | None = None
    elsewhere: Elsewhere | None = None
    noiseless: Gain | None = None
    target: float | None = None
    drift: float | None = None
    baseline: Mapping[str, float] = field(default_factory=dict)
    missing: str = ""

    @property
    def whole(self) -> float:
        """The unit of what matters: what there is to gain, and on a plateau, where random weights show nothing of that,
        a tenth of what the outputs could change the loss by."""
        return self.span if math.isnan(self.scale) else max(self.span, self.scale / 10)

    @property
    def doubtful(self) -> bool:
        """Whether progress has been missing for long enough to look into it."""
        return self.stalled >= self.patience

    @property
    def trained(self) -> tuple[LayerEvidence, ...]:
        """The quantum modules that are trained at all."""
        return tuple(layer for layer in self.layers if not layer.untrained)
