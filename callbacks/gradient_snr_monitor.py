"""`GradientSNRMonitor`: measures, while a model trains, which of its layers have a gradient worth following."""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any, Literal
from weakref import ref

import torch
from lightning.pytorch import Callback
from lightning.pytorch.utilities import rank_zero_info
from torch import nn

from torchbp.arguments import checked, whole_number
from torchbp.callbacks.mechanics.constant_weights import constant
from torchbp.callbacks.mechanics.evaluation import sum_over_ranks
from torchbp.callbacks.mechanics.investigation import quantum_layers as _layers
from torchbp.callbacks.mechanics.isolation import LossFunction, probing, training_loss
from torchbp.callbacks.mechanics.optimizer_state import raw_optimizers
from torchbp.callbacks.records.boards import Boards
from torchbp.callbacks.records.measurement import History, Measurement
from torchbp.callbacks.records.pictures import picture_due
from torchbp.errors import InputError, PreconditionError, TorchBPError
from torchbp.gradients.groups import WeightGroup, find_groups
from torchbp.gradients.microbatch import batch_size, n_parts, smallest_part
from torchbp.gradients.probe import SourceName, check_source, measure, unfit_batch
from torchbp.gradients.source import Measured
from torchbp.gradients.stats import GradientStatistics, LayerSummary
from torchbp.gradients.training import SOURCE as TRAINING
from torchbp.gradients.training import ShiftListener, fits

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_DEAF = (
    "GradientSNRMonitor can't measure from the training at all steps: that takes quantum layers with finite shots on a "
    "simulator, trained by gradient, one backward pass a step, and no loss_fn."
)
SHARDING = ("FSDPStrategy", "DeepSpeedStrategy", "ModelParallelStrategy")
MAX_HISTORY = 1000
"""Measurements kept in memory and in checkpoints. Above that, every second of them goes; loggers have them all."""


