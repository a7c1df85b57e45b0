"""Which weights belong together: the layers of a model whose gradients are looked at one by one."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from torchbp.gradients.stats import Kind
from torchbp.translation.adapters.adapter import Layers, Part
from torchbp.translation.adapters.table import adapter_of

MAX_WEIGHTS = 4096
"""Of a larger classical layer, this many weights at equal distances stand for all of them."""


@dataclass(frozen=True, eq=False)
class WeightGroup:
    """The weights of one layer.

    Args:
        name: "<path of the module>/<circuit layer>", or the path of a module ("head.0").
        kind: "quantum" or "classical".
        parts: parameters, each with the indices into its flattened values that belong to the group (None: all).
        n_weights: weights in the layer, more than `parts` holds if only a selection of them is measured.
    """

    name: str
    kind: Kind
    parts: tuple[tuple[nn.Parameter, Tensor | None], ...]
    n_weights: int

    def __len__(self) -> int:
        """Number of weights in `parts`."""
        return sum(p.numel() if indices is None else len(indices) for p, indices in self.parts)

    def pick(self, values: Mapping[nn.Parameter, Tensor]) -> Tensor:
        """The group's share, flat (len(group),), of one tensor for each parameter."""
        flat = [
            values[p].reshape(-1) if indices is None else values[p].reshape(-1)[indices.to(values[p].device)]
            for p, indices in self.parts
        ]
        return torch.cat(flat)


def find_groups(model: nn.Module) -> list[WeightGroup]:
    """The layers of any model, in the order of its modules; every parameter is in one of them.

    - A `QuantumLayer` (or any module with `weights` and `weight_groups`): one group for each layer of its circuit.
    - Modules of PennyLane, Qiskit Machine Learning, DeepQuantum and TensorCircuit, and what `mark_quantum` has marked:
      one group for each layer that can be told, see `torchbp.translation.adapters`.
    - Other TorchQuantum modules: trainable operators in one list or one module are a group, named after the module
      if the list is all that it trains; parameters of a `QuantumModule` of one's own are a group too.
    - Everything else is classical: one group for each module that has parameters of its own.

    Frozen parameters are listed too. A weight that is shared belongs to the first module that has it. Functions of
    TorchQuantum called with the parameters of a plain `nn.Module` look like a classical layer.
    """
    parts: dict[tuple[str, Kind], list[tuple[nn.Parameter, Tensor | None]]] = {}
    for name, kind, parameter, indices in _parts(model):
        parts.setdefault((name, kind), []).append((parameter, indices))
    return [_group(name, kind, found) for (name, kind), found in parts.items()]


def is_quantum(module: nn.Module) -> bool:
    """Whether a module is one of torchbp or of a library that it knows; loads none of them to find out."""
    return _circuit_layers(module) is not None or isinstance(module, _torchquantum("QuantumModule"))


def _parts(model: nn.Module) -> Iterator[tuple[str, Kind, nn.Parameter, Tensor | None]]:
    modules = dict(model.named_modules())
    seen: set[nn.Parameter] = set()
    for path, module in modules.items():
        if hasattr(module, "_orig_mod"):  # a compiled module: what it wraps comes next
            continue
        layers = _circuit_layers(module)
        if layers is not None and not layers:  # a circuit without weights
            seen |= set(module.parameters(recurse=False))
        claimed: dict[nn.Parameter, list[Tensor]] = {}
        for layer, parts in (layers or {}).items():
            for parameter, indices in parts:
                if parameter not in seen:
                    claimed.setdefault(parameter, []).append(indices)
                    yield _join(_clean(path), layer), "quantum", parameter, indices
        seen |= claimed.keys()
        for parameter, chosen in claimed.items():
            if len(left := _others(parameter, chosen)):
                yield _clean(path) or type(module).__name__, "quantum", parameter, left
        for parameter in module.parameters(recurse=False):
            if parameter in seen:
                continue
            seen.add(parameter)
            if isinstance(module, _torchquantum("Operator")):
                yield _unit(path, modules), "quantum", parameter, None
            else:
                kind: Kind = "quantum" if is_quantum(module) else "classical"
                yield _clean(path) or type(module).__name__, kind, parameter, None


def _others(parameter: nn.Parameter, chosen: list[Tensor]) -> Tensor:
    """Of a parameter's elements those that are in no layer."""
    left = torch.ones(0 if nn.parameter.is_lazy(parameter) else parameter.numel(), dtype=torch.bool)
    left[torch.cat(chosen)] = False
    return left.nonzero()[:, 0]


def _group(name: str, kind: Kind, parts: list[tuple[nn.Parameter, Tensor | None]]) -> WeightGroup:
    sizes = [0 if nn.parameter.is_lazy(p) else p.numel() if i is None else len(i) for p, i in parts]
    total = sum(sizes)
    if kind == "classical" and total > MAX_WEIGHTS:
        chosen = torch.arange(MAX_WEIGHTS) * total // MAX_WEIGHTS
        starts = [sum(sizes[:k]) for k in range(len(sizes))]
        local = [chosen[(chosen >= a) & (chosen < a + n)] - a for a, n in zip(starts, sizes, strict=True)]
        parts = [(p, indices) for (p, _), indices in zip(parts, local, strict=True) if len(indices)]
    return WeightGroup(name, kind, tuple(parts), total)


def _circuit_layers(module: nn.Module) -> Layers | None:
    """The weights of each circuit layer, if the module has them the way `torchbp.QuantumLayer` has, or is known."""
    if not getattr(type(module), "weight_groups", None):
        adapter = adapter_of(module)
        return None if adapter is None else adapter.layers(module)
    layers, places = module.weight_groups, getattr(module, "weight_places", None)
    if places is None and isinstance(weights := getattr(module, "weights", None), nn.Parameter):
        every = torch.arange(weights.numel())
        places = [(weights, every, every)]
    if places is None or not isinstance(layers, Mapping):
        return None
    found: dict[str, list[Part]] = {}
    for name, indices in layers.items():
        of = torch.tensor(indices, dtype=torch.long)
        for parameter, elements, weights in places:
            mine = of[torch.isin(of, weights)]
            if len(mine):
                order = torch.argsort(weights)
                found.setdefault(name, []).append(
                    (parameter, elements[order[torch.searchsorted(weights[order], mine)]])
                )
    return found


def _torchquantum(name: str) -> type | tuple[()]:
    """A class of TorchQuantum; of a library that nobody has imported there are no instances."""
    return getattr(sys.modules.get("torchquantum"), name, ())


def _unit(path: str, modules: Mapping[str, nn.Module]) -> str:
    """The group of the trainable operator at `path`: the list or module it stands in."""
    home = path.rpartition(".")[0]
    if isinstance(modules[home], nn.ModuleList | nn.ModuleDict | nn.Sequential):
        owner = home.rpartition(".")[0]
        if len(list(modules[home].parameters())) < len(list(modules[owner].parameters())):
            return _clean(home)
        home = owner
    name = _clean(home)
    # A classical module that holds operators may have parameters of its own, which go by its name.
    return (name or type(modules[home]).__name__) if is_quantum(modules[home]) else _join(name, "operators")


def _clean(path: str) -> str:
    """A module's path as its author wrote it, without what torch.compile puts in."""
    return ".".join(part for part in path.split(".") if part != "_orig_mod")


def _join(path: str, layer: str) -> str:
    return f"{path}/{layer}" if path else layer
