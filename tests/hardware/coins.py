"""The simplest programs: single qubits turned by one angle, and what they give, without a simulator."""

from __future__ import annotations

import numpy as np
from qiskit import QuantumCircuit
from qiskit.circuit import Parameter

from torchbp.hardware.outcomes import Outcomes
from torchbp.hardware.program import Program, Pub


def program(*angles: float, shots: int | None = 100) -> Program:
    """One circuit for each angle, RY(angle) and a measurement."""
    circuit = QuantumCircuit(1, 1)
    circuit.ry(Parameter("a"), 0)
    circuit.measure(0, 0)
    return Program((Pub(circuit, ("a",), np.array(angles, dtype=float)[:, None], shots),))


class Coins:
    """An `Executor`: outcome 1 with probability sin²(angle / 2), from a generator that can be given a seed."""

    name = "coins"

    def __init__(self) -> None:
        self.runs = 0
        self.reseed(0)

    def reseed(self, seed: int) -> None:
        self._rng = np.random.default_rng(seed)

    def run(self, program: Program) -> list[Outcomes]:
        self.runs += 1
        return [self._pub(pub) for pub in program.pubs]

    def _pub(self, pub: Pub) -> Outcomes:
        assert pub.shots is not None
        ones = self._rng.binomial(pub.shots, np.sin(pub.values[:, 0] / 2) ** 2)
        counts = [{"0": float(pub.shots - k), "1": float(k)} for k in ones]
        return Outcomes.from_counts(counts, 1, pub.shots)


def ones(outcomes: list[Outcomes]) -> list[float]:
    """How often each circuit gave 1."""
    return [c["1"] for o in outcomes for c in o.counts()]
