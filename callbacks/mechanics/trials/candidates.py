"""Where to start anew: draws starting points for the quantum weights, and tells which one promises most."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from torchbp.callbacks.mechanics.evaluation import mean_over_ranks, seeded_loss
from torchbp.callbacks.mechanics.isolation import LossFunction, training_loss
from torchbp.callbacks.mechanics.quantum_weights import QuantumWeights
from torchbp.circuits.initializers import Initializer
from torchbp.gradients.groups import WeightGroup
from torchbp.gradients.microbatch import batch_size, microbatch_gradients, smallest_part, split_batch


@dataclass(frozen=True)
class Score:
    """What a starting point promises.

    Attributes:
        loss: mean over the halves of the batch, and over all processes.
        slope: length of the gradient by the weights that move, free of the noise of shots and of the halves' samples.
    """

    loss: float
    slope: float

    @property
    def promise(self) -> float:
        """The loss one radian down the slope, in a straight line: the lower, the better; inf where it is not known."""
        value = self.loss - self.slope
        return value if math.isfinite(value) else math.inf


def best(scores: Sequence[Score]) -> int:
    """Index of the point with the lowest promise; the first of them."""
    return min(range(len(scores)), key=lambda i: scores[i].promise)


def slope(one: Tensor, other: Tensor) -> float:
    """Length of the gradient, from two estimates (P,) of it with independent noise: sqrt(max(0, one . other)).

    The product of independent errors is zero in the mean, while each estimate's own square is not: of two candidates
    the one with more noise would look steeper. NaN entries (frozen weights) don't count.
    """
    product = float((one.double() * other.double()).nansum())
    return math.sqrt(max(0.0, product))


def draw(
    weights: QuantumWeights, strategies: Sequence[str | Initializer], number: int, generator: torch.Generator
) -> list[Tensor]:
    """`number` starting points (P,), from the strategies in turn.

    Raises:
        what `initialize` raises.
    """
    points = []
    for k in range(number):
        strategy = strategies[k % len(strategies)]
        parts = [layer.draw(strategy, generator).double() for layer in weights.layers.values()]
        points.append(torch.cat(parts))
    return points


def score(
    trainer: Any,
    module: Any,
    weights: QuantumWeights,
    points: Sequence[Tensor],
    batch: Any,
    batch_idx: int,
    *,
    seed: int,
    loss_fn: LossFunction | None = None,
) -> list[Score]:
    """Loss and slope at each point, leaving no trace but the shots it spends.

    Two forward and backward passes a point, each on one half of the batch (on the whole, where it can't be halved):
    together as much as one training step. The halves of all points have the same random numbers. Equal on all
    processes; where a pass fails on any of them the score is NaN.
    """
    size, least = batch_size(batch), smallest_part(module)
    halves = [batch] if size is None else split_batch(batch, 2 if size >= 2 * least else 1)
    halves = halves if len(halves) == 2 else halves * 2
    places = tuple((p, torch.nonzero(mask).flatten()) for p, mask in weights.elements().items())
    group = WeightGroup("reset", "quantum", places, len(weights))
    scaler = getattr(trainer.precision_plugin, "scaler", None)
    scale = 1.0 if scaler is None else scaler.get_scale()
    scores = []
    with torch.enable_grad(), training_loss(trainer, module, batch_idx, loss_fn) as loss:
        for point in points:
            weights.write(point)
            found = []
            for k, half in enumerate(halves):
                own_seed = seed + 2 * trainer.global_rank + k
                found.append(_loss_and_gradient(trainer, module, loss, half, group, own_seed, scale))
            losses, gradients = zip(*found, strict=True)
            means = [mean_over_ranks(trainer, gradient.double()) for gradient in gradients]
            value = float(mean_over_ranks(trainer, torch.tensor(losses, dtype=torch.float64)).mean())
            scores.append(Score(value, slope(*means)))
    return scores


def _loss_and_gradient(
    trainer: Any, module: Any, loss: Any, batch: Any, group: WeightGroup, seed: int, scale: float
) -> tuple[float, Tensor]:
    """NaN for both where there is none: the other processes wait for an answer."""
    values: list[Tensor | None] = []

    def noting(part: Any) -> Tensor | None:
        values.append(seeded_loss(module, loss, part, seed))
        return values[-1]

    try:
        (row,) = microbatch_gradients(noting, [group], [batch], scale)
    except Exception:
        if trainer.fast_dev_run:  # that is what it is for
            raise
        return math.nan, torch.full((len(group),), math.nan, device=module.device)
    value = values[0]
    return math.nan if value is None else float(value.detach()), row
