"""Dynamical Lie algebras, against known dimensions, dense matrices, PennyLane, and exact averages over the group."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np
import pytest
import torch
from helpers import dense_unitary, random_circuit
from scipy.linalg import null_space

from torchbp import Circuit, PauliSum, QuantumLayer, feature, weight
from torchbp.circuits import (
    alternating_layered,
    angle_encoding,
    global_z,
    hamiltonian_variational,
    hardware_efficient,
    heisenberg,
    number_preserving,
    qcnn,
    tfim,
)
from torchbp.circuits.pauli.strings import anticommute, decode, encode, expectations, multiply
from torchbp.errors import CapacityError, CircuitError, InputError, PreconditionError
from torchbp.gradients.ensemble import ensemble_gradients
from torchbp.trainability import lie_algebra, lie_growth
from torchbp.trainability.algebras.generators import find_generators
from torchbp.trainability.algebras.lie_growth import growth_of
from torchbp.trainability.algebras.operator_algebra import OperatorAlgebra
from torchbp.trainability.algebras.pauli_algebra import PauliAlgebra


def gates(n: int, *rows: tuple[str, int]) -> Circuit:
    """One weight for each place that a gate of one or two neighbouring wires has on a line."""
    circuit = Circuit(n)
    for name, width in rows:
        for w in range(n - width + 1):
            circuit.append(name, w if width == 1 else (w, w + 1), weight())
    return circuit


def ising_terms(n: int) -> Circuit:
    return gates(n, ("rx", 1), ("rzz", 2))


def universal(n: int) -> Circuit:
    return gates(n, ("rx", 1), ("ry", 1), ("rzz", 2))


def conserving(n: int) -> Circuit:
    return gates(n, ("rz", 1), ("xy", 2))


def ising(n: int) -> Circuit:
    return hamiltonian_variational(tfim(n), n, depth=1)


KNOWN: list[tuple[str, Callable[[int], Circuit], Callable[[int], int], range]] = [
    ("open TFIM, {sum ZZ, sum X}", ising, lambda n: n**2, range(2, 9)),
    ("open TFIM, term by term", ising_terms, lambda n: n * (2 * n - 1), range(2, 12)),
    ("RX, RY, ZZ on neighbours", universal, lambda n: 4**n - 1, range(2, 7)),
    ("{XX + YY, Z_i}", conserving, lambda n: n**2, range(2, 8)),
    ("one rotation a wire", lambda n: gates(n, ("rx", 1)), lambda n: n, range(1, 6)),
    ("products", lambda n: gates(n, ("rx", 1), ("ry", 1)), lambda n: 3 * n, range(1, 6)),
]


@pytest.mark.parametrize(("make", "dimension", "sizes"), [row[1:] for row in KNOWN], ids=[row[0] for row in KNOWN])
def test_known_dimensions(make: Callable[[int], Circuit], dimension: Callable[[int], int], sizes: range) -> None:
    """Oracle: dimensions from the literature (Wiersema 2024, 2309.05690; Larocca 2022, 2105.14377)."""
    found = [lie_algebra(make(n)) for n in sizes]
    assert [f.dimension for f in found] == [dimension(n) for n in sizes]
    assert all(f.complete and sum(f.ideals) + f.centre == f.dimension for f in found)


def test_a_quarter_of_a_million_strings() -> None:
    """su(2^9), 4^9 - 1 = 262,143 strings, is closed by bit operations."""
    assert lie_algebra(universal(9)).dimension == 4**9 - 1


@pytest.mark.parametrize(
    "strings",
    [
        ["X0", "Z0 Z1", "X1"],
        ["X0 Y1", "Z1 Z2", "Y0", "X2"],
        ["X0 X1", "Y0 Y1", "Z0", "Z1 Z2"],
        ["Y0 Z1 X2", "X0", "Z2"],
    ],
)
def test_pennylane_closes_to_the_same_dimension(strings: list[str]) -> None:
    """Oracle: pennylane.lie_closure."""
    qml = pytest.importorskip("pennylane")
    circuit = Circuit(3)
    words = []
    for text in strings:
        letters = [(int(f[1:]), f[0]) for f in text.split()]
        _append_rotation(circuit, letters)
        words.append(qml.pauli.PauliWord(dict(letters)))
    expected = qml.lie_closure(words, pauli=True)
    assert lie_algebra(circuit).dimension == len(expected)


def _append_rotation(circuit: Circuit, letters: Sequence[tuple[int, str]]) -> None:
    """exp(-i w P / 2) as a rotation about Z strings between changes of basis."""
    change = {"X": ("h", "h"), "Y": ("sx", "sxdg")}
    turned = [(w, change[p]) for w, p in letters if p != "Z"]
    for w, (before, _) in turned:
        circuit.append(before, w)
    circuit.append("multirz", [w for w, _ in letters], weight())
    for w, (_, after) in turned:
        circuit.append(after, w)


# What generators are, against dense matrices


@pytest.mark.parametrize("seed", range(8))
def test_generators_rebuild_the_circuit(seed: int) -> None:
    """Oracle: dense matrices. All fixed gates, behind the rotations by the generators found, are the circuit."""
    rng = np.random.default_rng(seed)
    names = ["rx", "ry", "rzz", "crx", "u3", "xy", "h", "s", "t", "cnot", "cz", "swap", "iswap", "singleexcitation"]
    circuit = random_circuit(rng, n_wires=3, n_gates=14, n_features=0, n_weights_shared=0, gates=names)
    if not circuit.n_weights:
        circuit.append("rx", 0, weight())
    weights = rng.uniform(-3, 3, circuit.n_weights)
    found = find_generators(circuit, None)
    rotations = np.eye(8, dtype=complex)
    for g in found.trainable:
        levels, vectors = np.linalg.eigh(_dense(g.words, g.coefficients, 3))
        rotations = (vectors * np.exp(-1j * weights[g.weights[0]] * levels)) @ vectors.conj().T @ rotations
    fixed = dense_unitary(circuit, weights=np.zeros(circuit.n_weights))
    whole = dense_unitary(circuit, weights=weights)
    overlap = np.trace(whole.conj().T @ fixed @ rotations) / 8
    assert abs(abs(overlap) - 1) < 1e-9  # equal up to the phase of the identity in some generators


@pytest.mark.parametrize("seed", range(4))
def test_observable_behind_fixed_gates(seed: int) -> None:
    """Oracle: dense matrices. V^-1 O V, with V the fixed gates."""
    rng = np.random.default_rng(seed)
    circuit = random_circuit(
        rng, 3, 10, n_features=0, n_weights_shared=0, gates=["h", "t", "cnot", "ch", "qubitunitary"]
    )
    circuit.append("rx", 0, weight())
    observable = PauliSum({"Z0 X1": 0.5, "Y2": -1.0, "I": 2.0})
    fixed = dense_unitary(circuit, weights=[0.0])
    found = find_generators(circuit, observable).observable
    assert found is not None
    expected = fixed.conj().T @ (observable.matrix(3) - 2 * np.eye(8)) @ fixed
    assert np.allclose(_dense(found.words, found.coefficients, 3), expected)


def test_shared_weights() -> None:
    """Gates of a weight are one generator where they commute with all between them; else each counts, which is said."""
    together = find_generators(ising(4), None)
    assert [len(g.words) for g in together.trainable] == [3, 4]
    assert together.split == ()
    shared = weight()
    circuit = Circuit(2).append("rx", 0, shared).append("rzz", (0, 1), weight()).append("rx", 0, shared)
    assert find_generators(circuit, None).split == (0,)
    assert "weights 0 turn gates that don't commute or stand apart" in lie_algebra(circuit).caveats[0]
    assert "weights" in lie_algebra(qcnn(3)).caveats[0]


def _dense(words: np.ndarray, coefficients: np.ndarray, n: int) -> np.ndarray:
    out = np.zeros((2**n, 2**n), dtype=complex)
    for word, c in zip(words, coefficients, strict=True):
        out += c * PauliSum(decode(word, n)).matrix(n)
    return out


# What strings do, against dense matrices


def test_string_arithmetic() -> None:
    """Oracle: dense matrices. Products with their phases, anticommutation, and expectation values of all strings."""
    n = 3
    words = np.arange(4**n, dtype=np.uint64)
    matrices = [PauliSum(decode(w, n)).matrix(n) for w in words]
    rng = np.random.default_rng(0)
    for a, b in rng.integers(0, 4**n, size=(200, 2)):
        both, power = multiply(words[a : a + 1], words[b : b + 1], n)
        product = matrices[a] @ matrices[b]
        assert np.allclose(product, 1j ** int(power[0]) * matrices[int(both[0])])
        assert anticommute(words[a : a + 1], words[b : b + 1], n)[0] == (
            not np.allclose(product, matrices[b] @ matrices[a])
        )
    states = rng.normal(size=(2, 8)) + 1j * rng.normal(size=(2, 8))
    expected = [[np.vdot(psi, m @ psi).real for m in matrices] for psi in states]
    assert np.allclose(expectations(states, words, n), expected)


def test_encoding_of_strings() -> None:
    """Wire 0 is the most significant bit of both halves; a word and its string convert both ways."""
    strings = [((0, "X"), (2, "Y")), ((1, "Z"),), ()]
    assert encode(strings, 3).tolist() == [0b101_001, 0b000_010, 0]
    assert [decode(w, 3) for w in encode(strings, 3)] == ["X0 Y2", "Z1", "I"]


# Ideals and variances, against exact averages


def dense_algebra(circuit: Circuit) -> tuple[np.ndarray, list[np.ndarray]]:
    """Brute force: an orthonormal basis (dim, d, d) of the closure, and ad of each generator on it."""
    n = circuit.n_wires
    found = find_generators(circuit, None)
    generators = [_dense(g.words, g.coefficients, n) for g in found.trainable]
    rows: list[np.ndarray] = []

    def add(matrix: np.ndarray) -> bool:
        for row in rows * 2:
            matrix = matrix - np.vdot(row, matrix) * row
        size = np.linalg.norm(matrix)
        if size < 1e-8:
            return False
        rows.append(matrix / size)
        return True

    queue = [g for g in generators if add(g)]
    while queue:
        element = queue.pop()
        for g in generators:
            commutator = 1j * (g @ element - element @ g)
            if np.linalg.norm(commutator) > 1e-8 and add(commutator / np.linalg.norm(commutator)):
                queue.append(rows[-1])
    adjoint = [np.array([[np.vdot(a, 1j * (g @ b - b @ g)).real for b in rows] for a in rows]) for g in generators]
    return np.array(rows), adjoint


def exact_variances(circuit: Circuit, observable: PauliSum) -> tuple[float, float]:
    """Var[C] and the mean Var[dC/dw] over the group, from the projections onto what it leaves invariant."""
    basis, adjoint = dense_algebra(circuit)
    one = np.eye(len(basis))
    state = np.zeros(2**circuit.n_wires)
    state[0] = 1
    fixed = dense_unitary(circuit, weights=np.zeros(circuit.n_weights))
    turned = fixed.conj().T @ observable.matrix(circuit.n_wires) @ fixed
    o = np.array([np.trace(b @ turned).real for b in basis])
    r = np.array([(state @ b @ state).real for b in basis])
    twice = sum((np.kron(a, one) + np.kron(one, a)).T @ (np.kron(a, one) + np.kron(one, a)) for a in adjoint)
    invariant = null_space(twice, rcond=1e-9)
    average = invariant @ (invariant.T @ np.kron(o, o))
    single = null_space(sum(a.T @ a for a in adjoint), rcond=1e-9)
    mean = r @ (single @ (single.T @ o))
    slopes = [np.kron(r, r) @ (invariant @ (invariant.T @ (np.kron(a, a) @ average))) for a in adjoint]
    return float(np.kron(r, r) @ average - mean**2), float(np.mean(slopes))


@pytest.mark.parametrize(
    ("circuit", "observable"),
    [
        (ising_terms(2), PauliSum("Z0 Z1")),  # so(4), two copies of su(2)
        (ising_terms(3), PauliSum({"Z0 Z1": 1.0, "X2": -0.3})),
        (universal(2), PauliSum({"Z0 X1": 0.5, "Y0": 1.0, "I": 3.0})),
        (gates(3, ("rx", 1), ("ry", 1)), PauliSum({"Z0": 1.0, "Z2": 0.5})),  # su(2) three times
        (ising(2), tfim(2)),  # sums, with a centre
        (ising(3), tfim(3, field=0.4)),
        (conserving(3), PauliSum({"Z0": 1.0, "Z2": -1.0})),
        (gates(2, ("rx", 1), ("ry", 1), ("crx", 2)), PauliSum("Z1")),
        (hardware_efficient(2, 2), PauliSum("Z0")),
        (Circuit(2).append("h", 0).append("rxx", (0, 1), weight()).append("rz", 0, weight()), PauliSum("Z0")),
        (gates(3, ("rxx", 2), ("rz", 1)) + gates(3, ("ryy", 2)), PauliSum({"Z1": 1.0})),
    ],
)
def test_variances_are_those_of_the_group(circuit: Circuit, observable: PauliSum) -> None:
    """Oracle: exact second moments over the group, by the invariants of its action on pairs of operators."""
    found = lie_algebra(circuit, observable)
    assert (found.variance, found.gradient_variance) == pytest.approx(exact_variances(circuit, observable), abs=1e-9)
    assert found.dimension == len(dense_algebra(circuit)[0])


@pytest.mark.parametrize(
    "circuit",
    [ising_terms(2), ising_terms(4), universal(2), gates(3, ("rx", 1), ("ry", 1)), gates(4, ("rxx", 2), ("ryy", 2))],
)
def test_bits_and_linear_algebra_agree(circuit: Circuit) -> None:
    """Two implementations of closure and splitting, one by anticommutation graphs, one by root spaces."""
    generators = find_generators(circuit, None)
    bits = PauliAlgebra(np.concatenate([g.words for g in generators.all]), circuit.n_wires, 10**6)
    rows = OperatorAlgebra(generators.all, circuit.n_wires, 10**6)
    assert (bits.dimension, bits.ideals) == (rows.dimension, rows.ideals)


def test_closed_forms_of_deep_circuits() -> None:
    """Oracle: Var[C] = 1 / (d + 1) and, McClean 2018, Var[dC/dw] = d^2 / (2 (d^2 - 1) (d + 1))."""
    for n in (2, 4, 6):
        d = 2**n
        found = lie_algebra(hardware_efficient(n, depth=4), global_z(n))
        assert found.variance == pytest.approx(1 / (d + 1))
        assert found.gradient_variance == pytest.approx(d**2 / (2 * (d**2 - 1) * (d + 1)))


def test_a_deep_circuit_measured() -> None:
    """Oracle: 4,000 random gradients of a circuit of 40 layers; 5 standard errors, false-failure rate below 1e-6.

    Weights in the middle, which have deep circuits on both sides.
    """
    n, depth = 4, 40
    layer = ising_terms(n)
    deep = layer * depth
    found = lie_algebra(layer, PauliSum("Z0 Z1"))
    samples = ensemble_gradients(
        QuantumLayer(deep, [PauliSum("Z0 Z1")]), samples=4000, generator=torch.Generator().manual_seed(0)
    ).double()
    middle = samples[:, deep.n_weights // 2 : deep.n_weights // 2 + layer.n_weights]
    squares = middle.square().mean(1)
    error = float(squares.std() / math.sqrt(len(squares)))
    assert abs(float(squares.mean()) - found.gradient_variance) < 5 * error  # type: ignore[operator]


def test_features_are_part_of_the_state() -> None:
    """Oracle: the same angles as fixed gates."""
    encoded = angle_encoding(3) + ising_terms(3)
    x = torch.tensor([[0.3, -1.0, 0.7], [0.1, 0.2, 2.0]])
    fixed = []
    for row in x.tolist():
        start = Circuit(3)
        for w, angle in enumerate(row):
            start.append("ry", w, angle)
        # The fixed gates stand before the same generators, so the closure takes them into all of these.
        fixed.append(lie_algebra(start + ising_terms(3) * 2, PauliSum("Z0 Z1")))
    assert lie_algebra(encoded, PauliSum("Z0 Z1"), x=x).variance == pytest.approx(
        np.mean([f.variance for f in fixed]), rel=1e-5
    )


# Where nothing is predicted, and what is said


@pytest.mark.parametrize(
    ("circuit", "observable", "reason"),
    [
        (ising_terms(3), None, "no observable was given"),
        (ising_terms(3), PauliSum("Z0"), "the observable does not lie in the algebra"),
        (ising_terms(3), PauliSum({"Z0": 1.0, "X0": 1.0}), "only 50% of the observable lies in the algebra"),
        (angle_encoding(3) + ising_terms(3), PauliSum("X0"), "the circuit encodes features"),
        ((angle_encoding(3) + ising_terms(3)) * 2, PauliSum("X0"), "features turn gates between trainable ones"),
    ],
)
def test_does_not_apply_because(circuit: Circuit, observable: PauliSum | None, reason: str) -> None:
    """Each condition of the theorem that fails is named, and nothing is predicted."""
    found = lie_algebra(circuit, observable)
    assert found.variance is None
    assert reason in found.reason
    if observable is not None:
        assert f"the theorem does not apply, because {found.reason}" in found.report()


def test_a_closure_that_was_stopped() -> None:
    """A dimension beyond the limit is a lower bound, and shown as one."""
    found = lie_algebra(universal(4), PauliSum("Z0"), max_dimension=100)
    assert not found.complete
    assert "dimension    at least" in found.report()
    assert "raise max_dimension" in found.reason
    sums = lie_algebra(hamiltonian_variational(heisenberg(4, (1, 0.5, 0.2), field=0.3), 4, 1), max_dimension=10)
    assert not sums.complete


def test_reports() -> None:
    """Dimension, ideals and variances are in the report; the dictionary holds the same numbers."""
    found = lie_algebra(ising_terms(2), "Z0 Z1")
    text = found.report()
    assert "dimension    6 of 15" in text
    assert "ideals       2 x 3; centre 0" in text
    assert "Var[C]       0.1667" in text
    assert found.to_dict()["variance"] == found.variance


def test_growth() -> None:
    """Oracle: the known laws, n (2n - 1), n^2 and 4^n - 1."""
    polynomial = lie_growth(ising_terms, range(3, 9), global_z)
    assert polynomial.verdict == "polynomial"
    assert 1.9 < polynomial.exponent < 2.3
    assert lie_growth(ising, range(2, 7)).exponent == pytest.approx(2)
    exponential = lie_growth(universal, range(2, 8))
    assert exponential.verdict == "exponential"
    assert exponential.exponent == pytest.approx(2, abs=0.05)
    assert "about 2^(2.0" in exponential.report()
    assert "| 4 | 255 | 1 | 0 |" in exponential.report()
    assert exponential.to_dict()["verdict"] == "exponential"


def test_growth_needs_sizes() -> None:
    """A law takes three sizes; too few complete ones leave it open; the first that does not end is the last taken."""
    with pytest.raises(InputError, match=r"takes three sizes at least, got n_wires=\[2, 3\]"):
        lie_growth(universal, [2, 3, 3])
    stopped = lie_growth(universal, range(2, 8), max_dimension=100)
    assert [s.n_wires for s in stopped.sizes] == [2, 3, 4]
    assert stopped.verdict == "open"
    assert "growth: open" in growth_of(list(stopped.sizes)).report()


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: lie_algebra("rx"), InputError, "circuit is a Circuit, got"),
        (
            lambda: lie_algebra(ising(2), max_dimension=0),
            InputError,
            "max_dimension is a whole number of",
        ),
        (lambda: lie_algebra(ising(2), "Z5"), CircuitError, "acts on wire 5, but the circuit has wires 0 to 1"),
        (lambda: lie_algebra(Circuit(1).append("h", 0)), PreconditionError, "without weights generates nothing"),
        (lambda: lie_algebra(gates(33, ("rx", 1))), CapacityError, "for up to 32 wires; got 33"),
        (
            lambda: lie_algebra(Circuit(6).append("rx", 0, weight()).append("qft", range(6)), "Z0"),
            CapacityError,
            "A fixed gate on 6 wires is too wide to work in: at most 5",
        ),
        (
            lambda: lie_algebra(Circuit(6).append("rx", 0, weight()).append("multirz", range(6), 0.3), "X0"),
            CapacityError,
            "Gate 'multirz' on 6 wires is too wide",
        ),
        (
            lambda: lie_algebra(angle_encoding(2) + ising_terms(2), "X0", x=torch.zeros(3, 1)),
            InputError,
            "reads 2 features, got x of shape",
        ),
        (
            lambda: lie_algebra(
                Circuit(2).append("rx", 0, weight()).append("rx", 0, s := weight()).append("rx", 1, 1e-7 * s)
            ),
            PreconditionError,
            "Rounding does not let the dimension be told",
        ),
    ],
)
def test_errors(call: Callable[[], object], error: type[Exception], message: str) -> None:
    """Each says what was given and what is needed."""
    with pytest.raises(error, match=message):
        call()


def test_wide_multirz_and_products_of_features() -> None:
    """Z strings of any width are generators; a feature that turns a gate later on counts as one."""
    circuit = Circuit(7).append("multirz", range(7), weight()).append("rx", 0, weight())
    assert lie_algebra(circuit).dimension == 3
    circuit = Circuit(2).append("rx", 0, weight()).append("ry", 0, feature(0) * feature(1))
    assert lie_algebra(circuit).dimension == 3


def test_givens_rotations_are_free_fermions() -> None:
    """Oracle: so(n), n (n-1) / 2 dimensions: real rotations of n modes."""
    for n in (3, 4, 5):
        assert lie_algebra(number_preserving(n, 1, depth=1)).dimension == n * (n - 1) // 2


def test_alternating_layers_are_real() -> None:
    """Oracle: RY and CZ keep amplitudes real, so the algebra is so(2^n) at most; dense closure of three wires."""
    circuit = alternating_layered(3, depth=4)
    assert lie_algebra(circuit).dimension == len(dense_algebra(circuit)[0]) <= 8 * 7 // 2
