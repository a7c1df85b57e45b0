"""`InitializationReset`: starts the quantum weights anew, on trial, and takes that back if it was no good."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor

from torchbp.arguments import checked
from torchbp.arguments.kinds import anything, each, either, function, text
from torchbp.callbacks.mechanics.budgets import excuse, shots_left
from torchbp.callbacks.mechanics.evaluation import agreed
from torchbp.callbacks.mechanics.optimizer_state import forget, raw_optimizers
from torchbp.callbacks.mechanics.quantum_weights import QuantumWeights, averaged_models
from torchbp.callbacks.mechanics.shot_forecast import ShotForecast
from torchbp.callbacks.mechanics.step_hooks import StepHooks
from torchbp.callbacks.mechanics.trials.candidates import Score, best, draw, score
from torchbp.callbacks.on_trial import OnTrial, layers_in_words
from torchbp.callbacks.plateau_detector import PlateauDetector
from torchbp.callbacks.remedy import a_detector
from torchbp.circuits.initializers import INITIALIZERS, Initializer
from torchbp.diagnosis.verdicts import Diagnosis, Verdict
from torchbp.errors import InputError, UnknownNameError
from torchbp.gradients.microbatch import batch_size, smallest_part

Scope = Literal["plateau", "all"]
DOUBTFUL = (Verdict.SHOT_LIMITED, Verdict.CONVERGED)
"""Verdicts on runs that may be better off than any candidate."""


class InitializationReset(OnTrial):
    """Draws new quantum weights, starts from the most promising, and goes back if that was no good.

    A reset is a transaction. `candidates` starting points are drawn from `strategy`; each costs two passes over half
    of the batch at hand, forward and backward: one training step's time and shots a candidate. The one with the
    lowest promise is taken: its loss minus the length of its gradient (see `candidates.slope`), the loss one radian
    down the slope. The optimizer forgets these weights and no others (see `optimizer_state.forget`), averaged copies
    of the model (EMA, SWA) get them, and during `warmup` steps they move by a growing share of what the optimizer
    would move them; its learning rate and schedule stay as they are.

    Where it is told to answer the verdicts shot_limited or converged, as `PlateauGuard` does, it acts on them only if
    the gradient can't be told from the noise of shots, and stays where it is unless the best candidate's promise is
    below the present loss, on the same halves of the batch. A run that has come as far as its shots allow is so left
    alone.

    After `trial` steps the model is compared with what it was (see `OnTrial`), and goes back to that where it has not
    become better. A trial that is still open as the fit ends is judged then, by what there is of it.

    Args:
        detector: gives the verdicts, see `Remedy`.
        strategy: a name in `torchbp.circuits.INITIALIZERS`, a function `(circuit, generator) -> (P,)`, or several of
            them that candidates are drawn from in turn. `functools.partial` passes options.
        scope: "plateau": the circuit layers that the verdict names, "all": all quantum weights. A verdict that names
            none is about all. Weights that are frozen, or not trained, are never touched.
        max_resets: in a run, those taken back too.
        candidates: starting points to choose from; with 1 nothing is evaluated.
        max_shots: for the choice; fewer candidates are evaluated where they would take more. The rest of a
            `ShotBudget` is a limit too.
        warmup: steps; 0 for none.
        trial: steps; left out: `OnTrial.trial_steps`.
        seed: of the candidates and of the random numbers they are compared with.
        answers, dry_run, name: see `Remedy`.

    Raises:
        InputError: a number too small, or no strategy.
        UnknownNameError: no such strategy, scope or verdict.

    What it can't do: where the circuit and its observable have a barren plateau by their nature, every starting point
    but those near special ones is on it; see `torchbp.circuits.initializers` for what their theorems cover.
    """

    rung: ClassVar[int] = 20

    @checked(detector=a_detector, answers=each(anything), strategy=each(either(text, function)))
    def __init__(
        self,
        detector: PlateauDetector | None = None,
        strategy: str | Initializer | Sequence[str | Initializer] = "gaussian",
        *,
        scope: Scope = "plateau",
        max_resets: int = 2,
        candidates: int = 8,
        max_shots: int | None = None,
        warmup: int = 10,
        trial: int | None = None,
        seed: int = 0,
        answers: Iterable[Verdict | str] = (Verdict.BARREN_PLATEAU, Verdict.LOCAL_MINIMUM),
        dry_run: bool = False,
        name: str = "",
    ) -> None:
        super().__init__(detector, answers=answers, dry_run=dry_run, name=name)
        self.strategies = [strategy] if isinstance(strategy, str) or callable(strategy) else list(strategy)
        _check(self.strategies, scope)
        self.scope, self.max_resets, self.candidates, self.max_shots = scope, max_resets, candidates, max_shots
        self.warmup, self.trial, self.seed = warmup, trial, seed
        self.resets = 0
        self._hooks: StepHooks | None = None
        self._declined = False  # since the last reset
        self._forecast = ShotForecast()

    @property
    def available(self) -> bool:
        return self.resets < self.max_resets

    @property
    def trial_steps(self) -> int:
        """Steps from a reset to its judgement."""
        return self.trial or super().trial_steps

    def describe(self, diagnosis: Diagnosis) -> str:
        condition = ", if it promises a lower loss than the present," if diagnosis.verdict in DOUBTFUL else ""
        where = "the layers that the verdict names" if self.scope == "plateau" and diagnosis.layers else "all layers"
        names = ", ".join(s if isinstance(s, str) else getattr(s, "__name__", "a function") for s in self.strategies)
        return f"reset {where} to the best{condition} of {self.candidates} candidates ({names})"

    def suits(self, trainer: Any, module: Any, batch: Any, batch_idx: int, diagnosis: Diagnosis) -> bool:
        weights = self._weights(trainer, module, diagnosis)
        if not len(weights):
            return False
        if diagnosis.verdict not in DOUBTFUL:
            return True
        if diagnosis.verdict is Verdict.CONVERGED and self.detector.target is not None:  # which it has reached
            return False
        shots = max(layer.shots or 0 for layer in weights.layers.values())
        return diagnosis.shots_for(self.detector.thresholds.snr) > shots > 0 and not self._declined

    def act(self, trainer: Any, module: Any, batch: Any, batch_idx: int, diagnosis: Diagnosis) -> None:
        weights = self._weights(trainer, module, diagnosis)
        doubtful = diagnosis.verdict in DOUBTFUL
        points, scores, spent = self._explore(trainer, module, weights, batch, batch_idx, doubtful)
        present = scores.pop().loss if doubtful and scores else math.nan
        chosen = best(scores) if scores else 0
        numbers: dict[str, Any] = {"shots": spent, "layers": list(weights.groups), "candidates": len(points)}
        if scores:
            numbers |= {"losses": [s.loss for s in scores], "slopes": [s.slope for s in scores], "chosen": chosen}
        if doubtful and not (scores and scores[chosen].promise < present):
            self._declined = True
            text = f"No reset: none of {len(scores)} candidates promises a lower loss than the present {present:.4g}."
            self.tell(trainer, "declined", text, loss_before=present, promises=[s.promise for s in scores], **numbers)
            return
        self._declined = False
        self.resets += 1
        self.begin_trial(trainer, module, diagnosis.verdict.value, weights.groups)
        weights.write(points[chosen])
        for optimizer in raw_optimizers(trainer):
            forget(optimizer, weights.elements())
        weights.publish(module, averaged_models(trainer))
        self._hook(trainer, module)
        where = layers_in_words(module, weights)
        text = f"Reset {self.resets} of {self.max_resets}: {len(weights)} weights ({where}) to the best of "
        text += f"{len(points)} candidates, on trial for {self.trial_steps} steps."
        self.tell(trainer, "reset", text, weights=len(weights), **numbers)

    def advance(self, trainer: Any, module: Any, batch: Any, batch_idx: int) -> None:
        if self._trial is None:
            return
        if self._hooks is not None:
            self._hooks.share = (self.step - self._trial.step + 1) / (self.warmup + 1)
            if self._hooks.share >= 1:
                self._unhook()
        if self.pair_due(self.trial_steps):
            self.take_pair(trainer, module, batch, batch_idx)
        if self.is_over(trainer, self._trial.step, self.trial_steps):
            self._judge(trainer, module)
            self.detector.restart()

    def conclude(self, trainer: Any, module: Any) -> None:
        if self._trial is not None:
            self._judge(trainer, module)

    def restore(self, trainer: Any, module: Any) -> None:
        self._unhook()

    def on_fit_start(self, trainer: Any, pl_module: Any) -> None:
        super().on_fit_start(trainer, pl_module)
        weights = QuantumWeights.of(pl_module)
        if weights.layers:  # without any, there is nothing it will be asked to reset
            draw(weights, self.strategies, len(self.strategies), torch.Generator())  # or say why not

    def on_train_start(self, trainer: Any, pl_module: Any) -> None:
        super().on_train_start(trainer, pl_module)
        self._forecast.forget()
        if self._trial is not None and self.step + 1 - self._trial.step <= self.warmup:
            self._hook(trainer, pl_module)

    def state_dict(self) -> dict[str, Any]:
        return super().state_dict() | {"resets": self.resets, "declined": self._declined}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        super().load_state_dict(state_dict)
        self.resets, self._declined = state_dict["resets"], state_dict["declined"]

    def _weights(self, trainer: Any, module: Any, diagnosis: Diagnosis) -> QuantumWeights:
        """What a reset would change."""
        about = diagnosis if self.scope == "plateau" else replace(diagnosis, layers=())
        return self.concerned(trainer, module, about)

    def _affordable(self, trainer: Any, module: Any, batch: Any, batch_idx: int) -> int:
        """How many candidates can be evaluated; 1 needs no evaluation."""
        limits = [n for n in (self.max_shots, shots_left(trainer)) if n is not None]
        if self.candidates == 1 or not limits:
            return self.candidates
        try:
            one = self._forecast(trainer, module, batch, batch_idx, self.detector.loss_fn)
            one *= 1 if (batch_size(batch) or 0) >= 2 * smallest_part(module) else 2  # the whole batch, twice
        except Exception:  # then there is no evaluating it either
            return agreed(trainer, 1)
        affordable = self.candidates if one == 0 else min(self.candidates, min(limits) // one)
        return agreed(trainer, max(1, affordable))

    def _explore(
        self, trainer: Any, module: Any, weights: QuantumWeights, batch: Any, batch_idx: int, present: bool
    ) -> tuple[list[Tensor], list[Score], int]:
        """Starting points, what each promises (nothing, where there is one only), and the shots that took.

        With `present` there is one more score, the last: of the weights as they are.
        """
        seed = self.seed + 1_000_003 * (self.resets + 1)
        number = self._affordable(trainer, module, batch, batch_idx)
        points = draw(weights, self.strategies, number, torch.Generator().manual_seed(seed))
        scores: list[Score] = []
        spent = weights.shots_used
        if number > 1:
            loss_fn = self.detector.loss_fn
            every = [*points, weights.read()] if present else points
            scores = score(trainer, module, weights, every, batch, batch_idx, seed=seed, loss_fn=loss_fn)
        spent = weights.shots_used - spent
        excuse(trainer, spent)
        return points, scores, spent

    def _judge(self, trainer: Any, module: Any) -> None:
        self._unhook()
        self.settle(trainer, module, "The reset")

    def _hook(self, trainer: Any, module: Any) -> None:
        self._unhook()
        if self.warmup and self._trial is not None:
            elements = QuantumWeights.trained(trainer, module, self._trial.groups).elements()
            self._hooks = StepHooks(raw_optimizers(trainer), elements)
            self._hooks.share = 1 / (self.warmup + 1)

    def _unhook(self) -> None:
        if self._hooks is not None:
            self._hooks.remove()
        self._hooks = None


def _check(strategies: Sequence[Any], scope: str) -> None:
    if not strategies:
        raise InputError("A reset needs a strategy to draw from: strategy= names at least one.")
    for strategy in strategies:
        if isinstance(strategy, str) and strategy not in INITIALIZERS:
            raise UnknownNameError("initializer", strategy, INITIALIZERS)
    if scope not in ("plateau", "all"):
        raise UnknownNameError("scope", scope, ("plateau", "all"))
