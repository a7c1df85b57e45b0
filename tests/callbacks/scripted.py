"""A detector that says what the test wants it to say, and a small model to treat."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import lightning.pytorch as L
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from torchbp import QuantumLayer
from torchbp.callbacks import GradientSNRMonitor, PlateauDetector
from torchbp.circuits import angle_encoding, hardware_efficient
from torchbp.diagnosis.verdicts import ADVICE, Diagnosis, Verdict


def verdict(
    name: str, layers: tuple[str, ...] = (), confidence: float = 0.9, shots_to_resolve: float | None = None
) -> Diagnosis:
    found = Verdict(name)
    return Diagnosis(found, confidence, ("a number",), ADVICE[found], layers, shots_to_resolve)


class Scripted(PlateauDetector):
    """Gives these diagnoses at the end of these steps, and looks at nothing."""

    def __init__(self, script: Mapping[int, str | Diagnosis], every_n_steps: int = 1000, **options: Any) -> None:
        super().__init__(GradientSNRMonitor(every_n_steps, 2, heatmap=False), **options)
        self.script = {step: verdict(said) if isinstance(said, str) else said for step, said in script.items()}

    def _survey(self, *arguments: Any) -> None:
        """It has no need to look."""

    def on_train_batch_end(self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        if self._drives_monitor:
            self.monitor.on_train_batch_end(trainer, pl_module, outputs, batch, batch_idx)
        last = (batch_idx + 1) % trainer.accumulate_grad_batches == 0
        if last and (found := self.script.get(self.monitor.steps - 1)) is not None:
            self._tell(trainer, found)


class Model(L.LightningModule):
    """A classical encoder, a quantum layer of two circuit layers, a classical head; `kind` says how it is trained."""

    def __init__(
        self, kind: str = "adam", shots: int | None = None, lr: float = 0.05, bare: bool = False, **options: Any
    ) -> None:
        super().__init__()
        self.kind, self.lr = kind, lr
        self.automatic_optimization = kind not in ("manual", "two")
        generator = torch.Generator().manual_seed(0)
        circuit = angle_encoding(n_wires=2) + hardware_efficient(n_wires=2, depth=2)
        with torch.random.fork_rng():
            torch.manual_seed(0)
            self.encoder = nn.Identity() if bare else nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2), nn.Dropout(0.2))
            self.core = QuantumLayer(circuit, shots=shots, init="uniform", generator=generator, **options)
            self.head = nn.Identity() if bare else nn.Linear(2, 2)

    def loss(self, batch: Any) -> Tensor:
        output = self.head(self.core(self.encoder(batch[0])).to(batch[0].dtype))
        return nn.functional.mse_loss(output, batch[1])

    def training_step(self, batch: Any, batch_idx: int) -> Any:
        loss = self.loss(batch)
        if self.automatic_optimization:
            return loss
        optimizers = self.optimizers()
        for optimizer in optimizers if isinstance(optimizers, list) else [optimizers]:
            optimizer.zero_grad()
        self.manual_backward(loss)
        for optimizer in optimizers if isinstance(optimizers, list) else [optimizers]:
            optimizer.step()
        return None

    def configure_optimizers(self) -> Any:
        if self.kind == "two":
            quantum = torch.optim.Adam(self.core.parameters(), lr=self.lr)
            return [quantum, torch.optim.SGD([*self.encoder.parameters(), *self.head.parameters()], lr=self.lr)]
        if self.kind == "sgd":
            return torch.optim.SGD(self.parameters(), lr=self.lr)
        if self.kind == "lbfgs":
            return torch.optim.LBFGS(self.parameters(), lr=self.lr, max_iter=2)
        optimizer = torch.optim.AdamW(self.parameters(), lr=self.lr, weight_decay=0.1)
        return [optimizer], [torch.optim.lr_scheduler.StepLR(optimizer, 1, 0.5)]


def data(n: int = 32, batch: int = 8) -> DataLoader[Any]:
    x = 2 * torch.rand(n, 2, generator=torch.Generator().manual_seed(1)) - 1
    return DataLoader(TensorDataset(x, torch.sin(2 * x)), batch_size=batch)


def fit(module: Any, callbacks: list[Any], loader: Any = None, checkpoint: Any = None, **options: Any) -> L.Trainer:
    quiet = {"enable_progress_bar": False, "enable_model_summary": False, "enable_checkpointing": False}
    defaults = {"max_epochs": 3, "logger": False, "accelerator": "cpu", "devices": 1, "num_sanity_val_steps": 0}
    trainer = L.Trainer(callbacks=callbacks, **{**quiet, **defaults, **options})
    torch.manual_seed(0)
    trainer.fit(module, data() if loader is None else loader, ckpt_path=checkpoint)
    return trainer


class Tape(L.Callback):
    """The quantum weights as each step begins, after the remedies have acted; their gradients; the weights after it."""

    def __init__(self) -> None:
        self.starts: list[Tensor] = []
        self.gradients: list[Tensor] = []
        self.ends: list[Tensor] = []

    def on_before_optimizer_step(self, trainer: Any, pl_module: Any, optimizer: Any) -> None:
        self.gradients.append(pl_module.core.weights.grad.clone())

    def on_train_batch_start(self, trainer: Any, pl_module: Any, batch: Any, batch_idx: int) -> None:
        self.starts.append(pl_module.core.weights.detach().clone())

    def on_train_batch_end(self, trainer: Any, pl_module: Any, *_: Any) -> None:
        self.ends.append(pl_module.core.weights.detach().clone())


def everything(module: Any, trainer: Any) -> list[Tensor]:
    """Parameters, buffers and the tensors of the optimizers' states."""
    states = [v for o in trainer.strategy.optimizers for s in o.state_dict()["state"].values() for v in s.values()]
    return [*module.state_dict().values(), *[v for v in states if isinstance(v, Tensor)]]


def equal(one: list[Tensor], other: list[Tensor]) -> bool:
    return len(one) == len(other) and all(torch.equal(a, b) for a, b in zip(one, other, strict=True))
