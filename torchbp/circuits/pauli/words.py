"""Pauli strings on any number of wires, each a Python integer: products, signs, and the frame that Clifford gates turn.

As in `strings`, a string on n wires is the word x * 2^n + z: bit n-1-w of x (of z) says that wire w carries an X (a Z),
both a Y. As an operator it is the Hermitian i^|x & z| X^x Z^z.
"""

from __future__ import annotations

from collections.abc import Sequence

from torchbp.circuits.observables import PauliString

Signed = tuple[int, int]
"""A sign, +1 or -1, and a word."""

_LETTERS = {"X": (1, 0), "Y": (1, 1), "Z": (0, 1)}


def word_of(string: PauliString, n_wires: int) -> int:
    """The word of a string given as (wire, letter) pairs."""
    x = z = 0
    for wire, letter in string:
        bit = 1 << (n_wires - 1 - wire)
        has_x, has_z = _LETTERS[letter]
        x, z = x | bit * has_x, z | bit * has_z
    return x << n_wires | z


def split(word: int, n_wires: int) -> tuple[int, int]:
    """The X bits and the Z bits."""
    return word >> n_wires, word & ((1 << n_wires) - 1)


def swap(word: int, n_wires: int) -> int:
    """X and Z bits exchanged: P and Q anticommute where P & swap(Q) has an odd number of bits."""
    x, z = split(word, n_wires)
    return z << n_wires | x


def anticommute(one: int, other: int, n_wires: int) -> bool:
    """Whether two strings anticommute."""
    return bool((one & swap(other, n_wires)).bit_count() & 1)


def y_count(word: int, n_wires: int) -> int:
    """Letters Y in a string."""
    x, z = split(word, n_wires)
    return (x & z).bit_count()


def multiply(one: int, other: int, n_wires: int) -> tuple[int, int]:
    """The product's word and the power of i (0 to 3) before it."""
    both = one ^ other
    crossing = (split(one, n_wires)[1] & split(other, n_wires)[0]).bit_count()
    ys = y_count(one, n_wires) + y_count(other, n_wires) - y_count(both, n_wires)
    return both, (ys + 2 * crossing) & 3


def letters(word: int, n_wires: int) -> list[tuple[int, bool, bool]]:
    """(wire, has X, has Z) for every wire that carries a letter, in order."""
    x, z = split(word, n_wires)
    left, found = x | z, []
    while left:
        place = left.bit_length() - 1
        left ^= 1 << place
        found.append((n_wires - 1 - place, bool(x >> place & 1), bool(z >> place & 1)))
    return found


def on_wires(word: int, wires: Sequence[int], n_wires: int) -> int:
    """The word, on k wires, of what a string carries on these."""
    x, z = split(word, n_wires)
    k, local = len(wires), 0
    for i, wire in enumerate(wires):
        place = n_wires - 1 - wire
        local |= (x >> place & 1) << (2 * k - 1 - i) | (z >> place & 1) << (k - 1 - i)
    return local


class Frame:
    """What the Clifford gates so far, V, make of Pauli strings: V^-1 P V.

    A circuit is its rotations, each about V^-1 P V with the Clifford gates before it, then all Clifford gates at once.
    """

    def __init__(self, n_wires: int) -> None:
        self.n_wires = n_wires
        z = [1 << (n_wires - 1 - w) for w in range(n_wires)]
        self._x: list[Signed] = [(1, bit << n_wires) for bit in z]
        self._z: list[Signed] = [(1, bit) for bit in z]

    def image(self, wires: Sequence[int], local: int) -> Signed:
        """Of the string that carries the letters of `local`, a word on k wires, on these k wires."""
        word = power = 0
        for place, has_x, has_z in letters(local, len(wires)):
            power += has_x and has_z  # Y = i X Z
            for has, images in ((has_x, self._x), (has_z, self._z)):
                if has:
                    sign, factor = images[wires[place]]
                    word, turned = multiply(word, factor, self.n_wires)
                    power += turned + (1 - sign)
        return 1 - (power & 2), word

    def apply(self, wires: Sequence[int], images: Sequence[Signed]) -> None:
        """Append a gate U, given by the words U^-1 X U on its k wires, then U^-1 Z U."""
        turned = []
        for sign, local in images:
            own, word = self.image(wires, local)
            turned.append((sign * own, word))
        for i, wire in enumerate(wires):
            self._x[wire], self._z[wire] = turned[i], turned[len(wires) + i]
