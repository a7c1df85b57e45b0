"""`PauliSum` and the observables built from it."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from itertools import product
from typing import Any

import numpy as np
import pytest
from helpers import dense_expectations
from qiskit.quantum_info import SparsePauliOp

from torchbp.circuits import Circuit, PauliSum, global_z, heisenberg, local_z, maxcut, tfim
from torchbp.circuits.observables import as_observables
from torchbp.errors import CircuitError, InputError


def random_sum(rng: np.random.Generator, n_wires: int, n_terms: int = 6) -> dict[str, float]:
    letters = ["".join(rng.choice(list("IXYZ"), n_wires)) for _ in range(n_terms)]
    return {text: float(rng.normal()) for text in letters}


def sparse(text: str) -> str:
    return " ".join(f"{letter}{wire}" for wire, letter in enumerate(text))


@pytest.mark.parametrize("seed", range(5))
def test_matrix(seed: int) -> None:
    """Oracle: Qiskit's SparsePauliOp, whose labels begin with the most significant qubit, as wire 0 is."""
    terms = random_sum(np.random.default_rng(seed), 3)
    ours = PauliSum({sparse(text): c for text, c in terms.items()})
    np.testing.assert_allclose(ours.matrix(3), SparsePauliOp.from_list(list(terms.items())).to_matrix(), atol=1e-12)
    assert np.abs(np.linalg.eigvalsh(ours.matrix(3))).max() <= ours.bound + 1e-12


def test_algebra() -> None:
    """Oracle: the dense matrices."""
    a, b = (PauliSum({sparse(t): c for t, c in random_sum(np.random.default_rng(s), 2).items()}) for s in (0, 1))
    np.testing.assert_allclose((a - 2 * b + -a * 0.5).matrix(2), 0.5 * a.matrix(2) - 2 * b.matrix(2), atol=1e-12)


def test_reading() -> None:
    """Oracle: the terms written down."""
    observable = PauliSum({"Z1 Z0": 1.0, "Z0 Z1": 0.5, "": 2, "I": 1.0, "X2 I0": -1.0})
    assert observable.terms == ((((0, "Z"), (1, "Z")), 1.5), ((), 3.0), (((2, "X"),), -1.0))
    assert (observable.wires, observable.locality, observable.bound) == ((0, 1, 2), 2, 5.5)
    assert repr(observable) == "PauliSum({'Z0 Z1': 1.5, 'I': 3.0, 'X2': -1.0})"
    assert PauliSum("Z0") == PauliSum({"Z0": 1.0}) != PauliSum("Z1")
    assert PauliSum("I").wires == ()


def test_equal_sums_hash_alike_and_survive_pickling() -> None:
    """Oracle: the definition of a hash."""
    a, b = PauliSum({"Z0": 1.0, "X1": 2.0}), PauliSum({"X1": 2.0, "Z0": 1.0})
    assert a == b
    assert hash(a) == hash(b) == hash(pickle.loads(pickle.dumps(a)))
    assert a != "Z0"


def test_z_observables() -> None:
    """Oracle: signs of the basis states, wire 0 most significant."""
    bits = np.array(list(product([0, 1], repeat=3)))
    signs = 1 - 2 * bits
    for wire, observable in enumerate(local_z(3)):
        np.testing.assert_array_equal(np.diag(observable.matrix(3)).real, signs[:, wire])
    np.testing.assert_array_equal(np.diag(global_z(3).matrix(3)).real, signs.prod(axis=1))


@pytest.mark.parametrize(("n", "periodic", "bonds"), [(2, False, 1), (2, True, 1), (4, False, 3), (4, True, 4)])
def test_chains(n: int, periodic: bool, bonds: int) -> None:
    """Oracle: number of terms; the coefficients by hand."""
    terms = dict(tfim(n, coupling=2.0, field=0.5, periodic=periodic).terms)
    assert len(terms) == bonds + n
    assert set(terms.values()) == {-2.0, -0.5}
    terms = dict(heisenberg(n, couplings=(1.0, 2.0, 3.0), field=0.1, periodic=periodic).terms)
    assert len(terms) == 3 * bonds + n
    assert terms[(0, "Y"), (1, "Y")] == 2.0
    assert len(heisenberg(n, periodic=periodic).terms) == 3 * bonds


