"""`go_down` and `steps_along` on functions whose minima are known in closed form."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn

from torchbp import QuantumLayer
from torchbp.circuits import hardware_efficient, tfim
from torchbp.diagnosis.descent import gain, go_down, steps_along
from torchbp.diagnosis.evidence import Gain


def bowl(unit: float = 1.0, offset: float = 0.0) -> tuple[nn.Parameter, object, object]:
    w = nn.Parameter(torch.tensor([2.0, -1.0], dtype=torch.float64))

    def loss() -> Tensor:
        return offset + unit * (3 * w[0] ** 2 + w[1] ** 2 / 2)

    return w, loss, lambda: torch.stack([loss().detach()])


@pytest.mark.parametrize(("unit", "offset"), [(1.0, 0.0), (1e-9, 0.0), (1e9, 0.0), (1.0, 1e3)])
def test_down_to_the_bottom_in_any_unit(unit: float, offset: float) -> None:
    """Oracle: the minimum of a quadratic form."""
    w, loss, judge = bowl(unit, offset)
    way = go_down(loss, judge, [w])  # type: ignore[arg-type]
    assert float(way.best) == pytest.approx(offset, abs=1e-6 * unit)
    assert way.gain.mean == pytest.approx(12.5 * unit, rel=1e-6)
    assert way.gain.error == 0.0


def test_it_stops_when_it_has_enough() -> None:
    w, loss, judge = bowl()
    assert go_down(loss, judge, [w], enough=0.1).evaluations < go_down(loss, judge, [w]).evaluations + 30  # type: ignore[arg-type]


def test_at_the_bottom_there_is_nothing_to_gain() -> None:
    w, loss, judge = bowl()
    with torch.no_grad():
        w.zero_()
    assert go_down(loss, judge, [w]).gain == Gain(0.0, 0.0, 1)  # type: ignore[arg-type]


def test_the_ground_state_of_a_chain() -> None:
    """Oracle: exact diagonalization; the ansatz is deep enough, and one of four starts gets there to a percent."""
    energy = tfim(3)
    ground = float(torch.linalg.eigvalsh(torch.as_tensor(energy.matrix(3)))[0])
    found = []
    for seed in range(4):
        circuit = hardware_efficient(3, 3, ("ry", "rz"))
        layer = QuantumLayer(circuit, energy, init="uniform", generator=torch.Generator().manual_seed(seed))
        layer.double()
        way = go_down(lambda q=layer: q().sum(), lambda q=layer: q().detach()[0], [layer.weights], evaluations=150)
        found.append(float(way.best))
    assert min(found) == pytest.approx(ground, rel=0.01)
    assert min(found) >= ground - 1e-9


def test_what_was_learned_by_heart_is_no_gain() -> None:
    """Judged by other data than the way was found by, noise can't be fitted. Oracle: the data's own distribution."""
    generator = torch.Generator().manual_seed(0)
    x, y = torch.randn(16, 12, generator=generator), torch.randn(16, generator=generator)
    other_x, other_y = torch.randn(64, 12, generator=generator), torch.randn(64, generator=generator)
    w = nn.Parameter(torch.zeros(12))
    way = go_down(
        lambda: (x @ w - y).square().mean(), lambda: (other_x @ w.detach() - other_y).square().view(8, 8).mean(1), [w]
    )
    assert not way.gain.exceeds(0.0)


def test_a_loss_without_a_gradient() -> None:
    w = nn.Parameter(torch.zeros(2))
    assert go_down(lambda: torch.ones(()), lambda: torch.ones(3), [w]).gain.mean == 0.0
    assert all(math.isnan(change) for change in steps_along(lambda: torch.ones(()), [w], 0.1))


def test_steps_along_the_gradient_of_a_parabola() -> None:
    """Oracle: L(w) = w^2 from w = 1: a step of length s ends at (1 - s)^2."""
    w = nn.Parameter(torch.ones(1, dtype=torch.float64))
    whole, shorter = steps_along(lambda: w.square().sum(), [w], 3.0)
    assert whole == pytest.approx(2**2 - 1)
    assert shorter == pytest.approx(0.1**2 - 1)  # a share of 0.3
    assert float(w.detach()) == 1.0


def test_gain_is_paired() -> None:
    """Oracle: by hand. What the parts have in common does not count."""
    found = gain(torch.tensor([1.0, 11.0, 101.0]), torch.tensor([0.5, 10.3, 100.4]))
    assert found.mean == pytest.approx(0.6, rel=1e-5)
    assert found.error == pytest.approx(0.1 / math.sqrt(3), rel=1e-4)
    assert found.exceeds(0.3)
    assert found.stays_below(0.8)
    assert not Gain(math.nan, 0.0, 1).exceeds(0.0)
    assert not Gain(math.nan, 0.0, 1).stays_below(1.0)
