"""`precheck`: will this train, and at what price? Everything that can be known in a minute, before the first step."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor, nn

from torchbp.arguments import checked
from torchbp.arguments.kinds import anything, batches
from torchbp.circuits import Circuit, PauliSum, given
from torchbp.circuits.initializers import Initializer
from torchbp.diagnosis.concentration import Concentration
from torchbp.diagnosis.light_cone import dead_weights
from torchbp.diagnosis.plateau import Thresholds
from torchbp.diagnosis.verdicts import Verdict
from torchbp.errors import InputError, TorchBPError
from torchbp.gradients.isolation import undisturbed
from torchbp.layer import QuantumLayer
from torchbp.trainability.algebras.generators import find_generators
from torchbp.trainability.algebras.lie_algebra import LieAlgebra, lie_algebra
from torchbp.trainability.prechecks.by_paths import PathCase
from torchbp.trainability.prechecks.cases import Case, simulated
from torchbp.trainability.prechecks.result import DepthPoint, Precheck, Suggestion
from torchbp.trainability.prechecks.signal import Signal
from torchbp.trainability.prechecks.variations import local_observables, n_layers
from torchbp.trainability.scans.plan import SIMULATED

_ALGEBRA_LIMIT = 2**16
_SUMS_UP_TO = 4
_MAX_DEPTHS = 6
_MAX_SHOWN, _WORTH = 5, 1.5
_ROUNDING = 1e-24  # of a variance in double precision, where the output is constant


@checked(model=anything, loader=batches, observables=given.observables)
def precheck(
    model: nn.Module | Circuit,
    loader: Iterable[Any] | None = None,
    *,
    loss_fn: Callable[[Any, Any], Tensor] | None = None,
    observables: PauliSum | str | Iterable[PauliSum | str] | None = None,
    init: str | Initializer | None = None,
    layer: str | None = None,
    steps: int = 1000,
    budget: float = 1e8,
    price_per_shot: float | None = None,
    seconds: float = 60.0,
    seed: int = 0,
    progress: Callable[[str], None] | None = None,
) -> Precheck:
    """A verdict on a model before its first step, the shots it would take, and remedies tried on the spot.

    One batch goes through the model, which is left as it was. For its quantum layer:

    - does the output concentrate, around the start and over all weights (`concentration`)?
    - the gradient at the start against the noise of single shots: shots for an SNR of 3, for each circuit and for a
      whole step by the parameter-shift rule, and for a run of `steps` steps;
    - the SNR that `budget` buys when the circuit has fewer layers;
    - the dimension of the Lie algebra, where it is found quickly;
    - other initializers, a local observable, fewer layers: what each does to the mean square gradient and to the shots.

    Beyond 20 wires Pauli paths answer instead (`trainability.paths`), for the mean of the layer's outputs, over random
    starts and features: no batch goes through the model then, and its present weights don't count.

    Args:
        model: a circuit, a `QuantumLayer`, or any module that contains one.
        loader: batches, of which the first is used. Left out: for a circuit with features, 8 random inputs in
            U(-pi, pi).
        loss_fn: `(model, batch) -> loss`. Left out: `model.loss(model(x), y)` for a model that has a method `loss` and
            batches (x, y), as those of `torchbp.models`; else the mean of the outputs.
        observables: for a circuit; Z on every wire if left out.
        init: where a run would start: an initializer. Left out: the layer's present weights; "uniform" for a circuit
            and beyond 20 wires.
        layer: path of the quantum layer, for a model with more than one.
        steps: optimizer steps of a run.
        budget: shots that a whole run may take.
        price_per_shot: in any currency; None leaves the price out.
        seconds: after these no further depths and remedies are tried, nor after a KeyboardInterrupt; what is left out
            is listed.
        seed: of all random draws.
        progress: called with a phrase before each stage.

    Raises:
        InputError: no quantum layer, several without `layer`, an argument out of range, or an empty loader.
        UnknownNameError: no such initializer.
        CircuitError: an observable that doesn't fit.
        PreconditionError: more than 20 wires, and paths do not reach a gate or a start; it is named.

    What it does not show: how the signal changes once training has left the start; a strong gradient at a start near
    the identity says nothing of what follows. And whether the model can solve the task at all.
    """
    began = time.perf_counter()
    generator = torch.Generator().manual_seed(seed)
    say = progress or (lambda _: None)
    say("a batch through the model")
    path, whole, quantum = _find(model, observables, layer, generator)
    calibration = getattr(quantum.backend, "shots_before", 0)
    with undisturbed(whole):
        case: Case
        algebra = None
        by_paths = quantum.n_wires > SIMULATED
        if by_paths:
            case = PathCase.of(quantum, init or "uniform", seed)
        else:
            batch = _batch(loader, quantum, isinstance(model, Circuit), generator)
            case = simulated(whole, quantum, batch, loss_fn, generator)
            say("the Lie algebra")
            algebra = _algebra(quantum, case.x)
            if init is not None or isinstance(model, Circuit):
                case = case.starting(init or "uniform")
        say("gradient and shot noise at the start")
        start = case.signal()
        say("concentration of the output")
        spread = case.concentration()
        watch = _Watch(began + seconds, say)
        tried = _try(case, start, watch)
        cut = _depths(case, start, watch)
    tried += [
        Suggestion.of(f"depth {depth}", f"first_layers(circuit, {depth})", signal, start) for depth, signal in cut[:-1]
    ]
    verdict, evidence = _judge(start, spread, budget / steps, quantum)
    return Precheck(
        layer=path,
        n_wires=quantum.n_wires,
        n_weights=quantum.circuit.n_weights,
        n_layers=n_layers(quantum.circuit),
        verdict=verdict,
        evidence=evidence,
        start=start,
        concentration=spread,
        dead_weights=len(dead_weights(quantum.circuit, quantum.observables)),
        algebra=algebra,
        steps=steps,
        budget=budget,
        price_per_shot=price_per_shot,
        depths=tuple(DepthPoint(depth, signal.snr(budget / steps), signal.shots_per_step) for depth, signal in cut),
        suggestions=_best(tried, start),
        skipped=tuple(watch.skipped),
        interrupted=watch.interrupted,
        seconds=time.perf_counter() - began,
        calibration_shots=calibration,
        method="paths" if by_paths else "simulate",
    )


class _Watch:
    """Whether there is time for one thing more, and what there was none for."""

    def __init__(self, deadline: float, say: Callable[[str], None]) -> None:
        self.deadline, self.say = deadline, say
        self.skipped: list[str] = []
        self.interrupted = False

    def signal(self, what: str, make: Callable[[], Case]) -> Signal | None:
        """Of a case, if there is time for it and nobody stops it; Ctrl-C leaves the rest out."""
        if self.interrupted or time.perf_counter() > self.deadline:
            self.skipped.append(what)
            return None
        self.say(what)
        try:
            return make().signal()
        except KeyboardInterrupt:
            self.interrupted = True
            self.skipped.append(what)
            return None


def _find(
    model: nn.Module | Circuit,
    observables: PauliSum | str | Iterable[PauliSum | str] | None,
    path: str | None,
    generator: torch.Generator,
) -> tuple[str, nn.Module, QuantumLayer]:
    if isinstance(model, Circuit):
        backend = "propagation" if model.n_wires > SIMULATED else "fused"
        layer = QuantumLayer(model, observables, backend=backend, init="uniform", generator=generator)
        return "circuit", layer, layer
    if observables is not None:
        raise InputError("observables go with a circuit; a model's quantum layer has its own.")
    if not isinstance(model, nn.Module):
        raise InputError(f"precheck needs a Circuit, a QuantumLayer or a module with one, got {type(model).__name__}.")
    found = {name: m for name, m in model.named_modules() if isinstance(m, QuantumLayer)}
    if not found:
        raise InputError(
            f"There is no torchbp.QuantumLayer in {type(model).__name__}: wrap a TorchQuantum module with "
            "QuantumLayer.from_torchquantum(module)."
        )
    if path is None and len(found) > 1:
        raise InputError(f"The model has {len(found)} quantum layers: say which, layer= one of {', '.join(found)}.")
    chosen = next(iter(found)) if path is None else path
    if chosen not in found:
        raise InputError(f"There is no quantum layer {path!r} in the model; there is {', '.join(found)}.")
    return chosen or type(model).__name__, model, found[chosen]


def _batch(loader: Iterable[Any] | None, layer: QuantumLayer, circuit_alone: bool, generator: torch.Generator) -> Any:
    if loader is not None:
        batch = next(iter(loader), None)
        if batch is None:
            raise InputError("The loader gives no batch.")
        return batch
    if not layer.n_features:
        return None
    if not circuit_alone:
        raise InputError("The quantum layer reads features: give a loader, whose first batch goes through the model.")
    return math.pi * (2 * torch.rand(8, layer.n_features, generator=generator) - 1)


def _algebra(layer: QuantumLayer, x: Tensor | None) -> LieAlgebra | None:
    """Where it is found quickly: for single strings up to a dimension, for sums of them up to a few wires."""
    observable = layer.observables[0]
    try:
        if not find_generators(layer.circuit, observable).single and layer.n_wires > _SUMS_UP_TO:
            return None
        first = None if x is None else x[:4]
        return lie_algebra(layer.circuit, observable, x=first, max_dimension=_ALGEBRA_LIMIT)
    except TorchBPError:
        return None


def _depths(case: Case, start: Signal, watch: _Watch) -> list[tuple[int, Signal]]:
    """The signal of the first layers alone, up to all of them."""
    total = n_layers(case.circuit)
    found = []
    for depth in _spaced(total)[:-1]:
        signal = watch.signal(f"{depth} of {total} layers", lambda depth=depth: case.shallower(depth))  # type: ignore[misc]
        if signal is not None:
            found.append((depth, signal))
    return [*found, (total, start)] if total else []


def _spaced(total: int) -> list[int]:
    """1 to `total`, thinned out evenly on a logarithmic scale."""
    if total <= _MAX_DEPTHS:
        return list(range(1, total + 1))
    return sorted({round(total ** (i / (_MAX_DEPTHS - 1))) for i in range(_MAX_DEPTHS)})


def _try(case: Case, start: Signal, watch: _Watch) -> list[Suggestion]:
    """Other starts, a local observable, and the best start with the local observable."""
    local = local_observables(case.observables)
    found: list[Suggestion] = []

    def note(what: str, code: str, make: Callable[[], Case]) -> None:
        try:
            signal = watch.signal(what, make)
        except TorchBPError:
            return  # this circuit does not have what the remedy needs
        if signal is not None:
            found.append(Suggestion.of(what, code, signal, start))

    for name in ("gaussian", "small_angle", "reduced_domain", "identity_blocks"):
        note(f"{name} init", f'init="{name}"', lambda name=name: case.starting(name))  # type: ignore[misc]
    best = max(found, key=lambda s: s.gain, default=None)
    if any(o.locality > 1 for o in case.observables):
        note("local cost", "observables=local_observables(...)", lambda: case.measuring(local))
        if best is not None and best.gain > 1:
            name = best.what.split()[0]
            note(f"{name} init, local cost", "both", lambda: case.measuring(local).starting(name))
    return found


def _best(tried: list[Suggestion], start: Signal) -> tuple[Suggestion, ...]:
    """What makes the gradient larger and cheaper to measure, the cheapest first."""
    better = [s for s in tried if s.gain > _WORTH and s.shots_per_step < start.shots_per_step]
    return tuple(sorted(better, key=lambda s: s.shots_per_step)[:_MAX_SHOWN])


def _judge(
    start: Signal, spread: Concentration, per_step: float, layer: QuantumLayer
) -> tuple[Verdict, tuple[str, ...]]:
    limit = Thresholds().concentrated
    facts = [
        f"the output varies by {spread.far:.2g} of its scale over all weights and by {spread.near:.2g} around the "
        f"start (2-design: {spread.two_design:.2g}; trainable: above {limit:g})"
    ]
    if len(dead_weights(layer.circuit, layer.observables)) == layer.circuit.n_weights:
        return Verdict.DEAD_LAYER, ("no weight is in the light cone of an observable",)
    if max(spread.far, spread.near) < _ROUNDING and start.ratio == 0:
        return Verdict.DEAD_LAYER, (
            "the output is the same at all weights: the circuit can't move what is measured (a symmetry, or gates that "
            "commute with it): measure something else, or add gates",
        )
    if spread.far <= limit and spread.near <= limit:
        return Verdict.BARREN_PLATEAU, tuple(facts)
    if start.ratio == 0:
        return Verdict.LOCAL_MINIMUM, (
            *facts,
            "the gradient is exactly zero at the start: a stationary point, not a plateau",
        )
    if start.shots_per_step > per_step:
        facts.append(f"an SNR of 3 takes {start.shots_per_step:.2g} shots a step, the budget has {per_step:.2g}")
        return Verdict.SHOT_LIMITED, tuple(facts)
    facts.append(f"an SNR of 3 takes {start.shots_per_step:.2g} shots a step, within the budget's {per_step:.2g}")
    return Verdict.HEALTHY, tuple(facts)
