"""Quantum weights that are constants of the training step, while the model stays what optimizers and DDP know."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from torchbp.callbacks.mechanics.isolation import probing
from torchbp.layer.foreign import AnyLayer


class ConstantWeights:
    """Within training steps, and not in probes, the layers' weights need no gradient: none of its shots are spent.

    Freezing by `requires_grad` for longer would surprise distributed wrappers, which wait for each parameter's
    gradient, gradient scalers, and a loss that comes from nothing but quantum weights. So `requires_grad` is off only
    while a layer runs; then its output is tied to its parameters by a gradient of zero. For that gradient not to move
    anything (momentum, weight decay), take it away before the step (`drop`) and pin the weights (`StepHooks`).

    Args:
        module: the LightningModule.
        layers: its quantum layers.
    """

    def __init__(self, module: nn.Module, layers: Iterable[AnyLayer]) -> None:
        self._module = module
        self._switched: list[list[nn.Parameter]] = []  # a stack: calls may be nested
        self._handles: list[RemovableHandle] = []
        for layer in layers:
            self._handles += [
                layer.register_forward_pre_hook(self._enter),
                layer.register_forward_hook(self._leave, always_call=True),
            ]

    def remove(self) -> None:
        """Weights are trained again."""
        for handle in self._handles:
            handle.remove()
        self._handles.clear()
        while self._switched:
            self._switch_back()

    def _enter(self, layer: nn.Module, _: Any) -> None:
        active = torch.is_grad_enabled() and not probing(self._module)
        self._switched.append([p for p in layer.parameters() if active and p.requires_grad])
        for parameter in self._switched[-1]:
            parameter.requires_grad_(False)

    def _leave(self, layer: nn.Module, _: Any, output: Any) -> Any:
        if not self._switched:  # the hook that would have opened this call was registered after it had begun
            return output
        parameters = self._switch_back()
        if not parameters or not isinstance(output, Tensor):
            return output
        return _Tied.apply(output, *parameters)  # type: ignore[no-untyped-call]

    def _switch_back(self) -> list[nn.Parameter]:
        parameters = self._switched.pop()
        for parameter in parameters:
            parameter.requires_grad_(True)
        return parameters


def constant(layer: nn.Module) -> bool:
    """Whether `ConstantWeights` has this layer: its next training step spends no shots on its weights' gradient."""
    return any(isinstance(getattr(h, "__self__", None), ConstantWeights) for h in layer._forward_pre_hooks.values())


class _Tied(torch.autograd.Function):
    """The output, with a gradient of zero for the parameters."""

    @staticmethod
    def forward(ctx: Any, output: Tensor, *parameters: Tensor) -> Tensor:
        ctx.save_for_backward(*parameters)
        return output.view_as(output)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        return gradient, *(torch.zeros_like(parameter) for parameter in ctx.saved_tensors)
