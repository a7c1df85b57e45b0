"""Finite shots: unbiased, with the variance that counting statistics give, and every shot counted."""

from __future__ import annotations

import copy
import pickle
from typing import Any

import numpy as np
import pytest
import torch
from helpers import dense_expectations, dense_state
from torch import Tensor

from torchbp.backends.fused import FusedBackend
from torchbp.backends.noise import NoiseModel
from torchbp.backends.shots import Sampler, ShotMeter, Shots
from torchbp.backends.torchquantum import TorchQuantumBackend
from torchbp.circuits import Circuit, PauliSum, amplitude_encoding, angle_encoding, feature, hardware_efficient, weight
from torchbp.circuits.grouping import group_qubit_wise
from torchbp.circuits.operations import GATES, Rotation
from torchbp.errors import BackendError, InputError
from torchbp.layer import QuantumLayer

OBSERVABLES = [
    PauliSum({"Z0": 1.0, "Z0 Z1": 0.5, "I": 0.25}),
    PauliSum({"X0": 1.0, "X1 Z2": -0.7}),
    PauliSum("Y1 Y2"),
]


def circuit() -> Circuit:
    shared = weight()
    c = Circuit(3).append("ry", 0, feature(0)).append("rx", 1, shared).append("cry", (1, 2), weight())
    c.append("cnot", (0, 1)).append("u3", 2, weight(), feature(1), 0.4).append("singleexcitation", (0, 2), -2 * shared)
    return c.append("xxplusyy", (0, 1), weight(), 0.3, inverse=True).freeze()


class Measurement:
    """A sampler with its backend, shots and meter."""

    def __init__(
        self, seed: int = 0, measured: Circuit | None = None, observables: list[PauliSum] = OBSERVABLES
    ) -> None:
        self.sampler = Sampler(measured or circuit(), observables or OBSERVABLES)
        self.generator, self.meter = torch.Generator().manual_seed(seed), ShotMeter()

    def __call__(self, x: Tensor, weights: Tensor, shots: int) -> Tensor:
        plan = Shots(shots, self.generator, self.meter)
        return self.sampler.expectations(TorchQuantumBackend(), x, weights, None, plan)


X = torch.tensor([[0.3, -0.8], [1.1, 0.4]])
W = torch.tensor([0.7, -0.4, 0.9, 0.5])
EXACT = dense_expectations(circuit(), OBSERVABLES, X.numpy(), W.numpy())


def exact_gradient() -> tuple[np.ndarray, np.ndarray]:
    """Central differences of the dense oracle, of the sum over samples and observables."""
    h, x, w = 1e-5, X.double().numpy(), W.double().numpy()

    def total(x: np.ndarray, w: np.ndarray) -> float:
        return dense_expectations(circuit(), OBSERVABLES, x, w).sum()

    def slope(of: str, index: tuple[int, ...]) -> float:
        dx, dw = np.zeros_like(x), np.zeros_like(w)
        (dx if of == "x" else dw)[index] = h
        return (total(x + dx, w + dw) - total(x - dx, w - dw)) / (2 * h)

    return (
        np.array([slope("w", (i,)) for i in range(4)]),
        np.array([[slope("x", (b, f)) for f in range(2)] for b in range(2)]),
    )


def test_estimates_are_unbiased_with_the_variance_of_counting() -> None:
    """Oracle: dense matrices. |z| < 6 for 6 means and 6 variances: false failures under 1e-7."""
    s, shots, draws = Measurement(), 50, 4000
    x = X.repeat(draws, 1)
    with torch.no_grad():
        y = s(x, W, shots).view(draws, 2, 3).double().numpy()
    for b in range(2):
        for m, observable in enumerate(OBSERVABLES):
            variance = (
                sum(_group_variance(observable, group, X[b : b + 1].numpy()) for group in s.sampler.grouping.groups)
                / shots
            )
            error = np.sqrt(variance / draws)
            assert abs(y[:, b, m].mean() - EXACT[b, m]) < 6 * error
            fourth = ((y[:, b, m] - y[:, b, m].mean()) ** 4).mean()
            spread = np.sqrt((fourth - variance**2) / draws)
            assert abs(y[:, b, m].var() - variance) < 6 * spread


