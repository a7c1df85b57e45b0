"""Other libraries' ask/tell optimizers as proposers: nevergrad's, cma's, and whatever speaks like them."""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor

from torchbp.arguments import checked, whole_number
from torchbp.errors import InputError
from torchbp.optim.proposer import Proposer, as_losses, starting_point

Maker = Callable[[Tensor, int], Any]
"""From a point (P,) and a seed to an optimizer that starts there."""


class AskTell:
    """Wraps an optimizer that has `ask` and `tell`.

    Two ways of speaking are understood. One at a time, as nevergrad: `c = ask()`, `c.value` (or c itself) is a point,
    `tell(c, loss)`; so `batch` of them make a step. A whole population, as cma: `ask()` is a list of points,
    `tell(points, losses)`. The new point is the optimizer's own recommendation, `provide_recommendation()`,
    `recommend()` or `mean`, where it has one, else the best point it was told of.

    Such objects draw from the global random states of Python and numpy, and can't be saved as tensors. So they run
    with random states of their own, seeded, the global ones left alone; and what is saved are the losses: loading
    asks and tells anew from the start, without any evaluation.

    Args:
        start: the point (P,) to start from.
        make: `(start (P,), seed) -> optimizer`.
        batch: points of a step, for an optimizer that gives one at a time.
        seed: of the random states that `make` and the optimizer see, and handed to `make`.

    Raises:
        InputError: what `make` returns has no ask and tell, or asks for points of another shape.

    Example:
        >>> import nevergrad as ng
        >>> def make(start, seed):
        ...     return ng.optimizers.TwoPointsDE(ng.p.Array(init=start.numpy()), budget=1000)
        >>> search = AskTell(layer.weights, make, batch=8)
    """

    @checked()
    def __init__(self, start: Tensor, make: Maker, *, batch: int = 4, seed: int = 0) -> None:
        self._start = starting_point(start)
        self._make, self._batch, self._seed = make, whole_number("batch", batch, 1), seed
        self._told: list[Tensor] = []
        self._asked: list[Any] = []
        self._whole = False
        self._lowest = math.inf
        self._restart()

    @classmethod
    def around(cls, start: Tensor, make: Maker, *, batch: int = 4, seed: int = 0) -> Proposer:
        """What `make` returns, if it is a `Proposer` already, else wrapped."""
        search = cls(start, make, batch=batch, seed=seed)
        own = search._optimizer
        return own if hasattr(own, "state_dict") and hasattr(own, "load_state_dict") else search

    def ask(self) -> list[Tensor]:
        with self._own_random_states():
            first = self._optimizer.ask()
            self._whole = isinstance(first, list | tuple) or (isinstance(first, np.ndarray) and first.ndim == 2)
            one_by_one = () if self._whole else (self._optimizer.ask() for _ in range(self._batch - 1))
            self._asked = list(first) if self._whole else [first, *one_by_one]
        return [self._point(candidate) for candidate in self._asked]

    def tell(self, losses: Sequence[float]) -> Tensor:
        values = as_losses(losses, len(self._asked))
        numbers = values.nan_to_num(math.inf, math.inf).clamp(max=torch.finfo(torch.float64).max).tolist()
        with self._own_random_states():
            if self._whole:
                self._optimizer.tell(self._asked, numbers)
            else:
                for candidate, number in zip(self._asked, numbers, strict=True):
                    self._optimizer.tell(candidate, number)
            best = min(range(len(numbers)), key=numbers.__getitem__)
            if numbers[best] < self._lowest:
                self._lowest, self._best = numbers[best], self._point(self._asked[best])
            point = self._recommended()
        self._told.append(values)
        self._asked = []
        return point

    def state_dict(self) -> dict[str, Any]:
        return {"losses": list(self._told)}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self._restart()
        for losses in state_dict["losses"]:
            self.ask()
            self.tell(losses.tolist())

    def _restart(self) -> None:
        self._random = random.Random(self._seed).getstate(), np.random.RandomState(self._seed % 2**32).get_state()
        with self._own_random_states():
            self._optimizer = self._make(self._start.clone(), self._seed)
        missing = [name for name in ("ask", "tell") if not callable(getattr(self._optimizer, name, None))]
        if missing:
            raise InputError(
                f"An optimizer with ask() and tell() is needed, {type(self._optimizer).__name__} has no "
                f"{' and no '.join(missing)}: return one from the function (start, seed) -> optimizer."
            )
        self._told, self._asked = [], []
        self._best, self._lowest = self._start.clone(), math.inf

    def _recommended(self) -> Tensor:
        for name in ("provide_recommendation", "recommend"):
            if callable(recommend := getattr(self._optimizer, name, None)):
                return self._point(recommend())
        mean = getattr(self._optimizer, "mean", None)
        return self._best.clone() if mean is None or callable(mean) else self._point(mean)

    def _point(self, candidate: Any) -> Tensor:
        value = np.asarray(getattr(candidate, "value", candidate), dtype=float)
        if value.shape != self._start.shape:
            raise InputError(
                f"The optimizer asks for points of shape {value.shape}, the weights are {len(self._start)}."
            )
        return torch.tensor(value, dtype=torch.float64)

    @contextmanager
    def _own_random_states(self) -> Iterator[None]:
        outside = random.getstate(), np.random.get_state()
        random.setstate(self._random[0]), np.random.set_state(self._random[1])
        try:
            yield
        finally:
            self._random = random.getstate(), np.random.get_state()
            random.setstate(outside[0]), np.random.set_state(outside[1])
