"""What the oracle finds out about one quantum layer: whether it is trained, reached by the loss, and concentrated."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from benchmarks.plateaubench.lab import Lab, call_of, optimizers_of
from benchmarks.plateaubench.record import Snapshot, exact
from benchmarks.plateaubench.task import Task, generator
from torchbp import PauliSum, QuantumLayer

DRAWS = 48
CONCENTRATED = 0.012
"""Variance over random weights, relative to Tr(O^2)/2^n: a 2-design has 1/(2^n + 1), which is this at 6.4 wires."""


@dataclass(frozen=True)
class LayerFacts:
    """
    Attributes:
        trained: an optimizer has weights of it, they take gradients, and the loss is computed from its output.
        dead: circuit layers, or "all", that the gradient of what is measured (of the objective) is exactly zero for.
        variance: of its outputs over random weights, relative to Tr(O^2)/2^n; nan for what is no `QuantumLayer`.
        steepness: its exact gradient of the objective here, relative to the rms at random weights.
    """

    trained: bool
    dead: tuple[str, ...]
    variance: float
    steepness: float

    @property
    def concentrated(self) -> bool:
        return self.variance < CONCENTRATED and self.steepness < 3


def examine(lab: Lab, snapshot: Snapshot) -> dict[str, LayerFacts]:
    return {name: _examine(lab, snapshot, name) for name in lab.task.layers()}


def _examine(lab: Lab, snapshot: Snapshot, name: str) -> LayerFacts:
    task = lab.precise(snapshot)
    layer = task.layers()[name]
    optimized = {id(p) for o in optimizers_of(task.module) for group in o.param_groups for p in group["params"]}
    weights = [p for p in layer.parameters() if p.requires_grad and p.numel() and id(p) in optimized]
    if not weights or not _reached(task, weights):
        return LayerFacts(False, (), math.nan, math.nan)
    with exact(task.module):
        here = gradient(task, weights)
    if here == 0.0:
        return LayerFacts(True, ("all",), math.nan, 0.0)
    if not isinstance(layer, QuantumLayer):
        return LayerFacts(True, (), math.nan, 1.0)
    given, named = call_of(task, layer)
    with exact(task.module):
        variance = variance_over_weights(layer, lab.seed, *given, **named)
        dead = dead_layers(layer, lab.seed, *given, **named)
        elsewhere = _elsewhere(task, layer, weights, lab.seed)
    return LayerFacts(True, dead, variance, here / elsewhere if elsewhere else math.inf)


def _reached(task: Task, weights: list[nn.Parameter]) -> bool:
    """Whether the objective's graph contains the weights."""
    value = task.goal(task.module, task.whole)
    if not value.requires_grad:
        return False
    found = torch.autograd.grad(value, weights, allow_unused=True)
    return any(g is not None for g in found)


def gradient(task: Task, weights: list[nn.Parameter]) -> float:
    """Norm of the exact gradient of the objective."""
    found = torch.autograd.grad(task.goal(task.module, task.whole), weights, allow_unused=True)
    return math.sqrt(sum(float(g.square().sum()) for g in found if g is not None))


def random_weights(layer: QuantumLayer, draw: torch.Generator) -> Tensor:
    shape = layer.weights.shape
    return 2 * math.pi * torch.rand(shape, generator=draw, dtype=layer.weights.dtype) - math.pi


def variance_over_weights(layer: QuantumLayer, seed: int, *given: Any, draws: int = DRAWS, **named: Any) -> float:
    """Mean over samples and outputs of the variance over random weights, relative to `strength`."""
    draw, outputs = generator(seed), []
    with torch.no_grad():
        for _ in range(draws):
            with layer.weights_at(random_weights(layer, draw)):
                outputs.append(layer(*given, **named))
    scales = torch.tensor([strength(o) for o in layer.observables], dtype=outputs[0].dtype)
    return float((torch.stack(outputs).var(dim=0) / scales).mean())


def strength(observable: PauliSum) -> float:
    """Tr(O^2)/2^n of the part that is no identity: the sum of squares of its coefficients."""
    return sum(float(c) ** 2 for string, c in observable.terms if string)


def dead_layers(layer: QuantumLayer, seed: int, *given: Any, **named: Any) -> tuple[str, ...]:
    """Circuit layers whose gradient is zero at three random places, for a random combination of the outputs."""
    alive, draw = torch.zeros(layer.circuit.n_weights, dtype=torch.bool), generator(seed + 5)
    for _ in range(3):
        with layer.weights_at(random_weights(layer, draw)):
            out = layer(*given, **named)
            cotangent = torch.randn(out.shape, generator=draw, dtype=out.dtype)
            places = [place for place in layer.weight_places if place[0].requires_grad]
            found = torch.autograd.grad((out * cotangent).sum(), [parameter for parameter, _, _ in places])
        for (_, elements, indices), slope in zip(places, found, strict=True):
            alive[indices] |= slope.flatten()[elements].abs() > 1e-12
    return tuple(name for name, indices in layer.weight_groups.items() if not bool(alive[list(indices)].any()))


def _elsewhere(task: Task, layer: QuantumLayer, weights: list[nn.Parameter], seed: int, draws: int = 8) -> float:
    """Root mean square over random weights of the layer of the objective's gradient."""
    draw, before, squares = generator(seed + 9), [w.detach().clone() for w in weights], []
    for _ in range(draws):
        with torch.no_grad():
            for w in weights:
                w.copy_(2 * math.pi * torch.rand(w.shape, generator=draw, dtype=w.dtype) - math.pi)
        squares.append(gradient(task, weights) ** 2)
    with torch.no_grad():
        for w, old in zip(weights, before, strict=True):
            w.copy_(old)
    return math.sqrt(sum(squares) / draws)
