"""Going down: how much lower the loss gets from some weights, told by batches that had no part in finding the way."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from torchbp.diagnosis.evidence import Gain

Loss = Callable[[], Tensor | None]
"""The loss on the batches the way is found by, differentiable."""
Judge = Callable[[], Tensor]
"""(C,) losses on the C parts of the batches it is judged by, without a gradient."""

STRIDE = 4
"""Iterations from one judgement to the next."""
SHARES = (1.0, 0.3, 0.1, 0.03)
"""Of the optimizer's step, tried by `steps_along`."""


@dataclass(frozen=True, eq=False)
class Way:
    """A way down.

    Attributes:
        start, best: (C,) losses of the parts at its beginning and at the best point judged on it.
        evaluations: of the loss and its gradient.
    """

    start: Tensor
    best: Tensor
    evaluations: int

    @property
    def gain(self) -> Gain:
        """How much lower the best point is than the beginning."""
        return gain(self.start, self.best)


def gain(one: Tensor, other: Tensor) -> Gain:
    """How much lower `other` is than `one`, paired by the parts (C,) of the batches; NaN if any of them is."""
    difference = (one - other).double()
    count = len(difference)
    error = float(difference.std()) / math.sqrt(count) if count > 1 else 0.0
    return Gain(float(difference.mean()), error, count)


def go_down(
    loss: Loss,
    judge: Judge,
    parameters: Sequence[Tensor],
    *,
    evaluations: int = 30,
    enough: float = math.inf,
    agree: Callable[[Tensor], Tensor] = lambda values: values,
) -> Way:
    """Follow the exact gradient by L-BFGS with a strong Wolfe search, which needs no learning rate.

    The loss is divided by the length of its first gradient, so that neither its unit nor its offset matters. Changes
    the parameters in place and leaves them wherever the way ends; to be called where they are put back.

    Args:
        loss: on the batches the way is found by.
        judge: on the batches it is judged by, every few iterations.
        parameters: what moves; those that the loss does not depend on stay.
        evaluations: of the loss, at most, give or take those of one line search.
        enough: gain at which there is no need to look further.
        agree: the mean over all processes, which then take the same way.

    Source: Liu and Nocedal 1989, Math. Program. 45, 503.
    """
    spent, unit = 0, 0.0
    start = best = judge()

    def closure() -> Tensor:
        nonlocal spent, unit
        spent += 1
        with torch.enable_grad():
            value = loss()
            if value is None or not value.requires_grad:
                return torch.tensor(math.nan)
            found = torch.autograd.grad(value, list(parameters), allow_unused=True)
        slopes = [None if slope is None else agree(slope) for slope in found]
        if not unit:
            unit = math.sqrt(sum(float(s.double().square().sum()) for s in slopes if s is not None))
        for parameter, slope in zip(parameters, slopes, strict=True):
            parameter.grad = torch.zeros_like(parameter) if slope is None else slope / (unit or 1.0)
        return agree(value.detach()) / (unit or 1.0)

    search = torch.optim.LBFGS(
        list(parameters),
        max_iter=STRIDE,
        max_eval=3 * STRIDE,
        tolerance_grad=0,
        tolerance_change=0,
        line_search_fn="strong_wolfe",
    )
    before = math.inf
    while spent < evaluations:
        value = float(search.step(closure).detach())  # at the beginning of the stride
        now = judge()
        if not bool(now.isfinite().all()) or not unit:
            break
        best = now if bool(now.mean() < best.mean()) else best
        if gain(start, best).exceeds(enough) or not value < before:
            break
        before = value
    return Way(start, best, spent)


def steps_along(
    loss: Loss,
    parameters: Sequence[Tensor],
    length: float,
    agree: Callable[[Tensor], Tensor] = lambda values: values,
) -> tuple[float, float]:
    """What one step of this length down the gradient does to the loss, and what the best of three shorter ones does.

    Args:
        loss: on the batches at hand.
        parameters: what moves; put back afterwards.
        length: root mean square change of a single weight.
        agree: the mean over all processes.

    Returns:
        The loss at the end less the one at the beginning, for the whole step and for the best shorter one; NaN where
        the loss has no gradient.
    """
    with torch.enable_grad():
        value = loss()
        if value is None or not value.requires_grad:
            return math.nan, math.nan
        slopes = torch.autograd.grad(value, list(parameters), allow_unused=True)
    known = [(p, p.detach().clone(), agree(s)) for p, s in zip(parameters, slopes, strict=True) if s is not None]
    size = math.sqrt(sum(float(s.double().square().sum()) for _, _, s in known))
    if not size or not length > 0:
        return math.nan, math.nan
    unit = length * math.sqrt(sum(s.numel() for _, _, s in known)) / size
    changes = []
    with torch.no_grad():
        for share in SHARES:
            for parameter, present, slope in known:
                parameter.copy_(present - share * unit * slope)
            after = loss()
            changes.append(math.nan if after is None else float(agree(after - value.detach())))
        for parameter, present, _ in known:
            parameter.copy_(present)
    return changes[0], min(changes[1:])
