"""What does one added line show about a hybrid network that somebody has already?

The model knows nothing of torchbp: a LightningModule of its own, with a TorchQuantum module in it.
"""

from __future__ import annotations

import argparse
import logging
import warnings

import lightning as L
import torch
import torch.nn.functional as F
from sklearn.datasets import load_wine
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from torchbp import torchquantum as tq  # TorchQuantum itself, importable beside a current Qiskit
from torchbp.callbacks import GradientSNRMonitor


class QuantumPart(tq.QuantumModule):
    def __init__(self, n_wires: int = 4, depth: int = 2) -> None:
        super().__init__()
        self.n_wires = n_wires
        self.encoder = tq.GeneralEncoder([{"input_idx": [i], "func": "ry", "wires": [i]} for i in range(n_wires)])
        self.rotations = nn.ModuleList(
            tq.Op1QAllLayer(tq.RX, n_wires, has_params=True, trainable=True) for _ in range(depth)
        )
        self.entangler = tq.Op2QAllLayer(tq.CNOT, n_wires, jump=1, circular=True)
        self.measure = tq.MeasureAll(tq.PauliZ)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        device = tq.QuantumDevice(n_wires=self.n_wires, bsz=len(x), device=x.device)
        self.encoder(device, x)
        for rotation in self.rotations:
            rotation(device)
            self.entangler(device)
        return self.measure(device)


class WineClassifier(L.LightningModule):
    def __init__(self) -> None:
        super().__init__()
        self.reduce, self.quantum, self.classify = nn.Linear(13, 4), QuantumPart(), nn.Linear(4, 3)

    def training_step(self, batch, batch_idx):
        x, y = batch
        loss = F.cross_entropy(self.classify(self.quantum(self.reduce(x))), y)
        self.log("train_loss", loss, prog_bar=True)
        return loss

    def configure_optimizers(self):
        return torch.optim.Adam(self.parameters(), lr=0.05)


warnings.filterwarnings("ignore", "The '.*_dataloader' does not have many workers")
warnings.filterwarnings("ignore", "The number of training batches")
logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)


def main(epochs: int) -> GradientSNRMonitor:
    L.seed_everything(0, verbose=False)
    features, classes = load_wine(return_X_y=True)
    x = torch.tensor((features - features.mean(0)) / features.std(0), dtype=torch.float32)
    data = DataLoader(TensorDataset(x, torch.tensor(classes)), batch_size=32, shuffle=True)
    monitor = GradientSNRMonitor(every_n_steps=10)
    trainer = L.Trainer(max_epochs=epochs, callbacks=[monitor], logger=False, enable_checkpointing=False)
    trainer.fit(WineClassifier(), data)
    print(monitor.report())
    return monitor


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--epochs", type=int, default=10)
    main(parser.parse_args().epochs)
