"""`LayerwiseTraining`: grows a circuit layer by layer, each trained where the gradients of few layers are large."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn

from torchbp.arguments import checked
from torchbp.arguments.kinds import anything, each, either, function, text, whole
from torchbp.callbacks.mechanics.growth import Stage, allows, stages
from torchbp.callbacks.mechanics.optimizer_state import forget, raw_optimizers
from torchbp.callbacks.mechanics.quantum_weights import QuantumWeights, averaged_models, layer_names
from torchbp.callbacks.mechanics.step_hooks import StepHooks
from torchbp.callbacks.mechanics.trials.candidates import draw
from torchbp.callbacks.on_trial import OnTrial
from torchbp.callbacks.plateau_detector import PlateauDetector
from torchbp.callbacks.remedy import a_detector
from torchbp.circuits.initializers import INITIALIZERS, Initializer
from torchbp.diagnosis.verdicts import Diagnosis, Verdict
from torchbp.errors import UnknownNameError
from torchbp.layer.foreign import AnyLayer, quantum_modules


class LayerwiseTraining(OnTrial):
    """Starts with the first layers of every circuit, and adds layers as training goes on (Skolik 2021, 2006.14904).

    Layers that wait have all weights at zero, where rotations do nothing; their fixed gates stay. Layers that have had
    their turn are frozen. Weights that are frozen or wait get no gradient and no update: not from momentum, not from
    weight decay. When the circuit is whole, all of it is trained, or `partitions` of it in turn. At every change the
    optimizer forgets the quantum weights; classical weights are trained all the time. Weights that the user froze stay
    as they are.

    At a verdict the quantum layers that it names grow, and the others are trained as before. It is on trial then (see
    `OnTrial`) until the whole circuit has been trained for `trial` steps, or the fit ends.

    Args:
        detector: gives the verdicts, see `Remedy`.
        schedule: epochs from one change to the next; or "snr": as soon as the next layers have a measurable gradient
            that is no smaller than that of those in training (see `growth.allows`), at the latest after `epochs`.
        grow: layers to add at a time.
        freeze: whether layers that have had their turn rest until the circuit is whole.
        partitions: parts of the whole circuit that are trained in turn; 1: all of it at once.
        begin: "verdict": starts at a verdict, anew, the first layers drawn from `strategy`. "start": with the fit, the
            first layers from the weights they have.
        strategy: initializer of the first layers, see `InitializationReset`.
        epochs: the most epochs between changes for the schedule "snr".
        trial: steps that the whole circuit is trained before it is judged; left out: `OnTrial.trial_steps`.
        seed: of the drawn weights.
        answers, dry_run, name: see `Remedy`.

    Raises:
        InputError: a number below 1.
        UnknownNameError: no such schedule, begin, strategy or verdict.

    What it can't promise: that layers trained one by one end where all together would (Campos 2021, 2010.09720, shows
    tasks where they stop improving), or that the whole circuit has no plateau once it is random enough.
    """

    rung: ClassVar[int] = 30

    @checked(
        detector=a_detector, answers=each(anything), schedule=either(whole(1), text), strategy=either(text, function)
    )
    def __init__(
        self,
        detector: PlateauDetector | None = None,
        schedule: int | Literal["snr"] = 5,
        *,
        grow: int = 1,
        freeze: bool = True,
        partitions: int = 1,
        begin: Literal["verdict", "start"] = "verdict",
        strategy: str | Initializer = "gaussian",
        epochs: int = 20,
        trial: int | None = None,
        seed: int = 0,
        answers: Iterable[Verdict | str] = (Verdict.BARREN_PLATEAU, Verdict.NOISE_INDUCED),
        dry_run: bool = False,
        name: str = "",
    ) -> None:
        super().__init__(detector, answers=answers, dry_run=dry_run, name=name)
        if isinstance(schedule, str) and schedule != "snr":
            raise UnknownNameError("schedule", schedule, ("snr",))
        if isinstance(strategy, str) and strategy not in INITIALIZERS:
            raise UnknownNameError("initializer", strategy, INITIALIZERS)
        self.schedule, self.grow, self.freeze, self.partitions = schedule, grow, freeze, partitions
        self.begin, self.strategy, self.epochs, self.trial, self.seed = begin, strategy, epochs, trial, seed
        self._stage: int | None = None  # index of the present one
        self._entered = self._began = 0  # epoch and step when it began
        self._whole = 0  # the step from which on the circuit was whole
        self._names: list[str] | None = None  # circuit layers of the quantum layers that grow; None for all
        self._done = False
        self._stages: list[Stage] = []
        self._turns = 1  # the last of them, which come again and again
        self._hooks: StepHooks | None = None
        self._still: dict[nn.Parameter, Tensor] = {}  # elements that are not trained now

    @property
    def available(self) -> bool:
        return self.begin == "verdict" and self._stage is None and not self._done and len(self._stages) > self._turns

    @property
    def trial_steps(self) -> int:
        """Steps of the whole circuit before it is judged."""
        return self.trial or super().trial_steps

    @property
    def growing(self) -> bool:
        """Whether the circuit is not whole yet."""
        return self._stage is not None and self._stage < len(self._stages) - self._turns

    @property
    def busy(self) -> bool:
        return self.growing or super().busy

    def gives_way(self, diagnosis: Diagnosis) -> bool:
        return diagnosis.verdict is Verdict.DIVERGING

    def describe(self, diagnosis: Diagnosis) -> str:
        return f"start anew with {self.grow} of {self._stages[-1].grown} circuit layers, and grow"

    def act(self, trainer: Any, module: Any, batch: Any, batch_idx: int, diagnosis: Diagnosis) -> None:
        weights = self.concerned(trainer, module, diagnosis, whole=True)
        self._names = list(weights.groups)
        self._plan(module)
        self.begin_trial(trainer, module, diagnosis.verdict.value, weights.groups)
        generator = torch.Generator().manual_seed(self.seed)
        weights.write(draw(weights, [self.strategy], 1, generator)[0])
        self._start(trainer, module)

    def suits(self, trainer: Any, module: Any, batch: Any, batch_idx: int, diagnosis: Diagnosis) -> bool:
        weights = self.concerned(trainer, module, diagnosis, whole=True)
        return any(len(layer.weight_groups) > self.grow for layer in weights.layers.values())

    def advance(self, trainer: Any, module: Any, batch: Any, batch_idx: int) -> None:
        if self._stage is None:
            if self.begin == "start" and len(self._stages) > self._turns and not self.dry_run:
                self._start(trainer, module)
        elif self._due(trainer, module):
            last = len(self._stages) - 1
            following = self._stage + 1 if self._stage < last else last - self._turns + 1
            if following != self._stage:
                self._enter(trainer, module, following)
        if self._trial is not None and self.pair_due(self.trial_steps):
            self.take_pair(trainer, module, batch, batch_idx)
        whole_since = self.step if self.growing else self._whole
        if self.is_over(trainer, whole_since, self.trial_steps):
            self.conclude(trainer, module)
            self.detector.restart()

    def conclude(self, trainer: Any, module: Any) -> None:
        if self._trial is not None and not self.settle(trainer, module, "Growing the circuit"):
            self.restore(trainer, module)
            self._stage, self._done = None, True

    def on_fit_start(self, trainer: Any, pl_module: Any) -> None:
        super().on_fit_start(trainer, pl_module)
        self._plan(pl_module)

    def on_train_start(self, trainer: Any, pl_module: Any) -> None:
        super().on_train_start(trainer, pl_module)
        if self._stage is not None:
            self._pin(trainer, pl_module)

    def on_before_optimizer_step(self, trainer: Any, pl_module: Any, optimizer: Any) -> None:
        super().on_before_optimizer_step(trainer, pl_module, optimizer)
        listed = {p for group in optimizer.param_groups for p in group["params"]}
        for parameter, mask in self._still.items():
            if parameter in listed and parameter.grad is not None:
                still = mask.view_as(parameter).to(parameter.device)
                parameter.grad = parameter.grad.masked_fill(still, 0.0)  # it counts for no clipped norm either

    def restore(self, trainer: Any, module: Any) -> None:
        if self._hooks is not None:
            self._hooks.remove()
        self._hooks, self._still = None, {}

    def state_dict(self) -> dict[str, Any]:
        since = [self._entered, self._began, self._whole]
        return super().state_dict() | {"stage": self._stage, "since": since, "names": self._names, "done": self._done}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        super().load_state_dict(state_dict)
        self._stage, self._names, self._done = state_dict["stage"], state_dict["names"], state_dict["done"]
        self._entered, self._began, self._whole = state_dict["since"]

    def _plan(self, module: Any) -> None:
        layers = quantum_modules(module).items()
        names = None if self._names is None else set(self._names)
        counts = [
            len(own) for path, q in layers if (own := layer_names(path, q)) and not (names and names.isdisjoint(own))
        ]
        n = max(counts, default=0)
        self._turns = min(self.partitions, max(1, n))
        self._stages = stages(n, self.grow, freeze=self.freeze, partitions=self._turns)

    def _weights(self, trainer: Any, module: Any) -> QuantumWeights:
        """What grows."""
        return QuantumWeights.trained(trainer, module, self._names, whole=True)

    def _due(self, trainer: Any, module: Any) -> bool:
        # By the trainer's count: a checkpoint of an epoch's last step has not seen the end of that epoch.
        epochs = trainer.current_epoch - self._entered
        if self.schedule != "snr":
            return epochs >= self.schedule
        if epochs >= self.epochs:
            return True
        history = self.detector.monitor.history
        if not self.growing or not history or history[-1].step < self._began:
            return False
        assert self._stage is not None
        now, following = self._stages[self._stage], self._stages[self._stage + 1]
        places = _places(module)
        measured = [(layer, places[layer.name]) for layer in history[-1].layers if layer.name in places]
        waiting = [layer for layer, k in measured if now.grown <= k < following.grown]
        return allows(waiting, [layer for layer, k in measured if now.trains(k)])

    def _start(self, trainer: Any, module: Any) -> None:
        """The waiting layers go to zero, and the first ones are trained."""
        first = self._stages[0]
        weights = self._weights(trainer, module)
        waiting = torch.cat([_mask(layer, lambda k: k >= first.grown) for layer in weights.layers.values()])
        weights.write(torch.where(waiting, 0.0, weights.read()))
        self._enter(trainer, module, 0)

    def _enter(self, trainer: Any, module: Any, stage: int) -> None:
        was_growing = self._stage is None or self.growing
        self._stage, self._entered, self._began = stage, trainer.current_epoch, self.step
        if was_growing and not self.growing:
            self._whole = self.step
        self.restore(trainer, module)
        self._pin(trainer, module)
        weights = self._weights(trainer, module)
        for optimizer in raw_optimizers(trainer):
            forget(optimizer, weights.elements())
        weights.publish(module, averaged_models(trainer))
        now, n = self._stages[stage], self._stages[-1].grown
        trained = f"layers {now.first + 1} to {now.last}" if now.last - now.first > 1 else f"layer {now.last}"
        text = f"Trains {trained} of the {now.grown} that the circuit has grown to, out of {n}."
        self.tell(trainer, "layerwise", text, trained=[now.first, now.last], grown=now.grown, layers=n)

    def _pin(self, trainer: Any, module: Any) -> None:
        """Hold what the present stage does not train."""
        assert self._stage is not None
        now = self._stages[self._stage]
        weights = self._weights(trainer, module)
        still = torch.cat([_mask(layer, lambda k: not now.trains(k)) for layer in weights.layers.values()])
        weights.chosen = weights.chosen & still
        self._still = weights.elements()
        self._hooks = StepHooks(raw_optimizers(trainer), self._still)
        self._hooks.share = 0.0


def _mask(layer: AnyLayer, wanted: Callable[[int], bool]) -> Tensor:
    """(P,) bool: weights in those of the circuit's layers whose number is wanted."""
    mask = torch.zeros(layer.n_weights, dtype=torch.bool)
    for k, indices in enumerate(layer.weight_groups.values()):
        mask[list(indices)] = wanted(k)
    return mask


def _places(module: Any) -> dict[str, int]:
    """The number of each circuit layer in its circuit, by the name the monitor gives it."""
    found: dict[str, int] = {}
    for path, layer in quantum_modules(module).items():
        found |= {name: k for k, name in enumerate(layer_names(path, layer))}
    return found
