"""Kinds of arguments: each is or makes a `Check`, from an argument's name and value to the value, or an error."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np

from torchbp.arguments.checks import whole_number
from torchbp.errors import InputError, UnknownNameError

Check = Callable[[str, Any], Any]

MOST = 2**53
"""No count of anything here comes near it; one that is larger is a slip, and would overflow somewhere far from it."""


def anything(name: str, value: Any) -> Any:
    """What the function itself looks at."""
    return value


def whole(least: int, most: int = MOST) -> Check:
    """A whole number from `least` to `most`, as an int."""

    limit = at_most(most)
    return lambda name, value: whole_number(name, limit(name, value), least)


def at_most(most: int) -> Check:
    """For functions that look at their numbers themselves: none that is far too large."""

    def check(name: str, value: Any) -> Any:
        if isinstance(value, int | np.integer) and value > most:
            raise InputError(f"{name} is at most {most:,}, got {value!r}.")
        return value

    return check


def real(least: float = -math.inf, above: float = -math.inf, most: float = math.inf) -> Check:
    """A finite number of at least `least`, above `above`, of at most `most`, as a float."""
    bounds = [f"of at least {least:g}"] * (least > -math.inf) + [f"above {above:g}"] * (above > -math.inf)
    bounds += [f"of at most {most:g}"] * (most < math.inf)
    kind = f"a finite number {' and '.join(bounds)}".rstrip()
    if above == 0 and most == math.inf:
        kind = "a positive finite number"

    def check(name: str, value: Any) -> float:
        good = not isinstance(value, bool) and isinstance(value, int | float | np.integer | np.floating)
        if not good or not math.isfinite(value) or not least <= value <= most or not value > above:
            raise InputError(f"{name} is {kind}, got {value!r}.")
        return float(value)

    return check


def flag(name: str, value: Any) -> bool:
    """True or False, and nothing that merely counts as such: "no" would be true."""
    if not isinstance(value, bool | np.bool_):
        raise InputError(f"{name} is True or False, got {value!r}.")
    return bool(value)


def text(name: str, value: Any) -> str:
    """A string."""
    if not isinstance(value, str):
        raise InputError(f"{name} is a string, got {value!r}.")
    return value


def path(name: str, value: Any) -> Any:
    """A path."""
    if not isinstance(value, str | os.PathLike) or not str(value):
        raise InputError(f"{name} is the path of a file or folder, got {value!r}.")
    return value


def function(name: str, value: Any) -> Any:
    """Anything that can be called."""
    if not callable(value):
        raise InputError(f"{name} is a function, got {value!r}.")
    return value


def one_of(*words: Any) -> Check:
    """One of a few words; of a misspelt one the nearest is told."""

    def check(name: str, value: Any) -> Any:
        if not isinstance(value, str):
            raise InputError(f"{name} is one of {', '.join(map(repr, words))}, got {value!r}.")
        if value not in words:
            raise UnknownNameError(name, value, words)
        return value

    return check


def a(*classes: type, write: str = "") -> Check:
    """An object of one of these classes.

    Args:
        classes: what it may be.
        write: how one is written, for the message.
    """
    names = " or ".join(c.__name__ for c in classes)

    def check(name: str, value: Any) -> Any:
        if isinstance(value, classes):
            return value
        if isinstance(value, type) and issubclass(value, classes):
            raise InputError(f"{name} is a {names}, got the class itself: write {value.__name__}(...).")
        hint = f": write {write}" if write else ""
        raise InputError(f"{name} is a {names}, got {_shown(value)}{hint}.")

    return check


def mapping(name: str, value: Any) -> Any:
    """A dict."""
    if not isinstance(value, Mapping):
        raise InputError(f"{name} is a dict, got {_shown(value)}.")
    return value


def batches(name: str, value: Any) -> Any:
    """Something to take batches from."""
    if not isinstance(value, Iterable) or isinstance(value, str | bytes):
        raise InputError(f"{name} gives batches, as a DataLoader or a list does; got {_shown(value)}.")
    return value


def each(check: Check) -> Check:
    """Several, each of which passes a check, as a tuple; a single one where it passes by itself."""

    def check_each(name: str, value: Any) -> tuple[Any, ...]:
        if isinstance(value, str | bytes) or not isinstance(value, Iterable):
            return (check(name, value),)
        return tuple(check(f"each of {name}", part) for part in value)

    return check_each


def or_none(check: Check) -> Check:
    """None, where it is not the default, or what passes the check."""
    return lambda name, value: None if value is None else check(name, value)


def either(*checks: Check) -> Check:
    """What passes one of the checks; the first one's message where none does."""

    def check(name: str, value: Any) -> Any:
        errors = []
        for one in checks:
            try:
                return one(name, value)
            except InputError as error:
                errors.append(error)
        raise errors[0]

    return check


def _shown(value: Any) -> str:
    shown = repr(value)
    plain = len(shown) <= 80 and "\n" not in shown and " object at 0x" not in shown
    return shown if plain else f"a {type(value).__name__}"
