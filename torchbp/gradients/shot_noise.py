"""What finite shots do to a gradient: the source `shots`.

On a simulator computed exactly, without sampling; on a machine measured: from the spread of its shots.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from torchbp.backends.base import Backend, initial_states
from torchbp.backends.shots import Sampler, ShiftedCircuits, measures
from torchbp.errors import InputError
from torchbp.gradients.stats import RESOLVED
from torchbp.layer import QuantumLayer

SOURCE = "shots"


@dataclass(frozen=True, eq=False)
class ShotNoise:
    """The parameter-shift gradient of a loss and its shot noise, for each weight.

    Attributes:
        gradient: (P,) dL/dw; exact on a simulator, an estimate on a machine.
        single_shot_variance: (P,) variance of its estimate from one shot for each circuit and measurement group; from
            S shots it is this / S. The noise of the forward pass in the cotangent is not in it.
    """

    gradient: Tensor
    single_shot_variance: Tensor

    def snr(self, shots: int) -> Tensor:
        """(P,) |g| / SE at this many shots; NaN where both are zero."""
        return self.gradient.abs() / (self.single_shot_variance / shots).sqrt()

    def shots_to_resolve(self, snr: float = RESOLVED) -> Tensor:
        """(P,) shots for each circuit at which the SNR would be `snr`: snr^2 Var_1 / g^2; inf where g is 0."""
        needed = snr**2 * self.single_shot_variance / self.gradient.square()
        return needed.where(self.gradient != 0, needed.new_tensor(math.inf))


def shot_noise(layer: QuantumLayer, x: Tensor | None, cotangent: Tensor) -> ShotNoise:
    """Gradient and shot noise of sum_bm cotangent[b, m] y[b, m], from the exact outcome distributions.

    On a machine (`torchbp.hardware.QiskitBackend`) every circuit is run, at the layer's shots, and both are measured.

    A weight turns rotations s at rates r_s, with shift rules of terms (c, d). Its estimate is the sum over s, terms and
    samples b of r_s c f_b(t_s + d), where f_b is one circuit's average over its shots of sum_m cotangent[b, m] O_m.
    All circuits are measured on their own, so the variance is the sum of r_s^2 c^2 Var[f_b]. For one Pauli observable
    and one rotation of unit gap it is (2 - E+^2 - E-^2) / (4 S), with S shots for each of the two circuits.

    Args:
        layer: at its present weights, with its exact states.
        x: features (B, F), None for a circuit without.
        cotangent: dL/dy, (B, M).

    Raises:
        InputError: the shapes do not fit.
    """
    weights = layer.weights.detach()
    inputs = _inputs(layer, x, cotangent)
    sampler = Sampler(layer.circuit, layer.observables)
    with torch.no_grad():
        angles = sampler.angles(inputs, weights)
        start = initial_states(layer.circuit, inputs, None)
        shifted = ShiftedCircuits.of(sampler, angles, start, [kind == "weight" for kind in sampler.kinds])
        every = cotangent.detach().double().repeat(len(shifted.slots), 1)
        mean, variance = outcome_moments(layer.backend, sampler, shifted.angles, shifted.starts, every)
    terms, batch = len(shifted.slots), len(inputs)
    c = shifted.coefficients.double()[:, None] * sampler.scales.to(mean)[shifted.slots, None]
    slopes, noises = (c * mean.view(terms, batch)).sum(1), (c.square() * variance.view(terms, batch)).sum(1)
    weight_of_term = sampler.weights.to(mean.device)[shifted.slots]
    zero = mean.new_zeros(weights.numel())
    return ShotNoise(zero.index_add(0, weight_of_term, slopes), zero.index_add(0, weight_of_term, noises))


def output_noise(layer: QuantumLayer, x: Tensor | None, cotangent: Tensor) -> float:
    """Variance of sum_bm cotangent[b, m] y[b, m] from one shot for each sample and measurement group; from S it is / S.

    With cotangent dL/dy that of a loss which is linear in y, or nearly so within the noise. Arguments and errors as for
    `shot_noise`; B circuits.
    """
    inputs = _inputs(layer, x, cotangent)
    sampler = Sampler(layer.circuit, layer.observables)
    with torch.no_grad():
        angles = sampler.angles(inputs, layer.weights.detach())
        start = initial_states(layer.circuit, inputs, None)
        return float(outcome_moments(layer.backend, sampler, angles, start, cotangent.detach().double())[1].sum())


def _inputs(layer: QuantumLayer, x: Tensor | None, cotangent: Tensor) -> Tensor:
    weights = layer.weights.detach()
    inputs = weights.new_empty(len(cotangent), 0) if x is None else layer._check(x, None)[0].detach()
    if cotangent.shape != (len(inputs), len(layer.observables)):
        raise InputError(
            f"The cotangent must have shape {(len(inputs), len(layer.observables))}, one value for each output, got "
            f"{tuple(cotangent.shape)}."
        )
    return inputs


def outcome_moments(
    backend: Backend, sampler: Sampler, angles: Tensor, start: Tensor | None, cotangent: Tensor
) -> tuple[Tensor, Tensor]:
    """Mean and single-shot variance (N,) of sum_m cotangent[i, m] O_m in each of N circuits, exact.

    Args:
        backend: simulates the circuits.
        sampler: of the circuit and its observables.
        angles: (N, S) of all rotations, as `ShiftedCircuits` has them.
        start: (N, 2^n) initial states, or None.
        cotangent: (N, M) float64.
    """
    if measures(backend):
        seen = backend.measure(sampler.circuit, sampler.grouping, angles, start, backend.shots)
        every = cotangent.to(seen.values)
        variance = torch.einsum("nm,nmk,nk->n", every, seen.covariance, every)
        return (every * seen.values).sum(1), variance.clamp_min(0.0)
    values = sampler.outcome_values(angles.device)
    constants = torch.as_tensor(sampler.grouping.constants, device=angles.device)
    if not sampler.grouping.groups:  # nothing but the identity: nothing to measure
        return cotangent @ constants, torch.zeros(len(cotangent), dtype=torch.float64, device=angles.device)
    means, variances, done = [], [], 0
    for distributions in sampler.outcome_probabilities(backend, angles, start):
        part = cotangent[done : done + len(distributions[0])]
        done += len(part)
        mean, variance = part @ constants, torch.zeros(len(part), dtype=torch.float64, device=angles.device)
        for p, value in zip(distributions, values, strict=True):
            outcome = part @ value.T
            first = (p * outcome).sum(1)
            mean = mean + first
            variance = variance + (p * outcome.square()).sum(1) - first.square()
        means.append(mean)
        variances.append(variance)
    return torch.cat(means), torch.cat(variances).clamp_min(0.0)
