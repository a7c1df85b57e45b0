"""The Lie algebra that sums of Pauli strings generate, by linear algebra on their coefficients.

Operators are real vectors over the strings that can occur (the closure of all terms taken one by one). New commutators
are made orthogonal to what is there, twice; their singular values say how many are new. A value that is neither clearly
zero nor clearly not is an error, so that a dimension is never a matter of rounding.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from scipy.linalg import null_space

from torchbp.circuits.pauli.strings import Words, bracket, closure, contains
from torchbp.errors import CapacityError, PreconditionError
from torchbp.trainability.algebras.generators import Operator, distinct
from torchbp.trainability.algebras.pauli_algebra import IdealNumbers

STRONG, NEW, OLD = 0.1, 1e-6, 1e-8
"""Singular values, of commutators of norm 1: what is taken at once, from where on a direction counts as new at all, and
below where it is rounding."""

MAX_NUMBERS = 2**27
"""Coefficients held at most: 1 GiB."""


class OperatorAlgebra:
    """The closure of operators under commutators.

    Args:
        generators: operators on the same wires.
        n_wires: number of wires, up to 32.
        limit: dimension beyond which the search stops.

    Attributes:
        words: (S,) all strings that occur, sorted.
        basis: (dim, S) orthonormal rows.
        complete: whether the search came to an end.

    Raises:
        CapacityError: the coefficients don't fit into memory.
        PreconditionError: rounding does not let the dimension be told.
    """

    def __init__(self, generators: tuple[Operator, ...], n_wires: int, limit: int) -> None:
        self.n_wires = n_wires
        strings = np.concatenate([g.words for g in generators])
        self.words: Words
        self.words, whole = closure(strings, n_wires, MAX_NUMBERS // 1024)
        if not whole:
            raise CapacityError(
                f"The generators' terms alone reach more than {MAX_NUMBERS // 1024} Pauli strings, too many for the "
                "linear algebra that sums of strings take: take fewer wires, and look at how the dimension grows."
            )
        units = distinct(generators)
        self._maps = [_Commutator(g, self.words, n_wires) for g in units]
        rows = np.stack([self.vector(g) for g in units])
        limit = min(limit, MAX_NUMBERS // len(self.words))
        self.basis, self.complete = _span(rows, self._maps, limit, self._random_map)
        self._ideals: list[np.ndarray] | None = None

    @property
    def dimension(self) -> int:
        return len(self.basis)

    def vector(self, operator: Operator) -> np.ndarray:
        """(S,) coefficients; strings that don't occur in the algebra are left out."""
        inside = contains(self.words, operator.words)
        out = np.zeros(len(self.words))
        out[np.searchsorted(self.words, operator.words[inside])] = operator.coefficients[inside]
        return out

    def share(self, observable: Operator) -> float:
        """The share of an observable's squared norm (without the identity) that lies in the algebra."""
        projected = self.basis @ self.vector(observable)
        return float((projected**2).sum() / (observable.coefficients**2).sum())

    def split(self) -> list[np.ndarray]:
        """Orthonormal rows (dim_i, S) of each simple ideal, the largest first.

        What commutes with all generators is the centre. In the rest, a plane on which ad(h) of a random element h turns
        by one frequency is a root space, which lies in one simple ideal, and generates it.
        """
        if self._ideals is not None:
            return self._ideals
        adjoint = [self.basis @ m(self.basis).T for m in self._maps]  # [k, j]: of [G, B_j]
        triangle = adjoint[0]  # has the null space that all of them have in common
        for matrix in adjoint[1:]:
            triangle = np.linalg.qr(np.concatenate([triangle, matrix]), mode="r")
        centre = null_space(triangle, rcond=OLD)
        rest = null_space(centre.T) if centre.shape[1] else np.eye(len(self.basis))
        ideals = []
        rng = np.random.default_rng(0)
        while rest.shape[1]:
            element = rest @ rng.normal(size=rest.shape[1])
            turning = rest.T @ (self.basis @ self._commutator(element @ self.basis)(self.basis).T) @ rest
            frequencies, planes = np.linalg.eigh(1j * turning)
            plane = rest @ planes[:, np.argmax(frequencies)]
            ideal, _ = _span(np.stack([plane.real, plane.imag]), [_matrix(a) for a in adjoint], len(rest))
            ideals.append(ideal @ self.basis)
            rest = rest @ null_space(ideal @ rest)
        self._ideals = sorted(ideals, key=len, reverse=True)
        return self._ideals

    @property
    def ideals(self) -> tuple[int, ...]:
        """Dimensions of the simple ideals, falling."""
        return tuple(len(rows) for rows in self.split())

    def numbers(self, observable: Operator, state: np.ndarray, generators: tuple[Operator, ...]) -> list[IdealNumbers]:
        """Of every simple ideal, for an observable in the algebra and <P> (B, S) of all `words`."""
        c = self.vector(observable)
        maps = [_Commutator(g, self.words, self.n_wires) for g in generators]
        return [
            IdealNumbers(
                len(rows),
                float(((rows @ c) ** 2).sum()),
                ((state @ rows.T) ** 2).sum(1),
                np.array([4 * (m(rows) ** 2).sum() for m in maps]),
            )
            for rows in self.split()
        ]

    def _commutator(self, element: np.ndarray) -> _Map:
        """ad of any element (S,)."""
        there = np.flatnonzero(element)
        return _Commutator(Operator(self.words[there], element[there]), self.words, self.n_wires)

    def _random_map(self, basis: np.ndarray) -> _Map:
        """ad of a random element of what `basis` spans."""
        element = np.random.default_rng(len(basis)).normal(size=len(basis)) @ basis
        return self._commutator(element / np.linalg.norm(element))


