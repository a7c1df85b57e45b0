"""The modules that the speed is judged by: eight wires, a batch of 64, as their users write them."""

from __future__ import annotations

from collections.abc import Callable

import deepquantum as dq
import pennylane_templates
import qiskit_networks
import torch
from deepquantum_circuits import Classifier
from pennylane_templates import on, qml
from qiskit.circuit import library
from torch import Tensor, nn

N, BATCH = 8, 64
CASES: dict[str, Callable[[], tuple[nn.Module, Tensor]]] = {}
"""Of each name a function that makes a module, and a batch for it."""


def pennylane(template: str, shape: tuple[int, ...]) -> tuple[nn.Module, Tensor]:
    body = on(getattr(qml, template), wires=N)
    module, _ = pennylane_templates.layer(body, {"weights": shape}, wires=N, features=N)
    return module, torch.rand(BATCH, N)


def qiskit() -> tuple[nn.Module, Tensor]:
    """One observable and one repetition: a gradient takes 2 circuits a weight and sample."""
    observable = qiskit_networks.SparsePauliOp("Z" * N)
    module = qiskit_networks.estimator(qiskit_networks.angles(N), library.real_amplitudes(N, reps=1), observable)
    module.neural_network.input_gradients = False
    return module, torch.rand(BATCH, N)


def deepquantum() -> tuple[nn.Module, Tensor]:
    circuit = dq.QubitCircuit(N)
    circuit.rylayer(encode=True)
    for _ in range(4):
        circuit.rxlayer(), circuit.rylayer(), circuit.rzlayer(), circuit.cnot_ring()
    for wire in range(N):
        circuit.observable(wire)
    return Classifier(circuit), torch.rand(BATCH, N)


CASES["PennyLane, default.qubit and backprop: 4 StronglyEntanglingLayers"] = lambda: pennylane(
    "StronglyEntanglingLayers", (4, N, 3)
)
CASES["PennyLane, default.qubit and backprop: 4 BasicEntanglerLayers"] = lambda: pennylane(
    "BasicEntanglerLayers", (4, N)
)
CASES["Qiskit, EstimatorQNN: real_amplitudes"] = qiskit
CASES["DeepQuantum: 4 layers of RX, RY, RZ and a ring of CNOTs"] = deepquantum
