"""Tiny fits for the tests of callbacks, in the Trainer of either Lightning package."""

import importlib
import random

import numpy as np
import torch
import torchmetrics
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from torchbp import QuantumLayer
from torchbp.circuits import angle_encoding, hardware_efficient

PACKAGES = ["lightning.pytorch", "pytorch_lightning"]


def quantum_layer() -> QuantumLayer:
    return QuantumLayer(angle_encoding(n_wires=2) + hardware_efficient(n_wires=2, depth=2))


def lightning_module(pl, core=None, step=None, manual=False, mixing=True):
    """A restless LightningModule: dropout, a metric, random numbers, lists, logs, BatchNorm if `mixing`."""

    class Model(pl.LightningModule):
        def __init__(self):
            super().__init__()
            self.automatic_optimization = not manual
            norms = [nn.BatchNorm1d(2)] if mixing else [nn.LayerNorm(2)]
            self.encoder = nn.Sequential(nn.Linear(3, 2), *norms, nn.Dropout(0.2))
            self.core = quantum_layer() if core is None else core
            self.head = nn.Linear(2, 1)
            self.error = torchmetrics.MeanMetric()
            self.losses, self.calls = [], 0

        def loss(self, batch):
            x, y = batch
            x += 0.01 * torch.randn_like(x) + random.random() + np.random.rand()
            loss = nn.functional.mse_loss(self.head(self.core(self.encoder(x).float()).float()).float(), y)
            self.calls += 1
            self.losses.append(loss.detach())
            self.error.update(loss.detach())
            self.log("loss", loss, on_step=True, on_epoch=True)
            self.log("error", self.error, on_step=False, on_epoch=True)
            self.log_dict({"calls": float(self.calls)})
            return loss

        def training_step(self, batch, batch_idx):
            loss = self.loss(batch)
            if manual:
                optimizer = self.optimizers()
                optimizer.zero_grad()
                self.manual_backward(loss)
                optimizer.step()
                self.lr_schedulers().step()
                return None
            return loss if step is None else step(self, batch, loss)

        def configure_optimizers(self):
            optimizer = torch.optim.Adam(self.parameters(), lr=0.01)
            return [optimizer], [torch.optim.lr_scheduler.StepLR(optimizer, 2, 0.9)]

    torch.manual_seed(0)
    return Model()


def plain_loss(module, batch):
    return nn.functional.mse_loss(module.head(module.core(module.encoder(batch[0]))), batch[1])


def plain_module(pl, core=None, step=None):
    """Nothing random in it, so that its gradients can be computed again."""
    module = lightning_module(pl, core)
    module.encoder = nn.Sequential(nn.Linear(3, 2))

    def training_step(batch, batch_idx):
        loss = plain_loss(module, batch)
        return loss if step is None else step(batch, batch_idx, loss)

    module.training_step = training_step
    return module


def loader(n=32, batch=8):
    generator = torch.Generator().manual_seed(1)
    x = torch.randn(n, 3, generator=generator)
    return DataLoader(TensorDataset(x, torch.sin(x.sum(1, keepdim=True))), batch_size=batch)


def trainer_of(pl, callbacks, **options):
    quiet = {"enable_progress_bar": False, "enable_model_summary": False, "enable_checkpointing": False}
    defaults = {"max_epochs": 1, "logger": False, "accelerator": "cpu", "devices": 1, "log_every_n_steps": 1}
    return pl.Trainer(callbacks=callbacks, **{**quiet, **defaults, **options})


def recorder(pl):
    class Recorder(importlib.import_module(f"{pl.__name__}.loggers").Logger):
        name, version = "recorder", 0

        def __init__(self):
            super().__init__()
            self.rows = []

        def log_hyperparams(self, *args, **kwargs): ...

        def log_metrics(self, metrics, step=None):
            self.rows.append((step, dict(metrics)))

        def of(self, prefix):
            return [(step, m) for step, m in self.rows if any(key.startswith(prefix) for key in m)]

    return Recorder()


def fitted(pl, monitor, module=None, data=None, **options):
    trainer = trainer_of(pl, [monitor] if monitor else [], **options)
    trainer.fit(module or lightning_module(pl), data or loader())
    return trainer


def seed(number):
    random.seed(number), np.random.seed(number), torch.manual_seed(number)


def trace(pl, monitor, module, **options):
    """All that a fit leaves behind."""
    seed(3)
    log = recorder(pl)
    fit = {"max_epochs": 2, "logger": log} | options
    trainer = fitted(pl, monitor, module, **fit)
    optimizers = [optimizer.state_dict() for optimizer in trainer.optimizers]
    metrics = {k: float(v) for k, v in trainer.callback_metrics.items() if not k.startswith("torchbp")}
    rows = [(step, {k: v for k, v in row.items() if not k.startswith("torchbp")}) for step, row in log.rows]
    rows = [row for row in rows if row[1].keys() - {"epoch"}]
    scaler = getattr(trainer.precision_plugin, "scaler", None)
    groups = [optimizer["param_groups"] for optimizer in optimizers]
    return {
        "tensors": [*module.state_dict().values(), *module.losses, torch.get_rng_state(), *tensors_in(optimizers)],
        "others": repr([rows, metrics, module.calls, trainer.global_step, groups, scaler and scaler.state_dict()]),
        "random": (random.getstate(), repr(np.random.get_state())),
        "loggers": trainer.loggers == [log],
    }


def tensors_in(value):
    if isinstance(value, torch.Tensor):
        return [value]
    items = value.values() if isinstance(value, dict) else value if isinstance(value, list | tuple) else []
    return [tensor for item in items for tensor in tensors_in(item)]


def same(one, other):
    """Whether two traces agree bit for bit."""
    pairs = zip(one["tensors"], other["tensors"], strict=True)
    return all(torch.equal(a, b) for a, b in pairs) and all(one[k] == other[k] for k in ("others", "random", "loggers"))