def _group_variance(observable: PauliSum, group: object, x: np.ndarray) -> float:
    """Var of one shot of the part of the observable read in this group, with the covariances of its terms."""
    part = {s: c for s, c in observable.terms if s in group.strings}
    if not part:
        return 0.0
    matrix = sum(c * PauliSum(" ".join(f"{p}{w}" for w, p in s)).matrix(3) for s, c in part.items())
    psi = dense_state(circuit(), x[0], W.numpy())
    mean = (psi.conj() @ matrix @ psi).real
    return (psi.conj() @ matrix @ matrix @ psi).real - mean**2


def test_gradients_are_unbiased() -> None:
    """Oracle: central differences of the dense matrices. |z| < 6 for 8 numbers: false failures under 2e-8."""
    draws = 1000
    w, x = W.expand(2 * draws, -1).clone().requires_grad_(), X.repeat(draws, 1).requires_grad_()
    by_weight, by_feature = torch.autograd.grad(Measurement(1)(x, w, 100).sum(), (w, x))
    got = (by_weight.view(draws, 2, 4).sum(1), by_feature.view(draws, 2, 2))
    for samples, wanted in zip(got, exact_gradient(), strict=True):
        stack = samples.double().numpy()
        error = stack.std(0, ddof=1) / np.sqrt(draws)
        assert (np.abs(stack.mean(0) - wanted) < 6 * error + 1e-6).all()


def test_gradient_noise_is_that_of_the_two_shifted_circuits() -> None:
    """RX on |0>, Z: Var[g] = (2 - E+^2 - E-^2) / (4 S) with S shots a circuit; |z| < 6."""
    c = Circuit(1).append("rx", 0, weight()).freeze()
    s = Measurement(2, c, [PauliSum("Z0")])
    draws, shots, t = 20000, 20, 0.6
    w = torch.full((draws, 1), t, requires_grad=True)
    (g,) = torch.autograd.grad(s(torch.zeros(draws, 0), w, shots).sum(), w)
    plus, minus = np.cos(t + np.pi / 2), np.cos(t - np.pi / 2)
    variance = (2 - plus**2 - minus**2) / (4 * shots)
    assert abs(g.mean().item() + np.sin(t)) < 6 * np.sqrt(variance / draws)
    assert abs(g.var().item() - variance) < 6 * variance * np.sqrt(2 / draws)


@pytest.mark.parametrize("name", [name for name, gate in GATES.items() if gate.generator])
def test_shift_rule_of_every_rotation(name: str) -> None:
    """Oracle: the derivative of U(t)^dagger O U(t) for a random O and state, exact to 1e-12."""
    rng = np.random.default_rng(3)
    rotation: Rotation = GATES[name].rotation(GATES[name].n_wires or 3)
    size = len(rotation.generator)
    psi, noise = rng.normal(size=size) + 1j * rng.normal(size=size), rng.normal(size=(size, size))
    o = noise + noise.T

    def f(t: float) -> float:
        v = rotation.matrix(t) @ psi
        return (v.conj() @ o @ v).real

    v = rotation.matrix(0.7) @ psi
    exact = (v.conj() @ (1j * (rotation.generator @ o - o @ rotation.generator)) @ v).real
    assert sum(c * f(0.7 + d) for c, d in rotation.shift_rule) == pytest.approx(exact, abs=1e-10)


def test_every_shot_is_counted() -> None:
    """B samples x groups x shots forward; times the terms of the moving angles' rules backward."""
    s = Measurement()
    groups = len(s.sampler.grouping.groups)
    w = W.clone().requires_grad_()
    y = s(X, w, 10)
    assert s.meter.used == 2 * groups * 10
    y.sum().backward()
    # rx 2, cry 4, ry in u3 2, singleexcitation 4, xy in xxplusyy 4: the angles that weights turn
    assert s.meter.used == 2 * groups * 10 * (1 + 2 + 4 + 2 + 4 + 4)


def test_same_seed_same_outcomes() -> None:
    state = torch.get_rng_state()
    first, second = (Measurement(5)(X, W, 10) for _ in range(2))
    assert torch.equal(first, second)
    assert torch.equal(torch.get_rng_state(), state)


def test_grouping_shares_shots_and_covers_every_string() -> None:
    """Groups agree on shared wires, hold every string once, and rebuild the observables."""
    grouping = group_qubit_wise(OBSERVABLES)
    strings = [string for group in grouping.groups for string in group.strings]
    assert sorted(strings) == sorted({s for o in OBSERVABLES for s, _ in o.terms if s})
    assert all(dict(group.basis)[w] == p for group in grouping.groups for s in group.strings for w, p in s)
    assert len(grouping.groups) < len(strings)
    for m, observable in enumerate(OBSERVABLES):
        rebuilt = {
            s: c
            for group, table in zip(grouping.groups, grouping.coefficients, strict=True)
            for s, c in zip(group.strings, table[m], strict=True)
            if c
        }
        assert rebuilt | ({(): grouping.constants[m]} if grouping.constants[m] else {}) == dict(observable.terms)


