"""Amplitude encoding as gates: real amplitudes by multiplexed RY rotations whose angles follow from the features.

A multiplexed RY turns wire k by one of 2^k angles, as the wires before it say. It is a chain of 2^k RY and CNOT gates
(Möttönen 2005, quant-ph/0407010, eqs. 3 and 5): the gates are the same for every sample, the angles are its parameters.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from torchbp.translation.packages import need


def n_angles(n_wires: int) -> int:
    """Angles of a preparation: one RY for each; and 2^n - 2 CNOTs."""
    return 2**n_wires - 1


def preparation_angles(amplitudes: np.ndarray) -> np.ndarray:
    """From real amplitudes (B, 2^n), normalized or not, to the angles (B, 2^n - 1) in the order of the gates."""
    norms, levels = np.abs(amplitudes), []
    pairs = amplitudes.reshape(len(amplitudes), -1, 2)  # the last wire's carry the signs
    while True:
        levels.append(2 * np.arctan2(pairs[..., 1], pairs[..., 0]))
        norms = np.hypot(norms[:, 0::2], norms[:, 1::2])
        if norms.shape[1] == 1:
            break
        pairs = norms.reshape(len(amplitudes), -1, 2)
    return np.concatenate([alpha @ _turns(alpha.shape[1]).T for alpha in reversed(levels)], axis=1)


def append_preparation(circuit: Any, angles: Sequence[Any]) -> None:
    """Append the gates to a `QuantumCircuit` whose qubit i is wire i, all of them in |0>."""
    library, left = need("qiskit.circuit.library"), iter(angles)
    for wire in range(circuit.num_qubits):
        if wire == 0:
            circuit.append(library.RYGate(next(left)), [0])
            continue
        for i in range(2**wire):
            circuit.append(library.RYGate(next(left)), [wire])
            circuit.append(library.CXGate(), [wire - 1 - _changing_bit(i, wire), wire])


def n_gates(n_wires: int) -> int:
    """Instructions that `append_preparation` appends."""
    return 1 + sum(2 ** (wire + 1) for wire in range(1, n_wires))


def _changing_bit(i: int, width: int) -> int:
    """The bit, 0 the least significant, in which Gray codes i and i + 1 differ; the last one closes the circle."""
    return min((~i & (i + 1)).bit_length() - 1, width - 1)


def _turns(size: int) -> np.ndarray:
    """(2^k, 2^k): from the angle of each control state to those of the chain's rotations."""
    gray = np.arange(size) ^ (np.arange(size) >> 1)
    parity = np.array([[(int(j) & int(g)).bit_count() % 2 for j in range(size)] for g in gray])
    return (1 - 2.0 * parity) / size
