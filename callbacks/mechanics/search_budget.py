"""What a search without gradients has spent, may spend, and is about to spend: evaluations of the loss, and shots."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import torch

from torchbp.arguments import whole_number
from torchbp.callbacks.mechanics.budgets import shots_left
from torchbp.callbacks.mechanics.evaluation import sum_over_ranks
from torchbp.callbacks.mechanics.isolation import LossFunction, step_output
from torchbp.callbacks.mechanics.shot_forecast import ShotForecast


class SearchBudget:
    """Counts the evaluations of a run and their shots, all processes together.

    Args:
        max_evaluations, max_shots: in a run; None is no limit.

    Attributes:
        evaluations, shots: spent so far.

    Raises:
        InputError: a limit that is no whole number, or below 1.
    """

    def __init__(self, max_evaluations: int, max_shots: int | None) -> None:
        for name, value in {"max_evaluations": max_evaluations, "max_shots": max_shots}.items():
            if value is not None:
                whole_number(name, value, 1)
        self.max_evaluations, self.max_shots = max_evaluations, max_shots
        self.evaluations = self.shots = 0
        self._ended_at: list[int | None] | None = None  # the limits with which it came to its end
        self._forecast = ShotForecast()

    @property
    def limits(self) -> list[int | None]:
        return [self.max_evaluations, self.max_shots]

    @property
    def left(self) -> bool:
        """Whether anything is; a budget that has ended begins anew only with other limits."""
        shots = self.max_shots is None or self.shots < self.max_shots
        return self.evaluations < self.max_evaluations and shots and self._ended_at != self.limits

    def end(self) -> None:
        """Nothing more is to be had from it, whatever is left."""
        self._ended_at = self.limits

    def forget(self) -> None:
        """Look at the training step anew."""
        self._forecast.forget()

    def spend(self, trainer: Any, evaluations: int, shots: int) -> None:
        """Note these evaluations, and the shots they took on this process."""
        self.evaluations += evaluations
        self.shots += sum_over_ranks(trainer, shots)

    def refusal(
        self, trainer: Any, module: Any, batch: Any, batch_idx: int, loss_fn: LossFunction | None, number: int
    ) -> str:
        """Why `number` evaluations on this batch can't be paid for any more; empty if they can."""
        if self.evaluations + number > self.max_evaluations:
            return f"another {number} evaluations would be more than the {self.max_evaluations} allowed"
        left = self._shots_left(trainer)
        if not left:
            return ""
        needed = number * sum_over_ranks(trainer, self.cost(trainer, module, batch, batch_idx, loss_fn))
        if needed <= min(left):
            return ""
        return f"another {number} evaluations take {needed} shots, and {min(left)} are left"

    def affords(self, trainer: Any, module: Any, batch: Any, batch_idx: int, loss_fn: LossFunction | None) -> int:
        """Evaluations on batches like this one that can still be paid for."""
        left = self.max_evaluations - self.evaluations
        cost = sum_over_ranks(trainer, self.cost(trainer, module, batch, batch_idx, loss_fn))
        for shots in self._shots_left(trainer) if cost else []:
            left = min(left, max(0, shots) // cost)
        return left

    def _shots_left(self, trainer: Any) -> list[int]:
        left = [] if self.max_shots is None else [self.max_shots - self.shots]
        return left + [shots for shots in [shots_left(trainer)] if shots is not None]

    def cost(
        self,
        trainer: Any,
        module: Any,
        batch: Any,
        batch_idx: int,
        loss_fn: LossFunction | None,
        *,
        gradient: bool = False,
    ) -> int:
        """Shots of an evaluation on this process, or of its gradient too.

        0 where the training step can't be run by itself, which a search will find out.
        """

        def evaluate(module: Any, batch: Any) -> Any:
            with torch.set_grad_enabled(gradient):
                return loss_fn(module, batch) if loss_fn is not None else step_output(module, batch, batch_idx)

        with suppress(Exception):
            return self._forecast(trainer, module, batch, batch_idx, evaluate)
        return 0

    def state_dict(self) -> dict[str, Any]:
        return {"spent": [self.evaluations, self.shots], "ended_at": self._ended_at}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        (self.evaluations, self.shots), self._ended_at = state["spent"], state["ended_at"]
