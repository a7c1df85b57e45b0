"""Diagonal gates: any number of them at once is a multiplication by phases exp(-i theta(i))."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from torch import Tensor

from torchbp.backends.fused.layout import Layout
from torchbp.backends.fused.lowering import Op, z_strings
from torchbp.backends.fused.steps import Gradients, Scratch, Step, Values
from torchbp.backends.fused.strings import ZStrings, signs

Entries = Mapping[tuple[int, int], float]
CUT_FROM = 8  # wires from which the phases of each half are worth computing on their own


class Phases(Step):
    """psi(i) → exp(-i theta(i)) psi(i), with theta = sum_j c_j z_j over strings of Z.

    The coefficients c are linear in the weights and in each sample's own numbers. Since d(psi)/d(c_j) = -i z_j psi,
    the gradients of all of them are sums of Im(kappa psi) against the strings. Strings that are the same for the whole
    batch and strings of each sample's own are kept apart: the former's phases are computed once.
    """

    def __init__(self, ops: Sequence[Op], layout: Layout, dtype: torch.dtype, device: torch.device) -> None:
        self.batch_last = layout.batch_last
        own = [op for op in ops if op.per_sample]
        common = [op for op in ops if not op.per_sample]
        self.parts = [_Part(some, layout, dtype, device) for some in (common, own) if some]
        self.uses_shared = any(part.trainable and not part.own for part in self.parts)
        self.uses_own = bool(own)

    def apply(self, states: Tensor, values: Values, scratch: Scratch) -> Tensor:
        now, batch = states, -1 if self.batch_last else 0
        for part in self.parts:
            for factor in part.factors(values):
                before = now.reshape(part.exponential.shape)
                # A constant start is one column (or row), to which the samples' own phases give the others.
                out = scratch.take(before) if before.shape[batch] >= factor.shape[batch] else None
                new = torch.mul(before, factor, out=None if out is None else out.view(before.shape))
                if now is not states:
                    scratch.give(now)
                now = new
        return now

    def collect(self, psi: Tensor, kappa: Tensor, gradients: Gradients) -> None:
        torques = torch.view_as_real(kappa.view(psi.shape) * psi)
        for part in self.parts:
            into = gradients.own if part.own else gradients.shared
            if into is not None and part.trainable:
                by_string = part.strings.contract(torques, "imaginary")
                part.pull(by_string if part.own or gradients.per_sample else by_string.sum(0, keepdim=True), into)


class _Part:
    """Diagonal gates with coefficients c = constant + source @ matrix; the source is the weights or a sample's own."""

    def __init__(self, ops: Sequence[Op], layout: Layout, dtype: torch.dtype, device: torch.device) -> None:
        strings: dict[frozenset[int], int] = {}
        constant: dict[int, float] = {}
        entries: dict[tuple[int, int], float] = {}
        for op in ops:
            for string, value in _terms(op).items():
                j = strings.setdefault(string, len(strings))
                scale, offset = (0.0, 1.0) if op.angle is None else (op.angle.scale, op.angle.offset)
                constant[j] = constant.get(j, 0.0) + offset * value
                if op.angle is not None:
                    key = (op.angle.column, j)
                    entries[key] = entries.get(key, 0.0) + scale * value
        self.own, self.trainable = ops[0].per_sample, bool(entries)
        self.strings = ZStrings(layout, list(strings), dtype, device)
        self.exponential = _Exponential(layout, list(strings), dtype, device)
        self.constant = torch.tensor([[constant[j] for j in range(len(strings))]], dtype=dtype, device=device)
        columns = sorted({column for column, _ in entries})
        matrix = np.zeros((len(columns), len(strings)))
        for (column, j), value in entries.items():
            matrix[columns.index(column), j] = value
        self.matrix = torch.from_numpy(matrix).to(self.constant)
        self._fixed = None if self.trainable else self.exponential.factors(self.constant)
        self.columns: slice | Tensor = slice(columns[0], columns[-1] + 1) if columns else slice(0)
        if columns and len(columns) <= columns[-1] - columns[0]:
            self.columns = torch.tensor(columns, device=device)

    def factors(self, values: Values) -> list[Tensor]:
        """Tensors that broadcast over the states, to multiply with."""
        if self._fixed is not None:
            return [factor.conj() for factor in self._fixed] if values.inverted else self._fixed
        coefficients = self._coefficients(values)
        return self.exponential.factors(-coefficients if values.inverted else coefficients)

    def pull(self, by_string: Tensor, into: Tensor) -> None:
        into[:, self.columns] += by_string @ self.matrix.T

    def _coefficients(self, values: Values) -> Tensor:
        """(1, J) if they are the same for all samples, else (B, J)."""
        source = values.own if self.own else values.shared
        return torch.addmm(self.constant, source[..., self.columns].reshape(-1, len(self.matrix)), self.matrix)


class _Exponential:
    """exp(-i sum_j c_j z_j) as factors that broadcast over the states.

    The wires are cut in two halves, and states seen as (high, low, B) or (B, high, low). Strings within a half, most
    of them, need the sines and cosines of 2^(n/2) angles only.
    """

    def __init__(
        self, layout: Layout, strings: Sequence[frozenset[int]], dtype: torch.dtype, device: torch.device
    ) -> None:
        self.batch_last = layout.batch_last
        cut = layout.n_wires // 2 if layout.n_wires >= CUT_FROM else 0
        high, low = layout.order[:cut], layout.order[cut:]
        sizes = 2 ** len(high), 2 ** len(low)
        self.shape = (*sizes, -1) if layout.batch_last else (-1, *sizes)
        inside = {1: [j for j, string in enumerate(strings) if string <= set(low)]}
        inside[0] = [j for j, string in enumerate(strings) if j not in inside[1] and string <= set(high)]
        rest = [j for j in range(len(strings)) if j not in inside[0] and j not in inside[1]]
        self._halves: list[tuple[tuple[int, ...], Tensor, Tensor]] = []
        for side, wires in ((0, high), (1, low)):
            if inside[side]:
                table = -signs(wires, [strings[j] for j in inside[side]]).to(device, dtype)
                size = (len(table), 1) if side == 0 else (1, len(table))
                shape = (*size, -1) if layout.batch_last else (-1, *size)
                self._halves.append((shape, torch.tensor(inside[side], device=device), table))
        self._crossing: tuple[Tensor, ZStrings] | None = None
        if rest:
            crossing = ZStrings(layout, [strings[j] for j in rest], dtype, device)
            self._crossing = torch.tensor(rest, device=device), crossing

    def factors(self, coefficients: Tensor) -> list[Tensor]:
        """Given coefficients (B, J) or (1, J)."""
        angles = []
        for shape, columns, table in self._halves:
            some = coefficients if len(columns) == coefficients.shape[1] else coefficients.index_select(1, columns)
            angles.append((table @ some.T if self.batch_last else some @ table.T).view(shape))
        if self._crossing is not None:
            columns, strings = self._crossing
            angles.append(strings.combine(-coefficients.index_select(1, columns)).view(self.shape))
        return [torch.complex(theta.cos(), theta.sin()) for theta in angles]


def _terms(op: Op) -> dict[frozenset[int], float]:
    """The exponent of a diagonal gate, for angle 1, as strings of Z."""
    if op.rotation is not None:
        return z_strings(np.diag(op.rotation.generator).real, op.wires)
    assert op.matrix is not None
    return z_strings(-np.angle(np.diag(op.matrix)), op.wires)
