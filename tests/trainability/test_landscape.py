"""Slices, planes of training paths and curvatures against direct evaluation, closed forms and autograd."""

import json
import math

import pytest
import torch
from torch import nn

from torchbp import Circuit, QuantumLayer, weight
from torchbp.circuits import angle_encoding, hardware_efficient, local_z, tfim
from torchbp.errors import InputError
from torchbp.trainability import curvatures, landscape, training_path


def seeded(number: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(number)


def layer_of(depth: int = 1) -> QuantumLayer:
    return QuantumLayer(angle_encoding(2) + hardware_efficient(2, depth), local_z(2), generator=seeded()).double()


X = torch.tensor([[0.3, 1.2], [-0.7, 0.4], [2.0, 0.1]], dtype=torch.float64)


def test_one_weight_shows_its_sinusoid() -> None:
    """Oracle: <Z> after RX is cos."""
    layer = QuantumLayer(Circuit(1).append("rx", 0, weight()), "Z0", init=torch.tensor([0.4])).double()
    found = landscape(layer, directions=torch.ones(1), points=41)
    torch.testing.assert_close(found.values, (found.axes[0] + 0.4).cos(), atol=1e-7, rtol=0)
    assert found.at_center == pytest.approx(math.cos(0.4))
    assert found.values.shape == (41,)
    assert found.spread == pytest.approx(2, abs=0.02)


def test_values_are_the_layers_own() -> None:
    """Oracle: the layer with its weights moved, one point at a time; a loss, and a whole model's closure."""
    layer, before = layer_of(), torch.get_rng_state()

    def loss(y: torch.Tensor) -> torch.Tensor:
        return y.square().mean()

    def closure() -> torch.Tensor:
        return loss(layer(X))

    found = landscape(layer, X, loss=loss, points=5, span=0.7, generator=seeded(1))
    assert found.values.shape == (5, 5)
    torch.testing.assert_close(found.directions @ found.directions.T, torch.eye(2).double())
    a, b = found.axes
    with layer.weights_at(found.center + a[1] * found.directions[0] + b[4] * found.directions[1]):
        assert found.values[1, 4].item() == pytest.approx(closure().item(), abs=1e-12)
    assert found.values[2, 2].item() == pytest.approx(found.at_center)
    whole = landscape(layer, closure=closure, points=5, span=0.7, generator=seeded(1))
    torch.testing.assert_close(whole.values, found.values)
    plain = landscape(layer, X, points=3, directions=1, generator=seeded(1))
    assert plain.at_center == pytest.approx(layer(X).sum(1).mean().item())
    assert torch.equal(before, torch.get_rng_state())
    assert layer.weights.grad is None


def test_the_same_dropout_at_every_point() -> None:
    """A model with dropout has a smooth landscape, not one with holes: equal points have equal values."""
    layer = layer_of()
    head = nn.Sequential(nn.Dropout(0.5), nn.Linear(2, 1)).double()
    found = landscape(layer, closure=lambda: head(layer(X)).mean(), directions=torch.zeros(6), points=4)
    assert found.spread == 0


def test_a_flat_path_lies_in_its_plane() -> None:
    """Oracle: a spiral in a known plane: all of its spread is explained, and its points are where they were."""
    t = torch.linspace(0, 3, 20, dtype=torch.float64)
    plane = torch.linalg.qr(torch.randn(12, 2, generator=seeded(), dtype=torch.float64))[0].T
    weights = 0.3 + torch.stack([(3 - t) * t.cos(), (3 - t) * t.sin()], 1) @ plane
    path = training_path(weights)
    assert sum(path.explained) == pytest.approx(1)
    assert path.explained[0] > path.explained[1] > 0
    torch.testing.assert_close(path.center + path.coordinates @ path.directions, weights)
    found = landscape(layer_of(2), X, path=list(weights), points=5)
    assert found.path is not None
    assert found.axes[0][0] < found.path.coordinates[:, 0].min()
    assert found.axes[1][-1] > found.path.coordinates[:, 1].max()
    with layer_of(2).weights_at(weights[-1]):
        assert torch.equal(found.center, weights[-1])
    assert json.loads(json.dumps(found.to_dict()))["explained"] == list(found.path.explained)


def test_progress() -> None:
    """The hook hears of every chunk, last of all points."""
    calls: list[tuple[int, int]] = []
    landscape(layer_of(), X, points=20, progress=lambda done, total: calls.append((done, total)))
    assert calls == [(256, 401), (401, 401)]


def test_curvatures_are_autograds() -> None:
    """Oracle: first and second derivatives by autograd, for scales other than one too."""
    circuit = Circuit(2).append("ry", 0, weight()).append("rx", 1, 2 * weight()).append("cnot", (0, 1))
    circuit.append("rzz", (0, 1), -0.5 * weight()).append("ry", 1, weight() + 0.3)
    layer = QuantumLayer(circuit, tfim(2), init="uniform", generator=seeded(2)).double()
    found = curvatures(layer)
    point = layer.weights.detach()

    def cost(w: torch.Tensor) -> torch.Tensor:
        return layer.backend.expectations(layer.circuit, layer.observables, w.new_empty(1, 0), w).sum()

    hessian = torch.autograd.functional.hessian(cost, point)
    torch.testing.assert_close(found.gradient, torch.autograd.functional.jacobian(cost, point))
    torch.testing.assert_close(found.curvature, hessian.diagonal())
    assert found.exact.all()
    assert found.cost == pytest.approx(cost(point).item())
    line = landscape(layer, directions=torch.eye(4)[1], points=201)
    assert line.spread == pytest.approx(2 * found.amplitude[1].item(), rel=1e-3)


def test_curvatures_that_are_no_sinusoids_say_so() -> None:
    """Shared weights, controlled rotations and losses that bend: not exact. Other weights of the same circuit are."""
    shared = weight()
    circuit = Circuit(2).append("ry", 0, shared).append("rx", 1, shared).append("crx", (0, 1), weight())
    layer = QuantumLayer(circuit.append("ry", 1, weight()), "Z1")
    assert curvatures(layer).exact.tolist() == [False, False, True]
    assert not curvatures(layer, loss=lambda y: y.square().mean()).exact.any()


def test_a_minimum_has_positive_curvatures_only() -> None:
    """Oracle: cos has its minimum at pi; at 0, a maximum."""
    layer = QuantumLayer(Circuit(1).append("rx", 0, weight()), "Z0", init=torch.tensor([math.pi])).double()
    found = curvatures(layer)
    assert (found.positive, found.cost) == (1, pytest.approx(-1))
    assert found.curvature.item() == pytest.approx(1)
    assert curvatures(layer, at=torch.zeros(1)).positive == 0
    assert json.dumps(found.to_dict())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"points": 2}, "points is a whole number of at least 3, got 2"),
        ({"span": -1.0}, "span is a positive finite number, got -1.0"),
        ({"center": torch.zeros(3)}, r"6 weights: center must have shape \(6,\), got \(3,\)"),
        ({"directions": 3}, "directions is 1 or 2 .* got 3"),
        ({"directions": torch.zeros(3)}, r"have shape \(6,\) or \(2, 6\), got \(3,\)"),
        ({"path": torch.zeros(2, 6)}, r"needs 3 steps and 2 weights or more, got \(2, 6\)"),
        ({"path": torch.zeros(4, 6)}, "never change: it spans no plane"),
        ({"path": torch.rand(4, 5)}, r"6 weights: path must have shape \(6,\), got \(5,\)"),
        ({"path": [torch.zeros(2), torch.zeros(3)]}, "A path is"),
        ({"path": torch.rand(4, 6), "center": torch.zeros(6)}, "give path or center"),
        ({"closure": lambda: torch.zeros(()), "x": X}, "give it alone, or x and loss"),
        ({"closure": lambda: torch.zeros(2)}, r"one number, got shape \(2,\): reduce it"),
        ({"loss": lambda y: 1.0}, "one number, got float"),
        ({"x": torch.zeros(0, 2)}, "at least one in x"),
    ],
)
def test_bad_arguments(options: dict, message: str) -> None:
    """Oracle: the messages."""
    options = options if "closure" in options else {"x": X.float(), **options}
    layer = QuantumLayer(angle_encoding(2) + hardware_efficient(2, 1))
    with pytest.raises(InputError, match=message):
        landscape(layer, **options)
