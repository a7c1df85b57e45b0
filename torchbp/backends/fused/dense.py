"""Dense blocks: the matrices of all blocks at once, and their application to a batch of states."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from torchbp.backends.fused.layout import Layout
from torchbp.backends.fused.lowering import Op
from torchbp.backends.fused.steps import Gradients, Scratch, Step, Values
from torchbp.circuits.operations import Matrix, Rotation, embed

# A gate of a block and the block's wires it acts on.
Placed = tuple[Op, tuple[int, ...]]


class BlockGroup:
    """The matrices of m blocks on k wires each, as functions of the weights.

    A block is a sequence of layers; in a layer stand rotations on different wires, then fixed gates F. All rotation
    matrices of all blocks come from one expression, constant + cos * C + sin * S, embedded in 2^k dimensions and with
    F worked in beforehand. They lie on a grid (place in the layer, layer, block), padded with identities.

    Seen from the end of the block, a rotation with generator G has the generator H = T G T^dagger, with T the product
    of everything behind it: d(psi) = -i H psi dt on the states behind the block. So the reduced matrix
    R = psi kappa^T of the block's wires gives the gradient of every angle in it, Re<iG, T^dagger R T>.
    """

    def __init__(self, k: int, blocks: Sequence[Sequence[Placed]], dtype: torch.dtype, device: torch.device) -> None:
        arranged = [_arrange(block, k) for block in blocks]
        self.trainable = any(layers for layers, _ in arranged)
        depth = max(1, max(len(layers) for layers, _ in arranged))
        width = max((len(layer) for layers, _ in arranged for layer in layers), default=1)
        width = 1 << (width - 1).bit_length()
        self.grid = (width, depth, len(blocks))
        self.size = size = 2**k
        constant = np.broadcast_to(np.eye(size, dtype=complex), (*self.grid, size, size)).copy()
        cosine, sine, generator = (np.zeros((*self.grid, size, size), dtype=complex) for _ in range(3))
        angle = np.zeros((4, *self.grid))
        for b, (layers, fixed) in enumerate(arranged):
            for at, layer in enumerate(layers):
                for place, (op, local) in enumerate(layer):
                    assert op.rotation is not None
                    assert op.angle is not None
                    here = place, at, b
                    constant[here], cosine[here], sine[here], bare = _embedded(op.rotation, local, k)
                    generator[here] = 1j * op.angle.scale * fixed[at + 1] @ bare @ fixed[at + 1].conj().T
                    s = op.rotation.frequency
                    angle[(slice(None), *here)] = op.angle.column, s * op.angle.scale, s * op.angle.offset, 1
                for table in (constant, cosine, sine):
                    table[0, at, b] = fixed[at + 1] @ table[0, at, b]
            for table in (constant, cosine, sine):  # gates before the first layer
                table[-1, 0, b] = table[-1, 0, b] @ fixed[0]
        complex_dtype = torch.complex64 if dtype == torch.float32 else torch.complex128

        def real_rows(table: np.ndarray) -> Tensor:
            rows = torch.view_as_real(torch.from_numpy(table).to(device, complex_dtype))
            return rows.reshape(-1, 2 * size * size)

        self.constant = real_rows(constant)
        if self.trainable:
            self.cosine, self.sine, self.generator = real_rows(cosine), real_rows(sine), real_rows(generator)
            column, rate, shift, used = angle.reshape(4, -1)
            self.columns = torch.from_numpy(column).to(device, torch.long)
            self.rate, self.shift = (torch.from_numpy(a).to(device, dtype)[:, None] for a in (rate, shift))
            self.used = torch.from_numpy(np.flatnonzero(used)).to(device)
            self.used_columns = self.columns[self.used]
            self.padded = len(self.used) < len(self.columns)
        self._eye = torch.eye(size, dtype=complex_dtype, device=device).expand(len(blocks), -1, -1)
        self._fixed = None if self.trainable else self._products(self.constant)

    def build(self, shared: Tensor) -> tuple[Tensor, Tensor]:
        """The blocks' matrices (m, D, D), and the products of the layers behind each layer, (layers * m, D, D)."""
        if self._fixed is not None:
            return self._fixed
        phase = torch.addcmul(self.shift, shared.index_select(0, self.columns)[:, None], self.rate)
        cosine = torch.addcmul(self.constant, phase.cos(), self.cosine)
        return self._products(torch.addcmul(cosine, phase.sin(), self.sine))

    def _products(self, rows: Tensor) -> tuple[Tensor, Tensor]:
        factors = torch.view_as_complex(rows.view(-1, self.size, self.size, 2))
        for _ in range(self.grid[0].bit_length() - 1):
            # The first factor stays leftmost and the last one rightmost, which have fixed gates; the others commute.
            factors = torch.bmm(*factors.chunk(2))
        *first, product = factors.chunk(self.grid[1])
        behind = [self._eye]
        for layer in reversed(first):
            behind.append(product)
            product = torch.bmm(product, layer)
        return product, torch.cat(behind[::-1]) if first else self._eye

    def gradient(self, reduced: Tensor, behind: Tensor, into: Tensor) -> None:
        """Add the angles' gradients to `into` (1, P), given R of each block, (m, D, D)."""
        if self.grid[1] > 1:
            inner = reduced.expand(self.grid[1], -1, -1, -1).reshape(behind.shape)
            reduced = torch.bmm(torch.bmm(behind.mH, inner), behind)
        turned = torch.view_as_real(reduced).view(1, len(behind), -1)
        slots = (turned * self.generator.view(self.grid[0], len(behind), -1)).sum(-1).flatten()
        into[0].index_add_(0, self.used_columns, slots.index_select(0, self.used) if self.padded else slots)

    def gradient_per_sample(self, reduced: Tensor, behind: Tensor, into: Tensor) -> None:
        """Add the angles' gradients to `into` (B, P), given R of each block, (m, B, D, D): the same inner products,
        but now it is the generators that are turned, once for all samples."""
        generator = torch.view_as_complex(self.generator.view(self.grid[0], -1, self.size, self.size, 2))
        turned = torch.view_as_real(behind @ generator @ behind.mH)
        rows = turned.view(self.grid[0] * self.grid[1], self.grid[2], -1).permute(1, 2, 0)
        samples = torch.view_as_real(reduced).flatten(2)
        slots = torch.bmm(samples, rows).permute(1, 2, 0).flatten(1)
        into.scatter_add_(1, self.used_columns.expand(len(slots), -1), slots.index_select(1, self.used))


