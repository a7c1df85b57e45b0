"""What the steps of a plan share: the numbers they run on, the buffers they write to, the gradients they add to."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

import torch
from torch import Tensor

Way = Literal["forward", "transpose", "inverse"]
Fixed = Mapping[Way, Sequence[Sequence[Tensor]]]

SMALL = 2**15  # amplitudes up to which a fresh tensor is as good as a used one


class Values:
    """The numbers of one evaluation: the angles' sources, and the matrices of every group of blocks.

    A step U runs on them in three ways: forward, as its transpose (the same numbers, matrices transposed), and as its
    inverse (adjoint matrices, conjugate phases). Matrices without parameters are prepared for all three beforehand.

    Args:
        shared, own: what angles read, the weights (P,) and each sample's own numbers (B, F).
        products: the matrices (m, D, D) of each group with parameters.
        fixed: those of the groups without, which are numbered behind the former.
    """

    def __init__(
        self, shared: Tensor, own: Tensor, products: Sequence[Tensor], fixed: Fixed, way: Way = "forward"
    ) -> None:
        self.shared, self.own = shared, own
        self.backwards, self.inverted = way != "forward", way == "inverse"
        self.matrices = [*(product.unbind() for product in _turned(products, way)), *fixed[way]]
        self._products, self._fixed = products, fixed

    def transpose(self) -> Values:
        return Values(self.shared, self.own, self._products, self._fixed, "transpose")

    def inverse(self) -> Values:
        return Values(self.shared, self.own, self._products, self._fixed, "inverse")


def fixed_matrices(products: Sequence[Tensor]) -> Fixed:
    """The matrices of groups without parameters, by the way they are run."""
    ways: tuple[Way, ...] = ("forward", "transpose", "inverse")
    return {way: [product.unbind() for product in _turned(products, way)] for way in ways}


def _turned(products: Sequence[Tensor], way: Way) -> list[Tensor]:
    if way == "forward":
        return list(products)
    if way == "transpose":
        return [product.mT for product in products]
    return [product.mH.resolve_conj().contiguous() for product in products]


class Scratch:
    """State-sized buffers for reuse within one evaluation.

    They live as long as the call: nothing is shared between calls, so nested calls and threads can't meet.
    """

    def __init__(self, enabled: bool = True) -> None:
        self.enabled = enabled
        self._free: list[Tensor] = []

    def take(self, like: Tensor) -> Tensor | None:
        """A buffer to write a state of this size to; None where the operation may as well make its own result."""
        if not self.enabled or like.numel() <= SMALL:
            return None
        if self._free and self._free[-1].numel() == like.numel():
            return self._free.pop()
        return torch.empty_like(like)

    def give(self, buffer: Tensor) -> None:
        if self.enabled and buffer.numel() > SMALL:
            self._free.append(buffer)


@dataclass
class Gradients:
    """What the backward sweep collects: d/d(shared) and d/d(own), and the reduced matrices of dense blocks.

    `shared` is (1, P), or (B, P) for one gradient per sample; None where nobody wants it.
    """

    shared: Tensor | None
    own: Tensor | None
    per_sample: bool
    reduced: dict[tuple[int, int], Tensor] = field(default_factory=dict)

    @classmethod
    def zeros(cls, needs: Sequence[bool], per_sample: bool, shared: Tensor, own: Tensor) -> Gradients:
        rows = len(own) if per_sample else 1
        by_shared = shared.new_zeros(rows, len(shared)) if needs[0] else None
        return cls(by_shared, torch.zeros_like(own) if needs[1] else None, per_sample)

    def wants(self, step: Step) -> bool:
        return (self.shared is not None and step.uses_shared) or (self.own is not None and step.uses_own)

    @property
    def by_shared(self) -> Tensor | None:
        return self.shared if self.per_sample or self.shared is None else self.shared[0]


class Step(ABC):
    """One operation on a whole batch of states.

    States are contiguous memory in the step's layout; each step takes them in whatever shape they come.
    """

    uses_shared: bool
    uses_own: bool

    @property
    def trainable(self) -> bool:
        return self.uses_shared or self.uses_own

    @abstractmethod
    def apply(self, states: Tensor, values: Values, scratch: Scratch) -> Tensor:
        """The new states, in another tensor than the given one."""

    @abstractmethod
    def collect(self, psi: Tensor, kappa: Tensor, gradients: Gradients) -> None:
        """Add this step's part of the gradient; `psi` and `kappa` are those behind the step."""
