"""`PlateauDetector`: says, while a model trains, whether it learns, and if not, why."""

from __future__ import annotations

import json
import math
import warnings
from collections.abc import Callable
from dataclasses import asdict, fields, replace
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import torch
from lightning.pytorch import Callback
from torch import Tensor

from torchbp.arguments import checked, kinds
from torchbp.callbacks.gradient_snr_monitor import GradientSNRMonitor
from torchbp.callbacks.mechanics.evaluation import agreed
from torchbp.callbacks.mechanics.investigation import current_loss, investigate, loss_scale, quantum_layers, weakest
from torchbp.callbacks.mechanics.isolation import LossFunction
from torchbp.callbacks.mechanics.loss_record import returned_loss
from torchbp.callbacks.records.announcement import announce
from torchbp.callbacks.records.events import Event
from torchbp.diagnosis.baseline import Baseline
from torchbp.diagnosis.drift import Reference
from torchbp.diagnosis.light_cone import dead_layers
from torchbp.diagnosis.plateau import Diagnosis, Thresholds, Verdict, diagnose
from torchbp.diagnosis.watch import Watch
from torchbp.errors import TorchBPError
from torchbp.gradients.isolation import undisturbed
from torchbp.gradients.stats import GradientStatistics, flipped_share
from torchbp.layer import QuantumLayer

T = TypeVar("T")


