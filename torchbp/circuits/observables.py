"""`PauliSum`: observables as real sums of Pauli strings, and the ones people use most."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property
from numbers import Real
from typing import Any

import numpy as np

from torchbp.arguments import checked, whole_number
from torchbp.arguments.kinds import anything, each, real, whole
from torchbp.circuits.operations import PAULIS, Matrix, kron
from torchbp.errors import CircuitError, InputError

# One Pauli string: (wire, "X" | "Y" | "Z") pairs in the order of the wires; () is the identity.
PauliString = tuple[tuple[int, str], ...]


class PauliSum:
    """An observable sum_k c_k P_k with real coefficients c_k and Pauli strings P_k.

    Args:
        terms: from a string in sparse notation to its coefficient: "Z0 Z1", "X3", "" or "I" for the identity.
            A single string stands for coefficient 1. Equal strings add up.

    Raises:
        CircuitError: a string that can't be read, a wire named twice, a coefficient that is not a finite real.

    Example:
        >>> PauliSum({"Z0 Z1": -1.0, "X0": -0.5, "X1": -0.5})
        PauliSum({'Z0 Z1': -1.0, 'X0': -0.5, 'X1': -0.5})
    """

    @checked(terms=anything)
    def __init__(self, terms: Mapping[str, float] | str) -> None:
        pairs = {terms: 1.0} if isinstance(terms, str) else terms
        if not isinstance(pairs, Mapping) or not pairs:
            raise CircuitError(f'An observable is a string or a dict such as {{"Z0 Z1": -1.0}}, got {terms!r}.')
        collected: dict[PauliString, float] = {}
        for text, value in pairs.items():
            string = _parse(text)
            collected[string] = collected.get(string, 0.0) + _coefficient(text, value)
        self.terms: tuple[tuple[PauliString, float], ...] = tuple(collected.items())

    @property
    def wires(self) -> tuple[int, ...]:
        """The wires that any term acts on, in order."""
        return tuple(sorted({wire for string, _ in self.terms for wire, _ in string}))

    @property
    def locality(self) -> int:
        """The largest number of wires that a single term acts on."""
        return max(len(string) for string, _ in self.terms)

    @cached_property
    def bound(self) -> float:
        """sum_k |c_k|, at least the largest absolute value the expectation value can take."""
        return sum(abs(c) for _, c in self.terms)

    def matrix(self, n_wires: int) -> Matrix:
        """The dense (2^n, 2^n) Hermitian matrix; wire 0 is the most significant."""
        self.check_fits(n_wires)
        out = np.zeros((2**n_wires, 2**n_wires), dtype=complex)
        for string, coefficient in self.terms:
            letters = dict(string)
            out += coefficient * kron(*(PAULIS[letters.get(w, "I")] for w in range(n_wires)))
        return out

    def check_fits(self, n_wires: int) -> None:
        """Raise CircuitError if a term acts on a wire the circuit does not have."""
        if self.wires and self.wires[-1] >= n_wires:
            raise CircuitError(
                f"Observable {self} acts on wire {self.wires[-1]}, but the circuit has wires 0 to {n_wires - 1}."
            )

    def __add__(self, other: PauliSum) -> PauliSum:
        if not isinstance(other, PauliSum):
            return NotImplemented
        total = dict(self.terms)
        for string, coefficient in other.terms:
            total[string] = total.get(string, 0.0) + coefficient
        return _from_strings(total)

    def __mul__(self, factor: float) -> PauliSum:
        return _from_strings({string: c * _coefficient(str(self), factor) for string, c in self.terms})

    __rmul__ = __mul__

    def __neg__(self) -> PauliSum:
        return self * -1.0

    def __sub__(self, other: PauliSum) -> PauliSum:
        return self + -other

    def __eq__(self, other: object) -> bool:
        return isinstance(other, PauliSum) and dict(self.terms) == dict(other.terms)

    def __hash__(self) -> int:
        return hash(frozenset(self.terms))

    def __repr__(self) -> str:
        return f"PauliSum({ {_format(string): c for string, c in self.terms} })".replace("( ", "(").replace(" )", ")")


def as_observables(observables: PauliSum | str | Iterable[PauliSum | str], n_wires: int) -> tuple[PauliSum, ...]:
    """One or several observables as a tuple that fits `n_wires` wires; a dict of strings and coefficients is one.

    Raises:
        CircuitError: none given, something else than a PauliSum, or a wire the circuit does not have.
    """
    given = [observables] if isinstance(observables, PauliSum | str | Mapping) else list(observables)
    sums = [PauliSum(o) if isinstance(o, str | Mapping) else o for o in given]
    if not sums or not all(isinstance(o, PauliSum) for o in sums):
        raise CircuitError(f"Observables are PauliSums, one for each output column, at least one; got {given!r}.")
    for observable in sums:
        observable.check_fits(n_wires)
    return tuple(sums)


@checked()
def local_z(n_wires: int) -> list[PauliSum]:
    """Z on each wire: n observables."""
    return [PauliSum(f"Z{w}") for w in range(whole_number("n_wires", n_wires, 1))]


@checked()
def global_z(n_wires: int) -> PauliSum:
    """Z on all wires at once, Z0 Z1 ... Z(n-1): the textbook cause of a plateau (Cerezo 2021, 2001.00550)."""
    return PauliSum(" ".join(f"Z{w}" for w in range(whole_number("n_wires", n_wires, 1))))


@checked(n_wires=whole(2))
def tfim(n_wires: int, coupling: float = 1.0, field: float = 1.0, periodic: bool = False) -> PauliSum:
    """Transverse-field Ising model, H = -coupling * sum Z_i Z_(i+1) - field * sum X_i."""
    bonds = {f"Z{a} Z{b}": -coupling for a, b in _chain(n_wires, periodic)}
    return PauliSum(bonds | {f"X{w}": -field for w in range(n_wires)})


@checked(n_wires=whole(2))
def heisenberg(
    n_wires: int, couplings: Sequence[float] = (1.0, 1.0, 1.0), field: float = 0.0, periodic: bool = False
) -> PauliSum:
    """Heisenberg chain, H = sum (Jx X_i X_j + Jy Y_i Y_j + Jz Z_i Z_j) + field * sum Z_i over neighbours i, j."""
    if len(couplings) != 3:
        raise CircuitError(f"A Heisenberg chain has three couplings (Jx, Jy, Jz), got {couplings!r}.")
    bonds = {f"{p}{a} {p}{b}": j for a, b in _chain(n_wires, periodic) for p, j in zip("XYZ", couplings, strict=True)}
    return PauliSum(bonds | ({f"Z{w}": field for w in range(n_wires)} if field else {}))


def _edge(name: str, value: Any) -> Any:
    """A check of arguments: (i, j) or (i, j, weight)."""
    if not isinstance(value, Sequence) or isinstance(value, str) or len(value) not in (2, 3):
        raise InputError(
            f"{name} is a pair of nodes (i, j), or (i, j, weight), as in [(0, 1), (1, 2, 0.5)]; got {value!r}."
        )
    a, b = (_node(f"the nodes of {name}", node) for node in value[:2])
    return a, b, *(_weight(f"the weight of {name}", weight) for weight in value[2:])


_node, _weight = whole(0), real()


@checked(edges=each(_edge))
def maxcut(edges: Iterable[tuple[int, int] | tuple[int, int, float]]) -> PauliSum:
    """Minus the cut's weight, H = sum w_ij (Z_i Z_j - 1) / 2 (Farhi 2014, 1411.4028): its minimum is -maxcut."""
    terms: dict[str, float] = {"I": 0.0}
    for a, b, *rest in edges:
        weight = float(rest[0]) if rest else 1.0
        key = f"Z{min(a, b)} Z{max(a, b)}"
        terms[key] = terms.get(key, 0.0) + weight / 2
        terms["I"] -= weight / 2
    if len(terms) == 1:
        raise CircuitError("A cut needs edges (i, j) or (i, j, weight), got none.")
    return PauliSum(terms)


