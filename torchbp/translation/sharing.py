"""A layer whose weights are the parameters of another module, as elements in any order: no copies, one optimizer."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor, nn

from torchbp._torchquantum import QuantumModule, tq
from torchbp.errors import CircuitError, InputError


@dataclass(eq=False)
class _Frozen:
    """A parameter that is not trained: its value is a constant of the circuit."""

    name: str
    home: nn.Module
    key: str
    value: Tensor
    version: int = -1

    def check(self) -> None:
        parameter = self.home._parameters[self.key]
        assert parameter is not None
        same = parameter._version == self.version or torch.equal(parameter.detach(), self.value.to(parameter))
        if parameter.requires_grad or not same:
            raise InputError(
                f"The parameter {self.name!r} was not trainable when the module was translated, so its values became "
                "constants of the circuit; it has been changed or made trainable since: translate the module again."
            )
        self.version = parameter._version


class SharedWeights:
    """Weights (P,) of a circuit, put together from other parameters each time they are asked for.

    Parameters are looked up where they are registered, so that copies, pickles and `functional_call` see their own.

    Args:
        layer: gets all of `parameters`, registered under their own names.
        module: the module whose parameters they are.
        sources: of each weight, the name of its parameter and the index into its flattened values.
        only: names of the parameters to register, all if left out; the others may change.
        under: a part of `layer` to register them in, so that no name is taken.
    """

    def __init__(
        self,
        layer: nn.Module,
        module: nn.Module,
        sources: Sequence[tuple[str, int]],
        only: Collection[str] | None = None,
        under: nn.Module | None = None,
    ) -> None:
        homes = _register(layer if under is None else under, module, only)
        layer.register_load_state_dict_pre_hook(_leave_out_states)
        parameters = dict(module.named_parameters(remove_duplicate=False))
        names = list(dict.fromkeys(name for name, _ in sources))
        starts, total = {}, 0
        for name in names:
            starts[name], total = total, total + parameters[name].numel()
        order = [starts[name] + index for name, index in sources]
        self._slots = [homes[name] for name in names]
        self._order = None if order == list(range(total)) else torch.tensor(order)
        # Where there are no weights, they still have a dtype and a device.
        self._layer = layer
        layer.register_buffer("_no_weights", None if sources else torch.empty(0), persistent=False)
        self._frozen = [
            _Frozen(name, *homes[name], p.detach().clone())
            for name, p in parameters.items()
            if name in homes and not p.requires_grad
        ]

    def __call__(self) -> Tensor:
        """The weights (P,), differentiable in the parameters."""
        if not self._slots:
            return cast(Tensor, self._layer._no_weights)
        flat = torch.cat([p.reshape(-1) for p in self.parameters])
        return flat if self._order is None else flat[self._order]

    @property
    def parameters(self) -> list[nn.Parameter]:
        """The parameters that hold weights."""
        found = [home._parameters[key] for home, key in self._slots]
        return [p for p in found if p is not None]

    def places(self) -> list[tuple[nn.Parameter, Tensor, Tensor]]:
        """Each parameter with the indices of its elements that are weights, and which weights they are."""
        sizes = [parameter.numel() for parameter in self.parameters]
        order = torch.arange(sum(sizes)) if self._order is None else self._order
        found = []
        start = 0
        for parameter, size in zip(self.parameters, sizes, strict=True):
            weights = torch.nonzero((order >= start) & (order < start + size)).flatten()
            found.append((parameter, order[weights] - start, weights))
            start += size
        return found

    def split(self, weights: Tensor) -> Mapping[nn.Parameter, Tensor]:
        """What the parameters must be for the weights to be `weights` (P,)."""
        if not self._slots:
            return {}
        flat = torch.cat([p.detach().reshape(-1) for p in self.parameters])
        flat[slice(None) if self._order is None else self._order] = weights.to(flat)
        parts = flat.split([p.numel() for p in self.parameters])
        return {p: part.view_as(p) for p, part in zip(self.parameters, parts, strict=True)}

    def check(self) -> None:
        """Raise InputError if a parameter that became a constant has changed."""
        for frozen in self._frozen:
            frozen.check()


@contextmanager
def values_at(values: Mapping[nn.Parameter, Tensor]) -> Iterator[None]:
    """Within the block the parameters have these values; graphs made before stay good, and the old values are back."""
    before = {parameter: parameter.data for parameter in values}
    try:
        for parameter, value in values.items():
            parameter.data = value.detach().to(parameter)
        yield
    finally:
        for parameter, data in before.items():
            parameter.data = data


def _leave_out_states(_: nn.Module, state_dict: dict[str, Any], prefix: str, *__: object) -> None:
    """Of checkpoints of TorchQuantum modules, which contain the last state of a device that a module has seen."""
    for key in [key for key in state_dict if key.startswith(prefix) and "q_device" in key.split(".")]:
        del state_dict[key]


def _register(layer: nn.Module, module: nn.Module, only: Collection[str] | None) -> dict[str, tuple[nn.Module, str]]:
    """Register the parameters of `module` in `layer` under their own names; where each of them is."""
    originals = dict(module.named_modules(remove_duplicate=False))
    homes: dict[str, tuple[nn.Module, str]] = {}
    for name, parameter in module.named_parameters(remove_duplicate=False):
        if only is not None and name not in only:
            continue
        *path, key = name.split(".")
        first = path[0] if path else key
        if first in vars(layer) and vars(layer)[first] is None:  # as every TorchQuantum module has some, for later
            delattr(layer, first)
        if first not in layer._modules and first != "weights" and hasattr(layer, first):
            raise CircuitError(
                f"The module's {first!r} has the name of something that every QuantumLayer has: rename it."
            )
        home = layer
        for depth, part in enumerate(path, 1):
            if part not in home._modules:
                home._modules[part] = _stand_in(originals[".".join(path[:depth])])
            home = cast(nn.Module, home._modules[part])
        home._parameters[key] = parameter
        homes[name] = home, key
    return homes


def _stand_in(original: nn.Module) -> nn.Module:
    """An empty module of the kind that tells how parameters belong together, see `torchbp.gradients.groups`."""
    if isinstance(original, tq.Operator):
        operator = tq.Operator()
        del operator.params
        return operator
    if isinstance(original, nn.ModuleList | nn.ModuleDict | nn.Sequential):
        return nn.ModuleList()
    return QuantumModule() if isinstance(original, tq.QuantumModule) else nn.Module()
