"""The gate table in Qiskit's words: for each gate of torchbp the Qiskit gates it is, on which of its wires."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import lru_cache
from typing import Any

import numpy as np

from torchbp.circuits import Operation
from torchbp.circuits.operations import GATES
from torchbp.translation.packages import need

# A number or a Qiskit ParameterExpression.
Angle = Any
# Qiskit gates on wires of the operation (positions), in circuit order.
Steps = list[tuple[Any, tuple[int, ...]]]

# Same matrix up to the order of the bits, same angles in the same order: only the name differs.
SAME = {
    "i": "IGate",
    "x": "XGate",
    "y": "YGate",
    "z": "ZGate",
    "h": "HGate",
    "s": "SGate",
    "sdg": "SdgGate",
    "t": "TGate",
    "tdg": "TdgGate",
    "sx": "SXGate",
    "sxdg": "SXdgGate",
    "cnot": "CXGate",
    "cy": "CYGate",
    "cz": "CZGate",
    "ch": "CHGate",
    "cs": "CSGate",
    "csdg": "CSdgGate",
    "csx": "CSXGate",
    "swap": "SwapGate",
    "iswap": "iSwapGate",
    "dcx": "DCXGate",
    "ecr": "ECRGate",
    "toffoli": "CCXGate",
    "ccz": "CCZGate",
    "cswap": "CSwapGate",
    "rccx": "RCCXGate",
    "c3x": "C3XGate",
    "rc3x": "RC3XGate",
    "c3sx": "C3SXGate",
    "c4x": "C4XGate",
    "rx": "RXGate",
    "ry": "RYGate",
    "rz": "RZGate",
    "p": "PhaseGate",
    "rxx": "RXXGate",
    "ryy": "RYYGate",
    "rzz": "RZZGate",
    "rzx": "RZXGate",
    "crx": "CRXGate",
    "cry": "CRYGate",
    "crz": "CRZGate",
    "cp": "CPhaseGate",
    "r": "RGate",
    "u2": "U2Gate",
    "u3": "UGate",
    "cu": "CUGate",
    "cu3": "CU3Gate",
    "xxplusyy": "XXPlusYYGate",
    "xxminyy": "XXMinusYYGate",
}

# Gates whose parameters Aer binds itself. Those of controlled rotations Aer 0.18 leaves out, silently.
BOUND_BY_AER = frozenset(("p", "r", "rx", "rxx", "ry", "ryy", "rz", "rzx", "rzz", "u", "u1", "u2", "u3"))


def qiskit_steps(name: str, angles: Sequence[Angle] = (), n_wires: int | None = None) -> Steps:
    """The gate as Qiskit gates; equal to it up to a global phase.

    Args:
        name: of a gate in the gate table.
        angles: numbers or parameter expressions.
        n_wires: for gates on any number of wires.
    """
    k = GATES[name].n_wires or n_wires
    assert k is not None
    wires = tuple(range(k))
    if name in SAME:
        return [(getattr(_library(), SAME[name])(*angles), wires)]
    return _BUILT[name](_library(), wires, *angles)


def append(circuit: Any, operation: Operation, angles: Sequence[Angle] = ()) -> None:
    """Append an operation to a `QuantumCircuit` whose qubit i is wire i, with `angles` in place of its parameters."""
    name, wires = operation.gate.name, operation.wires
    if operation.unitary is not None:
        steps: Steps = [(_library().UnitaryGate(operation.unitary), tuple(reversed(range(len(wires)))))]
    else:
        steps = qiskit_steps(name, angles, len(wires))
    if operation.inverse:
        steps = [(gate.inverse(), on) for gate, on in reversed(steps)]
    for gate, on in steps:
        circuit.append(gate, [wires[i] for i in on])


@lru_cache(maxsize=1)
def torchbp_names() -> dict[type, str]:
    """From Qiskit's gate class to the name in the gate table, for those that are the same gate."""
    library = _library()
    others = {"p": "U1Gate", "u3": "U3Gate", "cp": "CU1Gate"}
    pairs = [*SAME.items(), *others.items()]
    return {getattr(library, theirs): ours for ours, theirs in pairs}


def _library() -> Any:
    return need("qiskit.circuit.library")


def _on(wires: Iterable[int], *gates: Any) -> Steps:
    return [(gate, tuple(wires)) for gate in gates]


def _multirz(q: Any, wires: tuple[int, ...], angle: Angle) -> Steps:
    """The parity of all wires on the last one, turned, and back."""
    ladder: Steps = [(q.CXGate(), (a, a + 1)) for a in wires[:-1]]
    return [*ladder, (q.RZGate(angle), (wires[-1],)), *ladder[::-1]]


def _flipped(q: Any, wires: tuple[int, ...], state: str) -> Steps:
    """X on the last wire if all others are in `state`, all 0 or all 1."""
    n_controls = len(wires) - 1
    gate = q.XGate() if n_controls == 0 else q.XGate().control(n_controls, ctrl_state=state * n_controls)
    return _on(wires, gate)


_BUILT: dict[str, Callable[..., Steps]] = {
    "sh": lambda q, wires: _on(wires, q.RYGate(np.pi / 4)),
    "sswap": lambda q, wires: _on(reversed(wires), q.UnitaryGate(GATES["sswap"].matrix())),
    "multicnot": lambda q, wires: _flipped(q, wires, "1"),
    "multixcnot": lambda q, wires: _flipped(q, wires, "0"),
    "qft": lambda q, wires: _on(reversed(wires), q.QFTGate(len(wires))),
    "xy": lambda q, wires, t: _on(wires, q.XXPlusYYGate(t)),
    "xyminus": lambda q, wires, t: _on(wires, q.XXMinusYYGate(t)),
    "singleexcitation": lambda q, wires, t: _on(wires, q.XXPlusYYGate(t, -np.pi / 2)),
    "multirz": _multirz,
    "rot": lambda q, wires, a, b, c: _on(wires, q.RZGate(a), q.RYGate(b), q.RZGate(c)),
    "crot": lambda q, wires, a, b, c: _on(wires, q.CRZGate(a), q.CRYGate(b), q.CRZGate(c)),
    "cu2": lambda q, wires, a, b: _on(wires, q.CUGate(np.pi / 2, a, b, 0.0)),
}
