"""Does the quantum layer's output concentrate over parameter space? The defining property of a barren plateau."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from torchbp.circuits import PauliSum
from torchbp.errors import InputError
from torchbp.layer import QuantumLayer


@dataclass(frozen=True)
class Concentration:
    """Variances of the expectation values over weights, for fixed inputs, in units of each observable's scale.

    The scale of sum_k c_k P_k is sum_k c_k^2 (without the identity): the variance of independent terms that are each
    +-1. A trainable circuit has a share of order 1 of it, a 2-design 1 / (2^n + 1) for whatever observable, as the
    Haar average of <P_j><P_k> is delta_jk / (d + 1). Medians over observables (without constants) and inputs.

    Attributes:
        far: over uniform weights, every angle in U(-pi, pi): the landscape as a whole.
        near: over the surroundings of the present weights, every angle changed by U(-radius, radius).
        two_design: 1 / (2^n + 1). Depth can't bring a circuit much below this; a global observable or noise can.
        evaluations: circuit evaluations it took.
        radius: of the surroundings, in radians.
    """

    far: float
    near: float
    two_design: float
    evaluations: int
    radius: float


def concentration(
    layer: QuantumLayer,
    x: Tensor | None = None,
    *,
    samples: int = 32,
    radius: float = math.pi / 8,
    max_inputs: int = 4,
    generator: torch.Generator | None = None,
) -> Concentration:
    """Probe a layer's expectation values at random weights near and far; nothing is changed.

    A variance from S samples has a relative standard error of about sqrt(2 / S), more where tails are heavy, as they
    are for global observables: it tells 1e-2 from 1e-4, not 1e-2 from 2e-2.

    Args:
        layer: the layer, at its present weights and its exact (noisy, if it has noise) expectation values.
        x: inputs (B, F); the first `max_inputs` are used. None for circuits without features.
        samples: draws of the weights, near and far each; at least 2.
        radius: half the side of the box around the present weights, in radians.
        generator: source of the draws.

    Raises:
        InputError: too few samples, no input, or inputs that the layer does not take.
    """
    if samples < 2:
        raise InputError(f"A variance needs at least 2 samples, got samples={samples}.")
    inputs = layer._check(x, None)[0].detach()[:max_inputs]
    if not len(inputs):
        raise InputError("The layer is probed on at least one input, got none.")
    present = layer.weights.detach()
    shape = (samples, present.numel())
    draws = 2 * torch.rand(shape, generator=generator, dtype=torch.float64).to(present) - 1
    far = _variance(layer, inputs, math.pi * draws)
    near = _variance(layer, inputs, present + radius * draws)
    return Concentration(far, near, 1 / (2**layer.n_wires + 1), 2 * samples * len(inputs), radius)


def _variance(layer: QuantumLayer, inputs: Tensor, weights: Tensor) -> float:
    """Median over inputs and observables of Var[<O>] / scale, for weights (S, P)."""
    every = inputs.repeat_interleave(len(weights), 0)
    with torch.no_grad():
        values = layer.backend.expectations(
            layer.circuit, layer.observables, every, weights.repeat(len(inputs), 1)
        ).double()
    variances = values.view(len(inputs), len(weights), -1).var(1)
    scales = values.new_tensor([_scale(o) for o in layer.observables])
    return float((variances / scales).nanmedian())


def _scale(observable: PauliSum) -> float:
    return sum(c**2 for string, c in observable.terms if string)
