"""Which pairs of wires the entangling gates of a layer act on."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import combinations, pairwise

from torchbp.errors import CircuitError, UnknownNameError

Pairs = list[tuple[int, int]]

ROTATIONS = ("rx", "ry", "rz")


def line(n_wires: int) -> Pairs:
    """(0, 1), (1, 2), ..., (n-2, n-1)."""
    return [(wire, wire + 1) for wire in range(n_wires - 1)]


def ring(n_wires: int) -> Pairs:
    """The line and the bond (n-1, 0) that closes it; two wires have one bond, not the same one twice."""
    return line(n_wires) + ([(n_wires - 1, 0)] if n_wires > 2 else [])


def all_pairs(n_wires: int) -> Pairs:
    """Every pair (i, j) with i < j."""
    return list(combinations(range(n_wires), 2))


ENTANGLERS: dict[str, Callable[[int], Pairs]] = {"all": all_pairs, "line": line, "ring": ring}


def pairs(n_wires: int, entangler: str) -> Pairs:
    """The pairs of the entangler with this name.

    Raises:
        UnknownNameError: no such entangler; lists the known ones.
    """
    if entangler not in ENTANGLERS:
        raise UnknownNameError("entangler", entangler, ENTANGLERS)
    return ENTANGLERS[entangler](n_wires)


def bricks(wires: Sequence[int]) -> Pairs:
    """Neighbours among `wires` like bricks in a wall: first, third, ... bond, then second, fourth, ..."""
    return [*zip(wires[::2], wires[1::2], strict=False), *zip(wires[1::2], wires[2::2], strict=False)]


def rotation_names(rotations: str | Sequence[str]) -> tuple[str, ...]:
    """One or several of "rx", "ry", "rz", as a tuple.

    Raises:
        UnknownNameError: another name.
        CircuitError: none given, or the same one twice in a row, whose angles would only add up.
    """
    names = (rotations,) if isinstance(rotations, str) else tuple(rotations)
    for name in names:
        if name not in ROTATIONS:
            raise UnknownNameError("rotation", name, ROTATIONS)
    if not names or any(a == b for a, b in pairwise(names)):
        raise CircuitError(f"Rotations are one or more of {', '.join(ROTATIONS)}, none twice in a row; got {names}.")
    return names