class PlateauDetector(Callback):
    """Turns the monitor's measurements into verdicts, with the evidence behind each; changes nothing.

    At every measurement it looks at the loss: as long as that falls by more than a hundredth of its scale in a
    window, the run is healthy, whatever its gradients. After `patience` measurements in a row where it does not, the
    detector gathers evidence (see `investigate`), at most once in `cooldown` measurements, and says what `diagnose`
    makes of it: on the console, in every logger, and in `torchbp_events.jsonl`. "torchbp/plateau_layers", the number
    of layers that something is wrong with (1 where it is the whole model), can be monitored by `EarlyStopping`.

    The loss is the one that `training_step` returns at every step. Where it returns none, as manual optimization may,
    or the monitor has a `loss_fn`, it is evaluated at every measurement: a longer window makes up for the fewer values.

    Args:
        monitor: measures the gradients; a new one with its defaults if left out. It may stand in the trainer's list
            of callbacks, before or after this one, or not at all: then it runs from here.
        patience: measurements in a row without progress before evidence is gathered; at least 1.
        window: measurements that a trend is judged over; at least 2.
        cooldown: measurements from one investigation to the next; at least 1.
        samples: random weights of each landscape probe; at least 2.
        target: loss at which the task counts as solved, if known: tells converged from trapped.
        thresholds: where the rules draw their lines.
        baseline: of comparable runs, or its file: gradients are then told in z-scores too.
        seed: of the probes' random weights.

    Attributes:
        diagnosis: the latest verdict, None as long as there is none.
        events: the verdicts so far that differ from the one before.
        judged: verdicts so far, those that don't differ too.

    Raises:
        InputError: patience, window, cooldown or samples too small.

    What it does not see: quantum modules that are not torchbp layers have their gradients measured, but no circuit to
    probe; a model without a torchbp layer gets no verdict, and one warning.
    """

    @checked(
        monitor=kinds.a(GradientSNRMonitor),
        thresholds=kinds.a(Thresholds),
        baseline=kinds.either(kinds.path, kinds.a(Baseline)),
    )
    def __init__(
        self,
        monitor: GradientSNRMonitor | None = None,
        *,
        patience: int = 3,
        window: int = 4,
        cooldown: int = 4,
        samples: int = 32,
        target: float | None = None,
        thresholds: Thresholds | None = None,
        baseline: Baseline | str | Path | None = None,
        seed: int = 0,
    ) -> None:
        super().__init__()
        self.monitor = monitor or GradientSNRMonitor()
        self.samples, self.seed = samples, seed
        self.baseline = Baseline.load(baseline) if isinstance(baseline, str | Path) else baseline
        self.thresholds = thresholds or Thresholds()
        self.watch = Watch(patience, window, cooldown, self.thresholds, target)
        self.diagnosis: Diagnosis | None = None
        self.events: list[Event] = []
        self.judged = 0
        self._measured = -1  # step of the last measurement looked at
        self._sought: int | None = None  # of the last one before the loss's scale was asked for
        self._scale: float | None = None
        self._before: dict[str, GradientStatistics] = {}
        self._references: dict[str, Reference] = {}
        self._drives_monitor = False
        self._resumes = False
        self._warned: set[str] = set()
        self._losses: list[Tensor] = []  # since the last measurement

    def restart(self) -> None:
        """Judge the run anew from here on: what a remedy calls after it has changed the weights or the shots.

        What has been measured says nothing about the run from here on, and there is no verdict until there is enough
        to judge by.
        """
        self.watch.restart()
        self.diagnosis = None
        self._before, self._losses = {}, []
        self._measured = self._last_step

    @property
    def loss_fn(self) -> LossFunction | None:
        """The monitor's: both look at the same loss."""
        return self.monitor.loss_fn

    @property
    def state_key(self) -> str:
        return "torchbp.PlateauDetector"

    def state_dict(self) -> dict[str, Any]:
        return {
            "watch": self.watch.state_dict(),
            "losses": [float(loss) for loss in self._losses],
            "scale": self._scale,
            "judged": self.judged,
            "diagnosis": None if self.diagnosis is None else json.dumps(asdict(self.diagnosis)),
            "before": {name: _tensors(statistics.cpu()) for name, statistics in self._before.items()},
            "references": {path: _tensors(reference) for path, reference in self._references.items()},
            "events": [json.dumps(asdict(event), default=str) for event in self.events],
            "monitor": self.monitor.state_dict() if self._drives_monitor else None,
        }

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.watch.load_state_dict(state_dict["watch"])
        self._losses = [torch.tensor(loss) for loss in state_dict["losses"]]
        self._scale, self.judged = state_dict["scale"], state_dict["judged"]
        self.diagnosis = None if state_dict["diagnosis"] is None else _diagnosis(json.loads(state_dict["diagnosis"]))
        self._before = {name: GradientStatistics(**tensors) for name, tensors in state_dict["before"].items()}
        self._references = {path: Reference(**tensors) for path, tensors in state_dict["references"].items()}
        self._resumes = True
        self.events = [Event(**json.loads(text)) for text in state_dict["events"]]
        if state_dict["monitor"] is not None:
            self.monitor.load_state_dict(state_dict["monitor"])

    def setup(self, trainer: Any, pl_module: Any, stage: str) -> None:
        self._drives_monitor = self.monitor not in trainer.callbacks
        if self._drives_monitor:
            self.monitor.setup(trainer, pl_module, stage)

    def on_fit_start(self, trainer: Any, pl_module: Any) -> None:
        if not self._resumes:  # the circuits of a checkpoint are measured against what they gave at first
            self._references = {}
        self._resumes = False
        if self._drives_monitor:
            self.monitor.on_fit_start(trainer, pl_module)
        self._measured = self._last_step
        if not quantum_layers(pl_module):
            name = type(pl_module).__name__
            text = f"PlateauDetector found no torchbp.QuantumLayer in {name}, so it has no circuit to probe and gives"
            self._warn(trainer, "no layer", f"{text} no verdict; the monitor's measurements are still logged.")

    def on_train_batch_start(self, trainer: Any, pl_module: Any, batch: Any, batch_idx: int) -> None:
        if not self._has_scale and self._sought != self._last_step:
            self._sought = self._last_step  # before the first step, which may spoil everything, or later
            self._find_scale(trainer, pl_module, batch, batch_idx)
        if self._drives_monitor:
            self.monitor.on_train_batch_start(trainer, pl_module, batch, batch_idx)

    def on_train_epoch_end(self, trainer: Any, pl_module: Any) -> None:
        if self._drives_monitor:
            self.monitor.on_train_epoch_end(trainer, pl_module)

    def on_train_end(self, trainer: Any, pl_module: Any) -> None:
        self._note_losses(trainer)
        if self._drives_monitor:
            self.monitor.on_train_end(trainer, pl_module)

    def on_train_batch_end(self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        loss = None if self.loss_fn else returned_loss(trainer, outputs)
        self._losses += [] if loss is None else [loss]
        if self._last_step == self._measured:
            return
        self._measured = self._last_step
        layers = quantum_layers(pl_module)
        if not layers:
            return
        if loss is None:
            now = self._attempt(trainer, lambda: current_loss(trainer, pl_module, batch, batch_idx, self.loss_fn))
            self._losses += [] if now is None else [now]
        self._note_losses(trainer)
        found = agreed(trainer, self._judge(trainer, pl_module, layers, batch, batch_idx))
        if found is not None:
            self._tell(trainer, found)
        if not trainer.barebones:
            pl_module.log("torchbp/plateau_layers", _ailing(self.diagnosis), on_step=True, on_epoch=False, batch_size=1)

    def _note_losses(self, trainer: Any) -> None:
        """Hand the losses since the last measurement on, all at once: each by itself would wait for the device."""
        if self._losses:
            own = torch.stack([loss.float().to(self._losses[-1].device) for loss in self._losses])
            losses = trainer.strategy.reduce(own, reduce_op="mean")
            self._losses = []
            for loss in losses.tolist():
                self.watch.see_loss(loss)

    def _judge(
        self, trainer: Any, module: Any, layers: dict[str, QuantumLayer], batch: Any, batch_idx: int
    ) -> Diagnosis | None:
        measurement = self.monitor.history[-1]
        self.watch.see_measurement(measurement.layers, self._flips())
        if self._scale is None:
            return None
        scale = self._scale if self._has_scale else 1.0
        dead = tuple(name for path, layer in layers.items() for name in dead_layers(path, layer, measurement.layers))
        with undisturbed(module):
            drift = agreed(trainer, self._drift(layers))
        evidence = self.watch.evidence(measurement.step, scale, dead, drift)
        if self.baseline is not None:
            evidence = replace(evidence, baseline=self.baseline.z_scores(measurement.step, evidence.quantum))
        verdict, due = self.watch.judge(evidence, self._limits)
        if not due:
            return verdict
        found = self._attempt(
            trainer,
            lambda: investigate(
                trainer,
                module,
                layers[weakest(layers, evidence.quantum)],
                batch,
                batch_idx,
                evidence,
                samples=self.samples,
                seed=self.seed + measurement.step,
                loss_fn=self.loss_fn,
            ),
        )
        return None if found is None else diagnose(found, self._limits)

    @property
    def _limits(self) -> Thresholds:
        """The thresholds; what has been found wrong is not right again by a chance that comes once in a while."""
        if self.diagnosis is None or self.diagnosis.verdict is Verdict.HEALTHY:
            return self.thresholds
        return replace(self.thresholds, falling=min(self.thresholds.falling, self.thresholds.recovering))

    @property
    def _last_step(self) -> int:
        """Step of the latest measurement; -1 before the first."""
        return self.monitor.history[-1].step if self.monitor.history else -1

    @property
    def _has_scale(self) -> bool:
        return self._scale is not None and 0 < self._scale < math.inf

    def _find_scale(self, trainer: Any, module: Any, batch: Any, batch_idx: int) -> None:
        layers = list(quantum_layers(module).values())
        if layers:
            probe = partial(loss_scale, trainer, module, layers[0], batch, batch_idx, self.loss_fn)
            self._scale = agreed(trainer, self._attempt(trainer, probe))

    def _attempt(self, trainer: Any, probe: Callable[[], T]) -> T | None:
        """What a probe finds. One that fails costs its verdict and a warning, not the training."""
        try:
            return probe()
        except Exception as error:
            if trainer.fast_dev_run:  # that is what it is for
                raise
            advice = "" if isinstance(error, TorchBPError) else " loss_fn=(module, batch) -> loss may help."
            text = f"PlateauDetector can't probe the training step, and gives no verdict: {type(error).__name__}: "
            self._warn(trainer, "probe failed", f"{text}{error}{advice}")
            return None

    def _warn(self, trainer: Any, occasion: str, message: str) -> None:
        if occasion not in self._warned and trainer.is_global_zero:
            warnings.warn(message, stacklevel=2)
        self._warned.add(occasion)

    def _flips(self) -> float | None:
        """Share of resolved gradients that changed sign since the last measurement."""
        now = dict(self.monitor.statistics)
        shares = [flipped_share(self._before[name], s) for name, s in now.items() if name in self._before]
        self._before = now
        known = [share for share in shares if share is not None]
        return sum(known) / len(known) if known else None

    def _drift(self, layers: dict[str, QuantumLayer]) -> float:
        """The largest shift of any layer's reference circuit, in standard errors."""
        for path, layer in layers.items():
            if path not in self._references:
                self._references[path] = Reference.of(layer)
        return max(self._references[path].shift(layer) for path, layer in layers.items())

    def _tell(self, trainer: Any, found: Diagnosis) -> None:
        changed = self.diagnosis is None or self.diagnosis.verdict is not found.verdict
        self.diagnosis = found
        self.judged += 1
        if changed:
            step = self.monitor.history[-1].step
            event = Event(step, "verdict", str(found), asdict(found) | {"verdict": found.verdict.value})
            self.events.append(event)
            announce(trainer, event)


def _tensors(record: Any) -> dict[str, Tensor]:
    """The fields of a dataclass of tensors."""
    return {field.name: getattr(record, field.name) for field in fields(record)}


def _diagnosis(saved: dict[str, Any]) -> Diagnosis:
    lists = {name: tuple(saved[name]) for name in ("evidence", "layers")}
    return Diagnosis(**saved | lists | {"verdict": Verdict(saved["verdict"])})


def _ailing(diagnosis: Diagnosis | None) -> float:
    if diagnosis is None or diagnosis.verdict in (Verdict.HEALTHY, Verdict.CONVERGED):
        return 0.0
    return float(len(diagnosis.layers) or 1)
