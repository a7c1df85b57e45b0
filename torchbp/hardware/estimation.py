"""From outcomes to expectation values and their spread: plain arithmetic on what was read."""

from __future__ import annotations

import numpy as np

from torchbp.circuits.grouping import MeasurementGroup
from torchbp.hardware.outcomes import Outcomes

_BLOCK = 2**21
"""Numbers held at once."""


def moments(
    outcomes: Outcomes, group: MeasurementGroup, coefficients: np.ndarray, readout: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Mean (N, M) and single-shot covariance (N, M, M) of M observables' parts in one measurement group.

    The covariance is the unbiased one of the sample, or exact for exact outcomes; means of S shots have this / S.

    Args:
        outcomes: of N circuits, one bit for each wire of the group.
        group: its strings.
        coefficients: (M, T) of the strings in each observable.
        readout: (m, 2) probabilities (P(1|0), P(0|1)) to correct each bit for. A reading z = +-1 has the mean
            a + b z, a = P(0|1) - P(1|0), b = 1 - P(0|1) - P(1|0), so (z - a) / b in its place is right in the mean, and
            with errors independent between bits so is their product. The spread grows by about 1 / b^2 a bit.
    """
    z = 1.0 - 2.0 * outcomes.unpacked()
    if readout is not None:
        z = (z - (readout[:, 1] - readout[:, 0])) / (1.0 - readout.sum(axis=1))
    place = {wire: bit for bit, wire in enumerate(group.wires)}
    strings = np.stack([z[:, [place[wire] for wire, _ in string]].prod(axis=1) for string in group.strings], axis=1)
    values = strings @ coefficients.T
    n, m = len(outcomes), len(coefficients)
    mean, second = np.empty((n, m)), np.empty((n, m, m))
    longest = int(np.diff(outcomes.starts).max(initial=1))
    step = max(1, _BLOCK // (longest * m * m))
    for i in range(0, n, step):
        starts = outcomes.starts[i : i + step + 1]
        entries, firsts = slice(starts[0], starts[-1]), starts[:-1] - starts[0]
        v, w = values[entries], outcomes.weights[entries, None]
        total = np.add.reduceat(w, firsts)
        mean[i : i + step] = np.add.reduceat(w * v, firsts) / total
        second[i : i + step] = np.add.reduceat((w * v)[:, :, None] * v[:, None, :], firsts) / total[:, :, None]
    covariance = second - mean[:, :, None] * mean[:, None, :]
    if outcomes.shots is not None and outcomes.shots > 1:
        covariance *= outcomes.shots / (outcomes.shots - 1)
    return mean, covariance


def misreadings(zeros: Outcomes, ones: Outcomes) -> np.ndarray:
    """(m, 2): P(1|0) and P(0|1) of each bit, from readings of |0...0> and of |1...1>, one circuit each."""

    def share_of_ones(outcomes: Outcomes) -> np.ndarray:
        return outcomes.weights @ outcomes.unpacked() / outcomes.weights.sum()

    return np.stack([share_of_ones(zeros), 1.0 - share_of_ones(ones)], axis=1)
