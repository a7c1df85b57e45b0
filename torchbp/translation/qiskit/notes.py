"""What `to_qiskit` writes into a circuit's metadata, and how much of it still holds when the circuit comes back.

Qiskit keeps metadata whatever it does to the gates. The notes hold a fingerprint of the gates they describe; of a
circuit with others, only what the parameters' names mean is used.
"""

from __future__ import annotations

import hashlib
import json
import warnings
from collections.abc import Mapping, Sequence
from typing import Any

from torchbp.errors import CircuitError
from torchbp.translation.packages import need
from torchbp.translation.qiskit.state_preparation import append_preparation

METADATA = "torchbp"
FORMAT = 1
CHANGED = (
    "The circuit is not the one that torchbp wrote its notes for: gates were changed since. Parameters mean what they "
    "did, and all weights are in one layer. To keep the layers, load the circuit as it was exported."
)
IGNORED = ("barrier", "measure")


def gates_of(circuit: Any) -> list[Any]:
    """The instructions that are gates: barriers and measurements may come and go."""
    return [item for item in circuit.data if item.operation.name not in IGNORED]


def fingerprint(circuit: Any) -> str:
    """Of the gates' names and qubits in their order; angles may be bound."""
    steps = [[item.operation.name, _qubits(circuit, item)] for item in gates_of(circuit)]
    return hashlib.sha256(json.dumps([circuit.num_qubits, steps]).encode()).hexdigest()


def foreign_notes(
    circuit: Any, features: Sequence[str] = (), prepared: int = 0, n_amplitudes: int = 0
) -> dict[str, Any]:
    """Notes for a circuit that has none: every parameter that is no feature is a weight, in Qiskit's order."""
    return {
        "features": list(features),
        "weights": [p.name for p in circuit.parameters if p.name not in features],
        "preparation_gates": prepared,
        "n_amplitudes": n_amplitudes,
        "layers": [],
        "gates_in_layers": [],
    }


def current_notes(circuit: Any, notes: Mapping[str, Any], same: bool) -> dict[str, Any]:
    """The notes as they hold for the circuit now.

    Args:
        circuit: it may have been bound, measured or rewritten since the notes were made.
        notes: what `to_qiskit` wrote.
        same: whether its gates are those of the notes.

    Raises:
        CircuitError: the gates that encode amplitudes were changed: their angles are functions of features.
    """
    present = [p.name for p in circuit.parameters]
    known = {*notes["features"], *notes["weights"], *notes["preparation"]}
    bound = set(notes.get("parameters", ())) - set(present)
    kept = [name for name in notes["weights"] if name not in bound]
    notes = {**notes, "weights": kept, "values": _values(notes, kept)}
    prepared = notes["preparation_gates"]
    if prepared and not bound.isdisjoint(notes["preparation"]):  # numbers now, and gates like any other
        runs = [[None, prepared], *notes["gates_in_layers"]]
        notes |= {"n_amplitudes": 0, "preparation_gates": 0, "gates_in_layers": runs}
        prepared = 0
    if same and known.issuperset(present):
        return notes
    warnings.warn(CHANGED, stacklevel=3)
    if prepared and not _prepares(circuit, notes["preparation"], prepared):
        raise CircuitError(
            f"The gates that encode amplitudes were changed since torchbp wrote them, and their angles "
            f"({notes['preparation'][0]}, ...) are functions of features, which a circuit can't have: import the "
            "circuit as it was exported, or bind those parameters first."
        )
    others = foreign_notes(circuit, notes["features"], prepared, notes["n_amplitudes"])
    new = [name for name in others["weights"] if name not in known]
    weights = [*(name for name in kept if name in present), *new]
    values = None if new else _values(notes, weights)
    return {**notes, **others, "weights": weights, "values": values}


def _values(notes: Mapping[str, Any], names: Sequence[str]) -> list[float] | None:
    values = notes.get("values")
    if values is None or len(values) != len(notes["weights"]):
        return None
    by_name = dict(zip(notes["weights"], values, strict=True))
    return [by_name[name] for name in names]


def _prepares(circuit: Any, names: Sequence[str], count: int) -> bool:
    """Whether the circuit begins with the gates that encode amplitudes, and has their parameters nowhere else."""
    wanted = need("qiskit").QuantumCircuit(circuit.num_qubits)
    angles = [need("qiskit.circuit").Parameter(name) for name in names]
    append_preparation(wanted, angles)
    first, rest = gates_of(circuit)[:count], gates_of(circuit)[count:]
    steps = [(i.operation.name, _qubits(circuit, i), [str(p) for p in i.operation.params]) for i in first]
    ours = [(i.operation.name, _qubits(wanted, i), [str(p) for p in i.operation.params]) for i in wanted.data]
    later = {p.name for i in rest for value in i.operation.params for p in getattr(value, "parameters", ())}
    return steps == ours and later.isdisjoint(names)


def _qubits(circuit: Any, item: Any) -> list[int]:
    return [circuit.find_bit(qubit).index for qubit in item.qubits]
