"""From a list of another library's gates, with what each angle is made of, to a Circuit with layers."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from torchbp.circuits import Circuit, Operation, Parameter, constant
from torchbp.circuits.circuit import QUBIT_UNITARY
from torchbp.circuits.operations import GATES, Gate
from torchbp.circuits.repetitions import repetitions

Angle = Sequence[Parameter]
"""A sum of at least one term, each scale * source (+ offset)."""
Source = tuple[str, int]
"""Of a weight: the name of a parameter, and the index into its flattened values. It is the `token` of its terms."""


@dataclass(frozen=True, eq=False)
class Step:
    """One gate: a row of the gate table with its angles, or a matrix."""

    name: str
    wires: tuple[int, ...]
    angles: tuple[Angle, ...] = ()
    inverse: bool = False
    matrix: np.ndarray | None = None

    def operations(self) -> list[Operation]:
        """The gates of a circuit that it takes."""
        if self.matrix is not None:
            return [Operation(QUBIT_UNITARY, self.wires, inverse=self.inverse, unitary=self.matrix)]
        found = list(turned(GATES[self.name], self.wires, self.angles))
        return [replace(op, inverse=True) for op in reversed(found)] if self.inverse else found


def assemble(n_wires: int, steps: Iterable[Step], n_amplitudes: int = 0) -> tuple[Circuit, tuple[Source, ...]]:
    """The circuit of some gates, and what each of its weights is; weights are in the order of their first use."""
    operations = [op for step in steps for op in step.operations()]
    used = [p.token for op in operations for p in op.parameters if p.kind == "weight"]
    index: dict[object, int] = {token: i for i, token in enumerate(dict.fromkeys(used))}

    def bind(p: Parameter) -> Parameter:
        return replace(p, indices=(index[p.token],)) if p.kind == "weight" else p

    bound = [replace(op, parameters=tuple(map(bind, op.parameters))) for op in operations]
    operations, layers = in_layers(bound)
    circuit = Circuit.of(n_wires, operations, layers, len(index), n_amplitudes)
    return circuit, tuple(index)  # type: ignore[arg-type]


def in_layers(operations: Sequence[Operation]) -> tuple[list[Operation], list[str]]:
    """The operations with the repetitions of their trainable gates as layers, and the layers' names."""
    keys = [
        ((op.gate.name, op.wires), tuple(p.indices[0] for p in op.parameters if p.kind == "weight"))
        for op in operations
    ]
    starts = {positions[0] for positions in repetitions(keys)}
    found, layer = [], -1
    for position, op in enumerate(operations):
        layer += position in starts
        found.append(replace(op, layer=layer if layer >= 0 else None))
    return found, [f"layer{i}" for i in range(len(starts))]


def turned(gate: Gate, wires: tuple[int, ...], angles: Sequence[Angle]) -> Iterator[Operation]:
    """The gate, each angle the sum of some terms: a rotation by a sum is a rotation by each of its terms."""
    if all(len(terms) == 1 for terms in angles):
        yield Operation(gate, wires, tuple(terms[0] for terms in angles))
    elif gate.generator is not None:
        yield from (Operation(gate, wires, (term,)) for term in angles[0])
    else:
        for name, local, offset, coefficients in gate.factors or ():
            used = [(c, terms) for c, terms in zip(coefficients, angles, strict=True) if c]
            first, *rest = [term * c for c, terms in used for term in terms] or [constant(0.0)]
            yield from turned(GATES[name], tuple(wires[i] for i in local), [[first + offset, *rest]])


def projector(bits: Mapping[int, int]) -> dict[str, float]:
    """|b><b| on some wires as Z strings, each factor (1 + (-1)^b Z) / 2: from a string to its coefficient."""
    terms = {"": 1.0}
    for wire, bit in bits.items():
        half = (("", 0.5), (f" Z{wire}", -0.5 if bit else 0.5))
        terms = {f"{string}{z}".strip(): c * f for string, c in terms.items() for z, f in half}
    return terms
