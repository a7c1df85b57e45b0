"""`pretrain`: what it leaves as it was, what it reaches, and why it ends."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from torchbp import PauliSum, QuantumLayer, pretrain
from torchbp.backends import NoiseModel, PropagationBackend
from torchbp.circuits import alternating_layered, angle_encoding, hardware_efficient, initialize, tfim
from torchbp.errors import CapacityError, InputError
from torchbp.models import VQE


def chain(n: int, **options) -> QuantumLayer:
    generator = torch.Generator().manual_seed(0)
    circuit = alternating_layered(n, 1)
    start = initialize("clifford_search", circuit, generator, observable=tfim(n), sweeps=1, restarts=1)
    start = start + 0.05 * torch.randn(circuit.n_weights, generator=generator)
    return QuantumLayer(circuit, tfim(n), init=start, **options)


def test_energy_of_a_chain() -> None:
    """Oracle: exact diagonalization of 8 wires. No shots are spent; backend, shots, noise and gradients stay."""
    layer = chain(8, shots=100, noise=NoiseModel(depolarizing_2q=0.01))
    layer.weights.grad = torch.ones_like(layer.weights)
    before = layer.backend, layer.noise, layer.shots, layer.shots_used
    steps = []
    found = pretrain(layer, steps=60, progress=lambda step, loss: steps.append((step, loss)))
    assert (layer.backend, layer.noise, layer.shots, layer.shots_used) == before
    assert (layer.weights.grad == 1).all()
    assert [loss for _, loss in steps] == list(found.losses)
    assert found.stopped == "steps"
    with layer.noiseless(), layer.exact():
        reached = layer().item()
    assert reached == pytest.approx(found.losses[found.best], abs=5e-3)
    lowest = float(torch.linalg.eigvalsh(torch.from_numpy(tfim(8).matrix(8)))[0])
    assert lowest < reached < 0.95 * lowest
    assert "loss" in str(found)


def test_lightning_modules_and_losses_of_ones_own() -> None:
    """A VQE by its energy; a hybrid network by a given loss, whose classical weights stay."""
    vqe = VQE(tfim(6), depth=1)
    start = vqe.exact_energy()
    found = pretrain(vqe, steps=20)
    assert vqe.exact_energy() < start - 0.5
    assert vqe.exact_energy() == pytest.approx(found.losses[found.best], abs=5e-3)
    torch.manual_seed(0)
    net = nn.Sequential(QuantumLayer(angle_encoding(3) + hardware_efficient(3, 1)), nn.Linear(3, 1))
    x, kept = torch.randn(4, 3), net[1].weight.detach().clone()
    found = pretrain(net, lambda: (net(x) - 1).square().mean(), steps=10)
    assert found.losses[found.best] < found.losses[0]
    assert torch.equal(net[1].weight, kept)


def test_it_ends_where_truncation_grows() -> None:
    """Far from Clifford points strings become too many, or what is dropped too much: the best so far stays."""
    layer = QuantumLayer(hardware_efficient(8, 3), tfim(8))
    for backend, tolerance, stopped in (
        (PropagationBackend(1e-5, max_terms=1200), 1.0, "terms"),
        (PropagationBackend(1e-3), 1e-6, "truncation"),
    ):
        with torch.no_grad():
            layer.weights.normal_(0, 1e-3, generator=torch.Generator().manual_seed(0))
        found = pretrain(layer, steps=30, learning_rate=0.3, backend=backend, tolerance=tolerance)
        assert found.stopped == stopped
        assert len(found.losses) < 31
        assert torch.isfinite(layer.weights).all()


def test_errors() -> None:
    with pytest.raises(InputError, match="there is none in Linear"):
        pretrain(nn.Linear(1, 1))
    with pytest.raises(InputError, match="steps is a whole number of at least 1, got 0"):
        pretrain(chain(2), steps=0)
    with pytest.raises(InputError, match="must depend on the weights of the quantum layers"):
        pretrain(chain(2), lambda: torch.zeros(()))
    deep = QuantumLayer(hardware_efficient(6, 3), PauliSum("Z0"), init="uniform")
    with pytest.raises(CapacityError, match="max_terms=10"):
        pretrain(deep, backend=PropagationBackend(0.0, max_terms=10))


def test_a_loss_that_is_no_number_ends_it() -> None:
    layer, calls = chain(3), []

    def loss():
        calls.append(None)
        return layer().sum() * (math.nan if len(calls) > 3 else 1.0)

    found = pretrain(layer, loss, steps=10)
    assert found.stopped == "loss"
    assert len(found.losses) == 3
