"""`mark_quantum`: says of a module that torchbp does not know that it is quantum, and what its layers are."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from functools import partial
from typing import TypeVar

import torch
from torch import nn

from torchbp.arguments import checked
from torchbp.arguments.kinds import anything, each, mapping, text
from torchbp.errors import InputError
from torchbp.translation.adapters.adapter import Adapter, Layers, Part, by_leading_axis

Marked = TypeVar("Marked", nn.Module, type[nn.Module])
_MARK = "_torchbp_quantum"
_NAME = re.compile(r"(?P<name>[\w.]+)(\[(?P<row>\d+)\])?")


@checked(module=anything, layers=mapping)
def mark_quantum(
    module: Marked,
    layers: Mapping[str, str | Iterable[str]] | None = None,
    *,
    n_wires: int | None = None,
    shots: int | None = None,
) -> Marked:
    """Have torchbp take a module for a quantum one: a circuit written as functions, or a class of one's own.

    Args:
        module: with trainable angles as its parameters; or a class, whose instances are meant then.
        layers: of each layer of the circuit, by a name of one's choice, the parameters in it: "theta" for all of one,
            "theta[0]" for what has index 0 along its first axis. Parameters in no layer stay classical. Left out:
            every parameter is a layer, or one for each index along its first axis if it has several axes.
        n_wires: of the circuit, if known.
        shots: of each of its circuits; None for exact values.

    Returns:
        The module itself, so that `mark_quantum` decorates classes too.

    Raises:
        InputError: no module; or, for a module that is no class, layers that name what it does not have.

    Example:
        >>> mark_quantum(model.circuit, layers={"first": "theta[0]", "second": ["theta[1]", "phi"]})
    """
    is_class = isinstance(module, type) and issubclass(module, nn.Module)
    if not is_class and not isinstance(module, nn.Module):
        raise InputError(f"mark_quantum takes a torch.nn.Module or a class of them, got {type(module).__name__}.")
    plain = None if layers is None else {name: each(text)(f"layers[{name!r}]", p) for name, p in layers.items()}
    if plain is not None and isinstance(module, nn.Module):
        _chosen(plain, module)
    setattr(module, _MARK, (plain, n_wires, shots))
    return module


def marked(module: nn.Module) -> Adapter | None:
    """How to read a module that has been marked, None if it has not."""
    mark = vars(module).get(_MARK) or getattr(type(module), _MARK, None)
    if mark is None:
        return None
    layers, n_wires, shots = mark
    read = by_leading_axis if layers is None else partial(_chosen, layers)
    return Adapter("", (), read, n_wires=lambda _: n_wires, shots=lambda _: shots)


def _chosen(layers: Mapping[str, tuple[str, ...]], module: nn.Module) -> Layers:
    """
    Raises:
        InputError: a parameter, or a row of one, that the module does not have.
    """
    parameters = dict(module.named_parameters())

    def part(text: str) -> Part:
        match = _NAME.fullmatch(text)
        parameter = parameters.get(match["name"]) if match else None
        row = None if match is None or match["row"] is None else int(match["row"])
        if parameter is None or (row is not None and (parameter.ndim == 0 or row >= len(parameter))):
            shapes = ", ".join(f"{name} {tuple(p.shape)}" for name, p in parameters.items())
            raise InputError(f"{type(module).__name__} has no {text!r}; its parameters are: {shapes or 'none'}.")
        every = torch.arange(parameter.numel()).view(parameter.shape)
        return parameter, (every if row is None else every[row]).reshape(-1)

    return {name: [part(text) for text in texts] for name, texts in layers.items()}
