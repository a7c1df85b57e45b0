"""Initial weights: distributions, identity blocks, reproducibility, and every message."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from helpers import dense_expectations, dense_unitary
from torch import Tensor

from torchbp.circuits import (
    INITIALIZERS,
    Circuit,
    PauliSum,
    angle_encoding,
    hardware_efficient,
    initialize,
    mirrored,
    qaoa,
    qcnn,
    strongly_entangling,
    tfim,
    weight,
)
from torchbp.circuits.initializers import depth_of, warm_start
from torchbp.errors import CircuitError, InputError, UnknownNameError

LAYERS = 16
LARGE = hardware_efficient(16, LAYERS, rotations=("rx", "ry", "rz", "ry"))  # 1024 weights
BLOCKS = mirrored(hardware_efficient(3, 2)) * 2


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def options_for(name: str, circuit: Circuit) -> dict[str, Any]:
    options = {
        "warm_start": {"values": torch.zeros(circuit.n_weights)},
        "clifford_search": {"observable": PauliSum("Z0")},
    }
    return options.get(name, {})


# name, options, mean, variance, kurtosis (3 Gaussian, 1.8 uniform, 15/7 Beta(2, 2))
MOMENTS: list[tuple[str, dict[str, Any], float, float, float]] = [
    ("uniform", {}, 0, math.pi**2 / 3, 1.8),
    ("small_angle", {}, 0, 0.1**2, 3),
    ("small_angle", {"sigma": 0.02}, 0, 0.02**2, 3),
    ("reduced_domain", {}, 0, math.pi**2 / 3 / LAYERS, 1.8),
    ("reduced_domain", {"a": 0.5}, 0, math.pi**2 / 12, 1.8),
    ("gaussian", {}, 0, 1 / (4 * (LAYERS + 2)), 3),
    ("gaussian", {"locality": 2, "depth": 8}, 0, 1 / 80, 3),
    ("beta", {}, 0.5, 0.05, 15 / 7),
    ("beta", {"a": 1.0, "b": 1.0}, 0.5, 1 / 12, 1.8),
    ("beta", {"a": 3.0, "b": 1.0}, 0.75, 3 / 80, 3.1),
    ("beta", {"noise": 2.0}, 0.5, 4.05, 3),
    ("warm_start", {"values": torch.full((LARGE.n_weights,), 1.5)}, 1.5, 1 / (3 * LARGE.n_weights), 1.8),
    ("warm_start", {"values": torch.zeros(LARGE.n_weights), "width": 0.2}, 0, 0.04 / 3, 1.8),
]


@pytest.mark.parametrize(("name", "options", "mean", "variance", "kurtosis"), MOMENTS)
def test_moments(name: str, options: dict[str, Any], mean: float, variance: float, kurtosis: float) -> None:
    """Oracle: the distribution's moments; 5.2 standard errors fail a right sampler in 4e-7 of all seeds."""
    weights = initialize(name, LARGE, seeded(), **options).double()
    n = len(weights)
    assert abs(weights.mean() - mean) < 5.2 * math.sqrt(variance / n)
    assert abs(weights.var() - variance) < 5.2 * variance * math.sqrt((kurtosis - 1) / n)


@pytest.mark.parametrize("name", INITIALIZERS)
def test_seeds_and_types(name: str) -> None:
    """Oracle: the same seed again; torch's global state is untouched where a generator is given."""
    before = torch.random.get_rng_state()
    one, same, other = (initialize(name, BLOCKS, seeded(s), **options_for(name, BLOCKS)) for s in (0, 0, 1))
    assert torch.equal(one, same)
    assert name == "clifford_search" or not torch.equal(one, other)  # a search may end where another did
    assert (one.shape, one.dtype, one.requires_grad) == ((BLOCKS.n_weights,), torch.float32, False)
    assert torch.equal(before, torch.random.get_rng_state())
    torch.manual_seed(5)
    drawn = initialize(name, BLOCKS, **options_for(name, BLOCKS))
    torch.manual_seed(5)
    assert torch.equal(drawn, initialize(name, BLOCKS, **options_for(name, BLOCKS)))


