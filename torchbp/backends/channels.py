"""Noise channels as Kraus operators: rho -> sum_k K_k rho K_k^dagger, with sum_k K_k^dagger K_k = 1.

Definitions as in Nielsen and Chuang, Quantum Computation and Quantum Information, section 8.3; the depolarizing
parameter is the one of Qiskit.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import product
from numbers import Real

import numpy as np

from torchbp.circuits.operations import I2, PAULIS, Matrix, Z, kron
from torchbp.errors import CircuitError

# One rate for all wires, or one for each.
Rates = float | Sequence[float]

WIDEST = 4
"""The most wires that one channel may act on."""


@dataclass(frozen=True, eq=False)
class Channel:
    """A completely positive, trace-preserving map on `wires`.

    Args:
        wires: k wires, the first one the most significant in the matrices.
        kraus: (K, 2^k, 2^k) Kraus operators.

    Raises:
        CircuitError: shapes that don't fit, more than four wires, or a map that does not preserve the trace.
    """

    wires: tuple[int, ...]
    kraus: Matrix

    def __post_init__(self) -> None:
        size = 2 ** len(self.wires)
        if not 1 <= len(self.wires) <= WIDEST:
            raise CircuitError(
                f"A noise channel acts on 1 to {WIDEST} wires, got {list(self.wires)}: after a larger gate use "
                "channels on its single wires, or write the gate as a product of smaller ones."
            )
        if self.kraus.ndim != 3 or self.kraus.shape[1:] != (size, size):
            raise CircuitError(
                f"Kraus operators on {len(self.wires)} wires have shape (K, {size}, {size}), got {self.kraus.shape}."
            )
        total = np.einsum("kji,kjl->il", self.kraus.conj(), self.kraus)
        error = float(np.abs(total - np.eye(size)).max())
        if not error < 1e-8:
            raise CircuitError(
                f"These Kraus operators are no channel: sum K^dagger K differs from 1 by {error:.1e}, so the trace "
                "would change."
            )


@lru_cache(maxsize=1024)
def depolarizing(rate: float, n_wires: int = 1) -> Matrix:
    """rho -> (1 - rate) rho + rate Tr(rho) 1/2^k: a Pauli expectation value shrinks by 1 - rate. (4^k, 2^k, 2^k).

    `rate` reaches from 0 to 4^k / (4^k - 1). Each of the 4^k - 1 Pauli errors happens with probability rate / 4^k,
    and the average gate infidelity is r = rate (1 - 2^-k), so rate = r 2^k / (2^k - 1).
    """
    _check("depolarizing", rate, 4**n_wires / (4**n_wires - 1))
    paulis = np.stack([kron(*factors) for factors in product(PAULIS.values(), repeat=n_wires)])
    weights = np.full(len(paulis), rate / len(paulis))
    weights[0] += 1 - rate
    return paulis * np.sqrt(weights.clip(0))[:, None, None]


@lru_cache(maxsize=1024)
def amplitude_damping(rate: float) -> Matrix:
    """|1> decays to |0> with probability `rate` = 1 - exp(-t / T1). (2, 2, 2)."""
    _check("amplitude damping", rate)
    return np.array([np.diag([1, np.sqrt(1 - rate)]), np.sqrt(rate) * np.eye(2, k=1)], dtype=complex)


@lru_cache(maxsize=1024)
def phase_damping(rate: float) -> Matrix:
    """Coherences shrink by sqrt(1 - rate), populations stay; rate = 1 - exp(-2 t / Tphi). (2, 2, 2).

    In its mixed-unitary form: Z with probability (1 - sqrt(1 - rate)) / 2.
    """
    _check("phase damping", rate)
    flip = (1 - np.sqrt(1 - rate)) / 2
    return np.stack([np.sqrt(1 - flip) * I2, np.sqrt(flip) * Z])


@dataclass(frozen=True)
class GateNoise:
    """What happens after one gate: depolarizing on all its wires together, then damping on each of them.

    Args:
        depolarizing: rate, see `depolarizing`.
        amplitude_damping, phase_damping: one rate for every wire of the gate, or one for each in the gate's order.

    Raises:
        CircuitError: a rate out of its range.
    """

    depolarizing: float = 0.0
    amplitude_damping: Rates = 0.0
    phase_damping: Rates = 0.0

    def __post_init__(self) -> None:
        if isinstance(self.depolarizing, Iterable):
            raise CircuitError(f"A gate has one depolarizing rate for all its wires, got {self.depolarizing!r}.")
        set_rates(self, depolarizing=depolarizing, amplitude_damping=amplitude_damping, phase_damping=phase_damping)

    def channels(self, wires: tuple[int, ...]) -> Iterator[Channel]:
        """The channels that do something, in the order they act."""
        if self.depolarizing:
            yield Channel(wires, depolarizing(self.depolarizing, len(wires)))
        for position, wire in enumerate(wires):
            if rate := pick_rate("amplitude_damping", self.amplitude_damping, position):
                yield Channel((wire,), amplitude_damping(rate))
            if rate := pick_rate("phase_damping", self.phase_damping, position):
                yield Channel((wire,), phase_damping(rate))

    def reordered(self, order: Sequence[int]) -> GateNoise:
        """The same noise where wire i of the gate is what was wire order[i]."""
        amplitude, phase = (
            tuple(pick_rate("damping", rates, position) for position in order)
            for rates in (self.amplitude_damping, self.phase_damping)
        )
        return GateNoise(self.depolarizing, amplitude, phase)


def set_rates(owner: object, **channels: Callable[[float], Matrix]) -> None:
    """Check these attributes of a frozen dataclass against their channels, and keep them as floats or tuples."""
    for label, channel in channels.items():
        given = getattr(owner, label)
        rates = tuple(given) if isinstance(given, Iterable) else (given,)
        for rate in rates:
            if isinstance(rate, bool) or not isinstance(rate, Real):
                raise CircuitError(f"{label} takes numbers, got {rate!r}.")
            channel(float(rate))
        kept = tuple(map(float, rates)) if isinstance(given, Iterable) else float(given)
        object.__setattr__(owner, label, kept)


def pick_rate(label: str, rates: Rates, position: int) -> float:
    """The rate at this position of a list, or the one that holds everywhere."""
    if not isinstance(rates, Sequence):
        return rates
    if position >= len(rates):
        raise CircuitError(f"{label} has {len(rates)} rates, one for each wire, and none for wire {position}.")
    return rates[position]


def _check(name: str, rate: float, largest: float = 1.0) -> None:
    if not 0 <= rate <= largest * (1 + 1e-12):
        raise CircuitError(f"The {name} rate lies between 0 and {largest:.6g}, got {rate!r}.")
