"""Ansätze with the structure of a problem, against dense exponentials and conserved quantities."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from helpers import dense_state, dense_unitary, equal_up_to_phase, expm, random_unitary
from scipy.optimize import least_squares

from torchbp.circuits import (
    Circuit,
    PauliSum,
    h2,
    hamiltonian_variational,
    heisenberg,
    maxcut,
    number_preserving,
    qaoa,
    qcnn,
    tfim,
    weight,
)
from torchbp.circuits.problem_ansatz import Group, _two_wire_unitary, commuting_groups
from torchbp.errors import CircuitError, InputError

HAMILTONIANS = {
    "tfim": (tfim(4), 4, 2),
    "heisenberg": (heisenberg(4, couplings=(0.5, -1.0, 2.0)), 4, 2),
    "heisenberg in a field": (heisenberg(3, field=0.3), 3, 3),
    "h2": (h2(), 4, 2),
    "mixed strings": (
        PauliSum({"X0 Z1": 0.3, "Y0 Z2": -0.7, "Z1 X2": 0.2, "Y1": 1.1, "X0 Y1 Z2": 0.4}),
        3,
        3,
    ),
}


def matrix_of(group: Group, n_wires: int) -> np.ndarray:
    names = [" ".join(f"{letter}{wire}" for wire, letter in string) for string, _ in group]
    return PauliSum({name: c for name, (_, c) in zip(names, group, strict=True)}).matrix(n_wires)


def angles(circuit: Circuit, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).uniform(-2, 2, circuit.n_weights)


@pytest.mark.parametrize("name", HAMILTONIANS)
def test_hamiltonian_variational(name: str) -> None:
    """Oracle: dense exponentials of the groups; each group's terms commute, and they add up to H."""
    hamiltonian, n, n_groups = HAMILTONIANS[name]
    groups = commuting_groups(hamiltonian)
    sums = [matrix_of(group, n) for group in groups]
    circuit = hamiltonian_variational(hamiltonian, n, depth=2)
    assert [len(layer.weights) for layer in circuit.layers] == [n_groups] * 2
    identity = dict(hamiltonian.terms).get((), 0.0) * np.eye(2**n)
    np.testing.assert_allclose(sum(sums) + identity, hamiltonian.matrix(n), atol=1e-12)
    for group in groups:
        members = [matrix_of([term], n) for term in group]
        assert all(np.allclose(a @ b, b @ a) for a in members for b in members)
    product, weights = np.eye(2**n, dtype=complex), angles(circuit)
    for time, generator in zip(weights, sums * 2, strict=True):
        product = expm(generator, time) @ product
    np.testing.assert_allclose(dense_unitary(circuit, (), weights), product, atol=1e-10)


def test_a_small_step_is_the_hamiltonians_evolution() -> None:
    """Oracle: exp(-i t H) up to the splitting error of order t^2."""
    circuit, time = hamiltonian_variational(tfim(3), 3, depth=1), 1e-4
    np.testing.assert_allclose(dense_unitary(circuit, (), [time] * 2), expm(tfim(3).matrix(3), time), atol=20 * time**2)


@pytest.mark.parametrize("cost", [maxcut([(0, 1), (1, 2, 0.5), (2, 0)]), PauliSum({"Z0 Z1 Z2": 0.7, "Z1": -0.3})])
def test_qaoa(cost: PauliSum) -> None:
    """Oracle: dense exponentials of cost and mixer on |+++>, up to the phase of the constant term."""
    circuit = qaoa(cost, 3, depth=3)
    assert [len(layer.weights) for layer in circuit.layers] == [2, 2, 2]
    weights = angles(circuit)
    mixer = PauliSum({"X0": 1.0, "X1": 1.0, "X2": 1.0}).matrix(3)
    state = np.full(8, 8**-0.5, dtype=complex)
    for gamma, beta in weights.reshape(3, 2):
        state = expm(mixer, beta) @ expm(cost.matrix(3), gamma) @ state
    assert equal_up_to_phase(dense_state(circuit, (), weights), state)


@pytest.mark.parametrize(("n_wires", "n_particles"), [(2, 1), (4, 2), (5, 3), (6, 1)])
def test_number_preserving(n_wires: int, n_particles: int) -> None:
    """Oracle: exactly the basis states with as many ones have an amplitude."""
    circuit = number_preserving(n_wires, n_particles, depth=n_wires)
    state = dense_state(circuit, (), angles(circuit))
    ones = np.array([bin(i).count("1") for i in range(2**n_wires)])
    assert np.linalg.norm(state[ones == n_particles]) == pytest.approx(1)
    assert np.count_nonzero(abs(state) > 1e-9) == np.count_nonzero(ones == n_particles)


