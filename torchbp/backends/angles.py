"""From features and weights to the angle of every rotation in a circuit."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from torchbp.backends.base import outside_of_traces
from torchbp.circuits.parameters import Parameter


class AngleMap:
    """The angles of S rotations as functions of one source vector: angle = scale * (product of sources) + offset.

    A rotation reads one weight, one feature or a product of features; a constant reads nothing. Short products
    are padded with a column of ones behind the source.

    Args:
        parameters: S parameters, all read from the same source (or constants).
        size: length F of the source vector.
    """

    def __init__(self, parameters: Sequence[Parameter], size: int) -> None:
        self.size = size
        width = max((len(p.indices) for p in parameters), default=0)
        padded = [[*p.indices, *[size] * (width - len(p.indices))] for p in parameters]
        self._columns = torch.tensor(padded, dtype=torch.long).reshape(len(parameters), width).T.contiguous()
        self._padded = bool((self._columns == size).any())
        scale = torch.tensor([p.scale if p.kind != "constant" else 0.0 for p in parameters], dtype=torch.float64)
        offset = torch.tensor([p.offset for p in parameters], dtype=torch.float64)
        self._exact = {
            "_scale": None if bool((scale == 1).all()) else scale,
            "_offset": None if width and bool((offset == 0).all()) else offset,
        }
        self._scale, self._offset = self._exact["_scale"], self._exact["_offset"]

    def __call__(self, source: Tensor) -> Tensor:
        """(..., F) → (..., S), differentiable in the source."""
        self._to(source)
        if self._padded:
            ones = source.new_ones(*source.shape[:-1], 1)
            source = torch.cat([source[..., : self.size], ones], dim=-1)
        angles = None
        for column in self._columns:
            factor = source.index_select(-1, column)
            angles = factor if angles is None else angles * factor
        if angles is None:
            assert self._offset is not None
            return self._offset.expand(*source.shape[:-1], -1)
        if self._scale is not None:
            angles = angles * self._scale
        return angles if self._offset is None else angles + self._offset

    def _to(self, source: Tensor) -> None:
        """Keep the constants where the source is; layers rarely move, so this is nearly always free."""
        with outside_of_traces():  # what is kept must be fit for training later
            if self._columns.device != source.device:
                self._columns = self._columns.to(source.device)
            for name, exact in self._exact.items():
                value = getattr(self, name)
                if exact is not None and (value.dtype, value.device) != (source.dtype, source.device):
                    # From the doubles each time: a layer that was single for a while is as exact again as before.
                    setattr(self, name, exact.to(dtype=source.dtype, device=source.device))
