"""The Lie algebra that single Pauli strings generate: itself spanned by strings, split by their anticommutation graph.

Strings of different components of the graph commute, so each component generates an ideal. A component is simple, or
2^c copies of a simple algebra: the latter where c independent strings C commute with all of it and C P is in it with
every P; the copies are spanned by P (1 +- C) / 2 (classified in Aguilar 2024, 2408.00081).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.sparse import csr_matrix
from scipy.sparse.csgraph import connected_components

from torchbp.circuits.pauli.strings import Words, anticommute, closure, contains, multiply, walsh_hadamard
from torchbp.trainability.algebras.generators import Operator


@dataclass(frozen=True, eq=False)
class IdealNumbers:
    """What the variance formula takes from one simple ideal; `d` is 2^n, B_j an orthonormal basis.

    Attributes:
        dimension: of the ideal.
        observable: sum_j Tr(B_j O)^2 / d.
        state: (B,) d sum_j Tr(B_j rho)^2.
        killing: (G,) of each generator H, sum_j ||[H, B_j]||^2.
    """

    dimension: int
    observable: float
    state: np.ndarray
    killing: np.ndarray


@dataclass(frozen=True, eq=False)
class Component:
    """Strings (N,) of one component, sorted, and the independent strings (c,) that split it into 2^c copies."""

    words: Words
    splitting: Words

    @property
    def copies(self) -> int:
        return 1 << len(self.splitting)


class PauliAlgebra:
    """The closure of strings under commutators.

    Args:
        generators: (G,) strings.
        n_wires: number of wires, up to 32.
        limit: strings beyond which the search stops.

    Attributes:
        components: those with more than one string.
        centre: (N,) generators that commute with all others.
        complete: whether the search came to an end.
        words: (dim,) all strings, sorted.
    """

    def __init__(self, generators: Words, n_wires: int, limit: int) -> None:
        self.n_wires, self.complete = n_wires, True
        distinct = np.unique(generators)
        graph = csr_matrix(anticommute(distinct[:, None], distinct, n_wires))
        count, label = connected_components(graph, directed=False)
        self.components: list[Component] = []
        alone = [distinct[:0]]
        for i in range(count):
            own = distinct[label == i]
            if len(own) == 1:
                alone.append(own)
                continue
            words, whole = closure(own, n_wires, limit)
            self.complete &= whole
            splitting = _splitting(words, own, n_wires) if whole else words[:0]
            self.components.append(Component(words, splitting))
        self.centre: Words = np.concatenate(alone)
        self.words: Words = np.sort(np.concatenate([*(c.words for c in self.components), self.centre]))

    @property
    def dimension(self) -> int:
        return len(self.words)

    @property
    def ideals(self) -> tuple[int, ...]:
        """Dimensions of the simple ideals, falling."""
        sizes = [len(c.words) // c.copies for c in self.components for _ in range(c.copies)]
        return tuple(sorted(sizes, reverse=True))

    def share(self, observable: Operator) -> float:
        """The share of an observable's squared norm (without the identity) that lies in the algebra."""
        inside = contains(self.words, observable.words)
        return float((observable.coefficients[inside] ** 2).sum() / (observable.coefficients**2).sum())

    def numbers(self, observable: Operator, state: np.ndarray, generators: tuple[Operator, ...]) -> list[IdealNumbers]:
        """Of every simple ideal, for an observable in the algebra and <P> (B, dim) of all `words`."""
        found = []
        for component in self.components:
            words = component.words
            inside = contains(words, observable.words)
            c = np.zeros((1, len(words)))
            c[0, np.searchsorted(words, observable.words[inside])] = observable.coefficients[inside]
            r = state[:, np.searchsorted(self.words, words)]
            killing = np.array([self._killing(g, words) for g in generators]) / component.copies
            h, q = self._by_copy(component, c)[0], self._by_copy(component, r)
            for copy in range(component.copies):
                found.append(
                    IdealNumbers(
                        len(words) // component.copies,
                        float(h[copy]) / component.copies,
                        q[:, copy] / component.copies,
                        killing,
                    )
                )
        return found

    def _killing(self, generator: Operator, words: Words) -> float:
        """4 c^2 for each of the words that the generator's string anticommutes with."""
        return float(4 * generator.coefficients[0] ** 2 * anticommute(words, generator.words[0], self.n_wires).sum())

    def _by_copy(self, component: Component, values: np.ndarray) -> np.ndarray:
        """(B, copies): sum of squares of what (B, N) coefficients of strings have in each copy."""
        if component.copies == 1:
            return (values**2).sum(1)[:, None]
        centre = np.zeros(1, dtype=np.uint64)  # products of the splitting strings, and their signs
        signs = np.ones(1)
        for c in component.splitting:
            both, power = multiply(centre, c, self.n_wires)
            centre, signs = np.concatenate([centre, both]), np.concatenate([signs, signs * (1.0 - power)])
        partners = component.words[:, None] ^ centre
        first = component.words[partners.min(1) == component.words]  # one string of each orbit
        both, power = multiply(first[:, None], centre, self.n_wires)
        in_orbit = values[:, np.searchsorted(component.words, both)] * (signs * (1.0 - power))
        return (walsh_hadamard(in_orbit) ** 2).sum(1)


def _splitting(words: Words, generators: Words, n_wires: int) -> Words:
    """Independent strings C, not the identity, that commute with all of a component and map it onto itself.

    As C [P, Q] = [C P, Q], it is enough that C P is in it for one P.
    """
    candidates = words ^ words[0]
    for g in generators:
        candidates = candidates[~anticommute(candidates, g, n_wires)]
    independent: list[int] = []
    for candidate in candidates.tolist():  # Gaussian elimination over GF(2)
        for row in independent:
            candidate = min(candidate, candidate ^ row)
        if candidate:
            independent.append(candidate)
    return np.array(independent, dtype=np.uint64)