class GradientSNRMonitor(Callback):
    """Logs the gradient signal-to-noise ratio of every layer, and changes nothing.

    Every `every_n_steps` optimizer steps, before the step, it takes samples of the gradient from the batch at hand
    and logs for each layer SNR, median magnitude, variance and the p-value of "no gradient" (defined in
    `torchbp.gradients.stats`) to every logger of the trainer. Weights, buffers, optimizer, random states and logs are
    bit for bit those of a run without it.

    Layers are found by themselves: each layer of the circuit in a `torchbp.QuantumLayer`, TorchQuantum's modules in
    existing code, and every classical module with parameters of its own, see `find_groups`.

    `EarlyStopping` and `ModelCheckpoint` can monitor "torchbp/<source>/snr_min", "..._median" and "..._max", the SNR
    over the quantum layers (ratios, not decibels); name the source then.

    Works in a Trainer of `lightning` and of `pytorch_lightning` (there, in a list: `callbacks=[monitor]`).

    Args:
        every_n_steps: optimizer steps from one measurement to the next; the first step is measured.
        source: where the samples come from. "per_sample": the batch's samples, exact, from one forward and backward
            of the model and one more pass of each quantum layer. "microbatch": the gradients of parts of the batch,
            for any model. "training": from the step's own backward pass, for quantum layers with finite shots (see
            `torchbp.gradients.training`): takes no shots, and measures nothing else. "auto": `training` where all
            quantum layers that train have finite shots, `per_sample` where that can measure them, else `microbatch`,
            and the reason is printed once a fit. Either way the SNR is that of the whole batch's gradient.
        n_microbatches: parts of the batch K for the source `microbatch`, at least 2. One reading scatters widely
            (with K = 8, four in five readings of a single weight's true 3 lie between 1.7 and 5.4, by the noncentral
            t distribution), so look at layers and trends. A batch of fewer samples is split into single samples;
            BatchNorm gets two samples at least.
        loss_fn: `(module, batch) -> loss`, where the loss of `training_step` is not the one to look at, or can't be
            evaluated on a part of a batch.
        heatmap: draw the heatmap for TensorBoard, about ten times a run.
        per_weight: write the gradient of every single quantum weight for torchbp's page in TensorBoard too, 8 bytes
            a weight and measurement.
        shots_to_resolve: compute for that page, at every measurement, the shots at which each layer with finite shots
            would have an SNR of 3, from exact distributions of up to 2000 circuits: a simulator has them, a device not.
        groups: which weights form a layer, instead of `find_groups`.

    Attributes:
        spacing: measurements are this many times as rare; a remedy sets it while its steps take far fewer shots than a
            measurement.
        history: the measurements so far, the older ones thinned out from `MAX_HISTORY` on.
        statistics: of every layer at the last measurement, weight by weight; not saved.

    Raises:
        InputError: `every_n_steps` below 1 or `n_microbatches` below 2; or, as the fit starts, a strategy that
            shards the gradients (FSDP, DeepSpeed).
        UnknownNameError: no such source.

    What it does not show: a low SNR alone is no barren plateau, a converged model has one too; and it belongs to
    this batch size. `per_sample` and `training` take a loss that is a mean over samples. A measurement costs about two
    training steps from `per_sample`, next to nothing from `training`; from `microbatch` K steps on batches of 1/K of
    the size, which with few wires, where a step takes its time whatever the batch, is nearly K steps.
    """

    @checked()
    def __init__(
        self,
        every_n_steps: int = 50,
        n_microbatches: int = 8,
        *,
        source: SourceName | Literal["training"] = "auto",
        loss_fn: LossFunction | None = None,
        heatmap: bool = True,
        per_weight: bool = False,
        shots_to_resolve: bool = False,
        groups: Callable[[nn.Module], list[WeightGroup]] = find_groups,
    ) -> None:
        super().__init__()
        if source != TRAINING:
            check_source(source)
        self.every_n_steps = whole_number("every_n_steps", every_n_steps, 1)
        self.n_microbatches, self.source = whole_number("n_microbatches", n_microbatches, 2), source  # for a spread
        self.loss_fn, self.draw_heatmap, self.groups = loss_fn, heatmap, groups
        self.per_weight, self.shots_to_resolve = per_weight, shots_to_resolve
        self.spacing = 1
        self.history: list[Measurement] = []
        self.statistics: dict[str, GradientStatistics] = {}
        self._source = _on_parts(source)  # the one that "auto" has come to in this fit
        self._deaf = False  # whether the training can't be listened to in this fit
        self._listener: ShiftListener | None = None
        self._listened = 0  # the step it listens to
        self._needed: dict[str, float] | None = None  # shots to resolve, as that step began
        self._steps = 0
        self._resumes = False
        self._model: Callable[[], Any] = lambda: None
        self._warned: set[str] = set()
        self._boards = Boards()

    @property
    def steps(self) -> int:
        """Optimizer steps of the run that have begun so far: the clock of measurements and events."""
        return self._steps

    @property
    def latest(self) -> list[LayerSummary]:
        """The layers at the last measurement; empty before the first."""
        return list(self.history[-1].layers) if self.history else []

    def heatmap(self) -> Figure:
        """The history as a picture, see `snr_heatmap`; `monitor.heatmap().savefig("snr.png")`."""
        from torchbp.callbacks.records.heatmap import snr_heatmap

        return snr_heatmap(self.history)

    def report(self) -> str:
        """The latest measurement as a table, one row a layer."""
        return self.history[-1].report() if self.history else "Nothing has been measured yet."

    @property
    def state_key(self) -> str:
        return f"torchbp.GradientSNRMonitor.{self.source}"

    def state_dict(self) -> dict[str, Any]:
        return {"steps": self._steps, "history": History.of(self.history).state_dict()}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self._steps, self._resumes = state_dict["steps"], True
        self.history = History.from_state_dict(state_dict["history"]).measurements()

    def setup(self, trainer: Any, pl_module: Any, stage: str) -> None:
        sharding = [cls.__name__ for cls in type(trainer.strategy).__mro__ if cls.__name__ in SHARDING]
        if stage == "fit" and sharding:
            raise InputError(
                f"GradientSNRMonitor needs whole gradients on every process, and {sharding[0]} shards them: use "
                '"ddp", or a single device.'
            )

    def on_fit_start(self, trainer: Any, pl_module: Any) -> None:
        if not self._resumes and self._model() is not pl_module:  # another run
            self._steps, self.history, self.statistics = 0, [], {}
        self._resumes, self._model = False, ref(pl_module)
        self._boards = Boards()
        self._source, self._deaf = _on_parts(self.source), False
        self._stop_listening()
        groups = self.groups(pl_module)
        if not any(group.kind == "quantum" for group in groups):
            self._warn(trainer, "no quantum layer", _no_quantum_layer(pl_module))

    def on_train_start(self, trainer: Any, pl_module: Any) -> None:
        # Added to a run that a checkpoint continues, it goes by the run's clock, which is that of its losses too.
        self._steps = max(self._steps, trainer.fit_loop.epoch_loop._batches_that_stepped)

    def on_train_batch_start(self, trainer: Any, pl_module: Any, batch: Any, batch_idx: int) -> None:
        if batch_idx % trainer.accumulate_grad_batches:  # in the middle of an accumulation window
            return
        step, self._steps = self._steps, self._steps + 1
        if step % (self.every_n_steps * self.spacing):
            return
        if self._can_listen(trainer, pl_module):
            self._listener, self._listened = ShiftListener(_layers(pl_module), partial(probing, pl_module)), step
            self._listener.listen()
            self._needed = self._shots(trainer, pl_module, batch, batch_idx)
            return
        if self.source == TRAINING:
            self._say_once("deaf", _DEAF)
            return
        layers = self._measure(trainer, pl_module, batch, batch_idx)
        self._note(trainer, pl_module, step, layers, self._shots(trainer, pl_module, batch, batch_idx))

    def on_train_batch_end(self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        if self._listener is None:
            return
        scaler = getattr(trainer.precision_plugin, "scaler", None)
        scale = (1.0 if scaler is None else scaler.get_scale()) / trainer.accumulate_grad_batches
        self._listener.end_batch(batch_size(batch), scale)
        if (batch_idx + 1) % trainer.accumulate_grad_batches and not trainer.is_last_batch:
            return
        self._listener.stop()
        groups = self.groups(pl_module)
        measured, unfit, self._listener = self._listener.measured(groups), self._listener.unfit, None
        layers = self._summarized(trainer, measured, groups)
        self._note(trainer, pl_module, self._listened, layers, self._needed)
        if sum_over_ranks(trainer, len(unfit)):
            self._deaf = True
            why = next((f": {path} was called {how}" for path, how in unfit.items()), "")
            self._say_once("deaf", f"GradientSNRMonitor can't measure from the training{why}.")

    def on_exception(self, trainer: Any, pl_module: Any, exception: BaseException) -> None:
        self._stop_listening()

    def teardown(self, trainer: Any, pl_module: Any, stage: str) -> None:
        self._stop_listening()

    def on_train_epoch_end(self, trainer: Any, pl_module: Any) -> None:
        if picture_due(trainer.current_epoch + 1, trainer.max_epochs):
            self._boards.report(trainer, self.history, self.draw_heatmap)

    def on_train_end(self, trainer: Any, pl_module: Any) -> None:
        if not picture_due(trainer.current_epoch, trainer.max_epochs):  # else it was drawn a moment ago
            self._boards.report(trainer, self.history, self.draw_heatmap)

    def _measure(self, trainer: Any, module: Any, batch: Any, batch_idx: int) -> list[LayerSummary]:
        if any(nn.parameter.is_lazy(p) for p in module.parameters()):  # they take shape in the first forward
            return []
        groups, world, smallest = self.groups(module), trainer.world_size, smallest_part(module)

        def least(number: int) -> int:  # the training step may communicate: all ranks must run it equally often
            if world == 1:
                return number
            return int(trainer.strategy.reduce(torch.tensor(number, device=module.device), reduce_op="min"))

        n = least(n_parts(batch_size(batch) or 0, self.n_microbatches, smallest))
        if n * world < 2:
            self._warn(
                trainer,
                "unfit batch",
                f"GradientSNRMonitor can't measure on some batches and skips them. {unfit_batch(batch, smallest)}",
            )
            return []
        return self._summarized(trainer, self._probe(trainer, module, batch, batch_idx, groups, least), groups)

    def _summarized(self, trainer: Any, measured: Measured, groups: list[WeightGroup]) -> list[LayerSummary]:
        """Of all processes together."""
        statistics = measured.statistics
        if trainer.world_size > 1:
            statistics = statistics.reduce(lambda t: trainer.strategy.reduce(t, reduce_op="sum"))
        any_sample = bool(statistics.count.any())
        if "probe failed" not in self._warned and not any_sample:
            self._warn(
                trainer,
                "no gradient",
                "GradientSNRMonitor got no finite gradient: the training step returned no loss, the loss is NaN or "
                "infinite, or nothing is trainable. Such batches are skipped.",
            )
        measured = Measured(measured.source, statistics)
        if any_sample:
            parts = statistics.split([len(group) for group in groups])
            self.statistics = {group.name: part for group, part in zip(groups, parts, strict=True)}
        return measured.summaries(groups)

    def _probe(
        self,
        trainer: Any,
        module: Any,
        batch: Any,
        batch_idx: int,
        groups: list[WeightGroup],
        least: Callable[[int], int],
    ) -> Measured:
        scaler = getattr(trainer.precision_plugin, "scaler", None)
        scale = 1.0 if scaler is None else scaler.get_scale()
        try:
            with torch.enable_grad(), training_loss(trainer, module, batch_idx, self.loss_fn) as loss:
                try:
                    found = measure(module, loss, batch, groups, self._source, self.n_microbatches, scale, least)
                except (IndexError, RuntimeError, ValueError):
                    size = batch_size(batch) or 0  # a step that squeezes its tensors fails on a part of one sample
                    pairs = 0 if trainer.world_size > 1 else min(self.n_microbatches, size // 2)
                    few = pairs < 2 or n_parts(size, self.n_microbatches, 1) <= pairs
                    if few or self._source == "per_sample":
                        raise
                    found = measure(module, loss, batch, groups, "microbatch", pairs, scale, least)
                    found = replace(found, reason=f"the training step fails on one sample, so of {size // pairs} each")
                    self.n_microbatches = pairs
        except Exception as error:
            if trainer.fast_dev_run:  # that is what it is for
                raise
            if trainer.world_size > 1 and self._source == "auto":  # it failed on parts, which the others go on with
                self._source = "microbatch"
            advice = ""
            if not isinstance(error, TorchBPError):
                advice = (
                    " loss_fn=(module, batch) -> loss may help; so may a smaller n_microbatches, where a part of one "
                    "sample is too small for it (a squeeze())."
                )
            if isinstance(error, PreconditionError):
                advice = ' source="microbatch" measures any model.'
            self._warn(
                trainer,
                "probe failed",
                f"GradientSNRMonitor can't evaluate the training step by itself, and skips it: "
                f"{type(error).__name__}: {error}{advice}",
            )
            nothing = torch.full((1, sum(map(len, groups))), torch.nan, device=module.device)
            return Measured(self._source, GradientStatistics.from_samples(nothing))
        if self._source == "auto" and found.source == "microbatch":  # and stays so: numbers of two sources don't mix
            self._source = "microbatch"
            rank_zero_info(f"GradientSNRMonitor measures from micro-batches: {found.reason or 'so do other ranks'}.")
        for name, why in found.unmeasured.items():
            self._say_once(name, f"GradientSNRMonitor does not measure {name} from single samples: {why}.")
        return found

    def _can_listen(self, trainer: Any, module: Any) -> bool:
        """Whether the step that begins may tell the gradient by itself: one loss, one backward pass, finite shots."""
        if self._deaf or self.source not in ("auto", TRAINING) or self.loss_fn is not None:
            return False
        if not module.automatic_optimization:
            return False
        layers = _layers(module)
        once = all(type(optimizer).__name__ != "LBFGS" for optimizer in raw_optimizers(trainer))
        return once and fits(layers) and not any(constant(layer) for layer in layers.values())

    def _stop_listening(self) -> None:
        if self._listener is not None:
            self._listener.stop()
        self._listener = None

    def _note(
        self, trainer: Any, module: Any, step: int, layers: list[LayerSummary], shots: dict[str, float] | None
    ) -> None:
        if any(layer.n_samples for layer in layers):
            self._record(trainer, module, Measurement(step, tuple(layers)), shots)

    def _shots(self, trainer: Any, module: Any, batch: Any, batch_idx: int) -> dict[str, float] | None:
        if not self.shots_to_resolve:
            return None
        from torchbp.callbacks.mechanics.investigation import needed_shots

        try:
            return needed_shots(trainer, module, batch, batch_idx, self.loss_fn)
        except Exception as error:
            if trainer.fast_dev_run:
                raise
            text = "GradientSNRMonitor can't tell the shots to resolve a gradient, and leaves them out"
            self._warn(trainer, "shots", f"{text}: {type(error).__name__}: {error}")
            return {}

    def _record(
        self, trainer: Any, module: Any, measurement: Measurement, shots: dict[str, float] | None = None
    ) -> None:
        self.history.append(measurement)
        if len(self.history) > MAX_HISTORY:
            self.history = self.history[-1::-2][::-1]
        if not trainer.barebones:
            module.log_dict(measurement.summary(), on_step=True, on_epoch=False, logger=False, batch_size=1)
        self._boards.log(trainer, measurement, shots, self.statistics if self.per_weight else None)

    def _say_once(self, occasion: str, message: str) -> None:
        if occasion not in self._warned:
            rank_zero_info(message)
        self._warned.add(occasion)

    def _warn(self, trainer: Any, occasion: str, message: str) -> None:
        if occasion not in self._warned and trainer.is_global_zero:
            warnings.warn(message, stacklevel=2)
        self._warned.add(occasion)


def _on_parts(source: SourceName | Literal["training"]) -> SourceName:
    """Where the training itself tells nothing."""
    return "auto" if source == "training" else source


def _no_quantum_layer(module: nn.Module) -> str:
    seen = Counter(type(m).__name__ for m in module.modules() if next(m.parameters(recurse=False), None) is not None)
    listed = ", ".join(f"{name} x{count}" if count > 1 else name for name, count in seen.items())
    return (
        f"GradientSNRMonitor found no quantum layer in {type(module).__name__}; it saw {listed or 'no parameters'}, "
        "and measures these. Of a circuit written as functions in a plain torch.nn.Module, or of another library, "
        "torchbp.mark_quantum(module) says that it is one."
    )
