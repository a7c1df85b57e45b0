"""Single numbers, told in the same words wherever they are wrong."""

from __future__ import annotations

import math
from typing import TypeGuard

import numpy as np

from torchbp.errors import InputError


def whole_number(name: str, value: object, least: int, most: int | None = None) -> int:
    """`value` as an int, if it is a whole number in the range.

    Args:
        name: of the argument.
        value: a Python or numpy integer; no bool, and no float that happens to be whole.
        least, most: the range, both ends included.

    Raises:
        InputError: it is none, or outside.
    """
    if isinstance(value, bool) or not isinstance(value, int | np.integer) or value < least or (most or value) < value:
        limits = f"of at least {least}" if most is None else f"from {least} to {most}"
        raise InputError(f"{name} is a whole number {limits}, got {value!r}.")
    return int(value)


def positive(name: str, value: object) -> float:
    """`value` as a float, if it is a positive finite number.

    Raises:
        InputError: it is not.
    """
    if not _is_finite(value) or not value > 0:
        raise InputError(f"{name} is a positive finite number, got {value!r}.")
    return float(value)


def not_negative(name: str, value: object) -> float:
    """`value` as a float, if it is a finite number of at least 0.

    Raises:
        InputError: it is not.
    """
    if not _is_finite(value) or value < 0:
        raise InputError(f"{name} is a finite number of at least 0, got {value!r}.")
    return float(value)


def _is_finite(value: object) -> TypeGuard[float]:
    if isinstance(value, bool) or not isinstance(value, int | float | np.integer | np.floating):
        return False
    return math.isfinite(value)