@pytest.mark.parametrize("name", INITIALIZERS)
def test_no_weights(name: str) -> None:
    """Oracle: an empty tensor."""
    circuit = Circuit(1).append("x", 0)
    assert initialize(name, circuit, seeded(), **options_for(name, circuit)).shape == (0,)


W = weight()
IDENTITIES = {
    "blocks": BLOCKS,
    "one block": mirrored(strongly_entangling(3, 2)),
    "shared weights": mirrored(qcnn(3)),
    "scaled weights": mirrored(qaoa(PauliSum({"Z0 Z1": 0.3, "Z2": 2.0}), 3, 2)),
    "inverse gates": mirrored(Circuit(3).append("rx", 0, 2 * W + 1, inverse=True).append("crot", (0, 1), 0.1, W, W)),
    "a block of blocks": mirrored(mirrored(hardware_efficient(3, 1)) * 2),
    "unpickled": copy.deepcopy(BLOCKS),
}


@pytest.mark.parametrize("name", IDENTITIES)
def test_identity_blocks(name: str) -> None:
    """Oracle: the identity matrix, at angles over the whole circle."""
    circuit = IDENTITIES[name]
    weights = initialize("identity_blocks", circuit, seeded()).double()
    assert torch.count_nonzero(weights) == circuit.n_weights
    np.testing.assert_allclose(dense_unitary(circuit, (), weights), np.eye(8), atol=1e-10)


def test_identity_blocks_between_encodings() -> None:
    """Oracle: the encodings alone."""
    encoder = angle_encoding(3)
    circuit = (encoder + mirrored(hardware_efficient(3, 1))) * 2
    weights = initialize("identity_blocks", circuit, seeded()).double()
    x = [0.3, 0.4, 0.5]
    np.testing.assert_allclose(dense_unitary(circuit, x, weights), dense_unitary(encoder * 2, x), atol=1e-10)


def test_an_identity_on_an_eigenstate_has_no_gradient() -> None:
    """Oracle: central differences; a stationary point that Hadamards in front of it remove."""
    start = Circuit(3)
    for wire in range(3):
        start.append("h", wire)
    energy, step = tfim(3, coupling=1.0, field=0.0), 1e-4
    block = mirrored(hardware_efficient(3, 2))
    for circuit, stationary in ((block, True), (start + block, False)):
        weights = initialize("identity_blocks", circuit, seeded()).double().numpy()
        points = weights + step * np.concatenate([np.eye(len(weights)), -np.eye(len(weights))])
        up, down = np.split(dense_expectations(circuit, [energy], np.zeros((len(points), 0)), points)[:, 0], 2)
        gradient = (up - down) / (2 * step)
        assert (np.abs(gradient).max() < 1e-8) == stationary


def test_depth() -> None:
    """Oracle: counted by hand."""
    assert depth_of(LARGE) == LAYERS
    assert depth_of(angle_encoding(2) + hardware_efficient(2, 3)) == 3
    assert depth_of(Circuit(2).append("rx", 0, weight()).append("rzz", (0, 1), weight()).append("x", 1)) == 2
    assert depth_of(Circuit(1).start_layer().append("x", 0)) == 0


@pytest.mark.parametrize("given", [[0.5, 1.0], (0, 1), np.array([0.5, 1.0]), torch.tensor([1, 2])])
def test_given_weights(given: Any) -> None:
    """Oracle: the numbers given; a copy of them."""
    circuit = Circuit(1).append("rx", 0, weight()).append("ry", 0, weight())
    weights = initialize(given, circuit)
    assert weights.tolist() == list(given)
    assert weights.dtype in (torch.float32, torch.float64)
    weights += 1
    assert weights.tolist() != list(given)


