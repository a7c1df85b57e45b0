"""`NaturalGradient`: steps by the states' own measure of length, where the weights' is badly conditioned."""

from __future__ import annotations

import math
from collections.abc import Iterable
from functools import partial
from typing import Any, ClassVar

import torch

from torchbp.arguments import checked
from torchbp.arguments.kinds import anything, each
from torchbp.backends.shots import measures
from torchbp.callbacks.mechanics.evaluation import agreed, losses_at
from torchbp.callbacks.mechanics.isolation import training_loss
from torchbp.callbacks.mechanics.optimizer_state import forget, raw_optimizers
from torchbp.callbacks.mechanics.quantum_weights import QuantumWeights
from torchbp.callbacks.mechanics.step_hooks import StepHooks
from torchbp.callbacks.on_trial import OnTrial, layers_in_words
from torchbp.callbacks.plateau_detector import PlateauDetector
from torchbp.callbacks.remedy import a_detector
from torchbp.diagnosis.probing import Passage, passage
from torchbp.diagnosis.verdicts import Diagnosis, Verdict
from torchbp.gradients.microbatch import split_batch
from torchbp.optim import QuantumNaturalGradient, fubini_study
from torchbp.optim.fubini_study import condition, natural

RATES = (1.0, 0.3, 0.1, 0.03, 0.01)
"""Learning rates that are tried on the batch at hand; the one with the lowest loss is taken."""
SAMPLES = 8
"""Of a batch that the metric is averaged over."""


