"""`ForeignLayer`: another library's quantum module, with the handles that those who judge a `QuantumLayer` use."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn

from torchbp.circuits import Circuit, initialize, weight
from torchbp.circuits.initializers import Initializer
from torchbp.errors import BackendError, InputError
from torchbp.layer.quantum_layer import QuantumLayer
from torchbp.translation.adapters.adapter import Adapter
from torchbp.translation.adapters.table import adapter_of
from torchbp.translation.sharing import values_at

Note = Callable[[Tensor | None, Tensor], Tensor]


class ForeignLayer:
    """A module of another library, of which only its weights and what it returns are known.

    It is no module itself, and changes nothing in the one it is about: it reads and moves the weights, and calls it.

    Args:
        module: one that `adapter_of` knows.
        adapter: how to read it.

    Attributes:
        module: the module, whose hooks and calls are those of the layer.
        n_wires: of its circuit; None where it does not tell.
        circuit, observables, noise: None, as they are not known: not which weights are cut off from what is measured,
            not what noise a device has, and not what it would return without.
        shots_used: 0, as they are not counted.
    """

    circuit: None = None
    observables: None = None
    noise: None = None
    shots_used = 0

    def __init__(self, module: nn.Module, adapter: Adapter) -> None:
        self.module, self._adapter = module, adapter
        self.n_wires = adapter.n_wires(module)
        self._layers = dict(adapter.layers(module))
        self._parameters = list(dict.fromkeys(p for parts in self._layers.values() for p, _ in parts))

    @property
    def weights(self) -> Tensor:
        """(P,) all weights, layer by layer, differentiable in the module's parameters."""
        parts = [p.reshape(-1)[i.to(p.device)] for layer in self._layers.values() for p, i in layer]
        return torch.cat(parts) if parts else torch.empty(0)

    @property
    def n_weights(self) -> int:
        """P."""
        return sum(len(i) for layer in self._layers.values() for _, i in layer)

    @property
    def weight_groups(self) -> dict[str, tuple[int, ...]]:
        """Indices into `weights` for each layer of the circuit, by its name."""
        found, start = {}, 0
        for name, parts in self._layers.items():
            size = sum(len(i) for _, i in parts)
            found[name] = tuple(range(start, start + size))
            start += size
        return found

    @property
    def weight_places(self) -> list[tuple[nn.Parameter, Tensor, Tensor]]:
        """Where the weights are: parameters, each with the elements it lends and their indices in `weights`."""
        places: dict[nn.Parameter, tuple[list[Tensor], list[Tensor]]] = {}
        start = 0
        for parts in self._layers.values():
            for parameter, elements in parts:
                lent, indices = places.setdefault(parameter, ([], []))
                lent.append(elements)
                indices.append(torch.arange(start, start + len(elements)))
                start += len(elements)
        return [(p, torch.cat(lent), torch.cat(indices)) for p, (lent, indices) in places.items()]

    @contextmanager
    def weights_at(self, weights: Tensor) -> Iterator[None]:
        """Within the block the module has these weights (P,); then its own again, as they were.

        Raises:
            InputError: the module has another number of weights.
        """
        if weights.shape != (self.n_weights,):
            raise InputError(f"The module has {self.n_weights} weights, got weights of shape {tuple(weights.shape)}.")
        changed = {}
        for parameter, elements, indices in self.weight_places:
            flat = parameter.detach().reshape(-1).clone()
            flat[elements.to(flat.device)] = weights.to(flat)[indices.to(flat.device)]
            changed[parameter] = flat.view_as(parameter)
        with values_at(changed):
            yield

    def draw(self, init: str | Initializer, generator: torch.Generator | None = None) -> Tensor:
        """Initial weights (P,), as `QuantumLayer` has them, by the numbers of wires, weights and layers alone.

        Raises:
            CircuitError: the initializer needs to know the circuit's gates.
        """
        return initialize(init, self._skeleton(), generator)

    @torch.no_grad()
    def outputs(self, x: Tensor | None, weights: Tensor) -> Tensor:
        """(S, B, M) what the module returns for features x at each of the weights (S, P); one call each."""
        found = []
        for row in weights:
            with self.weights_at(row):
                y = self(x) if x is not None else self()
            found.append(y.detach().reshape(1 if x is None else len(x), -1))
        return torch.stack(found)

    @property
    def shots(self) -> int | None:
        """Shots of each circuit, None for exact values, and where the module does not tell."""
        return self._adapter.shots(self.module)

    def exact(self) -> AbstractContextManager[None]:
        """Within the block the module returns exact values, if its library has a way to; see `is_exact`."""
        if self.shots is None or self._adapter.exact is None:
            return nullcontext()
        return self._adapter.exact(self.module)

    @property
    def is_exact(self) -> bool:
        """Whether values within `exact()` are, as far as is known, exact."""
        return self.shots is None or self._adapter.exact is not None

    @property
    def unknown(self) -> str:
        """What nobody can tell from outside, in a sentence."""
        shots = "" if self.is_exact else ", nor what it would return without shots"
        return f"{self!r} does not tell its noise, nor which weights are cut off from what it measures{shots}."

    def noiseless(self) -> AbstractContextManager[None]:
        """Nothing changes: what noise a module has is not known."""
        return nullcontext()

    def states(self, x: Tensor | None = None) -> Tensor:
        """
        Raises:
            BackendError: always; what states a module goes through is not known.
        """
        raise BackendError(f"{self!r} has no state vectors that torchbp could read.")

    @contextmanager
    def noted(self, note: Note) -> Iterator[None]:
        """Within the block what each call returns is replaced by `note(x, output)`, x what went in."""
        inputs: list[Tensor | None] = []

        def enter(_: nn.Module, arguments: tuple[Any, ...], named: dict[str, Any]) -> None:
            tensors = [v for v in (*arguments, *named.values()) if isinstance(v, Tensor)]
            inputs.append(tensors[0] if tensors else None)

        def leave(_: nn.Module, __: tuple[Any, ...], output: Tensor) -> Tensor:
            return note(inputs[-1], output)

        def expectation(*arguments: Any, **named: Any) -> Tensor:
            return note(inputs[-1], type(module).expectation(module, *arguments, **named))

        module: Any = self.module
        handles = [module.register_forward_pre_hook(enter, with_kwargs=True)]
        if callable(getattr(module, "expectation", None)):  # asked for its values after the call
            vars(module)["expectation"] = expectation
        else:
            handles.append(module.register_forward_hook(leave))
        try:
            yield
        finally:
            vars(module).pop("expectation", None)
            for handle in handles:
                handle.remove()

    def parameters(self) -> list[nn.Parameter]:
        """Those that hold weights, each once."""
        return list(self._parameters)

    def register_forward_hook(self, *arguments: Any, **named: Any) -> Any:
        """On the module."""
        return self.module.register_forward_hook(*arguments, **named)

    def register_forward_pre_hook(self, *arguments: Any, **named: Any) -> Any:
        """On the module."""
        return self.module.register_forward_pre_hook(*arguments, **named)

    def __call__(self, *arguments: Any, **named: Any) -> Tensor:
        """What the module returns; of a circuit that returns its state, its expectation values."""
        output = self.module(*arguments, **named)
        expectation = getattr(self.module, "expectation", None)
        return expectation() if callable(expectation) else output

    def __repr__(self) -> str:
        library = self._adapter.library or "marked"
        return f"ForeignLayer({type(self.module).__name__} of {library}, {self.n_weights} weights)"

    def _skeleton(self) -> Circuit:
        """A circuit of as many wires, layers and weights, of which nothing else is meant."""
        circuit = Circuit(self.n_wires or max(1, math.isqrt(self.n_weights)))
        for name, indices in self.weight_groups.items():
            circuit.start_layer(name)
            for k in range(len(indices)):
                circuit.append("rx", k % circuit.n_wires, weight())
        return circuit


AnyLayer = QuantumLayer | ForeignLayer
"""What is judged and treated."""


def quantum_modules(model: nn.Module) -> dict[str, AnyLayer]:
    """The quantum modules of a model that have weights as one vector, by their path: torchbp's, and others'."""
    found: dict[str, AnyLayer] = {}
    inside: set[nn.Module] = set()
    for path, module in model.named_modules():
        if module in inside:
            continue
        clean = ".".join(part for part in path.split(".") if part != "_orig_mod")  # as its author has named it
        if isinstance(module, QuantumLayer):
            found[clean] = module
            inside |= set(module.modules())
        elif not hasattr(module, "_orig_mod") and (adapter := adapter_of(module)) is not None:
            found[clean] = ForeignLayer(module, adapter)
            inside |= set(module.modules())
    return found
