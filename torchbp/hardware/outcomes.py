"""What was read on a machine: for each circuit the outcomes that occurred, and how often."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from torchbp.errors import InputError


@dataclass(frozen=True, eq=False)
class Outcomes:
    """Outcomes of N circuits with the same m measured bits, as one list of K entries, circuit after circuit.

    Attributes:
        bits: (K, ceil(m / 8)) uint8, each row an outcome packed as by `numpy.packbits`: the first bit is the most
            significant of the first byte.
        weights: (K,) float64: how often the outcome occurred; its probability where `shots` is None.
        starts: (N + 1,) int64: circuit i has the entries starts[i] to starts[i + 1].
        n_bits: m.
        shots: of each circuit; None for exact probabilities. After a correction of readout errors the weights are
            estimates, some of them negative, that still add up to `shots`.
    """

    bits: np.ndarray
    weights: np.ndarray
    starts: np.ndarray
    n_bits: int
    shots: int | None

    def __len__(self) -> int:
        return len(self.starts) - 1

    def unpacked(self) -> np.ndarray:
        """(K, m) uint8: each outcome's bits."""
        return np.unpackbits(self.bits, axis=1, count=self.n_bits)

    def owner(self) -> np.ndarray:
        """(K,): the circuit that each entry belongs to."""
        return np.repeat(np.arange(len(self)), np.diff(self.starts))

    def counts(self) -> list[dict[str, float]]:
        """For each circuit, from the outcome as a string (first bit first) to its weight."""
        texts = ["".join(map(str, row)) for row in self.unpacked().tolist()]
        return [
            dict(zip(texts[a:b], self.weights[a:b].tolist(), strict=True))
            for a, b in zip(self.starts[:-1], self.starts[1:], strict=True)
        ]

    def arrays(self) -> dict[str, np.ndarray]:
        """Everything in it as arrays, for a file; `from_arrays` reads them."""
        return {
            "bits": self.bits,
            "weights": self.weights,
            "starts": self.starts,
            "sizes": np.array([self.n_bits, -1 if self.shots is None else self.shots]),
        }

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, np.ndarray]) -> Outcomes:
        """What `arrays` gave."""
        n_bits, shots = (int(n) for n in arrays["sizes"])
        return cls(arrays["bits"], arrays["weights"], arrays["starts"], n_bits, None if shots < 0 else shots)

    @classmethod
    def from_counts(cls, counts: Iterable[Mapping[str, float]], n_bits: int, shots: int | None) -> Outcomes:
        """From one dict for each circuit, outcome as a string (first bit first) to weight.

        Raises:
            InputError: an outcome of another length.
        """
        dicts = [dict(c) for c in counts]
        texts = [text for c in dicts for text in c]
        if any(len(text) != n_bits for text in texts):
            raise InputError(
                f"An outcome of {n_bits} bits is expected, got {next(t for t in texts if len(t) != n_bits)!r}."
            )
        unpacked = np.array([list(text) for text in texts], dtype=np.uint8).reshape(len(texts), n_bits)
        weights = np.array([w for c in dicts for w in c.values()], dtype=np.float64)
        starts = np.cumsum([0, *map(len, dicts)])
        return cls(np.packbits(unpacked, axis=1), weights, starts, n_bits, shots)

    @classmethod
    def from_probabilities(cls, probabilities: np.ndarray) -> Outcomes:
        """From (N, 2^m) exact distributions, the first bit the most significant of the index."""
        n, size = probabilities.shape
        m = size.bit_length() - 1
        unpacked = (np.arange(size)[:, None] >> np.arange(m - 1, -1, -1)) & 1
        bits = np.tile(np.packbits(unpacked.astype(np.uint8), axis=1), (n, 1))
        return cls(bits, probabilities.reshape(-1).astype(np.float64), np.arange(n + 1) * size, m, None)

    @classmethod
    def from_shots(cls, bits: np.ndarray) -> Outcomes:
        """From (N, shots, m) single readings, 0 or 1."""
        _, shots, m = bits.shape
        packed = np.packbits(bits.astype(np.uint8), axis=2)
        found, weights, starts = [], [], [0]
        for rows in packed:
            kinds, number = np.unique(rows, axis=0, return_counts=True)
            found.append(kinds)
            weights.append(number)
            starts.append(starts[-1] + len(kinds))
        width = packed.shape[2]
        return cls(
            np.concatenate(found) if found else np.empty((0, width), np.uint8),
            np.concatenate(weights).astype(np.float64) if weights else np.empty(0),
            np.array(starts),
            m,
            shots,
        )

    @classmethod
    def concatenate(cls, parts: Sequence[Outcomes]) -> Outcomes:
        """The circuits of all parts, one after another."""
        first = parts[0]
        ends = np.cumsum([part.starts[-1] for part in parts])
        shifted = [part.starts[1:] + end - part.starts[-1] for part, end in zip(parts, ends, strict=True)]
        return cls(
            np.concatenate([part.bits for part in parts]),
            np.concatenate([part.weights for part in parts]),
            np.concatenate([np.zeros(1, np.int64), *shifted]),
            first.n_bits,
            first.shots,
        )

    @classmethod
    def empty(cls, n_bits: int, shots: int | None) -> Outcomes:
        """Of no circuit."""
        return cls(np.empty((0, -(-n_bits // 8)), np.uint8), np.empty(0), np.zeros(1, np.int64), n_bits, shots)
