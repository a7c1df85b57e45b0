"""Gates of other libraries under any number of controls, in gates of the gate table.

An angle is whatever can be multiplied by a number: a tensor, or a `Parameter`.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

import numpy as np

from torchbp.circuits.operations import controlled

CONTROLLABLE = {"x", "p", "rx", "ry", "rz", "rxx", "ryy", "rzz", "multirz", "qubitunitary"}
"""What `under` can control."""


@dataclass(frozen=True, eq=False)
class Applied:
    """A gate of the table or a matrix, on wires by their labels; an angle has one value, or one for each sample."""

    name: str
    wires: tuple[Hashable, ...]
    angles: tuple[Any, ...] = ()
    inverse: bool = False
    matrix: np.ndarray | None = None
    path: str = ""

    def __str__(self) -> str:
        return f"the gate {self.name!r} on {list(self.wires)}" + (f" of {self.path}" if self.path else "")


def under(controls: Sequence[Hashable], gate: Applied) -> Iterator[Applied]:
    """One of the `CONTROLLABLE` gates, if all the controls are 1; exact, its phase included."""
    if gate.inverse:
        yield from (
            replace(g, inverse=not g.inverse) for g in reversed(list(under(controls, replace(gate, inverse=False))))
        )
    elif not controls:
        yield gate
    elif gate.matrix is not None:
        yield replace(gate, wires=(*controls, *gate.wires), matrix=controlled(gate.matrix, len(controls)))
    elif gate.name == "x":
        yield Applied("multicnot", (*controls, *gate.wires), path=gate.path)
    elif gate.name == "p":
        yield from phase(gate.angles[0], (*controls, *gate.wires), gate.path)
    elif gate.name in ("rx", "ry", "rz"):
        yield from _rotation(gate.name[-1].upper(), gate.angles[0], controls, gate.wires[0], gate.path)
    else:
        axis = "Z" if gate.name == "multirz" else gate.name[-1].upper()
        yield from _parity(axis, gate.angles[0], controls, gate.wires, gate.path)


def phase(angle: Any, wires: Sequence[Any], path: str = "") -> Iterator[Applied]:
    """exp(i angle) on the state of all ones: exp(i angle / 2^k) times a rotation of the last wire, all the way down."""
    *controls, last = wires
    if len(controls) < 2:
        yield Applied("cp" if controls else "p", tuple(wires), (angle,), path=path)
    else:
        yield from _rotation("Z", angle, controls, last, path)
        yield from phase(angle * 0.5, controls, path)


def _rotation(axis: str, angle: Any, controls: Sequence[Any], wire: Any, path: str) -> Iterator[Applied]:
    """exp(-i angle P / 2) if all controls are 1: half of it, and half of it back where they are not."""
    if len(controls) == 1:
        yield Applied(f"cr{axis.lower()}", (*controls, wire), (angle,), path=path)
        return
    flip = Applied("multicnot", (*controls, wire), path=path)
    basis = [Applied("h", (wire,))] if axis == "X" else []
    turn = "ry" if axis == "Y" else "rz"
    yield from basis
    yield Applied(turn, (wire,), (angle * 0.5,), path=path)
    yield flip
    yield Applied(turn, (wire,), (angle * -0.5,), path=path)
    yield flip
    yield from basis


def _parity(axis: str, angle: Any, controls: Sequence[Any], on: Sequence[Any], path: str) -> Iterator[Applied]:
    """exp(-i angle P...P / 2) if all controls are 1: in the basis of Z, the parity on the last wire is turned."""
    into = {"X": ["h"], "Y": ["sdg", "h"], "Z": []}[axis]
    ladder = [Applied("cnot", pair) for pair in pairwise(on)]
    there = [Applied(name, (w,)) for w in on for name in into] + ladder
    yield from there
    yield from _rotation("Z", angle, controls, on[-1], path)
    yield from (replace(g, inverse=not g.inverse) for g in reversed(there))
