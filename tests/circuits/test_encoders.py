"""Encoders against PennyLane's templates and dense states."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from helpers import dense_state, dense_unitary

from torchbp.circuits import Circuit, amplitude_encoding, angle_encoding, hardware_efficient, iqp_encoding
from torchbp.errors import CircuitError, InputError, UnknownNameError


@pytest.fixture(scope="module")
def qml() -> Any:
    return pytest.importorskip("pennylane")


def features(n: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).uniform(-2, 2, n)


@pytest.mark.parametrize("rotation", ["rx", "ry", "rz"])
@pytest.mark.parametrize("n_features", [1, 3])
def test_angle_encoding(qml: Any, rotation: str, n_features: int) -> None:
    """Oracle: PennyLane's AngleEmbedding."""
    circuit, x = angle_encoding(3, rotation, n_features), features(n_features)
    theirs = qml.AngleEmbedding(x, wires=range(n_features), rotation=rotation[1].upper())
    np.testing.assert_allclose(dense_unitary(circuit, x), qml.matrix(theirs, wire_order=range(3)), atol=1e-12)
    assert (circuit.n_features, circuit.n_weights, circuit.layers) == (n_features, 0, ())


def test_several_rotations_hold_several_features() -> None:
    """Oracle: a twin with the angles written out."""
    circuit = angle_encoding(2, rotation=("ry", "rz"), scale=0.5)
    assert circuit.n_features == 4
    twin = Circuit(2).append("ry", 0, 0.5).append("ry", 1, 1.0).append("rz", 0, 1.5).append("rz", 1, 2.0)
    np.testing.assert_allclose(dense_unitary(circuit, [1, 2, 3, 4]), dense_unitary(twin), atol=1e-12)
    assert angle_encoding(2, ("ry", "rz"), n_features=3).n_features == 3
    assert [op.wires for op in angle_encoding(2, ("ry", "rz"), n_features=3).operations] == [(0,), (1,), (0,)]


@pytest.mark.parametrize("n_features", [1, 5, 8])
def test_amplitude_encoding(qml: Any, n_features: int) -> None:
    """Oracle: PennyLane's AmplitudeEmbedding."""
    x = features(n_features)
    theirs = qml.AmplitudeEmbedding(x, wires=range(3), pad_with=0.0, normalize=True).state_vector()
    circuit = amplitude_encoding(3, n_features)
    np.testing.assert_allclose(dense_state(circuit, x), np.asarray(theirs).reshape(-1), atol=1e-12)
    assert amplitude_encoding(3).n_features == 8


@pytest.mark.parametrize(("n_wires", "depth"), [(1, 1), (2, 2), (4, 3)])
def test_iqp_encoding(qml: Any, n_wires: int, depth: int) -> None:
    """Oracle: PennyLane's IQPEmbedding."""
    x = features(n_wires)
    theirs = qml.matrix(qml.IQPEmbedding(x, wires=range(n_wires), n_repeats=depth), wire_order=range(n_wires))
    np.testing.assert_allclose(dense_unitary(iqp_encoding(n_wires, depth), x), theirs, atol=1e-12)


def test_data_reuploading_is_composition() -> None:
    """Oracle: the dense factors multiplied, with the same features and other weights in each."""
    encoder, layer = angle_encoding(4), hardware_efficient(4, depth=1)
    circuit = (encoder + layer) * 3
    assert (circuit.n_features, circuit.n_weights) == (4, 3 * layer.n_weights)
    assert [len(group.weights) for group in circuit.layers] == [12, 12, 12]
    x, weights = features(4), features(36, seed=1)
    product = np.eye(16)
    for part in weights.reshape(3, 12):
        product = dense_unitary(layer, (), part) @ dense_unitary(encoder, x) @ product
    np.testing.assert_allclose(dense_unitary(circuit, x, weights), product, atol=1e-12)


ERRORS: list[tuple[type[Exception], str, Callable[[], Any]]] = [
    (UnknownNameError, "Unknown rotation 'rq'.*Known: rx, ry, rz", lambda: angle_encoding(2, "rq")),
    (UnknownNameError, "Unknown rotation 'h'", lambda: angle_encoding(2, ("ry", "h"))),
    (
        CircuitError,
        r"hold at most 2 features, got n_features=3: .*\(\"ry\", \"rz\"\)",
        lambda: angle_encoding(2, n_features=3),
    ),
    (InputError, "n_features is a whole number of at least 1, got 0", lambda: angle_encoding(2, n_features=0)),
    (CircuitError, "none twice in a row", lambda: angle_encoding(2, ("ry", "ry"))),
    (CircuitError, r"none twice in a row; got \(\)", lambda: angle_encoding(2, ())),
    (InputError, "scale is a finite number, got nan", lambda: angle_encoding(2, scale=float("nan"))),
    (InputError, "n_wires is a whole number of at least 1, got 0", lambda: angle_encoding(0)),
    (CircuitError, "2 wires hold 1 to 4 amplitudes, got n_features=5", lambda: amplitude_encoding(2, 5)),
    (InputError, "depth is a whole number of at least 1, got 0", lambda: iqp_encoding(2, 0)),
    (InputError, "depth is a whole number of at least 1, got 1.0", lambda: iqp_encoding(2, 1.0)),  # type: ignore[arg-type]
]


@pytest.mark.parametrize(("error", "message", "mistake"), ERRORS, ids=range(len(ERRORS)))
def test_messages(error: type[Exception], message: str, mistake: Callable[[], Any]) -> None:
    """Each says what was given and what is needed."""
    with pytest.raises(error, match=message):
        mistake()