_Map = Callable[[np.ndarray], np.ndarray]


class _Commutator:
    """V -> -i [G, V] / 2 on rows of coefficients (m, S)."""

    def __init__(self, generator: Operator, words: Words, n_wires: int) -> None:
        self.terms = []
        for word, c in zip(generator.words, generator.coefficients, strict=True):
            targets, signs = bracket(word, words, n_wires)
            source = np.flatnonzero(signs)
            source = source[contains(words, targets[source])]
            self.terms.append((source, np.searchsorted(words, targets[source]), c * signs[source]))

    def __call__(self, rows: np.ndarray) -> np.ndarray:
        out = np.zeros_like(rows)
        for source, target, factor in self.terms:
            out[:, target] += rows[:, source] * factor
        return out


def _matrix(matrix: np.ndarray) -> _Map:
    return lambda rows: rows @ matrix.T


def _span(
    start: np.ndarray, maps: Sequence[_Map], limit: int, shortcut: Callable[[np.ndarray], _Map] | None = None
) -> tuple[np.ndarray, bool]:
    """Orthonormal rows of the smallest space with `start` in it that the maps don't leave; and whether it is whole.

    Rounding grows along a chain of commutators. Where a generation is small, so that the chain would be long, the
    `shortcut`, another map that doesn't leave the space, is applied to all rows: the chain is then as long as a
    logarithm.
    """
    basis = np.empty((0, start.shape[1]))
    frontier, waiting = _directions(basis, start)
    while True:
        if not len(frontier):
            frontier, waiting = _strongest(basis, waiting)
            if not len(frontier):
                return basis, True
        basis = np.concatenate([basis, frontier])
        if len(basis) > limit:
            return basis, False
        steps = [(apply, frontier) for apply in maps]
        if shortcut is not None and 4 * len(frontier) < len(basis):
            steps.insert(0, (shortcut(basis), basis))
        known = len(basis)
        for apply, rows in steps:
            strong, weak = _directions(basis, apply(rows))
            basis, waiting = np.concatenate([basis, strong]), np.concatenate([waiting, weak])
        basis, frontier = basis[:known], basis[known:]


def _directions(basis: np.ndarray, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """What `rows`, each scaled to norm 1, have beyond `basis`: orthonormal rows where it is much; else as it is.

    A direction is as exact as it is strong: the weak ones wait, as others may come to explain them.
    """
    norms = np.linalg.norm(rows, axis=1)
    rows = _beyond(basis, rows[norms > OLD] / norms[norms > OLD, None])
    if not len(rows):
        return rows, rows
    _, values, directions = np.linalg.svd(rows, full_matrices=False)
    strong, weak = values >= STRONG, (values < STRONG) & (values > OLD)
    return _orthonormal(basis, directions[strong]), values[weak, None] * directions[weak]


def _strongest(basis: np.ndarray, waiting: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The strongest direction among the weak, and the rest of them.

    Raises:
        PreconditionError: it is neither clearly there nor clearly rounding.
    """
    waiting = _beyond(basis, waiting)
    if not len(waiting):
        return waiting, waiting
    _, values, directions = np.linalg.svd(waiting, full_matrices=False)
    if values[0] < NEW:
        raise PreconditionError(
            f"Rounding does not let the dimension be told: a commutator has {values[0]:.1g} of its norm in a new "
            "direction. The generators differ too widely in size, or there are too many wires."
        )
    return _orthonormal(basis, directions[:1]), values[1:, None] * directions[1:]


def _beyond(basis: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """`rows` without their parts in `basis`; those of which nothing is left but rounding are left out."""
    if len(basis) == rows.shape[1]:
        return rows[:0]
    for _ in range(2):
        rows = rows - (rows @ basis.T) @ basis
    return rows[np.linalg.norm(rows, axis=1) > OLD]


def _orthonormal(basis: np.ndarray, rows: np.ndarray) -> np.ndarray:
    rows = rows - (rows @ basis.T) @ basis
    return np.linalg.qr(rows.T)[0].T if len(rows) else rows
