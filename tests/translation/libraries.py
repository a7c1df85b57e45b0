"""The same small circuit as users of four libraries write it: RY of each feature, layers of RY and a ring of CNOTs.

A library that is not installed skips the test that asks for it.
"""

import pytest
import torch
from torch import Tensor, nn

N_WIRES, DEPTH = 3, 2


def pennylane_layer(n: int = N_WIRES, depth: int = DEPTH, shots: int | None = None) -> nn.Module:
    qml = pytest.importorskip("pennylane")

    def node(inputs, weights):
        qml.AngleEmbedding(inputs, wires=range(n), rotation="Y")
        for row in weights:
            for wire in range(n):
                qml.RY(row[wire], wires=wire)
            for wire in range(n):
                qml.CNOT(wires=[wire, (wire + 1) % n])
        return [qml.expval(qml.PauliZ(wire)) for wire in range(n)]

    made = qml.QNode(node, qml.device("default.qubit", wires=n), interface="torch")
    if shots is not None:
        made = qml.set_shots(made, shots)
    return qml.qnn.TorchLayer(made, {"weights": (depth, n)})


def qiskit_circuit(n: int = N_WIRES, depth: int = DEPTH):
    pytest.importorskip("qiskit_machine_learning")
    from qiskit.circuit import ParameterVector, QuantumCircuit

    x, weights = ParameterVector("x", n), ParameterVector("w", depth * n)
    circuit = QuantumCircuit(n)
    for wire in range(n):
        circuit.ry(x[wire], wire)
    for layer in range(depth):
        for wire in range(n):
            circuit.ry(weights[layer * n + wire], wire)
        for wire in range(n):
            circuit.cx(wire, (wire + 1) % n)
    return circuit, list(x), list(weights)


def qiskit_connector(n: int = N_WIRES, depth: int = DEPTH, precision: float = 0.0) -> nn.Module:
    circuit, features, weights = qiskit_circuit(n, depth)
    from qiskit.primitives import StatevectorEstimator
    from qiskit.quantum_info import SparsePauliOp
    from qiskit_machine_learning.connectors import TorchConnector
    from qiskit_machine_learning.neural_networks import EstimatorQNN

    network = EstimatorQNN(
        circuit=circuit,
        estimator=StatevectorEstimator(),
        observables=[SparsePauliOp.from_sparse_list([("Z", [wire], 1.0)], n) for wire in range(n)],
        input_params=features,
        weight_params=weights,
        input_gradients=True,
        default_precision=precision,
    )
    return TorchConnector(network)


def deepquantum_circuit(n: int = N_WIRES, depth: int = DEPTH) -> nn.Module:
    dq = pytest.importorskip("deepquantum")
    circuit = dq.QubitCircuit(n)
    circuit.rylayer(encode=True)
    for _ in range(depth):
        circuit.rylayer()
        for wire in range(n):
            circuit.cnot(wire, (wire + 1) % n)
    for wire in range(n):
        circuit.observable(wire)
    return circuit


class DeepQuantumNet(nn.Module):
    """A `QubitCircuit` runs first, and is asked for its expectation values then."""

    def __init__(self, n: int = N_WIRES, depth: int = DEPTH) -> None:
        super().__init__()
        self.circuit = deepquantum_circuit(n, depth)

    def forward(self, x: Tensor) -> Tensor:
        self.circuit(x)
        return self.circuit.expectation()


def tensorcircuit_net(n: int = N_WIRES, depth: int = DEPTH) -> nn.Module:
    tc = pytest.importorskip("tensorcircuit")
    backend = tc.set_backend("pytorch")

    def function(x, weights):
        state = tc.Circuit(n)
        for wire in range(n):
            state.ry(wire, theta=x[wire])
        for layer in range(depth):
            for wire in range(n):
                state.ry(wire, theta=weights[layer, wire])
            for wire in range(n):
                state.cnot(wire, (wire + 1) % n)
        return backend.stack([backend.real(state.expectation_ps(z=[wire])) for wire in range(n)])

    from tensorcircuit.torchnn import QuantumNet

    return QuantumNet(function, weights_shape=(depth, n), use_jit=False)


LIBRARIES = {
    "PennyLane": pennylane_layer,
    "Qiskit Machine Learning": qiskit_connector,
    "DeepQuantum": DeepQuantumNet,
    "TensorCircuit": tensorcircuit_net,
}


def same_weights(module: nn.Module, start: Tensor) -> nn.Module:
    """`module` with the weights `start`, in the order of its parameters."""
    with torch.no_grad():
        for parameter, part in zip(
            module.parameters(), start.split([p.numel() for p in module.parameters()]), strict=True
        ):
            parameter.copy_(part.view_as(parameter))
    return module
