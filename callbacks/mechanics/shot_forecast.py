"""What a training step will spend in shots: the step is run on quantum layers that only note how they are called."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from torchbp.callbacks.mechanics.constant_weights import constant
from torchbp.callbacks.mechanics.investigation import quantum_layers
from torchbp.callbacks.mechanics.isolation import LossFunction, training_loss
from torchbp.diagnosis.shot_cost import ShotCost
from torchbp.gradients.microbatch import batch_size, split_batch
from torchbp.layer import QuantumLayer


@dataclass(frozen=True)
class Call:
    """One call of a quantum layer: samples, shots at that moment, and what needs a gradient."""

    samples: int
    shots: int
    weights: bool
    features: bool


class ShotForecast:
    """Predicts the shots of a training step on a batch, forward and backward, without spending any.

    Circuits are not simulated: the layers return zeros while the training step runs once, undisturbed. The calls are
    remembered for batches of one size at the same shots, since the same step on as many samples calls them alike.
    Exact where each loss has one backward pass and the calls do not depend on what the layers return.
    """

    def __init__(self) -> None:
        self._costs: dict[str, ShotCost] = {}
        self._calls: dict[Any, list[tuple[str, Call]]] = {}

    def __call__(
        self, trainer: Any, module: Any, batch: Any, batch_idx: int, loss_fn: LossFunction | None = None
    ) -> int:
        """Shots that the layers of `module` will spend, at the shots they have now.

        Raises:
            what the training step raises.
        """
        layers = quantum_layers(module)
        if all(layer.shots is None for layer in layers.values()):
            return 0
        trained = tuple(
            p.requires_grad and not constant(layer) for layer in layers.values() for p in layer.parameters()
        )
        key = batch_size(batch), trained, tuple(layer.shots for layer in layers.values())
        if key not in self._calls:
            self._calls[key] = _calls(trainer, module, layers, batch, batch_idx, loss_fn)
        return sum(self._spent(layers[path], path, call) for path, call in self._calls[key])

    def forget(self) -> None:
        """Look at the next training step anew."""
        self._calls.clear()

    def cost(self, path: str, layer: QuantumLayer) -> ShotCost:
        """What a sample takes in one layer."""
        if path not in self._costs:
            self._costs[path] = ShotCost.of(layer)
        return self._costs[path]

    def _spent(self, layer: QuantumLayer, path: str, call: Call) -> int:
        cost = self.cost(path, layer)
        return cost.shots(call.samples, call.shots, weights=call.weights, features=call.features)


def _calls(
    trainer: Any,
    module: Any,
    layers: dict[str, QuantumLayer],
    batch: Any,
    batch_idx: int,
    loss_fn: LossFunction | None,
) -> list[tuple[str, Call]]:
    noted: list[tuple[str, Call]] = []
    with torch.enable_grad(), training_loss(trainer, module, batch_idx, loss_fn) as loss:
        for path, layer in layers.items():
            vars(layer)["forward"] = _stub(path, layer, noted)  # taken away again with all else
        loss(batch if batch_size(batch) is None else split_batch(batch, 1)[0])
    return noted


def _stub(path: str, layer: QuantumLayer, noted: list[tuple[str, Call]]) -> Callable[..., Tensor]:
    def forward(x: Tensor | None = None, initial_state: Tensor | None = None) -> Tensor:
        batched = next((t for t in (x, initial_state) if t is not None), None)
        leading = torch.Size([1]) if batched is None else batched.shape[:-1]
        weights = layer.weights
        follow = torch.is_grad_enabled()
        moving = x is not None and x.requires_grad and follow
        trained = weights.requires_grad and follow and not constant(layer)
        noted.append((path, Call(leading.numel(), layer.shots or 0, trained, moving)))
        inputs = 0.0 if x is None else x.sum()
        return (0.0 * (weights.sum() + inputs)).expand(*leading, len(layer.observables)).to(weights.dtype).clone()

    return forward
