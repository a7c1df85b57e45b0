"""How strong the gradient of a quantum layer is at a start, and how many shots it takes to see it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor

from torchbp.backends.base import initial_states
from torchbp.backends.shots import Sampler, ShiftedCircuits
from torchbp.diagnosis.light_cone import dead_weights
from torchbp.gradients.ensemble import costs_and_gradients
from torchbp.gradients.shot_noise import outcome_moments
from torchbp.gradients.stats import RESOLVED
from torchbp.layer import QuantumLayer

_GATES = 2**24
"""Amplitudes times rotations that are spent on the shot noise."""

_ROUNDING = 1e-13
"""Of the largest gradient there could be: what is below is zero."""

_NUMBERS = 2**22
"""Amplitudes simulated at once."""


@dataclass(frozen=True)
class Signal:
    """A gradient against its shot noise, over weights and starts.

    Attributes:
        mean_square: mean of g^2 over starts and weights in the light cone, in units of (loss / radian)^2.
        ratio: median of |g| / sqrt(Var_1), with Var_1 the variance of its estimate from one shot for each circuit, over
            starts and the weights that move the loss at any of them.
        circuits: circuits times measurement groups that one training step runs, forward and parameter shifts.
    """

    mean_square: float
    ratio: float
    circuits: int

    @property
    def shots(self) -> float:
        """Shots for each circuit and measurement group at which the SNR is 3; inf where there is no gradient."""
        return max(1.0, (RESOLVED / self.ratio) ** 2) if self.ratio > 0 else math.inf

    @property
    def shots_per_step(self) -> float:
        """The same for all circuits of a step."""
        return self.shots * self.circuits

    def snr(self, shots_per_step: float) -> float:
        """SNR where a step may take this many shots in all."""
        return self.ratio * math.sqrt(shots_per_step / self.circuits)

    def to_dict(self) -> dict[str, Any]:
        """The attributes and shots, as JSON can hold them."""
        return asdict(self) | {"shots": self.shots, "shots_per_step": self.shots_per_step}


def signal_of(
    layer: QuantumLayer, x: Tensor | None, cotangent: Tensor, starts: Tensor, features_train: bool = False
) -> Signal:
    """The signal of sum_bm cotangent[b, m] y[b, m].

    Args:
        layer: gives circuit, observables and backend.
        x: features (B, F), None for a circuit without.
        cotangent: dL/dy, (B, M).
        starts: weights (K, P); gradients are exact at each. The shot noise is taken from the first start and, of many
            weights and samples, from some, which stand for the others.
        features_train: whether a step differentiates by the features too, which takes circuits of its own.
    """
    inputs = cotangent.new_empty(len(cotangent), 0) if x is None else x
    inputs, slopes, draws = (t.detach().to(layer.weights) for t in (inputs, cotangent, starts))
    step = max(1, (_NUMBERS >> layer.n_wires) // len(inputs))
    parts = [costs_and_gradients(layer, inputs, part, slopes * len(inputs))[1] for part in draws.split(step)]
    gradients = torch.cat(parts).double()
    largest = float(gradients.abs().max()) if gradients.numel() else 0.0
    scale = float(slopes.abs().sum()) * max(observable.bound for observable in layer.observables)
    circuits = circuits_per_step(layer, len(inputs), features_train)
    if largest <= _ROUNDING * scale:
        return Signal(0.0, 0.0, circuits)
    alive = torch.nonzero(gradients.abs().amax(0) > _ROUNDING * scale)[:, 0]
    chosen = alive[:: max(1, len(alive) * 2 // _affordable(layer))]
    noise = torch.full_like(gradients[0], math.nan)
    noise[chosen] = _single_shot_variance(layer, inputs, draws[0], slopes, chosen.tolist())
    noise = noise.where(~noise.isnan(), noise.nanmean())
    ratios = (gradients[:, alive].abs() / noise[alive].sqrt()).nan_to_num(0.0)
    dead = list(dead_weights(layer.circuit, layer.observables))
    reaching = gradients.shape[1] - len(dead)
    return Signal(float(gradients.square().sum()) / (len(gradients) * reaching), float(ratios.median()), circuits)


def circuits_per_step(layer: QuantumLayer, batch: int, features_train: bool) -> int:
    """Circuits times measurement groups of a forward and backward pass with finite shots, as `shots_used` counts."""
    sampler = Sampler(layer.circuit, layer.observables)
    moving = {"weight": True, "feature": features_train, "constant": False}
    terms = sum(len(rule) for rule, kind in zip(sampler.rules, sampler.kinds, strict=True) if moving[kind])
    return batch * (1 + terms) * len(sampler.grouping.groups)


def _affordable(layer: QuantumLayer) -> int:
    """Circuits to simulate for the shot noise: it differs little from weight to weight and from sample to sample."""
    rotations = sum(step.angle is not None for step in layer.circuit.elementary)
    return min(512, max(8, (_GATES >> layer.n_wires) // rotations))


def _single_shot_variance(
    layer: QuantumLayer, inputs: Tensor, weights: Tensor, slopes: Tensor, chosen: Sequence[int]
) -> Tensor:
    """(len(chosen),) as in `shot_noise`, from as many samples as are affordable, scaled to the whole batch."""
    sampler = Sampler(layer.circuit, layer.observables)
    of_rotation = [(int(w), kind) for w, kind in zip(sampler.weights, sampler.kinds, strict=True)]
    wanted = set(chosen)
    moving = [kind == "weight" and w in wanted for w, kind in of_rotation]
    terms = sum(len(rule) for rule, moves in zip(sampler.rules, moving, strict=True) if moves)
    kept = min(len(inputs), max(1, _affordable(layer) // terms))
    with torch.no_grad():
        angles = sampler.angles(inputs[:kept], weights)
        shifted = ShiftedCircuits.of(sampler, angles, initial_states(layer.circuit, inputs[:kept], None), moving)
        cotangent = slopes[:kept].double().repeat(terms, 1)
        _, variance = outcome_moments(layer.backend, sampler, shifted.angles, shifted.starts, cotangent)
    factors = shifted.coefficients.double() * sampler.scales.to(variance)[shifted.slots]
    each = (factors.square()[:, None] * variance.view(terms, kept)).sum(1) * (len(inputs) / kept)
    columns = sampler.weights.to(shifted.slots.device)[shifted.slots]
    return each.new_zeros(len(weights)).index_add(0, columns, each)[list(chosen)]
