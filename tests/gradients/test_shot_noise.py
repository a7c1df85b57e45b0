"""The source `shots`: exact gradient and shot noise, against draws and the closed formula."""

from __future__ import annotations

import math

import pytest
import torch

from torchbp import Circuit, PauliSum, QuantumLayer, weight
from torchbp.backends.shots import Sampler, ShotMeter, Shots
from torchbp.circuits import amplitude_encoding, angle_encoding, hardware_efficient
from torchbp.errors import InputError
from torchbp.gradients.shot_noise import ShotNoise, shot_noise


def layer() -> QuantumLayer:
    shared = weight()
    tail = Circuit(2).append("crx", (0, 1), shared).append("ry", 0, -2 * shared).append("rxx", (0, 1), shared + 0.3)
    observables = [PauliSum({"Z0": 1.0, "Z0 Z1": 0.5, "I": 3.0}), PauliSum("X1")]
    circuit = angle_encoding(2) + hardware_efficient(2, 1) + tail
    return QuantumLayer(circuit, observables, generator=torch.Generator().manual_seed(0))


X = torch.tensor([[0.3, -0.8], [1.1, 0.4]])
COTANGENT = torch.tensor([[0.7, -0.2], [0.1, 1.3]])


def test_gradient_is_autograds() -> None:
    """Oracle: autograd through exact states."""
    q = layer()
    (wanted,) = torch.autograd.grad((q(X) * COTANGENT).sum(), q.weights)
    torch.testing.assert_close(shot_noise(q, X, COTANGENT).gradient.float(), wanted, atol=1e-5, rtol=0)


def test_variance_is_that_of_repeated_draws() -> None:
    """Oracle: 3,000 sampled gradients; |z| < 6 for each weight's mean and variance: false failures under 1e-7."""
    q, shots, draws = layer(), 30, 3000
    expected = shot_noise(q, X, COTANGENT)
    repeated = q.weights.detach().expand(2 * draws, -1).clone().requires_grad_()
    plan = Shots(shots, torch.Generator().manual_seed(1), ShotMeter())
    sampler = Sampler(q.circuit, q.observables)
    y = sampler.expectations(q.backend, X.repeat(draws, 1), repeated, None, plan)
    (g,) = torch.autograd.grad((y * COTANGENT.repeat(draws, 1)).sum(), repeated)
    samples = g.view(draws, 2, -1).sum(1).double()
    variance = expected.single_shot_variance / shots
    assert ((samples.mean(0) - expected.gradient).abs() < 6 * (variance / draws).sqrt() + 1e-6).all()
    fourth = (samples - samples.mean(0)).pow(4).mean(0)
    assert ((samples.var(0) - variance).abs() < 6 * ((fourth - variance.square()) / draws).sqrt() + 1e-9).all()


def test_one_rotation_has_the_textbook_variance() -> None:
    """Oracle: Var[g] = (2 - E+^2 - E-^2) / (4 S) with S shots for each of both circuits."""
    t = 0.6
    q = QuantumLayer(Circuit(1).append("rx", 0, weight()), "Z0", init=torch.tensor([t]))
    noise = shot_noise(q, None, torch.ones(1, 1))
    plus, minus = math.cos(t + math.pi / 2), math.cos(t - math.pi / 2)
    variance = (2 - plus**2 - minus**2) / 4
    assert noise.gradient.item() == pytest.approx(-math.sin(t), abs=1e-6)
    assert noise.single_shot_variance.item() == pytest.approx(variance, abs=1e-6)
    assert noise.snr(100).item() == pytest.approx(math.sin(t) / math.sqrt(variance / 100), rel=1e-5)
    assert noise.shots_to_resolve().item() == pytest.approx(9 * variance / math.sin(t) ** 2, rel=1e-5)


def test_no_gradient_needs_infinitely_many_shots() -> None:
    """0 is not told from 0 by any number of shots, and no noise at all is no signal."""
    noise = ShotNoise(torch.tensor([0.0, 1e-9]), torch.tensor([1.0, 0.0]))
    assert noise.shots_to_resolve().tolist() == [math.inf, 0.0]
    assert noise.snr(10).tolist() == [0.0, math.inf]


def test_cotangent_of_a_wrong_shape() -> None:
    with pytest.raises(InputError, match=r"cotangent must have shape \(2, 2\), .*, got \(2, 1\)"):
        shot_noise(layer(), X, torch.ones(2, 1))


def test_amplitude_encoding_starts_from_the_encoded_state() -> None:
    """Oracle: autograd through exact states."""
    q = QuantumLayer(
        amplitude_encoding(2) + hardware_efficient(2, 1), generator=torch.Generator().manual_seed(2)
    ).double()
    x = torch.tensor([[0.1, 0.9, -0.3, 0.2], [0.5, 0.5, 0.1, -0.7]], dtype=torch.float64)
    cotangent = torch.tensor([[0.7, -0.2], [0.1, 1.3]], dtype=torch.float64)
    (wanted,) = torch.autograd.grad((q(x) * cotangent).sum(), q.weights)
    torch.testing.assert_close(shot_noise(q, x, cotangent).gradient, wanted)
