"""Permutations of basis states: CNOT, X, SWAP, Toffoli, ..., and changes of the order of wires, as one index."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from torchbp.backends.fused.layout import Layout
from torchbp.backends.fused.lowering import Op
from torchbp.backends.fused.steps import Gradients, Scratch, Step, Values


class Gather(Step):
    """new[i] = old[index[i]], for basis states of `rows` rows; the wires behind them move along as a unit."""

    uses_shared = uses_own = False

    def __init__(self, index: np.ndarray, layout: Layout, device: torch.device) -> None:
        inverse = np.empty_like(index)
        inverse[index] = np.arange(len(index), dtype=index.dtype)
        self.index = torch.from_numpy(index).to(device)
        self.inverse = torch.from_numpy(inverse).to(device)
        self.batch_last, self.unit = layout.batch_last, 2**layout.n_wires // len(index)

    def apply(self, states: Tensor, values: Values, scratch: Scratch) -> Tensor:
        index = self.inverse if values.backwards else self.index
        if self.batch_last:
            source = states.reshape(len(index), -1)
            out = scratch.take(source)
            return torch.index_select(source, 0, index, out=None if out is None else out.view(source.shape))
        out = scratch.take(states)
        if out is None:
            source = states.reshape(-1, len(index), self.unit)
            return source.index_select(1, index)
        for old, new in zip(self._rows(states), self._rows(out), strict=True):
            torch.index_select(old, 0, index, out=new)
        return out

    def collect(self, psi: Tensor, kappa: Tensor, gradients: Gradients) -> None:
        """A permutation has no parameters."""

    def _rows(self, states: Tensor) -> Tensor:
        """Each sample's amplitudes, as single numbers where possible: those move several times as fast as rows."""
        words = states.view(-1, len(self.index) * self.unit)
        if states.dtype == torch.complex64 and self.unit == 2:
            return words.view(torch.complex128)
        return words if self.unit == 1 else words.view(words.shape[0], len(self.index), self.unit)


def gather_index(ops: Sequence[Op], old: Layout, new: Layout) -> np.ndarray | None:
    """The index that applies permutation gates to a state in the layout `old` and leaves it in `new`; None if idle.

    CNOT, X and SWAP are affine over GF(2): the images of 0 and of the unit vectors give all others by doubling.
    """
    n = new.n_wires
    tables = [
        (op.wires, _inverse(op.permutation).astype(np.int32)) for op in reversed(ops) if op.permutation is not None
    ]
    affine = all(np.array_equal(_double(table[[0, *_units(len(w))]]), table) for w, table in tables)
    target = np.array([0, *_units(n)], np.int32) if affine else np.arange(2**n, dtype=np.int32)
    position = {wire: n - 1 - i for i, wire in enumerate(new.order)}
    state = _move(target, [position[wire] for wire in range(n)])
    for wires, table in tables:
        bits = [n - 1 - wire for wire in wires]
        local, k = _move(state, bits), len(wires)
        image = table[local] ^ local
        for i, bit in enumerate(bits):
            state = state ^ (((image >> (k - 1 - i)) & 1) << bit)
    source = _move(state, [n - 1 - wire for wire in old.order])
    index = _double(source) if affine else source
    if np.array_equal(index, np.arange(2**n, dtype=np.int32)):
        return None
    while len(index) > 2 and np.array_equal(index[1::2], index[::2] + 1) and not (index[::2] & 1).any():
        index = index[::2] >> 1
    return np.ascontiguousarray(index)


def _move(states: np.ndarray, bits: Sequence[int]) -> np.ndarray:
    """Numbers made of the given bits of `states`, the most significant first."""
    out = np.zeros_like(states)
    for bit in bits:
        out = (out << 1) | ((states >> bit) & 1)
    return out


def _units(k: int) -> list[int]:
    return [1 << bit for bit in range(k)]


def _double(images: np.ndarray) -> np.ndarray:
    """All values of an affine function, from those at 0, 1, 2, 4, ..."""
    out = images[:1]
    for image in images[1:]:
        out = np.concatenate([out, out ^ (image ^ images[0])])
    return out


def _inverse(permutation: np.ndarray | None) -> np.ndarray:
    assert permutation is not None
    return np.argsort(permutation)
