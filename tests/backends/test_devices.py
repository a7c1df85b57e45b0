"""Does the engine keep to the device of its inputs? Checked without a second device at hand.

On torch's meta device tensors have no numbers, but all else; the mode below refuses every operation on tensors of two
devices, as a GPU would. What it can't see are numbers, speed, and kernels that a GPU lacks.
"""

from __future__ import annotations

from typing import Any

import pytest
import torch
from test_backends import SIZES, random_case
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from torchbp import QuantumLayer
from torchbp.backends import FusedBackend
from torchbp.backends.density import DensityMatrixBackend
from torchbp.backends.noise import NoiseModel
from torchbp.circuits import Circuit, angle_encoding, hardware_efficient, local_z

MOVES = ("_to_copy", "copy_")


class OneDevice(TorchDispatchMode):
    """Every operation on tensors of one device, apart from single numbers and the copies that move."""

    def __init__(self) -> None:
        super().__init__()
        self.on_meta = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        tensors = [t for t in tree_leaves((args, kwargs)) if isinstance(t, Tensor) and t.ndim]
        devices = {t.device.type for t in tensors}
        if func.overloadpacket.__name__ not in MOVES:
            assert len(devices) <= 1, f"{func} on {[(tuple(t.shape), t.device.type) for t in tensors]}"
        self.on_meta += "meta" in devices
        return func(*args, **(kwargs or {}))


def test_it_sees_two_devices() -> None:
    """Oracle: operations that torch itself lets pass."""
    for operation in (torch.matmul, lambda a, b: a.index_select(0, b[0].long())):
        with pytest.raises(AssertionError, match="meta"), OneDevice():
            operation(torch.rand(3, 3, device="meta"), torch.rand(3, 3))


@pytest.mark.parametrize("store_bytes", [0, 2**28])
@pytest.mark.parametrize("seed", range(14))
def test_fused(seed: int, store_bytes: int) -> None:
    """Planning, forward, backward, each sample's gradients and states, on circuits of the whole gate table."""
    n_wires, batch = SIZES[seed % 7]
    circuit, observables, *tensors = random_case(seed, n_wires, batch, gates=40 - 4 * n_wires)
    backend = FusedBackend(store_bytes=store_bytes)
    x, weights, cotangent = (t.float().to("meta") for t in tensors)
    with OneDevice() as mode:
        for given in (weights, weights.expand(batch, -1)):
            leaves = [t.clone().requires_grad_() for t in (x, given)]
            y = backend.expectations(circuit, observables, *leaves)
            assert (y.device.type, y.shape) == ("meta", cotangent.shape)
            for g, leaf in zip(torch.autograd.grad(y, leaves, cotangent, allow_unused=True), leaves, strict=True):
                assert g is None or (g.device.type, g.shape) == ("meta", leaf.shape)
        assert backend.states(circuit, x, weights).shape == (batch, 2**n_wires)
        rows = backend.per_sample_gradients(circuit, observables, x, weights, cotangent)
        assert rows.shape == (batch, circuit.n_weights)
    assert mode.on_meta > 50


@pytest.mark.parametrize("n_wires", [6, 10])
def test_layer(n_wires: int) -> None:
    """A layer that is moved, amplitude encoding and its gradient, and double backward."""
    angles = angle_encoding(n_wires) + hardware_efficient(n_wires, 2)
    amplitudes = Circuit(n_wires).encode_amplitudes(5) + hardware_efficient(n_wires, 2)
    for circuit in (angles, amplitudes):
        layer = QuantumLayer(circuit, local_z(n_wires))
        layer(torch.rand(4, circuit.n_features))  # planned for the CPU first
        layer = layer.to("meta")
        x = torch.rand(4, circuit.n_features, device="meta", requires_grad=True)
        with OneDevice():
            (slope,) = torch.autograd.grad(layer(x).square().sum(), x, create_graph=True)
            (second,) = torch.autograd.grad(slope.square().sum(), layer.weights)
        assert second.shape == layer.weights.shape
        assert second.is_meta


def test_density_matrices() -> None:
    """The exact simulation with noise."""
    circuit = angle_encoding(3) + hardware_efficient(3, 2)
    x, weights = torch.rand(4, 3, device="meta"), torch.rand(circuit.n_weights, device="meta", requires_grad=True)
    with OneDevice():
        y = DensityMatrixBackend(NoiseModel(depolarizing_2q=0.01)).expectations(circuit, local_z(3), x, weights)
        (gradient,) = torch.autograd.grad(y.sum(), weights)
    assert gradient.is_meta
    assert gradient.shape == weights.shape
