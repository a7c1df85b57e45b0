"""What a scenario is, and the training run it builds from a seed."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

import lightning as L
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from torchbp import QuantumLayer

Loss = Callable[[Any, Any], Tensor]
"""(module, batch) -> a scalar."""


@dataclass
class Task:
    """One training run, before its first step.

    Attributes:
        module: what is trained. Nothing about the run is hidden outside of its `state_dict`, so that the oracle can
            go back to any step.
        loader: the batches.
        whole: all the data as one batch.
        steps: optimizer steps of the run.
        loss: the loss of a batch, as `training_step` computes it.
        objective: what the run is for, where that is not the loss (a return, whose surrogate is the loss).
        quantum: names of submodules that are quantum but no `QuantumLayer`.
        trainer: further options of the `Trainer`.
    """

    module: L.LightningModule
    loader: Iterable[Any]
    whole: Any
    steps: int
    loss: Loss
    objective: Loss | None = None
    quantum: tuple[str, ...] = ()
    trainer: dict[str, Any] = field(default_factory=dict)

    @property
    def goal(self) -> Loss:
        return self.objective or self.loss

    def layers(self) -> dict[str, nn.Module]:
        """The quantum modules by name."""
        found = {name: m for name, m in self.module.named_modules() if isinstance(m, QuantumLayer)}
        return found | {name: self.module.get_submodule(name) for name in self.quantum}


@dataclass(frozen=True)
class Scenario:
    """A way in which runs go well or badly.

    Attributes:
        name: unique.
        kind: the disguise or mechanism; scenarios of one kind belong together.
        built: what the run was built to show; the oracle decides what it does show.
        build: a seed to a `Task`; everything random in it comes from the seed.
        stuck: the layers that something is wrong with, where there are several.
    """

    name: str
    kind: str
    built: str
    build: Callable[[int], Task]
    stuck: tuple[str, ...] = ()

    def task(self, seed: int) -> Task:
        """The run, with torch's global generator seeded before and after, whatever building it drew."""
        torch.manual_seed(seed)
        task = self.build(seed)
        torch.manual_seed(seed + 1)
        return task


class Learner(L.LightningModule):
    """A model, a criterion of (output, target), an optimizer, and a schedule that is stepped with it.

    Attributes:
        clock: optimizer steps so far; what drifts or changes with time reads it.
    """

    clock: Tensor

    def __init__(
        self,
        model: nn.Module,
        criterion: Callable[[Tensor, Tensor], Tensor],
        optimizer: Callable[[Any], torch.optim.Optimizer],
        schedule: Callable[[torch.optim.Optimizer], Any] | None = None,
    ) -> None:
        super().__init__()
        self.model, self.criterion, self.optimizer, self.schedule = model, criterion, optimizer, schedule
        self.register_buffer("clock", torch.zeros((), dtype=torch.long))

    def forward(self, x: Tensor) -> Tensor:
        return self.model(x)

    def loss(self, batch: Any) -> Tensor:
        x, y = batch
        return self.criterion(self(x), y)

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        loss = self.loss(batch)
        self.log("train_loss", loss, batch_size=len(batch[0]))
        return loss

    def on_train_batch_end(self, *_: Any) -> None:
        self.clock += 1

    def configure_optimizers(self) -> Any:
        optimizer = self.optimizer([p for p in self.parameters() if p.requires_grad])
        if self.schedule is None:
            return optimizer
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": self.schedule(optimizer), "interval": "step"}}


def loss_of(module: Any, batch: Any) -> Tensor:
    return module.loss(batch)


def supervised(
    module: L.LightningModule,
    x: Tensor,
    y: Tensor,
    seed: int,
    *,
    steps: int,
    batch: int = 16,
    loss: Loss = loss_of,
    **options: Any,
) -> Task:
    """A run on (x, y), shuffled by the seed."""
    return Task(module, batches(x, y, batch, seed), (x, y), steps, loss, **options)


def batches(x: Tensor, y: Tensor, size: int, seed: int) -> DataLoader[Any]:
    return DataLoader(TensorDataset(x, y), size, shuffle=True, drop_last=True, generator=generator(seed))


def generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def pick(seed: int, *choices: Any) -> Any:
    """One of several, by the seed; choices asked for one after the other are not correlated much."""
    draw = torch.rand((), generator=generator(7919 * seed + 104729 * len(choices) + 13))
    return choices[int(draw * len(choices))]


def between(seed: int, low: float, high: float) -> float:
    """A number by the seed, uniform in its logarithm."""
    draw = float(torch.rand((), generator=generator(6151 * seed + 389)))
    return low * (high / low) ** draw
