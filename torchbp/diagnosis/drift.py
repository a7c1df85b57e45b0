"""Does the machine still give yesterday's answer? A fixed reference circuit, measured again and again."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TypeGuard

import torch
from torch import Tensor

from torchbp.backends import BACKENDS
from torchbp.layer import QuantumLayer
from torchbp.layer.foreign import AnyLayer


def can_drift(layer: AnyLayer) -> TypeGuard[QuantumLayer]:
    """Whether a layer runs on something that may answer otherwise tomorrow: all but the simulators in `BACKENDS`.

    Of another library's module it is not known.
    """
    return isinstance(layer, QuantumLayer) and type(layer.backend) not in BACKENDS.values()


@dataclass(frozen=True, eq=False)
class Reference:
    """A layer's expectation values at fixed inputs and weights, and the error they were known to.

    Attributes:
        x: (1, F) inputs.
        weights: (P,) weights.
        values: (M,) expectation values as they were first measured.
        variance: of a value of an observable of bound 1, at most: 1 / S with S shots, plus 1 / T from T trajectories;
            exact values are known to their rounding, taken as the square root of the number format's resolution.
    """

    x: Tensor
    weights: Tensor
    values: Tensor
    variance: Tensor

    @classmethod
    def of(cls, layer: QuantumLayer) -> Reference:
        """The layer at its present weights, with all features 0.5."""
        x = layer.weights.new_full((1, layer.n_features), 0.5)
        weights = layer.weights.detach().clone()
        return cls(x, weights, _measure(layer, x, weights), _variance(layer))

    def shift(self, layer: QuantumLayer) -> float:
        """Largest change of any value since, in standard errors of the difference, whatever the shots are since."""
        here = layer.weights.detach()
        now = _measure(layer, self.x.to(here), self.weights.to(here))
        bounds = now.new_tensor([o.bound for o in layer.observables])
        unit = math.sqrt(float(self.variance + _variance(layer)))
        return float(((now - self.values.to(now)).abs() / (unit * bounds)).max())


def _variance(layer: QuantumLayer) -> Tensor:
    draws = [n for n in (layer.shots, getattr(layer.backend, "n_trajectories", None)) if n is not None]
    return torch.tensor(sum(1 / n for n in draws) or torch.finfo(layer.weights.dtype).eps, dtype=torch.float64)


def _measure(layer: QuantumLayer, x: Tensor, weights: Tensor) -> Tensor:
    with torch.no_grad(), layer.weights_at(weights):
        return layer(x)[0].clone()
