"""Sets of Pauli strings as rows of 64-bit integers: parities, partners, and room to grow.

A string's record is one long integer, cut into rows of 64 bits: its word (see `circuits.pauli.words`), one bit for an
odd number of Ys, and the number of the observable it came from. Products with a fixed string are then XORs, and
whether two strings anticommute, and the sign of their product, are parities of masked bits.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from itertools import count

import numpy as np
import torch
from torch import Tensor

Masks = tuple[tuple[int, int], ...]
"""(row, 64 bits as a signed integer) where they are not all zero."""

_MIXERS = (-7046029254386353131, -4658895280553007687, -7723592293110705685, 2870177450012600261)
"""Odd multipliers whose products' upper bits are well mixed (golden ratio and the finalizers of splitmix and
xxHash)."""


@dataclass(frozen=True)
class Layout:
    """Where the parts of a record are.

    Records of more than 64 bits get one row more, a key of 64 bits that is a random linear map of the record: two
    different strings share it with a probability of 2^-64, and would then be taken for one.
    """

    n_wires: int
    n_observables: int

    @property
    def odd_y(self) -> int:
        """The bit that says whether the string has an odd number of Ys."""
        return 2 * self.n_wires

    @cached_property
    def owner(self) -> tuple[int, int, int]:
        """Row, shift and mask of the number of the observable, which no two rows share."""
        width, start = (self.n_observables - 1).bit_length(), self.odd_y + 1
        if start % 64 + width > 64:
            start += -start % 64
        return start // 64, start % 64, (1 << width) - 1

    @cached_property
    def n_plain(self) -> int:
        row, _shift, mask = self.owner
        return max(self.odd_y // 64, row if mask else 0) + 1

    @property
    def n_rows(self) -> int:
        return 1 if self.n_plain == 1 else self.n_plain + 1

    def record(self, word: int, odd_y: int, owner: int) -> int:
        row, shift, _ = self.owner
        return word | odd_y << self.odd_y | owner << (64 * row + shift)

    def rows_of(self, record: int) -> list[int]:
        """All rows, the key included; linear in the record."""
        rows = [_signed(record >> 64 * r & _FULL) for r in range(self.n_plain)]
        return rows if self.n_rows == 1 else [*rows, self._key(record)]

    def masks(self, record: int) -> Masks:
        """Of the bits set in a record, without the key."""
        return tuple((r, m) for r, m in enumerate(self.rows_of(record)[: self.n_plain]) if m)

    def flips(self, record: int) -> Masks:
        """What an XOR with this record changes, the key included."""
        return tuple((r, m) for r, m in enumerate(self.rows_of(record)) if m)

    @cached_property
    def _salts(self) -> list[int]:
        return [int(s) for s in np.random.default_rng(0).integers(1, 2**63, 64 * self.n_plain)]

    def _key(self, record: int) -> int:
        key = 0
        while record:
            place = record.bit_length() - 1
            record ^= 1 << place
            key ^= self._salts[place] << 1 | place & 1
        return _signed(key & _FULL)


_FULL = (1 << 64) - 1


def _signed(bits: int) -> int:
    return bits - (1 << 64) if bits >> 63 else bits


def places(mask: Tensor) -> Tensor:
    """(K,) int64: where a boolean vector is true."""
    if mask.device.type == "cpu":  # three times as fast as torch's
        return torch.from_numpy(np.flatnonzero(mask.numpy()))
    return mask.nonzero()[:, 0]


def odd(rows: Tensor, masks: Masks) -> Tensor:
    """(T,) bool: whether an odd number of the masked bits are set, of rows (R, T)."""
    bits = _masked(rows, masks, Tensor.bitwise_xor_)
    if bits.device.type == "cpu" and hasattr(np, "bitwise_count"):
        return torch.from_numpy(np.bitwise_count(bits.numpy().view(np.uint64)) & 1).view(torch.bool)
    for shift in (32, 16, 8, 4, 2, 1):
        bits ^= bits >> shift
    return (bits & 1).bool()


def any_of(rows: Tensor, masks: Masks) -> Tensor:
    """(T,) bool: whether any of the masked bits is set."""
    return _masked(rows, masks, Tensor.bitwise_or_) != 0


def _masked(rows: Tensor, masks: Masks, join: Callable[[Tensor, Tensor], Tensor]) -> Tensor:
    """(T,) the masked bits of all rows, joined."""
    bits: Tensor | None = None
    for row, mask in masks:
        part = rows[row] & mask
        bits = part if bits is None else join(bits, part)
    return torch.zeros_like(rows[0]) if bits is None else bits


def partners(keys: Tensor, flip: int) -> Tensor:
    """(A,) int64: for each of A distinct keys the place of the key ^ flip among them, or -1.

    Both get the same name, and names are looked up in a table that is written once and read once: who finds another's
    number where it wrote its own either has met its partner, or lost the place and tries again with those that did.
    """
    found = torch.full_like(keys, -1)
    pivot = (flip & -flip).bit_length() - 1
    names = keys ^ (-(keys >> pivot & 1) & flip)
    pending = torch.arange(len(keys), device=keys.device)
    for attempt in count():
        if len(names) < 2:
            return found
        bits = (2 * len(names) - 1).bit_length()
        slots = names * _MIXERS[attempt % len(_MIXERS)] >> (64 - bits) & ((1 << bits) - 1)
        own = pending if attempt == 0 else torch.arange(len(names), device=keys.device)
        table = torch.empty(1 << bits, dtype=torch.int64, device=keys.device).scatter_(0, slots, own)
        winners = table.index_select(0, slots)
        lost = places(winners != own)
        if not len(lost):
            return found
        winners = winners.index_select(0, lost)
        same = names.index_select(0, winners) == names.index_select(0, lost)
        met = places(same)
        one, other = pending[lost[met]], pending[winners[met]]
        found[one], found[other] = other, one
        lost = lost[places(~same)]
        pending, names = pending[lost], names[lost]
    raise AssertionError


class Strings:
    """A growing set of distinct strings with their values.

    Attributes:
        rows: (R, T) int64 records.
        values: (T, B) real: coefficients of X^x Z^z times i if there is an odd number of Ys, for each sample.
    """

    def __init__(self, rows: Tensor, values: Tensor) -> None:
        self._rows, self._values, self.count = rows, values, rows.shape[1]

    @property
    def rows(self) -> Tensor:
        return self._rows[:, : self.count]

    @property
    def values(self) -> Tensor:
        return self._values[: self.count]

    def copy(self) -> Strings:
        return Strings(self.rows.clone(), self.values.clone())

    def widen(self, batch: int) -> bool:
        """Give each sample values of its own; whether they had none before."""
        if self._values.shape[1] == batch:
            return False
        self._values = self._values.expand(-1, batch).contiguous()
        return True

    def append(self, rows: Tensor, values: Tensor) -> None:
        """Add strings that are not there yet."""
        total = self.count + len(values)
        if total > self._rows.shape[1]:
            room = total + total // 2
            grown_rows = self._rows.new_empty(len(self._rows), room)
            grown_values = self._values.new_empty(room, self._values.shape[1])
            grown_rows[:, : self.count], grown_values[: self.count] = self.rows, self.values
            self._rows, self._values = grown_rows, grown_values
        self._rows[:, self.count : total], self._values[self.count : total] = rows, values
        self.count = total

    def keep(self, kept: Tensor) -> None:
        """Only those at these places."""
        self._rows, self._values = self.rows.index_select(1, kept), self.values.index_select(0, kept)
        self.count = len(kept)
