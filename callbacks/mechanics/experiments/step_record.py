"""What the optimizers' steps do to the quantum modules: how long they are, what fall of the loss they bring."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from torchbp.layer.foreign import AnyLayer


@dataclass(eq=False)
class _Sums:
    parameters: list[nn.Parameter]
    before: dict[nn.Parameter, Tensor] = field(default_factory=dict)
    fall: Tensor | float = 0.0
    square: Tensor | float = 0.0
    steps: int = 0
    seen: int = 0
    reached: bool = False  # by a gradient, ever


class StepRecord:
    """Follows the weights of the quantum modules from one optimizer step to the next.

    The fall of the loss that a step brings is, to first order, -g * dw. The gradient is taken at the end of the step,
    from the next batch: that of the batch which made the step would count its own noise as progress. A clone and two
    products of the quantum weights a step; no number leaves the device before it is asked for.
    """

    def __init__(self) -> None:
        self._of: dict[str, _Sums] = {}

    def begin(self, layers: Mapping[str, AnyLayer]) -> None:
        """Follow these modules, by their path."""
        self._of = {path: _Sums([p for p, *_ in layer.weight_places]) for path, layer in layers.items()}

    def restart(self) -> None:
        """Forget the steps so far, but not whether gradients have arrived."""
        for sums in self._of.values():
            sums.before, sums.fall, sums.square, sums.steps = {}, 0.0, 0.0, 0

    @torch.no_grad()
    def note(self, optimizer: Any) -> None:
        """A step of this optimizer is about to be taken, and the gradients are there."""
        own = {p for group in optimizer.param_groups for p in group["params"]}
        for sums in self._of.values():
            mine = [p for p in sums.parameters if p in own]
            if not mine:
                continue
            sums.seen += 1
            for parameter in mine:
                if parameter.grad is None:
                    continue
                sums.reached = True
                now = parameter.detach()
                if (before := sums.before.get(parameter)) is not None:
                    step = now - before
                    sums.fall = sums.fall - (parameter.grad * step).sum()
                    sums.square = sums.square + step.square().mean()
                sums.before[parameter] = now.clone()
            sums.steps += 1

    def fall_rate(self, path: str) -> float | None:
        """What a step of a module has brought, the mean since `restart`; None before there were any."""
        sums = self._of.get(path)
        return None if sums is None or sums.steps < 2 else float(sums.fall) / (sums.steps - 1)

    @property
    def length(self) -> float:
        """Root mean square change of a single quantum weight in a step; NaN where none was seen."""
        known = [(float(s.square), s.steps - 1) for s in self._of.values() if s.steps > 1]
        return math.sqrt(sum(a for a, _ in known) / sum(n for _, n in known)) if known else math.nan

    def untrained(self, path: str) -> str:
        """Why a module is not trained; empty if it is, or if that can't be told."""
        sums = self._of.get(path)
        if sums is None:
            return ""
        if not any(p.numel() for p in sums.parameters):
            return "it has no weights"
        if not any(p.requires_grad for p in sums.parameters):
            return "none of its weights requires a gradient"
        return "no gradient has reached its weights so far" if sums.seen > 1 and not sums.reached else ""