def test_given_weights_lose_their_graph_and_keep_their_precision() -> None:
    """Oracle: dtype and requires_grad."""
    circuit = Circuit(1).append("rx", 0, weight())
    weights = initialize(torch.nn.Parameter(torch.tensor([0.1], dtype=torch.float64)), circuit)
    assert (weights.dtype, weights.requires_grad) == (torch.float64, False)
    assert initialize(torch.tensor([0.5], dtype=torch.float16), circuit).dtype == torch.float32


def test_own_initializer(monkeypatch: pytest.MonkeyPatch) -> None:
    """Oracle: the function's own values, given directly and by a name added to the table."""

    def ones(circuit: Circuit, generator: torch.Generator | None = None, *, factor: float = 1.0) -> Tensor:
        return factor * torch.ones(circuit.n_weights)

    monkeypatch.setitem(INITIALIZERS, "ones", ones)
    assert initialize(ones, BLOCKS).sum() == BLOCKS.n_weights
    assert initialize("ones", BLOCKS, factor=2.0).sum() == 2 * BLOCKS.n_weights


ONE = Circuit(1).append("rx", 0, weight())
ONE_ON_THREE = Circuit(3).append("rx", 0, weight())
ERRORS: list[tuple[type[Exception], str, Callable[[], Any]]] = [
    (
        UnknownNameError,
        "initializer 'gausian'. Did you mean 'gaussian'.*beta, clifford_search, gaussian",
        lambda: initialize("gausian", ONE),
    ),
    (
        InputError,
        r"initial weights must be 1 real numbers.*\(1,\); got numbers of shape \(2,\)",
        lambda: initialize([1.0, 2.0], ONE),
    ),
    (InputError, "got complex numbers", lambda: initialize(torch.tensor([1j]), ONE)),
    (InputError, "init is the name of an initializer, a function, or the weights", lambda: initialize(object(), ONE)),  # type: ignore[arg-type]
    (InputError, "must be finite, got nan for weight 0", lambda: initialize([math.nan], ONE)),
    (InputError, r"The initializer 'bad' must be .* shape \(3,\)", lambda: initialize(bad, ONE)),
    (InputError, "take no options, got sigma", lambda: initialize([1.0], ONE, sigma=2)),
    (
        InputError,
        "sigma is a finite number of at least 0, got -1",
        lambda: initialize("small_angle", ONE, sigma=-1),
    ),
    (InputError, "a is a finite number", lambda: initialize("reduced_domain", ONE, a=math.inf)),
    (InputError, "locality counts .* got 0", lambda: initialize("gaussian", ONE, locality=0)),
    (InputError, "depth is a finite number", lambda: initialize("gaussian", ONE, depth=-1)),
    (InputError, "a > 0 and b > 0, got a=0", lambda: initialize("beta", ONE, a=0)),
    (InputError, "noise is a finite number", lambda: initialize("beta", ONE, noise=-1)),
    (
        InputError,
        r"needs the point to start from: values= of shape \(1,\)",
        lambda: initialize("warm_start", ONE),
    ),
    (InputError, "The values of warm_start must be 1 real", lambda: warm_start(ONE, values=[1, 2])),
    (InputError, "width is a finite number", lambda: warm_start(ONE, values=[1], width=-0.1)),
    (
        CircuitError,
        r"nothing undoes rx\(w\[0\]\) on \[0\]: build them with mirrored\(\)",
        lambda: initialize("identity_blocks", ONE),
    ),
    (CircuitError, "build them with mirrored", lambda: initialize("identity_blocks", BLOCKS + ONE_ON_THREE)),
]


def bad(circuit: Circuit, generator: torch.Generator | None = None) -> Tensor:
    return torch.zeros(3)


@pytest.mark.parametrize(("error", "message", "mistake"), ERRORS, ids=range(len(ERRORS)))
def test_messages(error: type[Exception], message: str, mistake: Callable[[], Any]) -> None:
    """Each says what was given and what is needed."""
    with pytest.raises(error, match=message):
        mistake()
