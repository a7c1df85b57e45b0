"""The strings' way back through a circuit, and the gradient's way forth along it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from torchbp.backends.propagation.program import Mix, Program, Turn
from torchbp.backends.propagation.rows import Strings, any_of, odd, partners, places
from torchbp.errors import CapacityError

_SWEEP = 8
"""Strings that have become small go once they are one in so many."""

Number = float | Tensor
"""A number for all samples, or one for each, (1, B)."""


@dataclass(frozen=True)
class Limits:
    """What to leave out, and when to give up; see `PropagationBackend`."""

    min_abs: float
    max_terms: int
    max_weight: int | None


class Record(Protocol):
    """A step that was taken, with what its way back needs."""

    @property
    def size(self) -> int: ...

    def back(self, slopes: Tensor, angles: AngleSlopes) -> Tensor:
        """From dL/d(values after it), (T', B), to dL/d(values before it), (T, B)."""
        ...


class AngleSlopes:
    """dL/d(angle), collected: one number for an angle that samples share, (S,), else (B, S)."""

    def __init__(self, shared: Tensor, sampled: Tensor) -> None:
        self.shared, self.sampled = shared, sampled


class Angles:
    """The angles of all rotations of a program.

    Args:
        shared: (S,) those that all samples have in common.
        sampled: (B, S') those that each sample has for itself.
        columns: for each kind of parameter whether it is sampled, and where its angles begin.
    """

    def __init__(self, shared: Tensor, sampled: Tensor, columns: dict[str, tuple[bool, int]]) -> None:
        numbers = shared.detach().double()
        self._shared = list(zip(numbers.cos().tolist(), numbers.sin().tolist(), strict=True))
        self._sampled = sampled.detach().cos()[None], sampled.detach().sin()[None]
        self._columns = columns

    def of(self, step: Turn) -> tuple[Number, Number]:
        """Cosine and sine."""
        each, column = self.column(step)
        return (self._sampled[0][:, :, column], self._sampled[1][:, :, column]) if each else self._shared[column]

    def column(self, step: Turn) -> tuple[bool, int]:
        """Whether samples have angles of their own, and the angle's column."""
        each, first = self._columns[step.kind]
        return each, first + step.slot


class Walk:
    """Strings at some step of a program, and how to take the next ones."""

    def __init__(self, program: Program, angles: Angles, limits: Limits, batch: int, like: Tensor) -> None:
        self.program, self.angles, self.limits, self.batch = program, angles, limits, batch
        layout = program.layout
        rows = torch.tensor([layout.rows_of(r) for r in program.records], device=like.device).T.contiguous()
        values = torch.tensor(program.values, dtype=like.dtype, device=like.device)[:, None]
        self.strings, self.at, self.most = Strings(rows, values), 0, 0
        self.met = 0
        for record in program.records:
            self.met |= record
        count = layout.n_observables
        self.dropped = torch.zeros(2, count, batch, dtype=torch.float64, device=like.device)
        self._waste = 0

    def copy(self) -> Walk:
        """As it stands, to walk on from again."""
        other = object.__new__(Walk)
        other.__dict__.update(self.__dict__)
        other.strings, other.dropped = self.strings.copy(), self.dropped.clone()
        return other

    def advance(self, record: bool) -> list[Record]:
        """Take the next step; what it did, if it is to be recorded."""
        step = self.program.steps[self.at]
        found: list[Record] = []
        if self.met & step.touches:
            if isinstance(step, Turn) and self.angles.column(step)[0] and self.strings.widen(self.batch):
                found.append(_WIDENED)
            taken = self._turn(step, record) if isinstance(step, Turn) else self._mix(step, record)
            if taken is not None:
                self.met |= step.reaches
                found.append(taken)
        self.most = max(self.most, self.strings.count)
        if self._waste * _SWEEP > self.strings.count:
            found.append(self._sweep(step))
        self.at += 1
        return found if record else []

    def outputs(self) -> tuple[Tensor, Tensor, Tensor]:
        """(M, B') values, and which strings have one in |0...0>, (K,), for which observable, (K,)."""
        rows = self.strings.rows
        kept = places(~any_of(rows, self.program.diagonal))
        owners = self._owners(rows.index_select(1, kept))
        values = self.strings.values.index_select(0, kept)
        out = values.new_zeros(self.program.layout.n_observables, values.shape[1])
        return out.index_add_(0, owners, values), kept, owners

    def _turn(self, step: Turn, record: bool) -> Record | None:
        strings = self.strings
        met = places(odd(strings.rows, step.anticommutes))
        if not len(met):
            return None
        cos, sin = self.angles.of(step)
        before, rows = strings.count, strings.rows.index_select(1, met)
        values = strings.values.index_select(0, met)
        sign = _signs(odd(rows, step.negative), step.sign, values)
        sent = values * sign * sin
        partner = partners(rows[-1], step.flips[-1][1])
        alone = partner < 0
        kept = values * cos
        lonely = places(alone)
        if len(lonely) < len(met):
            arrived = sent.index_select(0, partner.clamp(min=0))
            arrived[lonely] = 0
            kept = kept + arrived
        strings.values[met] = kept
        new_rows, new_values = rows.index_select(1, lonely), sent.index_select(0, lonely)
        for row, bits in step.flips:
            new_rows[row] ^= bits
        fit = self._fit(step, new_rows, new_values)
        if fit is not None:
            lonely, new_rows, new_values = (
                lonely.index_select(0, fit),
                new_rows.index_select(1, fit),
                new_values.index_select(0, fit),
            )
        strings.append(new_rows, new_values)
        self._check_room(step)
        small = kept.abs().amax(1) < self.limits.min_abs
        if step.hopeless:
            small |= any_of(rows, step.hopeless)
        self._waste += int(small.sum())
        if not record:
            return _NOTHING
        # Where the other of each pair is after the step; behind all strings for one that was left out.
        other = met.index_select(0, partner.clamp(min=0)).masked_fill_(alone, strings.count)
        other[lonely] = torch.arange(before, strings.count, device=met.device)
        return _Turned(self.angles.column(step), met.int(), other.int(), sign, values, cos, sin, before, strings.count)

    def _mix(self, step: Mix, record: bool) -> Record:
        strings = self.strings
        rows, values = strings.rows, strings.values
        local = torch.zeros(strings.count, dtype=torch.int64, device=rows.device)
        for masks in step.reads:
            local = local << 1 | odd(rows, masks)
        factors = values.new_tensor(step.stays).index_select(0, local)[:, None]
        if not step.moves:
            values.mul_(factors)
            self._waste += int((values.abs().amax(1) < self.limits.min_abs).sum())
            return _Damped(factors) if record else _NOTHING
        sources = [torch.arange(strings.count, device=rows.device)]
        all_rows, weights = [rows], [factors]
        odd_y = 1 << self.program.layout.odd_y
        y_masks, y_flips = self.program.layout.masks(odd_y), self.program.layout.flips(odd_y)
        for move in step.moves:
            source = places(values.new_tensor(move.coefficients).index_select(0, local) != 0)
            own, moved = local.index_select(0, source), rows.index_select(1, source)
            y_negative = torch.as_tensor(move.y_negative, device=rows.device)[own]
            negative = odd(moved, move.negative) ^ (odd(moved, y_masks) & y_negative)
            factor = values.new_tensor(move.coefficients)[own][:, None]
            weights.append(torch.where(negative[:, None], -factor, factor))
            for row, bits in move.flips:
                moved[row] ^= bits
            flips_y = torch.as_tensor(move.flips_y, device=rows.device)[own]
            for row, bits in y_flips:
                moved[row] ^= torch.where(flips_y, bits, 0)
            sources.append(source)
            all_rows.append(moved)
        source, weight, everything = torch.cat(sources), torch.cat(weights), torch.cat(all_rows, 1)
        _, target, counts = torch.unique(everything[-1], return_inverse=True, return_counts=True)
        first = torch.empty_like(counts).scatter_(0, target, torch.arange(len(target), device=target.device))
        new_rows = everything.index_select(1, first)
        new_values = values.new_zeros(len(first), values.shape[1])
        new_values.index_add_(0, target, values.index_select(0, source) * weight)
        fit = self._fit(step, new_rows, new_values)
        if fit is not None:
            place = torch.full((len(first),), len(fit), device=fit.device).scatter_(
                0, fit, torch.arange(len(fit), device=fit.device)
            )
            target, new_rows, new_values = place[target], new_rows.index_select(1, fit), new_values.index_select(0, fit)
        before = strings.count
        self.strings = Strings(new_rows, new_values)
        self._check_room(step)
        return _Mixed(source.int(), target.int(), weight, before) if record else _NOTHING

    def _sweep(self, step: Turn | Mix) -> Record:
        """Drop what has become too small, or can't have an expectation value any more."""
        self._waste, before = 0, self.strings.count
        fit = self._fit(step, self.strings.rows, self.strings.values, new=False)
        if fit is None:
            return _NOTHING
        self.strings.keep(fit)
        return _Swept(fit.int(), before)

    def _fit(self, step: Turn | Mix, rows: Tensor, values: Tensor, new: bool = True) -> Tensor | None:
        """Which of these strings to keep, None for all; those that count are booked as dropped."""
        large = values.abs().amax(1) >= self.limits.min_abs
        if self.limits.max_weight is not None and new:
            large &= self._weights(rows) <= self.limits.max_weight
        fit = large
        if step.hopeless:
            hopeful = ~any_of(rows, step.hopeless)
            fit = large & hopeful
            large = large | ~hopeful
        chosen = places(fit)
        if len(chosen) == len(values):
            return None
        gone = places(~large)
        if len(gone):
            lost = values.index_select(0, gone).double().abs().expand(-1, self.batch)
            owners = self._owners(rows.index_select(1, gone))
            self.dropped[0].index_add_(0, owners, lost)
            self.dropped[1].index_add_(0, owners, lost.square())
        return chosen

    def _weights(self, rows: Tensor) -> Tensor:
        """(T,) wires that a string acts on, outside of the frame."""
        total = torch.zeros(rows.shape[1], dtype=torch.int64, device=rows.device)
        for x, z in self.program.letters[self.at]:
            total += odd(rows, x) | odd(rows, z)
        return total

    def _owners(self, rows: Tensor) -> Tensor:
        row, shift, mask = self.program.layout.owner
        return rows[row] >> shift & mask if mask else torch.zeros_like(rows[0])

    def _check_room(self, step: Turn | Mix) -> None:
        if self.strings.count > self.limits.max_terms:
            total = len(self.program.steps)
            raise CapacityError(
                f"Pauli propagation reached {self.strings.count:,} strings at step {self.at + 1} of {total}, more than "
                f"max_terms={self.limits.max_terms:,}: raise min_abs (now {self.limits.min_abs:g}), lower max_weight "
                f"(now {self.limits.max_weight}), take fewer layers or smaller angles, or raise max_terms if there "
                "is memory."
            )


def _signs(negative: Tensor, sign: int, like: Tensor) -> Tensor:
    """(A, 1): `sign` before those that are not negative."""
    return torch.where(negative, -sign, sign).to(like.dtype)[:, None]


@dataclass(frozen=True, eq=False)
class _Turned:
    place: tuple[bool, int]
    met: Tensor
    other: Tensor
    sign: Tensor
    values: Tensor
    cos: Number
    sin: Number
    before: int
    after: int

    @property
    def size(self) -> int:
        return sum(t.numel() * t.element_size() for t in (self.met, self.other, self.sign, self.values))

    def back(self, slopes: Tensor, angles: AngleSlopes) -> Tensor:
        padded = torch.cat([slopes, slopes.new_zeros(1, slopes.shape[1])])
        own, across = padded.index_select(0, self.met), padded.index_select(0, self.other) * self.sign
        each, column = self.place
        slope = (self.values * (across * self.cos - own * self.sin)).sum(0)
        if each:
            angles.sampled[:, column] += slope
        else:
            angles.shared[..., column] += slope if angles.shared.ndim == 2 else slope.sum()
        earlier = padded[: self.before]
        earlier[self.met.long()] = own * self.cos + across * self.sin
        return earlier


@dataclass(frozen=True, eq=False)
class _Damped:
    factors: Tensor

    @property
    def size(self) -> int:
        return self.factors.numel() * self.factors.element_size()

    def back(self, slopes: Tensor, angles: AngleSlopes) -> Tensor:
        return slopes * self.factors


@dataclass(frozen=True, eq=False)
class _Mixed:
    source: Tensor
    target: Tensor
    weight: Tensor
    before: int

    @property
    def size(self) -> int:
        return sum(t.numel() * t.element_size() for t in (self.source, self.target, self.weight))

    def back(self, slopes: Tensor, angles: AngleSlopes) -> Tensor:
        padded = torch.cat([slopes, slopes.new_zeros(1, slopes.shape[1])])
        arrived = padded.index_select(0, self.target) * self.weight
        return slopes.new_zeros(self.before, slopes.shape[1]).index_add_(0, self.source, arrived)


@dataclass(frozen=True, eq=False)
class _Swept:
    kept: Tensor
    before: int

    @property
    def size(self) -> int:
        return self.kept.numel() * self.kept.element_size()

    def back(self, slopes: Tensor, angles: AngleSlopes) -> Tensor:
        return slopes.new_zeros(self.before, slopes.shape[1]).index_copy_(0, self.kept.long(), slopes)


class _Nothing:
    size = 0

    def back(self, slopes: Tensor, angles: AngleSlopes) -> Tensor:
        return slopes


class _Widened:
    """From one number for all samples to one for each."""

    size = 0

    def back(self, slopes: Tensor, angles: AngleSlopes) -> Tensor:
        return slopes if angles.shared.ndim == 2 else slopes.sum(1, keepdim=True)


_NOTHING, _WIDENED = _Nothing(), _Widened()


def back_through(records: Sequence[Record], slopes: Tensor, angles: AngleSlopes) -> Tensor:
    """dL/d(values) before all of these steps."""
    for taken in reversed(records):
        slopes = taken.back(slopes, angles)
    return slopes
