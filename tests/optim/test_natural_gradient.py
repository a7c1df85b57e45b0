"""The Fubini-Study metric, the natural gradient, and its estimate from shots."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from torchbp import Circuit, QuantumLayer, weight
from torchbp.circuits import angle_encoding, hardware_efficient, tfim
from torchbp.errors import InputError
from torchbp.models.vqe import ground_energy
from torchbp.optim import QNSPSA, QuantumNaturalGradient
from torchbp.optim.fubini_study import condition, fubini_study, natural


def rich() -> QuantumLayer:
    """Features, a shared weight, one at double speed, and a rotation of four shifts."""
    w = weight()
    circuit = angle_encoding(n_wires=3) + hardware_efficient(3, 2)
    circuit.append("ry", 0, w).append("rx", 1, w).append("crx", (0, 1), weight()).append("rz", 0, 2 * weight())
    return QuantumLayer(circuit, init="uniform", generator=torch.Generator().manual_seed(0)).double()


def whole_metric(layer: QuantumLayer, x: Tensor | None) -> Tensor:
    """(P, P) by central differences of the states, whose error is about 1e-9."""
    weights, samples = layer.weights.detach(), 1 if x is None else len(x)

    def states(at: Tensor) -> Tensor:
        features = at.new_empty(len(at) * samples, 0) if x is None else x.repeat(len(at), 1)
        found = layer.backend.states(layer.circuit, features, at.repeat_interleave(samples, 0), None)
        return found.view(len(at), samples, -1)

    h = 1e-5 * torch.eye(len(weights), dtype=weights.dtype)
    slopes = (states(weights + h) - states(weights - h)) / 2e-5
    along = torch.einsum("pbk,bk->pb", slopes, states(weights[None])[0].conj())
    inner = torch.einsum("ibk,jbk->ij", slopes.conj(), slopes) - torch.einsum("ib,jb->ij", along.conj(), along)
    return inner.real / samples


def test_the_metric():
    """Oracle: finite differences of the states."""
    layer = rich()
    x = torch.rand(4, 3, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    wanted = whole_metric(layer, x)
    found = fubini_study(layer, x)
    assert list(found) == list(layer.weight_groups)
    for name, indices in layer.weight_groups.items():
        torch.testing.assert_close(found[name], wanted[list(indices)][:, list(indices)], rtol=0, atol=1e-8)


def test_a_rotation_by_itself():
    """Oracle: 1/4 for RY on |0>, 0 for RZ on it, whose state does not move; noise does not matter."""
    circuit = Circuit(2).append("ry", 0, weight()).append("rz", 1, weight())
    (metric,) = fubini_study(QuantumLayer(circuit, init=torch.tensor([0.3, 0.5]))).values()
    torch.testing.assert_close(metric, torch.diag(torch.tensor([0.25, 0.0], dtype=torch.float64)), atol=1e-7, rtol=0)
    assert condition({"": metric}, 0.01) == pytest.approx(26.0, rel=1e-4)


def test_a_step():
    """Two layers, one of them frozen, and a head. Oracle: numpy's solution, block by block; the rest stays."""
    model = nn.Sequential(rich(), nn.Linear(3, 3).double(), rich())
    model[2].requires_grad_(False)
    x = torch.rand(4, 3, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    optimizer = QuantumNaturalGradient(model, lr=0.1, damping=0.02)
    model(x).square().mean().backward()
    before = [p.detach().clone() for p in model.parameters()]
    gradient, metric = model[0].weights.grad.numpy(), fubini_study(model[0], x)
    optimizer.step()
    wanted = before[0].numpy().copy()
    for name, indices in model[0].weight_groups.items():
        own = list(indices)
        wanted[own] -= 0.1 * np.linalg.solve(metric[name].numpy() + 0.02 * np.eye(len(own)), gradient[own])
    np.testing.assert_allclose(model[0].weights.detach().numpy(), wanted, atol=1e-12)
    assert all(torch.equal(a, b) for a, b in zip(before[1:], list(model.parameters())[1:], strict=True))
    optimizer.close()
    assert not model[0]._forward_pre_hooks


def test_the_damping_bounds_a_step():
    """Along a direction that states do not notice. Oracle: by hand: gradient / damping."""
    layer = QuantumLayer(Circuit(1).append("rz", 0, weight()))
    found = natural(fubini_study(layer), layer, torch.tensor([0.3]), 0.1)
    assert float(found) == pytest.approx(3.0, rel=1e-5)


def test_it_is_faster_where_gradient_descent_is_slow():
    """An Ising chain, forty steps of each at the best of three rates. Oracle: the ground energy."""
    left = {}
    for name in ("sgd", "natural"):
        energies = []
        for rate in (0.03, 0.1, 0.3):
            generator = torch.Generator().manual_seed(3)
            layer = QuantumLayer(hardware_efficient(4, 2, ("ry", "rz")), tfim(4), init="uniform", generator=generator)
            if name == "sgd":
                optimizer = torch.optim.SGD(layer.parameters(), lr=rate)
            else:
                optimizer = QuantumNaturalGradient(layer, lr=rate)
            for _ in range(40):
                optimizer.zero_grad()
                layer().sum().backward()
                optimizer.step()
            energies.append(layer().sum().item())
        left[name] = min(energies) - ground_energy(tfim(4), 4)
    assert left["natural"] < 0.6 * left["sgd"], left


def energy(shots: int | None, seed: int = 0) -> QuantumLayer:
    generator = torch.Generator().manual_seed(seed)
    return QuantumLayer(
        hardware_efficient(2, 1, ("ry", "rz")), tfim(2), shots=shots, init="uniform", generator=generator
    )


def test_qnspsa_estimates_the_metric():
    """The mean of 400 samples at one point. Oracle: the exact metric; c^2 = 1e-4 biases it by less than 1e-3.

    A sample of an entry has a standard deviation below 1 (measured below); 6 standard errors are asserted, which a
    Gaussian exceeds twice in 1e9 entries.
    """
    layer = energy(None).double()
    search = QNSPSA(layer, perturbation=0.01)
    samples = torch.stack([search._sample(None) for _ in range(400)])
    error = samples.std(0) / 400**0.5
    assert float(error.max()) < 0.06
    assert bool(((samples.mean(0) - whole_metric(layer, None)).abs() < 6 * error + 1e-3).all())


def test_qnspsa_lowers_an_energy_and_counts_its_shots():
    """Six circuits a step, 2 groups for the two losses. Oracle: by hand; the ground energy."""
    layer = energy(200)
    search = QNSPSA(layer, lr=0.05)
    ground, start = ground_energy(tfim(2), 2), layer().sum().item()
    used = layer.shots_used
    for _ in range(150):
        search.step(lambda: layer().sum())
    assert layer.shots_used - used == 150 * 200 * (2 * 2 + 4)
    with layer.exact():
        assert layer().sum().item() - ground < 0.3 * (start - ground)


def test_qnspsa_resumes_and_is_a_transaction():
    """Saved in the middle; a closure that raises. Oracle: the search that was left alone, bit for bit."""
    ends = []
    for disturbed in (False, True):
        layer = energy(None)
        search = QNSPSA(layer, seed=4)
        for k in range(6):
            if disturbed and k == 3:
                before = layer.weights.detach().clone()
                with pytest.raises(ZeroDivisionError):
                    search.step(lambda: 1 / 0)
                torch.testing.assert_close(layer.weights.detach(), before, rtol=0, atol=1e-6)
                with torch.no_grad():
                    layer.weights.copy_(before)
                saved = search.state_dict()
                search = QNSPSA(layer, seed=9)
                search.load_state_dict(saved)
            search.step(lambda layer=layer: layer().sum())
        ends.append(layer.weights.detach().clone())
    assert torch.equal(*ends)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: QuantumNaturalGradient(nn.Linear(2, 2)), "needs a torchbp.QuantumLayer with trainable weights"),
        (lambda: QuantumNaturalGradient(energy(None), lr=0), "lr is a finite number above 0 .*, got 0"),
        (lambda: QuantumNaturalGradient(energy(None), damping=-1), "damping is a finite number above 0 .*, got -1"),
        (lambda: QuantumNaturalGradient(energy(None), samples=0), "samples is a whole number of at least 1, got 0"),
        (lambda: QNSPSA(energy(None), perturbation=0), "perturbation is a positive finite number, got 0"),
        (lambda: QNSPSA(energy(None)).step(), r"QNSPSA evaluates the loss: step\(closure\)"),
    ],
)
def test_messages(make, message):
    with pytest.raises(InputError, match=message):
        make()
