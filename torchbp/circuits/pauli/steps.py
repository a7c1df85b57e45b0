"""A circuit as what it does to Pauli strings: Clifford gates, rotations about single strings, and tables."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from functools import cache

import numpy as np

from torchbp.circuits.circuit import Circuit, Elementary, Operation
from torchbp.circuits.operations import Matrix
from torchbp.circuits.parameters import Parameter
from torchbp.circuits.pauli.tables import MAX_GATE, pauli_coefficients, transfer
from torchbp.circuits.pauli.words import Signed, anticommute, multiply
from torchbp.errors import CapacityError

_QUARTER = math.pi / 2
_ROUNDING = 1e-9


@dataclass(frozen=True)
class Clifford:
    """A gate U that turns strings into strings: the words U^-1 X U on its k wires, then U^-1 Z U, each with its
    sign."""

    wires: tuple[int, ...]
    images: tuple[Signed, ...]


@dataclass(frozen=True)
class Rotation:
    """exp(-i angle P / 2) about the string with the local `word` on `wires`; `place` is that in `circuit.elementary`.

    `parts` counts the rotations that the gate was taken apart into, which all turn by its angle.
    """

    wires: tuple[int, ...]
    word: int
    angle: Parameter
    place: int
    parts: int = 1


@dataclass(frozen=True, eq=False)
class Table:
    """Anything else of fixed numbers: row a of `table`, (4^k, 4^k), is what it makes of the local string a."""

    wires: tuple[int, ...]
    table: np.ndarray

    @property
    def diagonal(self) -> bool:
        """Whether it only damps strings, as Pauli noise does."""
        return not np.any(self.table - np.diag(np.diag(self.table)))


Step = Clifford | Rotation | Table
Channels = Callable[[Operation], Iterable[tuple[tuple[int, ...], np.ndarray]]]


def pauli_steps(circuit: Circuit, channels: Channels | None = None) -> list[Step]:
    """In the order of the circuit. All of it is meant to act on observables, from the last step to the first.

    Args:
        circuit: any; its amplitude encoding is left out.
        channels: (wires, Kraus operators) of the noise after each operation.

    Raises:
        CapacityError: a gate that is no rotation about Z on more than five wires.
    """
    found: list[Step] = []
    place = 0
    for operation in circuit.operations:
        for step in operation.expand():
            found += _fixed(step) if step.angle is None else _rotations(step, step.angle, place)
            place += 1
        for wires, kraus in channels(operation) if channels else ():
            table = transfer(*kraus)
            if not np.array_equal(table, np.eye(len(table))):
                found.append(Table(wires, table))
    return found


def pauli_rotation(wires: tuple[int, ...], word: int, turns: int) -> Clifford:
    """The Clifford gate exp(-i turns pi P / 4): a rotation about P by `turns` quarter turns."""
    k = len(wires)
    images: list[Signed] = []
    for place in (*range(k), *range(k)):
        shift = k if len(images) < k else 0
        own = 1 << (k - 1 - place) << shift
        if turns % 4 == 0 or not anticommute(own, word, k):
            images.append((1, own))
        elif turns % 4 == 2:
            images.append((-1, own))
        else:  # exp(i t P/2) Q exp(-i t P/2) = i P Q at t = pi / 2, and i (-P) Q at -pi / 2
            turned, power = multiply(word, own, k)
            images.append(((-1 if power == 1 else 1) * (1 if turns % 4 == 1 else -1), turned))
    return Clifford(wires, tuple(images))


def _fixed(step: Elementary) -> Iterator[Step]:
    assert step.matrix is not None
    k = len(step.wires)
    if k > MAX_GATE:
        raise CapacityError(
            f"The fixed gate {step.gate.name!r} on {k} wires is too wide for Pauli strings, at most {MAX_GATE}: "
            "write it as a product of smaller gates."
        )
    found = _read(np.ascontiguousarray(step.matrix, dtype=complex).tobytes(), k)
    if isinstance(found, np.ndarray):
        yield Table(step.wires, found)
    elif any(image != (1, 1 << place) for image, place in zip(found, _generators(k), strict=True)):
        yield Clifford(step.wires, found)


@cache
def _read(raw: bytes, k: int) -> tuple[Signed, ...] | np.ndarray:
    """The images of X and Z on each wire, of a Clifford gate; else the whole table."""
    table = transfer(np.frombuffer(raw, dtype=complex).reshape(2**k, 2**k))
    if (abs(table) == 1).sum() < len(table):
        return table
    rows = [table[1 << place] for place in _generators(k)]
    return tuple((int(row[i]), i) for row in rows for i in [int(np.flatnonzero(row)[0])])


def _generators(k: int) -> range:
    """Bits of X on the first to the last wire, then of Z."""
    return range(2 * k - 1, -1, -1)


def _rotations(step: Elementary, angle: Parameter, place: int) -> Iterator[Step]:
    strings = _generator_strings(step)
    for word, coefficient in strings:
        turned = angle * (2 * coefficient)
        if angle.kind == "constant" or not angle.scale:
            turns = turned.offset / _QUARTER
            if abs(turns - round(turns)) < _ROUNDING:
                if round(turns) % 4:
                    yield pauli_rotation(step.wires, word, round(turns))
                continue
            turned = replace(turned, kind="constant", indices=())
        yield Rotation(step.wires, word, turned, place, len(strings))


def _generator_strings(step: Elementary) -> list[tuple[int, float]]:
    """The commuting strings that add up to a rotation's generator, without the identity."""
    k = len(step.wires)
    if step.gate.name == "multirz":
        return [((1 << k) - 1, 0.5)]
    generator: Matrix = step.gate.rotation(k).generator
    words, values = pauli_coefficients(generator)
    found = [(int(w), float(v)) for w, v in zip(words, values, strict=True) if w]
    assert not any(anticommute(a, b, k) for a, _ in found for b, _ in found), step.gate.name
    return found
