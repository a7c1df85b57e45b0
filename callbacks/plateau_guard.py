"""`PlateauGuard`: the one line that watches a run, says what is wrong with it, and does something about it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from lightning.pytorch import Callback

from torchbp.arguments import checked
from torchbp.arguments.kinds import a, each
from torchbp.callbacks.adaptive_shots import AdaptiveShots
from torchbp.callbacks.gradient_free_fallback import GradientFreeFallback
from torchbp.callbacks.gradient_snr_monitor import GradientSNRMonitor
from torchbp.callbacks.initialization_reset import DOUBTFUL, InitializationReset
from torchbp.callbacks.layerwise_training import LayerwiseTraining
from torchbp.callbacks.natural_gradient import NaturalGradient
from torchbp.callbacks.plateau_detector import PlateauDetector
from torchbp.callbacks.plateau_stopping import PlateauStopping
from torchbp.callbacks.records.events import Event
from torchbp.callbacks.remedy import Remedy, a_detector
from torchbp.callbacks.shot_budget import ShotBudget
from torchbp.diagnosis.verdicts import Diagnosis, Verdict
from torchbp.errors import InputError


def default_ladder() -> list[Remedy]:
    """More shots, natural gradient, a new start, few layers at a time, a search without gradients, and the end."""
    verdicts = (Verdict.BARREN_PLATEAU, Verdict.LOCAL_MINIMUM, *DOUBTFUL)
    reset = InitializationReset(answers=verdicts)
    return [AdaptiveShots(), NaturalGradient(), reset, LayerwiseTraining(), GradientFreeFallback(), PlateauStopping()]


def _forwarded(hook: str) -> Callable[..., None]:
    """A hook that calls the same hook of every piece."""

    def forward(self: PlateauGuard, *arguments: Any, **named: Any) -> None:
        for piece in self.pieces:
            getattr(piece, hook)(*arguments, **named)

    forward.__name__ = hook
    return forward


def _a_budget(name: str, value: Any) -> ShotBudget:
    """A check of arguments: a budget; a number is taken for the shots of the whole run."""
    return ShotBudget(value) if isinstance(value, int) and not isinstance(value, bool) else _the_budget(name, value)


_the_budget = a(ShotBudget, write="ShotBudget(1_000_000)")


class PlateauGuard(Callback):
    """Monitor, detector and remedies in one callback: `Trainer(callbacks=[PlateauGuard()])`.

    The remedies stand on a ladder. At a verdict the lowest one acts that answers it and has something left to do:

    | verdict | what is done, from left to right as long as it does not help |
    |---|---|
    | shot_limited | more shots (`AdaptiveShots`), a new start that promises more, a search without gradients, stop |
    | barren_plateau | a new start on trial (`InitializationReset`), growing layers (`LayerwiseTraining`), search |
    | local_minimum | natural gradient where the metric is ill-conditioned, a new start on trial, a search, stop |
    | noise_induced | growing layers, stop |
    | converged | where shot noise hides the gradient, more shots or a new start that promises more; stop |
    | diverging | stop (`PlateauStopping`) |
    | healthy, oscillating, drifting, dead_layer | nothing; the verdict and its advice are announced |

    Everything it decides is an event with its evidence: on the console, in every logger, in `torchbp_events.jsonl`, and
    in `events`. Any piece may be given in place of the default one.

    Args:
        detector: with its monitor; new ones with their defaults if left out.
        ladder: the remedies in the order they are tried; the guard makes them listen to its detector.
        budget: limits the shots of the whole run, remedies included.
        confidence: verdicts that are less sure are announced, but not acted on.
        dry_run: only say what would be done.

    Attributes:
        pieces: what it consists of.

    Raises:
        InputError: a confidence outside of 0 to 1, something on the ladder that is no remedy, or two of one name.

    What it can't do: make a circuit trainable that is not. Then it says so and stops, which saves the shots.
    """

    @checked(detector=a_detector, ladder=each(a(Remedy)), budget=_a_budget)
    def __init__(
        self,
        detector: PlateauDetector | None = None,
        ladder: Sequence[Remedy] | None = None,
        *,
        budget: ShotBudget | None = None,
        confidence: float = 0.6,
        dry_run: bool = False,
    ) -> None:
        super().__init__()
        self.detector = detector or PlateauDetector()
        self.ladder = default_ladder() if ladder is None else list(ladder)
        self.budget = budget
        self.confidence = confidence
        names: set[str] = set()
        for remedy in self.ladder:
            if remedy.state_key in names:
                raise InputError(f"The ladder has two remedies {remedy.state_key!r}: give one of them another name=.")
            names.add(remedy.state_key)
            remedy.detector = self.detector
            remedy.allowed = self._sure
            remedy.dry_run = remedy.dry_run or dry_run
            remedy.join(self.ladder)

    @property
    def monitor(self) -> GradientSNRMonitor:
        """The detector's."""
        return self.detector.monitor

    @property
    def pieces(self) -> list[Any]:
        """In the order their hooks are called: what is measured is what the remedies have left."""
        return [*self.ladder, *([self.budget] if self.budget else []), self.detector]

    @property
    def events(self) -> list[Event]:
        """All that happened, in order: in a step the remedies act first, and a verdict is its last word."""
        found = [event for piece in self.pieces for event in piece.events]
        return sorted(found, key=lambda event: event.step)

    def report(self) -> str:
        """The events, one line each."""
        return "\n".join(f"{event.step:>6}  {event.kind:<9}  {event.message}" for event in self.events)

    setup = _forwarded("setup")
    on_fit_start = _forwarded("on_fit_start")
    on_train_start = _forwarded("on_train_start")
    on_train_epoch_start = _forwarded("on_train_epoch_start")
    on_train_batch_start = _forwarded("on_train_batch_start")
    on_before_zero_grad = _forwarded("on_before_zero_grad")
    on_before_backward = _forwarded("on_before_backward")
    on_after_backward = _forwarded("on_after_backward")
    on_before_optimizer_step = _forwarded("on_before_optimizer_step")
    on_train_batch_end = _forwarded("on_train_batch_end")
    on_validation_start = _forwarded("on_validation_start")
    on_validation_end = _forwarded("on_validation_end")
    on_train_epoch_end = _forwarded("on_train_epoch_end")
    on_train_end = _forwarded("on_train_end")
    on_fit_end = _forwarded("on_fit_end")
    on_exception = _forwarded("on_exception")
    teardown = _forwarded("teardown")
    on_save_checkpoint = _forwarded("on_save_checkpoint")
    on_load_checkpoint = _forwarded("on_load_checkpoint")

    @property
    def state_key(self) -> str:
        return "torchbp.PlateauGuard"

    def state_dict(self) -> dict[str, Any]:
        return {piece.state_key: piece.state_dict() for piece in self.pieces}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        for piece in self.pieces:  # one that the checkpoint does not know begins anew
            if piece.state_key in state_dict:
                piece.load_state_dict(state_dict[piece.state_key])

    def _sure(self, diagnosis: Diagnosis) -> bool:
        return diagnosis.confidence >= self.confidence
