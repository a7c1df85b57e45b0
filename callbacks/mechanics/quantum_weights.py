"""The quantum weights of a model as one vector that a remedy reads, writes, and hands on to averaged copies."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from torchbp.callbacks.mechanics.optimizer_state import raw_optimizers
from torchbp.diagnosis.light_cone import belongs_to
from torchbp.layer import QuantumLayer
from torchbp.layer.foreign import AnyLayer, quantum_modules


class QuantumWeights:
    """The weights (P,) of some quantum layers, one after the other, or the part of them that lies in `groups`.

    Weights that the user has frozen (`requires_grad=False`) are never meant.

    Args:
        layers: by their path in the model, see `quantum_modules`.
        groups: names of circuit layers ("<path>/<circuit layer>", as the monitor has them) whose weights are meant;
            None: all weights.

    Attributes:
        chosen: (P,) bool, which of all weights of the layers are meant; may be set.
    """

    def __init__(self, layers: Mapping[str, AnyLayer], groups: Collection[str] | None = None) -> None:
        self.layers = dict(layers)
        self._sizes = [layer.n_weights for layer in self.layers.values()]
        self._places: list[tuple[nn.Parameter, Tensor, Tensor]] = []  # parameter, its elements, the weights they are
        masks = []
        start = 0
        for (path, layer), size in zip(self.layers.items(), self._sizes, strict=True):
            for parameter, elements, weights in layer.weight_places:
                self._places.append((parameter, elements, weights + start))
            mask = torch.full((size,), groups is None)
            for name, indices in zip(layer_names(path, layer), layer.weight_groups.values(), strict=True):
                if groups is not None and name in groups:
                    mask[list(indices)] = True
            masks.append(mask)
            start += size
        self.chosen = torch.cat(masks) if masks else torch.zeros(0, dtype=torch.bool)
        self._leave_out(parameter for parameter, _, _ in self._places if not parameter.requires_grad)

    @classmethod
    def of(cls, module: nn.Module, groups: Collection[str] | None = None) -> QuantumWeights:
        """Those of a model."""
        return cls(quantum_modules(module), groups)

    @classmethod
    def trained(
        cls, trainer: Any, module: nn.Module, groups: Collection[str] | None = None, *, whole: bool = False
    ) -> QuantumWeights:
        """Those of a model that an optimizer trains, in the layers that have any.

        Args:
            groups: see the class.
            whole: all circuit layers of a quantum layer that has one of these.
        """
        trained = {p for o in raw_optimizers(trainer) for group in o.param_groups for p in group["params"]}
        found = {}
        for path, layer in quantum_modules(module).items():
            concerned = groups is None or not path or any(belongs_to(name, path) for name in groups)
            if concerned and any(p in trained and p.requires_grad for p in layer.parameters()):
                found[path] = layer
        weights = cls(found, None if whole else groups)
        weights._leave_out(parameter for parameter, _, _ in weights._places if parameter not in trained)
        return weights

    @property
    def known(self) -> dict[str, QuantumLayer]:
        """The layers whose circuit is known: torchbp's, and not other libraries' modules as they are."""
        return {path: layer for path, layer in self.layers.items() if isinstance(layer, QuantumLayer)}

    def __len__(self) -> int:
        """Number of weights meant."""
        return int(self.chosen.sum())

    def _leave_out(self, parameters: Iterable[nn.Parameter]) -> None:
        gone = set(parameters)
        for parameter, _, weights in self._places:
            if parameter in gone:
                self.chosen[weights] = False

    @property
    def shots_used(self) -> int:
        """Shots that the layers have spent so far."""
        return sum(layer.shots_used for layer in self.layers.values())

    @property
    def parameters(self) -> list[nn.Parameter]:
        """The parameters that hold any of the weights meant, each once."""
        return list(self.elements())

    @property
    def all_groups(self) -> tuple[str, ...]:
        """Names of all circuit layers."""
        return tuple(name for path, layer in self.layers.items() for name in layer_names(path, layer))

    @property
    def groups(self) -> tuple[str, ...]:
        """Names of the circuit layers that have any of the weights meant."""
        found = []
        masks = self.chosen.split(self._sizes)
        for (path, layer), mask in zip(self.layers.items(), masks, strict=True):
            names = zip(layer_names(path, layer), layer.weight_groups.values(), strict=True)
            found += [name for name, indices in names if bool(mask[list(indices)].any())]
        return tuple(found)

    def elements(self) -> dict[nn.Parameter, Tensor]:
        """For each such parameter, which of its flattened values are meant: (numel,) bool."""
        found: dict[nn.Parameter, Tensor] = {}
        for parameter, elements, weights in self._places:
            mask = found.setdefault(parameter, torch.zeros(parameter.numel(), dtype=torch.bool))
            mask[elements[self.chosen[weights]]] = True
        return {parameter: mask for parameter, mask in found.items() if bool(mask.any())}

    def read(self) -> Tensor:
        """(P,) all weights of the layers, those not meant too: a copy on the CPU, float64."""
        values = torch.empty(len(self.chosen), dtype=torch.float64)
        for parameter, elements, weights in self._places:
            values[weights] = parameter.detach().reshape(-1).cpu().double()[elements]
        return values

    @torch.no_grad()
    def write(self, values: Tensor) -> None:
        """Set the weights meant to those of `values` (P,), in place; the others stay as they are."""
        for parameter, elements, weights in self._places:
            take = self.chosen[weights]
            if not bool(take.any()):
                continue
            flat = parameter.detach().reshape(-1).clone()
            flat[elements[take].to(flat.device)] = values[weights[take]].to(flat)
            parameter.copy_(flat.view_as(parameter))

    def embed(self, part: Tensor) -> Tensor:
        """(P,) all weights of the layers as they are, those meant as in `part` (len(self),)."""
        values = self.read()
        values[self.chosen] = part.to(values)
        return values

    def split(self, values: Tensor) -> dict[str, Tensor]:
        """`values` (P,) by the path of their layer."""
        return dict(zip(self.layers, values.split(self._sizes), strict=True))

    @contextmanager
    def at(self, values: Tensor) -> Iterator[None]:
        """Within the block the weights meant are those of `values` (P,); then they are as they were."""
        before = [(parameter, parameter.detach().clone()) for parameter in self.parameters]
        self.write(values)
        try:
            yield
        finally:
            with torch.no_grad():
                for parameter, old in before:
                    parameter.copy_(old)

    @torch.no_grad()
    def publish(self, module: nn.Module, averages: Iterable[nn.Module]) -> None:
        """Copy the weights meant into averaged copies of `module`, which would mix in the old ones for long."""
        names = {parameter: name for name, parameter in module.named_parameters()}
        for average in averages:
            copies = dict(getattr(average, "module", average).named_parameters())
            for parameter, mask in self.elements().items():
                if (copy := copies.get(names[parameter])) is not None:
                    flat = copy.detach().reshape(-1).clone()
                    chosen = mask.to(flat.device)
                    flat[chosen] = parameter.detach().reshape(-1).to(flat)[chosen]
                    copy.copy_(flat.view_as(copy))


def layer_names(path: str, layer: AnyLayer) -> list[str]:
    """Of the circuit layers in the quantum layer at this path, as the monitor has them."""
    return [f"{path}/{name}" if path else name for name in layer.weight_groups]


def averaged_models(trainer: Any) -> list[nn.Module]:
    """The copies that Lightning's weight averaging callbacks (EMA, SWA) keep."""
    found = (getattr(callback, "_average_model", None) for callback in trainer.callbacks)
    return [model for model in found if isinstance(model, nn.Module)]
