"""Gradient samples from the parts of one batch: the source `microbatch`."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from torchbp.errors import InputError
from torchbp.gradients.groups import WeightGroup
from torchbp.gradients.source import Loss, Measured
from torchbp.gradients.stats import GradientStatistics

SOURCE = "microbatch"


@dataclass(frozen=True)
class Microbatch:
    """Parts of a batch as samples of the gradient, see `microbatch_gradients`.

    Args:
        n: parts, at most; a smaller batch gives fewer, see `n_parts`.
    """

    n: int = 8
    name: str = SOURCE

    def measure(
        self, model: nn.Module, loss: Loss, batch: Any, groups: Sequence[WeightGroup], scale: float = 1.0
    ) -> Measured:
        """See `GradientSource`.

        Raises:
            InputError: the batch holds no tensor, or too few samples for one part.
        """
        parts = split_batch(batch, n_parts(batch_size(batch) or 0, self.n, smallest_part(model)))
        samples = microbatch_gradients(loss, groups, parts, scale)
        return Measured(self.name, GradientStatistics.from_samples(samples))


def microbatch_gradients(
    loss: Loss,
    groups: Sequence[WeightGroup],
    batches: Iterable[Any],
    scale: float = 1.0,
) -> Tensor:
    """The gradient of the loss of every micro-batch, and of nothing else: `.grad` is neither read nor written.

    Args:
        loss: the mean loss over one micro-batch, a scalar; or None, which is no sample.
        groups: whose weights; their columns stand one after the other, P = sum of len(group).
        batches: K micro-batches, see `split_batch`.
        scale: factor to multiply the loss by and divide the gradient by: a gradient scaler's, against underflow in
            half precision.

    Returns:
        (K, P), float32 or as the weights. NaN is "no sample": for a frozen weight, for one that the loss does not
        depend on, and in the whole row if any gradient in it is NaN or infinite.

    The samples are gradients at batch size B/K. Their mean is the gradient of the whole batch, and its standard
    error that of the whole batch, where samples are independent and micro-batches equally large; BatchNorm, which
    normalizes each micro-batch by itself, makes a (usually small) difference.
    """
    parameters = list({p: None for group in groups for p, _ in group.parts})
    rows = [_row(loss(batch), parameters, groups, scale) for batch in batches]
    return torch.stack(rows) if rows else torch.empty(0, sum(map(len, groups)))


def n_parts(size: int, wanted: int, smallest: int) -> int:
    """Into how many parts to split a batch: as many as wanted, as long as each has `smallest` samples."""
    return min(wanted, size // smallest)


def smallest_part(model: nn.Module) -> int:
    """Samples that a part needs: BatchNorm in train mode takes two."""
    return 1 if batch_norm(model) is None else 2


def batch_norm(model: nn.Module) -> nn.Module | None:
    """The first BatchNorm in train mode, which mixes the samples of a batch."""
    norms = nn.modules.batchnorm._BatchNorm
    return next((m for m in model.modules() if isinstance(m, norms) and m.training), None)


def batch_size(batch: Any) -> int | None:
    """Length of the first dimension of the first tensor or array in a nested batch; None if there is none."""
    return next((len(leaf) for leaf in _leaves(batch) if isinstance(leaf, Tensor | np.ndarray) and leaf.ndim), None)


def split_batch(batch: Any, n: int) -> list[Any]:
    """Cut a nested batch of B samples into n parts of equal size, give or take one sample.

    Tensors and arrays of length B are cut along their first dimension and copied, so that nothing done to a part
    changes the batch; so are lists of length B that hold no such tensor (strings, say). Mappings, (named) tuples,
    lists and dataclasses are rebuilt; everything else goes into every part as it is.

    Raises:
        InputError: the batch holds no tensor, or fewer than n samples.
    """
    size = batch_size(batch)
    if size is None:
        raise InputError(f"There is no tensor to split in this batch of type {type(batch).__name__}.")
    if not 1 <= n <= size:
        raise InputError(f"A batch of {size} can't be split into {n} parts.")
    bounds = [size * k // n for k in range(n + 1)]
    return [_part(batch, slice(start, stop), size) for start, stop in pairwise(bounds)]


def _row(loss: Tensor | None, parameters: list[nn.Parameter], groups: Sequence[WeightGroup], scale: float) -> Tensor:
    trainable = [p for p in parameters if p.requires_grad]
    if loss is None or not loss.requires_grad:
        found: tuple[Tensor | None, ...] = (None,) * len(trainable)
    else:
        found = torch.autograd.grad(loss * scale, trainable, allow_unused=True)
    gradients = {p: g.detach() / scale for p, g in zip(trainable, found, strict=True) if g is not None}
    if not all(bool(g.isfinite().all()) for g in gradients.values()):
        gradients = {}
    return torch.cat([g.pick(_Filled(gradients)) for g in groups])


class _Filled(dict[nn.Parameter, Tensor]):
    """Gradients, and NaN for the parameters without one."""

    def __missing__(self, parameter: nn.Parameter) -> Tensor:
        return torch.full_like(parameter, math.nan, requires_grad=False)


def _leaves(value: Any) -> Iterator[Any]:
    if isinstance(value, Mapping):
        for item in value.values():
            yield from _leaves(item)
    elif isinstance(value, list | tuple):
        for item in value:
            yield from _leaves(item)
    elif dataclasses.is_dataclass(value) and not isinstance(value, type):
        for field in dataclasses.fields(value):
            yield from _leaves(getattr(value, field.name))
    else:
        yield value


def _part(value: Any, where: slice, size: int) -> Any:
    if isinstance(value, Tensor):
        return value[where].clone() if _is_batched(value, size) else value.clone()
    if isinstance(value, np.ndarray):
        return value[where].copy() if _is_batched(value, size) else value.copy()
    if isinstance(value, Mapping):
        parts = {key: _part(item, where, size) for key, item in value.items()}
        return parts if type(value) is dict else type(value)(parts)  # type: ignore[call-arg]
    if isinstance(value, list | tuple):
        if len(value) == size and not any(_is_batched(leaf, size) for leaf in _leaves(value)):
            value = value[where]
            where = slice(None)
        items = [_part(item, where, size) for item in value]
        return type(value)(*items) if hasattr(value, "_fields") else type(value)(items)
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        names = [field.name for field in dataclasses.fields(value) if field.init]
        return dataclasses.replace(value, **{name: _part(getattr(value, name), where, size) for name in names})
    return value


def _is_batched(value: Any, size: int) -> bool:
    return isinstance(value, Tensor | np.ndarray) and value.ndim > 0 and len(value) == size
