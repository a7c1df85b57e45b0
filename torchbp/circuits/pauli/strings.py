"""Pauli strings as 64-bit words: products, commutators and closures of whole arrays of them at once.

A string on n wires is the word x * 2^n + z: bit n-1-w of x (of z) says that wire w carries an X (a Z), both a Y. As an
operator it is the Hermitian i^|x & z| X^x Z^z. Two strings anticommute where their symplectic product
|x1 & z2| + |z1 & x2| is odd, and their product is then +-i times the string x1 ^ x2, z1 ^ z2.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import reduce
from itertools import product

import numpy as np

from torchbp.circuits.observables import PauliString
from torchbp.circuits.operations import PAULIS, Matrix, kron
from torchbp.errors import CapacityError

Words = np.ndarray  # (N,) uint64

MAX_WIRES = 32
"""An X half and a Z half of 32 bits each fill a word."""

_MAX_FLAGS = 13
"""Wires up to which a set of strings is a table of flags: 64 MiB."""

_LETTERS = {"X": (1, 0), "Y": (1, 1), "Z": (0, 1)}


def check_wires(n_wires: int) -> None:
    """
    Raises:
        CapacityError: more than 32 wires.
    """
    if n_wires > MAX_WIRES:
        raise CapacityError(f"Pauli strings are held in words of 64 bits, for up to {MAX_WIRES} wires; got {n_wires}.")


def encode(strings: Iterable[PauliString], n_wires: int) -> Words:
    """(N,) words of strings given as (wire, letter) pairs."""
    words = []
    for string in strings:
        x = z = 0
        for wire, letter in string:
            bit = 1 << (n_wires - 1 - wire)
            has_x, has_z = _LETTERS[letter]
            x, z = x | bit * has_x, z | bit * has_z
        words.append(x << n_wires | z)
    return np.array(words, dtype=np.uint64)


def decode(word: int | np.integer, n_wires: int) -> str:
    """The string in sparse notation, "X0 Z2"; "I" for the identity."""
    x, z = int(word) >> n_wires, int(word) & ((1 << n_wires) - 1)
    letters = []
    for wire in range(n_wires):
        has_x, has_z = x >> (n_wires - 1 - wire) & 1, z >> (n_wires - 1 - wire) & 1
        if has_x or has_z:
            letters.append(f"{'Y' if has_x and has_z else 'X' if has_x else 'Z'}{wire}")
    return " ".join(letters) or "I"


def halves(words: Words, n_wires: int) -> tuple[Words, Words]:
    """The X bits and the Z bits."""
    return words >> np.uint64(n_wires), words & np.uint64((1 << n_wires) - 1)


def anticommute(one: Words, other: Words, n_wires: int) -> np.ndarray:
    """Whether strings anticommute, elementwise with broadcasting."""
    x, z = halves(other, n_wires)
    return (bit_count(one & (z << np.uint64(n_wires) | x)) & np.uint64(1)).astype(bool)


def multiply(one: Words, other: Words, n_wires: int) -> tuple[Words, np.ndarray]:
    """The product's string and the power of i before it (0 to 3), elementwise with broadcasting."""
    both = one ^ other
    (x1, z1), (x2, z2), (x3, z3) = (halves(w, n_wires) for w in (one, other, both))
    power = bit_count(x1 & z1) + bit_count(x2 & z2) + 2 * bit_count(z1 & x2) - bit_count(x3 & z3)
    return both, (power & np.uint64(3)).astype(np.int64)


def bracket(one: Words, other: Words, n_wires: int) -> tuple[Words, np.ndarray]:
    """-i [P, Q] / 2 as a string and its sign: +1 or -1 where they anticommute, 0 where they commute."""
    both, power = multiply(one, other, n_wires)
    return both, np.array([0, 1, 0, -1])[power]


def closure(generators: Words, n_wires: int, limit: int) -> tuple[Words, bool]:
    """All strings reached from `generators` by commutators, sorted; and whether that is all of them.

    A commutator of strings is a string, so the closure is a search through a graph whose edges are commutators with
    generators: nested commutators span the algebra. It stops beyond `limit` strings.
    """
    start = np.unique(generators)
    seen = _Seen(start, n_wires)
    frontier = start
    while len(frontier) and seen.count <= limit:
        frontier = np.concatenate([seen.add(frontier[anticommute(frontier, g, n_wires)] ^ g) for g in start])
    return seen.words(), not len(frontier)