def test_amplitudes_cannot_be_differentiated_by_shifts() -> None:
    c = amplitude_encoding(1).append("rx", 0, weight()).freeze()
    s = Measurement(0, c, [PauliSum("Z0")])
    with pytest.raises(BackendError, match="parameter-shift rule, which differentiates angles"):
        s(torch.ones(1, 2, requires_grad=True), torch.zeros(1), 10)


def test_a_layer_with_shots() -> None:
    """Shots are counted, switched off and on, reproducible by the generator, and kept by copies."""

    def make() -> QuantumLayer:
        circuit = angle_encoding(2) + hardware_efficient(2, 1)
        return QuantumLayer(circuit, shots=10, generator=torch.Generator().manual_seed(0))

    layer, x = make(), torch.rand(3, 2)
    y = layer(x)
    assert layer.shots_used == 3 * 10
    y.sum().backward()
    assert layer.shots_used == 3 * 10 * (1 + 2 * 6)
    with layer.exact():
        torch.testing.assert_close(layer(x), QuantumLayer(layer.circuit, init=layer.weights.detach())(x))
    assert layer.shots_used == 3 * 10 * 13
    with layer.shots_at(7):
        layer(x[:1])
    assert layer.shots_used == 3 * 10 * 13 + 7
    assert layer.shots == 10
    assert torch.equal(make()(x), y)
    twin = copy.deepcopy(layer)
    assert torch.equal(twin(x), layer(x))
    assert torch.equal(pickle.loads(pickle.dumps(layer))(x), layer(x))
    assert list(layer.state_dict()) == ["weights"]
    assert layer(x[:0]).shape == (0, 2)
    with pytest.raises(InputError, match="shots is a whole number of at least 1, got 0"):
        layer.shots = 0


def test_the_identity_costs_no_shots() -> None:
    """Its value is its coefficient."""
    layer = QuantumLayer(hardware_efficient(2, 1), PauliSum({"I": 2.5}), shots=10)
    layer().backward()
    assert layer().item() == 2.5
    assert layer.shots_used == 0


def test_shots_under_noise() -> None:
    """Oracle: the exact noisy values, by density matrices. |z| < 6 for two means: false failures under 1e-8."""
    noise = NoiseModel(depolarizing_2q=0.1, readout=(0.02, 0.1))
    layer = QuantumLayer(angle_encoding(2) + hardware_efficient(2, 1), noise=noise, shots=100)
    x = torch.tensor([[0.3, 1.0]])
    with layer.exact(), torch.no_grad():
        exact = layer(x)[0]
    estimates = torch.cat([layer(x) for _ in range(20)]).detach()
    error = ((1 - exact**2) / 2000).sqrt()
    assert ((estimates.mean(0) - exact).abs() < 6 * error).all()
    with layer.exact(), layer.noiseless():
        assert (layer(x)[0] - exact).abs().max() > 0.01


def test_what_is_asked_for_again_is_simulated_once() -> None:
    """Equal circuits are measured anew, but simulated once; other weights, and other backends, are others' states."""
    counted = Counting()
    circuit = hardware_efficient(3, 1).freeze()
    sampler = Sampler(circuit, [PauliSum("Z0")])
    shots = Shots(1000, torch.Generator().manual_seed(0), ShotMeter())
    angles = torch.linspace(0, 1, 9)[None]
    with torch.no_grad():
        first, second = (sampler.sample(counted, angles, None, shots) for _ in range(2))
        calls = counted.calls
        assert not torch.equal(first, second)
        sampler.sample(counted, angles + 1, None, shots)
    assert (calls, counted.calls) == (1, 2)
    with torch.no_grad():
        sampler.sample(counted, (angles + 1).double(), None, shots)
    assert counted.calls == 3
    assert pickle.loads(pickle.dumps(sampler))._latest == []


class Counting(FusedBackend):
    """Counts simulations."""

    repeatable = True
    calls = 0

    def states(self, *arguments: Any, **named: Any) -> Tensor:
        self.calls += 1
        return super().states(*arguments, **named)
