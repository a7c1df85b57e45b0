"""Circuits and observables as arguments: what was plainly meant is taken, else it is said what to write."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from torchbp.arguments.kinds import a
from torchbp.circuits.circuit import Circuit
from torchbp.circuits.observables import PauliSum
from torchbp.errors import CircuitError

circuit = a(Circuit, write="Circuit(n_wires), or an ansatz such as hardware_efficient(4, depth=2)")


def observable(name: str, value: Any) -> PauliSum:
    """One observable; "Z0 Z1" and {"Z0": 1.0} are taken for the sums they describe."""
    if isinstance(value, PauliSum):
        return value
    if isinstance(value, str | Mapping):
        return PauliSum(value)
    raise CircuitError(f'{name} is a PauliSum, or a string or a dict such as {{"Z0 Z1": -1.0}}; got {value!r:.80}.')


def observables(name: str, value: Any) -> PauliSum | list[PauliSum]:
    """One observable, or several."""
    if isinstance(value, PauliSum | str | Mapping) or not isinstance(value, Iterable):
        return observable(name, value)
    return [observable(f"each of {name}", part) for part in value]
