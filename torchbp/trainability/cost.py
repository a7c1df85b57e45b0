"""A cost as a function of the quantum weights alone, at many points at once where that can be."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from torchbp.arguments.kinds import a
from torchbp.circuits import Circuit
from torchbp.errors import InputError
from torchbp.layer import QuantumLayer
from torchbp.trainability.scans.draws import outputs_at

Cost = Callable[[Tensor], Tensor]
"""(N, P) weights → (N,) float64 values."""

_POINTS = 4096
"""Points whose outputs are held at once."""


def layer_of(name: str, value: Any) -> QuantumLayer:
    """A check of arguments: a quantum layer; a circuit is taken for one with Z on every wire and weights as it likes.

    Raises:
        InputError: neither.
    """
    return QuantumLayer(value) if isinstance(value, Circuit) else _a_layer(name, value)


_a_layer = a(QuantumLayer, write="QuantumLayer(circuit, observables)")


def cost_function(
    layer: QuantumLayer,
    x: Tensor | None = None,
    loss: Callable[[Tensor], Tensor] | None = None,
    closure: Callable[[], Tensor] | None = None,
) -> Cost:
    """What `landscape` and `curvatures` look at, without gradients and with exact expectation values.

    Args:
        layer: whose weights vary.
        x: inputs (B, F).
        loss: from the layer's outputs (B, M) to a scalar; None: the mean over inputs of the sum of outputs.
        closure: instead of x and loss, computes the loss of a whole model that contains the layer. It is evaluated
            point by point, each time with the same random numbers; put BatchNorm in eval mode.

    Raises:
        InputError: a closure together with x or loss, inputs that do not fit, or a loss that is no scalar.
    """
    if closure is not None:
        if x is not None or loss is not None:
            raise InputError("A closure computes the whole loss itself: give it alone, or x and loss.")
        whole = closure
        return lambda points: torch.stack([_at(layer, whole, point) for point in points])
    inputs = layer._check(x, None)[0].detach()
    if not len(inputs):
        raise InputError("The cost is a mean over inputs: give at least one in x, or None for circuits without.")
    rule = loss or _mean_of_sums

    def values(points: Tensor) -> Tensor:
        with torch.no_grad():
            parts = [rule(y) for part in points.split(_POINTS) for y in outputs_at(layer, inputs, part)]
        return torch.stack([_scalar(value) for value in parts])

    return values


def _mean_of_sums(outputs: Tensor) -> Tensor:
    return outputs.double().sum(1).mean()


def _at(layer: QuantumLayer, closure: Callable[[], Tensor], point: Tensor) -> Tensor:
    with torch.no_grad(), torch.random.fork_rng(), layer.exact(), layer.weights_at(point.to(layer.weights)):
        torch.manual_seed(0)
        return _scalar(closure())


def _scalar(value: object) -> Tensor:
    if not isinstance(value, Tensor) or value.numel() != 1:
        got = f"shape {tuple(value.shape)}" if isinstance(value, Tensor) else type(value).__name__
        raise InputError(f"The loss must be a tensor with one number, got {got}: reduce it, as with .mean().")
    return value.detach().reshape(()).to("cpu", torch.float64)
