"""Can a search see anything at the shots there are? Answered before it begins, without spending any."""

from __future__ import annotations

import math
from collections.abc import Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor

from torchbp.backends.shots import measures
from torchbp.callbacks.mechanics.evaluation import losses_at, mean_over_ranks
from torchbp.callbacks.mechanics.isolation import LossFunction, training_loss
from torchbp.callbacks.mechanics.quantum_weights import QuantumWeights
from torchbp.diagnosis.probing import passage
from torchbp.gradients.microbatch import split_batch
from torchbp.gradients.shot_noise import output_noise
from torchbp.gradients.stats import RESOLVED


@dataclass(frozen=True)
class Resolution:
    """How the differences that a search would go by compare with the noise of one evaluation.

    Attributes:
        signal: standard deviation of the exact losses at the points that the search begins with.
        noise: standard deviation of one evaluation by its shots; 0 where there are none, or where it is not known.
        evaluations: that can be paid for.
    """

    signal: float
    noise: float
    evaluations: int

    @property
    def needed(self) -> float:
        """Evaluations at which the means of two halves differ by 3 standard errors if they differ by the signal:
        3^2 * 4 noise^2 / signal^2. Necessary for a search in many dimensions, and far from sufficient."""
        if self.noise == 0:
            return 0.0
        return 4 * (RESOLVED * self.noise / self.signal) ** 2 if self.signal > 0 else math.inf

    @property
    def sufficient(self) -> bool:
        """Whether a search should begin."""
        return not self.needed > self.evaluations

    def __str__(self) -> str:
        needed = "no number of evaluations" if math.isinf(self.needed) else f"{float(f'{self.needed:.2g}'):,.0f}"
        text = f"its points differ by {self.signal:.2g} and the shots of one evaluation by {self.noise:.2g}, so it "
        return f"{text}would take {needed} to tell them apart, and {self.evaluations:,} can be paid for"


def resolution(
    trainer: Any,
    module: Any,
    weights: QuantumWeights,
    points: Sequence[Tensor],
    batch: Any,
    batch_idx: int,
    *,
    evaluations: int,
    loss_fn: LossFunction | None,
) -> Resolution:
    """From exact outcome distributions, for a loss that is nearly linear within its shot noise.

    On a machine and in another library's module, which have no exact values, and for a loss that can't be evaluated,
    the noise is not known.

    Args:
        points: (P,) each, all weights of the layers.
    """
    present = QuantumWeights.of(module)
    every = list(present.known.values())
    strangers = len(every) < len(present.layers)
    if all(layer.shots is None for layer in every) or any(measures(q.backend) for q in every) or strangers:
        return Resolution(math.nan, 0.0, evaluations)
    finite = [(layer, layer.shots) for layer in every if layer.shots is not None]
    noise = 0.0
    with ExitStack() as exact:
        for layer in every:
            exact.enter_context(layer.exact())
        for layer, shots in finite:
            with suppress(Exception), training_loss(trainer, module, batch_idx, loss_fn) as loss:
                way = passage(layer, partial(loss, split_batch(batch, 1)[0]))
                noise += output_noise(layer, way.x, way.cotangent) / shots
        losses = losses_at(trainer, module, weights, points, batch, batch_idx, seed=0, loss_fn=loss_fn)
    shared = mean_over_ranks(trainer, torch.tensor(noise, dtype=torch.float64))
    spread = float(torch.tensor(losses, dtype=torch.float64).std())
    noise = math.sqrt(float(shared) / trainer.world_size) if math.isfinite(spread) else 0.0
    return Resolution(spread, noise, evaluations)