def _chain(n_wires: int, periodic: bool) -> list[tuple[int, int]]:
    n_wires = whole_number("n_wires", n_wires, 2)
    closing = [(0, n_wires - 1)] if periodic and n_wires > 2 else []
    return [(w, w + 1) for w in range(n_wires - 1)] + closing


def _parse(text: str) -> PauliString:
    factors = text.split() if isinstance(text, str) else None
    if factors is None or not all(re.fullmatch(r"I|[IXYZ]\d+", f) for f in factors):
        raise CircuitError(f'A Pauli string looks like "Z0 Z1" or "X3" ("I" is the identity), got {text!r}.')
    wires = [int(f[1:]) for f in factors if f != "I"]
    if len(set(wires)) != len(wires):
        raise CircuitError(f"A Pauli string names each wire once, got {text!r}.")
    return tuple(sorted((int(f[1:]), f[0]) for f in factors if f[0] != "I"))


def _coefficient(text: str, value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, Real) or not math.isfinite(value):
        raise CircuitError(f"The coefficient of {text!r} must be a finite real number, got {value!r}.")
    return float(value)


def _format(string: PauliString) -> str:
    return " ".join(f"{letter}{wire}" for wire, letter in string) or "I"


def _from_strings(terms: Mapping[PauliString, float]) -> PauliSum:
    return PauliSum({_format(string): c for string, c in terms.items()})
