"""The loss of every optimizer step, wherever it can be had for nothing."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

PENDING = 16
"""Losses that wait on another device before they are read, all at once: each by itself would make a step wait."""


def returned_loss(trainer: Any, outputs: Any) -> Tensor | None:
    """What `training_step` returned; Lightning divides it by the number of accumulated batches."""
    loss = outputs.get("loss") if isinstance(outputs, Mapping) else outputs
    return loss.detach() * trainer.accumulate_grad_batches if isinstance(loss, Tensor) else None


class LossFeed:
    """Collects the losses of a run, one for each optimizer step, and hands them on as numbers.

    A loss is what `training_step` returns; where it returns none, as manual optimization may, what it hands to
    `manual_backward`, all in all. Micro-batches of one step count as their mean.
    """

    def __init__(self) -> None:
        self.clear()

    def clear(self) -> None:
        """Begin anew."""
        self.silent = False  # whether the last step told no loss
        self._parts: list[Tensor] = []
        self._handed: list[Tensor] = []
        self._waiting: list[Tensor] = []

    def hand(self, loss: Tensor) -> None:
        """A loss on its way to backward."""
        self._handed.append(loss.detach())

    def batch(self, trainer: Any, outputs: Any) -> None:
        """The training step has returned this."""
        loss = returned_loss(trainer, outputs)
        if loss is None and self._handed:
            loss = torch.stack([part.float().reshape(()) for part in self._handed]).sum()
        self._handed = []
        if loss is not None:
            self._parts.append(loss.float().reshape(()))

    def step(self, trainer: Any) -> list[float]:
        """An optimizer step is complete: the losses that are now known, the same on all processes."""
        self.silent = not self._parts
        if self._parts:
            self._waiting.append(torch.stack(self._parts).mean())
            self._parts = []
        slow = trainer.world_size > 1 or any(loss.is_cuda for loss in self._waiting)
        return [] if slow and len(self._waiting) < PENDING else self.read(trainer)

    def read(self, trainer: Any) -> list[float]:
        """All that wait."""
        if not self._waiting:
            return []
        own = torch.stack(self._waiting)
        self._waiting = []
        return trainer.strategy.reduce(own, reduce_op="mean").tolist() if trainer.world_size > 1 else own.tolist()
