"""Optimizer steps that are shorter, or none, for some of the weights: a warm-up, or a freeze."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.utils.hooks import RemovableHandle


class StepHooks:
    """Changes what an optimizer's step does to some elements of its parameters: p <- p_old + share (p_new - p_old).

    A share of 0 pins them, whatever weight decay and momentum do; between 0 and 1 it is a warm-up that touches neither
    the optimizer's learning rate nor its scheduler. Hooks of the step itself, so it holds for raw optimizers too.

    Args:
        optimizers: torch optimizers, not Lightning's wrappers.
        elements: (numel,) bool for each parameter.
    """

    def __init__(self, optimizers: Sequence[Optimizer], elements: Mapping[nn.Parameter, Tensor]) -> None:
        self.share = 1.0
        self._handles: list[RemovableHandle] = []
        for optimizer in optimizers:
            listed = {p for group in optimizer.param_groups for p in group["params"]}
            own = {p: mask.to(p.device) for p, mask in elements.items() if p in listed}
            if own:
                self._attach(optimizer, own)

    def _attach(self, optimizer: Optimizer, elements: Mapping[nn.Parameter, Tensor]) -> None:
        before: dict[nn.Parameter, Tensor] = {}

        def remember(*_: Any) -> None:
            if self.share < 1.0:
                before.update({p: p.detach().clone() for p in elements})

        @torch.no_grad()
        def shorten(*_: Any) -> None:
            for p, old in before.items():
                wanted = torch.lerp(old, p, self.share) if self.share else old
                p.copy_(torch.where(elements[p].view_as(p), wanted, p))
            before.clear()

        self._handles += [optimizer.register_step_pre_hook(remember), optimizer.register_step_post_hook(shorten)]

    def remove(self) -> None:
        """Leave the optimizers as they were."""
        for handle in self._handles:
            handle.remove()
        self._handles.clear()
