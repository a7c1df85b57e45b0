"""The contestants of `engine.py`: one training step of the same circuit, each as its users would write it.

A contestant is a function of (circuit, batch size) that returns a function without arguments: one forward and backward
of the mean of <Z> over wires and samples, which returns the gradient of the weights.
"""

from __future__ import annotations

import importlib.util
import math
from collections.abc import Callable

import torch
from torch import Tensor

from torchbp import QuantumLayer
from torchbp._torchquantum import tq
from torchbp.backends import FusedBackend
from torchbp.circuits import Circuit, local_z

Run = Callable[[], Tensor]
Build = Callable[[Circuit, int], Run]


def data(circuit: Circuit, batch: int) -> tuple[Tensor, Tensor]:
    """Features (B, F) and weights (P,), the same for everybody."""
    generator = torch.Generator().manual_seed(0)
    x = torch.rand(batch, circuit.n_features, generator=generator)
    return x, 2 * math.pi * torch.rand(circuit.n_weights, generator=generator)


def fused(circuit: Circuit, batch: int, **options: int) -> Run:
    x, start = data(circuit, batch)
    layer = QuantumLayer(circuit, local_z(circuit.n_wires), backend=FusedBackend(**options), init=start)
    return _step(lambda: layer(x), layer.weights)


def torchquantum(circuit: Circuit, batch: int) -> Run:
    """Functional gates on a QuantumDevice, then `expval`."""
    import torchquantum.functional as tqf

    x, start = data(circuit, batch)
    weights, n = start.requires_grad_(), circuit.n_wires

    def forward() -> Tensor:
        device = tq.QuantumDevice(n_wires=n, bsz=batch)
        for op in circuit.operations:
            params = [
                weights[p.indices[0] : p.indices[0] + 1] if p.kind == "weight" else x[:, p.indices[0]]
                for p in op.parameters
            ]
            getattr(tqf, op.gate.name)(device, wires=list(op.wires), params=params[0] if params else None)
        return tq.expval(device, list(range(n)), [tq.PauliZ()] * n)

    return _step(forward, weights)


def pennylane(name: str, method: str) -> Build:
    def build(circuit: Circuit, batch: int) -> Run:
        import pennylane as qml

        gates = {
            "rx": qml.RX, "ry": qml.RY, "rz": qml.RZ, "rxx": qml.IsingXX, "ryy": qml.IsingYY, "rzz": qml.IsingZZ,
            "crx": qml.CRX, "crz": qml.CRZ, "h": qml.Hadamard, "s": qml.S, "t": qml.T, "x": qml.PauliX,
            "cnot": qml.CNOT, "cz": qml.CZ, "swap": qml.SWAP,
        }  # fmt: skip
        x, start = data(circuit, batch)
        weights, n = start.requires_grad_(), circuit.n_wires

        @qml.qnode(qml.device(name, wires=n), interface="torch", diff_method=method)
        def node(x: Tensor, weights: Tensor) -> list[object]:
            for op in circuit.operations:
                angles = [weights[p.indices[0]] if p.kind == "weight" else x[..., p.indices[0]] for p in op.parameters]
                gates[op.gate.name](*angles, wires=list(op.wires))
            return [qml.expval(qml.PauliZ(wire)) for wire in range(n)]

        return _step(lambda: torch.stack(node(x, weights), -1), weights)

    return build


def deepquantum(circuit: Circuit, batch: int) -> Run:
    """A QubitCircuit whose gates own their angles: for circuits in which no two gates share a weight."""
    import deepquantum as dq

    x, start = data(circuit, batch)
    module, columns, indices = dq.QubitCircuit(circuit.n_wires), [], []
    for op in circuit.operations:
        add = getattr(module, op.gate.name)
        if not op.parameters:
            add(*op.wires)
            continue
        (parameter,) = op.parameters
        wires = op.wires[0] if len(op.wires) == 1 else list(op.wires)
        if parameter.kind == "feature":
            columns.append(parameter.indices[0])
            add(wires, encode=True)
        else:
            indices.append(parameter.indices[0])
            add(wires)
    for wire in range(circuit.n_wires):
        module.observable(wire)
    parameters = list(module.parameters())
    with torch.no_grad():
        for parameter, index in zip(parameters, indices, strict=True):
            parameter.fill_(start[index])
    encoded, order = x[:, columns].contiguous(), torch.argsort(torch.tensor(indices))

    def run() -> Tensor:
        module.zero_grad()
        module(encoded)
        module.expectation().mean().backward()
        return torch.cat([parameter.grad.reshape(1) for parameter in parameters])[order]

    return run


