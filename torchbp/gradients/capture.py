"""What goes into layers and what the loss does with what comes out, from one forward and backward of the model."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from torchbp.backends import Backend
from torchbp.circuits import Circuit, PauliSum
from torchbp.gradients.source import Loss
from torchbp.layer import QuantumLayer


@dataclass(eq=False)
class Call:
    """One call of a layer with gradients.

    Attributes:
        arguments, keywords: what it was called with.
        cotangent: d(loss)/d(output), where the loss depends on it.
        rows: gradients of the weights for each sample, (B, P), from a quantum layer whose backend has collected them
            in backward; the last are those of the loss.
    """

    arguments: tuple[Any, ...]
    keywords: Mapping[str, Any]
    cotangent: Tensor | None = None
    rows: Sequence[Tensor] = field(default_factory=list)


@dataclass(frozen=True, eq=False)
class Captured:
    """One forward and backward.

    Attributes:
        gradients: d(loss)/d(parameter), without those that the loss does not depend on.
        calls: of every watched module that was called with gradients, in their order.
    """

    gradients: Mapping[nn.Parameter, Tensor]
    calls: Mapping[nn.Module, list[Call]]


def capture(loss: Loss, batch: Any, modules: Iterable[nn.Module], parameters: Iterable[nn.Parameter]) -> Captured:
    """Evaluate and differentiate the loss once, past `.grad`, and note what passes through `modules`.

    Calls whose output needs no gradient, or is no tensor, are not noted, nor is what torch.compile has inlined.
    """
    calls: dict[nn.Module, list[Call]] = {}
    differentiating = False

    def watch(module: nn.Module, arguments: tuple[Any, ...], keywords: dict[str, Any], output: Any) -> None:
        if not isinstance(output, Tensor) or not output.requires_grad:
            return
        call = Call(arguments, keywords)
        if isinstance(module, QuantumLayer) and isinstance(module.backend, _Collecting):
            call.rows = module.backend.latest
        calls.setdefault(module, []).append(call)

        def note(cotangent: Tensor) -> None:
            if differentiating:  # and not the loss itself, with a gradient in it
                call.cotangent = cotangent.detach()

        output.register_hook(note)

    with ExitStack() as undo:
        for module in modules:
            undo.callback(module.register_forward_hook(watch, with_kwargs=True).remove)
            if isinstance(module, QuantumLayer):
                undo.enter_context(_collecting(module))
        value = loss(batch)
    trainable = [p for p in parameters if p.requires_grad]
    if value is None or not value.requires_grad or not trainable:
        return Captured({}, calls)
    differentiating = True
    found = torch.autograd.grad(value, trainable, allow_unused=True)
    return Captured({p: g.detach() for p, g in zip(trainable, found, strict=True) if g is not None}, calls)


@contextmanager
def _collecting(layer: QuantumLayer) -> Iterator[None]:
    """Within the block the layer's forward leads to a backward that collects, if its backend knows how to."""
    backend = layer.backend
    if hasattr(backend, "collecting_expectations"):
        layer.backend = _Collecting(backend)
    try:
        yield
    finally:
        layer.backend = backend


class _Collecting:
    """A backend whose backward leaves every sample's gradient in the list that is `latest` at the forward call."""

    def __init__(self, backend: Backend) -> None:
        self.backend, self.name = backend, backend.name
        self.collecting: Callable[..., Tensor] = backend.collecting_expectations  # type: ignore[attr-defined]
        self.latest: list[Tensor] = []

    def expectations(
        self,
        circuit: Circuit,
        observables: Sequence[PauliSum],
        x: Tensor,
        weights: Tensor,
        initial_state: Tensor | None = None,
    ) -> Tensor:
        self.latest = []
        return self.collecting(circuit, observables, x, weights, initial_state, self.latest.append)

    def states(self, circuit: Circuit, x: Tensor, weights: Tensor, initial_state: Tensor | None = None) -> Tensor:
        return self.backend.states(circuit, x, weights, initial_state)
