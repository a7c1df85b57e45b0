"""Sums over products of Z, on states of any size, without a table of 2^n rows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor

from torchbp.backends.fused.layout import Layout

WHOLE = 2**14  # numbers in a table of signs up to which it is kept in one piece


class ZStrings:
    """J products z_j(i) = +-1 of Pauli Z's, as functions of the basis state i.

    The wires are cut in two halves, i = (h, l): every product factors, z_j(i) = left[h, j] * right[l, j], so the two
    tables have 2^(n/2) rows, and sums over j (or over i) are matrix products. On few wires the left half is empty.

    Complex states enter and leave as pairs of real numbers, (re, im, re, im, ...): a matrix product reads them as they
    lie in memory, whereas taking the real parts out first would be a slow pass of its own.

    Args:
        strings: the wires of each product; the empty product is 1.
    """

    def __init__(self, layout: Layout, strings: Sequence[frozenset[int]], dtype: torch.dtype, device: torch.device):
        self.layout = layout
        cut = 0 if len(strings) << layout.n_wires <= WHOLE else layout.n_wires // 2
        self.left = signs(layout.order[:cut], strings).to(device, dtype) if cut else None
        self.right = right = signs(layout.order[cut:], strings).to(device, dtype)
        # For pairs in rows: both parts, the imaginary part only, and (+, -) to conjugate with.
        nothing = torch.zeros_like(right)
        self._both, self._imaginary, self._conjugating = (
            torch.stack(pair, dim=1).flatten(0, 1) for pair in ((right, right), (nothing, right), (right, -right))
        )
        self._plus_minus = torch.tensor([1.0, -1.0], dtype=dtype, device=device)

    def combine(self, coefficients: Tensor) -> Tensor:
        """sum_j c[b, j] z_j(i) for each basis state i: (B, J) → a real tensor in the layout of the states."""
        return self._combine(coefficients, self.right)

    def conjugate_by(self, coefficients: Tensor) -> Tensor:
        """The same as pairs (s, -s): times the pairs of psi it makes s * conj(psi)."""
        if not self.layout.batch_last:
            return self._combine(coefficients, self._conjugating)
        return self._combine((coefficients[:, None] * self._plus_minus[:, None]).flatten(0, 1), self.right)

    def contract(self, pairs: Tensor, part: Literal["both", "imaginary"]) -> Tensor:
        """sum_i v[b, i] z_j(i) for v = re + im, or im: pairs in the layout of the states → (B, J)."""
        left, right = self.left, self.right
        if self.layout.batch_last:
            if left is None:
                sums = right.T @ pairs.reshape(len(right), -1)
            else:
                partial = (left.T @ pairs.reshape(len(left), -1)).reshape(left.shape[1], len(right), -1)
                sums = (partial * right.T[:, :, None]).sum(1)
            by_part = sums.reshape(len(sums), -1, 2)
            return (by_part.sum(2) if part == "both" else by_part[:, :, 1]).T
        partial = pairs.reshape(-1, 2 * len(right)) @ (self._both if part == "both" else self._imaginary)
        return partial if left is None else (partial.reshape(-1, *left.shape) * left).sum(1)

    def _combine(self, coefficients: Tensor, right: Tensor) -> Tensor:
        left, batch = self.left, coefficients.shape[0]
        if self.layout.batch_last:
            if left is None:
                return right @ coefficients.T
            weighted = right.T[:, :, None] * coefficients.T[:, None, :]
            return (left @ weighted.flatten(1)).reshape(-1, batch)
        if left is None:
            return coefficients @ right.T
        weighted = coefficients[:, None, :] * left
        return (weighted.flatten(0, 1) @ right.T).reshape(batch, -1)


def signs(wires: Sequence[int], strings: Sequence[frozenset[int]]) -> Tensor:
    """(2^k, J): the sign of each product on each basis state of `wires`, the first most significant."""
    table = torch.ones(1, len(strings))
    for wire in wires:
        flip = torch.tensor([-1.0 if wire in string else 1.0 for string in strings])
        table = torch.stack([table, table * flip], dim=1).flatten(0, 1)
    return table
