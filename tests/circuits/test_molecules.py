"""Molecular Hamiltonians against PennyLane's and textbook energies."""

from __future__ import annotations

import numpy as np
import pytest

from torchbp.circuits import h2


def test_h2_is_pennylanes() -> None:
    """Oracle: PennyLane's molecular_hamiltonian, term by term."""
    pytest.importorskip("pennylane")
    from pennylane import qchem

    geometry = np.array([[0.0, 0.0, 0.0], [0.0, 0.0, 0.7414]])
    theirs, n_wires = qchem.molecular_hamiltonian(qchem.Molecule(["H", "H"], geometry, unit="angstrom"))
    ours = {frozenset(string): c for string, c in h2().terms}
    assert n_wires == 4
    for word, coefficient in theirs.pauli_rep.items():
        assert ours.pop(frozenset(word.items())) == pytest.approx(float(np.real(coefficient)), abs=1e-8)
    assert not ours


def test_h2_energies() -> None:
    """Oracle: the full-configuration-interaction and Hartree-Fock energies in STO-3G known from textbooks."""
    matrix = h2().matrix(4)
    assert np.linalg.eigvalsh(matrix)[0] == pytest.approx(-1.1372, abs=1e-3)
    assert matrix[0b1100, 0b1100].real == pytest.approx(-1.1167, abs=1e-3)
    assert np.count_nonzero(matrix[:, 0]) == 1, "the vacuum is an eigenstate"
