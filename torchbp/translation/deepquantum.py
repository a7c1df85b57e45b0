"""From DeepQuantum's `QubitCircuit` to a Circuit: its gates are read, one by one."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from torchbp.circuits import Parameter, PauliSum, constant
from torchbp.errors import CircuitError, InputError
from torchbp.translation.assembly import Step, assemble
from torchbp.translation.controls import CONTROLLABLE, Applied, under
from torchbp.translation.torchquantum import Translation

ROTATIONS = {
    "Rx": ("rx", 1.0),
    "Ry": ("ry", 1.0),
    "Rz": ("rz", 1.0),
    "PhaseShift": ("p", 1.0),
    "Rxx": ("rxx", 1.0),
    "Ryy": ("ryy", 1.0),
    "Rzz": ("rzz", 1.0),
    "Rxy": ("xy", 1.0),
    "ReconfigurableBeamSplitter": ("singleexcitation", -2.0),
}
"""Gates of one angle, and what it is multiplied by; U3Gate has three."""
_U3 = ("theta", "phi", "lambd")
_IGNORED = {"Barrier", "WireCut", "Identity"}
_LARGEST = 6
"""Wires of a gate that is taken by its matrix."""


def translate(circuit: Any, example: Tensor | None) -> Translation:
    """The circuit of a `QubitCircuit`, with the parameters of its gates.

    Args:
        example: data (B, F), where more columns are given than are encoded, or they are encoded again and again.

    Raises:
        CircuitError: something has no translation; names it.
        InputError: no such circuit, or it encodes data again and again, and no example says how many columns there are.
    """
    if not hasattr(circuit, "operators") or not hasattr(circuit, "nqubit"):
        raise InputError(f"from_deepquantum takes a deepquantum.QubitCircuit, got {type(circuit).__name__}.")
    if circuit.reupload and circuit.ndata and example is None:
        raise InputError("The circuit encodes its data again and again: pass example=, data (B, F).")
    n_features = 0 if not circuit.ndata else int(circuit.ndata if example is None else example.shape[-1])
    _refuse(circuit)
    columns = _columns(circuit, n_features)
    names = {id(parameter): name for name, parameter in circuit.named_parameters()}
    gates = [applied for gate in circuit.operators for applied in _gates(gate, columns, names)]
    steps = [Step(g.name, g.wires, tuple([a] for a in g.angles), g.inverse, g.matrix) for g in gates]  # type: ignore[arg-type]
    assembled, sources = assemble(circuit.nqubit, steps)
    observables = [_pauli_sum(observable) for observable in circuit.observables] or None
    return Translation(assembled, observables, sources, n_features)


def _refuse(circuit: Any) -> None:
    start = getattr(circuit.init_state, "state", None)
    if circuit.mps or circuit.den_mat:
        kind = "matrix product states" if circuit.mps else "density matrices"
        raise CircuitError(f"The QubitCircuit computes with {kind}: torchbp translates those of state vectors.")
    if not isinstance(start, Tensor) or start.reshape(-1)[0] != 1:
        raise CircuitError(
            "The QubitCircuit does not start from |0...0>: a layer can be given its first state, layer(x, state)."
        )


def _columns(circuit: Any, n_features: int) -> dict[int, list[int]]:
    """Of each gate that encodes data, by its id, the columns: as `QubitCircuit.encode` hands them out."""
    found: dict[int, list[int]] = {}
    count = 0
    for operation in circuit.encoders:
        stop = count + operation.npara
        if not circuit.reupload and stop > n_features:
            raise InputError(f"The QubitCircuit encodes {circuit.ndata} columns of data, got {n_features}.")
        taken = [i % n_features for i in range(count, stop)]
        for gate in getattr(operation, "gates", [operation]):
            found[id(gate)], taken = taken[: gate.npara], taken[gate.npara :]
        count = stop % n_features
    return found


def _gates(gate: Any, columns: dict[int, list[int]], names: dict[int, str]) -> Iterator[Applied]:
    """One of DeepQuantum's gates.

    Raises:
        CircuitError: it is none, or has no translation.
    """
    kind, wires, controls = type(gate).__name__, tuple(gate.wires), tuple(getattr(gate, "controls", ()))
    if kind in _IGNORED:
        return
    if getattr(gate, "condition", False) or not hasattr(gate, "update_matrix"):
        what = "depends on a measurement" if getattr(gate, "condition", False) else "is no unitary gate"
        raise CircuitError(f"{kind} on wires {list(wires)} {what}, which torchbp's circuits don't have.")
    inverse = bool(getattr(gate, "inv_mode", False))
    angles = _angles(gate, kind, columns, names)
    if kind == "U3Gate":
        theta, phi, lam = angles
        parts = [Applied("p", wires, (lam,)), Applied("ry", wires, (theta,)), Applied("p", wires, (phi,))]
        whole = [Applied("u3", wires, (theta, phi, lam))]
        for part in _turned(parts if controls else whole, inverse):
            yield from under(controls, part)
    elif kind in ROTATIONS:
        name, scale = ROTATIONS[kind]
        if controls and name not in CONTROLLABLE:
            raise CircuitError(f"{kind} on wires {list(wires)} with controls {list(controls)} has no translation.")
        for part in _turned([Applied(name, wires, (angles[0] * scale,))], inverse):
            yield from under(controls, part)
    elif angles or any(True for _ in gate.parameters()):
        raise CircuitError(
            f"{kind} on wires {list(wires)} has trained or encoded numbers that are no angles of a gate."
        )
    elif kind == "CNOT":
        yield Applied("cnot", wires)
    elif kind == "PauliX":
        yield from under(controls, Applied("x", wires))
    elif len(wires) + len(controls) <= _LARGEST:
        matrix = np.asarray(gate.update_matrix().detach().cpu(), dtype=complex)
        yield from under(controls, Applied("qubitunitary", wires, matrix=matrix))
    else:
        raise CircuitError(f"{kind} has a matrix on {len(wires)} wires: torchbp takes those on up to {_LARGEST}.")


def _turned(gates: list[Applied], inverse: bool) -> list[Applied]:
    return [replace(gate, inverse=True) for gate in reversed(gates)] if inverse else gates


def _angles(gate: Any, kind: str, columns: dict[int, list[int]], names: dict[int, str]) -> list[Parameter]:
    """Its angles: columns of the data, parameters, or numbers."""
    if id(gate) in columns:
        return [Parameter("feature", (column,)) for column in columns[id(gate)]]
    if kind != "U3Gate" and kind not in ROTATIONS:
        return []
    found = []
    for value in (getattr(gate, name) for name in (_U3 if kind == "U3Gate" else ("theta",))):
        trained = id(value) in names and value.requires_grad
        found.append(
            Parameter("weight", token=(names[id(value)], 0)) if trained else constant(float(torch.squeeze(value)))
        )
    return found


def _pauli_sum(observable: Any) -> PauliSum:
    letters = zip(observable.wires, observable.basis, strict=True)
    return PauliSum(" ".join(f"{letter.upper()}{wires[0]}" for wires, letter in letters))
