"""A change on trial: the way back, and what it is judged by."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from torchbp.callbacks.mechanics.budgets import excuse, shots_left
from torchbp.callbacks.mechanics.evaluation import agreed, losses_of
from torchbp.callbacks.mechanics.isolation import LossFunction
from torchbp.callbacks.mechanics.quantum_weights import QuantumWeights, averaged_models
from torchbp.callbacks.mechanics.shot_forecast import ShotForecast
from torchbp.callbacks.mechanics.trials.snapshot import Snapshot
from torchbp.diagnosis.paired import Comparison, compare

PAIRS = 12
"""That a trial is judged by, the latest ones: Student's t is then within 15% of the normal distribution."""


@dataclass
class Trial:
    """The model as it was before a change, and losses of it and of the present one on the same batches.

    A pair is taken in the middle of training, on a batch that is about to be trained on: the present model and the one
    before, both with the same random numbers, undisturbed.

    Attributes:
        step: when the change was made.
        verdict: that it answered.
        groups: names of the circuit layers that were changed.
        snapshot: the way back.
        before, after: the latest pairs of losses, means over all processes.
    """

    step: int
    verdict: str
    groups: tuple[str, ...]
    snapshot: Snapshot
    before: list[float] = field(default_factory=list)
    after: list[float] = field(default_factory=list)

    def take_pair(
        self, trainer: Any, module: Any, batch: Any, batch_idx: int, *, seed: int, loss_fn: LossFunction | None
    ) -> int:
        """One more pair, if a budget of shots still pays for it; the shots it took on this process."""
        if not agreed(trainer, _affordable(trainer, module, batch, batch_idx, loss_fn)):
            return 0
        every = QuantumWeights.of(module)
        spent = every.shots_used
        states: list[Callable[[], None]] = [_stay, partial(self.snapshot.write, module)]
        after, before = losses_of(trainer, module, states, batch, batch_idx, seed=seed, loss_fn=loss_fn)
        spent = every.shots_used - spent
        excuse(trainer, spent)
        self.before, self.after = [*self.before, before][-PAIRS:], [*self.after, after][-PAIRS:]
        return spent

    def comparison(self, level: float) -> Comparison:
        """What the pairs say so far."""
        return compare(self.before, self.after, level)

    def take_back(self, trainer: Any, module: Any) -> None:
        """Model and optimizers are what they were; averaged copies get the quantum weights."""
        self.snapshot.restore(trainer, module)
        QuantumWeights.of(module, self.groups).publish(module, averaged_models(trainer))

    def state_dict(self) -> dict[str, Any]:
        """Tensors and primitives only."""
        return vars(self) | {"groups": list(self.groups), "snapshot": self.snapshot.state_dict()}

    @classmethod
    def from_state_dict(cls, state: dict[str, Any]) -> Trial:
        """What `state_dict` saved."""
        snapshot = Snapshot.from_state_dict(state["snapshot"])
        return cls(**state | {"groups": tuple(state["groups"]), "snapshot": snapshot})


def _stay() -> None:
    """The present state."""


def _affordable(trainer: Any, module: Any, batch: Any, batch_idx: int, loss_fn: LossFunction | None) -> bool:
    left = shots_left(trainer)
    if left is None:
        return True
    try:  # a step takes more than the two forward passes of a pair
        return ShotForecast()(trainer, module, batch, batch_idx, loss_fn) * trainer.world_size <= left
    except Exception:
        return left > 0
