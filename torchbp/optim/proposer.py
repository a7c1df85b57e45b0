"""What every gradient-free search is: it asks for losses at some points, is told them, and says where it stands."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Protocol

import torch
from torch import Tensor

from torchbp.errors import InputError


class Proposer(Protocol):
    """A search over P numbers, in ask/tell form. One `ask` and `tell` make one step.

    It never evaluates anything itself, so that it works in any loop; takes its random numbers from a generator of its
    own; and resumes bit for bit from its state, which is taken between `tell` and `ask`.
    """

    def ask(self) -> list[Tensor]:
        """The points, each (P,) float64, whose losses the next step needs."""
        ...

    def tell(self, losses: Sequence[float]) -> Tensor:
        """Take the losses of the points just asked for, in their order; the new point (P,), a copy.

        NaN and infinity stand for "worse than all others".
        """
        ...

    def state_dict(self) -> dict[str, Any]:
        """Tensors and primitives."""
        ...

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on from what `state_dict` returned; the configuration stays that of the constructor."""
        ...


@contextmanager
def transaction(proposer: Proposer) -> Iterator[None]:
    """A step of a search, from `ask` to `tell`: if it fails in between, the next one asks for the same points again.

    Where evaluations are paid for, those that had been are then found again, as by `JobRunner.repeatable`.
    """
    before = proposer.state_dict()
    try:
        yield
    except BaseException:
        proposer.load_state_dict(before)
        raise


def starting_point(start: Tensor) -> Tensor:
    """A copy of the point (P,) in float64 on the CPU.

    Raises:
        InputError: it is not P finite numbers in a row.
    """
    if not isinstance(start, Tensor) or start.ndim != 1 or not len(start) or start.is_complex():
        shape = tuple(start.shape) if isinstance(start, Tensor) else type(start).__name__
        raise InputError(f"A search starts from a tensor of P real numbers, shape (P,); got {shape}.")
    point = start.detach().to("cpu", torch.float64, copy=True)
    if not bool(torch.isfinite(point).all()):
        raise InputError("A search starts from finite numbers, got NaN or infinity: reset the weights first.")
    return point


def as_losses(losses: Sequence[float], expected: int) -> Tensor:
    """The losses (expected,) in float64.

    Raises:
        InputError: more or fewer than were asked for; none asked for yet.
    """
    if len(losses) != expected:
        asked = f"ask() gave {expected} points" if expected else "ask() has not been called"
        raise InputError(f"tell() takes one loss for each point, and {asked}; got {len(losses)} losses.")
    return torch.tensor([float(loss) for loss in losses], dtype=torch.float64)


def saved_point(saved: Tensor, own: Tensor) -> Tensor:
    """A copy of a tensor in a saved state, for the same number of weights.

    Raises:
        InputError: the search that was saved had another number of weights, or another kind of covariance.
    """
    if saved.shape != own.shape:
        raise InputError(f"The saved search has {len(saved)} weights, this one has {len(own)}.")
    return saved.clone()
