"""`precheck` beyond the simulator: the same questions, answered by Pauli paths at the true size."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial

import numpy as np

from torchbp.backends import NoiseModel
from torchbp.circuits import Circuit, PauliSum
from torchbp.circuits.initializers import Initializer, reduced_domain
from torchbp.diagnosis.concentration import Concentration
from torchbp.diagnosis.light_cone import dead_weights
from torchbp.layer import QuantumLayer
from torchbp.trainability.paths.estimate import PathVariances, path_variances
from torchbp.trainability.paths.plan import plan_paths
from torchbp.trainability.prechecks.signal import Signal, circuits_per_step
from torchbp.trainability.prechecks.variations import first_layers

PATHS = 4000
"""Paths for each question: variances to a few percent."""

RADIUS = math.pi / 8
"""Of the surroundings of a start, in radians, as `concentration` takes it."""

_MEDIAN = 0.6745
"""Median of |g| over its root mean square, for a Gaussian."""


@dataclass(frozen=True, eq=False)
class PathCase:
    """A circuit and the mean of its observables, and where its weights start. Features are drawn, too.

    Attributes:
        circuit, observables, init, noise: as for `plan_paths`.
        circuits: circuits times measurement groups of a training step.
        seed: of the walks.
    """

    circuit: Circuit
    observables: Sequence[PauliSum]
    init: str | Initializer
    noise: NoiseModel | None
    circuits: int
    seed: int

    @classmethod
    def of(cls, layer: QuantumLayer, init: str | Initializer, seed: int) -> PathCase:
        circuits = circuits_per_step(layer, 1, False)
        return cls(layer.circuit, layer.observables, init, layer.noise, circuits, seed)

    def starting(self, init: str | Initializer) -> PathCase:
        """The same from another start."""
        return replace(self, init=init)

    def measuring(self, observables: Sequence[PauliSum]) -> PathCase:
        """The same with other observables."""
        return replace(self, observables=observables)

    def shallower(self, depth: int) -> PathCase:
        """The same with the first layers alone, which take so many fewer circuits."""
        circuit, kept = first_layers(self.circuit, depth)
        share = len(kept) / self.circuit.n_weights
        return replace(self, circuit=circuit, circuits=max(1, round(self.circuits * share)))

    def signal(self) -> Signal:
        """The gradient's mean square over all starts, in place of that at some, against shot noise.

        A string's single shots vary by at most 1, which they come near to where its expectation value is small: the
        shots are an upper bound. The median over weights takes a layer's weights to be alike, and their gradients to
        be Gaussian over starts.
        """
        layers = [layer.weights for layer in self.circuit.layers if layer.weights]
        group = np.zeros(self.circuit.n_weights, dtype=np.int64)
        for number, weights in enumerate(layers):
            group[list(weights)] = number
        sums = self._variances(group, len(layers)).squares.mean(0)
        dead = set(dead_weights(self.circuit, self.observables))
        alive = np.array([sum(w not in dead for w in weights) for weights in layers])
        live = int(alive.sum())
        if not live or not sums.any():
            return Signal(0.0, 0.0, self.circuits)
        each = np.repeat(np.divide(sums, alive, out=np.zeros_like(sums), where=alive > 0), alive)
        noise = math.sqrt(self._scale() / 2)
        return Signal(float(sums.sum() / live), _MEDIAN * math.sqrt(float(np.median(each))) / noise, self.circuits)

    def concentration(self) -> Concentration:
        """Of the cost over all weights and around the start, in units of its scale.

        Around a uniform start the variance is at most that over all weights, which stands for it; around others it is
        taken in a box around zero.
        """
        nothing = np.zeros(self.circuit.n_weights, dtype=np.int64)
        near = partial(reduced_domain, a=RADIUS / math.pi)
        uniform, small = (
            float(self.starting(init)._variances(nothing, 1).cost.mean()) / self._scale() for init in ("uniform", near)
        )
        chosen = uniform if self.init == "uniform" else small
        tiny = 2.0**-self.circuit.n_wires
        return Concentration(uniform, chosen, tiny / (1 + tiny), 0, RADIUS)

    def _variances(self, group: np.ndarray, count: int) -> PathVariances:
        plan = plan_paths(self.circuit, [self._cost()], self.init, noise=self.noise)
        return path_variances(plan, group, count, paths=PATHS, seed=self.seed)

    def _cost(self) -> PauliSum:
        terms = dict[str, float]()
        for observable in self.observables:
            for string, c in observable.terms:
                key = " ".join(f"{letter}{wire}" for wire, letter in string) or "I"
                terms[key] = terms.get(key, 0.0) + c / len(self.observables)
        return PauliSum(terms)

    def _scale(self) -> float:
        return sum(c**2 for string, c in self._cost().terms if string)
