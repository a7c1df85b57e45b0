"""Gradient and curvature of a cost along every weight, from two shifted values each: plateau, minimum or saddle?"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from torchbp.arguments import checked
from torchbp.circuits import Circuit
from torchbp.layer import QuantumLayer
from torchbp.trainability.cost import cost_function, layer_of


@dataclass(frozen=True, eq=False)
class Curvatures:
    """The cost along each weight through one point; all (P,) float64.

    Attributes:
        gradient: g, first derivatives.
        curvature: h, second derivatives.
        amplitude: half of all the cost changes by along that weight alone, sqrt(g^2 / r^2 + h^2 / r^4) with r the
            frequency; sqrt(g^2 + h^2) for r = 1. Small for every weight on a plateau, and nowhere else.
        exact: where the cost is a sinusoid along the weight, so that the three are exact. Elsewhere g and h are
            averages over a quarter turn to both sides.
        cost: at the point.
    """

    gradient: Tensor
    curvature: Tensor
    amplitude: Tensor
    exact: Tensor
    cost: float

    @property
    def positive(self) -> float:
        """Share of positive curvatures: near 1 around a minimum, mixed at a saddle and far from both."""
        return float((self.curvature > 0).double().mean())

    def to_dict(self) -> dict[str, Any]:
        """As lists of numbers for JSON."""
        tensors = ("gradient", "curvature", "amplitude", "exact")
        return {**{name: getattr(self, name).tolist() for name in tensors}, "cost": self.cost}


@checked(layer=layer_of)
def curvatures(
    layer: QuantumLayer,
    x: Tensor | None = None,
    *,
    loss: Callable[[Tensor], Tensor] | None = None,
    closure: Callable[[], Tensor] | None = None,
    at: Tensor | None = None,
) -> Curvatures:
    """g = r (C+ - C-) / 2 and h = r^2 (C+ + C- - 2 C0) / 2 with C+- = C(w_i +- pi / (2 r)): 2 P + 1 evaluations.

    The parameter-shift gradient's own evaluations give the curvature, too. Along a weight that turns one rotation of
    one spectral gap the cost is a + b cos(r w) + c sin(r w), with r the gap times the weight's scale, and both are
    exact. A weight that turns several gates, a controlled rotation, or a loss that is not linear in the expectation
    values: `exact` is False. These are the diagonal of the Hessian: a valley between two weights does not show in it.

    Args:
        layer: at its present weights, which are not changed.
        x, loss, closure: what the cost is, see `cost_function`.
        at: other weights (P,) to look at.

    Raises:
        InputError: an argument that does not fit.
    """
    cost = cost_function(layer, x, loss, closure)
    point = (layer.weights if at is None else at).detach().to("cpu", torch.float64)
    rates = torch.tensor(_rates(layer.circuit), dtype=torch.float64)
    single = rates > 0
    rate = rates.where(single, torch.ones(()).double())
    moves = torch.diag(math.pi / 2 / rate)
    values = cost(torch.cat([point[None], point + moves, point - moves]))
    here, plus, minus = values.split([1, len(point), len(point)])
    first, second = (plus - minus) / 2, (plus + minus - 2 * here) / 2
    linear = loss is None and closure is None
    return Curvatures(
        gradient=first * rate,
        curvature=second * rate.square(),
        amplitude=torch.hypot(first, second),
        exact=single if linear else torch.zeros_like(single),
        cost=float(here),
    )


def _rates(circuit: Circuit) -> list[float]:
    """For each weight the frequency of the cost along it, 0 where there is more than one."""
    found: list[list[float]] = [[] for _ in range(circuit.n_weights)]
    for step in circuit.elementary:
        if step.angle is not None and step.angle.kind == "weight":
            rotation = step.gate.rotation(len(step.wires))
            gap = rotation.levels[1] - rotation.levels[0] if rotation.two_term else 0.0
            found[step.angle.indices[0]].append(gap * abs(step.angle.scale))
    return [uses[0] if len(uses) == 1 else 0.0 for uses in found]
