"""Information content against slopes with known statistics and against the gradients themselves."""

import math

import numpy as np
import pytest
import torch

from torchbp import Circuit, QuantumLayer, weight
from torchbp.circuits import angle_encoding, hardware_efficient
from torchbp.errors import InputError
from torchbp.gradients.ensemble import ensemble_gradients
from torchbp.trainability import information_content
from torchbp.trainability.information_content import content_curve


def test_curve_of_independent_gaussian_slopes() -> None:
    """Oracle: the maximum 6/9 log6 9 is where a third of the slopes counts as zero, e = 0.431 sigma."""
    slopes = np.random.default_rng(0).normal(size=(1, 200_000))
    thresholds, contents = content_curve(slopes)
    assert contents.max() == pytest.approx(6 / 9 * math.log(9) / math.log(6), abs=0.002)
    near = thresholds[contents > 0.999 * contents.max()]
    assert near.min() < 0.431 < near.max()
    assert contents[-1] == 0


def test_curve_by_hand() -> None:
    """Oracle: pairs counted by hand for the symbols + - 0 + at a threshold of 1: (+-), (-0), (0+), one third each."""
    slopes = np.array([[2.0, -3.0, 1.0, 4.0]])
    thresholds, contents = content_curve(slopes)
    at_one = contents[np.flatnonzero(thresholds >= 1)[0]]
    assert at_one == pytest.approx(math.log(3) / math.log(6))


def test_gradient_norm() -> None:
    """Oracle: adjoint gradients at 500 random points. Both estimates within 10% (their spread was 3 to 5%)."""
    layer = QuantumLayer(hardware_efficient(4, 6), "Z0 Z1").double()
    norms = ensemble_gradients(layer, samples=500, generator=torch.Generator().manual_seed(0)).norm(dim=1)
    found = information_content(layer, walks=128, steps=32, generator=torch.Generator().manual_seed(1))
    assert found.gradient_norm == pytest.approx(norms.mean().item(), rel=0.1)
    assert found.rms_gradient_norm == pytest.approx(norms.square().mean().sqrt().item(), rel=0.1)
    assert found.epsilon_max < found.epsilon_sensitive
    assert found.evaluations == 128 * 33


def test_inputs_enter_as_a_mean() -> None:
    """A batch of twice the same input is that input."""
    layer = QuantumLayer(angle_encoding(2) + hardware_efficient(2, 1))
    x = torch.tensor([[0.3, 0.9]])
    one, two = (
        information_content(layer, inputs, generator=torch.Generator().manual_seed(0)) for inputs in (x, x.repeat(2, 1))
    )
    assert one.gradient_norm == pytest.approx(two.gradient_norm, rel=1e-9)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"walks": 0}, "walks is a whole number of at least 1, got 0"),
        ({"steps": 1}, "steps is a whole number of at least 2, got 1"),
        ({"step": 0.0}, "step is a positive finite number, got 0"),
        ({"eta": 2}, "eta is a finite number above 0 and of at most 1, got 2"),
        ({"x": torch.zeros(0, 0)}, "at least one in x"),
    ],
)
def test_bad_arguments(options: dict, message: str) -> None:
    """Oracle: the messages."""
    with pytest.raises(InputError, match=message):
        information_content(QuantumLayer(hardware_efficient(2, 1)), **options)


def test_nothing_to_walk_through() -> None:
    """A circuit without weights has no landscape."""
    with pytest.raises(InputError, match="no weights to walk through"):
        information_content(QuantumLayer(Circuit(1).append("h", 0)))
    flat = QuantumLayer(Circuit(1).append("rz", 0, weight()), "Z0")
    assert information_content(flat, walks=1, steps=4).gradient_norm == pytest.approx(0, abs=1e-9)
