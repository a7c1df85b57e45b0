"""`Circuit` and `Parameter`: building, composing, sharing, inverting, and every message."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from helpers import dense_state, dense_unitary, random_circuit, random_unitary

from torchbp.circuits import Circuit, constant, feature, weight
from torchbp.circuits.circuit import Elementary
from torchbp.circuits.operations import embed
from torchbp.errors import CircuitError, UnknownNameError


def small() -> Circuit:
    circuit = Circuit(2)
    circuit.append("ry", 0, feature(0)).append("rx", 0, weight()).append("cnot", (0, 1))
    return circuit.start_layer().append("rzz", (1, 0), weight())


def sample(circuit: Circuit, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    return rng.uniform(-1, 1, circuit.n_features), rng.uniform(-3, 3, circuit.n_weights)


def test_build() -> None:
    """Oracle: counted by hand."""
    circuit = small()
    assert repr(circuit) == "Circuit(2 wires, 4 operations, 1 feature, 2 weights in 2 layers)"
    assert (len(circuit), circuit.n_features, circuit.n_weights) == (4, 1, 2)
    assert [str(op) for op in circuit.operations] == [
        "ry(x[0]) on [0]",
        "rx(w[0]) on [0]",
        "cnot on [0, 1]",
        "rzz(w[1]) on [1, 0]",
    ]
    assert [op.layer for op in circuit.operations] == [None, None, None, 0]
    assert [(layer.name, layer.weights) for layer in circuit.layers] == [("layer0", (1,)), ("weights", (0,))]


def test_empty_circuit() -> None:
    """Oracle: the state |0...0>."""
    circuit = Circuit(n_wires=3)
    assert (len(circuit), circuit.n_features, circuit.n_weights, circuit.layers) == (0, 0, 0, ())
    np.testing.assert_array_equal(dense_state(circuit), np.eye(8)[0])


def test_parameters_read_as_formulas() -> None:
    """Oracle: arithmetic by hand."""
    texts = {
        "0.5": constant(0.5),
        "2*x[1]-0.5": 2 * feature(1) - 0.5,
        "-x[0]*x[2]": -(feature(0) * feature(2)),
        "-w+1": 1 - weight(),
        "-0.5*w-1": -0.5 * (weight() + 2),
        "3*w": np.float64(3) * weight(),
    }
    assert [str(parameter) for parameter in texts.values()] == list(texts)


def test_shared_weight() -> None:
    """Oracle: a twin with the angles written out."""
    w = weight()
    circuit = Circuit(2).append("rx", 0, w).append("ry", 1, weight()).append("rzz", (0, 1), 2 * w + 0.1)
    assert circuit.n_weights == 2
    twin = Circuit(2).append("rx", 0, 0.3).append("ry", 1, 0.7).append("rzz", (0, 1), 0.7)
    np.testing.assert_allclose(dense_unitary(circuit, (), [0.3, 0.7]), dense_unitary(twin), atol=1e-12)


def test_uses_of() -> None:
    """Oracle: counted by hand."""
    w = weight()
    circuit = Circuit(2).append("rx", 1, w).start_layer().append("rot", 0, weight(), w, w)
    assert [(use.gate, use.wires, use.layer) for use in circuit.uses_of(0)] == [
        ("rx", (1,), None),
        ("rot", (0,), 0),
    ]
    assert [use.gate for use in circuit.uses_of(1)] == ["rot"]
    with pytest.raises(CircuitError, match="has weights 0 to 1, got 2"):
        circuit.uses_of(2)


def test_every_weight_is_in_exactly_one_layer() -> None:
    """Oracle: the set of all indices, on random circuits."""
    for seed in range(20):
        circuit = random_circuit(np.random.default_rng(seed), n_wires=4, n_gates=30)
        grouped = [i for layer in circuit.layers for i in layer.weights]
        assert sorted(grouped) == list(range(circuit.n_weights))


def test_layer_names() -> None:
    """Oracle: the names written down; all differ, so that they can be keys."""
    circuit = Circuit(1).append("rx", 0, weight())
    for name in (None, None, "block", "block", "weights"):
        circuit.start_layer(name).append("rx", 0, weight())
    wanted = ["layer0", "layer1", "block", "block1", "weights", "weights1"]
    assert [layer.name for layer in circuit.layers] == wanted
    names = [layer.name for layer in (circuit + circuit).layers]
    assert len(names) == len(set(names)) == 11


@pytest.mark.parametrize("seed", range(5))
def test_sum_is_one_after_the_other(seed: int) -> None:
    """Oracle: product of the dense unitaries, with the weights concatenated."""
    rng = np.random.default_rng(seed)
    a, b = (random_circuit(rng, n_wires=3, n_gates=12) for _ in range(2))
    both = a + b
    x, weights = rng.uniform(-1, 1, 3), rng.uniform(-3, 3, both.n_weights)
    assert both.n_weights == a.n_weights + b.n_weights
    product = dense_unitary(b, x, weights[a.n_weights :]) @ dense_unitary(a, x, weights[: a.n_weights])
    np.testing.assert_allclose(dense_unitary(both, x, weights), product, atol=1e-10)


def test_repeat() -> None:
    """Oracle: the sum written out; the operands stay as they were."""
    circuit = small()
    (x, weights), tripled = sample(circuit * 3), circuit * 3
    np.testing.assert_array_equal(
        dense_unitary(tripled, x, weights), dense_unitary(circuit + circuit + circuit, x, weights)
    )
    assert (tripled.n_weights, tripled.n_features, len(circuit * 1)) == (6, 1, 4)
    assert [layer.name for layer in tripled.layers] == ["layer0", "layer1", "layer2", "weights"]
    assert len(circuit) == 4


@pytest.mark.parametrize("seed", range(5))
def test_inverse(seed: int) -> None:
    """Oracle: the adjoint of the dense unitary, with the same weights."""
    circuit = random_circuit(np.random.default_rng(seed), n_wires=4, n_gates=15)
    x, weights = sample(circuit, seed)
    undone = dense_unitary(circuit.inverse(), x, weights)
    np.testing.assert_allclose(undone, dense_unitary(circuit, x, weights).conj().T, atol=1e-10)
    assert [str(op) for op in circuit.inverse().inverse().operations] == [str(op) for op in circuit.operations]


def test_inverse_reverses_the_layers() -> None:
    """Oracle: names and members written down."""
    circuit = Circuit(1).start_layer("a").append("rx", 0, weight()).start_layer("b").append("ry", 0, weight())
    layers = circuit.inverse().layers
    assert [(layer.name, layer.weights) for layer in layers] == [("b", (1,)), ("a", (0,))]


@pytest.mark.parametrize("seed", range(10))
def test_elementary_gates_are_the_operations(seed: int) -> None:
    """Oracle: dense unitary from the operations; the steps are matrices and rotations of one angle only."""
    circuit = random_circuit(np.random.default_rng(seed), n_wires=4, n_gates=20)
    x, weights = sample(circuit, seed)
    out = np.eye(16, dtype=complex)
    for step in circuit.elementary:
        out = embed(matrix_of_step(step, x, weights), step.wires, 4) @ out
    np.testing.assert_allclose(out, dense_unitary(circuit, x, weights), atol=1e-10)


def matrix_of_step(step: Elementary, x: np.ndarray, weights: np.ndarray) -> np.ndarray:
    if step.angle is None:
        assert step.matrix is not None
        return step.matrix
    source = {"constant": x, "feature": x, "weight": weights}[step.angle.kind]
    value = np.prod([source[i] for i in step.angle.indices]) if step.angle.kind != "constant" else 0.0
    angle = step.angle.scale * value + step.angle.offset
    return step.gate.rotation(len(step.wires)).matrix(float(angle))


def test_elementary_follows_an_append() -> None:
    """Oracle: the number of gates."""
    circuit = small()
    before = len(circuit.elementary)
    circuit.append("rot", 0, weight(), weight(), weight())
    assert len(circuit.elementary) == before + 3


def test_unitary() -> None:
    """Oracle: the matrix given, and its adjoint; a later change of the array does not reach the circuit."""
    matrix = random_unitary(np.random.default_rng(0), 2)
    given = matrix.copy()
    circuit = Circuit(2).append("qubitunitary", (0, 1), unitary=given)
    circuit.append("qubitunitary", (1, 0), unitary=given, inverse=True)
    given[:] = 0
    np.testing.assert_allclose(dense_unitary(circuit), embed(matrix.conj().T, (1, 0), 2) @ matrix, atol=1e-12)


def test_amplitudes() -> None:
    """Oracle: the normalized, zero-padded vector."""
    circuit = Circuit(2).encode_amplitudes(3).append("x", 0)
    assert circuit.n_features == 3
    np.testing.assert_allclose(dense_state(circuit, [3.0, 0.0, 4.0]), [0.8, 0, 0.6, 0], atol=1e-12)
    assert (Circuit(2).encode_amplitudes() + small()).n_features == 4


@pytest.mark.parametrize(
    "duplicate",
    [copy.copy, copy.deepcopy, lambda c: pickle.loads(pickle.dumps(c))],
    ids=["copy", "deepcopy", "pickle"],
)
def test_copies(duplicate: Callable[[Circuit], Circuit]) -> None:
    """Oracle: the dense unitary of the original."""
    circuit = random_circuit(np.random.default_rng(3), n_wires=3, n_gates=20)
    circuit.append("qubitunitary", 0, unitary=random_unitary(np.random.default_rng(0), 1))
    x, weights = sample(circuit)
    twin = duplicate(circuit)
    np.testing.assert_array_equal(dense_unitary(twin, x, weights), dense_unitary(circuit, x, weights))
    assert twin.layers == circuit.layers
    twin.append("rx", 0, weight())
    assert (twin.n_weights, len(twin)) == (circuit.n_weights + 1, len(circuit) + 1)


def test_frozen() -> None:
    """A frozen circuit composes, but does not change; its copies stay frozen, its sums do not."""
    circuit = small().freeze()
    changes: list[Callable[[], Circuit]] = [
        lambda: circuit.append("x", 0),
        lambda: circuit.start_layer(),
        lambda: circuit.encode_amplitudes(),
        lambda: copy.deepcopy(circuit).append("x", 0),
    ]
    for change in changes:
        with pytest.raises(CircuitError, match="circuit is frozen, since a layer uses it"):
            change()
    assert len((circuit + circuit).append("x", 0)) == 9
    assert len(circuit.inverse().append("x", 0)) == 5


C2 = Circuit(2)
ERRORS: list[tuple[str, Callable[[], Any]]] = [
    ("at least 1; got n_wires=0", lambda: Circuit(0)),
    ("at least 1; got n_wires=True", lambda: Circuit(True)),
    ("at least 1; got n_wires=2.0", lambda: Circuit(2.0)),  # type: ignore[arg-type]
    (r"Gate 'cnot' acts on 2 wires, got 1: \[0\]", lambda: C2.append("cnot", 0)),
    ("Gate 'rx' takes 1 angles, got 0", lambda: C2.append("rx", 0)),
    ("Gate 'x' takes 0 angles, got 1", lambda: C2.append("x", 0, 0.3)),
    ("Gate 'x' on wire 2: the circuit has wires 0 to 1", lambda: C2.append("x", 2)),
    ("Gate 'x' on wire -1: the circuit has wires 0 to 1", lambda: C2.append("x", -1)),
    ("Gate 'x' on wire 0.5: the circuit has", lambda: C2.append("x", 0.5)),  # type: ignore[arg-type]
    (r"needs distinct wires, at least one; got \[1, 1\]", lambda: C2.append("cnot", (1, 1))),
    (r"needs distinct wires, at least one; got \[\]", lambda: C2.append("qft", ())),
    ("An angle is a finite number, .* got nan", lambda: C2.append("rx", 0, float("nan"))),
    ("An angle is a finite number, .* got 'a'", lambda: C2.append("rx", 0, "a")),  # type: ignore[arg-type]
    ("An angle is a finite number, .* got True", lambda: constant(True)),
    ("An angle is a finite number", lambda: weight() * float("inf")),
    ("Only two features .* can be multiplied .* got w", lambda: weight() * weight()),
    (r"without an added number .* x\[0\]\+1", lambda: (feature(0) + 1) * feature(1)),
    ("whole number from 0 on, got -1", lambda: feature(-1)),
    ("whole number from 0 on, got 1.0", lambda: feature(1.0)),  # type: ignore[arg-type]
    ('"qubitunitary" needs its matrix', lambda: C2.append("qubitunitary", 0)),
    (
        "A matrix goes with the gate \"qubitunitary\", not with 'x'",
        lambda: C2.append("x", 0, unitary=np.eye(2)),
    ),
    (r"has shape \(4, 4\), got \(2, 2\)", lambda: C2.append("qubitunitary", (0, 1), unitary=np.eye(2))),
    ("not unitary", lambda: C2.append("qubitunitary", 0, unitary=2 * np.eye(2))),
    ("must come before every gate", lambda: small().encode_amplitudes()),
    ("must come before every gate", lambda: Circuit(2).encode_amplitudes().encode_amplitudes()),
    ("2 wires hold 1 to 4 amplitudes, got n_features=5", lambda: C2.encode_amplitudes(5)),
    ("got n_features=2.5", lambda: C2.encode_amplitudes(2.5)),  # type: ignore[arg-type]
    ("got 2 and 3 wires: build both with the same n_wires", lambda: C2 + Circuit(3)),
    ("must be the first circuit of a sum", lambda: C2 + Circuit(2).encode_amplitudes()),
    ("amplitude encoding has no inverse", lambda: Circuit(2).encode_amplitudes().inverse()),
    ("whole number of times, at least once; got 0", lambda: C2 * 0),
    ("whole number of times, at least once; got 1.5", lambda: C2 * 1.5),  # type: ignore[operator]
]


@pytest.mark.parametrize(("message", "mistake"), ERRORS, ids=range(len(ERRORS)))
def test_messages(message: str, mistake: Callable[[], Any]) -> None:
    """Each says what was given and what is needed, and leaves the circuit as it was."""
    with pytest.raises(CircuitError, match=message):
        mistake()
    assert repr(C2) == "Circuit(2 wires, 0 operations, 0 features, 0 weights in 0 layers)"


def test_a_failed_append_makes_no_weight() -> None:
    """Oracle: the counts stay."""
    circuit = Circuit(1)
    with pytest.raises(CircuitError):
        circuit.append("rot", 0, weight(), weight(), "x")  # type: ignore[arg-type]
    assert (circuit.n_weights, len(circuit)) == (0, 0)


def test_unknown_gate() -> None:
    """The error survives pickling, as workers send theirs home."""
    with pytest.raises(UnknownNameError, match=r"Unknown gate 'rxy'\. Did you mean 'xy'") as raised:
        C2.append("rxy", 0, 0.1)
    assert str(pickle.loads(pickle.dumps(raised.value))) == str(raised.value)


def test_only_circuits_add() -> None:
    """Python's own message."""
    with pytest.raises(TypeError, match="unsupported operand"):
        C2 + 1  # type: ignore[operator]