def test_givens_rotation_formula() -> None:
    """Oracle: exp(-i w (YX - XY) / 4), as the docstring has it."""
    circuit = number_preserving(2, 1, depth=1)
    generator = PauliSum({"Y0 X1": 0.25, "X0 Y1": -0.25}).matrix(2)
    start = np.eye(4)[0b10]
    np.testing.assert_allclose(dense_state(circuit, (), [0.7]), expm(generator, 0.7) @ start, atol=1e-12)


@pytest.mark.parametrize(("n_wires", "depth"), [(2, 1), (3, 2), (4, 2), (5, 3), (8, 3)])
def test_qcnn(n_wires: int, depth: int) -> None:
    """Oracle: counts by formula; every wire but the one measured, wire 0, is pooled once."""
    circuit = qcnn(n_wires)
    assert [len(layer.weights) for layer in circuit.layers] == [17] * depth
    pooled = [op.wires for op in circuit.operations if op.gate.name == "crz"]
    assert len(pooled) == n_wires - 1
    assert {wires[0] for wires in pooled} == set(range(1, n_wires))


def test_pooling() -> None:
    """Oracle: the kept wire turns by RZ where the pooled one is 1, by RX where it is 0."""
    circuit = qcnn(2)
    weights = [0.0] * 15 + [0.4, 0.9]
    turned = dense_unitary(circuit, (), weights).reshape(2, 2, 2, 2)
    np.testing.assert_allclose(turned[:, 0, :, 1], expm(np.diag([0.5, -0.5]), 0.4), atol=1e-12)
    np.testing.assert_allclose(turned[:, 1, :, 0], expm(np.array([[0, 0.5], [0.5, 0]]), 0.9), atol=1e-12)


def test_convolution_reaches_any_two_wire_unitary() -> None:
    """Oracle: a random unitary, found by least squares up to its phase."""
    rng = np.random.default_rng(0)
    target = random_unitary(rng, 2)
    circuit = Circuit(2)
    _two_wire_unitary(circuit, 0, 1, [weight() for _ in range(15)])

    def residual(weights: np.ndarray) -> np.ndarray:
        difference = (dense_unitary(circuit, (), weights[:15]) * np.exp(1j * weights[15]) - target).ravel()
        return np.concatenate([difference.real, difference.imag])

    tries = (least_squares(residual, rng.uniform(-3, 3, 16), max_nfev=60) for _ in range(10))
    assert any(found.cost < 1e-12 for found in tries)


ERRORS: list[tuple[str, Callable[[], Any]]] = [
    ("hamiltonian is a PauliSum, or a string or a dict .* got 3", lambda: hamiltonian_variational(3, 1, 1)),  # type: ignore[arg-type]
    ("acts on wire 3, but the circuit has wires 0 to 2", lambda: hamiltonian_variational(tfim(4), 3, 1)),
    ("multiple of the identity", lambda: hamiltonian_variational(PauliSum("I"), 2, 1)),
    ("multiple of the identity", lambda: qaoa(PauliSum({"Z0": 0.0}), 2, 1)),
    ("QAOA needs a diagonal cost, .* hamiltonian_variational", lambda: qaoa(tfim(2), 2, 1)),
    ("depth is a whole number of at least 1, got 0", lambda: qaoa(maxcut([(0, 1)]), 2, 0)),
    ("n_wires is a whole number of at least 2, got 1", lambda: number_preserving(1, 1, 1)),
    ("n_particles is a whole number from 1 to 3, got 4", lambda: number_preserving(4, 4, 1)),
    ("n_particles is a whole number from 1 to 3, got 0", lambda: number_preserving(4, 0, 1)),
    ("n_wires is a whole number of at least 2, got 1", lambda: qcnn(1)),
]


@pytest.mark.parametrize(("message", "mistake"), ERRORS, ids=range(len(ERRORS)))
def test_messages(message: str, mistake: Callable[[], Any]) -> None:
    """Each says what was given and what is needed."""
    with pytest.raises((CircuitError, InputError), match=message):
        mistake()
