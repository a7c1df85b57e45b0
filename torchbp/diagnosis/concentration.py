"""Does the quantum layer's output concentrate over parameter space? The defining property of a barren plateau."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from torchbp.circuits import PauliSum
from torchbp.errors import InputError
from torchbp.layer.foreign import AnyLayer


@dataclass(frozen=True)
class Concentration:
    """Variances of the expectation values over weights, for fixed inputs, in units of each observable's scale.

    The scale of sum_k c_k P_k is sum_k c_k^2 (without the identity): the variance of independent terms that are each
    +-1. A trainable circuit has a share of order 1 of it, a 2-design 1 / (2^n + 1) for whatever observable, as the
    Haar average of <P_j><P_k> is delta_jk / (d + 1). Medians over observables (without constants) and inputs.

    Attributes:
        far: over uniform weights, every angle in U(-pi, pi): the landscape as a whole.
        near: over the surroundings of the present weights, every angle changed by U(-radius, radius).
        two_design: 1 / (2^n + 1), NaN where n is not known. Depth can't bring a circuit much below this; a global
            observable or noise can.
        evaluations: circuit evaluations it took.
        radius: of the surroundings, in radians.
    """

    far: float
    near: float
    two_design: float
    evaluations: int
    radius: float


def concentration(
    layer: AnyLayer,
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
        layer: the layer, at its present weights and its exact (noisy, if it has noise) expectation values. What another
            library's module returns is taken for expectation values of single Pauli strings, and is called once for
            each draw.
        x: inputs (B, F); the first `max_inputs` are used. None for circuits without features.
        samples: draws of the weights, near and far each; at least 2.
        radius: half the side of the box around the present weights, in radians.
        generator: source of the draws.

    Raises:
        InputError: too few samples, no input, or inputs that the layer does not take.
    """
    if samples < 2:
        raise InputError(f"A variance needs at least 2 samples, got samples={samples}.")
    if x is not None and not len(x):
        raise InputError("The layer is probed on at least one input, got none.")
    inputs = None if x is None else x.detach()[:max_inputs]
    present = layer.weights.detach()
    shape = (samples, present.numel())
    draws = 2 * torch.rand(shape, generator=generator, dtype=torch.float64).to(present) - 1
    far = _variance(layer, inputs, math.pi * draws)
    near = _variance(layer, inputs, present + radius * draws)
    two_design = math.nan if layer.n_wires is None else 1 / (2**layer.n_wires + 1)
    evaluations = 2 * samples * (1 if inputs is None else len(inputs))
    return Concentration(far, near, two_design, evaluations, radius)


def _variance(layer: AnyLayer, inputs: Tensor | None, weights: Tensor) -> float:
    """Median over inputs and observables of Var[<O>] / scale, for weights (S, P)."""
    variances = layer.outputs(inputs, weights).double().var(0)
    if layer.observables is not None:
        variances = variances / variances.new_tensor([_scale(o) for o in layer.observables])
    return float(variances.nanmedian())


def _scale(observable: PauliSum) -> float:
    return sum(c**2 for string, c in observable.terms if string)
