"""Rows of numbers over steps, thinned to what a screen shows and packed for the browser."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np


@dataclass(frozen=True, eq=False)
class Table:
    """Numbers measured at steps.

    Args:
        steps: (T,) increasing.
        values: (T, rows, columns) float32, NaN where nothing was measured.
        skipped: records that were no such numbers, and are not in here.
    """

    steps: np.ndarray
    values: np.ndarray
    skipped: int = 0

    @classmethod
    def of(cls, records: Iterable[tuple[int, Any]], shape: tuple[int, int]) -> Table:
        """In the order of the steps; of several records at one step, the last one written counts.

        Records of another shape or type, as a damaged file or another program may hold, are counted and left out.
        """
        kept: dict[int, np.ndarray] = {}
        skipped = 0
        for step, value in records:
            array = np.asarray(value)
            if array.shape == shape and array.dtype.kind == "f":
                kept[step] = array
            else:
                skipped += 1
        steps = sorted(kept)
        values = np.empty((len(steps), *shape), dtype="<f4")
        for place, step in enumerate(steps):
            values[place] = kept[step]
        return cls(np.array(steps, dtype="<f8"), values, skipped)

    @property
    def nbytes(self) -> int:
        """Size in memory."""
        return int(self.steps.nbytes + self.values.nbytes)

    def pack(self, values: np.ndarray, first: float, last: float, points: int) -> bytes:
        """The steps from `first` to `last` with one number a row, (T, rows), at most about `points` of them.

        Of more, every 2nd, 4th, 8th, ... is taken, and the last: real measurements, and mostly the same ones when the
        run has gone on. What comes out is a line of JSON, filled up to a multiple of 8 bytes, the steps as float64 and
        the values as float32, all little-endian:

            {"steps": T, "rows": rows, "total": measurements in the range, "every": 8, "skipped": 0, "range": [0, 999]}
        """
        inside = np.flatnonzero((self.steps >= first) & (self.steps <= last))
        every = 1
        while len(inside) > every * points:
            every *= 2
        taken = inside[::every]
        if len(inside) and taken[-1] != inside[-1]:
            taken = np.append(taken, inside[-1])
        head = {
            "steps": len(taken),
            "rows": values.shape[1],
            "total": len(inside),
            "every": every,
            "skipped": self.skipped,
            "range": [self.steps[0], self.steps[-1]] if len(self.steps) else [],
        }
        line = json.dumps(head).encode()
        line += b" " * (-(len(line) + 1) % 8) + b"\n"
        return line + self.steps[taken].tobytes() + np.ascontiguousarray(values[taken], dtype="<f4").tobytes()
