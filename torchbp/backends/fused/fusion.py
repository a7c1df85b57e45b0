"""Gates to blocks: neighbours that act on the same few wires become one.

A block is dense (one matrix on at most `size` wires), a permutation of basis states, or a diagonal; the last two
take any number of wires, since they cost one pass over the state whatever they hold. Every block has a level, and
blocks of one level act on different wires. A gate joins the earliest block it fits in rather than the latest in the
list: circuits are written wire by wire, and fusing in that order would double the passes.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Literal

from torchbp.backends.fused.lowering import Op

Kind = Literal["dense", "permutation", "diagonal"]


@dataclass(eq=False)
class Block:
    kind: Kind
    level: int
    wires: set[int] = field(default_factory=set)
    ops: list[Op] = field(default_factory=list)


def fuse(ops: Sequence[Op], n_wires: int, size: int) -> list[list[Block]]:
    """The blocks by level, in the order they are applied."""
    return _Fusion(n_wires, size).run(ops)


class _Fusion:
    def __init__(self, n_wires: int, size: int) -> None:
        self.n_wires, self.size = n_wires, size
        self.levels: list[list[Block]] = []
        self.last: list[Block | None] = [None] * n_wires  # the last block on each wire
        self.waiting: list[list[Op]] = [[] for _ in range(n_wires)]  # one-wire gates wait for company

    def run(self, ops: Sequence[Op]) -> list[list[Block]]:
        for op in ops:
            kind = self._kind(op)
            if kind != "dense":
                self._flush(op.wires)
                self._place(op.wires, [op], kind)
            elif len(op.wires) == 1:
                self.waiting[op.wires[0]].append(op)
            else:
                before = [one for wire in op.wires for one in self.waiting[wire]]
                for wire in op.wires:
                    self.waiting[wire] = []
                self._place(op.wires, [*before, op], "dense")
        self._flush(range(self.n_wires))
        return self.levels

    def _kind(self, op: Op) -> Kind:
        """Permutations and diagonals stay out of dense blocks unless they are free there."""
        if op.per_sample:
            return "diagonal"
        if len(op.wires) == 1 or self.n_wires <= self.size or self._inside_open_block(op):
            return "dense"
        return "diagonal" if op.diagonal else "permutation" if op.permutation is not None else "dense"

    def _inside_open_block(self, op: Op) -> bool:
        wires = set(op.wires)
        return any(wires <= block.wires for block in self._open(wires, "dense"))

    def _open(self, wires: set[int], kind: Kind) -> Iterator[Block]:
        """Blocks that a gate on `wires` can still join: nothing on its wires stands at their level or behind."""
        room = max(self.size, len(wires)) if kind == "dense" else self.n_wires
        lasts = [self.last[wire] for wire in wires]
        top = max((block.level for block in lasts if block is not None), default=0)
        for block in (block for level in self.levels[top:] for block in level):
            free = all(last is None or last is block or last.level < block.level for last in lasts)
            if free and block.kind == kind and len(block.wires | wires) <= room:
                yield block

    def _place(self, on: Sequence[int], ops: list[Op], kind: Kind) -> None:
        wires = set(on)
        best = min(
            self._open(wires, kind),
            key=lambda block: (len(block.wires | wires) - len(block.wires), -len(block.wires), -block.level),
            default=None,
        )
        if best is None:
            lasts = [self.last[wire] for wire in wires]
            best = Block(kind, 1 + max((block.level for block in lasts if block is not None), default=-1))
            if best.level == len(self.levels):
                self.levels.append([])
            self.levels[best.level].append(best)
        best.wires |= wires
        best.ops += ops
        for wire in wires:
            self.last[wire] = best

    def _flush(self, wires: Sequence[int]) -> None:
        for wire in wires:
            if self.waiting[wire]:
                ops, self.waiting[wire] = self.waiting[wire], []
                self._place((wire,), ops, "dense")
