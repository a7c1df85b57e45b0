"""Tensors, generators and parameters as arguments."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor

from torchbp.arguments.kinds import a
from torchbp.errors import InputError

generator = a(torch.Generator, write="torch.Generator().manual_seed(42)")


def real_tensor(name: str, value: Any) -> Tensor:
    """A tensor of finite real numbers."""
    if not isinstance(value, Tensor) or value.is_complex() or value.dtype is torch.bool:
        kind = f"of {value.dtype}" if isinstance(value, Tensor) else f"but a {type(value).__name__}: {value!r:.60}"
        raise InputError(f"{name} is a tensor of real numbers, not one {kind}.".replace("not one but", "not"))
    if not value.is_meta and not bool(torch.isfinite(value).all()):
        raise InputError(f"{name} holds NaN or infinity: a tensor of finite real numbers is needed.")
    return value


def initial(name: str, value: Any) -> Any:
    """Where weights start: a name, a function, or the numbers."""
    if not isinstance(value, str | Tensor | Iterable) and not callable(value):
        raise InputError(f"{name} is the name of an initializer, a function, or the weights; got {value!r:.60}.")
    return value


def parameters(name: str, value: Any) -> Any:
    """Parameters as torch's optimizers take them."""
    if isinstance(value, Tensor) or not isinstance(value, Iterable) or isinstance(value, str | bytes):
        raise InputError(f"{name} are parameters such as layer.parameters(), got {type(value).__name__}.")
    given = list(value)
    tensors = [t for part in given for t in (part["params"] if isinstance(part, dict) else [part])]
    if not tensors or not all(isinstance(t, Tensor) for t in tensors):
        raise InputError(f"{name} are parameters such as layer.parameters(), at least one; got {given!r:.60}.")
    return given
