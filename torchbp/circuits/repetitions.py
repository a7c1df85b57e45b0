"""Where the repetitions of a circuit begin, told from its trainable gates alone."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Sequence
from typing import TypeVar

Weight = TypeVar("Weight", bound=Hashable)


def repetitions(gates: Iterable[tuple[Hashable, Sequence[Weight]]]) -> list[list[int]]:
    """Group trainable gates into layers: a layer ends where a gate comes that it has already.

    So the blocks of an ansatz that is repeated come out as its layers, without anybody having marked them. It is a
    convention, not a property of the circuit: two blocks of different gates are one layer, and a block that has the
    same gate on the same wires twice is two.

    Args:
        gates: of each gate in the order of the circuit, what makes it the same again (its name and wires), and its
            weights.

    Returns:
        Positions of the gates in each layer, in order. Gates without weights are in none, nor are those whose weights
        have all been used before.
    """
    layers: list[list[int]] = []
    here: set[Hashable] = set()
    known: set[Weight] = set()
    for position, (gate, weights) in enumerate(gates):
        new = set(weights) - known
        if not new:
            continue
        if not layers or gate in here:
            layers.append([])
            here = set()
        layers[-1].append(position)
        here.add(gate)
        known |= new
    return layers