def test_ground_energy_of_the_ising_chain() -> None:
    """Oracle: 1 - 1 / sin(pi / (4n + 2)), free fermions on the open critical chain (Pfeuty 1970)."""
    lowest = np.linalg.eigvalsh(tfim(6).matrix(6))[0]
    assert lowest == pytest.approx(1 - 1 / np.sin(np.pi / 26), abs=1e-10)


def test_maxcut() -> None:
    """Oracle: minus the weight of the cut, for every assignment."""
    weighted = [(1, 2, 2.0), (2, 0, 0.5), (3, 2, 1.0), (0, 1, 2.0)]
    energies = np.diag(maxcut([(0, 1), (1, 2, 2.0), (2, 0, 0.5), (3, 2), (0, 1)]).matrix(4)).real
    for energy, bits in zip(energies, product([0, 1], repeat=4), strict=True):
        assert energy == pytest.approx(-sum(w for a, b, w in weighted if bits[a] != bits[b]))


def test_as_observables() -> None:
    """Oracle: the sums themselves; an expectation value of each."""
    z = PauliSum("Z0")
    assert as_observables(z, 1) == as_observables("Z0", 1) == as_observables(["Z0"], 1) == (z,)
    terms = {"Z0": -1.0, "X0": 0.5}
    assert as_observables(terms, 1) == as_observables([terms], 1) == (PauliSum(terms),)
    circuit = Circuit(2).append("x", 1)
    assert dense_expectations(circuit, as_observables(["Z0", z, "Z1"], 2), [[]]).tolist() == [[1, 1, -1]]


ERRORS: list[tuple[str, Callable[[], Any]]] = [
    ('looks like "Z0 Z1" or "X3".* got \'Z\'', lambda: PauliSum("Z")),
    ("got 'A0'", lambda: PauliSum("A0")),
    ("got 'Z0Z1'", lambda: PauliSum("Z0Z1")),
    ("got 3", lambda: PauliSum({3: 1.0})),  # type: ignore[dict-item]
    ("names each wire once, got 'Z0 X0'", lambda: PauliSum("Z0 X0")),
    ("coefficient of 'Z0' must be a finite real number, got 1j", lambda: PauliSum({"Z0": 1j})),  # type: ignore[dict-item]
    ("coefficient of 'Z0' must be a finite real number, got nan", lambda: PauliSum({"Z0": float("nan")})),
    ("must be a finite real number, got True", lambda: PauliSum({"Z0": True})),
    (r"a string or a dict such as \{\"Z0 Z1\": -1.0\}, got \{\}", lambda: PauliSum({})),
    ("must be a finite real number, got 'a'", lambda: PauliSum("Z0") * "a"),  # type: ignore[operator]
    ("acts on wire 3, but the circuit has wires 0 to 1", lambda: as_observables("Z3", 2)),
    ("acts on wire 3, but", lambda: PauliSum("Z3").matrix(2)),
    (r"at least one; got \[\]", lambda: as_observables([], 2)),
    (r"at least one; got \[3\]", lambda: as_observables([3], 2)),  # type: ignore[list-item]
    ("n_wires is a whole number of at least 2, got 1", lambda: tfim(1)),
    ("n_wires is a whole number of at least 2, got 1", lambda: heisenberg(1)),
    ("n_wires is a whole number of at least 1, got 0", lambda: local_z(0)),
    ("n_wires is a whole number of at least 1, got -2", lambda: global_z(-2)),
    (r"A cut needs edges \(i, j\) or \(i, j, weight\), got none", lambda: maxcut([])),
    (r"three couplings \(Jx, Jy, Jz\), got \(1.0,\)", lambda: heisenberg(2, couplings=(1.0,))),
]


@pytest.mark.parametrize(("message", "mistake"), ERRORS, ids=range(len(ERRORS)))
def test_messages(message: str, mistake: Callable[[], Any]) -> None:
    """Each says what was given and what is needed."""
    with pytest.raises((CircuitError, InputError), match=message):
        mistake()


def test_only_sums_add() -> None:
    """Python's own message."""
    with pytest.raises(TypeError, match="unsupported operand"):
        PauliSum("Z0") + 1  # type: ignore[operator]
