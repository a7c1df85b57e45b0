"""Angles of gates: a constant, a feature of the input, or a trainable weight."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from numbers import Real
from typing import Literal

from torchbp.errors import CircuitError


@dataclass(frozen=True, eq=False)
class Parameter:
    """An angle in radians: scale * source + offset.

    The source is 1 (a constant: offset alone), the weight with the one index in `indices`, or the product of
    the features in `indices`. Parameters are built by `feature`, `weight` and arithmetic with numbers.
    """

    kind: Literal["constant", "feature", "weight"]
    indices: tuple[int, ...] = ()
    scale: float = 1.0
    offset: float = 0.0
    token: object = None

    def __mul__(self, other: float | Parameter) -> Parameter:
        if isinstance(other, Parameter):
            if self.kind != "feature" or other.kind != "feature" or self.offset or other.offset:
                raise CircuitError(
                    "Only two features without an added number can be multiplied "
                    f"(feature(0) * feature(1)), got {self} * {other}."
                )
            return replace(self, indices=self.indices + other.indices, scale=self.scale * other.scale)
        number = _number(other)
        return replace(self, scale=self.scale * number, offset=self.offset * number)

    def __add__(self, other: float) -> Parameter:
        return replace(self, offset=self.offset + _number(other))

    def __neg__(self) -> Parameter:
        return self * -1.0

    def __sub__(self, other: float) -> Parameter:
        return self + -_number(other)

    def __rsub__(self, other: float) -> Parameter:
        return -self + other

    __rmul__ = __mul__
    __radd__ = __add__

    def __str__(self) -> str:
        if self.kind == "constant":
            return f"{self.offset:.6g}"
        name = {"feature": "x", "weight": "w"}[self.kind]
        source = "*".join(f"{name}[{i}]" for i in self.indices) if self.indices else name
        scale = "" if self.scale == 1 else "-" if self.scale == -1 else f"{self.scale:.6g}*"
        return f"{scale}{source}" + (f"{self.offset:+.6g}" if self.offset else "")


def constant(value: float) -> Parameter:
    """A fixed angle."""
    return Parameter("constant", offset=_number(value))


def feature(index: int) -> Parameter:
    """The angle x[:, index]; `2 * feature(0)`, `feature(0) - 0.5` and `feature(0) * feature(1)` work too."""
    if isinstance(index, bool) or not isinstance(index, int) or index < 0:
        raise CircuitError(f"A feature's index is a whole number from 0 on, got {index!r}.")
    return Parameter("feature", (index,))


def weight() -> Parameter:
    """A new trainable angle. Appending the same object, or a multiple of it, again shares the weight."""
    return Parameter("weight", token=object())


def as_parameter(value: object) -> Parameter:
    """`value` itself if it is a Parameter, else the constant it stands for."""
    return value if isinstance(value, Parameter) else constant(value)  # type: ignore[arg-type]


def _number(value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, Real) or not math.isfinite(value):
        raise CircuitError(
            f"An angle is a finite number, feature(i) or weight(), possibly times or plus a number; got {value!r}."
        )
    return float(value)
