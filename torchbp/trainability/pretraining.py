"""`pretrain`: train a circuit classically by Pauli propagation, and then go to the machine."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from torchbp.arguments import checked
from torchbp.arguments.kinds import a, function, real
from torchbp.backends.propagation import PropagationBackend, TruncationWarning
from torchbp.errors import CapacityError, InputError
from torchbp.layer import QuantumLayer

Stop = Literal["steps", "truncation", "terms", "loss"]
_REASONS = {
    "steps": "all steps taken",
    "truncation": "the truncation's estimate grew beyond the tolerance",
    "terms": "more strings than max_terms",
    "loss": "the loss became NaN or infinite",
}


@dataclass(frozen=True)
class Pretrained:
    """What a pretraining did.

    Attributes:
        losses: before the first step, and after each that was taken.
        best: the step whose weights the model has now, the lowest loss of those within the tolerance; 0: the start.
        estimate: the truncation's error estimate there, see `Truncation`.
        most_terms: strings there.
        stopped: "steps" (all were taken), or what ended it before: "truncation", "terms" or "loss".
    """

    losses: tuple[float, ...]
    best: int
    estimate: float
    most_terms: int
    stopped: Stop

    def __str__(self) -> str:
        return (
            f"loss {self.losses[0]:.6g} to {self.losses[self.best]:.6g} in {len(self.losses) - 1} steps "
            f"({_REASONS[self.stopped]}); error estimate {self.estimate:.2g} with {self.most_terms:,} strings"
        )


@checked(
    model=a(nn.Module, write="QuantumLayer(circuit, observables)"),
    tolerance=real(above=0),
    backend=a(PropagationBackend, write="PropagationBackend(min_abs=1e-4)"),
    optimizer=function,
)
def pretrain(
    model: nn.Module,
    loss_fn: Callable[[], Tensor] | None = None,
    *,
    steps: int = 100,
    learning_rate: float = 0.05,
    tolerance: float = 0.1,
    backend: PropagationBackend | None = None,
    optimizer: Callable[..., torch.optim.Optimizer] = torch.optim.Adam,
    progress: Callable[[int, float], None] | None = None,
) -> Pretrained:
    """Train the weights of a model's quantum layers without a machine, at any number of wires.

    For the time being its quantum layers run on a `PropagationBackend`, exact and without noise; afterwards they have
    their own backend, shots and noise back, and the weights of the lowest loss found. No shots are spent. The classical
    part of the model and its buffers stay as they are.

    Propagation is cheap near Clifford points, and less so the further training leads away: a start such as
    `clifford_search`, "small_angle" or "gaussian" is what this is made for. Where the strings become too many, or what
    is dropped too much, it ends with the best weights so far and says so.

    Args:
        model: a `QuantumLayer`, or a module with some, such as `torchbp.models.VQE`.
        loss_fn: computes the loss from the model, with the data of its choice. Left out: the sum of the outputs of
            `model()`, the energy for one Hamiltonian.
        steps: of the optimizer, at most.
        learning_rate: of the optimizer.
        tolerance: largest error estimate of the truncation, for any output, that a step's weights are taken with.
        backend: thresholds for dropping; `PropagationBackend()` if left out.
        optimizer: called with the weights and `lr=learning_rate`.
        progress: told each step and its loss.

    Raises:
        InputError: no quantum layer, a number out of range, or a loss that does not depend on the weights.
        CapacityError: the start already takes too many strings.

    What it does not show: how near the lowest possible loss it came; that a machine with noise has its minimum here.
    """
    layers = [module for module in model.modules() if isinstance(module, QuantumLayer)]
    if not layers:
        raise InputError(f"pretrain trains QuantumLayers, and there is none in {type(model).__name__}.")
    engine = PropagationBackend() if backend is None else backend
    parameters = list({id(p): p for layer in layers for p in layer.parameters() if p.requires_grad}.values())
    loss = loss_fn or (lambda: model().sum())
    with ExitStack() as stack:
        for layer in layers:
            stack.enter_context(layer.backend_at(engine.with_noise(None)))
        stack.enter_context(_gradients_of(parameters))
        return _Search(layers, parameters, loss, tolerance).run(
            optimizer(parameters, lr=learning_rate),
            steps,
            progress,
        )


class _Search:
    """The best point so far, and what is known of it."""

    def __init__(
        self, layers: list[QuantumLayer], parameters: list[nn.Parameter], loss: Callable[[], Tensor], tolerance: float
    ) -> None:
        self.layers, self.parameters, self.loss, self.tolerance = layers, parameters, loss, tolerance
        self.losses: list[float] = []
        self.point = [p.detach().clone() for p in parameters]
        self.best, self.estimate, self.most_terms = 0, 0.0, 0

    def run(
        self, optimizer: torch.optim.Optimizer, steps: int, progress: Callable[[int, float], None] | None
    ) -> Pretrained:
        stopped: Stop = "steps"
        try:
            for step in range(steps + 1):
                try:
                    reason = self._evaluate(gradient=step < steps)
                except CapacityError:
                    if not step:
                        raise
                    stopped = "terms"
                    break
                if reason is not None:
                    stopped = reason
                    break
                if progress:
                    progress(step, self.losses[-1])
                if step < steps:
                    optimizer.step()
        finally:
            with torch.no_grad():
                for parameter, value in zip(self.parameters, self.point, strict=True):
                    parameter.copy_(value)
        return Pretrained(tuple(self.losses), self.best, self.estimate, self.most_terms, stopped)

    def _evaluate(self, gradient: bool) -> Stop | None:
        """The loss here, noted and kept if it is the lowest; why to go no further, if so."""
        for parameter in self.parameters:
            parameter.grad = None
        with warnings.catch_warnings(), torch.set_grad_enabled(gradient or not self.losses):
            warnings.simplefilter("ignore", TruncationWarning)  # the tolerance judges that
            value = self.loss()
        if not self.losses and not value.requires_grad:
            raise InputError("The loss must depend on the weights of the quantum layers, by a differentiable way.")
        found = [t for layer in self.layers if (t := getattr(layer.backend, "truncation", None)) is not None]
        estimate = max((float(t.estimate.max()) for t in found), default=0.0)
        number = float(value.detach())
        if not math.isfinite(number):
            return "loss"
        if self.losses and estimate > self.tolerance:
            return "truncation"
        self.losses.append(number)
        if number <= min(self.losses):
            self.point = [p.detach().clone() for p in self.parameters]
            self.best, self.estimate = len(self.losses) - 1, estimate
            self.most_terms = max((t.most_terms for t in found), default=0)
        if gradient:
            value.backward()
        return None


@contextmanager
def _gradients_of(parameters: list[nn.Parameter]) -> Iterator[None]:
    """Within the block `.grad` is free to use; then it is what it was."""
    before = [p.grad for p in parameters]
    try:
        yield
    finally:
        for parameter, gradient in zip(parameters, before, strict=True):
            parameter.grad = gradient
