"""`PlateauDetector`: says, while a model trains, whether it learns, and if not, why."""

from __future__ import annotations

import json
import math
import warnings
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, TypeVar
from weakref import ref

from lightning.pytorch import Callback
from lightning.pytorch.utilities import rank_zero_info
from torch import Tensor

from torchbp.arguments import checked, kinds
from torchbp.callbacks.gradient_snr_monitor import GradientSNRMonitor
from torchbp.callbacks.mechanics.evaluation import agreed, mean_over_ranks
from torchbp.callbacks.mechanics.experiments.held_batches import HeldBatches
from torchbp.callbacks.mechanics.experiments.laboratory import investigate
from torchbp.callbacks.mechanics.experiments.loss_feed import LossFeed
from torchbp.callbacks.mechanics.experiments.references import References
from torchbp.callbacks.mechanics.experiments.step_record import StepRecord
from torchbp.callbacks.mechanics.investigation import current_loss
from torchbp.callbacks.mechanics.isolation import LossFunction
from torchbp.callbacks.records.announcement import announce
from torchbp.callbacks.records.events import Event
from torchbp.diagnosis.baseline import Baseline
from torchbp.diagnosis.evidence import Evidence, LayerEvidence
from torchbp.diagnosis.light_cone import dead_layers
from torchbp.diagnosis.plateau import Experiment, Thresholds, diagnose, progresses
from torchbp.diagnosis.trend import LossTrend
from torchbp.diagnosis.verdicts import Diagnosis
from torchbp.diagnosis.watch import Watch
from torchbp.errors import TorchBPError
from torchbp.layer import QuantumLayer
from torchbp.layer.foreign import AnyLayer, ForeignLayer, quantum_modules

T = TypeVar("T")


