"""Changes to a circuit that may help against a plateau: fewer layers, local observables, other starts."""

from __future__ import annotations

from collections.abc import Sequence

from torchbp.circuits import Circuit, Parameter, PauliSum, weight
from torchbp.errors import InputError


def first_layers(circuit: Circuit, depth: int) -> tuple[Circuit, tuple[int, ...]]:
    """The circuit up to the first gate of its next layer, and the old index of each of its weights.

    Gates outside of all layers count with what stands before them.

    Raises:
        InputError: the circuit does not have that many layers.
    """
    count = n_layers(circuit)
    if not 1 <= depth <= count:
        raise InputError(f"The circuit has {count} marked layers, so a depth is 1 to {count}; got {depth}.")
    out = Circuit(circuit.n_wires)
    if circuit.n_amplitudes:
        out.encode_amplitudes(circuit.n_amplitudes)
    weights: dict[int, Parameter] = {}
    current: int | None = None
    for op in circuit.operations:
        if op.layer is not None and op.layer >= depth:
            break
        if op.layer is not None and op.layer != current:
            current = op.layer
            out.start_layer(circuit.layers[current].name)
        angles = [
            weights.setdefault(p.indices[0], weight()) * p.scale + p.offset if p.kind == "weight" else p
            for p in op.parameters
        ]
        out.append(op.gate.name, op.wires, *angles, inverse=op.inverse, unitary=op.unitary)
    return out, tuple(weights)


def n_layers(circuit: Circuit) -> int:
    """Marked layers of the circuit."""
    return max((op.layer + 1 for op in circuit.operations if op.layer is not None), default=0)


def local_observables(observables: Sequence[PauliSum]) -> list[PauliSum]:
    """Each string of several letters replaced by the mean of its letters one by one: Z0 Z1 by (Z0 + Z1) / 2.

    For a product of projectors the two have the same minimum (Cerezo 2021, 2001.00550); for other observables this is
    another cost, which a person has to judge.
    """
    found = []
    for observable in observables:
        terms: dict[str, float] = {}
        for string, c in observable.terms:
            for wire, letter in string:
                key = f"{letter}{wire}"
                terms[key] = terms.get(key, 0.0) + c / len(string)
            if not string:
                terms["I"] = terms.get("I", 0.0) + c
        found.append(PauliSum(terms))
    return found
