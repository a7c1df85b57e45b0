"""What to do with the strings of some observables, step by step: the circuit with all Clifford gates worked in.

U = C R_m ... R_1, with every Clifford gate in C, and R_j a rotation about (or a table on) strings that the gates
before it have turned. The observables start as C^-1 O C and meet R_m first.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import product
from typing import Literal

import numpy as np

from torchbp.backends.noise import NoiseModel
from torchbp.backends.propagation.rows import Layout, Masks
from torchbp.circuits.circuit import Circuit
from torchbp.circuits.observables import PauliSum
from torchbp.circuits.parameters import Parameter
from torchbp.circuits.pauli.steps import Clifford, Rotation, Table, pauli_steps
from torchbp.circuits.pauli.words import Frame, Signed, letters, multiply, on_wires, split, swap, word_of, y_count
from torchbp.errors import CapacityError

_MOST_READINGS = 16
"""Letters of a string whose asymmetric readout errors are worked in: each doubles the strings."""


@dataclass(frozen=True, eq=False)
class Turn:
    """A rotation by `angle` about a string G: P becomes cos P + sin (i G P) where they anticommute.

    Attributes:
        angle: its parameter; `slot` is its place among those of its `kind`.
        anticommutes: masks whose odd parity says that P anticommutes with G.
        negative: masks whose parity is the sign of i G P, with `sign` before all.
        flips: what makes the record of i G P of that of P.
        touches: the same as `anticommutes`, as one integer, to see whether any string is met at all.
        reaches: the bits of `flips`, as one integer.
        hopeless: X bits that no later step can change: a string with one of them has no expectation value in |0...0>.
    """

    angle: Parameter
    kind: Literal["weight", "feature", "constant"]
    slot: int
    anticommutes: Masks
    negative: Masks
    sign: int
    flips: Masks
    touches: int
    reaches: int
    hopeless: Masks = ()


@dataclass(frozen=True, eq=False)
class Move:
    """One way a table changes strings: the record's flips and, for each local string, whether Y's oddness flips too,
    the coefficient, and whether an odd number of Ys makes it negative; `negative` masks give one sign more."""

    flips: Masks
    coefficients: np.ndarray
    flips_y: np.ndarray
    y_negative: np.ndarray
    negative: Masks


@dataclass(frozen=True, eq=False)
class Mix:
    """A table in the frame: `reads` are the masks of the bits of the local string, the most significant first.

    `stays` (4^k,) multiplies each string, and each of `moves` adds another.
    """

    reads: tuple[Masks, ...]
    stays: np.ndarray
    moves: tuple[Move, ...]
    touches: int
    reaches: int
    hopeless: Masks = ()


@dataclass(frozen=True, eq=False)
class Program:
    """The strings to start from, and the steps in the order in which they meet them.

    Attributes:
        layout: of the records.
        records: those of the start, with their `values`.
        steps: what to do.
        angles: parameters by kind, which a `Turn.slot` is a place in.
        letters: for each step and wire the masks of its X and its Z, if the weight of strings matters.
        diagonal: masks of all X bits.
    """

    layout: Layout
    records: tuple[int, ...]
    values: tuple[float, ...]
    steps: tuple[Turn | Mix, ...]
    angles: dict[str, tuple[Parameter, ...]]
    letters: tuple[tuple[tuple[Masks, Masks], ...], ...]
    diagonal: Masks


def compile_program(
    circuit: Circuit, observables: Sequence[PauliSum], noise: NoiseModel | None, weigh: bool
) -> Program:
    """
    Args:
        weigh: whether the weight of strings will be asked for.

    Raises:
        CapacityError: a fixed gate or a string with readout errors is too wide.
    """
    n = circuit.n_wires
    layout, frame = Layout(n, len(observables)), Frame(n)
    channels = None if noise is None else lambda op: ((c.wires, c.kraus) for c in noise.channels(op))
    angles: dict[str, list[Parameter]] = {"weight": [], "feature": [], "constant": []}
    steps: list[Turn | Mix] = []
    lettered: list[tuple[tuple[Masks, Masks], ...]] = []
    present: tuple[tuple[Masks, Masks], ...] = ()
    for step in pauli_steps(circuit, channels):
        if isinstance(step, Clifford):
            frame.apply(step.wires, step.images)
            present = ()
            continue
        if isinstance(step, Rotation):
            same = angles[step.angle.kind]
            steps.append(_turn(layout, frame.image(step.wires, step.word), step.angle, len(same)))
            same.append(step.angle)
        else:
            steps.append(_mix(layout, frame, step))
        if weigh:
            present = present or _lettered(layout, frame)
            lettered.append(present)
    records, values = _start(layout, frame, observables, noise)
    return Program(
        layout,
        records,
        values,
        _with_hopeless(layout, steps[::-1]),
        {kind: tuple(parameters) for kind, parameters in angles.items()},
        tuple(lettered[::-1]),
        layout.masks(((1 << n) - 1) << n),
    )


def _turn(layout: Layout, image: Signed, angle: Parameter, slot: int) -> Turn:
    n, (sign, word) = layout.n_wires, image
    ys = y_count(word, n)
    # i G P of the real coefficients: i^(1 + ys) splits into a sign and whether the oddness of Ys flips
    flips = layout.record(word, 1 - ys % 2, 0)
    negative = split(word, n)[1] << n | (0 if ys % 2 else 1 << layout.odd_y)
    sign *= -1 if (ys + ys % 2) % 4 else 1
    anti = swap(word, n)
    return Turn(
        angle,
        angle.kind,
        slot,
        layout.masks(anti),
        layout.masks(negative),
        sign,
        layout.flips(flips),
        anti,
        word,
    )


def _mix(layout: Layout, frame: Frame, step: Table) -> Mix:
    n, k = layout.n_wires, len(step.wires)
    every = [frame.image(step.wires, 1 << place)[1] for place in range(2 * k - 1, -1, -1)]
    reads = [swap(every[(i + k) % (2 * k)], n) for i in range(2 * k)]  # a wire has an X where Z anticommutes
    moves = []
    for change in range(1, 4**k):
        local = np.array([a for a in range(4**k) if step.table[a, a ^ change]])
        if len(local):
            moves.append(_move(layout, frame.image(step.wires, change), change, local, step.table))
    touches = reaches = 0
    for mask in reads:
        touches |= mask
    for word in every:
        reaches |= word
    return Mix(
        tuple(layout.masks(mask) for mask in reads),
        np.diag(step.table).copy(),
        tuple(moves),
        touches,
        reaches if moves else 0,
    )


def _move(layout: Layout, image: Signed, change: int, local: np.ndarray, table: np.ndarray) -> Move:
    """P L, with L the image of the local string `change`, is i^power times the string wanted."""
    n, (sign, word) = layout.n_wires, image
    k, ys = (len(table).bit_length() - 1) // 2, y_count(image[1], layout.n_wires)
    coefficients = np.zeros(len(table))
    flips_y, y_negative = np.zeros(len(table), dtype=bool), np.zeros(len(table), dtype=bool)
    for a in local.tolist():
        _, power = multiply(a, change, k)
        flips_y[a] = y_negative[a] = (ys + power) % 2
        turned = ys - power - (1 if flips_y[a] else 0)
        coefficients[a] = sign * table[a, a ^ change] * (-1 if turned % 4 else 1)
    return Move(layout.flips(word), coefficients, flips_y, y_negative, layout.masks(split(word, n)[0]))


def _lettered(layout: Layout, frame: Frame) -> tuple[tuple[Masks, Masks], ...]:
    """Masks whose parity says that wire w carries an X (a Z) outside of the frame."""
    n = layout.n_wires
    return tuple(
        (
            layout.masks(swap(frame.image((w,), 1)[1], n)),
            layout.masks(swap(frame.image((w,), 2)[1], n)),
        )
        for w in range(n)
    )


def _start(
    layout: Layout, frame: Frame, observables: Sequence[PauliSum], noise: NoiseModel | None
) -> tuple[tuple[int, ...], tuple[float, ...]]:
    n = layout.n_wires
    found: dict[int, float] = {}
    for owner, observable in enumerate(observables):
        for string, coefficient in observable.terms:
            for word, factor in _readings(word_of(string, n), n, noise):
                wires = [wire for wire, _, _ in letters(word, n)]
                sign, turned = frame.image(wires, on_wires(word, wires, n))
                ys = y_count(turned, n)
                record = layout.record(turned, ys % 2, owner)
                value = sign * coefficient * factor * (-1 if ys % 4 > 1 else 1)
                found[record] = found.get(record, 0.0) + value
    return tuple(found), tuple(found.values())


def _readings(word: int, n: int, noise: NoiseModel | None) -> list[tuple[int, float]]:
    """What is read of a string: each letter P on wire w is b P + a, see `DensityMatrixBackend.expectations`."""
    if noise is None or noise.reads_perfectly:
        return [(word, 1.0)]
    factors = []
    for wire, has_x, has_z in letters(word, n):
        (_, one), (zero, _) = noise.confusion(wire)
        bit = 1 << (n - 1 - wire)
        own = (bit << n if has_x else 0) | (bit if has_z else 0)
        factors.append([(own, 1 - one - zero), *([(0, zero - one)] if zero != one else [])])
    if sum(len(f) > 1 for f in factors) > _MOST_READINGS:
        raise CapacityError(
            f"A string of {len(factors)} letters with readout errors that differ between 0 and 1 becomes "
            f"2^{len(factors)} strings, more than 2^{_MOST_READINGS}: give both the same probability, or measure fewer "
            "wires at once."
        )
    return [(sum(part for part, _ in chosen), float(np.prod([f for _, f in chosen]))) for chosen in product(*factors)]


def _with_hopeless(layout: Layout, steps: Sequence[Turn | Mix]) -> tuple[Turn | Mix, ...]:
    x_bits = ((1 << layout.n_wires) - 1) << layout.n_wires
    changed, found = 0, []
    for step in reversed(steps):
        found.append(replace(step, hopeless=layout.masks(x_bits & ~changed)))
        changed |= step.reaches
    return tuple(found[::-1])