class PlateauDetector(Callback):
    """Says whether a run learns, and if not, why, with the evidence behind it; changes nothing.

    It reads the loss of every step, which costs nothing. As long as that falls, and fast enough to matter, the run is
    healthy, whatever its gradients. After `patience` looks in a row where it does not, small experiments on held
    batches find out what would make the run better (see `torchbp.diagnosis.plateau`): going down from here, from
    other weights, without shot noise, without noise. They leave no trace. What they come to is said on the console, in
    every logger, and in `torchbp_events.jsonl`. A loss that is not finite is told at once. "torchbp/plateau_layers",
    the number of layers that something is wrong with (1 where it is the whole model), can be monitored by
    `EarlyStopping`.

    The loss is the one that `training_step` returns; where it returns none, what it hands to `manual_backward`; else,
    or where the monitor has a `loss_fn`, it is evaluated now and then.

    Args:
        monitor: measures the gradients, for people to see; left out, the one in the trainer's list of callbacks, or a
            new one with its defaults, which then runs from here.
        patience: looks in a row without progress before experiments are made; at least 1. There are four looks in a
            window.
        window: optimizer steps that a trend is judged over, at least 8; None: a twentieth of the run, from 20 to 100.
        cooldown: windows from one investigation to the next, at least 1; doubled each time the verdict stays.
        samples: random weights in each survey of the landscape, at least 2.
        target: loss at which the task counts as solved, if known: tells converged from trapped.
        thresholds: where the questions draw their lines.
        baseline: of comparable runs, or its file: gradients are then told in z-scores too.
        seed: of the experiments' random numbers.

    Attributes:
        diagnosis: the latest verdict, None as long as there is none.
        events: the verdicts so far that differ from the one before.
        judged: verdicts so far, those that don't differ too.

    Raises:
        InputError: patience, window, cooldown or samples too small.

    What it does not see: the circuit of other libraries' modules (`torchbp.layer.foreign`), which it judges by what
    they return; and TorchQuantum's that were not translated, whose gradients are measured, and which get no verdict.
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
        patience: int = 2,
        window: int | None = None,
        cooldown: int = 1,
        samples: int = 16,
        target: float | None = None,
        thresholds: Thresholds | None = None,
        baseline: Baseline | str | Path | None = None,
        seed: int = 0,
    ) -> None:
        super().__init__()
        self.watch = Watch(window, patience, cooldown)
        self._monitor_is_own = monitor is None
        self.monitor = monitor or GradientSNRMonitor()
        self.samples, self.seed, self.target = samples, seed, target
        self.baseline = Baseline.load(baseline) if isinstance(baseline, str | Path) else baseline
        self.thresholds = thresholds or Thresholds()
        self._feed, self._held, self._steps = LossFeed(), HeldBatches(), StepRecord()
        self._drives_monitor = False
        self._resumes = False
        self._model: Callable[[], Any] = lambda: None
        self._warned: set[str] = set()
        self._forget()

    def _forget(self) -> None:
        """Everything about a run."""
        self.diagnosis: Diagnosis | None = None
        self.events: list[Event] = []
        self.judged = 0
        self.watch.restart()
        self._known = Evidence(0, LossTrend.of([]))  # of the last survey
        self._references = References()
        self._clear()

    def _clear(self) -> None:
        self._feed.clear()
        self._held.clear()
        self._steps.restart()

    def restart(self) -> None:
        """Judge the run anew from here on: what a remedy calls after it has changed the weights or the shots.

        What has been seen says nothing about the run from here on, and there is no verdict until there is enough to
        judge by.
        """
        self.watch.restart()
        self.diagnosis = None
        self._known = replace(self._known, span=math.nan, layers=())
        self._clear()

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
            "known": [self._known.span, self._known.scale],
            "judged": self.judged,
            "diagnosis": None if self.diagnosis is None else self.diagnosis.dumps(),
            "references": self._references.state_dict(),
            "events": [json.dumps(asdict(event), default=str) for event in self.events],
            "monitor": self.monitor.state_dict() if self._drives_monitor else None,
        }

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self._forget()
        self.watch.load_state_dict(state_dict["watch"])
        span, scale = state_dict["known"]
        self._known, self.judged = replace(self._known, span=span, scale=scale), state_dict["judged"]
        saved = state_dict["diagnosis"]
        self.diagnosis = None if saved is None else Diagnosis.loads(saved)
        self._references.load_state_dict(state_dict["references"])
        self.events = [Event(**json.loads(text)) for text in state_dict["events"]]
        if state_dict["monitor"] is not None:
            self.monitor.load_state_dict(state_dict["monitor"])
        self._resumes = True

    def setup(self, trainer: Any, pl_module: Any, stage: str) -> None:
        listed = [callback for callback in trainer.callbacks if isinstance(callback, GradientSNRMonitor)]
        if self._monitor_is_own and listed:
            self.monitor = listed[0]
        self._drives_monitor = self.monitor not in trainer.callbacks
        if self._drives_monitor:
            self.monitor.setup(trainer, pl_module, stage)

    def on_fit_start(self, trainer: Any, pl_module: Any) -> None:
        if not self._resumes and self._model() is not pl_module:  # another run, which nothing is known of
            self._forget()
        self._resumes = False
        self._model = ref(pl_module)
        self._clear()
        if self._drives_monitor:
            self.monitor.on_fit_start(trainer, pl_module)
        layers = quantum_modules(pl_module)
        self._steps.begin(layers)
        if not layers:
            name = type(pl_module).__name__
            text = f"PlateauDetector found no quantum layer in {name} that it could call at other weights, and gives no"
            self._warn(trainer, "no layer", f"{text} verdict; the monitor's measurements are still logged.")
        for path in [p for p, q in layers.items() if isinstance(q, ForeignLayer) and p not in self._warned]:
            self._warned.add(path)
            rank_zero_info(f"PlateauDetector judges {path or 'the model'} by what it returns: {layers[path].unknown}")

    def on_train_start(self, trainer: Any, pl_module: Any) -> None:
        if self._drives_monitor:
            self.monitor.on_train_start(trainer, pl_module)
        self.watch.plan(trainer.estimated_stepping_batches)

    def on_train_batch_start(self, trainer: Any, pl_module: Any, batch: Any, batch_idx: int) -> None:
        if self._drives_monitor:
            self.monitor.on_train_batch_start(trainer, pl_module, batch, batch_idx)
        if not self.watch.steps and math.isnan(self._known.span) and (layers := quantum_modules(pl_module)):
            self._survey(trainer, pl_module, layers, batch, batch_idx)
        if self.watch.doubts or self.watch.steps >= self.watch.window - self.watch.stride:
            self._held.keep(batch)

    def on_before_backward(self, trainer: Any, pl_module: Any, loss: Tensor) -> None:
        if self.loss_fn is None:
            self._feed.hand(loss)

    def on_before_optimizer_step(self, trainer: Any, pl_module: Any, optimizer: Any) -> None:
        if getattr(trainer.precision_plugin, "scaler", None) is None:  # else gradients may still be scaled
            self._steps.note(getattr(optimizer, "optimizer", optimizer))

    def on_train_epoch_end(self, trainer: Any, pl_module: Any) -> None:
        if self._drives_monitor:
            self.monitor.on_train_epoch_end(trainer, pl_module)

    def on_train_end(self, trainer: Any, pl_module: Any) -> None:
        for loss in self._feed.read(trainer):
            self.watch.see(loss)
        if self._drives_monitor:
            self.monitor.on_train_end(trainer, pl_module)

    def on_exception(self, trainer: Any, pl_module: Any, exception: BaseException) -> None:
        if self._drives_monitor:
            self.monitor.on_exception(trainer, pl_module, exception)

    def on_train_batch_end(self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        if self._drives_monitor:
            self.monitor.on_train_batch_end(trainer, pl_module, outputs, batch, batch_idx)
        self._feed.batch(trainer, None if self.loss_fn else outputs)
        if (batch_idx + 1) % trainer.accumulate_grad_batches and not trainer.is_last_batch:
            return
        layers = quantum_modules(pl_module)
        if not layers:
            return
        look = self.watch.step()
        if self.watch.steps == 1:
            self._log(trainer, pl_module)
        losses = self._feed.step(trainer)
        if self._feed.silent and self.watch.steps % max(1, self.watch.stride // 4) == 0:
            now = self._attempt(trainer, lambda: current_loss(trainer, pl_module, batch, batch_idx, self.loss_fn))
            losses += [] if now is None else [float(mean_over_ranks(trainer, now))]
        if look:
            losses += self._feed.read(trainer)
        for loss in losses:
            self.watch.see(loss)
        if look or not all(map(math.isfinite, losses)):
            self._look(trainer, pl_module, layers, batch_idx)

    def _look(self, trainer: Any, module: Any, layers: dict[str, AnyLayer], batch_idx: int) -> None:
        """Is there progress? If there may be none, and it may be afforded, find out why."""
        evidence = self._evidence()
        self.watch.note(agreed(trainer, progresses(evidence, self._limits)))
        evidence = replace(
            evidence,
            layers=tuple(self._layer(path, layer, evidence.loss.rate) for path, layer in layers.items()),
            stalled=self.watch.stalled,
            drift=agreed(trainer, self._references.drift(module, layers)),
        )
        found = agreed(trainer, diagnose(evidence, self._limits))
        if isinstance(found, Experiment) and self.watch.rests:
            found = None
        elif isinstance(found, Experiment):
            found = self.watch.investigated(self._investigate(trainer, module, layers, batch_idx, evidence))
        if found is not None:
            self._tell(trainer, found)
        if self.watch.steps % self.watch.window < self.watch.stride:
            self._steps.restart()
        self._log(trainer, module)

    def _log(self, trainer: Any, module: Any) -> None:
        """For `EarlyStopping`, from the first step on."""
        if not trainer.barebones:
            module.log("torchbp/plateau_layers", _ailing(self.diagnosis), on_step=True, on_epoch=False, batch_size=1)

    def _investigate(
        self, trainer: Any, module: Any, layers: dict[str, AnyLayer], batch_idx: int, evidence: Evidence
    ) -> Diagnosis | None:
        made = self._attempt(trainer, lambda: self._experiments(trainer, module, layers, batch_idx, evidence))
        if made is None:
            return None
        found, self._known = agreed(trainer, made)
        return found

    def _experiments(
        self, trainer: Any, module: Any, layers: dict[str, AnyLayer], batch_idx: int, evidence: Evidence
    ) -> tuple[Diagnosis | None, Evidence]:
        return investigate(
            trainer,
            module,
            {x.path: layers[x.path] for x in evidence.trained},
            self._held,
            batch_idx,
            evidence,
            self._limits,
            samples=self.samples,
            seed=self.seed + self.step,
            step_length=self._steps.length,
            loss_fn=self.loss_fn,
        )

    def _survey(self, trainer: Any, module: Any, layers: dict[str, AnyLayer], batch: Any, batch_idx: int) -> None:
        """What there is to gain, before the first step, which may spoil everything."""
        self._held.keep(batch)
        first = Evidence(self.step, self.watch.trend, tuple(self._layer(*item, 0.0) for item in layers.items()))
        made = self._attempt(trainer, lambda: self._experiments(trainer, module, layers, batch_idx, first))
        self._known = self._known if made is None else agreed(trainer, made)[1]
        self._held.clear()

    def _evidence(self) -> Evidence:
        """What is known of the whole run for nothing, and what the last survey left."""
        trend = self.watch.trend
        evidence = Evidence(
            step=self.step,
            loss=trend,
            span=max(self._known.span, trend.fall),  # NaN, as long as there was no survey
            scale=self._known.scale,
            horizon=self.watch.horizon,
            patience=self.watch.patience,
            measured=tuple(self.monitor.latest),
            target=self.target,
        )
        if self.baseline is not None:
            quantum = tuple(layer for layer in evidence.measured if layer.kind == "quantum")
            evidence = replace(evidence, baseline=self.baseline.z_scores(self.step, quantum))
        return evidence

    def _layer(self, path: str, layer: AnyLayer, rate: float) -> LayerEvidence:
        names = tuple(f"{path}/{name}" if path else name for name in layer.weight_groups)
        fall = self._steps.fall_rate(path)
        fresh = LayerEvidence(
            path,
            names,
            untrained=self._steps.untrained(path),
            n_shots=layer.shots if isinstance(layer, QuantumLayer) else None,
            noisy=layer.noise is not None,
            dead=dead_layers(path, layer, self.monitor.latest),
            share=None if fall is None or not rate > 0 else fall / rate,
        )
        known = next((x for x in self._known.layers if x.path == path), None)
        if known is None or known.concentration is None or self.watch.doubts:
            return fresh
        if known.concentration.far <= self.thresholds.concentrated:  # how far it has come off the plateau may change
            return fresh
        return replace(known, untrained=fresh.untrained, n_shots=fresh.n_shots, dead=fresh.dead, share=fresh.share)

    @property
    def step(self) -> int:
        """Optimizer steps of the run before the present one."""
        return self.monitor.steps - 1

    @property
    def _limits(self) -> Thresholds:
        """The thresholds; what has been found wrong is not right again by a chance that comes once in a while."""
        if self.diagnosis is None or self.diagnosis.verdict.is_fine:
            return self.thresholds
        return replace(self.thresholds, falling=self.thresholds.falling / 10)

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

    def _tell(self, trainer: Any, found: Diagnosis) -> None:
        ago = self.watch.onset
        found = replace(found, onset=None if ago is None else max(0, self.step - ago))
        before = self.diagnosis
        changed = before is None or (before.verdict, before.layers) != (found.verdict, found.layers)
        self.diagnosis = found
        self.judged += 1
        if changed:
            event = Event(self.step, "verdict", str(found), {**asdict(found), "verdict": found.verdict.value})
            self.events.append(event)
            announce(trainer, event)


def _ailing(diagnosis: Diagnosis | None) -> float:
    if diagnosis is None or diagnosis.verdict.is_fine:
        return 0.0
    return float(len(diagnosis.layers) or 1)
