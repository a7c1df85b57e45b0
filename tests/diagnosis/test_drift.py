"""The reference circuit: what counts as a shift, and that measuring it changes nothing."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import pytest
import torch
from helpers import ReadsFirst
from torch import Tensor

from torchbp import PauliSum, QuantumLayer
from torchbp.backends.fused import FusedBackend
from torchbp.backends.noise import NoiseModel
from torchbp.backends.trajectories import TrajectoryBackend
from torchbp.circuits import angle_encoding, hardware_efficient
from torchbp.diagnosis.drift import Reference

EPS = torch.finfo(torch.float32).eps


class Fading(FusedBackend):
    """A machine whose contrast can be turned down."""

    contrast = 1.0

    def expectations(self, *arguments: Any, **options: Any) -> Tensor:
        return self.contrast * super().expectations(*arguments, **options)


def layer(seed: int = 0, **options: Any) -> QuantumLayer:
    circuit = angle_encoding(2) + hardware_efficient(2, 1)
    observables = [PauliSum("Z0"), PauliSum({"Z0 Z1": 3.0, "X0": 1.0})]
    return QuantumLayer(circuit, observables, generator=torch.Generator().manual_seed(seed), **options)


def test_values_are_the_layers_own() -> None:
    """Oracle: the layer at features 0.5, later at other weights."""
    q = layer()
    reference = Reference.of(q)
    assert torch.equal(reference.values, q(torch.full((1, 2), 0.5))[0].detach())
    with torch.no_grad():
        q.weights += 1.0
    assert reference.shift(q) == 0.0


@pytest.mark.parametrize(("shots", "unit"), [(None, math.sqrt(EPS)), (400, 0.05)])
def test_shift_is_in_standard_errors(shots: int | None, unit: float) -> None:
    """Oracle: an offset of 10 over sqrt(2) unit bound; with shots within 5%, ten of its own."""
    q = layer(shots=shots)
    reference = Reference.of(q)
    for output, bound in ((0, 1.0), (1, 4.0)):
        offset = torch.zeros(2)
        offset[output] = 10.0
        shift = replace(reference, values=reference.values + offset).shift(q)
        assert shift == pytest.approx(10 / (math.sqrt(2) * unit * bound), rel=0.05 if shots else 1e-5)


def test_a_fading_machine() -> None:
    """Oracle: a fifth less contrast, by hand; exact values show it at once."""
    backend = Fading()
    q = layer(backend=backend)
    reference = Reference.of(q)
    backend.contrast = 0.8
    wanted = max(0.2 * abs(float(v)) / b for v, b in zip(reference.values, (1, 4), strict=True))
    assert reference.shift(q) == pytest.approx(wanted / math.sqrt(2 * EPS), rel=1e-3)


@pytest.mark.parametrize(
    "options",
    [
        {"shots": 50},
        {"backend": TrajectoryBackend(NoiseModel(0.05, 0.1), 50, torch.Generator().manual_seed(7))},
        {
            "shots": 50,
            "backend": TrajectoryBackend(NoiseModel(0.05, 0.1), 50, torch.Generator().manual_seed(8)),
        },
        {"noise": NoiseModel(0.05, 0.1)},
    ],
    ids=["shots", "trajectories", "both", "noise"],
)
def test_a_steady_machine_does_not_drift(options: dict[str, Any]) -> None:
    """Oracle: never 5 standard errors in 20 measurements; seeded, and by Hoeffding a true one fails rarer than 1e-3."""
    q = layer(**options)
    reference = Reference.of(q)
    assert max(reference.shift(q) for _ in range(20)) < 5


def test_a_changed_machine_is_seen_through_shots() -> None:
    """Oracle: noise switched on halfway shifts by more than 5 standard errors at 100,000 shots."""
    q = layer(shots=100_000)
    reference = Reference.of(q)
    assert reference.shift(q) < 5
    noisy = layer(shots=100_000, noise=NoiseModel(0.1, 0.2))
    assert reference.shift(noisy) > 5


def test_weights_are_put_back() -> None:
    """Oracle: the parameter before, the same object with the same storage and gradient; after an error too."""
    q = layer()
    reference = Reference.of(q)
    with torch.no_grad():
        q.weights += 0.3
    parameter, values, storage = q.weights, q.weights.detach().clone(), q.weights.data_ptr()
    q(torch.zeros(1, 2)).sum().backward()
    gradient = q.weights.grad
    reference.shift(q)
    q.backend = None  # type: ignore[assignment]
    with pytest.raises(AttributeError):
        reference.shift(q)
    assert q.weights is parameter
    assert q.weights.data_ptr() == storage
    assert q.weights.grad is gradient
    assert torch.equal(q.weights, values)


def test_a_module_that_takes_more_features_than_it_reads() -> None:
    """Oracle: no shift of a layer that stays as it is."""
    q = QuantumLayer.from_torchquantum(ReadsFirst(), example=torch.zeros(1, 3))
    assert (q.n_features, q.circuit.n_features) == (3, 1)
    assert Reference.of(q).shift(q) == 0.0


def test_without_features_or_weights() -> None:
    """Oracle: no shift of a circuit without features, and of one without weights."""
    for circuit in (hardware_efficient(2, 1), angle_encoding(2)):
        q = QuantumLayer(circuit, generator=torch.Generator().manual_seed(0))
        assert Reference.of(q).shift(q) == 0.0
