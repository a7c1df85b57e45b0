"""The budgets of shots that a trainer's callbacks keep: what they allow besides steps, and what they are told."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Protocol, runtime_checkable


@runtime_checkable
class Budget(Protocol):
    """What `ShotBudget` is, to those who spend."""

    def spendable(self, trainer: Any) -> int:
        """Shots that may be spent besides training steps."""

    def excuse(self, shots: int) -> None:
        """These shots, of all processes, were spent once and will not come again."""


def shots_left(trainer: Any) -> int | None:
    """What the tightest budget among the trainer's callbacks allows besides steps; None where there is none."""
    return min((budget.spendable(trainer) for budget in _budgets(trainer)), default=None)


def excuse(trainer: Any, shots: int) -> None:
    """Tell all budgets that each process has just spent these shots within `shots_left`, once."""
    for budget in _budgets(trainer):
        budget.excuse(shots * trainer.world_size)


def _budgets(trainer: Any) -> Iterator[Budget]:
    for callback in trainer.callbacks:
        for piece in (callback, *getattr(callback, "pieces", ())):
            if isinstance(piece, Budget):
                yield piece
