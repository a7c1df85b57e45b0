"""What the weights of a circuit turn: its generators, with every fixed gate worked in.

A circuit of fixed gates and rotations exp(-i w G) is rewritten as (all fixed gates)(rotations by V^-1 G V), where V are
the fixed gates before each rotation. A Clifford gate turns a Pauli string into a Pauli string, others into a sum.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from torchbp.circuits import Circuit, PauliSum
from torchbp.circuits.circuit import Elementary
from torchbp.circuits.operations import Matrix
from torchbp.circuits.pauli.strings import (
    Words,
    anticommute,
    bracket,
    check_wires,
    encode,
    local_words,
    spread,
)
from torchbp.circuits.pauli.tables import MAX_GATE, ROUNDING, pauli_coefficients, transfer
from torchbp.errors import CapacityError, PreconditionError

_MAX_TERMS = 2**20


@dataclass(frozen=True, eq=False)
class Operator:
    """A real sum of Pauli strings, without the identity.

    Attributes:
        words: (T,) distinct strings, sorted.
        coefficients: (T,).
        weights: the weights of the circuit that turn it; empty for an observable or what features turn.
    """

    words: Words
    coefficients: np.ndarray
    weights: tuple[int, ...] = ()


@dataclass(frozen=True, eq=False)
class Generators:
    """A circuit as a product of rotations, all fixed gates moved behind them.

    Attributes:
        n_wires: wires of the circuit.
        trainable: one operator for each weight, or more than one for a weight whose gates don't commute or stand apart.
        data: operators that features turn between or after trainable gates.
        observable: what is measured, with the fixed gates after everything worked in.
        split: weights that have more than one operator.
        prefix: the circuit before the first trainable gate, if features stand in it; else None, and the fixed gates of
            the prefix have been worked in.
    """

    n_wires: int
    trainable: tuple[Operator, ...]
    data: tuple[Operator, ...]
    observable: Operator | None
    split: tuple[int, ...]
    prefix: Circuit | None

    @property
    def all(self) -> tuple[Operator, ...]:
        """Trainable ones, then those of features."""
        return self.trainable + self.data

    @cached_property
    def single(self) -> bool:
        """Whether every one is a single Pauli string."""
        return all(len(g.words) == 1 for g in self.all)


def find_generators(circuit: Circuit, observable: PauliSum | None) -> Generators:
    """The generators of a circuit and what it measures.

    Raises:
        CapacityError: more than 32 wires, a fixed gate on more than five, or sums of more than a million strings.
        PreconditionError: the circuit has no weights.
    """
    if not circuit.n_weights:
        raise PreconditionError("A circuit without weights generates nothing: append a gate with weight().")
    n, steps = circuit.n_wires, circuit.elementary
    check_wires(n)
    first = next(i for i, s in enumerate(steps) if s.angle is not None and s.angle.kind == "weight")
    encoded = bool(circuit.n_amplitudes) or any(
        s.angle is not None and s.angle.kind == "feature" for s in steps[:first]
    )
    batch = _Batch(n)
    if observable is not None:
        words = encode([string for string, _ in observable.terms], n)
        batch.add(words, np.array([c for _, c in observable.terms]), ("observable", 0))
    for step in reversed(steps[first:] if encoded else steps):
        batch.pass_back(step)
    found = batch.operators()[::-1]
    measured = next((op for label, op in found if label[0] == "observable"), None)
    rotations = [(label, op) for label, op in found if label[0] != "observable" and len(op.words)]
    trainable = _merge([(index, op) for (kind, index), op in rotations if kind == "weight"], n)
    data = [op for (kind, _), op in rotations if kind == "feature"]
    counts: dict[int, int] = {}
    for op in trainable:
        counts[op.weights[0]] = counts.get(op.weights[0], 0) + 1
    return Generators(
        n,
        tuple(trainable),
        tuple(data),
        measured,
        tuple(sorted(w for w, count in counts.items() if count > 1)),
        _prefix(circuit, steps[:first]) if encoded else None,
    )


def commute(one: Operator, other: Operator, n_wires: int) -> bool:
    """Whether [A, B] = 0."""
    odd = anticommute(one.words[:, None], other.words, n_wires)
    if not odd.any():
        return True
    a, b = np.nonzero(odd)
    words, signs = bracket(one.words[a], other.words[b], n_wires)
    _, sums = _collect(words, signs * one.coefficients[a] * other.coefficients[b])
    return bool((abs(sums) <= ROUNDING * abs(one.coefficients).max() * abs(other.coefficients).max()).all())


def distinct(operators: Iterable[Operator]) -> list[Operator]:
    """Those that are not multiples of one before, each of norm 1."""
    found: dict[tuple[bytes, bytes], Operator] = {}
    for op in operators:
        unit = op.coefficients / math.copysign(float(np.linalg.norm(op.coefficients)), op.coefficients[0])
        found.setdefault((op.words.tobytes(), unit.round(12).tobytes()), Operator(op.words, unit, op.weights))
    return list(found.values())


class _Batch:
    """Operators on their way back through the circuit, all in one array."""

    def __init__(self, n_wires: int) -> None:
        self.n_wires = n_wires
        self.labels: list[tuple[str, int]] = []
        self.words: Words = np.empty(0, dtype=np.uint64)
        self.coefficients = np.empty(0)
        self.owners = np.empty(0, dtype=np.int64)

    def add(self, words: Words, coefficients: np.ndarray, label: tuple[str, int]) -> None:
        kept = words != 0  # the identity commutes with everything, and is only a phase or a constant
        self.words = np.concatenate([self.words, words[kept]])
        self.coefficients = np.concatenate([self.coefficients, coefficients[kept]])
        self.owners = np.concatenate([self.owners, np.full(int(kept.sum()), len(self.labels))])
        self.labels.append(label)

    def pass_back(self, step: Elementary) -> None:
        """Put the operators of everything behind a gate before it."""
        if step.angle is None:
            assert step.matrix is not None
            self._conjugate(step.matrix, step.wires)
            return
        rotation = step.gate.rotation(len(step.wires)) if len(step.wires) <= MAX_GATE else None
        if step.angle.offset or step.angle.kind == "constant":
            if rotation is None:
                raise CapacityError(_too_wide(step))
            self._conjugate(rotation.matrix(step.angle.offset), step.wires)
        if step.angle.kind != "constant" and step.angle.scale:
            if rotation is None and step.gate.name != "multirz":
                raise CapacityError(_too_wide(step))
            if rotation is None:
                words = encode([tuple((w, "Z") for w in step.wires)], self.n_wires)
                values = np.array([0.5])
            else:
                local, values = pauli_coefficients(rotation.generator)
                words = spread(local, step.wires, self.n_wires)
            label = (step.angle.kind, step.angle.indices[0])
            self.add(words, step.angle.scale * values, label)

    def operators(self) -> list[tuple[tuple[str, int], Operator]]:
        out = []
        order = np.argsort(self.owners, kind="stable")
        bounds = np.searchsorted(self.owners[order], np.arange(len(self.labels) + 1))
        for i, label in enumerate(self.labels):
            own = order[bounds[i] : bounds[i + 1]]
            words, values = _collect(self.words[own], self.coefficients[own])
            kept = abs(values) > ROUNDING * abs(values).max(initial=0.0)
            out.append((label, Operator(words[kept], values[kept], (label[1],) if label[0] == "weight" else ())))
        return out

    def _conjugate(self, matrix: Matrix, wires: tuple[int, ...]) -> None:
        """V^-1 P V for every string, V on `wires`."""
        if len(wires) > MAX_GATE:
            raise CapacityError(f"A fixed gate on {len(wires)} wires is too wide to work in: at most {MAX_GATE}.")
        table = transfer(matrix)
        local = local_words(self.words, wires, self.n_wires)
        rest = self.words ^ spread(local, wires, self.n_wires)
        counts = (table != 0).sum(1)
        row, column = np.nonzero(table)
        ends = np.cumsum(counts[local])
        source = np.repeat(np.arange(len(local)), counts[local])  # each string becomes counts[local] strings
        nth = np.arange(len(source)) - np.repeat(ends - counts[local], counts[local])
        target = column[np.searchsorted(row, local[source]) + nth]
        self.words = rest[source] | spread(target, wires, self.n_wires)
        self.coefficients = self.coefficients[source] * table[local[source], target]
        self.owners = self.owners[source]
        if counts.max() > 1:
            self._combine()

    def _combine(self) -> None:
        """Add up equal strings of one operator, and drop what cancels."""
        order = np.lexsort((self.words, self.owners))
        words, owners, values = self.words[order], self.owners[order], self.coefficients[order]
        new = np.ones(len(words), dtype=bool)
        new[1:] = (words[1:] != words[:-1]) | (owners[1:] != owners[:-1])
        sums = np.add.reduceat(values, np.flatnonzero(new)) if len(values) else values
        kept = abs(sums) > ROUNDING
        self.words, self.owners, self.coefficients = words[new][kept], owners[new][kept], sums[kept]
        if len(self.words) > _MAX_TERMS:
            raise CapacityError(
                f"Fixed gates that are not Clifford spread the generators over more than {_MAX_TERMS} Pauli strings."
            )


def _merge(rotations: list[tuple[int, Operator]], n_wires: int) -> list[Operator]:
    """Gates of one weight as one generator, where they commute with each other and with all that stands between."""
    groups: list[tuple[int, list[int]]] = []
    open_group: dict[int, int] = {}
    for position, (weight, op) in enumerate(rotations):
        if weight in open_group:
            _, members = groups[open_group[weight]]
            between = range(members[0], position)
            if all(commute(op, rotations[i][1], n_wires) for i in between):
                members.append(position)
                continue
        open_group[weight] = len(groups)
        groups.append((weight, [position]))
    merged = []
    for weight, members in groups:
        words = np.concatenate([rotations[i][1].words for i in members])
        values = np.concatenate([rotations[i][1].coefficients for i in members])
        collected, sums = _collect(words, values)
        kept = abs(sums) > ROUNDING
        merged.append(Operator(collected[kept], sums[kept], (weight,)))
    return [op for op in merged if len(op.words)]


def _collect(words: Words, values: np.ndarray) -> tuple[Words, np.ndarray]:
    distinct, where = np.unique(words, return_inverse=True)
    return distinct, np.bincount(where.reshape(-1), weights=values, minlength=len(distinct))


def _prefix(circuit: Circuit, steps: Iterable[Elementary]) -> Circuit:
    """The gates before the first trainable one."""
    out = Circuit(circuit.n_wires)
    if circuit.n_amplitudes:
        out.encode_amplitudes(circuit.n_amplitudes)
    for step in steps:
        if step.angle is None:
            out.append("qubitunitary", step.wires, unitary=step.matrix)
        else:
            out.append(step.gate.name, step.wires, step.angle)
    return out.freeze()


def _too_wide(step: Elementary) -> str:
    return f"Gate {step.gate.name!r} on {len(step.wires)} wires is too wide to work in: at most {MAX_GATE}."
