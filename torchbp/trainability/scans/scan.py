"""`variance_scan`: how the variance of a cost and of its gradient falls with wires and layers, before any training."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from torchbp.arguments import checked
from torchbp.arguments.kinds import a, anything, each, either, function, one_of, whole
from torchbp.arguments.tensors import real_tensor
from torchbp.backends import Backend, NoiseModel
from torchbp.circuits import Circuit, given, initialize
from torchbp.circuits.initializers import Initializer
from torchbp.diagnosis.light_cone import dead_weights
from torchbp.errors import InputError
from torchbp.trainability.scans.by_paths import path_row, two_design
from torchbp.trainability.scans.draws import Draws, exact_draws, measured_draws
from torchbp.trainability.scans.file import ScanFile
from torchbp.trainability.scans.moments import VarianceEstimate, mean_square_of, variance_of
from torchbp.trainability.scans.plan import Depth, Method, Observable, PlannedRow, planned_rows
from torchbp.trainability.scans.result import ScanRow, VarianceScan

FIRST_CHECK = 32
"""Draws from which on a row may stop early."""

SAVE_EVERY = 5.0
"""Seconds between two saves of an unfinished row."""


@dataclass(frozen=True)
class Progress:
    """How far a scan is: given to the `progress` hook after every round of draws.

    Attributes:
        n_wires, depth: the row at work.
        samples: draws it has.
        done, total: draws of the whole scan; rows that stop early count in full.
    """

    n_wires: int
    depth: int | None
    samples: int
    done: int
    total: int


@checked(
    make_circuit=anything,
    n_wires=each(whole(1)),
    observable=either(function, given.observables),
    depth=either(each(whole(0)), function),
    x=either(function, real_tensor),
    method=one_of("auto", "simulate", "paths"),
    samples=whole(3),
    noise=a(NoiseModel, write="NoiseModel(depolarizing_2q=0.01)"),
    dtype=a(torch.dtype, write="torch.float64"),
)
def variance_scan(
    make_circuit: Callable[..., Circuit],
    n_wires: Iterable[int],
    observable: Observable,
    *,
    depth: Depth | None = None,
    method: Method = "auto",
    samples: int = 1024,
    paths: int = 20_000,
    tolerance: float | None = None,
    init: str | Initializer = "uniform",
    x: Tensor | Callable[[int], Tensor] | None = None,
    shots: int | None = None,
    backend: str | Backend = "fused",
    noise: NoiseModel | None = None,
    dtype: torch.dtype | None = None,
    confidence: float = 0.95,
    seed: int | None = None,
    generator: torch.Generator | None = None,
    file: str | Path | None = None,
    progress: Callable[[Progress], None] | None = None,
) -> VarianceScan:
    """Var[C] and Var[dC/dw] over random weights, for circuits of several sizes, and the law they follow.

    The cost is C(w) = mean_b sum_m <O_m>(x_b, w). A barren plateau is an exponential decay of these variances with the
    number of wires (McClean 2018, Nat. Commun. 9:4812; that of C and that of its gradient go together, Arrasmith 2022,
    Quantum Sci. Technol. 7:045015). Var[dC/dw] is averaged over the weights in the observables' light cone; weights
    outside of it can't move the cost, and their share grows with the wires.

    What it does not show: sizes that were not scanned; weights that training reaches, which are not drawn from the
    initializer; and whether a circuit without a plateau can solve the task.

    Args:
        make_circuit: `n -> Circuit`, or `(n, depth) -> Circuit` where `depth` is given.
        n_wires: the sizes; three or more for a statement about scaling.
        observable: a PauliSum (or several, whose sum is the cost), or a function `n ->` such.
        depth: number of layers: one, several (each a series of its own), or a function `n -> depth`.
        method: "simulate" circuits at random weights; or walk Pauli "paths", at any number of wires, with the moments
            of the weights in place of draws (see `trainability.paths`). Paths want Clifford gates and rotations about
            one Pauli string each, with a weight of its own, Pauli noise, and a start of independent, symmetric
            weights; what does not fit is named. "auto" simulates up to 20 wires and takes paths beyond.
        samples: draws for each row, at most.
        paths: paths for each row that takes them. Time is linear in gates times paths.
        tolerance: stop a row when the relative standard error of the gradient's variance is at most this, checked when
            the number of draws has doubled and only once no single draw dominates. None: always take all `samples`.
        init: where the weights are drawn from: a name in `torchbp.circuits.INITIALIZERS` or a function.
        x: inputs (B, F), or a function `n ->` such, for circuits with features. Paths take one input of multiples of a
            quarter turn, or none: features are then drawn from U(-pi, pi), like the weights.
        shots: measure with this many shots for each circuit and measurement group; the variance that shot noise adds
            is known exactly and subtracted. None: exact expectation values.
        backend, noise: as for `QuantumLayer`.
        dtype: float32 or float64; torch's default if left out. Variances below its rounding are reported as zero.
        confidence: of all intervals.
        seed: of the draws; or give a `generator`, from which it is taken. Torch's global one if both are left out.
        file: an .npz file that keeps what was measured. A scan that is run again with the same arguments continues
            from it and gives the same numbers; further sizes and depths may be added.
        progress: called after every round of draws.

    Raises:
        InputError: sizes, samples or other arguments out of range, or a file that belongs to another scan.
        PreconditionError: paths do not reach a gate, a start or a noise channel of the circuit; it is named.
        CircuitError: an observable that does not fit.
        UnknownNameError: no such initializer or backend.

    Example:
        >>> scan = variance_scan(hardware_efficient, [2, 4, 6], "Z0 Z1", depth=lambda n: 4 * n, samples=256, seed=0)
        >>> scan.verdict
        'exponential'
    """
    if seed is not None and generator is not None:
        raise InputError("Give a seed or a generator, not both.")
    dtype = torch.get_default_dtype() if dtype is None else dtype
    rows = planned_rows(make_circuit, n_wires, observable, depth, x, backend, noise, dtype, method)
    if shots is not None and any(row.by_paths for row in rows):
        raise InputError(
            f'Pauli paths give exact variances, without shot noise: leave out shots={shots}, or method="paths".'
        )
    settings: dict[str, Any] = {
        "method": method,
        "samples": samples,
        "paths": paths,
        "tolerance": tolerance,
        "init": init if isinstance(init, str) else getattr(init, "__name__", type(init).__name__),
        "shots": shots,
        "backend": backend if isinstance(backend, str) else backend.name,
        "noise": None if rows[0].layer.noise is None else repr(rows[0].layer.noise),
        "dtype": str(dtype),
        "confidence": confidence,
    }
    store = ScanFile(file, settings, None if seed is None and generator is None else _seed(seed, generator))
    found: list[ScanRow] = []
    total = sum(paths if row.by_paths else samples for row in rows)
    done = 0
    for row in rows:
        note = _noting(progress, row, done, total)
        kept = store.finished(row.digest, row.n_wires, row.depth)
        if kept is None:
            if row.by_paths:
                seed_of_row = _mix(store.seed, row.n_wires, row.depth or 0, 0, 2)
                kept = path_row(row, init, paths, confidence, seed_of_row)
            else:
                kept = _measure(row, init, settings, store, note)
            store.finish(row.digest, kept)
        if note:
            note(kept.gradient.samples)
        done += paths if row.by_paths else samples
        found.append(kept)
    return VarianceScan(
        tuple(found), {**settings, "seed": store.seed, "observable": getattr(observable, "__name__", str(observable))}
    )


def _measure(
    row: PlannedRow,
    init: str | Initializer,
    settings: dict[str, Any],
    store: ScanFile,
    note: Callable[[int], None] | None,
) -> ScanRow:
    """Draw until there are enough; what an earlier run has left of this row comes first."""
    samples, tolerance = settings["samples"], settings["tolerance"]
    begun = time.perf_counter()
    parts, spent = store.unfinished(row.digest, row.n_wires, row.depth)
    count, saved, check_at = sum(len(p.costs) for p in parts), begun, FIRST_CHECK
    while check_at <= count:
        check_at *= 2
    try:
        while count < samples:
            size = min(round_size(row.n_wires), samples - count)
            parts.append(_round(row, count, size, init, settings["shots"], store.seed))
            count += len(parts[-1].costs)
            if note:
                note(count)
            if time.perf_counter() - saved > SAVE_EVERY:
                saved = time.perf_counter()
                store.keep(row.digest, row.n_wires, row.depth, parts, spent + saved - begun)
            if tolerance is not None and count >= check_at:
                check_at *= 2
                gradient = _gradient_variance(row, Draws.join(parts), settings["confidence"])
                if gradient.trusted and gradient.relative_error <= tolerance:
                    break
    except BaseException:
        store.keep(row.digest, row.n_wires, row.depth, parts, spent + time.perf_counter() - begun)
        raise
    return _summary(row, Draws.join(parts), settings["confidence"], spent + time.perf_counter() - begun)


def round_size(n_wires: int) -> int:
    """Draws from one seed, fewer where each takes long. The numbers depend on neither memory nor interruptions."""
    return max(4, min(FIRST_CHECK, 2 ** max(0, 18 - n_wires)))


def _round(row: PlannedRow, first: int, size: int, init: str | Initializer, shots: int | None, seed: int) -> Draws:
    """The draws number `first` to `first + size`, always the same."""
    layer = row.layer
    # Two streams, so that weights do not depend on whether and how they are measured.
    drawing, measuring = (
        torch.Generator().manual_seed(_mix(seed, row.n_wires, row.depth or 0, first, which)) for which in (0, 1)
    )
    weights = torch.stack([initialize(init, layer.circuit, drawing) for _ in range(size)]).to(layer.weights)
    if shots is None:
        return exact_draws(layer, row.inputs, weights)
    return measured_draws(layer, row.inputs, weights, shots, measuring)


def _summary(row: PlannedRow, draws: Draws, confidence: float, seconds: float) -> ScanRow:
    layer = row.layer
    dead = set(dead_weights(layer.circuit, layer.observables))
    # Rounding leaves this much of a value that is zero: not a variance of anything.
    rounding = (16 * torch.finfo(layer.weights.dtype).eps * sum(o.bound for o in layer.observables)) ** 2
    cost = _without_rounding(variance_of(draws.costs, draws.cost_noise, confidence), rounding)
    layers = {}
    for name, weights in layer.weight_groups.items():
        alive = [w for w in weights if w not in dead]
        if alive:
            layers[name] = _without_rounding(_of(draws, alive, confidence), rounding)
    gradient = _without_rounding(_gradient_variance(row, draws, confidence), rounding)
    signal = _without_rounding(_gradient_variance(row, draws, confidence, mean_square_of), rounding)
    return ScanRow(
        n_wires=row.n_wires,
        depth=row.depth,
        series=row.series,
        n_weights=layer.circuit.n_weights,
        n_live=layer.circuit.n_weights - len(dead),
        cost=cost,
        gradient=gradient,
        layers=layers,
        two_design=two_design(layer),
        seconds=seconds,
        signal=signal,
    )


def _gradient_variance(
    row: PlannedRow, draws: Draws, confidence: float, estimate: Callable[..., VarianceEstimate] = variance_of
) -> VarianceEstimate:
    dead = set(dead_weights(row.layer.circuit, row.layer.observables))
    alive = [i for i in range(draws.gradients.shape[1]) if i not in dead]
    return _of(draws, alive, confidence, estimate)


def _of(
    draws: Draws, columns: list[int], confidence: float, estimate: Callable[..., VarianceEstimate] = variance_of
) -> VarianceEstimate:
    if not columns:
        return estimate(torch.zeros_like(draws.costs), None, confidence)
    noise = None if draws.gradient_noise is None else draws.gradient_noise[:, columns]
    return estimate(draws.gradients[:, columns], noise, confidence)


def _without_rounding(estimate: VarianceEstimate, rounding: float) -> VarianceEstimate:
    if estimate.floor or estimate.value > rounding:
        return estimate
    return VarianceEstimate(0.0, 0.0, 0.0, 0.0, estimate.samples, 0.0, 0.0, estimate.confidence)


def _seed(seed: int | None, generator: torch.Generator | None) -> int:
    if seed is not None:
        return seed
    return int(torch.randint(2**62, (), generator=generator, device=generator.device if generator else "cpu"))


def _mix(*numbers: int) -> int:
    """One seed from several numbers (FNV-1a over their digits), the same everywhere."""
    state = 0xCBF29CE484222325
    for byte in ",".join(map(str, numbers)).encode():
        state = (state ^ byte) * 0x100000001B3 % 2**64
    return state >> 1


def _noting(
    progress: Callable[[Progress], None] | None, row: PlannedRow, done: int, total: int
) -> Callable[[int], None] | None:
    if progress is None:
        return None
    return lambda count: progress(Progress(row.n_wires, row.depth, count, done + count, total))
