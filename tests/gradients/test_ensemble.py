"""Gradients over re-drawn weights against closed forms, and against one backward for each draw."""

import math
from collections.abc import Callable
from functools import cache

import numpy as np
import pytest
import torch
from helpers import global_cost, local_cost, one_rotation_per_wire
from torch import nn

from torchbp import QuantumLayer
from torchbp.circuits import PauliSum, angle_encoding, hardware_efficient, initialize
from torchbp.circuits.initializers import uniform
from torchbp.errors import InputError
from torchbp.gradients.ensemble import Ensemble, ensemble_gradients
from torchbp.gradients.groups import find_groups
from torchbp.gradients.stats import GradientStatistics, mean_variance

SAMPLES = 20_000


@cache
def variance_of(n: int, cost: Callable[[int], PauliSum]) -> float:
    layer = QuantumLayer(one_rotation_per_wire(n, "rx"), cost(n))
    generator = torch.Generator().manual_seed(n)
    return mean_variance(
        GradientStatistics.from_samples(ensemble_gradients(layer, samples=SAMPLES, generator=generator))
    )


@pytest.mark.parametrize("n", range(1, 7))
def test_closed_forms(n):
    """Var[g] = (1/8) (3/8)^(n-1) for the global cost and 1 / (8 n^2) for the local one (Cerezo 2021, 2001.00550).

    The variance of one weight from S draws has a standard error of sqrt((k - 1) / S), with a kurtosis k of
    (3/2) (35/18)^(n-1) and 3/2. Six of them: false failures under 1e-6 were it Gaussian; the mean over n weights is
    steadier still.
    """
    kurtosis = 1.5 * (35 / 18) ** (n - 1)
    assert variance_of(n, global_cost) == pytest.approx(
        (3 / 8) ** (n - 1) / 8, rel=6 * math.sqrt((kurtosis - 1) / SAMPLES)
    )
    assert variance_of(n, local_cost) == pytest.approx(1 / (8 * n**2), rel=6 * math.sqrt(0.5 / SAMPLES))


def test_slopes():
    """log2 Var against n falls by log2(3/8) = -1.415 for each wire; against log n by 2. Oracle: the closed forms.

    The slopes' standard errors are under 0.02 and 0.01 (from those above, by the formula for a fitted line): six of
    them.
    """
    wires = range(2, 7)
    slope = np.polyfit(wires, np.log2([variance_of(n, global_cost) for n in wires]), 1)[0]
    assert slope == pytest.approx(math.log2(3 / 8), abs=0.12)
    slope = np.polyfit(np.log2(wires), np.log2([variance_of(n, local_cost) for n in wires]), 1)[0]
    assert slope == pytest.approx(-2, abs=0.06)


@pytest.mark.parametrize("backend", ["fused", "torchquantum"])
def test_rows_are_backward_at_each_draw(backend, monkeypatch):
    """Oracle: one backward for each set of weights, drawn by the same generator; in several chunks too."""
    layer = QuantumLayer(angle_encoding(n_wires=2) + hardware_efficient(n_wires=2, depth=2), backend=backend)
    before = layer.weights.detach().clone()
    x = torch.randn(3, 2, generator=torch.Generator().manual_seed(0))
    slopes = torch.tensor([1.0, -2.0])
    found = ensemble_gradients(
        layer, x, samples=5, init="gaussian", cotangent=slopes, generator=torch.Generator().manual_seed(1)
    )
    monkeypatch.setattr("torchbp.gradients.ensemble._CHUNK", 24)
    generator = torch.Generator().manual_seed(1)
    chunks = ensemble_gradients(layer, x, samples=5, init="gaussian", cotangent=slopes, generator=generator)
    torch.testing.assert_close(chunks, found)
    assert torch.equal(layer.weights, before)
    assert layer.weights.grad is None
    generator = torch.Generator().manual_seed(1)
    for row in found:
        twin = QuantumLayer(layer.circuit, backend=backend, init="gaussian", generator=None)
        with torch.no_grad():
            twin.weights.copy_(initialize("gaussian", layer.circuit, generator))
        (twin(x) @ slopes).mean().backward()
        torch.testing.assert_close(row, twin.weights.grad, rtol=1e-4, atol=1e-6)


def model_and_loss():
    torch.manual_seed(0)
    layer = QuantumLayer(angle_encoding(n_wires=2) + hardware_efficient(n_wires=2, depth=2))
    model = nn.Sequential(nn.Linear(3, 2), layer, nn.Linear(2, 1))
    x = torch.randn(4, 3)
    return model, lambda batch: model(batch).square().mean(), x


def test_source():
    """The loss of a whole model. Oracle: one backward for each draw; the model is as before."""
    model, loss, x = model_and_loss()
    before = model[1].weights.detach().clone()
    groups = find_groups(model)
    source = Ensemble(samples=4, init=uniform, generator=torch.Generator().manual_seed(2))
    found = source.measure(model, loss, x, groups, scale=8.0)
    assert found.source == source.name == "ensemble"
    assert set(found.unmeasured) == {"0", "2"}
    assert torch.equal(model[1].weights, before)
    rows, generator = [], torch.Generator().manual_seed(2)
    for _ in range(4):
        model.zero_grad()
        with torch.no_grad():
            model[1].weights.copy_(uniform(model[1].circuit, generator))
        loss(x).backward()
        rows.append(model[1].weights.grad.clone())
    expected = GradientStatistics.from_samples(torch.stack(rows))
    quantum = found.statistics.split([len(g) for g in groups])[1:3]
    torch.testing.assert_close(torch.cat([s.mean for s in quantum]), expected.mean, rtol=1e-4, atol=1e-7)
    torch.testing.assert_close(torch.cat([s.variance for s in quantum]), expected.variance, rtol=1e-4, atol=1e-9)


def test_weights_come_back_after_an_error():
    """Oracle: the weights before."""
    model, _, x = model_and_loss()
    before = model[1].weights.detach().clone()

    def fail(batch):
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        Ensemble(4).measure(model, fail, x, find_groups(model))
    assert torch.equal(model[1].weights, before)


def test_errors():
    """Oracle: the messages."""
    model, loss, x = model_and_loss()
    layer = model[1]
    with pytest.raises(InputError, match="A variance needs at least 2 samples, got samples=1"):
        ensemble_gradients(layer, x[:, :2], samples=1)
    with pytest.raises(InputError, match=r"needs a tensor of features of shape \(batch, 2\), got nothing"):
        ensemble_gradients(layer)
    with pytest.raises(InputError, match=r"cotangent must have shape \(2,\) or \(4, 2\), got \(3,\)"):
        ensemble_gradients(layer, x[:, :2], cotangent=torch.ones(3))
    with pytest.raises(InputError, match="A variance needs at least 2 samples, got samples=1"):
        Ensemble(1).measure(model, loss, x, find_groups(model))
    with pytest.raises(InputError, match=r"no torchbp\.QuantumLayer in Linear whose weights to draw"):
        Ensemble(2).measure(model[0], loss, x, find_groups(model[0]))
