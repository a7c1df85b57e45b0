"""Layers that are called as the modules were that they stand in for."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from torchbp.errors import InputError
from torchbp.layer.quantum_layer import QuantumLayer


class DropIn(QuantumLayer):
    """A `QuantumLayer` in the place of another library's module: under its argument's name, in its output's shape.

    Attributes:
        columns: whether the output has an axis of observables, (..., M); without it there is one value a sample, (...).
    """

    columns: bool = True

    def __call__(self, *arguments: Any, **named: Any) -> Tensor:
        """What the module would return. Hooks of the layer see (B, M)."""
        if len(named) == 1 and not arguments and "initial_state" not in named:
            arguments, named = tuple(named.values()), {}  # its argument had a name of its own: inputs, input_data
        found: Tensor = super().__call__(*arguments, **named)
        return found if self.columns else found.squeeze(-1)


class CircuitDropIn(QuantumLayer):
    """In the place of a DeepQuantum `QubitCircuit`: called with data first, asked for `expectation()` then.

    Its checkpoints are those of the circuit, with the matrices that it keeps in them.
    """

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._data: Tensor | None = None
        self._values: Tensor | None = None
        self.kept: dict[str, Tensor] = {}
        module: nn.Module = self
        module.register_load_state_dict_pre_hook(_leave_out_kept)
        module.register_state_dict_post_hook(_put_in_kept)

    def __call__(self, data: Tensor | None = None, state: Any = None) -> Any:
        """Compute the expectation values; the state that the circuit would return is not there."""
        if state is not None:
            raise InputError("The circuit starts from |0...0> since it was translated, got a state to start from.")
        self._data = data if self._n_features else None
        self._values = super().__call__(self._data)
        return _NoState()

    def expectation(self, shots: int | None = None) -> Tensor:
        """The values (B, M) of the last call, (M,) without a batch; measured anew where a number of shots is given."""
        if self._values is None:
            raise InputError("Call the circuit with its data first.")
        if shots is None:
            return self._values
        with self.shots_at(shots), torch.no_grad():
            return super().__call__(self._data)

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_data": None, "_values": None}  # results with their graphs can't be copied


class _NoState:
    """What a translated circuit returns for its state."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        raise InputError(
            f"A translated QubitCircuit computes no state vector, so there is no {name!r} of it: expectation() has its "
            "expectation values, states(data) the state."
        )


def _put_in_kept(layer: CircuitDropIn, state: dict[str, Any], prefix: str, _: Any) -> None:
    state.update({prefix + name: tensor for name, tensor in layer.kept.items()})


def _leave_out_kept(layer: CircuitDropIn, state: dict[str, Any], prefix: str, *_: object) -> None:
    for name in layer.kept:
        state.pop(prefix + name, None)
