"""Experiments on a model in the middle of its training: on held batches, with exact values, leaving no trace."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import replace
from functools import partial
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from torchbp.backends.propagation import TruncationWarning
from torchbp.callbacks.mechanics.evaluation import agreed, mean_over_ranks, seeded_loss
from torchbp.callbacks.mechanics.experiments.held_batches import HeldBatches, joined
from torchbp.callbacks.mechanics.isolation import LossFunction, training_loss
from torchbp.callbacks.mechanics.optimizer_state import raw_optimizers
from torchbp.diagnosis.concentration import concentration
from torchbp.diagnosis.descent import Way, gain, go_down, steps_along
from torchbp.diagnosis.entropy import entanglement_ratio
from torchbp.diagnosis.evidence import Descent, Elsewhere, Evidence, Gain, LayerEvidence, LossLandscape
from torchbp.diagnosis.plateau import Experiment, Thresholds, diagnose
from torchbp.diagnosis.probing import Passage, loss_landscape, passage, shot_signal
from torchbp.diagnosis.verdicts import Diagnosis
from torchbp.errors import BackendError, CapacityError, InputError
from torchbp.gradients.microbatch import batch_size, smallest_part, split_batch
from torchbp.layer import QuantumLayer
from torchbp.layer.foreign import AnyLayer

T = TypeVar("T")

PROBED_INPUTS = 4
PARTS = 8
"""Into how many parts the batches are cut that a way is judged by."""
MOST_CIRCUITS = 4000
"""Simulated at most to tell what shots show of a gradient."""
EVALUATIONS = 30
"""Of the loss and its gradient on one way down."""
STARTS = ("uniform", "uniform", "small_angle", "uniform")
BEYOND = (CapacityError, TruncationWarning)
"""What Pauli propagation answers far from Clifford points: nothing, or nothing to be believed."""


def investigate(
    trainer: Any,
    module: Any,
    layers: Mapping[str, AnyLayer],
    held: HeldBatches,
    batch_idx: int,
    evidence: Evidence,
    thresholds: Thresholds,
    *,
    samples: int,
    seed: int,
    step_length: float = math.nan,
    loss_fn: LossFunction | None = None,
) -> tuple[Diagnosis | None, Evidence]:
    """Make the experiments that `diagnose` asks for, until it answers; what it says, and what was found.

    Args:
        layers: the quantum modules, by their path.
        held: batches to find out on.
        batch_idx: handed to the training step.
        evidence: what is known for nothing.
        samples: random weights in each survey.
        seed: of all random numbers.
        step_length: of the optimizer, root mean square change of a quantum weight.
        loss_fn: instead of the training step.
    """
    with _experiments(trainer, module, batch_idx, loss_fn, layers.values()) as loss, torch.no_grad():
        lab = Laboratory(trainer, module, layers, held, loss, samples, seed, step_length, thresholds)
        for _ in Experiment:  # each is made once
            answer = agreed(trainer, diagnose(evidence, thresholds))
            if not isinstance(answer, Experiment):
                return answer, evidence
            evidence = lab.perform(answer, evidence)
        answer = agreed(trainer, diagnose(evidence, thresholds))
        return (None if isinstance(answer, Experiment) else answer), evidence


@contextmanager
def _experiments(
    trainer: Any, module: Any, batch_idx: int, loss_fn: LossFunction | None, layers: Any
) -> Iterator[Callable[[Any], Tensor | None]]:
    with training_loss(trainer, module, batch_idx, loss_fn) as loss, ExitStack() as exact, warnings.catch_warnings():
        warnings.simplefilter("error", TruncationWarning)
        for layer in layers:
            exact.enter_context(layer.exact())
        yield loss


class Laboratory:
    """The means to make experiments; arguments as for `investigate`, inside of what leaves no trace and no graph."""

    def __init__(
        self,
        trainer: Any,
        module: Any,
        layers: Mapping[str, AnyLayer],
        held: HeldBatches,
        loss: Callable[[Any], Tensor | None],
        samples: int,
        seed: int,
        step_length: float,
        thresholds: Thresholds,
    ) -> None:
        self.module, self.layers, self.loss = module, layers, loss
        self.samples, self.seed, self.thresholds = samples, seed, thresholds
        self.step_length = step_length
        self.generator = torch.Generator().manual_seed(seed)
        self.agree = partial(mean_over_ranks, trainer)
        self.same = partial(agreed, trainer)
        self.parameters = _trained(trainer, module)
        found_by, judged_by = held.halves()
        self.found_by = self._as_one(found_by)
        self.judged_by = self._parts(self._as_one(judged_by))
        self.ways: dict[str, Passage] = {}
        self.down: Way | None = None

    def perform(self, experiment: Experiment, evidence: Evidence) -> Evidence:
        """The evidence with what the experiment shows, or with why it can't be made."""
        try:
            return self._perform(experiment, evidence)
        except BEYOND as error:
            return replace(evidence, missing=f"a backend has no answer to the experiment {experiment.value!r}: {error}")

    def _perform(self, experiment: Experiment, evidence: Evidence) -> Evidence:
        if experiment is Experiment.SURVEY:
            return self._survey(evidence)
        if experiment is Experiment.SHOTS:
            return replace(evidence, layers=tuple(map(self._shots, evidence.layers)))
        if experiment is Experiment.DESCEND:
            return replace(evidence, descent=self._descend(evidence))
        if experiment is Experiment.NOISELESS:
            return replace(evidence, noiseless=self._noiseless())
        return replace(evidence, elsewhere=self._elsewhere())

    def _survey(self, evidence: Evidence) -> Evidence:
        layers = tuple(self._look_at(layer) for layer in evidence.layers)
        spans = [max(abs(x.landscape.mean - x.landscape.here), 2 * x.landscape.std) for x in layers if x.landscape]
        sizes = [*spans, evidence.loss.fall, evidence.span]
        span = max((size for size in sizes if not math.isnan(size)), default=0.0) if spans else math.nan
        known = [way.scale(self.layers[path]) for path, way in self.ways.items()]
        scale = max([s for s in (*known, evidence.scale) if not math.isnan(s)], default=math.nan)
        return replace(evidence, layers=layers, span=span, scale=scale)

    def _look_at(self, known: LayerEvidence) -> LayerEvidence:
        if known.untrained:
            return known
        layer = self.layers[known.path]
        try:
            way = passage(layer, self._here)
        except InputError:
            return replace(known, untrained="the loss does not depend on its output in a differentiable way")
        self.ways[known.path] = way
        inputs = None if way.x is None else way.x[:PROBED_INPUTS]
        survey = partial(loss_landscape, layer, self._here, samples=self.samples, generator=self.generator)
        spread = partial(concentration, layer, inputs, generator=self.generator)
        landscape = _answer(survey) or LossLandscape(*[math.nan] * 4)
        found: dict[str, Any] = {
            "landscape": landscape,
            "matters": landscape.std > 0 or bool((way.cotangent != 0).any()),
            "concentration": _answer(partial(spread, samples=2 * self.samples)),
        }
        noisy = layer.noise is not None
        with layer.noiseless():
            with suppress(BackendError):  # a backend that has noise of its own has no state vectors
                found["entanglement"] = entanglement_ratio(layer.states(inputs))
            if noisy:
                found["noiseless"] = _answer(partial(spread, samples=self.samples))
        return replace(known, **found)

    def _shots(self, known: LayerEvidence) -> LayerEvidence:
        layer = self.layers[known.path] if known.path in self.ways else None
        if known.untrained or known.n_shots is None or not isinstance(layer, QuantumLayer):
            return known
        signal = shot_signal(layer, self.ways[known.path], known.n_shots, max_circuits=MOST_CIRCUITS)
        return replace(known, shots=signal)

    def _descend(self, evidence: Evidence) -> Descent:
        enough = 2 * self.thresholds.material * evidence.span
        quantum = [p for layer in self.layers.values() for p, *_ in layer.weight_places if p.requires_grad]
        whole, shorter = steps_along(self._here, quantum, self.step_length, self.agree)
        with self._way_back():
            self.down = self._go_down(max(enough, 0.0))
        return Descent(self.down.gain, whole, shorter, self.down.evaluations)

    def _noiseless(self) -> Gain:
        with self._way_back(), ExitStack() as quiet:
            for layer in self.layers.values():
                quiet.enter_context(layer.noiseless())
            return self._go_down().gain

    def _elsewhere(self) -> Elsewhere:
        assert self.down is not None
        ends = []
        for start in STARTS:
            with self._way_back():
                for layer in self.layers.values():
                    _write(layer, layer.draw(start, self.generator))
                ends.append(self._go_down().best)
        gains = [gain(self.down.best, end) for end in ends]
        known = [g for g in gains if not math.isnan(g.mean)]
        return Elsewhere(len(known), max(known, key=lambda g: g.mean - g.error))

    def _go_down(self, enough: float = math.inf) -> Way:
        options: dict[str, Any] = {"evaluations": EVALUATIONS, "enough": enough, "agree": self.agree}
        return go_down(self._here, self._judge, self.parameters, **options)

    @contextmanager
    def _way_back(self) -> Iterator[None]:
        before = [(p, p.detach().clone()) for p in self.parameters]
        try:
            yield
        finally:
            for parameter, values in before:
                parameter.copy_(values)

    # The loss on the held batches.

    def _on(self, batch: Any, seed: int = 0) -> Tensor | None:
        """With the same random numbers each time: dropout must not look like a landscape."""
        return seeded_loss(self.module, self.loss, batch, self.seed + seed)

    def _here(self) -> Tensor | None:
        values = [value for value in map(self._on, self.found_by) if value is not None]
        return torch.stack([value.reshape(()) for value in values]).mean() if values else None

    def _judge(self) -> Tensor:
        # Other random numbers than the way was found with: what dropout or sampled actions make of them is no gain.
        values = [self._on(part, 1 + k) for k, part in enumerate(self.judged_by)]
        known = [math.nan if value is None else float(value) for value in values]
        return self.agree(torch.tensor(known, dtype=torch.float64))

    def _as_one(self, batches: Sequence[Any]) -> list[Any]:
        """One large batch instead of several, where the loss is the mean of theirs; it takes far less time."""
        whole = joined(batches)
        if len(batches) == 1 or whole is None:
            return list(batches)[:PARTS]
        one, parts = self._on(whole), [self._on(batch) for batch in batches]
        if one is None or any(part is None for part in parts):
            return list(batches)[:PARTS]
        sizes = [batch_size(batch) or 1 for batch in batches]
        mean = sum(float(part) * size for part, size in zip(parts, sizes, strict=True) if part is not None)
        same = math.isclose(float(one), mean / sum(sizes), rel_tol=1e-3, abs_tol=1e-12)
        return [whole] if self.same(same) else list(batches)[:PARTS]

    def _parts(self, batches: list[Any]) -> list[Any]:
        """The batches to judge by in as many parts as tell how much they differ."""
        size = batch_size(batches[0]) if len(batches) == 1 else None
        number = min(PARTS, (size or 1) // smallest_part(self.module))
        return split_batch(batches[0], number) if size is not None and number > 1 else batches


def _answer(question: Callable[[], T]) -> T | None:
    """None where it leads to weights that a backend has no answer at."""
    with suppress(*BEYOND):
        return question()
    return None


def _trained(trainer: Any, module: nn.Module) -> list[nn.Parameter]:
    """The parameters that the optimizers move; all that require a gradient where there is no optimizer."""
    listed = {p for o in raw_optimizers(trainer) for group in o.param_groups for p in group["params"]}
    every = [p for p in module.parameters() if p.requires_grad and not nn.parameter.is_lazy(p)]
    return [p for p in every if p in listed] or every


def _write(layer: AnyLayer, weights: Tensor) -> None:
    """New values for those weights that are trained."""
    for parameter, elements, indices in layer.weight_places:
        if parameter.requires_grad:
            flat = parameter.detach().reshape(-1).clone()
            flat[elements] = weights.to(flat)[indices]
            parameter.copy_(flat.view_as(parameter))
