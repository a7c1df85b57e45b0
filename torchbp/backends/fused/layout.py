"""How a batch of states lies in memory."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True)
class Layout:
    """A batch of states as one contiguous matrix.

    With `batch_last` it is (2^n, B): a permutation of basis states moves whole rows, and every matrix product is wide.
    Small batches are (B, 2^n), where rows of B would be too short for either. Wires stand in `order`, the first most
    significant.
    """

    order: tuple[int, ...]
    batch_last: bool

    @property
    def n_wires(self) -> int:
        return len(self.order)

    def matrix(self, states: Tensor) -> Tensor:
        """States in whatever shape a step left them, as this matrix."""
        size = 2**self.n_wires
        return states.reshape((size, -1) if self.batch_last else (-1, size))

    def enter(self, states: Tensor) -> Tensor:
        """(B, 2^n) with wires in their natural order → this layout."""
        wires = range(self.n_wires)
        moved = states.reshape(-1, *[2] * self.n_wires).permute(0, *(1 + self.order[i] for i in wires))
        flat = moved.reshape(states.shape[0], -1)
        return flat.T.contiguous() if self.batch_last else flat.contiguous()

    def leave(self, states: Tensor) -> Tensor:
        """This layout → (B, 2^n) with wires in their natural order."""
        matrix = self.matrix(states)
        flat = matrix.T if self.batch_last else matrix
        moved = flat.reshape(-1, *[2] * self.n_wires)
        natural = moved.permute(0, *(1 + self.order.index(wire) for wire in range(self.n_wires)))
        return natural.reshape(flat.shape[0], -1)