def tensorcircuit(circuit: Circuit, batch: int) -> Run:
    """TensorCircuit-ng on its PyTorch backend, mapped over the batch with its `vmap`."""
    import tensorcircuit as tc

    backend = tc.set_backend("pytorch")
    tc.set_dtype("complex64")
    x, start = data(circuit, batch)
    weights, n = start.requires_grad_(), circuit.n_wires

    def sample(x: Tensor, weights: Tensor) -> Tensor:
        state = tc.Circuit(n)
        for op in circuit.operations:
            add = getattr(state, op.gate.name)
            if op.parameters:
                (p,) = op.parameters
                add(*op.wires, theta=weights[p.indices[0]] if p.kind == "weight" else x[p.indices[0]])
            else:
                add(*op.wires)
        return torch.stack([backend.real(state.expectation_ps(z=[wire])) for wire in range(n)])

    mapped = backend.vmap(sample, vectorized_argnums=0)
    return _step(lambda: mapped(x, weights), weights)


def qiskit_machine_learning(circuit: Circuit, batch: int) -> Run:
    """An EstimatorQNN in a TorchConnector: exact statevectors, parameter shifts (it has no faster exact gradient)."""
    from qiskit.circuit import ParameterVector, QuantumCircuit
    from qiskit.primitives import StatevectorEstimator
    from qiskit.quantum_info import SparsePauliOp
    from qiskit_machine_learning.connectors import TorchConnector
    from qiskit_machine_learning.gradients import ParamShiftEstimatorGradient
    from qiskit_machine_learning.neural_networks import EstimatorQNN

    x, start = data(circuit, batch)
    n = circuit.n_wires
    features, angles = ParameterVector("x", circuit.n_features), ParameterVector("w", circuit.n_weights)
    translated = QuantumCircuit(n)
    for op in circuit.operations:
        name = {"cnot": "cx"}.get(op.gate.name, op.gate.name)
        given = [(angles if p.kind == "weight" else features)[p.indices[0]] for p in op.parameters]
        getattr(translated, name)(*given, *op.wires)
    estimator = StatevectorEstimator()
    network = EstimatorQNN(
        circuit=translated,
        estimator=estimator,
        observables=[SparsePauliOp.from_sparse_list([("Z", [wire], 1.0)], n) for wire in range(n)],
        input_params=list(features),
        weight_params=list(angles),
        gradient=ParamShiftEstimatorGradient(estimator),
    )
    module = TorchConnector(network, initial_weights=start.numpy())
    return _step(lambda: module(x), module.weight)


PEERS: dict[str, tuple[str, Build]] = {  # name: (the module it needs, how it is built)
    "TorchQuantum": ("torchquantum", torchquantum),
    "PennyLane default.qubit": ("pennylane", pennylane("default.qubit", "backprop")),
    "PennyLane lightning.qubit": ("pennylane_lightning", pennylane("lightning.qubit", "adjoint")),
    "DeepQuantum": ("deepquantum", deepquantum),
    "TensorCircuit-ng": ("tensorcircuit", tensorcircuit),
    "Qiskit Machine Learning": ("qiskit_machine_learning", qiskit_machine_learning),
}


def installed_peers(names: list[str] | None = None) -> dict[str, Build]:
    return {
        name: build
        for name, (module, build) in PEERS.items()
        if importlib.util.find_spec(module) and (names is None or name in names)
    }


def _step(forward: Run, weights: Tensor) -> Run:
    def run() -> Tensor:
        weights.grad = None
        forward().mean().backward()
        assert weights.grad is not None
        return weights.grad

    return run
