"""Which circuits a scan measures: its arguments, checked and built."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from torchbp.backends import Backend, NoiseModel
from torchbp.circuits import Circuit, PauliSum
from torchbp.errors import InputError
from torchbp.layer import QuantumLayer
from torchbp.trainability.scans.file import digest_of

Method = Literal["auto", "simulate", "paths"]

SIMULATED = 20
"""Wires up to which "auto" simulates."""

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
        by_paths: whether its variances come from Pauli paths, else from simulation. With paths the layer has a backend
            without states, and features that are drawn have no inputs, (1, 0).
    """

    n_wires: int
    depth: int | None
    series: str
    layer: QuantumLayer
    inputs: Tensor
    digest: str
    by_paths: bool


def planned_rows(
    make_circuit: Callable[..., Circuit],
    n_wires: Iterable[int],
    observable: Observable,
    depth: Depth | None,
    x: Tensor | Callable[[int], Tensor] | None,
    backend: str | Backend,
    noise: NoiseModel | None,
    dtype: torch.dtype,
    method: Method = "simulate",
) -> list[PlannedRow]:
    """The rows by wires, then by depth; arguments as for `variance_scan`."""
    return [
        _row(n, d, series, make_circuit, observable, x, backend, noise, dtype, method)
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
    method: Method,
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
    by_paths = method == "paths" or (method == "auto" and n > SIMULATED)
    runs_on = "propagation" if by_paths else backend
    layer = QuantumLayer(circuit, measured, backend=runs_on, noise=noise, init=start, generator=own)
    layer.to(dtype)
    given = x(n) if callable(x) else x
    if by_paths and given is None:
        return PlannedRow(n, depth, series, layer, torch.empty(1, 0), digest_of(layer, torch.empty(1, 0)), True)
    inputs = layer._check(given.to(dtype) if isinstance(given, Tensor) else given, None)[0].detach()
    if by_paths and len(inputs) > 1:
        raise InputError(
            f"Pauli paths take one input, or draw the features where x is left out; got {len(inputs)} inputs."
        )
    if not len(inputs):
        raise InputError("The cost is a mean over inputs: give at least one in x, or None for circuits without.")
    return PlannedRow(n, depth, series, layer, inputs, digest_of(layer, inputs), by_paths)


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
