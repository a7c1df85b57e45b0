"""PennyLane's `qml.qnn.TorchLayer`: a QNode whose arguments but one are parameters."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from torchbp.errors import PreconditionError
from torchbp.translation.adapters.adapter import Adapter, Layers, by_leading_axis


def layers(layer: Any) -> Layers:
    """By the shapes of its tensors: (layer, wire, angle), or (layer, wire)."""
    return by_leading_axis(layer, n_wires(layer))


def n_wires(layer: Any) -> int | None:
    """Those of the QNode's device; a device without wires of its own takes as many as the circuit has."""
    wires = getattr(layer.qnode.device, "wires", None)
    return len(wires) if wires else None


def shots_of_node(node: Any) -> int | None:
    """Of the QNode (`qml.set_shots`), or of its device (`qml.device(shots=...)`)."""
    for owner in (node, node.device):
        found = getattr(getattr(owner, "shots", None), "total_shots", None)
        if found is not None:
            return int(found)
    return None


def per_sample(layer: Any, inputs: Tensor, cotangent: Tensor) -> Mapping[nn.Parameter, Tensor]:
    """Through the simulator's own operations, mapped over the samples: for `default.qubit` and backprop."""
    weights = dict(layer.qnode_weights)
    values = {name: parameter.detach() for name, parameter in weights.items()}

    def output(values: dict[str, Tensor], x: Tensor, slope: Tensor) -> Tensor:
        found = layer.qnode(**{layer.input_arg: x[None]}, **values)
        rows = [r.reshape(-1) for r in ([found] if isinstance(found, Tensor) else found)]
        return (torch.cat(rows) * slope.reshape(-1)).sum()

    if getattr(layer.qnode, "diff_method", "") not in ("backprop", "best"):
        raise PreconditionError("its QNode does not differentiate by backprop")
    rows = torch.func.vmap(torch.func.grad(output), in_dims=(None, 0, 0))(values, inputs.detach(), cotangent)
    return {weights[name]: row.flatten(1) for name, row in rows.items()}


@contextmanager
def exact(layer: Any) -> Iterator[None]:
    """The QNode without its shots, as `qml.set_shots(node, None)` has it."""
    node = layer.qnode
    layer.qnode = sys.modules["pennylane"].set_shots(node, None)
    try:
        yield
    finally:
        layer.qnode = node


PENNYLANE = Adapter(
    "pennylane",
    ("TorchLayer",),
    layers,
    n_wires=n_wires,
    shots=lambda layer: shots_of_node(layer.qnode),
    per_sample=per_sample,
    exact=exact,
)
