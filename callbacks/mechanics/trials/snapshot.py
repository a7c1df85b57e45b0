"""A model and its optimizers as they were, to go back to: in memory, and in a checkpoint in the middle of a trial."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from torchbp.callbacks.mechanics.optimizer_state import raw_optimizers, restore_state, state_of


@dataclass(frozen=True)
class Snapshot:
    """Copies of all parameters and buffers, and of what the optimizers remember of the parameters.

    Learning rates, schedulers and counters are no part of it: time does not go back.
    """

    tensors: dict[str, Tensor]
    optimizers: list[dict[str, dict[str, Any]]]

    @classmethod
    def of(cls, trainer: Any, module: Any) -> Snapshot:
        """Of a LightningModule in training."""
        names = {parameter: name for name, parameter in module.named_parameters()}
        tensors = {name: tensor.detach().clone() for name, tensor in _tensors(module).items()}
        return cls(tensors, [state_of(optimizer, names) for optimizer in raw_optimizers(trainer)])

    @torch.no_grad()
    def write(self, module: Any) -> None:
        """Make the model's parameters and buffers what they were."""
        for name, tensor in _tensors(module).items():
            if name in self.tensors:
                tensor.copy_(self.tensors[name])

    def restore(self, trainer: Any, module: Any) -> None:
        """Make the model and its optimizers what they were."""
        self.write(module)
        names = {parameter: name for name, parameter in module.named_parameters()}
        for optimizer, saved in zip(raw_optimizers(trainer), self.optimizers, strict=True):
            restore_state(optimizer, names, saved)

    def state_dict(self) -> dict[str, Any]:
        """Tensors and primitives only."""
        return {"tensors": self.tensors, "optimizers": self.optimizers}

    @classmethod
    def from_state_dict(cls, state: dict[str, Any]) -> Snapshot:
        """What `state_dict` saved."""
        return cls(state["tensors"], state["optimizers"])


def _tensors(module: Any) -> dict[str, Tensor]:
    return {**dict(module.named_parameters()), **dict(module.named_buffers())}
