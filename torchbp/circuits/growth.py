"""Weights of a smaller or shallower circuit on a larger one of the same kind."""

from __future__ import annotations

import numpy as np

from torchbp.circuits.circuit import Circuit
from torchbp.errors import InputError


def grown(source: Circuit, values: np.ndarray, circuit: Circuit) -> np.ndarray:
    """(P,) for `circuit` from (p,) of `source`: each weight takes that of the gate that stands where its own does.

    Gates of one name correspond layer by layer, by their place along the wires: the one at the same share of the way
    from the first wire to the last, the nearest if none is there. Layers that the source does not have get 0, at which
    a rotation does nothing. Meant for chains whose ends differ little from the middle.

    Raises:
        InputError: no gate of the circuit has one that it corresponds to.
    """
    known: dict[tuple[int | None, str], list[tuple[float, int]]] = {}
    for layer, name, place, weight in _uses(source):
        known.setdefault((layer, name), []).append((place, weight))
    out, found = np.zeros(circuit.n_weights), np.zeros(circuit.n_weights, dtype=bool)
    for layer, name, place, weight in _uses(circuit):
        same = known.get((layer, name))
        if same and not found[weight]:
            out[weight] = values[min(same, key=lambda pair: abs(pair[0] - place))[1]]
            found[weight] = True
    if circuit.n_weights and not found.any():
        raise InputError(
            f"No gate of {circuit} stands in a layer where {source} has one of its name with a weight: take a smaller "
            "or shallower circuit of the same ansatz."
        )
    return out


def _uses(circuit: Circuit) -> list[tuple[int | None, str, float, int]]:
    """Layer, gate's name and angle, place along the wires from 0 to 1, and weight, gate by gate."""
    width = max(1, circuit.n_wires - 1)
    seen: dict[tuple[int | None, str, tuple[int, ...]], int] = {}
    found = []
    for operation in circuit.operations:
        key = operation.layer, operation.gate.name, operation.wires
        turn = seen[key] = seen.get(key, -1) + 1  # the same gate on the same wires again, as in re-used blocks
        for i, parameter in enumerate(operation.parameters):
            if parameter.kind == "weight":
                name = f"{operation.gate.name} {turn} {i}"
                place = sum(operation.wires) / len(operation.wires) / width
                found.append((operation.layer, name, place, parameter.indices[0]))
    return found
