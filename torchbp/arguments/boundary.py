"""`checked`: the arguments of a public function are looked at before anything is done with them."""

from __future__ import annotations

import difflib
import functools
import inspect
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from torchbp.arguments.kinds import Check
from torchbp.arguments.words import WORDS
from torchbp.errors import CallError

T = TypeVar("T", bound=Callable[..., Any])
_BOUND = ("self", "cls")
"""What a method is given by Python."""


def checked(**own: Check) -> Callable[[T], T]:
    """A decorator for public functions, constructors and dataclasses: every argument passes its check.

    What an argument asks for stands in the table of words, or here, where a function means something of its own by it.
    The default of an argument passes; what a check returns is what the function gets. A function with an argument that
    has no check can't be defined: so none is forgotten.

    Raises:
        CallError: when called with an argument that is not there, or without one that is needed.
        InputError, UnknownNameError: when called with a value that does not pass.
    """

    def decorate(target: T) -> T:
        if isinstance(target, type):  # a dataclass: its constructor is what is called
            target.__init__ = _checked(target.__init__, target.__name__, own)  # type: ignore[misc]
            return target
        name = target.__qualname__.removesuffix(".__init__").rpartition(".")[2]
        return _checked(target, name, own)

    return decorate


def _checked(function: Any, name: str, own: dict[str, Check]) -> Any:
    signature = inspect.signature(function)
    named = [p for p in signature.parameters.values() if p.kind not in (p.VAR_KEYWORD, p.VAR_POSITIONAL)]
    named = [p for p in named if p.name not in _BOUND]
    if unknown := own.keys() - {p.name for p in named}:
        raise TypeError(f"{name} is to check {min(unknown)}, and has no such argument")
    table, checks = WORDS | own, {}
    for parameter in named:
        if parameter.name not in table:
            raise TypeError(f"{name}({parameter.name}=) has no check: give one, or add the word to the table")
        checks[parameter.name] = table[parameter.name], parameter.default

    @functools.wraps(function)
    def call(*args: Any, **kwargs: Any) -> Any:
        try:
            bound = signature.bind(*args, **kwargs)
        except TypeError as error:
            raise _misfit(name, signature, kwargs, error) from None
        for argument, (check, default) in checks.items():
            value = bound.arguments.get(argument, default)
            if value is not default:
                bound.arguments[argument] = check(argument, value)
        return function(*bound.args, **bound.kwargs)

    call.checks = checks  # type: ignore[attr-defined]
    return call


def misfit(function: Callable[..., Any], name: str, *args: Any, **kwargs: Any) -> None:
    """Raise CallError unless a function that somebody gave can be called like this."""
    try:
        signature = inspect.signature(function)
    except (TypeError, ValueError):  # of some functions written in C nothing is known
        return
    try:
        signature.bind(*args, **kwargs)
    except TypeError as error:
        raise _misfit(name, signature, kwargs, error) from None


def _misfit(name: str, signature: inspect.Signature, given: Mapping[str, Any], error: TypeError) -> CallError:
    """What is wrong with the names of a call's arguments, or with their number."""
    known = [p for p in signature.parameters if p not in _BOUND]
    takes = f"{name} takes {', '.join(known) or 'no arguments'}"
    open_ended = any(p.kind is p.VAR_KEYWORD for p in signature.parameters.values())
    for word in [] if open_ended else given:
        if word not in known:
            close = difflib.get_close_matches(word, known, n=1)
            hint = f" Did you mean {close[0]!r}?" if close else ""
            return CallError(f"{name} has no argument {word!r}.{hint} {takes}.")
    return CallError(f"{name}: {error}. {takes}.")
