"""A row of a scan from Pauli paths, at any number of wires."""

from __future__ import annotations

import time

import numpy as np

from torchbp.circuits.initializers import Initializer
from torchbp.diagnosis.light_cone import dead_weights
from torchbp.layer import QuantumLayer
from torchbp.trainability.paths.estimate import path_variances
from torchbp.trainability.paths.plan import Turn, plan_paths
from torchbp.trainability.scans.moments import of_islands
from torchbp.trainability.scans.plan import PlannedRow
from torchbp.trainability.scans.result import ScanRow


def path_row(row: PlannedRow, init: str | Initializer, paths: int, confidence: float, seed: int) -> ScanRow:
    """The variances of one circuit over random starts, see `trainability.paths`.

    Raises:
        PreconditionError: what paths do not reach.
    """
    begun, layer = time.perf_counter(), row.layer
    circuit = layer.circuit
    features = row.inputs[0].tolist() if row.inputs.shape[1] else None
    plan = plan_paths(circuit, layer.observables, init, features=features, noise=layer.noise)
    names = list(layer.weight_groups)
    group = np.zeros(circuit.n_weights, dtype=np.int64)
    for number, name in enumerate(names):
        group[list(layer.weight_groups[name])] = number
    found = path_variances(plan, group, len(names), paths=paths, seed=seed)
    dead = set(dead_weights(circuit, layer.observables))
    alive = np.bincount(group[[w not in dead for w in range(circuit.n_weights)]], minlength=len(names))
    steepest = max((step.slope**2 for step in plan.steps if isinstance(step, Turn)), default=0.0) * found.bound
    return ScanRow(
        n_wires=row.n_wires,
        depth=row.depth,
        series=row.series,
        n_weights=circuit.n_weights,
        n_live=circuit.n_weights - len(dead),
        cost=of_islands(found.cost, found.paths, found.bound, confidence),
        gradient=of_islands(found.sums.sum(1) / max(1, alive.sum()), found.paths, steepest, confidence),
        layers={
            name: of_islands(found.sums[:, number] / alive[number], found.paths, steepest, confidence)
            for number, name in enumerate(names)
            if alive[number]
        },
        two_design=two_design(layer),
        seconds=time.perf_counter() - begun,
        signal=of_islands(found.squares.sum(1) / max(1, alive.sum()), found.paths, steepest, confidence),
        method="paths",
    )


def two_design(layer: QuantumLayer) -> float:
    """Var[C] over Haar-random states: sum_k c_k^2 / (2^n + 1), of the observables' sum without the identity."""
    total = sum(layer.observables[1:], layer.observables[0])
    tiny = 2.0**-layer.n_wires
    return sum(c**2 for string, c in total.terms if string) * tiny / (1 + tiny)
