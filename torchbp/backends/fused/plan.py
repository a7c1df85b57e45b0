"""Blocks to steps: the order of the wires in memory, the indices, the tables. Done once for each kind of call."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from torchbp.backends.base import COMPLEX
from torchbp.backends.fused.dense import BlockGroup, Dense, Placed, Site
from torchbp.backends.fused.fusion import Block, fuse
from torchbp.backends.fused.gather import Gather, gather_index
from torchbp.backends.fused.layout import Layout
from torchbp.backends.fused.lowering import Op
from torchbp.backends.fused.phases import Phases
from torchbp.backends.fused.steps import Scratch, Step, Values, fixed_matrices

MIN_PANEL = 128  # batched matrix products on fewer numbers each run at a fraction of the machine's speed
SMALLEST_BATCH = 16  # or nearly, of those that stand last


class Plan:
    """The steps that a circuit is executed in.

    Args:
        ops: the lowered circuit.
        n_wires: its wires.
        batch_last: see `Layout`.
        size: wires of a dense block.
        from_zero: whether the states start from |0...0>; the plan then keeps the state behind the leading steps that
            depend on nothing.
    """

    def __init__(
        self,
        ops: Sequence[Op],
        n_wires: int,
        batch_last: bool,
        size: int,
        from_zero: bool,
        dtype: torch.dtype,
        device: torch.device,
    ) -> None:
        self.dtype, self.device = dtype, device
        self.steps: list[Step] = []
        self.groups: list[BlockGroup] = []
        levels = fuse(ops, n_wires, size)
        first = next((dense for dense in (_of("dense", level) for level in levels) if dense), [])
        natural = Layout(tuple(range(n_wires)), batch_last)
        self.entry = self.exit = _arranged(natural, first)
        kinds = sorted({_group_kind(block) for level in levels for block in _of("dense", level)})
        self._members: dict[tuple[bool, int], list[list[Placed]]] = {kind: [] for kind in kinds}
        self._gathers: dict[object, Gather | None] = {}
        moves: list[Op] = []  # permutations not yet carried out
        for level in levels:
            moves += [op for block in _of("permutation", level) for op in block.ops]
            if dense := _of("dense", level):
                self._gather(moves, _arranged(self.exit, dense))
                self._dense(dense)
                moves = []
            if diagonal := _of("diagonal", level):
                self._gather(moves, self.exit)
                gates = [op for block in diagonal for op in block.ops]
                self.steps.append(Phases(gates, self.exit, dtype, device))
                moves = []
        self.closing = tuple(moves)  # the readout carries them out, or does without
        groups = [BlockGroup(k, blocks, dtype, device) for (_, k), blocks in self._members.items()]
        self.groups = [group for group in groups if group.trainable]
        nothing = torch.zeros(0, dtype=dtype, device=device)
        self._fixed = fixed_matrices([group.build(nothing)[0] for group in groups if not group.trainable])
        del self._members, self._gathers
        self.start: Tensor | None = None
        self.first = 0
        if from_zero:
            self.start = self._constant_prefix()

    def build(self, shared: Tensor) -> list[Tensor]:
        """The matrices of each group of blocks with parameters, then what stands behind each layer in them; see
        `BlockGroup`."""
        products, behind = (
            zip(*(group.build(shared) for group in self.groups), strict=True) if self.groups else ((), ())
        )
        return [*products, *behind]

    def values(self, matrices: Sequence[Tensor], shared: Tensor, own: Tensor) -> Values:
        """The numbers of one evaluation; `matrices` are those of `build`."""
        return Values(shared, own, matrices[: len(self.groups)], self._fixed)

    def close(self) -> list[Step]:
        """The step, if any, that carries out the permutations at the end of the circuit."""
        index = gather_index(self.closing, self.exit, self.exit)
        return [] if index is None else [Gather(index, self.exit, self.device)]

    def _constant_prefix(self) -> Tensor:
        """|0...0> behind the leading steps without parameters, as one column (or row)."""
        state = torch.zeros(1, 2**self.entry.n_wires, dtype=COMPLEX[self.dtype], device=self.device)
        state[0, 0] = 1
        state = self.entry.enter(state)
        nothing = torch.zeros(1, dtype=self.dtype, device=self.device)
        values = Values(nothing, nothing, [nothing] * len(self.groups), self._fixed)
        for step in self.steps:
            if step.trainable:
                break
            state = step.apply(state, values, Scratch(enabled=False))
            self.first += 1
        return self.exit.matrix(state)

    def _gather(self, moves: Sequence[Op], new: Layout) -> None:
        """Carry out the permutations and the change of order in one step. Equal steps share their index."""
        signature = tuple((op.wires, op.permutation.tobytes()) for op in moves if op.permutation is not None)
        key = signature, self.exit, new
        if key not in self._gathers:
            index = gather_index(moves, self.exit, new)
            self._gathers[key] = None if index is None else Gather(index, new, self.device)
        gather = self._gathers[key]
        if gather is not None:
            self.steps.append(gather)
        self.exit = new

    def _dense(self, blocks: Sequence[Block]) -> None:
        order, sites = self.exit.order, []
        for block in blocks:
            wires = sorted(block.wires, key=order.index)
            local = {wire: i for i, wire in enumerate(wires)}
            placed = [(op, tuple(local[wire] for wire in op.wires)) for op in block.ops]
            kind = _group_kind(block)
            members, group = self._members[kind], list(self._members).index(kind)
            sites.append(Site.of(self.exit, order.index(wires[0]), len(wires), group, len(members), not kind[0]))
            members.append(placed)
        self.steps.append(Dense(sites, self.exit))


def _of(kind: str, level: Sequence[Block]) -> list[Block]:
    return [block for block in level if block.kind == kind]


def _group_kind(block: Block) -> tuple[bool, int]:
    """Blocks of equal kind have their matrices made together; those with parameters come first."""
    return all(op.rotation is None for op in block.ops), len(block.wires)


def _arranged(layout: Layout, blocks: Sequence[Block]) -> Layout:
    """The layout itself if it suits the blocks, else one where each stands together, the larger ones last."""
    ordered = sorted(blocks, key=lambda block: len(block.wires))
    idle = [wire for wire in layout.order if not any(wire in block.wires for block in blocks)]
    grouped = [wire for block in ordered for wire in layout.order if wire in block.wires]
    best = Layout((*idle, *grouped), layout.batch_last)
    return best if _awkward(best, blocks) < _awkward(layout, blocks) else layout


def _awkward(layout: Layout, blocks: Sequence[Block]) -> tuple[int, int]:
    """How many blocks do not stand together, and how many make narrow matrix products."""
    apart = narrow = 0
    for block in blocks:
        places = sorted(layout.order.index(wire) for wire in block.wires)
        behind = layout.n_wires - 1 - places[-1]
        apart += places[-1] - places[0] >= len(places)
        whole = places[0] == 0 if layout.batch_last else behind == 0
        panel = 2 ** (behind + len(places)) * (SMALLEST_BATCH if layout.batch_last else 1)
        narrow += not whole and panel < MIN_PANEL
    return apart, narrow
