"""Natural gradient: steps that are as long as the states are far apart, not as the weights are."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from torchbp.arguments import checked
from torchbp.arguments.kinds import a, each, either, whole
from torchbp.backends.shots import measures
from torchbp.errors import InputError
from torchbp.layer import QuantumLayer
from torchbp.optim.fubini_study import fubini_study, natural


class QuantumNaturalGradient(torch.optim.Optimizer):
    """w <- w - lr (g + damping I)^-1 dL/dw, g the Fubini-Study metric of each circuit layer (Stokes 2020, 1909.02108).

    The metric (see `fubini_study`) is computed from exact states, at the weights and for the inputs of the layer's last
    training call, and costs two circuits for each rotation and sample. It is for simulators; from shots take `QNSPSA`.
    Where all weights turn the states alike it is gradient descent with four times the rate; where some hardly do, or
    several do the same, it is the faster the more ill-conditioned the metric. The gradient may come from anywhere.

    Args:
        model: a quantum layer, several, or a module that has some; no other parameters are moved, and frozen ones stay.
        lr: learning rate.
        damping: added to the metric's diagonal, whose entries are 1/4 for a rotation by itself. Small values let flat
            directions take long steps.
        samples: of a batch that the metric is averaged over; the first ones.

    Raises:
        InputError: no quantum layer with trainable weights, a number that is not positive, or, as it steps, a layer on
            a machine, which has no states.

    What it does not cure: a barren plateau. Its gradient vanishes, and so does the natural one (the metric does not).
    """

    @checked(model=either(a(nn.Module), each(a(QuantumLayer))), samples=whole(1))
    def __init__(
        self, model: nn.Module | Iterable[QuantumLayer], lr: float = 0.05, *, damping: float = 0.01, samples: int = 8
    ) -> None:
        modules = model.modules() if isinstance(model, nn.Module) else model
        self.layers = [
            m for m in modules if isinstance(m, QuantumLayer) and any(p.requires_grad for p in m.parameters())
        ]
        if not self.layers:
            raise InputError(
                "QuantumNaturalGradient needs a torchbp.QuantumLayer with trainable weights: it found none."
            )
        parameters = list({p: None for layer in self.layers for p in layer.parameters() if p.requires_grad})
        super().__init__(parameters, {"lr": lr, "damping": damping})
        self.samples = samples
        self._inputs: dict[int, Tensor] = {}
        self._handles = [
            layer.register_forward_pre_hook(partial(_note, self._inputs, k), with_kwargs=True)
            for k, layer in enumerate(self.layers)
        ]

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """One step, by the gradients there are.

        Args:
            closure: `() -> loss` that differentiates anew.
        """
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        group = self.param_groups[0]
        for layer, direction in self.directions().items():
            move(layer, -group["lr"] * direction)
        return loss

    @torch.no_grad()
    def directions(self) -> dict[QuantumLayer, Tensor]:
        """(P,) the natural gradient of each layer that has a gradient, at its present weights."""
        found = {}
        for k, layer in enumerate(self.layers):
            gradient = _gradient(layer)
            if gradient is None:
                continue
            if measures(layer.backend):
                raise InputError(
                    "A machine has no states to take the Fubini-Study metric of: take torchbp.optim.QNSPSA."
                )
            x = self._inputs.get(k)
            metric = fubini_study(layer, None if x is None else x[: self.samples])
            found[layer] = natural(metric, layer, gradient, self.param_groups[0]["damping"])
        return found

    def close(self) -> None:
        """Watch the layers' inputs no more."""
        for handle in self._handles:
            handle.remove()


@torch.no_grad()
def move(layer: QuantumLayer, change: Tensor) -> None:
    """Add (P,) to the trainable weights of a layer, in place."""
    for parameter, elements, weights in layer.weight_places:
        if parameter.requires_grad:
            added = torch.zeros(parameter.numel(), dtype=parameter.dtype, device=parameter.device)
            added[elements] = change[weights].to(added)
            parameter.add_(added.view_as(parameter))


def _gradient(layer: QuantumLayer) -> Tensor | None:
    """(P,) by the layer's weights; zero for those that are frozen, None if there is none at all."""
    found = torch.zeros_like(layer.weights)
    seen = False
    for parameter, elements, weights in layer.weight_places:
        if parameter.grad is not None and parameter.requires_grad:
            seen = True
            found[weights] = parameter.grad.reshape(-1)[elements].to(found)
    return found if seen else None


def _note(inputs: dict[int, Tensor], key: int, layer: nn.Module, given: tuple[Any, ...], named: dict[str, Any]) -> None:
    x = given[0] if given else named.get("x")
    if torch.is_grad_enabled() and isinstance(x, Tensor):
        inputs[key] = x.detach()
