"""Which Pauli strings can be measured together: one basis for each group of qubit-wise commuting strings."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from torchbp.circuits.observables import PauliString, PauliSum


@dataclass(frozen=True)
class MeasurementGroup:
    """Strings that one measurement setting serves.

    `basis` gives the letter each measured wire is read in; the other wires are not read.
    """

    basis: tuple[tuple[int, str], ...]
    strings: tuple[PauliString, ...]

    @property
    def wires(self) -> tuple[int, ...]:
        """The wires that are read, in order."""
        return tuple(wire for wire, _ in self.basis)


@dataclass(frozen=True)
class Grouping:
    """Observables as weighted sums of group measurements.

    `coefficients[g]` has shape (M, T_g): the weight of each of the T_g strings of group g in each observable;
    `constants` (M,) are the weights of the identity, which needs no measurement.
    """

    groups: tuple[MeasurementGroup, ...]
    coefficients: tuple[np.ndarray, ...]
    constants: np.ndarray


def group_qubit_wise(observables: Sequence[PauliSum]) -> Grouping:
    """Group the strings of all observables so that those in a group agree on every wire they share.

    Sorted insertion (Crawford 2021, 1908.06942): strings in the order of falling |coefficient|, each into the first
    group that takes it. Not always the smallest number of groups, but close to the best variance at given shots.
    """
    largest: dict[PauliString, float] = {}
    for observable in observables:
        for string, c in observable.terms:
            if string:
                largest[string] = max(largest.get(string, 0.0), abs(c))
    bases: list[dict[int, str]] = []
    members: list[list[PauliString]] = []
    for string in sorted(largest, key=lambda s: -largest[s]):
        fit = next((g for g, basis in enumerate(bases) if all(basis.get(w, p) == p for w, p in string)), None)
        if fit is None:
            bases.append({})
            members.append([])
            fit = -1
        bases[fit].update(string)
        members[fit].append(string)
    groups = tuple(
        MeasurementGroup(tuple(sorted(basis.items())), tuple(strings))
        for basis, strings in zip(bases, members, strict=True)
    )
    weights = [dict(observable.terms) for observable in observables]
    return Grouping(
        groups,
        tuple(np.array([[w.get(s, 0.0) for s in group.strings] for w in weights]) for group in groups),
        np.array([w.get((), 0.0) for w in weights]),
    )
