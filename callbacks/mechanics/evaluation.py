"""What remedies compare by: losses at other weights, on the same batch and with the same random numbers."""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor

from torchbp.callbacks.mechanics.experiments.held_batches import copied
from torchbp.callbacks.mechanics.investigation import quantum_layers
from torchbp.callbacks.mechanics.isolation import LossFunction, training_loss
from torchbp.callbacks.mechanics.quantum_weights import QuantumWeights
from torchbp.errors import JobError, JobPendingError

T = TypeVar("T")


def agreed(trainer: Any, decision: T) -> T:
    """The first process's decision, on all of them."""
    return trainer.strategy.broadcast(decision) if trainer.world_size > 1 else decision


def mean_over_ranks(trainer: Any, values: Tensor) -> Tensor:
    """Mean over all processes; NaN where it is on any of them. All of them must call it alike."""
    if trainer.world_size == 1:
        return values
    return trainer.strategy.reduce(values.to(trainer.strategy.root_device), reduce_op="mean")


def sum_over_ranks(trainer: Any, number: int) -> int:
    """Of all processes; all of them must call it alike."""
    if trainer.world_size == 1:
        return number
    own = torch.tensor(float(number), dtype=torch.float64, device=trainer.strategy.root_device)
    return int(trainer.strategy.reduce(own, reduce_op="sum"))


def losses_at(
    trainer: Any,
    module: Any,
    weights: QuantumWeights,
    points: Iterable[Tensor],
    batch: Any,
    batch_idx: int,
    *,
    seed: int,
    loss_fn: LossFunction | None = None,
) -> list[float]:
    """The loss of a batch at other quantum weights, leaving no trace but the shots it spends.

    Every evaluation starts from the same random numbers (dropout, augmentation, outcomes of shots), so that
    differences between losses are those of the weights; processes differ in theirs. Forward only.

    Args:
        weights: which of the model's weights move.
        points: (P,) each, all weights of the layers.
        seed: of the random numbers.

    Returns:
        The means over all processes, equal on each. NaN where the evaluation gave no finite loss, or raised, on any.
    """
    states = [partial(weights.write, point) for point in points]
    return losses_of(trainer, module, states, batch, batch_idx, seed=seed, loss_fn=loss_fn)


def losses_of(
    trainer: Any,
    module: Any,
    states: Iterable[Callable[[], None]],
    batch: Any,
    batch_idx: int,
    *,
    seed: int,
    loss_fn: LossFunction | None = None,
) -> list[float]:
    """The loss of a batch in other states of the model; as `losses_at`, which moves its quantum weights alone.

    Args:
        states: each of them brings the model there, by writing to its tensors in place.
    """
    values = []
    with training_loss(trainer, module, batch_idx, loss_fn) as loss, torch.no_grad():
        for state in states:
            state()
            values.append(_attempt(trainer, lambda: seeded_loss(module, loss, batch, seed + trainer.global_rank)))
    return mean_over_ranks(trainer, torch.tensor(values, dtype=torch.float64)).tolist()


def seeded_loss(module: Any, loss: Any, batch: Any, seed: int) -> Tensor | None:
    """`loss(batch)` from random numbers that `seed` determines; to be called where they are put back afterwards."""
    random.seed(seed)
    np.random.seed(seed % 2**32)
    torch.manual_seed(seed)
    for layer in quantum_layers(module).values():
        for generator in (layer.shot_generator, layer.backend_generator):
            if isinstance(generator, torch.Generator):
                generator.manual_seed(seed)
    return loss(copied(batch))  # which a training step may change in place


def _attempt(trainer: Any, evaluate: Any) -> float:
    """A process that raises must not leave the others waiting for its number; a job that is late is no loss."""
    try:
        value = evaluate()
    except (JobError, JobPendingError):
        raise
    except Exception:
        if trainer.fast_dev_run:  # that is what it is for
            raise
        return math.nan
    return math.nan if value is None else float(value)
