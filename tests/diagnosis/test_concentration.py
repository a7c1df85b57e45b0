"""Variance of expectation values over parameter space, against closed forms and dense matrices."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from helpers import dense_expectations, one_rotation_per_wire

from torchbp import Circuit, PauliSum, QuantumLayer, feature
from torchbp.backends.noise import NoiseModel
from torchbp.circuits import angle_encoding, global_z, hardware_efficient, local_z
from torchbp.diagnosis.concentration import concentration
from torchbp.errors import InputError


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("gate", ["rx", "ry"])
@pytest.mark.parametrize("n_wires", [1, 2, 3])
def test_global_observable(gate: str, n_wires: int) -> None:
    """Oracle: Var[prod cos] = 2^-n, to six of its standard errors; false failures under 1e-8."""
    samples = 20_000
    layer = QuantumLayer(one_rotation_per_wire(n_wires, gate), global_z(n_wires), generator=generator())
    found = concentration(layer, samples=samples, generator=generator(1)).far
    error = math.sqrt(((3 / 8) ** n_wires - 4.0**-n_wires) / samples)
    assert abs(found - 2.0**-n_wires) < 6 * error


@pytest.mark.parametrize("gate", ["rx", "ry"])
def test_local_observable(gate: str) -> None:
    """Oracle: Var[cos] = 1/2 whatever the size, and of a sum of terms in units of its scale, features or not."""
    circuit = Circuit(3).append(gate, 0, feature(0))
    circuit = circuit + one_rotation_per_wire(3, gate)
    observables = [*local_z(3), PauliSum({"Z0": 3.0, "Z1": 4.0, "I": 10.0})]
    layer = QuantumLayer(circuit, observables, generator=generator())
    found = concentration(layer, torch.tensor([[0.3], [1.9]]), samples=20_000, generator=generator(1)).far
    assert abs(found - 0.5) < 6 * math.sqrt(1 / 8 / 20_000)


@pytest.mark.parametrize("angle", [0.0, 0.7, math.pi / 2])
def test_near(angle: float) -> None:
    """Oracle: the variance of cos(angle + u), u in U(-r, r), by the integrals; relative error under 15% (6 sigma)."""
    r = 0.4
    layer = QuantumLayer(one_rotation_per_wire(1, "ry"), init=torch.tensor([angle]))
    found = concentration(layer, samples=20_000, radius=r, generator=generator())
    mean, square = math.cos(angle) * math.sin(r) / r, 0.5 + math.cos(2 * angle) * math.sin(2 * r) / (4 * r)
    assert found.near == pytest.approx(square - mean**2, rel=0.15)
    assert found.radius == r


@pytest.mark.parametrize("observables", [local_z(4), [global_z(4)], [PauliSum({"X0 Y3": 2.0, "Z1": -1.0})]])
def test_deep_circuits_are_two_designs(observables: list[PauliSum]) -> None:
    """Oracle: 1 / (2^n + 1); within 15%, six standard errors of a variance from 4,000 draws and more."""
    layer = QuantumLayer(hardware_efficient(4, 12), observables, generator=generator())
    found = concentration(layer, samples=4000, generator=generator(2))
    assert found.two_design == 1 / 17
    assert found.far == pytest.approx(found.two_design, rel=0.15)


def test_same_draws_in_dense_matrices() -> None:
    """Oracle: numpy's variance of dense expectation values at the very same weights, two inputs."""
    circuit = angle_encoding(2) + hardware_efficient(2, 2)
    observables = [PauliSum("Z0"), PauliSum({"X0": 1.0, "Z0 Z1": -2.0}), PauliSum("Y1")]
    layer = QuantumLayer(circuit, observables, generator=generator()).double()
    x = torch.tensor([[0.2, -0.4], [0.9, 1.3], [5.0, 5.0]], dtype=torch.float64)
    found = concentration(layer, x, samples=8, radius=0.3, max_inputs=2, generator=generator(3))
    draws = 2 * torch.rand(8, circuit.n_weights, generator=generator(3), dtype=torch.float64).numpy() - 1
    for value, weights in ((found.far, math.pi * draws), (found.near, layer.weights.detach().numpy() + 0.3 * draws)):
        outputs = np.array([dense_expectations(circuit, observables, x[:2], w) for w in weights])
        scaled = outputs.var(axis=0, ddof=1) / np.array([1.0, 5.0, 1.0])
        assert value == pytest.approx(np.sort(scaled, axis=None)[2], rel=1e-9)  # the lower of the middle two
    assert found.evaluations == 2 * 8 * 2


def test_noise_is_honoured() -> None:
    """Oracle: depolarizing shrinks <Z> by a factor that weight 0 shows, so the variance by its square, draw by draw."""
    noise = NoiseModel(depolarizing_1q=0.2)
    circuit = one_rotation_per_wire(1, "rx")
    noisy, pure = QuantumLayer(circuit, noise=noise, init=torch.zeros(1)), QuantumLayer(circuit, init=torch.zeros(1))
    factor = float(noisy().detach())
    assert 0.5 < factor < 0.9
    found, wanted = (concentration(layer, samples=50, generator=generator()) for layer in (noisy, pure))
    assert found.far == pytest.approx(factor**2 * wanted.far, rel=1e-4)
    assert found.near == pytest.approx(factor**2 * wanted.near, rel=1e-3)
    with noisy.noiseless():
        assert concentration(noisy, samples=50, generator=generator()).far == pytest.approx(wanted.far, rel=1e-5)


def test_seeds_reproduce() -> None:
    """Oracle: the same again, and another seed gives something else."""
    layer = QuantumLayer(hardware_efficient(2, 2), generator=generator())
    first, again, other = (concentration(layer, generator=generator(s)) for s in (5, 5, 6))
    assert first == again
    assert first.far != other.far


def test_changes_nothing() -> None:
    """Oracle: weights, gradients and random streams before; no shots are spent, and the values are exact ones."""
    layer = QuantumLayer(hardware_efficient(2, 1), shots=10, generator=generator())
    weights, state = layer.weights.detach().clone(), torch.get_rng_state()
    stream = layer.shot_generator.get_state()
    found = concentration(layer, generator=generator(1))
    with layer.exact():
        assert found == concentration(layer, generator=generator(1))
    assert torch.equal(layer.weights, weights)
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.equal(layer.shot_generator.get_state(), stream)
    assert layer.weights.grad is None
    assert layer.shots_used == 0


def test_constants_are_left_out() -> None:
    """Oracle: the same layer without the constant observable."""
    circuit = one_rotation_per_wire(1, "rx")
    with_it = QuantumLayer(circuit, [PauliSum("I"), PauliSum("Z0")], generator=generator())
    without = QuantumLayer(circuit, [PauliSum("Z0")], generator=generator())
    found, wanted = (concentration(layer, generator=generator(1)) for layer in (with_it, without))
    assert (found.far, found.near) == pytest.approx((wanted.far, wanted.near), rel=1e-9)


def test_bad_arguments() -> None:
    """Oracle: the messages."""
    layer = QuantumLayer(angle_encoding(2) + hardware_efficient(2, 1))
    with pytest.raises(InputError, match="needs at least 2 samples, got samples=1"):
        concentration(layer, torch.zeros(1, 2), samples=1)
    with pytest.raises(InputError, match=r"needs a tensor of features of shape \(batch, 2\), got nothing"):
        concentration(layer)
    with pytest.raises(InputError, match=r"reads 2 features: x must have shape .*, got \(1, 3\)"):
        concentration(layer, torch.zeros(1, 3))
    with pytest.raises(InputError, match="at least one input, got none"):
        concentration(layer, torch.zeros(0, 2))
