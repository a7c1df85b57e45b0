"""PennyLane's operators in gates of the gate table, by their names or by their own decompositions.

Nothing of PennyLane is imported here: an operator brings all that is asked of it.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from torch import Tensor

from torchbp.circuits.operations import PAULIS
from torchbp.errors import CircuitError
from torchbp.translation.controls import CONTROLLABLE, Applied, phase, under

FIXED = {
    "PauliX": "x",
    "PauliY": "y",
    "PauliZ": "z",
    "Hadamard": "h",
    "S": "s",
    "T": "t",
    "SX": "sx",
    "CNOT": "cnot",
    "CY": "cy",
    "CZ": "cz",
    "CH": "ch",
    "SWAP": "swap",
    "ISWAP": "iswap",
    "ECR": "ecr",
    "Toffoli": "toffoli",
    "CCZ": "ccz",
    "CSWAP": "cswap",
}
# The same angles in the same order, each times the number.
ROTATIONS = {
    "RX": ("rx", 1),
    "RY": ("ry", 1),
    "RZ": ("rz", 1),
    "PhaseShift": ("p", 1),
    "U1": ("p", 1),
    "U2": ("u2", 1),
    "U3": ("u3", 1),
    "Rot": ("rot", 1),
    "IsingXX": ("rxx", 1),
    "IsingYY": ("ryy", 1),
    "IsingZZ": ("rzz", 1),
    "IsingXY": ("xy", -1),
    "MultiRZ": ("multirz", 1),
    "CRX": ("crx", 1),
    "CRY": ("cry", 1),
    "CRZ": ("crz", 1),
    "CRot": ("crot", 1),
    "ControlledPhaseShift": ("cp", 1),
    "SingleExcitation": ("singleexcitation", 1),
}
IGNORED = {"Identity", "GlobalPhase", "Barrier", "Snapshot", "WireCut", "I"}
_MIDWAY = {"MidMeasureMP", "MidMeasure", "Conditional", "PauliMeasure", "MeasureNode"}
_LARGEST = 6
"""Wires of a matrix that is taken as it is."""
_DEPTH = 60


def gates(operator: Any, path: str = "", depth: int = 0) -> Iterator[Applied]:
    """An operator as gates.

    Raises:
        CircuitError: it is a measurement in the middle, a channel, of continuous variables, or has no decomposition.
    """
    name, wires = operator.name, tuple(operator.wires)
    if name in IGNORED:
        return
    _refuse(operator)
    if (plain := _table(operator, path)) is not None:
        yield plain
    elif name == "BasisState" or name == "BasisEmbedding":
        yield from _flips(operator, wires, path)
    elif _is(operator, "Adjoint"):
        yield from (replace(g, inverse=not g.inverse) for g in reversed(list(gates(operator.base, path, depth + 1))))
    elif _is(operator, "Controlled"):
        yield from _controlled(operator, path, depth)
    elif (matrix := _constant_matrix(operator, 2)) is not None:
        yield Applied("qubitunitary", wires, matrix=matrix, path=path)
    elif _decomposes(operator) and depth < _DEPTH:
        for part in operator.decomposition():
            yield from gates(part, path or name, depth + 1)
    elif (matrix := _constant_matrix(operator, _LARGEST)) is not None:
        yield Applied("qubitunitary", wires, matrix=matrix, path=path)
    else:
        place = f" (in {path})" if path else ""
        raise CircuitError(
            f"{name} on wires {list(wires)}{place} has no decomposition into gates that torchbp knows, and no matrix "
            f"of numbers on at most {_LARGEST} wires."
        )


def _table(operator: Any, path: str) -> Applied | None:
    """The row of the gate table that an operator is by its name."""
    name, wires = operator.name, tuple(operator.wires)
    if name in FIXED:
        return Applied(FIXED[name], wires, path=path)
    if name in ROTATIONS:
        ours, sign = ROTATIONS[name]
        return Applied(ours, wires, tuple(sign * angle for angle in operator.parameters), path=path)
    return None


def is_number(value: Any) -> bool:
    """Whether an angle or a coefficient depends on neither weights nor features."""
    return not (isinstance(value, Tensor) and value.requires_grad)


def _refuse(operator: Any) -> None:
    kinds = {kind.__name__ for kind in type(operator).__mro__}
    if kinds & _MIDWAY:
        raise CircuitError(f"{operator.name} measures in the middle of the circuit, which torchbp's circuits don't.")
    if "Channel" in kinds:
        raise CircuitError(
            f"{operator.name} is a noise channel: take it out, and give the layer noise=NoiseModel(...)."
        )
    if "StatePrepBase" in kinds and not all(map(is_number, operator.parameters)):
        raise CircuitError(f"{operator.name} comes after other gates: features are amplitudes at the beginning only.")
    if kinds & {"CV", "CVOperation"}:
        raise CircuitError(f"{operator.name} acts on continuous variables: torchbp's wires are qubits.")


def _controlled(operator: Any, path: str, depth: int) -> Iterator[Applied]:
    """A controlled operator: flipped where the control is 0, and one rule for each kind of base."""
    base, on = operator.base, tuple(operator.base.wires)
    wires = tuple(operator.control_wires)
    flips = [Applied("x", (w,)) for w, bit in zip(wires, operator.control_values, strict=True) if not bit]
    yield from flips
    yield from _under(base, wires, on, path, depth)
    yield from flips


def _under(base: Any, controls: tuple[Any, ...], on: tuple[Any, ...], path: str, depth: int) -> Iterator[Applied]:
    """`base` on the wires `on`, if all the controls are 1."""
    name = base.name
    _refuse(base)
    if name == "GlobalPhase":
        yield from phase(-base.parameters[0], controls, path)
    elif (plain := _table(base, path)) is not None and plain.name in CONTROLLABLE:
        yield from under(controls, replace(plain, wires=on))
    elif (matrix := _constant_matrix(base, _LARGEST - len(controls))) is not None:
        yield from under(controls, Applied("qubitunitary", on, matrix=matrix, path=path))
    elif _is(base, "Controlled"):
        flips = [Applied("x", (w,)) for w, b in zip(base.control_wires, base.control_values, strict=True) if not b]
        yield from flips
        yield from _under(base.base, (*controls, *base.control_wires), tuple(base.base.wires), path, depth + 1)
        yield from flips
    elif _decomposes(base) and depth < _DEPTH:
        for part in base.decomposition():
            if part.name not in IGNORED - {"GlobalPhase"}:
                yield from _under(part, controls, tuple(part.wires), path or name, depth + 1)
    else:
        raise CircuitError(f"{name} on wires {list(on)} can't be controlled: it has no decomposition.")


def _flips(operator: Any, wires: Sequence[Any], path: str) -> Iterator[Applied]:
    """A basis state from |0...0>: X where a bit is 1."""
    for wire, bit in zip(wires, np.asarray(operator.parameters[0]).reshape(-1), strict=True):
        if bit:
            yield Applied("x", (wire,), path=path)


def _is(operator: Any, kind: str) -> bool:
    return any(base.__name__ == kind for base in type(operator).__mro__)


def _decomposes(operator: Any) -> bool:
    return bool(getattr(operator, "has_decomposition", False))


def _constant_matrix(operator: Any, largest: int) -> np.ndarray | None:
    """The matrix of a gate of numbers on few wires, None for any other."""
    if not 1 <= len(operator.wires) <= largest or not all(map(is_number, operator.parameters)):
        return None
    if not getattr(operator, "has_matrix", False):
        return None
    found = operator.matrix()
    matrix = np.asarray(found.detach() if isinstance(found, Tensor) else found, dtype=complex)
    size = 2 ** len(operator.wires)
    return matrix if matrix.shape == (size, size) and np.allclose(matrix @ matrix.conj().T, np.eye(size)) else None


def pauli_strings(observable: Any) -> dict[tuple[tuple[Hashable, str], ...], complex] | None:
    """An observable as Pauli strings by labels, with coefficients; None where PennyLane has no such form of it."""
    sentence = getattr(observable, "pauli_rep", None)
    if sentence is None:
        return None
    if not all(map(is_number, sentence.values())):
        raise CircuitError(f"The coefficients of the observable {observable} are trained: only angles may be.")
    return {tuple(word.items()): complex(c) for word, c in sentence.items()}


def pauli_strings_of_matrix(matrix: np.ndarray, wires: Sequence[Hashable]) -> dict[Any, complex]:
    """sum_P tr(P M) / 2^n P over all Pauli strings P on the wires, one wire after the other."""
    found: dict[Any, np.ndarray] = {(): np.asarray(matrix, dtype=complex)}
    for wire in wires:
        after: dict[Any, np.ndarray] = {}
        for string, block in found.items():
            half = len(block) // 2
            parts = block.reshape(2, half, 2, half)
            for letter, pauli in PAULIS.items():
                reduced = np.einsum("ab,bxay->xy", pauli, parts) / 2
                if np.abs(reduced).max() > 1e-12:
                    after[string if letter == "I" else (*string, (wire, letter))] = reduced
        found = after
    return {string: complex(block[0, 0]) for string, block in found.items()}
