"""How rugged a landscape is, from values of the cost alone: information content along random walks."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from scipy.special import ndtri
from torch import Tensor

from torchbp.arguments import checked
from torchbp.arguments.kinds import real, whole
from torchbp.circuits import initialize
from torchbp.circuits.initializers import Initializer
from torchbp.errors import InputError
from torchbp.layer import QuantumLayer
from torchbp.trainability.cost import layer_of
from torchbp.trainability.scans.draws import costs_at

_LEVELS = 400
"""Thresholds tried."""


@dataclass(frozen=True)
class InformationContent:
    """What random walks through a landscape say about its gradient.

    Attributes:
        epsilon_max: threshold of the largest information content, in units of the cost for each radian.
        maximum: that information content; 0.82 where the signs of steps are independent, see `information_content`.
        epsilon_sensitive: smallest threshold from which on it stays at or below `eta`: about the largest slope met.
        gradient_norm: estimate of the typical |grad C| from `epsilon_max`.
        rms_gradient_norm: sqrt(P mean(slope^2)), the root mean square of |grad C| without the detour by symbols.
        n_weights: P.
        evaluations: of the cost.
    """

    epsilon_max: float
    maximum: float
    epsilon_sensitive: float
    gradient_norm: float
    rms_gradient_norm: float
    n_weights: int
    evaluations: int

    def to_dict(self) -> dict[str, Any]:
        """As numbers for JSON."""
        return asdict(self)


@checked(layer=layer_of, steps=whole(2), eta=real(above=0, most=1))
def information_content(
    layer: QuantumLayer,
    x: Tensor | None = None,
    *,
    walks: int = 32,
    steps: int = 64,
    step: float = 0.01,
    eta: float = 0.05,
    init: str | Initializer = "uniform",
    generator: torch.Generator | None = None,
) -> InformationContent:
    """H(e) = -sum_(a != b) p_ab log6 p_ab over the symbols of successive slopes (Pérez-Salinas 2024, 2303.16893).

    A walk starts at random weights and takes steps of a fixed length into random directions; the slope of each,
    dC / |dw|, becomes the symbol -, 0 or + with |slope| <= e as 0; p_ab is the share of successive pairs. A slope
    into a random direction is close to N(0, |grad C|^2 / P). All pairs are then equally likely, and H is largest, at
    6/9 log6 9 = 0.82, where a third of the slopes is 0, so that |grad C| = e_max sqrt(P) / q with q = 0.431 the
    2/3-quantile of a Gaussian. No gradients are taken, and any cost can be so examined.

    The gradient's norm grows with the number of weights by itself, and one number at one size is no plateau; see
    `variance_scan`. Where slopes vary from walk to walk `gradient_norm` is between their median and their mean, and
    below `rms_gradient_norm` where few points have most of the slope.

    Args:
        layer: the cost is the mean over inputs of the sum of its exact expectation values.
        x: inputs (B, F).
        walks, steps: as many walks with as many steps each; together a few thousand steps for 10%.
        step: length of a step in radians, small against the landscape's features.
        eta: information content below which the landscape counts as flat.
        init: where the walks start.
        generator: source of the walks; torch's global one if left out.

    Raises:
        InputError: fewer than one walk or two steps, a step or eta that is not positive, or inputs that do not fit.
    """
    if walks < 1 or steps < 2:
        raise InputError(f"It takes 1 walk of 2 steps or more, got walks={walks}, steps={steps}.")
    if not (step > 0 and math.isfinite(step)) or not 0 < eta < 1:
        raise InputError(f"step is a positive length and eta lies between 0 and 1, got step={step!r}, eta={eta!r}.")
    inputs = layer._check(x, None)[0].detach().double()
    if not len(inputs):
        raise InputError("The cost is a mean over inputs: give at least one in x, or None for circuits without.")
    if not layer.circuit.n_weights:
        raise InputError("The circuit has no weights to walk through: append weight() angles, or an ansatz.")
    size = layer.circuit.n_weights
    start = torch.stack([initialize(init, layer.circuit, generator) for _ in range(walks)]).double().cpu()
    device = generator.device if generator else "cpu"
    ways = torch.randn(walks, steps, size, generator=generator, device=device, dtype=torch.float64).cpu()
    moves = step * ways / ways.norm(dim=2, keepdim=True)
    points = torch.cat([start[:, None], start[:, None] + moves.cumsum(1)], 1)
    costs = costs_at(layer, inputs, points.flatten(0, 1)).view(walks, steps + 1)
    slopes = (costs.diff(dim=1) / step).cpu().numpy()
    thresholds, contents = content_curve(slopes)
    best = _top(contents)
    above = np.flatnonzero(contents > eta)
    flat_from = min(above[-1] + 1, len(thresholds) - 1) if len(above) else 0
    epsilon = float(thresholds[best])
    return InformationContent(
        epsilon_max=epsilon,
        maximum=float(contents[best]),
        epsilon_sensitive=float(thresholds[flat_from]),
        gradient_norm=epsilon * math.sqrt(size) / float(ndtri(2 / 3)),
        rms_gradient_norm=math.sqrt(size * float(np.square(slopes).mean())),
        n_weights=size,
        evaluations=walks * (steps + 1) * len(inputs),
    )


def _top(contents: np.ndarray) -> int:
    """Where H is largest: the top of a parabola through all that is near, as H is flat there and noisy."""
    near = np.flatnonzero(contents >= 0.95 * contents.max())
    if len(near) < 5:
        return int(contents.argmax())
    bend, slope, _ = np.polyfit(near, contents[near], 2)
    return int(np.clip(round(-slope / (2 * bend)), near[0], near[-1])) if bend < 0 else int(contents.argmax())


def content_curve(slopes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Thresholds e, increasing, and H(e) at each, for slopes (walks, steps) in the order of the steps."""
    thresholds = np.quantile(np.abs(slopes), np.linspace(0, 1, _LEVELS))
    contents = np.empty(len(thresholds))
    for i, e in enumerate(thresholds):
        symbols = np.where(slopes > e, 2, np.where(slopes < -e, 0, 1))
        pairs = np.bincount((3 * symbols[:, :-1] + symbols[:, 1:]).ravel(), minlength=9).reshape(3, 3)
        p = (pairs / pairs.sum())[~np.eye(3, dtype=bool)]
        p = p[p > 0]
        contents[i] = -(p * np.log(p)).sum() / math.log(6)
    return thresholds, contents
