"""Costs and gradients at many weights at once, exact or as measured with finite shots."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from torchbp.backends.base import initial_states
from torchbp.backends.shots import Sampler, ShiftedCircuits, ShotMeter, Shots
from torchbp.gradients.ensemble import costs_and_gradients
from torchbp.gradients.shot_noise import outcome_moments
from torchbp.layer import QuantumLayer

_NUMBERS = 2**22
"""Amplitudes or angles held at once."""


@dataclass(frozen=True, eq=False)
class Draws:
    """What was found at S random weights (S, P); all float64.

    Attributes:
        costs: (S,) the cost, mean_b sum_m <O_m>(x_b).
        gradients: (S, P) its derivatives.
        cost_noise, gradient_noise: of the same shapes, the exact variance of each value's measurement; None where
            values are exact.
    """

    costs: Tensor
    gradients: Tensor
    cost_noise: Tensor | None = None
    gradient_noise: Tensor | None = None

    @classmethod
    def join(cls, parts: list[Draws]) -> Draws:
        """All draws, one after another."""

        def joined(name: str) -> Tensor | None:
            tensors = [getattr(part, name) for part in parts]
            return None if tensors[0] is None else torch.cat(tensors)

        costs, gradients = joined("costs"), joined("gradients")
        assert costs is not None
        assert gradients is not None
        return cls(costs, gradients, joined("cost_noise"), joined("gradient_noise"))


def exact_draws(layer: QuantumLayer, inputs: Tensor, weights: Tensor) -> Draws:
    """From exact expectation values and their adjoint gradients, for inputs (B, F) and weights (S, P)."""
    ones = inputs.new_ones(len(inputs), len(layer.observables))
    step = max(1, (_NUMBERS >> layer.n_wires) // len(inputs))
    parts = [costs_and_gradients(layer, inputs, part, ones) for part in weights.split(step)]
    return Draws.join([Draws(costs.double(), gradients.double()) for costs, gradients in parts])


def costs_at(layer: QuantumLayer, inputs: Tensor, weights: Tensor) -> Tensor:
    """(S,) float64: the exact cost mean_b sum_m <O_m>(x_b) at weights (S, P), for inputs (B, F)."""
    return outputs_at(layer, inputs, weights).double().sum(2).mean(1)


def outputs_at(layer: QuantumLayer, inputs: Tensor, weights: Tensor) -> Tensor:
    """(S, B, M): the exact expectation values at weights (S, P), for inputs (B, F)."""
    step = max(1, (_NUMBERS >> layer.n_wires) // len(inputs))
    with torch.no_grad():
        parts = [
            layer.backend.expectations(
                layer.circuit,
                layer.observables,
                inputs.repeat(len(part), 1),
                part.to(inputs).repeat_interleave(len(inputs), 0),
            )
            for part in weights.split(step)
        ]
    return torch.cat(parts).view(len(weights), len(inputs), -1)


def measured_draws(
    layer: QuantumLayer, inputs: Tensor, weights: Tensor, shots: int, generator: torch.Generator
) -> Draws:
    """From `shots` shots for each circuit and measurement group, by the parameter-shift rule.

    The outcome distributions are simulated, so the variance of every value's measurement is known exactly: for one
    Pauli observable and one rotation it is (2 - E+^2 - E-^2) / (4 shots).
    """
    sampler = Sampler(layer.circuit, layer.observables)
    terms = 1 + sum(len(rule) for rule, kind in zip(sampler.rules, sampler.kinds, strict=True) if kind == "weight")
    step = max(1, _NUMBERS // (terms * len(inputs) * max(1, len(sampler.rules))))
    plan = Shots(shots, generator, ShotMeter())
    with torch.no_grad():
        return Draws.join([_measure(layer, sampler, inputs, part, plan) for part in weights.split(step)])


def _measure(layer: QuantumLayer, sampler: Sampler, inputs: Tensor, weights: Tensor, shots: Shots) -> Draws:
    draws, batch = len(weights), len(inputs)
    angles = sampler.angles(inputs.repeat(draws, 1), weights.repeat_interleave(batch, 0))
    start = initial_states(layer.circuit, inputs.repeat(draws, 1), None)
    costs, cost_noise = (v.view(draws, batch) for v in _estimate(layer, sampler, angles, start, shots))
    shifted = ShiftedCircuits.of(sampler, angles, start, [kind == "weight" for kind in sampler.kinds])
    values, variances = _estimate(layer, sampler, shifted.angles, shifted.starts, shots)
    factors = (shifted.coefficients.double() * sampler.scales.to(shifted.slots.device)[shifted.slots])[:, None] / batch
    columns = sampler.weights.to(shifted.slots.device)[shifted.slots]
    shape = len(shifted.slots), draws, batch

    def summed(each: Tensor) -> Tensor:
        return each.new_zeros(draws, weights.shape[1]).index_add(1, columns, each.T)

    gradients = summed(values.view(shape).sum(2) * factors)
    gradient_noise = summed(variances.view(shape).sum(2) * factors.square())
    return Draws(costs.mean(1), gradients, cost_noise.sum(1) / batch**2, gradient_noise)


def _estimate(
    layer: QuantumLayer, sampler: Sampler, angles: Tensor, start: Tensor | None, shots: Shots
) -> tuple[Tensor, Tensor]:
    """(N,) sampled sum of all observables in each circuit, and the exact variance of that estimate."""
    assert shots.number is not None
    ones = torch.ones(len(angles), len(layer.observables), dtype=torch.float64, device=angles.device)
    values = sampler.sample(layer.backend, angles, start, shots).double().sum(1)
    return values, outcome_moments(layer.backend, sampler, angles, start, ones)[1] / shots.number
