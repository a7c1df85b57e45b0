"""Problem-agnostic ansätze: weights, layers, and the same circuits built by Qiskit and PennyLane."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from helpers import dense_unitary
from qiskit.circuit import library
from qiskit.quantum_info import Operator

from torchbp.circuits import (
    Circuit,
    alternating_layered,
    hardware_efficient,
    mirrored,
    number_preserving,
    qcnn,
    real_amplitudes,
    strongly_entangling,
)
from torchbp.circuits.layouts import bricks, pairs
from torchbp.errors import CircuitError, InputError, UnknownNameError

Ansatz = Callable[[int, int], Circuit]

# Number of weights in each layer, for n wires and depth d.
WEIGHTS: dict[str, tuple[Ansatz, Callable[[int, int], list[int]]]] = {
    "hardware_efficient": (hardware_efficient, lambda n, d: [3 * n] * d),
    "strongly_entangling": (strongly_entangling, lambda n, d: [3 * n] * d),
    "real_amplitudes": (real_amplitudes, lambda n, d: [2 * n] + [n] * (d - 1)),
    "alternating_layered": (alternating_layered, lambda n, d: [3 * n - 2] + [2 * n - 2] * (d - 1)),
    "number_preserving": (lambda n, d: number_preserving(n, 1, d), lambda n, d: [n - 1] * d),
}
LEAST = {"alternating_layered": 2, "number_preserving": 2}


@pytest.fixture(scope="module")
def qml() -> Any:
    return pytest.importorskip("pennylane")


def angles(circuit: Circuit, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).uniform(-3, 3, circuit.n_weights)


def gates(circuit: Circuit) -> list[tuple[str, tuple[int, ...]]]:
    return [(op.gate.name, op.wires) for op in circuit.operations]


@pytest.mark.parametrize("depth", [1, 3])
@pytest.mark.parametrize(("name", "n_wires"), [(name, n) for name in WEIGHTS for n in range(LEAST.get(name, 1), 5)])
def test_weights_and_layers(name: str, n_wires: int, depth: int) -> None:
    """Oracle: numbers of weights by formula; weights are numbered in the order of the gates."""
    build, expected = WEIGHTS[name]
    circuit = build(n_wires, depth)
    assert [len(layer.weights) for layer in circuit.layers] == expected(n_wires, depth)
    assert [layer.name for layer in circuit.layers] == [f"layer{i}" for i in range(depth)]
    used = [p.indices[0] for op in circuit.operations for p in op.parameters]
    assert used == list(range(circuit.n_weights))
    assert (circuit.n_wires, circuit.n_features) == (n_wires, 0)


def test_order_of_a_hardware_efficient_layer() -> None:
    """Oracle: the gates written down."""
    rotations = [(name, (wire,)) for name in ("rx", "rz") for wire in range(3)]
    layer = [*rotations, ("cnot", (0, 1)), ("cnot", (1, 2)), ("cnot", (2, 0))]
    assert gates(hardware_efficient(3, 2, rotations=("rx", "rz"))) == layer * 2
    assert gates(hardware_efficient(2, 1, "ry", gate="cz")) == [("ry", (0,)), ("ry", (1,)), ("cz", (0, 1))]


def test_entanglers() -> None:
    """Oracle: the pairs written down."""
    assert pairs(4, "line") == [(0, 1), (1, 2), (2, 3)]
    assert pairs(4, "ring") == [(0, 1), (1, 2), (2, 3), (3, 0)]
    assert pairs(4, "all") == [(0, 1), (0, 2), (0, 3), (1, 2), (1, 3), (2, 3)]
    assert all(pairs(2, name) == [(0, 1)] and pairs(1, name) == [] for name in ("line", "ring", "all"))
    assert bricks([0, 1, 2, 3, 4]) == [(0, 1), (2, 3), (1, 2), (3, 4)]
    assert bricks([7]) == []


@pytest.mark.parametrize(("n_wires", "depth"), [(1, 2), (2, 2), (3, 3), (4, 4)])
def test_strongly_entangling(qml: Any, n_wires: int, depth: int) -> None:
    """Oracle: PennyLane's StronglyEntanglingLayers."""
    circuit = strongly_entangling(n_wires, depth)
    weights = angles(circuit)
    theirs = qml.StronglyEntanglingLayers(weights.reshape(depth, n_wires, 3), wires=range(n_wires))
    theirs = qml.matrix(theirs, wire_order=range(n_wires))
    np.testing.assert_allclose(dense_unitary(circuit, (), weights), theirs, atol=1e-10)


