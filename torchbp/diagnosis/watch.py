"""When is a verdict due? Keeps the history of a run that a trend needs, and the patience. No Trainer, no torch."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import asdict, replace
from typing import Any

from torchbp.diagnosis.evidence import Evidence, LossTrend
from torchbp.diagnosis.plateau import Diagnosis, Thresholds, Verdict, diagnose, improves
from torchbp.gradients.stats import LayerSummary

MOST_LOSSES = 8192
"""Training steps that a trend looks back over at most: what is kept of a long run, and saved."""


class Watch:
    """Follows losses and measurements, and asks for an investigation after a sustained lack of progress.

    Args:
        patience: measurements in a row without progress before an investigation; a spike is none.
        window: measurements that a trend is judged over.
        cooldown: measurements from one investigation to the next.
        thresholds, target: see `diagnose`, `Evidence`.
    """

    def __init__(
        self, patience: int, window: int, cooldown: int, thresholds: Thresholds, target: float | None = None
    ) -> None:
        self.patience, self.window, self.cooldown = patience, window, cooldown
        self.thresholds, self.target = thresholds, target
        self.restart()

    def restart(self) -> None:
        """Forget the run so far: what a remedy calls after it has changed the weights."""
        self._start: float | None = None
        self._losses: list[float] = []
        self._seen = 0  # losses so far, of which the latest are kept
        self._marks: list[int] = []  # the same at each measurement
        self._layers: list[tuple[LayerSummary, ...]] = []
        self._flips: list[float] = []
        self._stalled = 0
        self._rest = 0

    def see_loss(self, loss: float) -> None:
        """The loss of one more training step."""
        self._start = loss if self._start is None else self._start
        self._losses.append(loss)
        self._seen += 1
        if len(self._losses) > 2 * MOST_LOSSES:
            del self._losses[:-MOST_LOSSES]

    def see_measurement(self, layers: tuple[LayerSummary, ...], flips: float | None = None) -> None:
        """One more measurement of the layers, and the share of resolved gradients that flipped sign since the last."""
        self._marks = [*self._marks, self._seen][-self.window - 1 :]
        self._layers = [*self._layers, layers][-self.window :]
        if flips is not None:
            self._flips = [*self._flips, flips][-self.window :]

    @property
    def ready(self) -> bool:
        """Whether a whole window has been seen."""
        return len(self._layers) >= self.window and len(self._marks) > self.window

    def evidence(self, step: int, scale: float, dead: tuple[str, ...] = (), drift: float | None = None) -> Evidence:
        """What is known without any evaluation of its own."""
        steps = self._seen - self._marks[0] if self._marks else self._seen
        return Evidence(
            step=step,
            layers=pooled(self._layers),
            loss=LossTrend.of(self._losses, max(4, steps), self._start) if self._losses else _NO_LOSS,
            scale=scale,
            sign_flips=statistics.fmean(self._flips) if self._flips else None,
            dead=dead,
            target=self.target,
            drift=drift,
        )

    def judge(self, evidence: Evidence, thresholds: Thresholds | None = None) -> tuple[Diagnosis | None, bool]:
        """A verdict that needs no more evidence, if there is one, and whether to investigate now.

        Args:
            evidence: see `evidence`.
            thresholds: instead of those it was made with.
        """
        thresholds = thresholds or self.thresholds
        quick = diagnose(evidence, thresholds)
        if quick.verdict is Verdict.DIVERGING:
            return quick, False
        if not self.ready:
            return None, False
        self._rest = max(0, self._rest - 1)
        if quick.verdict is Verdict.HEALTHY and improves(evidence, thresholds):
            self._stalled = 0
            return quick, False
        self._stalled += 1
        due = self._stalled >= self.patience and not self._rest
        if due:
            self._rest = self.cooldown
        return None, due

    def state_dict(self) -> dict[str, Any]:
        """All it has seen, as primitives."""
        return {
            "start": self._start,
            "losses": self._losses[-2 * MOST_LOSSES :],
            "counters": [self._seen, self._stalled, self._rest],
            "marks": list(self._marks),
            "layers": [[asdict(layer) for layer in layers] for layers in self._layers],
            "flips": list(self._flips),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """What `state_dict` saved."""
        self.restart()
        self._start, self._losses = state["start"], list(state["losses"])
        self._seen, self._stalled, self._rest = state["counters"]
        self._marks, self._flips = list(state["marks"]), list(state["flips"])
        self._layers = [tuple(LayerSummary(**layer) for layer in layers) for layers in state["layers"]]


_NO_LOSS = LossTrend(math.nan, math.nan, math.nan, 1.0, math.nan, 0.0, math.nan, 1.0, True)


def pooled(measurements: Sequence[tuple[LayerSummary, ...]]) -> tuple[LayerSummary, ...]:
    """The layers of the last measurement with the medians, over all measurements, of SNR, magnitude and signal.

    Medians of measurements, not statistics of their mean: a gradient that turns from one step to the next averages
    to nothing, while each measurement sees it clearly.
    """
    if not measurements:
        return ()
    out = []
    for layer in measurements[-1]:
        same = [x for layers in measurements for x in layers if x.name == layer.name]
        snr, median_abs, signal = (_median([getattr(x, n) for x in same]) for n in ("snr", "median_abs", "signal"))
        out.append(replace(layer, snr=snr, median_abs=median_abs, signal=signal))
    return tuple(out)


def _median(values: list[float]) -> float:
    known = [v for v in values if not math.isnan(v)]
    return statistics.median(known) if known else math.nan
