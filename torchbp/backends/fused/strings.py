"""Sums over products of Z, on states of any size, without a table of 2^n rows."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from torchbp.backends.fused.layout import Layout


class ZStrings:
    """J products z_j(i) = +-1 of Pauli Z's, as functions of the basis state i.

    The wires are cut in two halves, i = (h, l): every product factors, z_j(i) = left[h, j] * right[l, j], so the two
    tables have 2^(n/2) rows, and sums over j (or over i) are matrix products.

    Args:
        strings: the wires of each product; the empty product is 1.
    """

    def __init__(self, layout: Layout, strings: Sequence[frozenset[int]], dtype: torch.dtype, device: torch.device):
        self.layout = layout
        cut = layout.n_wires // 2
        self.left = _signs(layout.order[:cut], strings).to(device, dtype)
        self.right = _signs(layout.order[cut:], strings).to(device, dtype)

    def combine(self, coefficients: Tensor) -> Tensor:
        """sum_j c[b, j] z_j(i) for each basis state i: (B, J) → a real tensor in the layout of the states."""
        left, right, batch = self.left, self.right, len(coefficients)
        if self.layout.batch_last:
            weighted = right.T[:, :, None] * coefficients.T[:, None, :]
            return (left @ weighted.flatten(1)).reshape(-1, batch)
        weighted = coefficients[:, None, :] * left
        return (weighted.flatten(0, 1) @ right.T).reshape(batch, -1)

    def contract(self, values: Tensor) -> Tensor:
        """sum_i v[b, i] z_j(i): real values in the layout of the states → (B, J)."""
        left, right = self.left, self.right
        if self.layout.batch_last:
            partial = (left.T @ values.reshape(len(left), -1)).reshape(left.shape[1], len(right), -1)
            return (partial * right.T[:, :, None]).sum(1).T
        partial = values.reshape(-1, len(right)) @ right
        return (partial.reshape(-1, *left.shape) * left).sum(1)


def _signs(wires: Sequence[int], strings: Sequence[frozenset[int]]) -> Tensor:
    """(2^k, J): the sign of each product on each basis state of `wires`, the first most significant."""
    signs = torch.ones(1, len(strings))
    for wire in wires:
        flip = torch.tensor([-1.0 if wire in string else 1.0 for string in strings])
        signs = torch.stack([signs, signs * flip], dim=1).flatten(0, 1)
    return signs
