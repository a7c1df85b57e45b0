"""Who takes part: a name, and a function that makes a callback with a log of verdicts. All see the same runs."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import lightning as L
import torch
from torch import Tensor

from torchbp import QuantumLayer


@dataclass(frozen=True)
class Said:
    """A verdict that was given.

    Attributes:
        step: the trainer's global step.
        verdict: one of torchbp's names, whoever gives it.
        confidence: between 0 and 1, or None for who has none.
        layers: the layers it is said of; empty: the run.
    """

    step: int
    verdict: str
    confidence: float | None = None
    layers: tuple[str, ...] = ()
    message: str = ""


@dataclass
class Detector:
    """
    Attributes:
        callbacks: what goes into the trainer.
        log: the verdicts so far.
        deeds: (step, what was done), for those that act.
        acts: whether it changes the run, which is then trained to its end.
    """

    callbacks: list[Any]
    log: Callable[[], list[Said]]
    deeds: Callable[[], list[tuple[int, str]]] = lambda: []
    acts: bool = False


def said(events: list[Any]) -> list[Said]:
    return [
        Said(
            event.step,
            str(event.data["verdict"]),
            event.data.get("confidence"),
            tuple(event.data.get("layers") or ()),
            event.message,
        )
        for event in events
        if event.kind == "verdict"
    ]


def torchbp_default() -> Detector:
    """`PlateauDetector()`, as anybody would write it."""
    from torchbp.callbacks import PlateauDetector

    detector = PlateauDetector()
    return Detector([detector], lambda: said(detector.events))


def torchbp_guard() -> Detector:
    """`PlateauGuard()`, which acts."""
    from torchbp.callbacks import PlateauGuard

    guard = PlateauGuard()
    deeds = lambda: [(event.step, event.kind) for event in guard.events if event.kind != "verdict"]  # noqa: E731
    return Detector([guard], lambda: said(guard.events), deeds, acts=True)


def nobody() -> Detector:
    """The run as it is: what the guard is compared with."""
    return Detector([], list, acts=True)


class Rule(L.Callback):
    """A rule over every step's loss and gradients, which says its verdict once.

    A subclass has `judge(loss, gradient, shots)`, with the gradient of all the parameters, flat, or of the quantum
    layers alone, and returns a verdict and a confidence, or None.
    """

    quantum_only = False

    def __init__(self) -> None:
        self.said: list[Said] = []
        self.gradient = torch.zeros(0)

    def on_before_optimizer_step(self, trainer: Any, module: Any, optimizer: Any) -> None:
        found = [p.grad.detach().flatten() for p in self._parameters(module) if p.grad is not None]
        self.gradient = torch.cat(found) if found else torch.zeros(0)

    def on_train_batch_end(self, trainer: Any, module: Any, outputs: Any, *_: Any) -> None:
        if self.said or outputs is None:
            return
        loss = float(outputs["loss"] if isinstance(outputs, dict) else outputs)
        shots = next((m.shots for m in module.modules() if isinstance(m, QuantumLayer) and m.shots), None)
        verdict = self.judge(loss, self.gradient, shots)
        if verdict is not None:
            self.said.append(Said(trainer.global_step, *verdict))

    def judge(self, loss: float, gradient: Tensor, shots: int | None) -> tuple[str, float | None] | None:
        raise NotImplementedError

    def _parameters(self, module: Any) -> Iterator[Any]:
        if not self.quantum_only:
            return module.parameters()
        return (p for m in module.modules() if isinstance(m, QuantumLayer) for p in m.parameters())


class SmallGradient(Rule):
    """What people do by hand: a plateau is a median |gradient| of the quantum layers below 1e-3, for 40 steps."""

    quantum_only = True

    def __init__(self) -> None:
        super().__init__()
        self.low = 0

    def judge(self, loss: float, gradient: Tensor, shots: int | None) -> tuple[str, float | None] | None:
        small = bool(len(gradient)) and float(gradient.abs().median()) < 1e-3
        self.low = self.low + 1 if small else 0
        return ("barren_plateau", None) if self.low >= 40 else None


class NoImprovement(Rule):
    """Lightning's EarlyStopping on the training loss of every step, patience 40: it stops, so it says "converged"."""

    def __init__(self) -> None:
        super().__init__()
        self.best, self.since = math.inf, 0

    def judge(self, loss: float, gradient: Tensor, shots: int | None) -> tuple[str, float | None] | None:
        if not math.isfinite(loss):
            return "diverging", None
        self.best, self.since = (loss, 0) if loss < self.best else (self.best, self.since + 1)
        return ("converged", None) if self.since >= 40 else None


class ObserverRules(Rule):
    """The rules that QML Observer 0.7 documents, with its default numbers, in code of our own.

    - convergence: loss at most 1e-3 for 50 steps in a row. It goes first.
    - barren plateau: norm of the gradient of all parameters at most 5e-6 and their variance at most the square of
      that, for 100 steps in a row, and a relative change of the loss over them below 1e-6.
    - noise: mean |gradient| at most its uncertainty, the square root of variance over shots, for 50 steps in a row.
    - stagnation: a relative change of the loss below 1e-6 over 100 steps without the above: nothing is optimized.

    Source: the project's docs/detectors and the docstring of its noise detector.
    """

    def __init__(self) -> None:
        super().__init__()
        self.low = self.flat = self.drowned = 0
        self.losses: deque[float] = deque(maxlen=100)

    def judge(self, loss: float, gradient: Tensor, shots: int | None) -> tuple[str, float | None] | None:
        self.losses.append(loss)
        self.low = self.low + 1 if loss <= 1e-3 else 0
        if len(gradient):
            norm, variance = float(gradient.norm()), float(gradient.var(correction=0))
            self.flat = self.flat + 1 if norm <= 5e-6 and variance <= 5e-6**2 else 0
            if shots:
                uncertainty = math.sqrt(variance / shots)
                self.drowned = self.drowned + 1 if float(gradient.abs().mean()) <= uncertainty else 0
        full = len(self.losses) == self.losses.maxlen
        change = abs(self.losses[0] - loss) / max(abs(self.losses[0]), 1e-12)
        if self.low >= 50:
            return "converged", None
        if self.flat >= 100 and change < 1e-6:
            return "barren_plateau", None
        if self.drowned >= 50:
            return "shot_limited", None
        return ("not_trained", None) if full and change < 1e-6 else None


def by(rule: type[Rule]) -> Callable[[], Detector]:
    def make() -> Detector:
        callback = rule()
        return Detector([callback], lambda: callback.said)

    return make


DETECTORS: dict[str, Callable[[], Detector]] = {
    "torchbp": torchbp_default,
    "torchbp-guard": torchbp_guard,
    "none": nobody,
    "threshold": by(SmallGradient),
    "early_stopping": by(NoImprovement),
    "qml_observer": by(ObserverRules),
}


def first_alarm(log: list[Said]) -> Said | None:
    """The verdict that somebody would act on: the first that is neither "healthy" nor "undecided"."""
    return next((entry for entry in log if entry.verdict not in ("healthy", "undecided")), None)