class _Seen:
    """A growing set of words: one flag for each there can be while that is little memory, else a sorted array."""

    def __init__(self, words: Words, n_wires: int) -> None:
        self.flags = np.zeros(4**n_wires, dtype=bool) if n_wires <= _MAX_FLAGS else None
        self.ordered = words[:0]
        self.count = 0
        self.add(words)

    def add(self, words: Words) -> Words:
        """Those of the distinct `words` that were not there."""
        known = contains(self.ordered, words) if self.flags is None else self.flags[words]
        new: Words = words[~known]
        if self.flags is None:
            self.ordered = np.union1d(self.ordered, new)
        else:
            self.flags[new] = True
        self.count += len(new)
        return new

    def words(self) -> Words:
        return self.ordered if self.flags is None else np.flatnonzero(self.flags).astype(np.uint64)


def contains(ordered: Words, words: Words) -> np.ndarray:
    """Whether each of `words` is among the sorted words `ordered`."""
    if not len(ordered):
        return np.zeros(len(words), dtype=bool)
    return ordered[np.searchsorted(ordered, words).clip(max=len(ordered) - 1)] == words


def expectations(states: np.ndarray, words: Words, n_wires: int) -> np.ndarray:
    """<psi|P|psi> of strings (N,) in states (B, 2^n): (B, N).

    For strings with the same X bits one Walsh-Hadamard transform of conj(psi[b ^ x]) psi[b] gives all Z bits at once.
    """
    x, z = halves(words, n_wires)
    out = np.zeros((len(states), len(words)))
    basis = np.arange(2**n_wires)
    for mask in np.unique(x):
        here = np.flatnonzero(x == mask)
        # X^x Z^z |b> = (-1)^(z.b) |b ^ x>
        overlap = states[:, basis ^ int(mask)].conj() * states
        transformed = walsh_hadamard(overlap)[:, z[here].astype(np.int64)]
        phase = 1j ** (bit_count(x[here] & z[here]) % np.uint64(4)).astype(np.int64)
        out[:, here] = (transformed * phase).real
    return out


def walsh_hadamard(values: np.ndarray) -> np.ndarray:
    """sum_b (-1)^(z.b) values[..., b] for every z; the last axis has a power of two entries."""
    size = values.shape[-1]
    out = values.reshape(-1, size)
    step = 1
    while step < size:
        pairs = out.reshape(len(out), -1, 2, step)
        out = np.stack([pairs[:, :, 0] + pairs[:, :, 1], pairs[:, :, 0] - pairs[:, :, 1]], 2).reshape(len(out), size)
        step *= 2
    return out.reshape(values.shape)


def pauli_matrices(n_wires: int) -> np.ndarray:
    """(4^k, 2^k, 2^k): every string on k wires, at the index that its word is."""
    strings: list[Matrix] = [np.empty(0)] * 4**n_wires
    for letters in product("IXYZ", repeat=n_wires):
        word = encode([tuple((w, p) for w, p in enumerate(letters) if p != "I")], n_wires)[0]
        strings[int(word)] = kron(*(PAULIS[p] for p in letters))
    return np.stack(strings)


def local_words(words: Words, wires: Sequence[int], n_wires: int) -> np.ndarray:
    """The words, on k wires, of what the strings carry on these wires."""
    x, z = halves(words, n_wires)
    shifts = [np.uint64(n_wires - 1 - w) for w in wires]
    bits = [half >> s & np.uint64(1) for half in (x, z) for s in shifts]
    return reduce(lambda high, low: high << np.uint64(1) | low, bits).astype(np.int64)


def spread(local: np.ndarray, wires: Sequence[int], n_wires: int) -> Words:
    """Words on n wires of local words on k wires: the inverse of `local_words`, identity elsewhere."""
    k, out = len(wires), np.zeros(len(local), dtype=np.uint64)
    for position, wire in enumerate(wires):
        for half in (0, 1):
            bit = local.astype(np.uint64) >> np.uint64((1 - half) * k + k - 1 - position) & np.uint64(1)
            out |= bit << np.uint64((1 - half) * n_wires + n_wires - 1 - wire)
    return out


def bit_count(words: Words) -> Words:
    """Bits that are set in each word (numpy has this from version 2 on)."""
    w = words - (words >> np.uint64(1) & np.uint64(0x5555555555555555))
    w = (w & np.uint64(0x3333333333333333)) + (w >> np.uint64(2) & np.uint64(0x3333333333333333))
    w = (w + (w >> np.uint64(4))) & np.uint64(0x0F0F0F0F0F0F0F0F)
    with np.errstate(over="ignore"):
        return (w * np.uint64(0x0101010101010101)) >> np.uint64(56)
