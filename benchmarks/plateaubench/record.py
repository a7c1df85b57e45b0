"""A run without anybody watching: its losses, its exact objective, and states to go back to."""

from __future__ import annotations

import copy
import logging
import math
import warnings
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any

import lightning as L
import torch
from torch import nn

from benchmarks.plateaubench.task import Scenario, Task
from torchbp import QuantumLayer

POINTS = 40
MARKS = (0.0, 0.1, 0.2, 0.3, 0.45, 0.6, 0.75, 0.9)


@dataclass
class Snapshot:
    step: int
    state: dict[str, Any]
    optimizers: list[dict[str, Any]]


@dataclass
class Record:
    """
    Attributes:
        curve: (step, exact objective on all the data), at POINTS steps and at the ends.
        snapshots: at MARKS, shares of the budget.
        ended_at: the first step whose loss was not finite, or None.
    """

    steps: int
    curve: list[tuple[int, float]] = field(default_factory=list)
    snapshots: list[Snapshot] = field(default_factory=list)
    ended_at: int | None = None


class Recorder(L.Callback):
    def __init__(self, task: Task) -> None:
        self.task, self.record = task, Record(task.steps)
        self.points = {round(i * task.steps / POINTS) for i in range(POINTS + 1)}
        self.marks = {round(share * task.steps) for share in MARKS}

    def look(self, trainer: Any, module: Any) -> None:
        step, seen = trainer.global_step, self.record.curve
        if step in self.points and (not seen or seen[-1][0] < step):
            seen.append((step, goal(self.task)))
            self.points.discard(step)
        if step in self.marks:
            self.marks.discard(step)
            optimizers = [copy.deepcopy(optimizer.state_dict()) for optimizer in trainer.optimizers]
            self.record.snapshots.append(Snapshot(step, copy.deepcopy(module.state_dict()), optimizers))

    def on_train_start(self, trainer: Any, module: Any) -> None:
        self.look(trainer, module)

    def on_train_batch_end(self, trainer: Any, module: Any, outputs: Any, *_: Any) -> None:
        loss = outputs["loss"] if isinstance(outputs, dict) and "loss" in outputs else None
        if loss is not None and self.record.ended_at is None and not math.isfinite(float(loss)):
            self.record.ended_at = trainer.global_step
        self.look(trainer, module)


def goal(task: Task, module: nn.Module | None = None, whole: Any = None) -> float:
    """The exact objective, on all the data unless told otherwise; nothing is drawn from torch's generator."""
    module = task.module if module is None else module
    with torch.no_grad(), exact(module), torch.random.fork_rng(devices=[]):
        return float(task.goal(module, task.whole if whole is None else whole))


@contextmanager
def exact(module: nn.Module, *, noiseless: bool = False) -> Iterator[None]:
    """Within the block all layers are without shots, and without noise if asked."""
    with ExitStack() as stack:
        for layer in module.modules():
            if isinstance(layer, QuantumLayer):
                stack.enter_context(layer.exact())
                if noiseless:
                    stack.enter_context(layer.noiseless())
        yield


def record(scenario: Scenario, seed: int) -> tuple[Task, Record]:
    task = scenario.task(seed)
    recorder = Recorder(task)
    fit(task, [recorder])
    return task, recorder.record


def fit(task: Task, callbacks: list[Any]) -> L.Trainer:
    """Train to the end of the budget, on one core, silently."""
    for name in ("lightning.pytorch", "lightning.fabric"):
        logging.getLogger(name).setLevel(logging.ERROR)
    trainer = L.Trainer(
        max_steps=task.steps,
        min_steps=1,
        accelerator="cpu",
        callbacks=callbacks,
        logger=False,
        enable_progress_bar=False,
        enable_checkpointing=False,
        enable_model_summary=False,
        **task.trainer,
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        trainer.fit(task.module, task.loader)
    return trainer
