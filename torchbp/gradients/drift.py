"""Does the machine still give yesterday's answer? A fixed reference circuit, measured again and again."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from torchbp.layer import QuantumLayer


@dataclass(frozen=True, eq=False)
class Reference:
    """A layer's expectation values at fixed inputs and weights, and the error they were known to.

    Attributes:
        x: (1, F) inputs.
        weights: (P,) weights.
        values: (M,) expectation values as they were first measured.
    """

    x: Tensor
    weights: Tensor
    values: Tensor

    @classmethod
    def of(cls, layer: QuantumLayer) -> Reference:
        """The layer at its present weights, with all features 0.5."""
        x = layer.weights.new_full((1, layer.circuit.n_features), 0.5)
        weights = layer.weights.detach().clone()
        return cls(x, weights, _measure(layer, x, weights))

    def shift(self, layer: QuantumLayer) -> float:
        """Largest change of any value since, in standard errors of the difference.

        With S shots an observable of bound b has a standard error of at most b / sqrt(S), from T trajectories one of
        about b / sqrt(T); exact values are known to their rounding, taken as the square root of the number format's
        resolution.
        """
        here = layer.weights.detach()
        now = _measure(layer, self.x.to(here), self.weights.to(here))
        bounds = now.new_tensor([o.bound for o in layer.observables])
        draws = [n for n in (layer.shots, getattr(layer.backend, "n_trajectories", None)) if n is not None]
        unit = math.sqrt(sum(1 / n for n in draws) or torch.finfo(now.dtype).eps)
        return float(((now - self.values.to(now)).abs() / (math.sqrt(2) * unit * bounds)).max())


def _measure(layer: QuantumLayer, x: Tensor, weights: Tensor) -> Tensor:
    with torch.no_grad(), layer.weights_at(weights):
        return layer(x)[0].clone()
