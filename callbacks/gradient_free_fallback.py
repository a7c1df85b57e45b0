"""`GradientFreeFallback`: a search without gradients takes over the quantum weights until their gradient is back."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable, Mapping
from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.optim import Optimizer

from torchbp.arguments import checked
from torchbp.arguments.kinds import anything, each, or_none, whole
from torchbp.callbacks.mechanics.budgets import excuse
from torchbp.callbacks.mechanics.constant_weights import ConstantWeights
from torchbp.callbacks.mechanics.evaluation import agreed, losses_at
from torchbp.callbacks.mechanics.gradient_return import GradientReturn, Resume, median_snr
from torchbp.callbacks.mechanics.optimizer_state import forget, raw_optimizers
from torchbp.callbacks.mechanics.quantum_weights import QuantumWeights
from torchbp.callbacks.mechanics.search_budget import SearchBudget
from torchbp.callbacks.mechanics.step_hooks import StepHooks
from torchbp.callbacks.mechanics.trials.resolution import Resolution, resolution
from torchbp.callbacks.on_trial import OnTrial, layers_in_words
from torchbp.callbacks.plateau_detector import PlateauDetector
from torchbp.callbacks.records.measurement import Measurement
from torchbp.callbacks.remedy import a_detector
from torchbp.diagnosis.verdicts import Diagnosis, Verdict
from torchbp.errors import InputError
from torchbp.gradients.stats import RESOLVED
from torchbp.optim import Proposer, propose
from torchbp.optim.ask_tell import Maker
from torchbp.optim.proposer import transaction

FAILURES = 2
"""Steps in a row without a finite loss that end a search."""
SHARE = 4
"""Evaluations of a search for each one that judges it."""


class GradientFreeFallback(OnTrial):
    """Trains the quantum weights by a gradient-free search, while classical weights keep training by gradient.

    Before every training step the search asks for the loss at some points (a whole population on one batch, with the
    same random numbers for each point, forward only, leaving no trace but the shots), and moves the quantum weights.
    The step that follows trains the classical weights as if the quantum ones were frozen: no shots are spent on their
    gradient, and the monitor measures it so rarely that this takes no more shots than the search. It gives the weights
    back to the optimizers, which have then forgotten them, when their gradient is resolved again or the budget is used
    up, whatever comes first, and says so (events "fallback" and "gradients").

    It searches over the quantum layers that the verdict names, as far as they are trained. At a verdict the search is
    on trial (see `OnTrial`): while it runs, one evaluation in five compares the model with what it was at the
    take-over. Where that has clearly become worse the search ends early, and where it has not become better by the time
    the budget is used up, all is as it was before. On a simulator a search does not start at a verdict if its shots
    could not show a difference with all of the budget (see `Resolution`). A search that was asked for, by `start_at`,
    is neither questioned nor judged.

    It does not escape a barren plateau: differences of losses vanish there as gradients do, and take exponentially
    many shots too (Arrasmith 2021, 2011.12245). It helps where gradients are expensive or drown in shot noise while
    differences over longer ways do not, in rugged landscapes and narrow traps.

    Args:
        detector: gives the verdicts, see `Remedy`.
        method: "spsa" (2 evaluations a step), "cma" (a population), "rotosolve" (3; exact for a loss that is linear
            in the expectation values, see `RotosolveProposer`), or a function `(start (P,), seed)` that
            returns a `torchbp.optim.Proposer` or another library's ask/tell optimizer, see `AskTell`.
        max_evaluations: of the loss, in a run, those that judge the search too.
        max_shots: for these evaluations, in a run, all processes together; the rest of a `ShotBudget` is a limit too.
        resume_when: the gradient is back when the median SNR of the quantum layers, as the monitor measures it, is at
            least this, twice in a row, and it was below as the search took over. A function `Measurement -> bool`
            decides instead, twice in a row; None: not before the budget is used up.
        start_at: take over at this step of the run, once, without waiting for a verdict; 0 is at once.
        options: keywords for the method, such as {"sigma": 0.3}.
        seed: of the search, and of the random numbers of its evaluations.
        answers, dry_run, name: see `Remedy`.

    Attributes:
        active: whether the search has the weights.
        budget: what it has spent, and may.
        evaluations, shots_spent: so far in the run.

    Raises:
        InputError: a budget below 1, or an argument that fits none of the above.
        UnknownNameError: no such method or verdict.
    """

    rung: ClassVar[int] = 40

    @checked(
        detector=a_detector,
        answers=each(anything),
        method=anything,
        resume_when=anything,
        max_evaluations=or_none(whole(1)),
    )
    def __init__(
        self,
        detector: PlateauDetector | None = None,
        method: str | Maker = "spsa",
        *,
        max_evaluations: int = 2000,
        max_shots: int | None = None,
        resume_when: Resume = RESOLVED,
        start_at: int | None = None,
        options: Mapping[str, Any] | None = None,
        seed: int = 0,
        answers: Iterable[Verdict | str] = (Verdict.SHOT_LIMITED, Verdict.BARREN_PLATEAU, Verdict.LOCAL_MINIMUM),
        dry_run: bool = False,
        name: str = "",
    ) -> None:
        super().__init__(detector, answers=answers, dry_run=dry_run, name=name)
        self.budget, self._return = SearchBudget(max_evaluations, max_shots), GradientReturn(resume_when)
        if isinstance(method, str) or not callable(method):
            propose(method, torch.zeros(2), seed, options)  # to say now what is wrong with it or its options
        self.method, self.options, self.seed = method, dict(options or {}), seed
        self.start_at = start_at
        self.active = False
        self._begun: dict[str, Any] = {}  # what was so as the search took over
        self._declined: int | None = None  # shots at which a search could show nothing
        self._failures = 0  # in a row
        self._loss = math.nan  # of the latest step of the search, its mean
        self._proposer: Proposer | None = None
        self._loaded: dict[str, Any] | None = None
        self._constant: ConstantWeights | None = None
        self._pins: StepHooks | None = None
        self._weights: QuantumWeights | None = None

    @property
    def evaluations(self) -> int:
        """Of the loss, so far in the run."""
        return self.budget.evaluations

    @property
    def shots_spent(self) -> int:
        """On these evaluations, all processes together."""
        return self.budget.shots

    @property
    def available(self) -> bool:
        return self.budget.left

    @property
    def busy(self) -> bool:
        return self.active

    def describe(self, diagnosis: Diagnosis) -> str:
        return f"train the quantum weights by {self._method} for up to {self._evaluations_left} evaluations of the loss"

    def suits(self, trainer: Any, module: Any, batch: Any, batch_idx: int, diagnosis: Diagnosis) -> bool:
        weights = self.concerned(trainer, module, diagnosis, whole=True)
        return len(weights) > 0 and (self._declined is None or _shots(weights) > self._declined)

    def act(self, trainer: Any, module: Any, batch: Any, batch_idx: int, diagnosis: Diagnosis) -> None:
        weights = self.concerned(trainer, module, diagnosis, whole=True)
        shown = self._resolution(trainer, module, weights, batch, batch_idx)
        if not agreed(trainer, shown.sufficient):
            self._declined = _shots(weights)
            self.tell(trainer, "declined", f"No search: {shown}.", **vars(shown))
            return
        self.begin_trial(trainer, module, diagnosis.verdict.value, weights.groups)
        self._take_over(trainer, module, batch, batch_idx, weights)
        self._search(trainer, module, batch, batch_idx)

    def advance(self, trainer: Any, module: Any, batch: Any, batch_idx: int) -> None:
        if self.active:
            if agreed(trainer, self._return.has_come(self._history)):
                reason = f"the gradient is back, with an SNR of {median_snr(self._history):.3g}"
                self._give_back(trainer, module, reason, "resolved")
            elif self._trial is not None and self.is_worse(trainer):
                self._give_back(trainer, module, "the loss has become higher", "worse")
            else:
                self._search(trainer, module, batch, batch_idx)
        elif self.start_at is not None and self.step >= self.start_at and "step" not in self._begun and self.available:
            if self.dry_run:
                self._begun = {"step": self.step}
                text = f"Would train the quantum weights by {self._method}, as asked for, at step {self.start_at}."
                self.tell(trainer, "dry_run", text)
                return
            self._take_over(trainer, module, batch, batch_idx, _all_trained(trainer, module))
            self._search(trainer, module, batch, batch_idx)

    def conclude(self, trainer: Any, module: Any) -> None:
        if self._trial is not None:
            self._give_back(trainer, module, "the fit has ended", "end")

    def restore(self, trainer: Any, module: Any) -> None:
        if self._constant is not None:
            self._constant.remove()
        if self._pins is not None:
            self._pins.remove()
        self._constant = self._pins = None
        self.detector.monitor.spacing = 1

    # The take-over.

    def _take_over(self, trainer: Any, module: Any, batch: Any, batch_idx: int, weights: QuantumWeights) -> None:
        snr = median_snr(self._history)
        self._begun = {"step": self.step, "evaluations": self.evaluations, "shots": self.shots_spent}
        self._begun |= {"start": _chosen(weights), "groups": list(weights.groups), "method": self._method}
        self._begun |= {"loss": None, "spacing": 1}
        self._begun["measurement"] = self._cost(trainer, module, batch, batch_idx, gradient=True)
        self._failures = 0
        self._return.begin(self._history)
        self._proposer = self._propose(_chosen(weights), self.step)
        self.active = True
        self._hold(trainer, module, weights)
        text = f"{self._method} takes over {len(weights)} quantum weights ({layers_in_words(module, weights)}), for up "
        text += f"to {self._evaluations_left} evaluations of the loss."
        layers = list(weights.groups)
        self.tell(trainer, "fallback", text, method=self._method, weights=len(weights), snr=snr, layers=layers)

    def _propose(self, start: Tensor, step: int) -> Proposer:
        return propose(self.method, start, self.seed + step, self.options)

    def _resolution(self, trainer: Any, module: Any, weights: QuantumWeights, batch: Any, batch_idx: int) -> Resolution:
        """Whether the points that it would begin with can be told apart."""
        loss_fn = self.detector.loss_fn
        evaluations = self.budget.affords(trainer, module, batch, batch_idx, loss_fn)
        points = [weights.embed(point) for point in self._propose(_chosen(weights), self.step).ask()]
        return resolution(trainer, module, weights, points, batch, batch_idx, evaluations=evaluations, loss_fn=loss_fn)

    def _hold(self, trainer: Any, module: Any, weights: QuantumWeights) -> None:
        """Keep the optimizers from the quantum weights, without their noticing."""
        self._weights = weights
        self._constant = ConstantWeights(module, weights.layers.values())
        self._pins = StepHooks(raw_optimizers(trainer), weights.elements())
        self._pins.share = 0.0
        self.detector.monitor.spacing = self._begun["spacing"]

    def _give_back(self, trainer: Any, module: Any, reason: str, cause: str) -> None:
        assert self._weights is not None
        self.active, self._proposer = False, None
        if cause not in ("resolved", "end"):
            self.budget.end()
        self.restore(trainer, module)
        for optimizer in raw_optimizers(trainer):
            forget(optimizer, self._weights.elements())
        self.detector.restart()
        evaluations = self.evaluations - self._begun["evaluations"]
        shots = self.shots_spent - self._begun["shots"]
        text = f"The quantum weights are back with the optimizer after {evaluations} evaluations of the loss: {reason}."
        numbers = {"evaluations": evaluations, "shots": shots, "since": self._begun["step"]}
        numbers |= {"snr": median_snr(self._history), "loss_before": self._begun["loss"], "loss_after": self._loss}
        self.tell(trainer, "gradients", text, reason=cause, **numbers)
        if self._trial is not None:
            self.settle(trainer, module, "The search", doubt_keeps=cause == "resolved")

    # One step of the search.

    def _search(self, trainer: Any, module: Any, batch: Any, batch_idx: int) -> None:
        assert self._proposer is not None
        assert self._weights is not None
        loss_fn = self.detector.loss_fn
        with transaction(self._proposer):
            points = [self._weights.embed(point) for point in agreed(trainer, self._proposer.ask())]
            judged = self._trial is not None and self._is_pair_due(len(points))
            number = len(points) + 2 * judged
            refusal = self.budget.refusal(trainer, module, batch, batch_idx, loss_fn, number)
            if refusal := agreed(trainer, refusal):
                self._give_back(trainer, module, refusal, "budget")
                return
            self._space_out(trainer, module, batch, batch_idx, number)
            spent = self.take_pair(trainer, module, batch, batch_idx) if judged else 0
            used, seed = self._weights.shots_used, self.seed + 7919 * self.step
            losses = losses_at(trainer, module, self._weights, points, batch, batch_idx, seed=seed, loss_fn=loss_fn)
            used = self._weights.shots_used - used
            excuse(trainer, used)
            self.budget.spend(trainer, number, used + spent)
            self._weights.write(self._weights.embed(agreed(trainer, self._proposer.tell(losses))))
        finite = [loss for loss in losses if math.isfinite(loss)]
        self._loss = statistics.fmean(finite) if finite else math.nan
        self._begun["loss"] = self._loss if self._begun["loss"] is None else self._begun["loss"]
        self._failures = 0 if finite else self._failures + 1
        if self._failures >= FAILURES:
            reason = f"the loss was not finite {FAILURES} times in a row, at any point"
            self._give_back(trainer, module, reason, "failed")

    def _is_pair_due(self, points: int) -> bool:
        steps = self.step - self._begun["step"]
        return steps > 0 and steps % max(1, 2 * SHARE // points) == 0

    def _space_out(self, trainer: Any, module: Any, batch: Any, batch_idx: int, number: int) -> None:
        """Have the monitor's measurements take no more shots than a search whose steps are all like this one."""
        monitor, own = self.detector.monitor, number * self._cost(trainer, module, batch, batch_idx)
        spacing = math.ceil(self._begun["measurement"] / (own * monitor.every_n_steps)) if own else 1
        self._begun["spacing"] = monitor.spacing = agreed(trainer, max(1, spacing))

    def _cost(self, trainer: Any, module: Any, batch: Any, batch_idx: int, gradient: bool = False) -> int:
        return self.budget.cost(trainer, module, batch, batch_idx, self.detector.loss_fn, gradient=gradient)

    @property
    def _history(self) -> list[Measurement]:
        return self.detector.monitor.history

    @property
    def _evaluations_left(self) -> int:
        return self.budget.max_evaluations - self.budget.evaluations

    @property
    def _method(self) -> str:
        return self.method if isinstance(self.method, str) else getattr(self.method, "__name__", "a function")

    def _drop(self, optimizer: Optimizer | None) -> None:
        """Take the (zero) gradients away, with which momentum and weight decay would move the weights."""
        if not self.active or self._weights is None:
            return
        listed = None if optimizer is None else {p for group in optimizer.param_groups for p in group["params"]}
        for parameter, mask in self._weights.elements().items():
            if bool(mask.all()) and (listed is None or parameter in listed):
                parameter.grad = None

    # Hooks.

    def on_train_start(self, trainer: Any, pl_module: Any) -> None:
        super().on_train_start(trainer, pl_module)
        self.budget.forget()
        if not self.active:
            return
        saved, self._loaded = self._loaded, None
        weights = QuantumWeights.trained(trainer, pl_module, self._begun["groups"], whole=True)
        self._hold(trainer, pl_module, weights)
        own = saved is not None and self._begun["method"] == self._method
        self._proposer = self._propose(self._begun["start"] if own else _chosen(weights), self._begun["step"])
        if own and saved is not None:
            self._proposer.load_state_dict(saved)

    def on_after_backward(self, trainer: Any, pl_module: Any) -> None:
        # A gradient scaler asks for gradients until it has scaled them.
        if getattr(trainer.precision_plugin, "scaler", None) is None:
            self._drop(None)

    def on_before_optimizer_step(self, trainer: Any, pl_module: Any, optimizer: Any) -> None:
        super().on_before_optimizer_step(trainer, pl_module, optimizer)
        self._drop(optimizer)

    def state_dict(self) -> dict[str, Any]:
        fallback = {
            "active": self.active,
            "budget": self.budget.state_dict(),
            "return": self._return.state_dict(),
            "failures": self._failures,
            "declined": self._declined,
            "loss": self._loss,
            "begun": dict(self._begun),
            "proposer": None if self._proposer is None else self._proposer.state_dict(),
        }
        return super().state_dict() | fallback

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        super().load_state_dict(state_dict)
        self.active, self._loss = state_dict["active"], state_dict["loss"]
        self.budget.load_state_dict(state_dict["budget"])
        self._return.load_state_dict(state_dict["return"])
        self._failures, self._declined = state_dict["failures"], state_dict["declined"]
        self._begun, self._loaded = dict(state_dict["begun"]), state_dict["proposer"]


def _chosen(weights: QuantumWeights) -> Tensor:
    """The weights that are searched over, and no others."""
    return weights.read()[weights.chosen]


def _shots(weights: QuantumWeights) -> int:
    return max((layer.shots or 0 for layer in weights.layers.values()), default=0)


def _all_trained(trainer: Any, module: Any) -> QuantumWeights:
    weights = QuantumWeights.trained(trainer, module)
    if not len(weights):
        raise InputError(
            f"GradientFreeFallback searches over the weights of torchbp.QuantumLayer, and {type(module).__name__} "
            "has none that train: wrap TorchQuantum modules with QuantumLayer.from_torchquantum."
        )
    return weights
