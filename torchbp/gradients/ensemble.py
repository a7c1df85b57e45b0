"""Gradients over re-drawn weights: the source `ensemble`, whose variance is what defines a barren plateau."""

from __future__ import annotations

import math
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from torchbp.circuits import initialize
from torchbp.circuits.initializers import Initializer
from torchbp.errors import InputError
from torchbp.gradients.groups import WeightGroup
from torchbp.gradients.microbatch import microbatch_gradients, split_batch
from torchbp.gradients.source import Loss, Measured
from torchbp.gradients.stats import GradientStatistics
from torchbp.layer import QuantumLayer

SOURCE = "ensemble"

_CHUNK = 2**22
"""Amplitudes simulated at once."""


def ensemble_gradients(
    layer: QuantumLayer,
    x: Tensor | None = None,
    *,
    samples: int = 128,
    init: str | Initializer = "uniform",
    cotangent: Tensor | None = None,
    generator: torch.Generator | None = None,
) -> Tensor:
    """dC/dw at weights drawn again and again, for the cost C(w) = mean_b sum_m cotangent[b, m] <O_m>(x_b, w).

    Var[dC/dw_i] over uniform weights falls exponentially with the number of wires on a barren plateau (McClean et al.
    2018, Nat. Commun. 9:4812): take several sizes and look at the slope, one size can't establish it. Initializers
    that avoid the plateau show here before any training. With noise, if the layer has some, but exact expectation
    values. All draws run as one batch.

    The gradient is heavy-tailed for global observables: a variance from S draws has a relative standard error of
    sqrt((kurtosis - 1) / S), and the kurtosis grows exponentially with the wires. Too few draws read low.

    Args:
        layer: gives circuit, observables and backend; its own weights are neither used nor changed.
        x: inputs (B, F); None for a circuit without features.
        samples: draws S.
        init: where the weights are drawn from, see `torchbp.circuits.INITIALIZERS`.
        cotangent: (M,) or (B, M); ones if left out.
        generator: source of the draws; torch's global one if left out.

    Returns:
        (S, P), for `GradientStatistics.from_samples` and `mean_variance`.

    Raises:
        InputError: fewer than two samples, or inputs or a cotangent that do not fit.
    """
    if samples < 2:
        raise InputError(f"A variance needs at least 2 samples, got samples={samples}.")
    inputs = layer._check(x, None)[0].detach()
    if not len(inputs):
        raise InputError("The cost is a mean over inputs: give at least one in x, or None for circuits without.")
    shape = len(inputs), len(layer.observables)
    try:
        slopes = inputs.new_ones(shape) if cotangent is None else cotangent.detach().to(inputs).expand(shape)
    except RuntimeError as error:
        wanted = f"({shape[1]},) or {shape}"
        raise InputError(f"The cotangent must have shape {wanted}, got {tuple(cotangent.shape)}.") from error  # type: ignore[union-attr]
    draws = torch.stack([initialize(init, layer.circuit, generator) for _ in range(samples)]).to(inputs)
    step = max(1, (_CHUNK >> layer.n_wires) // len(inputs))
    return torch.cat([costs_and_gradients(layer, inputs, part, slopes)[1] for part in draws.split(step)])


def costs_and_gradients(layer: QuantumLayer, inputs: Tensor, draws: Tensor, cotangent: Tensor) -> tuple[Tensor, Tensor]:
    """The cost of `ensemble_gradients` and its gradient at given weights; every draw meets every input, in one batch.

    Args:
        layer: gives circuit, observables and backend.
        inputs: (B, F).
        draws: (S, P) weights.
        cotangent: (B, M).

    Returns:
        (S,) and (S, P), detached.
    """
    with torch.enable_grad():
        weights = draws.detach().clone().requires_grad_()
        every = weights.repeat_interleave(len(inputs), 0)
        y = layer.backend.expectations(layer.circuit, layer.observables, inputs.repeat(len(draws), 1), every)
        costs = (y * cotangent.repeat(len(draws), 1)).sum(1).view(len(draws), -1).mean(1)
        if not y.requires_grad:
            return costs, torch.zeros_like(draws)
        return costs.detach(), torch.autograd.grad(costs.sum(), weights)[0]


@dataclass(frozen=True)
class Ensemble:
    """Re-drawn weights of all `QuantumLayer`s as samples of the gradient of a loss on one batch.

    All else stays: data, classical weights (which are not measured). The loss is evaluated once for each draw.
    Its variance is the number to look at; the SNR only says whether the mean over all draws differs from zero.

    Args:
        samples: draws S, at least 2.
        init: where weights are drawn from, as in `ensemble_gradients`.
        generator: source of the draws; torch's global one if left out.
    """

    samples: int = 32
    init: str | Initializer = "uniform"
    generator: torch.Generator | None = None
    name: str = SOURCE

    def measure(
        self, model: nn.Module, loss: Loss, batch: Any, groups: Sequence[WeightGroup], scale: float = 1.0
    ) -> Measured:
        """See `GradientSource`.

        Raises:
            InputError: fewer than two samples, or a model without a `QuantumLayer`.
        """
        if self.samples < 2:
            raise InputError(f"A variance needs at least 2 samples, got samples={self.samples}.")
        layers = [m for m in model.modules() if isinstance(m, QuantumLayer)]
        if not layers:
            raise InputError(f"There is no torchbp.QuantumLayer in {type(model).__name__} whose weights to draw.")
        samples = torch.cat([self._draw(layers, loss, batch, groups, scale) for _ in range(self.samples)])
        drawn = {p for layer in layers for p in layer.parameters()}
        redrawn = [all(p in drawn for p, _ in group.parts) for group in groups]
        columns = samples.split([len(group) for group in groups], 1)
        kept = [c if yes else torch.full_like(c, math.nan) for c, yes in zip(columns, redrawn, strict=True)]
        unmeasured = {g.name: "its weights are not drawn" for g, yes in zip(groups, redrawn, strict=True) if not yes}
        return Measured(self.name, GradientStatistics.from_samples(torch.cat(kept, 1)), unmeasured)

    def _draw(
        self, layers: Sequence[QuantumLayer], loss: Loss, batch: Any, groups: Sequence[WeightGroup], scale: float
    ) -> Tensor:
        """(1, P): the gradient at new weights."""
        with ExitStack() as undo:
            for layer in layers:
                undo.enter_context(layer.weights_at(initialize(self.init, layer.circuit, self.generator)))
            return microbatch_gradients(loss, groups, split_batch(batch, 1), scale)
