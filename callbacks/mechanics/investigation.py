"""Gathers the evidence that costs evaluations: on the quantum layers of a LightningModule, in the middle of a fit."""

from __future__ import annotations

from functools import partial
from typing import Any

from torch import Tensor, nn

from torchbp.callbacks.mechanics.experiments.held_batches import copied
from torchbp.callbacks.mechanics.isolation import LossFunction, training_loss
from torchbp.diagnosis.probing import passage, shots_to_resolve
from torchbp.layer import QuantumLayer


def quantum_layers(module: nn.Module) -> dict[str, QuantumLayer]:
    """The torchbp layers of a model, by their path: those whose circuit is known."""
    found = {name: m for name, m in module.named_modules() if isinstance(m, QuantumLayer)}
    # A compiled module goes by its author's name, as in `find_groups`.
    return {".".join(part for part in name.split(".") if part != "_orig_mod"): m for name, m in found.items()}


def current_loss(trainer: Any, module: Any, batch: Any, batch_idx: int, loss_fn: LossFunction | None) -> Tensor | None:
    """The loss of this batch, for training steps that don't return theirs."""
    with training_loss(trainer, module, batch_idx, loss_fn) as loss:
        value = loss(copied(batch))
    return None if value is None else value.detach()


def needed_shots(
    trainer: Any, module: Any, batch: Any, batch_idx: int, loss_fn: LossFunction | None
) -> dict[str, float]:
    """Shots to resolve, by the names that `find_groups` gives, of all circuit layers that have finite shots now."""
    found: dict[str, float] = {}
    for path, layer in quantum_layers(module).items():
        if layer.shots is not None:
            with training_loss(trainer, module, batch_idx, loss_fn) as loss:
                needed = shots_to_resolve(layer, passage(layer, partial(loss, copied(batch))))
            found |= {f"{path}/{name}" if path else name: shots for name, shots in needed.items()}
    return found
