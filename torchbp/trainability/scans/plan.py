"""Which circuits a scan measures: its arguments, checked and built."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from torchbp.backends import Backend, NoiseModel
from torchbp.circuits import Circuit, PauliSum
from torchbp.errors import InputError
from torchbp.layer import QuantumLayer
from torchbp.trainability.scans.file import digest_of

Depth = int | Sequence[int] | Callable[[int], int]
Observable = PauliSum | str | Iterable[PauliSum | str] | Callable[[int], Any]


@dataclass(frozen=True)
class PlannedRow:
    """A row to measure.

    Attributes:
        n_wires, depth, series: as in `ScanRow`.
        layer: gives circuit, observables and backend.
        inputs: (B, F).
        digest: fingerprint of all that.
    """

    n_wires: int
    depth: int | None
    series: str
    layer: QuantumLayer
    inputs: Tensor
    digest: str


def planned_rows(
    make_circuit: Callable[..., Circuit],
    n_wires: Iterable[int],
    observable: Observable,
    depth: Depth | None,
    x: Tensor | Callable[[int], Tensor] | None,
    backend: str | Backend,
    noise: NoiseModel | None,
    dtype: torch.dtype,
) -> list[PlannedRow]:
    """The rows by wires, then by depth; arguments as for `variance_scan`."""
    return [
        _row(n, d, series, make_circuit, observable, x, backend, noise, dtype)
        for n in _increasing("n_wires", n_wires)
        for d, series in _depths(depth, n)
    ]


def _row(
    n: int,
    depth: int | None,
    series: str,
    make_circuit: Callable[..., Circuit],
    observable: Observable,
    x: Tensor | Callable[[int], Tensor] | None,
    backend: str | Backend,
    noise: NoiseModel | None,
    dtype: torch.dtype,
) -> PlannedRow:
    if not callable(make_circuit):
        raise InputError(
            f"make_circuit is a function of the number of wires (and of the depth, where one is given), got "
            f"{make_circuit!r}: a single circuit has no scaling."
        )
    circuit = make_circuit(n) if depth is None else make_circuit(n, depth)
    if not isinstance(circuit, Circuit):
        raise InputError(f"make_circuit must return a Circuit, got {type(circuit).__name__}.")
    if circuit.n_wires != n:
        raise InputError(f"make_circuit({n}) returned a circuit of {circuit.n_wires} wires: it must have n_wires={n}.")
    if not circuit.n_weights:
        raise InputError(f"The circuit for {n} wires has no weights to draw: append weight() angles, or an ansatz.")
    measured = observable(n) if callable(observable) else observable
    start, own = torch.zeros(circuit.n_weights), torch.Generator()  # the global one is left alone
    layer = QuantumLayer(circuit, measured, backend=backend, noise=noise, init=start, generator=own)
    layer.to(dtype)
    given = x(n) if callable(x) else x
    inputs = layer._check(given.to(dtype) if isinstance(given, Tensor) else given, None)[0].detach()
    if not len(inputs):
        raise InputError("The cost is a mean over inputs: give at least one in x, or None for circuits without.")
    return PlannedRow(n, depth, series, layer, inputs, digest_of(layer, inputs))


def _depths(depth: Depth | None, n: int) -> list[tuple[int | None, str]]:
    """The depths of one size, and the name of the series each belongs to."""
    if depth is None:
        return [(None, "")]
    if callable(depth):
        return [(_depth(depth(n)), "depth(n)")]
    if isinstance(depth, int):
        return [(_depth(depth), f"depth {depth}")]
    return [(_depth(d), f"depth {d}") for d in _increasing("depth", depth)]


def _depth(value: object) -> int:
    return _increasing("depth", [value])[0]


def _increasing(name: str, given: Any) -> list[int]:
    values = list(given) if isinstance(given, Iterable) else [given]
    whole = all(isinstance(v, int | np.integer) and not isinstance(v, bool) and v >= 1 for v in values)
    if not values or not whole or values != sorted(set(values)):
        raise InputError(f"{name} are whole numbers of at least 1 that increase, such as [2, 4, 6]; got {values!r}.")
    return [int(v) for v in values]
