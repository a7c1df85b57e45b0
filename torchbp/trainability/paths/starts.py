"""From an initializer to the moments of the angles it draws: E[cos(s w)]."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial

import numpy as np

from torchbp.circuits import INITIALIZERS, Circuit
from torchbp.circuits.initializers import (
    Initializer,
    depth_of,
    gaussian,
    reduced_domain,
    small_angle,
    uniform,
)
from torchbp.errors import PreconditionError, UnknownNameError

MeanCosine = Callable[[float], float]
"""E[cos(s w)] of a weight w that is drawn symmetrically around zero."""


def box(half: float) -> MeanCosine:
    """Of U(-half, half)."""
    return lambda s: float(np.sinc(s * half / math.pi))


def normal(sigma: float) -> MeanCosine:
    """Of N(0, sigma^2)."""
    return lambda s: math.exp(-((s * sigma) ** 2) / 2)


def _of_gaussian(circuit: Circuit, locality: int = 1, depth: int | None = None) -> MeanCosine:
    return normal(1 / math.sqrt(4 * locality * ((depth_of(circuit) if depth is None else depth) + 2)))


def _of_reduced_domain(circuit: Circuit, a: float | None = None) -> MeanCosine:
    return box(math.pi * (1 / math.sqrt(max(1, depth_of(circuit))) if a is None else a))


_SPREADS: dict[Initializer, Callable[..., MeanCosine]] = {
    uniform: lambda circuit: box(math.pi),
    small_angle: lambda circuit, sigma=0.1: normal(sigma),
    reduced_domain: _of_reduced_domain,
    gaussian: _of_gaussian,
}


def mean_cosine(init: str | Initializer, circuit: Circuit) -> MeanCosine:
    """For an initializer that draws all weights independently, symmetrically around zero and alike.

    Args:
        init: one of the names or functions uniform, small_angle, reduced_domain and gaussian, or a
            `functools.partial` of one with its options.

    Raises:
        UnknownNameError: no such initializer.
        PreconditionError: one that does not draw like that.
    """
    if isinstance(init, str):
        if init not in INITIALIZERS:
            raise UnknownNameError("initializer", init, INITIALIZERS)
        return mean_cosine(INITIALIZERS[init], circuit)
    function, options = (init.func, init.keywords) if isinstance(init, partial) else (init, {})
    if function not in _SPREADS:
        known = ", ".join(sorted(f.__name__ for f in _SPREADS))
        raise PreconditionError(
            f"Pauli paths need weights drawn independently and symmetrically around zero, as by {known}; got "
            f'{getattr(function, "__name__", function)!r}: take one of these, or method="simulate" on up to about 20 '
            "wires."
        )
    return _SPREADS[function](circuit, **options)
