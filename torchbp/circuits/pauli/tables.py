"""Matrices on a few wires as sums of Pauli strings, and what a gate or a channel makes of strings."""

from __future__ import annotations

import math
from functools import cache

import numpy as np

from torchbp.circuits.operations import Matrix
from torchbp.circuits.pauli.strings import pauli_matrices

MAX_GATE = 5
"""Wires of the largest fixed gate that is worked in: its table has 16^k entries."""

ROUNDING = 1e-12
"""A coefficient below this is what rounding leaves of zero."""


def pauli_coefficients(matrix: Matrix) -> tuple[np.ndarray, np.ndarray]:
    """(T,) local words and (T,) real coefficients of a Hermitian matrix, Tr(P M) / 2^k where that is not zero."""
    k = int(math.log2(len(matrix)))
    values = np.einsum("pij,ji->p", _paulis(k), matrix).real / 2**k
    local = np.flatnonzero(abs(values) > ROUNDING)
    return local, values[local]


def transfer(*operators: Matrix) -> np.ndarray:
    """(4^k, 4^k) real: row a holds sum_j K_j^dagger P_a K_j in Pauli strings; zeros and ones are exact.

    One unitary gives the strings that P_a turns into before a gate; Kraus operators what a channel makes of them.
    """
    return _transfer(np.stack(operators).astype(complex).tobytes(), len(operators))


@cache
def _paulis(k: int) -> np.ndarray:
    return pauli_matrices(k)


@cache
def _transfer(raw: bytes, count: int) -> np.ndarray:
    stack = np.frombuffer(raw, dtype=complex)
    size = math.isqrt(len(stack) // count)
    k = int(math.log2(size))
    paulis = _paulis(k)
    turned = sum(m.conj().T @ paulis @ m for m in stack.reshape(count, size, size))
    table = (turned.reshape(4**k, -1) @ paulis.transpose(0, 2, 1).reshape(4**k, -1).T).real / size
    table[abs(table) < 1e-9] = 0.0
    nearly = abs(abs(table) - 1) < 1e-9
    table[nearly] = np.sign(table[nearly])
    table.setflags(write=False)
    return table
