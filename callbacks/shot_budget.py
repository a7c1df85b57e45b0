"""`ShotBudget`: no training step begins that the shots left do not pay for."""

from __future__ import annotations

import json
import math
import warnings
from collections import deque
from dataclasses import asdict
from typing import Any, Literal

from lightning.pytorch import Callback

from torchbp.arguments import checked
from torchbp.callbacks.mechanics.evaluation import sum_over_ranks
from torchbp.callbacks.mechanics.investigation import quantum_layers
from torchbp.callbacks.mechanics.shot_forecast import ShotForecast
from torchbp.callbacks.mechanics.shot_settings import ShotSettings, in_words
from torchbp.callbacks.records.announcement import announce
from torchbp.callbacks.records.events import Event
from torchbp.errors import InputError
from torchbp.layer import QuantumLayer

Policy = Literal["stop", "degrade"]
HORIZON = 100
"""Steps that the shots left should last for, at most, before `degrade` takes fewer for each."""
MEMORY = 200
"""Steps back over which the most expensive probe is looked for."""


class ShotBudget(Callback):
    """Counts all shots of a run, and ends it, or takes fewer shots for each circuit, before more are spent.

    Every shot counts, whatever spends it: steps, validation, the monitor's and the detector's probes, remedies. Before
    a step its shots are predicted from the batch at hand, measurement groups and shift rules (see `ShotForecast`);
    what the most expensive of the recent probes and the last validation took is kept back for the next ones. A step
    that does not fit is not taken.

    Args:
        total: shots of the run, all processes and all quantum layers together.
        per_epoch: shots of each epoch.
        policy: "stop" ends the run, or the epoch, at the last step that fits. "degrade" halves the shots of all layers
            as soon as what is left would not last for the steps to come (100 at most), down to `min_shots`, and ends
            only then. Shots become what they were as an epoch begins that has a budget of its own, and as the fit ends.
        min_shots: for each circuit and measurement group.

    Attributes:
        used: shots so far, those before a checkpoint too.
        events: what it did.

    Raises:
        InputError: neither budget is given, or a number is below 1.
        UnknownNameError: no such policy.

    What it can't foresee: the first probe of a kind, a training step that calls a quantum layer another number of
    times from one batch to the next, optimizers that evaluate the loss more than once (LBFGS).
    """

    @checked()
    def __init__(
        self,
        total: int | None = None,
        *,
        per_epoch: int | None = None,
        policy: Policy = "stop",
        min_shots: int = 10,
    ) -> None:
        super().__init__()
        if total is None and per_epoch is None:
            raise InputError("A budget needs a number of shots: total= for the run, or per_epoch=.")
        self.total, self.per_epoch, self.policy, self.min_shots = total, per_epoch, policy, min_shots
        self.used = 0
        self.events: list[Event] = []
        self._steps = 0
        self._layers: list[QuantumLayer] = []
        self._seen = 0  # the layers' own count when `used` was brought up to date
        self._carried = 0  # spent before a checkpoint, and not in its `used`
        self._epoch_began = 0  # `used` then
        self._planned = 0  # shots of the step since the last look
        self._excused = 0  # since then, that will not come again
        self._extras: deque[int] = deque(maxlen=MEMORY)  # shots of each step beyond its plan
        self._validation = 0
        self._before_validation = 0
        self._forecast = ShotForecast()
        self._settings = ShotSettings()
        self._warned = False
        self._halved: dict[str, int] = {}  # shots of each layer before this epoch's budget ran short

    @property
    def left(self) -> int:
        """Shots left of the run, or of the epoch where that is less."""
        total = math.inf if self.total is None else self.total - self.used
        epoch = math.inf if self.per_epoch is None else self.per_epoch - (self.used - self._epoch_began)
        return int(max(0, min(total, epoch)))

    def spendable(self, trainer: Any) -> int:
        """Shots left for something else than the step that begins, and what is kept back."""
        spent = self._unseen() * trainer.world_size  # where this one has not been asked yet in this step
        return max(0, self.left - spent - self._planned * trainer.accumulate_grad_batches - self._reserve)

    def update(self, trainer: Any) -> None:
        """Count what has been spent since the last time; on all processes alike."""
        spent, self._seen = self._unseen(), self._spent()
        self._carried = 0
        self.used += sum_over_ranks(trainer, spent)

    def excuse(self, shots: int) -> None:
        """These have just been spent on something that asked for `left` itself: nothing to keep back for."""
        self._excused += shots

    def on_fit_start(self, trainer: Any, pl_module: Any) -> None:
        self._layers = list(quantum_layers(pl_module).values())
        self._seen = self._spent()
        self._forecast.forget()
        self._settings.begin(pl_module)

    def on_train_start(self, trainer: Any, pl_module: Any) -> None:
        self._settings.resume(pl_module)

    def on_train_epoch_start(self, trainer: Any, pl_module: Any) -> None:
        self.update(trainer)
        self._epoch_began = self.used
        if self.per_epoch is not None:
            self._settings.change(pl_module, lambda path, shots: self._halved.get(path, shots))
            self._halved = {}

    def on_train_batch_start(self, trainer: Any, pl_module: Any, batch: Any, batch_idx: int) -> None:
        before = self.used
        self.update(trainer)
        self._extras.append(max(0, self.used - before - self._planned - self._excused))
        self._excused = 0
        first = batch_idx % trainer.accumulate_grad_batches == 0
        self._steps += first
        batches = trainer.accumulate_grad_batches if first else 1  # a step that is begun should be finished
        planned = self._predict(trainer, pl_module, batch, batch_idx)
        reserve = self._reserve
        if self.policy == "degrade":
            while (
                planned and self.left < reserve + planned * self._horizon(trainer) and self._halve(trainer, pl_module)
            ):
                planned = self._predict(trainer, pl_module, batch, batch_idx)
        self._planned = planned
        if self.left < reserve + planned * batches:
            self._planned = 0
            self._end(trainer, pl_module, planned * batches, reserve, first_of_epoch=batch_idx == 0)

    def on_validation_start(self, trainer: Any, pl_module: Any) -> None:
        self.update(trainer)
        self._before_validation = self.used

    def on_validation_end(self, trainer: Any, pl_module: Any) -> None:
        self.update(trainer)
        self._validation = 0 if trainer.sanity_checking else self.used - self._before_validation
        self._excused += self._validation

    def on_train_epoch_end(self, trainer: Any, pl_module: Any) -> None:
        vars(pl_module).pop("on_train_batch_start", None)

    def on_train_end(self, trainer: Any, pl_module: Any) -> None:
        self.update(trainer)
        self._restore(pl_module)

    def on_exception(self, trainer: Any, pl_module: Any, exception: BaseException) -> None:
        self._restore(pl_module)

    def teardown(self, trainer: Any, pl_module: Any, stage: str) -> None:
        self._restore(pl_module)

    def on_save_checkpoint(self, trainer: Any, pl_module: Any, checkpoint: dict[str, Any]) -> None:
        self._settings.save(pl_module, checkpoint)

    def on_load_checkpoint(self, trainer: Any, pl_module: Any, checkpoint: dict[str, Any]) -> None:
        self._settings.load(checkpoint)

    @property
    def state_key(self) -> str:
        return "torchbp.ShotBudget"

    def state_dict(self) -> dict[str, Any]:
        return {
            "used": [self.used, self._epoch_began, self._planned, self._excused, self._validation, self._steps],
            "unseen": self._unseen(),
            "extras": list(self._extras),
            "halved": dict(self._halved),
            "events": [json.dumps(asdict(event)) for event in self.events],
        }

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.used, self._epoch_began, self._planned, self._excused, self._validation, self._steps = state_dict["used"]
        self._carried = state_dict["unseen"]
        self._extras = deque(state_dict["extras"], maxlen=MEMORY)
        self._halved = dict(state_dict["halved"])
        self.events = [Event(**json.loads(text)) for text in state_dict["events"]]

    @property
    def _reserve(self) -> int:
        return max(self._extras, default=0) + self._validation

    def _spent(self) -> int:
        return sum(layer.shots_used for layer in self._layers)

    def _unseen(self) -> int:
        return self._spent() - self._seen + self._carried

    def _predict(self, trainer: Any, module: Any, batch: Any, batch_idx: int) -> int:
        """Shots of all processes for the training step on this batch; 0 where it can't be run by itself."""
        try:
            planned = self._forecast(trainer, module, batch, batch_idx)
        except Exception as error:
            if trainer.fast_dev_run:  # that is what it is for
                raise
            if not self._warned and trainer.is_global_zero:
                text = "ShotBudget can't run the training step by itself to predict its shots, and goes by the last one"
                warnings.warn(f"{text}: {type(error).__name__}: {error}", stacklevel=2)
            self._warned = True
            planned = 0  # so that it counts as a probe, for which as much is kept back the next time
        return sum_over_ranks(trainer, planned)

    def _horizon(self, trainer: Any) -> int:
        """Batches that the shots left should last for."""
        if self.total is None:
            left = trainer.num_training_batches - trainer.fit_loop.epoch_loop.batch_progress.current.ready + 1
        else:
            left = (trainer.estimated_stepping_batches - self._steps + 1) * trainer.accumulate_grad_batches
        return int(min(HORIZON, max(1, left)))

    def _halve(self, trainer: Any, module: Any) -> bool:
        """Whether there was anything to halve."""
        before = {path: layer.shots for path, layer in quantum_layers(module).items() if layer.shots is not None}
        changed = self._settings.change(module, lambda path, shots: min(shots, max(self.min_shots, shots // 2)))
        if changed:
            self._halved = {path: before[path] for path in changed} | self._halved
            text = f"{self.left} shots are left, so each circuit gets fewer: {in_words(changed)}"
            self._tell(trainer, text, {"left": self.left, "used": self.used, "shots": changed})
        return bool(changed)

    def _end(self, trainer: Any, module: Any, needed: int, reserve: int, first_of_epoch: bool) -> None:
        spent = self.total is not None and self.total - self.used < needed + reserve
        run = spent or first_of_epoch  # the epochs to come would not take a step either
        what = "The run ends" if run else "The epoch ends"
        kept = f", with {reserve} kept back for probes and validation" if reserve else ""
        text = f"{what}: {self.left} shots are left, and the next step takes {needed}{kept}"
        if run and not spent:
            text += ", so no epoch would take one: raise per_epoch, or take fewer shots or smaller batches"
        numbers = {
            "left": self.left,
            "used": self.used,
            "needed": needed,
            "reserve": reserve,
            "ends": "run" if run else "epoch",
        }
        self._tell(trainer, text, numbers | {"ends": "run" if run else "epoch"})
        trainer.should_stop = trainer.should_stop or run
        vars(module)["on_train_batch_start"] = lambda batch, batch_idx: -1  # Lightning then skips the epoch's rest

    def _tell(self, trainer: Any, text: str, data: dict[str, Any]) -> None:
        event = Event(self._steps - 1, "budget", f"{text}.", data)
        self.events.append(event)
        announce(trainer, event)

    def _restore(self, module: Any) -> None:
        vars(module).pop("on_train_batch_start", None)
        self._settings.restore(module)