class NaturalGradient(OnTrial):
    """Moves the quantum weights that a verdict names by natural gradient, in place of the optimizer; on trial.

    It acts where the Fubini-Study metric of the circuit (see `QuantumNaturalGradient`) is ill-conditioned: where some
    weights hardly move the states and others do, equal steps by weights are slow, and Adam, which scales weights one by
    one, does not see that several do the same. A learning rate is chosen on the batch at hand; where none lowers its
    loss, nothing is done. From then on the optimizer's steps leave these weights alone, and they move by
    -lr (g + damping I)^-1 gradient after every step, each metric at two circuits a rotation and sample. After
    `OnTrial.trial_steps` steps it is kept to the end of the fit, or all is as it was.

    Args:
        detector: gives the verdicts, see `Remedy`.
        ill_conditioned: ratio of the largest to the smallest eigenvalue of a circuit layer's metric from which it acts.
        damping: added to the metric's diagonal, whose entries are 1/4 for a rotation by itself.
        answers, dry_run, name: see `Remedy`.

    Raises:
        InputError: a number that is not positive.
        UnknownNameError: no such verdict.

    What it can't do: work from shots, or on a machine; there it does not act. Leave a plateau or a minimum.
    """

    rung: ClassVar[int] = 15

    @checked(detector=a_detector, answers=each(anything))
    def __init__(
        self,
        detector: PlateauDetector | None = None,
        *,
        ill_conditioned: float = 10.0,
        damping: float = 0.01,
        answers: Iterable[Verdict | str] = (Verdict.LOCAL_MINIMUM,),
        dry_run: bool = False,
        name: str = "",
    ) -> None:
        super().__init__(detector, answers=answers, dry_run=dry_run, name=name)
        self.ill_conditioned, self.damping = ill_conditioned, damping
        self._groups: list[str] | None = None  # that it trains now
        self._rate = math.nan
        self._tried = False
        self._optimizer: QuantumNaturalGradient | None = None
        self._pins: StepHooks | None = None

    @property
    def available(self) -> bool:
        return not self._tried

    def describe(self, diagnosis: Diagnosis) -> str:
        return "train the quantum weights by natural gradient"

    def suits(self, trainer: Any, module: Any, batch: Any, batch_idx: int, diagnosis: Diagnosis) -> bool:
        weights = self.concerned(trainer, module, diagnosis, whole=True)
        known = weights.known.values()
        exact = all(q.shots is None and q.noise is None and not measures(q.backend) for q in known)
        return len(known) == len(weights.layers) > 0 and exact

    def act(self, trainer: Any, module: Any, batch: Any, batch_idx: int, diagnosis: Diagnosis) -> None:
        self._tried = True
        weights = self.concerned(trainer, module, diagnosis, whole=True)
        worst, rate, losses = self._look(trainer, module, weights, batch, batch_idx)
        numbers = {"condition": worst, "losses": losses, "rates": list(RATES), "layers": list(weights.groups)}
        if agreed(trainer, not (worst >= self.ill_conditioned and math.isfinite(rate))):
            reason = "no step along it lowers the loss" if worst >= self.ill_conditioned else "the metric is even"
            self.tell(trainer, "declined", f"No natural gradient: {reason} (condition {worst:.3g}).", **numbers)
            return
        self.begin_trial(trainer, module, diagnosis.verdict.value, weights.groups)
        self._groups, self._rate = list(weights.groups), rate
        self._hold(trainer, module)
        text = f"Natural gradient, at a rate of {rate:g}, takes over {len(weights)} quantum weights "
        text += f"({layers_in_words(module, weights)}), on trial for {self.trial_steps} steps."
        self.tell(trainer, "natural_gradient", text, rate=rate, **numbers)

    def advance(self, trainer: Any, module: Any, batch: Any, batch_idx: int) -> None:
        if self._trial is None:
            return
        if self.pair_due(self.trial_steps):
            self.take_pair(trainer, module, batch, batch_idx)
        if self.is_over(trainer, self._trial.step, self.trial_steps):
            self.conclude(trainer, module)
            self.detector.restart()

    def conclude(self, trainer: Any, module: Any) -> None:
        if self._trial is not None and not self.settle(trainer, module, "Natural gradient"):
            self._groups = None
            self.restore(trainer, module)

    def restore(self, trainer: Any, module: Any) -> None:
        if self._optimizer is not None:
            self._optimizer.close()
        if self._pins is not None:
            self._pins.remove()
        self._optimizer = self._pins = None

    def on_train_start(self, trainer: Any, pl_module: Any) -> None:
        super().on_train_start(trainer, pl_module)
        if self._groups is not None:
            self._hold(trainer, pl_module)

    def on_train_batch_end(self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        stepped = (batch_idx + 1) % trainer.accumulate_grad_batches == 0 or trainer.is_last_batch
        if self._optimizer is not None and stepped:
            self._optimizer.step()
        super().on_train_batch_end(trainer, pl_module, outputs, batch, batch_idx)

    def state_dict(self) -> dict[str, Any]:
        return super().state_dict() | {"groups": self._groups, "rate": self._rate, "tried": self._tried}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        super().load_state_dict(state_dict)
        self._groups, self._rate, self._tried = (state_dict[key] for key in ("groups", "rate", "tried"))

    def _hold(self, trainer: Any, module: Any) -> None:
        """Keep the optimizers from these weights; what they remember of them is of no use to anybody."""
        self.restore(trainer, module)
        weights = QuantumWeights.trained(trainer, module, self._groups, whole=True)
        for optimizer in raw_optimizers(trainer):
            forget(optimizer, weights.elements())
        self._pins = StepHooks(raw_optimizers(trainer), weights.elements())
        self._pins.share = 0.0
        layers = weights.known.values()
        self._optimizer = QuantumNaturalGradient(layers, self._rate, damping=self.damping, samples=SAMPLES)

    def _look(
        self, trainer: Any, module: Any, weights: QuantumWeights, batch: Any, batch_idx: int
    ) -> tuple[float, float, list[float]]:
        """The worst condition, the rate with the lowest loss (NaN if that is where it is), and the losses."""
        loss_fn, present = self.detector.loss_fn, weights.read()
        worst, change = 1.0, torch.zeros_like(present)
        parts = weights.split(change)
        for path, layer in weights.known.items():
            with training_loss(trainer, module, batch_idx, loss_fn) as loss:
                way: Passage = passage(layer, partial(loss, split_batch(batch, 1)[0]))
            x = None if way.x is None else way.x[:SAMPLES]
            metric = fubini_study(layer, x)
            gradient = layer.per_sample_gradients(way.x, way.cotangent).sum(0)
            worst = max(worst, condition(metric, self.damping))
            parts[path].copy_(natural(metric, layer, gradient, self.damping))
        points = [present, *(present - rate * change for rate in RATES)]
        found = losses_at(trainer, module, weights, points, batch, batch_idx, seed=self.step, loss_fn=loss_fn)
        finite = {loss: rate for loss, rate in zip(found[1:], RATES, strict=True) if loss < found[0]}
        return worst, finite[min(finite)] if finite else math.nan, found
