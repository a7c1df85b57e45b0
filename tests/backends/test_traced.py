"""Layers that are exported, traced, or differentiated in batches: the same numbers, and nothing left behind."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from torchbp import QuantumLayer
from torchbp.backends import NoiseModel, TrajectoryBackend
from torchbp.circuits import PauliSum, angle_encoding, hardware_efficient
from torchbp.errors import BackendError

OBSERVABLES = ["Z0", PauliSum({"X0 Y1": 0.5, "Z1": -1.0})]


def features(batch: int) -> Tensor:
    return torch.rand(batch, 2, generator=torch.Generator().manual_seed(1))


def layer(**options: Any) -> QuantumLayer:
    circuit = angle_encoding(2) + hardware_efficient(2, 2)
    return QuantumLayer(circuit, OBSERVABLES, init="uniform", generator=torch.Generator().manual_seed(0), **options)


def exported(model: nn.Module, x: Tensor) -> Callable[[Tensor], Tensor]:
    return torch.export.export(model, (x,), dynamic_shapes=({0: torch.export.Dim("batch", max=2**12)},)).module()


def traced(model: nn.Module, x: Tensor) -> Callable[[Tensor], Tensor]:
    return torch.jit.trace(model, x)


quiet = [
    pytest.mark.filterwarnings("ignore:.*torch.jit.*:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:.*treespec, LeafSpec.*"),
    pytest.mark.filterwarnings("ignore::torch.jit.TracerWarning"),
    pytest.mark.filterwarnings("ignore:Casting complex values to real"),
]


@pytest.mark.parametrize("write", [pytest.param(exported, marks=quiet), pytest.param(traced, marks=quiet)])
@pytest.mark.parametrize("called_before", [False, True])
def test_a_layer_written_down(write: Callable, called_before: bool) -> None:
    """Oracle: a layer that nobody has traced: its values and gradients, at the batch sizes of both memory layouts."""
    model, fresh = layer(), layer()
    if called_before:
        model(features(3))
    written = write(model, features(20))
    for batch in (1, 3, 20, 40):
        x = features(batch)
        torch.testing.assert_close(written(x), fresh(x))
        y = model(x)
        assert type(y) is Tensor
        torch.testing.assert_close(y, fresh(x))
        one, two = (torch.autograd.grad(v.sin().sum(), m.weights)[0] for v, m in ((y, model), (fresh(x), fresh)))
        torch.testing.assert_close(one, two)


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"shots": 10}, "Finite shots can't be exported"),
        ({"backend": "torchquantum"}, "The backend 'torchquantum' can't be exported"),
        ({"noise": NoiseModel(0.1)}, "The backend 'density' can't be exported"),
        ({"backend": TrajectoryBackend(NoiseModel(0.1), 10)}, "The backend 'trajectories' can't be exported"),
    ],
)
@pytest.mark.parametrize("write", [pytest.param(exported, marks=quiet), pytest.param(traced, marks=quiet)])
def test_what_is_random_or_noisy_is_not_written_down(write: Callable, options: Any, named: str) -> None:
    """And the layer runs afterwards as if nobody had tried; its exact part can be exported."""
    model = layer(**options)
    with pytest.raises(BackendError, match=f"{named} or traced: export the exact layer"):
        write(model, features(3))
    if options.get("backend") == "torchquantum":
        model.to_backend("fused")
    with model.noiseless(), model.exact():
        written = write(model, features(3))
    torch.testing.assert_close(written(features(2)), layer()(features(2)))
    assert type(model(features(2))) is Tensor


@pytest.mark.parametrize(
    "options",
    [{}, {"backend": "torchquantum"}, {"noise": NoiseModel(0.1)}, {"shots": 50}],
    ids=["fused", "torchquantum", "noise", "shots"],
)
def test_several_cotangents_at_once(options: Any) -> None:
    """Oracle: one backward for each; with shots, from the same measurements."""
    x = features(3).requires_grad_()
    eye = torch.eye(2)

    def gradients(batched: bool) -> tuple[Tensor, ...]:
        model = layer(**options)
        y = model(x).sum(0)
        inputs = [x, model.weights]
        if batched:
            return torch.autograd.grad(y, inputs, eye, is_grads_batched=True)
        rows = []
        for cotangent in eye:
            state = model.shot_generator.get_state()
            rows.append(torch.autograd.grad(y, inputs, cotangent, retain_graph=True))
            model.shot_generator.set_state(state)
        return tuple(torch.stack(column) for column in zip(*rows, strict=True))

    torch.testing.assert_close(gradients(True), gradients(False))


@pytest.mark.parametrize("create_graph", [False, True])
def test_vectorized_jacobians(create_graph: bool) -> None:
    """Oracle: the same without vectorizing; of second order too."""
    model, x = layer().double(), features(3).double()

    def f(x: Tensor) -> Tensor:
        return model(x).sum(0)

    of = torch.autograd.functional.jacobian
    torch.testing.assert_close(of(f, x, vectorize=True, create_graph=create_graph), of(f, x))
    hessian = torch.autograd.functional.hessian
    torch.testing.assert_close(
        hessian(lambda x: f(x).prod(), x, vectorize=True, create_graph=create_graph), hessian(lambda x: f(x).prod(), x)
    )
    if create_graph:
        inputs = x.requires_grad_()
        (first,) = torch.autograd.grad(
            f(inputs), inputs, torch.eye(2).double(), is_grads_batched=True, create_graph=True
        )
        (second,) = torch.autograd.grad(first.square().sum(), inputs)
        rows = [torch.autograd.grad(f(inputs)[m], inputs, create_graph=True)[0] for m in range(2)]
        torch.testing.assert_close(second, torch.autograd.grad(torch.stack(rows).square().sum(), inputs)[0])
