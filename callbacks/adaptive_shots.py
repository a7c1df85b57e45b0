"""`AdaptiveShots`: as many shots as it takes to follow the gradient, and no more."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable, Sequence
from typing import Any, ClassVar

from torchbp.arguments import checked
from torchbp.arguments.kinds import anything, each
from torchbp.callbacks.mechanics.budgets import shots_left
from torchbp.callbacks.mechanics.evaluation import agreed
from torchbp.callbacks.mechanics.investigation import quantum_layers
from torchbp.callbacks.mechanics.shot_forecast import ShotForecast
from torchbp.callbacks.mechanics.shot_settings import in_words
from torchbp.callbacks.plateau_detector import PlateauDetector
from torchbp.callbacks.records.measurement import Measurement
from torchbp.callbacks.remedy import Remedy, a_detector
from torchbp.diagnosis.light_cone import belongs_to
from torchbp.diagnosis.verdicts import Diagnosis, Verdict
from torchbp.errors import InputError
from torchbp.gradients.microbatch import SOURCE as MICROBATCH
from torchbp.gradients.stats import RESOLVED
from torchbp.gradients.training import SOURCE as TRAINING
from torchbp.layer import QuantumLayer

RECENT = 4
"""Measurements that an SNR is judged by."""
STRIDE = 4.0
"""At most this many times as many shots from one look to the next, or as few."""
WORTHWHILE = 50
"""Batches that a budget must still pay for after the shots were raised; or as many as there were before, if more."""


class AdaptiveShots(Remedy):
    """Raises the shots of quantum layers that are limited by them, and lowers those that have more than they need.

    The SNR of a gradient grows with the square root of the shots, so a layer that has `snr` at S shots needs about
    S (target_snr / snr)^2. At the verdict shot_limited it gets them, at least twice and at most four times as many as
    it has, up to `max_shots`; if that is not enough, the next verdict says so. Where the SNR was above twice the
    target in a whole window of the detector's measurements, the shots are lowered to what 1.5 times the target needs,
    to a quarter at most in one go.

    A run that seems to have converged while its gradient can't be told from noise may have come as far as its shots
    allow: it gets more of them too, unless the detector has a target and knows better.

    The SNR is the one the monitor measures from the training or from micro-batches, shots and samples together; on
    layers with finite shots it does so by itself. With another source the shots are doubled at a verdict, and never
    lowered.

    Only the layers that the verdict names are concerned, as far as they are trained. Under a `ShotBudget` shots are
    raised only as far as what is left still pays for as many batches as the run has had, and for fifty at least: a run
    is not ended by its cure. Where that, or `max_shots`, would not bring the gradient's SNR to 1 (`Thresholds.snr`),
    they stay as they are, and it is the next remedy's turn. After the fit the layers have the shots they had.

    Args:
        detector: gives the verdicts, see `Remedy`.
        target_snr: of each layer's gradient; 3 is "measurable".
        max_shots, min_shots: for each circuit and measurement group.
        answers, dry_run, name: see `Remedy`.

    Raises:
        InputError: a number that is not positive, or max_shots below min_shots.
        UnknownNameError: no such verdict.

    What it can't do: give a barren plateau a gradient. The shots that one needs grow exponentially with the wires.
    """

    rung: ClassVar[int] = 10

    @checked(detector=a_detector, answers=each(anything))
    def __init__(
        self,
        detector: PlateauDetector | None = None,
        *,
        target_snr: float = RESOLVED,
        max_shots: int = 10_000,
        min_shots: int = 10,
        answers: Iterable[Verdict | str] = (Verdict.SHOT_LIMITED, Verdict.CONVERGED),
        dry_run: bool = False,
        name: str = "",
    ) -> None:
        super().__init__(detector, answers=answers, dry_run=dry_run, name=name)
        if min_shots > max_shots:
            raise InputError(f"1 <= min_shots <= max_shots must hold, got {min_shots} and {max_shots}.")
        self.target_snr, self.max_shots, self.min_shots = target_snr, max_shots, min_shots
        self._changed = 0  # step of the latest change: measurements before it are at other shots
        self._looked = -1  # step of the latest measurement that was looked at
        self._layers: dict[str, QuantumLayer] = {}
        self._forecast = ShotForecast()

    @property
    def available(self) -> bool:
        return any(layer.shots is not None and layer.shots < self.max_shots for layer in self._layers.values())

    def suits(self, trainer: Any, module: Any, batch: Any, batch_idx: int, diagnosis: Diagnosis) -> bool:
        if diagnosis.verdict is Verdict.CONVERGED and (
            self.detector.target is not None or not any(self._snr(path) < 1 for path in self._layers)
        ):
            return False
        now = max((layer.shots or 0 for layer in self._concerned(trainer, module, diagnosis).values()), default=0)
        if not now:
            return False
        needed = diagnosis.shots_for(self.detector.thresholds.snr)
        if math.isnan(needed):
            return True
        return needed <= min(self.max_shots, now * self._affordable(trainer, module, batch, batch_idx))

    def describe(self, diagnosis: Diagnosis) -> str:
        now = {path: layer.shots for path, layer in self._layers.items() if layer.shots is not None}
        wanted = {path: self._raised(path, shots) for path, shots in now.items()}
        return f"raise the shots for each circuit from {in_words(now)} to {in_words(wanted)}"

    def act(self, trainer: Any, module: Any, batch: Any, batch_idx: int, diagnosis: Diagnosis) -> None:
        factor = agreed(trainer, self._affordable(trainer, module, batch, batch_idx))
        concerned = self._concerned(trainer, module, diagnosis)
        before = {path: layer.shots for path, layer in concerned.items()}
        snr = {path: self._snr(path) for path in concerned}

        def rule(path: str, shots: int) -> int:
            return max(shots, int(min(self._raised(path, shots), shots * factor))) if path in concerned else shots

        changed = self.shots.change(module, rule)
        self._changed = self.step
        if not changed:
            text = f"The shots stay as they are: more would leave less than {self._worthwhile} batches."
            self.tell(trainer, "shots", text, shots=before, snr=snr, left=shots_left(trainer))
            return
        old = {path: before[path] for path in changed}
        text = f"Raised the shots for each circuit from {in_words(old)} to {in_words(changed)}."
        self.tell(trainer, "shots", text, shots=changed, before=old, snr=snr)

    def advance(self, trainer: Any, module: Any, batch: Any, batch_idx: int) -> None:
        history = self.detector.monitor.history
        if not history or history[-1].step == self._looked or any(remedy.busy for remedy in self._ladder):
            return
        self._looked = history[-1].step
        before = {path: layer.shots for path, layer in self._layers.items() if layer.shots is not None}
        wanted = {path: self._lowered(path, shots) for path, shots in before.items()}
        fewer = {path: shots for path, shots in agreed(trainer, wanted).items() if shots < before[path]}
        if not fewer:
            return
        snr = {path: self._snr(path) for path in fewer}
        old = {path: before[path] for path in fewer}
        self._changed = self.step
        if self.dry_run:
            text = f"Would lower the shots for each circuit from {in_words(old)} to {in_words(fewer)}"
            self.tell(trainer, "dry_run", f"{text}: the gradient is clearer than it needs to be.", snr=snr)
            return
        self.shots.change(module, lambda path, shots: fewer.get(path, shots))
        text = (
            f"Lowered the shots for each circuit from {in_words(old)} to {in_words(fewer)}: the gradient's SNR is above"
        )
        self.tell(trainer, "shots", f"{text} {2 * self.target_snr:g}.", shots=fewer, before=old, snr=snr)

    def on_fit_start(self, trainer: Any, pl_module: Any) -> None:
        super().on_fit_start(trainer, pl_module)
        self._layers = quantum_layers(pl_module)
        self._forecast.forget()

    def restore(self, trainer: Any, module: Any) -> None:
        self._layers = {}

    def state_dict(self) -> dict[str, Any]:
        return super().state_dict() | {"changed": self._changed, "looked": self._looked}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        super().load_state_dict(state_dict)
        self._changed, self._looked = state_dict["changed"], state_dict["looked"]

    @property
    def _recent(self) -> list[Measurement]:
        """The latest measurements, a window at most, that were made at the present shots."""
        return [m for m in self.detector.monitor.history[-RECENT:] if m.step >= self._changed]

    def _snr(self, path: str) -> float:
        """The lowest SNR of the layer's parts, medians over the recent measurements; NaN where it isn't measured."""
        return layer_snr(self._recent, path)

    def _raised(self, path: str, shots: int) -> int:
        return min(self.max_shots, raised(shots, self._snr(path), self.target_snr)) if shots < self.max_shots else shots

    def _lowered(self, path: str, shots: int) -> int:
        recent = self._recent
        if len(recent) < RECENT:
            return shots
        lowest = min((layer_snr([m], path) for m in recent), key=lambda snr: -math.inf if math.isnan(snr) else snr)
        if not lowest > 2 * self.target_snr:
            return shots
        return min(shots, max(self.min_shots, lowered(shots, self._snr(path), self.target_snr)))

    def _affordable(self, trainer: Any, module: Any, batch: Any, batch_idx: int) -> float:
        """By which factor a budget allows to raise the shots."""
        left = shots_left(trainer)
        if left is None:
            return math.inf
        try:
            cost = self._forecast(trainer, module, batch, batch_idx, self.detector.loss_fn)
        except Exception:  # a step that can't be run by itself costs what nobody knows
            return 1.0
        return left / (self._worthwhile * cost) if cost else math.inf

    @property
    def _worthwhile(self) -> int:
        return max(WORTHWHILE, self.step)

    def _concerned(self, trainer: Any, module: Any, diagnosis: Diagnosis) -> dict[str, QuantumLayer]:
        return self.concerned(trainer, module, diagnosis, whole=True).known


def raised(shots: int, snr: float, target: float) -> int:
    """Shots at which the SNR should be the target, between twice and four times as many as now."""
    wanted = (target / snr) ** 2 if snr > 0 else STRIDE if snr == 0 else 2.0
    return math.ceil(shots * min(STRIDE, max(2.0, wanted)))


def lowered(shots: int, snr: float, target: float) -> int:
    """Shots at which the SNR should still be 1.5 times the target, at least a quarter of now."""
    return math.ceil(shots * max(1 / STRIDE, (1.5 * target / snr) ** 2))


def layer_snr(measurements: Sequence[Measurement], path: str) -> float:
    """The lowest over the circuit layers of one module, each the median over the measurements; with shots in them."""
    ratios: dict[str, list[float]] = {}
    for layer in (layer for m in measurements for layer in m.layers):
        if layer.kind == "quantum" and layer.source in (MICROBATCH, TRAINING) and belongs_to(layer.name, path):
            ratios.setdefault(layer.name, []).append(layer.snr)
    medians = [statistics.median(known) for found in ratios.values() if (known := [r for r in found if r == r])]
    return min(medians, default=math.nan)
