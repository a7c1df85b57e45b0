"""The training losses of the last steps, which a trial is judged by: they come for free."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from torchbp.callbacks.mechanics.evaluation import mean_over_ranks


def returned_loss(trainer: Any, outputs: Any) -> Tensor | None:
    """What `training_step` returned; Lightning divides it by the number of accumulated batches."""
    loss = outputs.get("loss") if isinstance(outputs, Mapping) else outputs
    return loss.detach() * trainer.accumulate_grad_batches if isinstance(loss, Tensor) else None


class LossRecord:
    """The latest losses; looked at rarely, so that no step waits for the device.

    Args:
        length: how many are kept.
    """

    def __init__(self, length: int) -> None:
        self.length = length
        self._losses: list[Tensor] = []

    def __len__(self) -> int:
        return len(self._losses)

    def note(self, loss: Tensor) -> None:
        """One more."""
        self._losses = [*self._losses[-self.length + 1 :], loss.detach().float()] if self.length > 1 else [loss]

    def clear(self) -> None:
        """Begin anew."""
        self._losses = []

    def mean(self, trainer: Any) -> float:
        """Over the losses kept and over all processes, which must call it alike; NaN where there is none."""
        losses = self._losses or [torch.tensor(math.nan)]  # every process has to take part
        own = torch.stack([loss.to(losses[-1].device) for loss in losses]).double().mean()
        return float(mean_over_ranks(trainer, own))

    def state_dict(self) -> list[float]:
        """The losses."""
        return [float(loss) for loss in self._losses]

    def load_state_dict(self, losses: list[float]) -> None:
        """What `state_dict` saved."""
        self._losses = [torch.tensor(loss) for loss in losses]
