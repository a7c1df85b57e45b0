"""The latest batches of a run, kept for experiments: one half to find something by, the other half to judge it by."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from torchbp.gradients.microbatch import batch_size, split_batch

SAMPLES, BATCHES = 256, 32
"""As many batches are kept as hold so many samples, at least two, and not more than so many."""


class HeldBatches:
    """A few batches, copied, since a training step may change them in place."""

    def __init__(self) -> None:
        self._batches: deque[Any] = deque(maxlen=BATCHES)

    def __len__(self) -> int:
        return len(self._batches)

    def keep(self, batch: Any) -> None:
        """One more; the oldest go."""
        self._batches.append(copied(batch))
        while len(self._batches) > 2 and sum(batch_size(b) or 1 for b in self._batches) > SAMPLES:
            self._batches.popleft()

    def clear(self) -> None:
        self._batches.clear()

    def halves(self) -> tuple[list[Any], list[Any]]:
        """Batches to find a way by, and batches to judge it by; the two halves of a batch where there is only one.

        The same batch twice where it can't be split: a loss without data is its own judge.
        """
        held = list(self._batches)
        if len(held) > 1:
            return held[::2], held[1::2]
        (only,) = held
        if (batch_size(only) or 0) < 2:
            return held, held
        one, other = split_batch(only, 2)
        return [one], [other]


def copied(batch: Any) -> Any:
    """A copy of a batch's tensors and arrays; a batch without any as it is."""
    return batch if batch_size(batch) is None else split_batch(batch, 1)[0]


def joined(batches: Sequence[Any]) -> Any | None:
    """One batch of the samples of all, the inverse of `split_batch`; None where they don't fit together."""
    try:
        return _join(list(batches))
    except (TypeError, ValueError, RuntimeError):
        return None


def _join(values: list[Any]) -> Any:
    first = values[0]
    if len(values) == 1:
        return first
    if isinstance(first, Tensor):
        return torch.cat(values) if first.ndim else first
    if isinstance(first, np.ndarray):
        return np.concatenate(values) if first.ndim else first
    if type(first) is dict or isinstance(first, Mapping):
        parts = {key: _join([value[key] for value in values]) for key in first}
        return parts if type(first) is dict else type(first)(parts)  # type: ignore[call-arg]
    if isinstance(first, list | tuple):
        items = [_join(list(group)) for group in zip(*values, strict=True)]
        return type(first)(*items) if hasattr(first, "_fields") else type(first)(items)
    if all(value == first for value in values[1:]):
        return first
    raise ValueError("batches that differ in something that is no tensor")
