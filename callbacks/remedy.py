"""`Remedy`: what all callbacks share that act on a verdict: when to act, in which order, what to say, what to undo."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict
from typing import Any, ClassVar

from lightning.pytorch import Callback

from torchbp.arguments import checked
from torchbp.arguments.kinds import a, anything, each
from torchbp.callbacks.gradient_snr_monitor import GradientSNRMonitor
from torchbp.callbacks.mechanics.evaluation import agreed
from torchbp.callbacks.mechanics.quantum_weights import QuantumWeights
from torchbp.callbacks.mechanics.shot_settings import ShotSettings
from torchbp.callbacks.plateau_detector import PlateauDetector
from torchbp.callbacks.records.announcement import announce
from torchbp.callbacks.records.events import Event
from torchbp.diagnosis.verdicts import Diagnosis, Verdict
from torchbp.errors import InputError, UnknownNameError


def a_detector(name: str, value: Any) -> PlateauDetector:
    """A check of arguments: a detector; a monitor is taken for one that gets its measurements."""
    if isinstance(value, GradientSNRMonitor):
        return PlateauDetector(value)
    return _a_detector(name, value)


_a_detector = a(PlateauDetector)


class Remedy(Callback):
    """Acts on the verdicts of a detector, at most once on each, where an optimizer step begins.

    Several remedies of one detector take turns: of those that answer a verdict and have something left to do, the one
    on the lowest `rung` acts; while one is `busy`, the others wait. Their order in the trainer's list does not matter.

    A subclass defines `act`; and, as far as it has something to say there, `describe` (for a dry run), `available`,
    `busy`, `gives_way`, `suits`, `notice` (every verdict), `advance` (every step), `conclude` (the end of the fit),
    `restore` (put back what was changed, also after an exception) and `state_dict`. It calls `tell` for all it does.

    Args:
        detector: gives the verdicts; a new one with its defaults if left out. It may stand in the trainer's list of
            callbacks or not: then the first of its remedies there runs it.
        answers: verdicts to act on, as `Verdict` or by name.
        dry_run: only say what would be done.
        name: tells two remedies of one kind in one trainer apart, in checkpoints.

    Attributes:
        events: what it did so far.
        shots: to change the shots of the layers; they are put back after the fit, and resumed.
        allowed: one more condition, from diagnosis to bool; all diagnoses are allowed at first.

    Raises:
        InputError: no verdict to answer.
        UnknownNameError: no such verdict.
    """

    rung: ClassVar[int] = 50
    """Place on the ladder: remedies that cost and change little stand low."""

    @checked(detector=a_detector, answers=each(anything))
    def __init__(
        self,
        detector: PlateauDetector | None = None,
        *,
        answers: Iterable[Verdict | str],
        dry_run: bool = False,
        name: str = "",
    ) -> None:
        super().__init__()
        self.detector = detector or PlateauDetector()
        self.answers = _verdicts(answers)
        self.dry_run, self.name = dry_run, name
        self.allowed: Callable[[Diagnosis], bool] = lambda diagnosis: True
        self.events: list[Event] = []
        self.shots = ShotSettings()
        self.step = 0
        self._answered = 0
        self._ladder: Sequence[Remedy] = [self]
        self._drives_detector = False

    # What a subclass says of itself.

    @property
    def available(self) -> bool:
        """Whether it has anything left to do: budgets are not used up."""
        return True

    @property
    def busy(self) -> bool:
        """Whether it is in the middle of something that others must not interfere with."""
        return False

    def gives_way(self, diagnosis: Diagnosis) -> bool:
        """Whether others may act on this diagnosis while it is busy."""
        return False

    def suits(self, trainer: Any, module: Any, batch: Any, batch_idx: int, diagnosis: Diagnosis) -> bool:
        """Whether this very diagnosis, of a verdict it answers, is one for it, as things are. Changes nothing."""
        return True

    def notice(self, diagnosis: Diagnosis) -> None:
        """Called for every new verdict, once, before it is asked who acts."""

    def act(self, trainer: Any, module: Any, batch: Any, batch_idx: int, diagnosis: Diagnosis) -> None:
        """Do it; no gradient is accumulated at that moment. The detector starts anew afterwards."""
        raise NotImplementedError

    def describe(self, diagnosis: Diagnosis) -> str:
        """What `act` would do, to complete "would ..."."""
        return f"act ({type(self).__name__})"

    def advance(self, trainer: Any, module: Any, batch: Any, batch_idx: int) -> None:
        """Called at the beginning of every optimizer step, before a new verdict is looked at."""

    def conclude(self, trainer: Any, module: Any) -> None:
        """Called as the fit ends, unless by an exception: settle what is still open."""

    def restore(self, trainer: Any, module: Any) -> None:
        """Put back what must not outlive the fit. Called once or more often, after exceptions too."""

    # What it calls.

    def tell(self, trainer: Any, kind: str, message: str, **data: Any) -> None:
        """Announce something done, in a sentence; the verdict and the numbers are data. On all processes alike."""
        diagnosis = self.detector.diagnosis
        verdict = None if diagnosis is None else diagnosis.verdict.value
        event = Event(self.step, kind, message, _finite({"verdict": verdict} | data))
        self.events.append(event)
        announce(trainer, event)

    def concerned(self, trainer: Any, module: Any, diagnosis: Diagnosis, *, whole: bool = False) -> QuantumWeights:
        """The weights that a verdict is about, all of them if it names none, as far as they are trained.

        Left out are weights that the user froze, that no optimizer has, and that no gradient came back to in the latest
        measurement.

        Args:
            whole: all circuit layers of each quantum layer that the verdict names any of.
        """
        named = diagnosis.layers or QuantumWeights.of(module).groups
        idle = {layer.name for layer in self.detector.monitor.latest if not layer.n_samples}
        return QuantumWeights.trained(trainer, module, [n for n in named if n not in idle], whole=whole)

    # When it acts.

    def join(self, ladder: Sequence[Remedy]) -> None:
        """Take turns with these, in this order; the remedy itself is one of them."""
        self._ladder = ladder

    def would_act(self, trainer: Any, module: Any, batch: Any, batch_idx: int, diagnosis: Diagnosis) -> bool:
        """Whether it is one for this diagnosis, apart from the others' rights."""
        if diagnosis.verdict not in self.answers or not self.available or not self.allowed(diagnosis):
            return False
        return self.suits(trainer, module, batch, batch_idx, diagnosis)

    def _has_turn(self, *occasion: Any) -> bool:
        if any(remedy.busy and not remedy.gives_way(occasion[-1]) for remedy in self._ladder):
            return False
        return next((remedy for remedy in self._ladder if remedy.would_act(*occasion)), None) is self

    def _answer(self, trainer: Any, module: Any, batch: Any, batch_idx: int) -> None:
        diagnosis = self.detector.diagnosis
        if diagnosis is None or self._answered == self.detector.judged:
            return
        self._answered = self.detector.judged
        self.notice(diagnosis)
        if not agreed(trainer, self._has_turn(trainer, module, batch, batch_idx, diagnosis)):
            return
        if not self.dry_run:
            self.act(trainer, module, batch, batch_idx, diagnosis)
            self.detector.restart()
            return
        if not self.events or self.events[-1].data["verdict"] != diagnosis.verdict.value:
            self.tell(trainer, "dry_run", f"Would {self.describe(diagnosis)}.", remedy=type(self).__name__)

    # Hooks only route.

    def setup(self, trainer: Any, pl_module: Any, stage: str) -> None:
        listed = [c for c in trainer.callbacks if isinstance(c, Remedy) and c.detector is self.detector]
        self._drives_detector = listed[:1] == [self] and self.detector not in trainer.callbacks
        if self in listed:  # else its owner has told it with whom it takes turns
            self.join(sorted(listed, key=lambda remedy: remedy.rung))
        if self._drives_detector:
            self.detector.setup(trainer, pl_module, stage)

    def on_fit_start(self, trainer: Any, pl_module: Any) -> None:
        self.shots.begin(pl_module)
        if self._drives_detector:
            self.detector.on_fit_start(trainer, pl_module)

    def on_train_start(self, trainer: Any, pl_module: Any) -> None:
        if self._drives_detector:
            self.detector.on_train_start(trainer, pl_module)
        self.shots.resume(pl_module)
        self.step = self.detector.monitor.steps - 1  # of checkpoints too: both counts begin together

    def on_before_backward(self, trainer: Any, pl_module: Any, loss: Any) -> None:
        if self._drives_detector:
            self.detector.on_before_backward(trainer, pl_module, loss)

    def on_before_optimizer_step(self, trainer: Any, pl_module: Any, optimizer: Any) -> None:
        if self._drives_detector:
            self.detector.on_before_optimizer_step(trainer, pl_module, optimizer)

    def on_train_batch_start(self, trainer: Any, pl_module: Any, batch: Any, batch_idx: int) -> None:
        if batch_idx % trainer.accumulate_grad_batches == 0:
            self.step += 1
            self.advance(trainer, pl_module, batch, batch_idx)
            self._answer(trainer, pl_module, batch, batch_idx)
        if self._drives_detector:  # which then sees what has been changed
            self.detector.on_train_batch_start(trainer, pl_module, batch, batch_idx)

    def on_train_batch_end(self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        if self._drives_detector:
            self.detector.on_train_batch_end(trainer, pl_module, outputs, batch, batch_idx)

    def on_train_epoch_end(self, trainer: Any, pl_module: Any) -> None:
        if self._drives_detector:
            self.detector.on_train_epoch_end(trainer, pl_module)

    def on_train_end(self, trainer: Any, pl_module: Any) -> None:
        if self._drives_detector:
            self.detector.on_train_end(trainer, pl_module)
        self.conclude(trainer, pl_module)
        self._restore(trainer, pl_module)

    def on_fit_end(self, trainer: Any, pl_module: Any) -> None:
        self._restore(trainer, pl_module)

    def on_exception(self, trainer: Any, pl_module: Any, exception: BaseException) -> None:
        if self._drives_detector:
            self.detector.on_exception(trainer, pl_module, exception)
        self._restore(trainer, pl_module)

    def teardown(self, trainer: Any, pl_module: Any, stage: str) -> None:
        self._restore(trainer, pl_module)

    def on_save_checkpoint(self, trainer: Any, pl_module: Any, checkpoint: dict[str, Any]) -> None:
        self.shots.save(pl_module, checkpoint)

    def on_load_checkpoint(self, trainer: Any, pl_module: Any, checkpoint: dict[str, Any]) -> None:
        self.shots.load(checkpoint)

    def _restore(self, trainer: Any, module: Any) -> None:
        self.restore(trainer, module)
        self.shots.restore(module)

    @property
    def state_key(self) -> str:
        return f"torchbp.{type(self).__name__}" + (f".{self.name}" if self.name else "")

    def state_dict(self) -> dict[str, Any]:
        return {
            "answered": self._answered,
            "events": [json.dumps(asdict(event), default=str) for event in self.events],
            "detector": self.detector.state_dict() if self._drives_detector else None,
        }

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self._answered = state_dict["answered"]
        self.events = [Event(**json.loads(text)) for text in state_dict["events"]]
        if state_dict["detector"] is not None:
            self.detector.load_state_dict(state_dict["detector"])


def _finite(value: Any) -> Any:
    """JSON has no NaN and no infinity: None stands for them."""
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _verdicts(answers: Iterable[Verdict | str]) -> frozenset[Verdict]:
    found = set()
    for verdict in [answers] if isinstance(answers, str) else answers:
        try:
            found.add(Verdict(verdict))
        except ValueError:
            raise UnknownNameError("verdict", verdict, [known.value for known in Verdict]) from None
    if not found:
        raise InputError("A remedy needs a verdict to act on: answers= names at least one.")
    return frozenset(found)
