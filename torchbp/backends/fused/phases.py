"""Diagonal gates: any number of them at once is one multiplication by phases exp(-i theta(i))."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from torch import Tensor

from torchbp.backends.fused.layout import Layout
from torchbp.backends.fused.lowering import Op, z_strings
from torchbp.backends.fused.steps import Gradients, Scratch, Step, Values
from torchbp.backends.fused.strings import ZStrings

Entries = Mapping[tuple[int, int], float]


class Phases(Step):
    """psi(i) → exp(-i theta(i)) psi(i), with theta = sum_j c_j z_j over strings of Z.

    The coefficients c are linear in the weights and in each sample's own numbers. Since d(psi)/d(c_j) = -i z_j psi,
    the gradients of all of them are sums of Im(conj(lam) psi) against the strings.
    """

    def __init__(self, number: int, ops: Sequence[Op], layout: Layout, dtype: torch.dtype, device: torch.device):
        self.number = number
        strings: dict[frozenset[int], int] = {}
        constant: dict[int, float] = {}
        shared: dict[tuple[int, int], float] = {}
        own: dict[tuple[int, int], float] = {}
        for op in ops:
            for string, value in _terms(op).items():
                j = strings.setdefault(string, len(strings))
                scale, offset = (0.0, 1.0) if op.angle is None else (op.angle.scale, op.angle.offset)
                constant[j] = constant.get(j, 0.0) + offset * value
                if op.angle is not None:
                    entries = shared if op.angle.shared else own
                    key = (op.angle.column, j)
                    entries[key] = entries.get(key, 0.0) + scale * value
        self.strings = ZStrings(layout, list(strings), dtype, device)
        self.constant = torch.tensor([constant[j] for j in range(len(strings))], dtype=dtype, device=device)
        self.shared = _Linear(shared, len(strings), self.constant) if shared else None
        self.own = _Linear(own, len(strings), self.constant) if own else None
        self.uses_shared, self.uses_own = bool(shared), bool(own)
        self._fixed: Tensor | None = None
        if not shared and not own:
            self._fixed = _phases(self.strings.combine(-self.constant[None]))

    def coefficients(self, shared: Tensor, own: Tensor) -> Tensor:
        """The strings' coefficients: (B, J), or (1, J) if they are the same for all samples."""
        out = self.constant[None]
        if self.shared is not None:
            out = out + self.shared(shared)
        return out if self.own is None else out + self.own(own)

    def apply(self, states: Tensor, values: Values, scratch: Scratch) -> Tensor:
        if self._fixed is not None:
            phases = self._fixed.conj() if values.backwards else self._fixed
        else:
            phases = _phases(self.strings.combine(-values.coefficients[self.number]))
        out = scratch.take(states) if states.shape >= phases.shape else None
        return torch.mul(states, phases, out=out)

    def collect(self, psi: Tensor, lam: Tensor, gradients: Gradients) -> None:
        torques = torch.mul(lam.real, psi.imag).addcmul_(lam.imag, psi.real, value=-1)
        by_string = self.strings.contract(torques)
        if self.own is not None and gradients.own is not None:
            self.own.pull(by_string, gradients.own)
        if self.shared is not None and gradients.shared is not None:
            self.shared.pull(by_string if gradients.per_sample else by_string.sum(0, keepdim=True), gradients.shared)


class _Linear:
    """A sparse linear map from source columns to strings."""

    def __init__(self, entries: Entries, n_strings: int, like: Tensor) -> None:
        columns = sorted({column for column, _ in entries})
        matrix = np.zeros((len(columns), n_strings))
        for (column, j), value in entries.items():
            matrix[columns.index(column), j] = value
        self.matrix = torch.from_numpy(matrix).to(like)
        self.columns: slice | Tensor = slice(columns[0], columns[-1] + 1)
        if len(columns) <= columns[-1] - columns[0]:
            self.columns = torch.tensor(columns, device=like.device)

    def __call__(self, source: Tensor) -> Tensor:
        return source[..., self.columns] @ self.matrix

    def pull(self, gradient: Tensor, into: Tensor) -> None:
        into[:, self.columns] += gradient @ self.matrix.T


def _terms(op: Op) -> dict[frozenset[int], float]:
    """The exponent of a diagonal gate, for angle 1, as strings of Z."""
    if op.rotation is not None:
        return z_strings(np.diag(op.rotation.generator).real, op.wires)
    assert op.matrix is not None
    return z_strings(-np.angle(np.diag(op.matrix)), op.wires)


def _phases(theta: Tensor) -> Tensor:
    return torch.complex(theta.cos(), theta.sin())
