"""`OnTrial`: a remedy whose change has to prove itself, or is taken back."""

from __future__ import annotations

import math
from collections.abc import Collection
from typing import Any

from torchbp.callbacks.mechanics.evaluation import agreed
from torchbp.callbacks.mechanics.quantum_weights import QuantumWeights
from torchbp.callbacks.mechanics.trials.snapshot import Snapshot
from torchbp.callbacks.mechanics.trials.trial import PAIRS, Trial
from torchbp.callbacks.remedy import Remedy
from torchbp.diagnosis.layer_words import in_words
from torchbp.diagnosis.paired import Decision

LEVEL = 0.95
"""Of the interval that a trial is judged by: a change that does nothing is kept once in forty trials."""
EARLY = 0.999
"""Of the interval by which a trial may be called off before its end: it is looked at many times."""


class OnTrial(Remedy):
    """A remedy with a way back: it remembers model and optimizers, and compares them with what has become of them.

    In the course of a trial the losses of the model as it is and as it was are taken again and again, both on the batch
    that comes next and with the same random numbers: a few forward passes and no gradient. At the end the latest twelve
    pairs are compared (`torchbp.diagnosis.paired`). Where the loss has not become lower beyond doubt, everything,
    classical parts, buffers and the optimizers' memory too, becomes what it was.

    A subclass calls `begin_trial` right before it changes anything, `take_pair` at the steps it chooses, and `settle`.
    """

    _trial: Trial | None = None

    @property
    def busy(self) -> bool:
        return self._trial is not None

    @property
    def trial_steps(self) -> int:
        """Steps that a trial lasts if nothing else says so: twice as many as the detector takes to give a verdict."""
        return 2 * self.detector.watch.to_verdict

    def begin_trial(self, trainer: Any, module: Any, verdict: str, groups: Collection[str]) -> None:
        """From here on there is a way back."""
        self._trial = Trial(self.step, verdict, tuple(groups), Snapshot.of(trainer, module))

    def pair_due(self, steps: int) -> bool:
        """Whether a pair should be taken now, in a trial of so many steps: twice as many in all as judge it."""
        return self._trial is not None and (self.step - self._trial.step) % max(1, steps // (2 * PAIRS)) == 0

    def take_pair(self, trainer: Any, module: Any, batch: Any, batch_idx: int) -> int:
        """One more pair; the shots it took on this process."""
        assert self._trial is not None
        seed, loss_fn = 7919 * (self.step + 1), self.detector.loss_fn
        return self._trial.take_pair(trainer, module, batch, batch_idx, seed=seed, loss_fn=loss_fn)

    def is_worse(self, trainer: Any) -> bool:
        """Whether the trial need not go on."""
        assert self._trial is not None
        return agreed(trainer, self._trial.comparison(EARLY).decision is Decision.WORSE)

    def is_over(self, trainer: Any, since: int, steps: int) -> bool:
        """Whether to settle now: so many steps after that one; half of them where the loss is clearly higher, so that a
        trial that fails costs less; at once where the loss is lost and was not before."""
        trial = self._trial
        if trial is None:
            return False
        lost = bool(trial.after) and not math.isfinite(trial.after[-1]) and math.isfinite(trial.before[-1])
        spent = self.step - since
        return agreed(trainer, lost or spent >= steps or (2 * spent >= steps and self.is_worse(trainer)))

    def settle(self, trainer: Any, module: Any, what: str, *, doubt_keeps: bool = False) -> bool:
        """Judge, and go back where it was no good; whether the change is kept.

        Args:
            what: is on trial, to begin a sentence.
            doubt_keeps: whether it takes a loss that is higher with confidence to go back.
        """
        trial = self._trial
        assert trial is not None
        self._trial = None
        found = trial.comparison(LEVEL)
        good = found.decision is Decision.BETTER or (doubt_keeps and found.decision is Decision.UNDECIDED)
        kept = agreed(trainer, good)
        if not kept:
            trial.take_back(trainer, module)
        numbers: dict[str, Any] = {
            "loss_before": found.before,
            "loss_after": found.after,
            "low": found.low,
            "high": found.high,
        }
        numbers |= {"pairs": found.n, "level": LEVEL, "verdict": trial.verdict, "since": trial.step}
        why = str(found) if found.n else "there was no loss to judge it by"
        text = f"{what} of step {trial.step} is {'kept' if kept else 'taken back'}: {why}."
        self.tell(trainer, "kept" if kept else "rollback", text, decision=found.decision.value, **numbers)
        return kept

    def state_dict(self) -> dict[str, Any]:
        return super().state_dict() | {"trial": None if self._trial is None else self._trial.state_dict()}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        super().load_state_dict(state_dict)
        saved = state_dict["trial"]
        self._trial = None if saved is None else Trial.from_state_dict(saved)


def layers_in_words(module: Any, weights: QuantumWeights) -> str:
    """The circuit layers that these weights are of."""
    return in_words(weights.groups, QuantumWeights.of(module).all_groups)
