"""`ShotLedger`: what training on a machine has cost so far, in the ledger by epoch and in every logger as curves."""

from __future__ import annotations

import statistics
from collections.abc import Iterable
from dataclasses import asdict
from typing import Any, cast

import torch
from lightning.pytorch import Callback

from torchbp.arguments import checked
from torchbp.arguments.kinds import a, each
from torchbp.callbacks.mechanics.investigation import quantum_layers
from torchbp.callbacks.plateau_detector import PlateauDetector
from torchbp.callbacks.records.announcement import announce
from torchbp.callbacks.records.events import Event
from torchbp.diagnosis.verdicts import Verdict
from torchbp.errors import BudgetExceededError, InputError
from torchbp.hardware.calibration import Calibration, CalibrationDrift
from torchbp.hardware.jobs.runner import JobRunner

_TOTALS = ("jobs", "retries", "shots", "shots_lost", "quantum_seconds", "money")


class ShotLedger(Callback):
    """Tells each job which epoch, step and stage it belongs to, and the loggers what the run has cost.

    The curves "torchbp/hardware/shots", "quantum_seconds", "money", "jobs", "retries", "shots_lost" and "queue_seconds"
    are totals of the run, those before a restart included, summed over processes (the queue's is a median, and the mean
    of the processes'). "torchbp/calibration/..." are the medians of what the machine reports about itself.
    Checkpoints say how far each runner has come, so that a run that goes on from one replays the jobs after it, which
    are paid for, and repeats none before it. When the fit ends, bills that came late are asked for, and the account is
    an event of the kind "shots"; a budget that is exceeded is one of the kind "budget".

    Args:
        runners: whose jobs; those behind the model's quantum layers if left out.
        every_n_steps: batches from one point of the curves to the next; every epoch ends with one.
        detector: a fit that ends with its verdict "converged" counts as a converged run in the ledger.

    Raises:
        InputError: `every_n_steps` below 1; or, as the fit starts, a model without a runner.

    Each process of a distributed fit needs a run of its own name: its jobs are its own.
    """

    @checked(runners=each(a(JobRunner)), detector=a(PlateauDetector))
    def __init__(
        self,
        runners: JobRunner | Iterable[JobRunner] | None = None,
        *,
        every_n_steps: int = 50,
        detector: PlateauDetector | None = None,
    ) -> None:
        super().__init__()
        self._given = None if runners is None else list(cast(Iterable[JobRunner], runners))
        self.every_n_steps, self.detector = every_n_steps, detector
        self.runners: list[JobRunner] = self._given or []
        self._loaded: list[dict[str, Any]] = []

    @property
    def state_key(self) -> str:
        return "torchbp.ShotLedger"

    def state_dict(self) -> dict[str, Any]:
        return {"runners": [runner.state_dict() for runner in self.runners]}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self._loaded = state_dict["runners"]

    def setup(self, trainer: Any, pl_module: Any, stage: str) -> None:
        self.runners = self._given or _runners(pl_module)
        if stage == "fit" and not self.runners:
            raise InputError(
                "ShotLedger found no JobRunner behind a quantum layer of the model: pass runners=..., or use "
                "QiskitBackend(JobRunner(...))."
            )

    def on_fit_start(self, trainer: Any, pl_module: Any) -> None:
        for runner, state in zip(self.runners, self._loaded, strict=False):
            runner.load_state_dict(state)
        self._loaded = []

    def on_train_batch_start(self, trainer: Any, pl_module: Any, batch: Any, batch_idx: int) -> None:
        self._label(trainer, "train")

    def on_validation_start(self, trainer: Any, pl_module: Any) -> None:
        self._label(trainer, "validate")

    def on_test_start(self, trainer: Any, pl_module: Any) -> None:
        self._label(trainer, "test")

    def on_train_batch_end(self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        if (batch_idx + 1) % self.every_n_steps == 0:
            self._log(trainer, pl_module, on_epoch=False)

    def on_train_epoch_end(self, trainer: Any, pl_module: Any) -> None:
        self._log(trainer, pl_module, on_epoch=True)

    def on_train_end(self, trainer: Any, pl_module: Any) -> None:
        found = self.detector.diagnosis if self.detector is not None else None
        for runner in self.runners:
            runner.settle()
            if found is not None and found.verdict is Verdict.CONVERGED:
                runner.ledger.note("converged", runner.run_name, {"step": trainer.global_step})
        message = ", ".join(f"{self._sum(name):,.0f} {name}" for name in ("shots", "jobs", "retries"))
        for name in ("quantum_seconds", "money"):
            message += f", {total:,.2f} {name.replace('_', ' ')}" if (total := self._sum(name)) else ""
        account = {runner.run_name: asdict(runner.account) for runner in self.runners}
        announce(trainer, Event(trainer.global_step, "shots", f"The run has taken {message}.", account))

    def on_exception(self, trainer: Any, pl_module: Any, exception: BaseException) -> None:
        if isinstance(exception, BudgetExceededError):
            left = {r.run_name: r.budget.left(r.ledger.attempts, r.run_name) for r in self.runners}
            announce(trainer, Event(trainer.global_step, "budget", str(exception), {"left": left}))

    def _label(self, trainer: Any, stage: str) -> None:
        for runner in self.runners:
            runner.labels |= {"epoch": trainer.current_epoch, "step": trainer.global_step, "stage": stage}

    def _sum(self, name: str) -> float:
        return sum(getattr(runner.account, name) or 0.0 for runner in self.runners)

    def _log(self, trainer: Any, pl_module: Any, on_epoch: bool) -> None:
        totals = torch.tensor([self._sum(name) for name in _TOTALS], device=pl_module.device)
        queues = [runner.account.queue_seconds or 0.0 for runner in self.runners]
        queue = torch.tensor(statistics.fmean(queues), device=pl_module.device)
        sums = trainer.strategy.reduce(totals, reduce_op="sum").tolist()
        numbers = {f"torchbp/hardware/{name}": value for name, value in zip(_TOTALS, sums, strict=True)}
        numbers["torchbp/hardware/queue_seconds"] = float(trainer.strategy.reduce(queue, reduce_op="mean"))
        for runner in self.runners:
            numbers |= _calibration(runner)
        if not trainer.barebones:
            pl_module.log_dict(numbers, on_step=not on_epoch, on_epoch=on_epoch, batch_size=1)


def _runners(module: Any) -> list[JobRunner]:
    """The runners behind a model's quantum layers, each once."""
    behind = [getattr(layer.backend, "executor", None) for layer in quantum_layers(module).values()]
    return list(dict.fromkeys(runner for runner in behind if isinstance(runner, JobRunner)))


def _calibration(runner: JobRunner) -> dict[str, float]:
    """Medians of the latest snapshot, and how many times worse they are than those of the ledger's first."""
    own = runner.ledger.notes("calibration", runner.run_name)
    if not own:
        return {}
    latest = Calibration.from_dict(own[-1]["data"])
    every = [Calibration.from_dict(note["data"]) for note in runner.ledger.notes("calibration")]
    same = [c for c in every if c.backend == latest.backend]
    found = {f"torchbp/calibration/{name}": value for name, value in latest.medians().items()}
    if len(same) > 1:
        changes = CalibrationDrift.between(same[0], latest).changes
        found |= {f"torchbp/calibration/{c.quantity}_factor": c.factor for c in changes}
    return found
