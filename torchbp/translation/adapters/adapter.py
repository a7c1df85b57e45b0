"""What torchbp knows about one library's quantum modules."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

Part = tuple[nn.Parameter, Tensor]
"""A parameter, and the indices into its flattened values that are meant."""
Layers = Mapping[str, list[Part]]
"""The weights of each layer of a circuit, by its name."""


def by_leading_axis(module: nn.Module, n_wires: int | None = None) -> Layers:
    """Each tensor of angles as its layers, along its first axis: "weights[0]", "weights[1]", ...

    A tensor of three axes is taken for (layer, wire, angle), and one of two for (layer, wire), unless it is the first
    of the two alone that is as long as there are wires, if that is known. One of one axis is one layer.
    """
    found: dict[str, list[Part]] = {}
    shaped = ((name, p) for name, p in module.named_parameters() if not nn.parameter.is_lazy(p))
    for name, parameter in shaped:
        every = torch.arange(parameter.numel())
        by_wire = parameter.ndim == 2 and n_wires == len(parameter) != parameter.shape[1]
        if parameter.ndim > 1 and len(parameter) > 1 and not by_wire:
            rows = every.view(len(parameter), -1)
            found |= {f"{name}[{i}]": [(parameter, row)] for i, row in enumerate(rows)}
        else:
            found[name] = [(parameter, every)]
    return found


@dataclass(frozen=True)
class Adapter:
    """How to read one library's modules, from outside and without importing it.

    Args:
        library: the name it is imported by.
        classes: names of its classes whose instances, and those of classes derived from them, are quantum.
        layers: from a module to the layers of its circuit; every weight is in one of them, or in none.
        n_wires: wires of a module's circuit; None where it does not tell.
        shots: shots of each of a module's circuits; None for exact values, and where it does not tell.
        per_sample: `(module, inputs, cotangent)`, both (B, ...), to the gradient of each sample's
            sum(cotangent * output) by each parameter, (B, numel): a library's own way, None where there is none.
        exact: a block within which a module that measures with shots returns exact values; None where there is none.
    """

    library: str
    classes: tuple[str, ...]
    layers: Callable[[Any], Layers] = by_leading_axis
    n_wires: Callable[[Any], int | None] = lambda module: None
    shots: Callable[[Any], int | None] = lambda module: None
    per_sample: Callable[[Any, Tensor, Tensor], Mapping[nn.Parameter, Tensor]] | None = None
    exact: Callable[[Any], AbstractContextManager[None]] | None = None

    def knows(self, module: nn.Module) -> bool:
        """Whether a module is one of the library's: by the names of its classes, which need no import."""
        return any(
            kind.__name__ in self.classes and kind.__module__.partition(".")[0] == self.library
            for kind in type(module).__mro__
        )
