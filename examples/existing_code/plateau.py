"""Does one added line find and treat a plateau, whatever library the quantum layer is written in?

The same Lightning model in PennyLane, Qiskit Machine Learning, DeepQuantum and TensorCircuit. Its circuit measures Z on
all wires at once, the textbook cause of a barren plateau, and starts from random angles. `PlateauGuard()` is the line:
it sees the layer, finds the plateau, gives it another start, keeps that, and ends the run when it has converged.

Each layer is judged as it is, by calling it; a gradient of Qiskit's takes two circuits a weight and sample, so that one
takes minutes. With `--accelerate`, which is one more line, it takes as long as the others.
"""

from __future__ import annotations

import argparse
import logging
import math
import warnings

import lightning as L
import torch
from torch import Tensor, nn
from torch.nn.functional import mse_loss
from torch.utils.data import DataLoader, TensorDataset

import torchbp
from torchbp.callbacks import GradientSNRMonitor, PlateauDetector, PlateauGuard

WIRES, DEPTH = 10, 3


def pennylane() -> nn.Module:
    import pennylane as qml

    @qml.qnode(qml.device("default.qubit", wires=WIRES))
    def node(inputs, weights):
        qml.AngleEmbedding(inputs, wires=range(WIRES), rotation="Y")
        for row in weights:
            for wire in range(WIRES):
                qml.CZ(wires=[wire, (wire + 1) % WIRES])
            for wire in range(WIRES):
                qml.RY(row[wire], wires=wire)
        return [qml.expval(qml.prod(*(qml.Z(wire) for wire in range(WIRES))))]

    return qml.qnn.TorchLayer(node, {"weights": (DEPTH, WIRES)})


def qiskit() -> nn.Module:
    from qiskit.circuit import ParameterVector, QuantumCircuit
    from qiskit_machine_learning.connectors import TorchConnector
    from qiskit_machine_learning.neural_networks import EstimatorQNN

    x, weights, circuit = ParameterVector("x", WIRES), ParameterVector("w", DEPTH * WIRES), QuantumCircuit(WIRES)
    for wire in range(WIRES):
        circuit.ry(x[wire], wire)
    for layer in range(DEPTH):
        for wire in range(WIRES):
            circuit.cz(wire, (wire + 1) % WIRES)
        for wire in range(WIRES):
            circuit.ry(weights[layer * WIRES + wire], wire)
    network = EstimatorQNN(circuit=circuit, input_params=list(x), weight_params=list(weights), input_gradients=True)
    return TorchConnector(network)  # Z on all qubits is its observable, unless told otherwise


class DeepQuantum(nn.Module):
    def __init__(self) -> None:
        import deepquantum as dq

        super().__init__()
        self.circuit = dq.QubitCircuit(WIRES)
        self.circuit.rylayer(encode=True)
        for _ in range(DEPTH):
            for wire in range(WIRES):
                self.circuit.cz(wire, (wire + 1) % WIRES)
            self.circuit.rylayer()
        self.circuit.observable(list(range(WIRES)))

    def forward(self, x: Tensor) -> Tensor:
        self.circuit(x)
        return self.circuit.expectation()


def tensorcircuit() -> nn.Module:
    import tensorcircuit as tc
    from tensorcircuit.torchnn import QuantumNet

    backend = tc.set_backend("pytorch")

    def function(x, weights):
        circuit = tc.Circuit(WIRES)
        for wire in range(WIRES):
            circuit.ry(wire, theta=x[wire])
        for layer in range(DEPTH):
            for wire in range(WIRES):
                circuit.cz(wire, (wire + 1) % WIRES)
            for wire in range(WIRES):
                circuit.ry(wire, theta=weights[layer, wire])
        return backend.real(circuit.expectation_ps(z=list(range(WIRES)))).reshape(1)

    return QuantumNet(function, weights_shape=(DEPTH, WIRES), use_jit=False)


LIBRARIES = {"pennylane": pennylane, "qiskit": qiskit, "deepquantum": DeepQuantum, "tensorcircuit": tensorcircuit}


class Regressor(L.LightningModule):
    def __init__(self, quantum: nn.Module) -> None:
        super().__init__()
        self.quantum = quantum
        with torch.no_grad():
            generator = torch.Generator().manual_seed(1)
            for weights in quantum.parameters():
                weights.copy_(2 * math.pi * torch.rand(weights.shape, generator=generator))

    def forward(self, x):
        return self.quantum(x).squeeze(-1)

    def training_step(self, batch, batch_idx):
        x, y = batch
        return mse_loss(self(x), y)

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.1)


warnings.filterwarnings("ignore", ".*does not have many workers")
warnings.filterwarnings("ignore", ".*LeafSpec.* is deprecated")
logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)


def data() -> DataLoader:
    """What the circuit returns where all weights are zero: the solution is there, and the random start far from it."""
    x = 0.5 * torch.rand(32, WIRES, generator=torch.Generator().manual_seed(0))
    return DataLoader(TensorDataset(x, torch.cos(x).prod(1)), batch_size=8)


def main(library: str, steps: int, accelerated: bool = False) -> PlateauGuard:
    model = Regressor(LIBRARIES[library]())
    if accelerated:
        print(torchbp.accelerate(model, torch.zeros(1, WIRES)))
    guard = PlateauGuard(PlateauDetector(GradientSNRMonitor(every_n_steps=20)))
    quiet = {"enable_progress_bar": False, "enable_model_summary": False, "enable_checkpointing": False}
    L.Trainer(max_steps=steps, callbacks=[guard], logger=False, accelerator="cpu", **quiet).fit(model, data())
    print(guard.report())
    return guard


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--library", choices=LIBRARIES, default="pennylane")
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--accelerate", action="store_true", help="make the layer fast first")
    arguments = parser.parse_args()
    main(arguments.library, arguments.steps, arguments.accelerate)