def collect_angles(gradients: Gradients, groups: Sequence[BlockGroup], behind: Sequence[Tensor]) -> None:
    """Add the angles in dense blocks, once the reduced matrices of all blocks are there."""
    if gradients.shared is None:
        return
    for g, (group, after) in enumerate(zip(groups, behind, strict=True)):
        reduced = torch.stack([gradients.reduced[g, i] for i in range(group.grid[2])])
        (group.gradient_per_sample if gradients.per_sample else group.gradient)(reduced, after, gradients.shared)


@dataclass(frozen=True)
class Site:
    """Where a block's wires stand in the states (how many wires before and behind them), and where its matrix is found.

    The states are seen as `shape`: (outer, D, inner), where an end without other wires (and samples) is left out.
    """

    position: int
    wires: int
    behind: int
    shape: tuple[int, ...]
    end: Literal["left", "right", "none"]
    group: int
    index: int
    trainable: bool

    @classmethod
    def of(cls, layout: Layout, position: int, wires: int, group: int, index: int, trainable: bool) -> Site:
        size, behind = 2**wires, layout.n_wires - position - wires
        if layout.batch_last and position == 0:
            return cls(position, wires, behind, (size, -1), "left", group, index, trainable)
        if layout.batch_last:
            return cls(position, wires, behind, (2**position, size, -1), "none", group, index, trainable)
        if behind == 0:
            return cls(position, wires, behind, (-1, size), "right", group, index, trainable)
        return cls(position, wires, behind, (-1, size, 2**behind), "none", group, index, trainable)


