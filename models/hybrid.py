"""What every hybrid model is: classical encoder → quantum layer → classical head."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from typing import Any, cast

import lightning as L
import torch
from torch import Tensor, nn
from torchmetrics import Metric, MetricCollection

from torchbp.arguments import checked
from torchbp.arguments.kinds import a
from torchbp.circuits import Circuit, angle_encoding, hardware_efficient
from torchbp.layer import QuantumLayer


def _a_quantum_layer(name: str, value: Any) -> nn.Module:
    """A check of arguments: a module; a circuit is taken for the layer with Z on every wire."""
    return QuantumLayer(value) if isinstance(value, Circuit) else a(nn.Module)(name, value)


class HybridModule(L.LightningModule, ABC):
    """Base of the supervised hybrid models: forward, the three steps and the optimizer.

    A subclass says what the loss and the metrics are, and may override anything, as in any LightningModule.
    Batches are pairs (x, y).

    Args:
        n_features: columns of x, after flattening everything but the batch.
        n_outputs: outputs of the head.
        n_wires, depth: of the default quantum layer: `default_circuit`, Z on every wire.
        encoder: maps x to the quantum layer's features; default: linear to n_wires, tanh.
        quantum: the quantum layer (any module from the encoder's output to the head's input), or its circuit.
        head: maps expectation values to outputs; default: linear.
        learning_rate: of Adam, for all parameters.
    """

    @checked(encoder=a(nn.Module), quantum=_a_quantum_layer, head=a(nn.Module))
    def __init__(
        self,
        n_features: int,
        n_outputs: int,
        n_wires: int = 4,
        depth: int = 2,
        *,
        encoder: nn.Module | None = None,
        quantum: nn.Module | Circuit | None = None,
        head: nn.Module | None = None,
        learning_rate: float = 0.01,
    ) -> None:
        super().__init__()
        self.encoder = encoder or nn.Sequential(nn.Flatten(), nn.Linear(n_features, n_wires), nn.Tanh())
        self.quantum = cast(nn.Module, quantum or QuantumLayer(default_circuit(n_wires, depth)))
        self.head = head or nn.Linear(_n_measured(self.quantum, n_wires), n_outputs)
        self.n_outputs = n_outputs
        self.learning_rate = learning_rate
        self.metrics = nn.ModuleDict(
            {_key(s): MetricCollection({**self.make_metrics()}, prefix=f"{s}_") for s in ("train", "val", "test")}
        )

    @abstractmethod
    def loss(self, output: Tensor, target: Tensor) -> Tensor:
        """The mean loss of a batch, a scalar."""

    @abstractmethod
    def make_metrics(self) -> dict[str, Metric]:
        """New metrics of (output, target), by the name they are logged under (behind "train_", "val_", "test_")."""

    def forward(self, x: Tensor) -> Tensor:
        """(B, ...) inputs → (B, n_outputs)."""
        return self.head(self.quantum(self.encoder(x)))

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        return self._step(batch, "train")

    def validation_step(self, batch: Any, batch_idx: int) -> Tensor:
        return self._step(batch, "val")

    def test_step(self, batch: Any, batch_idx: int) -> Tensor:
        return self._step(batch, "test")

    def predict_step(self, batch: Any, batch_idx: int) -> Tensor:
        return self(batch[0] if isinstance(batch, list | tuple) else batch)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.Adam(self.parameters(), lr=self.learning_rate)

    def _step(self, batch: tuple[Tensor, Tensor], stage: str) -> Tensor:
        x, target = batch
        output = self(x)
        loss = self.loss(output, target)
        self.log(f"{stage}_loss", loss, prog_bar=stage != "test", batch_size=len(x))
        metrics = cast(MetricCollection, self.metrics[_key(stage)])
        metrics.update(output, target)
        self.log_dict(metrics, prog_bar=True, on_step=False, on_epoch=True, batch_size=len(x))
        return loss


def _key(stage: str) -> str:
    """A module can't be called "train", which is a method of every module."""
    return f"{stage}_metrics"


def default_circuit(n_wires: int, depth: int) -> Circuit:
    """Hadamards, features in [-1, 1] as angles of up to a quarter turn, then a hardware-efficient ansatz with CZ gates.

    From |+> the encoding is odd in each feature, <Z> = -sin(pi x / 2) before the ansatz; from |0> it would be even,
    and a feature near 0 would have no gradient. CZ commutes with Z, so near zero weights each wire still shows its
    own feature, where a ring of CNOTs would show products of many.
    """
    start = Circuit(n_wires)
    for wire in range(n_wires):
        start.append("h", wire)
    return start + angle_encoding(n_wires, scale=math.pi / 2) + hardware_efficient(n_wires, depth, gate="cz")


def _n_measured(quantum: nn.Module, n_wires: int) -> int:
    return len(quantum.observables) if isinstance(quantum, QuantumLayer) else n_wires