@pytest.mark.parametrize(("n_wires", "depth"), [(2, 1), (3, 2), (5, 2)])
def test_alternating_layered(qml: Any, n_wires: int, depth: int) -> None:
    """Oracle: PennyLane's SimplifiedTwoDesign."""
    circuit = alternating_layered(n_wires, depth)
    weights = angles(circuit)
    first, rest = weights[:n_wires], weights[n_wires:].reshape(depth, n_wires - 1, 2)
    theirs = qml.matrix(qml.SimplifiedTwoDesign(first, rest, wires=range(n_wires)), wire_order=range(n_wires))
    np.testing.assert_allclose(dense_unitary(circuit, (), weights), theirs, atol=1e-10)


@pytest.mark.parametrize(("n_wires", "depth"), [(1, 1), (2, 2), (4, 3)])
def test_real_amplitudes(n_wires: int, depth: int) -> None:
    """Oracle: Qiskit's real_amplitudes, wires reversed; the amplitudes are real."""
    circuit = real_amplitudes(n_wires, depth)
    weights = angles(circuit)
    theirs = library.real_amplitudes(n_wires, reps=depth).assign_parameters(weights).reverse_bits()
    ours = dense_unitary(circuit, (), weights)
    np.testing.assert_allclose(ours, Operator(theirs).data, atol=1e-10)
    np.testing.assert_allclose(ours.imag, 0, atol=1e-12)


@pytest.mark.parametrize(
    "circuit",
    [hardware_efficient(3, 2), strongly_entangling(3, 1), qcnn(3), number_preserving(3, 1, 2)],
    ids=str,
)
def test_mirrored_is_the_identity_where_both_halves_agree(circuit: Circuit) -> None:
    """Oracle: the identity matrix, and the dense halves multiplied where they do not agree."""
    both, weights, other = mirrored(circuit), angles(circuit), angles(circuit, seed=1)
    assert both.n_weights == 2 * circuit.n_weights
    assert len(both.layers) == 2 * len(circuit.layers)
    np.testing.assert_allclose(dense_unitary(both, (), [*weights, *weights]), np.eye(8), atol=1e-10)
    halves = dense_unitary(circuit, (), other).conj().T @ dense_unitary(circuit, (), weights)
    np.testing.assert_allclose(dense_unitary(both, (), [*weights, *other]), halves, atol=1e-10)


ERRORS: list[tuple[type[Exception], str, Callable[[], Any]]] = [
    (
        UnknownNameError,
        "entangler 'rings'. Did you mean 'ring'",
        lambda: hardware_efficient(2, 1, entangler="rings"),
    ),
    (
        UnknownNameError,
        "entangling gate 'swap'.*Known: cnot, cz",
        lambda: hardware_efficient(2, 1, gate="swap"),
    ),
    (UnknownNameError, "rotation 'u3'.*Known: rx, ry, rz", lambda: hardware_efficient(2, 1, "u3")),
    (CircuitError, "Rotations are one or more of rx, ry, rz", lambda: hardware_efficient(2, 1, ())),
    (InputError, "depth is a whole number of at least 1, got 0", lambda: hardware_efficient(2, 0)),
    (InputError, "depth is a whole number of at least 1, got True", lambda: strongly_entangling(2, True)),
    (InputError, "depth is a whole number of at least 1, got 2.5", lambda: real_amplitudes(2, 2.5)),  # type: ignore[arg-type]
    (InputError, "n_wires is a whole number of at least 1, got 0", lambda: real_amplitudes(0, 1)),
    (InputError, "n_wires is a whole number of at least 2, got 1", lambda: alternating_layered(1, 1)),
    (CircuitError, "has no inverse", lambda: mirrored(Circuit(1).encode_amplitudes())),
]


@pytest.mark.parametrize(("error", "message", "mistake"), ERRORS, ids=range(len(ERRORS)))
def test_messages(error: type[Exception], message: str, mistake: Callable[[], Any]) -> None:
    """Each says what was given and what is needed."""
    with pytest.raises(error, match=message):
        mistake()