class Dense(Step):
    """One level of dense blocks.

    Blocks of a level act on different wires, so a reduced matrix of one of them is the same before and behind the
    others: one stored state, behind the level, serves all of them.
    """

    uses_own = False

    def __init__(self, sites: Sequence[Site], layout: Layout) -> None:
        self.sites, self.layout = tuple(sites), layout
        self.uses_shared = any(site.trainable for site in sites)

    def apply(self, states: Tensor, values: Values, scratch: Scratch) -> Tensor:
        now = states
        for site in self.sites:
            new = _multiply(values.matrices[site.group][site.index], now, site, scratch)
            if now is not states:
                scratch.give(now)
            now = new
        return now

    def collect(self, psi: Tensor, kappa: Tensor, gradients: Gradients) -> None:
        if gradients.shared is None:
            return
        reduce = _reduce
        if gradients.per_sample:
            reduce = _reduce_per_sample
            if self.layout.batch_last:
                rows = 2**self.layout.n_wires
                psi, kappa = psi.view(rows, -1).T.contiguous(), kappa.view(rows, -1).T.contiguous()
        for site in self.sites:
            if site.trainable:
                gradients.reduced[site.group, site.index] = reduce(psi, kappa, site)


def _multiply(matrix: Tensor, states: Tensor, site: Site, scratch: Scratch) -> Tensor:
    source = states.reshape(site.shape)
    out = scratch.take(source)
    if out is not None:
        out = out.view(source.shape)
    if site.end == "left":
        return torch.mm(matrix, source, out=out)
    if site.end == "right":
        return torch.mm(source, matrix.T, out=out)
    return torch.bmm(matrix.expand(source.shape[0], -1, -1), source, out=out)


def _reduce(psi: Tensor, kappa: Tensor, site: Site) -> Tensor:
    """R = sum over samples and other wires of psi kappa^T, (D, D)."""
    a, b = psi.view(site.shape), kappa.view(site.shape)
    if site.end == "left":
        return torch.mm(a, b.T)
    if site.end == "right":
        return torch.mm(a.T, b)
    if a.shape[0] == 1:
        return torch.mm(a[0], b[0].T)
    return torch.bmm(a, b.mT).sum(0)


def _reduce_per_sample(psi: Tensor, kappa: Tensor, site: Site) -> Tensor:
    """R = sum over other wires of psi kappa^T, (B, D, D), of states (B, 2^n)."""
    shape = -1, 2**site.position, 2**site.wires, 2**site.behind
    a, b = psi.view(shape), kappa.view(shape)
    if site.position == 0:
        return torch.bmm(a[:, 0], b[:, 0].mT)
    if site.behind == 0:
        return torch.bmm(a[..., 0].mT, b[..., 0])
    if site.behind >= site.wires:
        return torch.bmm(a.flatten(0, 1), b.flatten(0, 1).mT).view(-1, *shape[1:3], shape[2]).sum(1)
    a, b = (states.transpose(1, 2).flatten(2) for states in (a, b))
    return torch.bmm(a, b.mT)


def _arrange(block: Sequence[Placed], k: int) -> tuple[list[list[Placed]], list[Matrix]]:
    """Layers of rotations on different wires, and the fixed gates: before the first layer, then behind each."""
    layers: list[list[Placed]] = []
    fixed = [np.eye(2**k, dtype=complex)]
    front = [0] * k  # how many layers each wire has seen
    for op, local in block:
        at = max(front[wire] for wire in local)
        if op.matrix is not None:
            fixed[at] = embed(op.matrix, local, k) @ fixed[at]
        else:
            if at == len(layers):
                layers.append([])
                fixed.append(np.eye(2**k, dtype=complex))
            layers[at].append((op, local))
            at += 1
        for wire in local:
            front[wire] = at
    return layers, fixed


@lru_cache(maxsize=1024)
def _embedded(rotation: Rotation, local: tuple[int, ...], k: int) -> tuple[Matrix, Matrix, Matrix, Matrix]:
    parts = (rotation.constant, rotation.cosine, rotation.sine, rotation.generator)
    constant, cosine, sine, generator = (embed(part, local, k) for part in parts)
    return constant, cosine, sine, generator
