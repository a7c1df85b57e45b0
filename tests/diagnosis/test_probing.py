"""What is gathered from one batch, against autograd and the same evaluations by hand."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from torchbp import Circuit, PauliSum, QuantumLayer, weight
from torchbp.backends.noise import NoiseModel
from torchbp.circuits import angle_encoding, hardware_efficient
from torchbp.diagnosis.probing import loss_landscape, passage, shot_signal
from torchbp.errors import InputError
from torchbp.gradients.shot_noise import shot_noise

X = torch.tensor([[0.3, -0.8], [1.1, 0.4], [-0.2, 0.9]])
Y = torch.tensor([[0.5], [-0.1], [0.2]])


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def quantum(**options: object) -> QuantumLayer:
    observables = [PauliSum("Z0"), PauliSum({"Z0 Z1": 0.5, "X1": -2.0, "I": 7.0})]
    circuit = angle_encoding(2) + hardware_efficient(2, 1)
    return QuantumLayer(circuit, observables, generator=generator(), **options)  # type: ignore[arg-type]


def model_of(layer: QuantumLayer) -> nn.Sequential:
    torch.manual_seed(1)
    return nn.Sequential(nn.Linear(2, 2), layer, nn.Linear(2, 1))


def loss_of(model: nn.Module) -> Callable[[], Tensor]:
    return lambda: (model(X) - Y).square().mean()


@pytest.mark.parametrize("shots", [None, 5])
def test_passage(shots: int | None) -> None:
    """Oracle: the parts of the model called one by one, and autograd; finite shots are left aside."""
    layer = quantum(shots=shots)
    model = model_of(layer)
    way = passage(layer, loss_of(model))
    x = model[0](X).detach()
    with layer.exact():
        y = layer(x).detach().requires_grad_()
    loss = (model[2](y) - Y).square().mean()
    (wanted,) = torch.autograd.grad(loss, y)
    torch.testing.assert_close(way.x, x)
    torch.testing.assert_close(way.cotangent, wanted)
    assert way.loss == pytest.approx(float(loss.detach()))
    assert not way.cotangent.requires_grad
    assert layer.shots == shots
    assert layer.shots_used == 0


def test_passage_gives_the_gradient_of_the_weights() -> None:
    """Oracle: autograd of the whole model."""
    layer = quantum()
    loss = loss_of(model_of(layer))
    way = passage(layer, loss)
    (wanted,) = torch.autograd.grad(loss(), layer.weights)
    torch.testing.assert_close(layer.per_sample_gradients(way.x, way.cotangent).sum(0), wanted)


def test_passage_of_sequences() -> None:
    """Each position is a sample. Oracle: the same samples as one batch."""
    layer = quantum()
    x = torch.stack([X, -X, 2 * X], 1)
    one = passage(layer, lambda: layer(x).sin().sum())
    two = passage(layer, lambda: layer(x.flatten(0, 1)).sin().sum())
    assert one.x is not None
    assert two.x is not None
    torch.testing.assert_close(one.x, two.x)
    torch.testing.assert_close(one.cotangent, two.cotangent)


def test_passage_leaves_no_trace() -> None:
    """Oracle: hooks, gradients and the next output before."""
    layer = quantum()
    model = model_of(layer)
    before = model(X)
    passage(layer, loss_of(model))
    assert len(layer._forward_hooks) == 0
    assert all(p.grad is None for p in model.parameters())
    assert torch.equal(model(X), before)
    with pytest.raises(ZeroDivisionError):
        passage(layer, lambda: layer(X).sum() * (1 // 0))
    assert len(layer._forward_hooks) == 0


def test_passage_by_keyword_without_features_and_under_no_grad() -> None:
    """Oracle: what was passed in."""
    layer = quantum()
    with torch.no_grad():
        way = passage(layer, lambda: layer(x=X).sum())
    torch.testing.assert_close(way.x, X)
    plain = QuantumLayer(hardware_efficient(2, 1))
    way = passage(plain, lambda: plain().sum())
    assert way.x is None
    assert torch.equal(way.cotangent, torch.ones(1, 2))


def test_passage_of_frozen_weights() -> None:
    """Oracle: the cotangent does not care what is trainable."""
    layer = quantum()
    wanted = passage(layer, lambda: layer(X).square().sum()).cotangent
    layer.requires_grad_(False)
    assert torch.equal(passage(layer, lambda: layer(X).square().sum()).cotangent, wanted)


def test_passage_follows_the_first_call() -> None:
    """Oracle: by hand: dL/dy of y = layer(x) in L = sum(layer(y)) + sum(3 y)."""
    layer = quantum()

    def loss() -> Tensor:
        y = layer(X)
        return layer(y).sum() + 3 * y.sum()

    y = layer(X).detach().requires_grad_()
    (wanted,) = torch.autograd.grad(layer(y).sum() + 3 * y.sum(), y)
    torch.testing.assert_close(passage(layer, loss).cotangent, wanted)


def test_scale() -> None:
    """Oracle: sum over batch and outputs of |dL/dy| (|0.5| + |-2|, or 1), by hand; the constant 7 does not move."""
    layer = quantum()
    target = torch.tensor([[1.0, -2.0], [0.5, 0.0], [0.0, 3.0]])
    way = passage(layer, lambda: (layer(X) * target).sum())
    assert way.scale(layer) == pytest.approx(1.5 * 1.0 + 5.0 * 2.5)


def test_scale_bounds_the_change_of_a_linear_loss() -> None:
    """Oracle: 200 random weights; the loss of a linear readout never changes by more than twice its scale."""
    layer = quantum()
    loss = lambda: (layer(X) * Y).sum()  # noqa: E731
    scale, here = passage(layer, loss).scale(layer), float(loss().detach())
    for seed in range(200):
        with torch.no_grad():
            layer.weights.copy_(7 * torch.rand(layer.weights.shape, generator=generator(seed)))
        assert abs(float(loss().detach()) - here) <= 2 * scale


def test_loss_landscape() -> None:
    """Oracle: the same weights put in by hand, the loss evaluated, numbers by torch."""
    layer = quantum()
    loss = loss_of(model_of(layer))
    found = loss_landscape(layer, loss, samples=20, generator=generator(5))
    here = float(loss().detach())
    source, values = generator(5), []
    for _ in range(20):
        with torch.no_grad():
            draw = torch.rand(layer.weights.shape, generator=source, dtype=torch.float64)
            layer.weights.copy_(math.pi * (2 * draw - 1))
            values.append(float(loss()))
    drawn = torch.tensor(values, dtype=torch.float64)
    assert found.here == pytest.approx(here, rel=1e-6)
    assert (found.mean, found.std) == pytest.approx((float(drawn.mean()), float(drawn.std())), rel=1e-6)
    assert found.share_better == float((drawn < here).double().mean())


def test_loss_landscape_of_one_rotation() -> None:
    """Oracle: cos of a uniform angle: mean 0, deviation sqrt(1/2), half below 0; six standard errors of 2,000 draws."""
    layer = QuantumLayer(Circuit(1).append("ry", 0, weight()), init=torch.tensor([math.pi / 2]))
    found = loss_landscape(layer, lambda: layer().sum(), samples=2000, generator=generator())
    assert abs(found.mean) < 6 * math.sqrt(0.5 / 2000)
    assert found.std == pytest.approx(math.sqrt(0.5), rel=0.05)
    assert abs(found.share_better - 0.5) < 6 * 0.5 / math.sqrt(2000)
    assert found.here == pytest.approx(0.0, abs=1e-6)


def test_shot_signal_of_a_whole_batch() -> None:
    """Oracle: `shot_noise`: the middle SNR (the lower of two), and the shots at which it would be 3."""
    layer = quantum()
    way = passage(layer, lambda: (layer(X) - 0.3).square().mean())
    found = shot_signal(layer, way, 50)
    ratios = shot_noise(layer, X, way.cotangent).snr(50).sort().values
    assert found.shots == 50
    assert found.snr == pytest.approx(float(ratios[(len(ratios) - 1) // 2]), rel=1e-5)
    assert shot_signal(layer, way, round(found.shots_to_resolve)).snr == pytest.approx(3, rel=0.05)


def test_shot_signal_of_a_part_stands_for_the_whole() -> None:
    """Oracle: the whole batch; where all samples are equal, a part scaled to its size is exact."""
    layer = quantum()
    same = X[:1].expand(12, -1)
    way = passage(layer, lambda: layer(same).square().mean())
    whole = shot_signal(layer, way, 100)
    part = shot_signal(layer, way, 100, max_circuits=2 * 2 * layer.weights.numel() * 3)
    assert part.snr == pytest.approx(whole.snr, rel=1e-4)
    assert shot_signal(layer, way, 100, max_circuits=1).snr == pytest.approx(whole.snr, rel=1e-4)


def test_shot_signal_without_gradient() -> None:
    """Oracle: at a stationary point, and for a dead weight, no number of shots helps."""
    layer = QuantumLayer(Circuit(1).append("rx", 0, weight()), init=torch.zeros(1)).double()
    way = passage(layer, lambda: layer().sum())
    found = shot_signal(layer, way, 10)
    assert found.snr < 1e-12
    assert found.shots_to_resolve > 1e20
    dead = QuantumLayer(Circuit(2).append("rx", 1, weight()), "Z0", init=torch.zeros(1))
    assert shot_signal(dead, passage(dead, lambda: dead().sum()), 10).shots_to_resolve == math.inf


def test_shot_signal_has_the_noise_model() -> None:
    """Oracle: the same layer without noise: depolarizing leaves less contrast, and the SNR is lower."""
    noisy, pure = quantum(noise=NoiseModel(0.1, 0.2)), quantum()
    found, wanted = (shot_signal(q, passage(q, lambda q=q: q(X).sum()), 100) for q in (noisy, pure))  # type: ignore[misc]
    assert found.snr < 0.9 * wanted.snr


@pytest.mark.parametrize("probe", [loss_landscape])
def test_weights_are_put_back(probe: Callable[..., object]) -> None:
    """Oracle: weights bit for bit, shots and gradients before; after an error in the loss too."""
    layer = quantum(shots=7)
    loss, calls = loss_of(model_of(layer)), 0
    weights = layer.weights.detach().clone()

    def failing() -> Tensor:
        nonlocal calls
        calls += 1
        if calls == 3:
            raise KeyError("mine")
        return loss()

    with pytest.raises(KeyError, match="mine"):
        probe(layer, failing, generator=generator())
    assert torch.equal(layer.weights, weights)
    probe(layer, loss, generator=generator())
    assert torch.equal(layer.weights, weights)
    assert (layer.shots, layer.shots_used) == (7, 0)
    assert layer.weights.grad is None


def test_skipped_batches() -> None:
    """A loss of None is not a number. Oracle: by definition."""
    layer = quantum()
    assert math.isnan(loss_landscape(layer, lambda: None, samples=2).here)


def test_messages() -> None:
    """Oracle: the messages."""
    layer = quantum()
    for loss in (lambda: None, lambda: torch.zeros(()), lambda: torch.zeros((), requires_grad=True).sum()):
        with pytest.raises(InputError, match="must come from the quantum layer's output, by a differentiable way"):
            passage(layer, loss)
    with pytest.raises(InputError, match="must come from the quantum layer's output"):
        passage(layer, lambda: layer(X).detach().sum())

    def aside() -> Tensor:
        layer(X)
        return layer.weights.sum()

    with pytest.raises(InputError, match="must depend on the quantum layer's output"):
        passage(layer, aside)
