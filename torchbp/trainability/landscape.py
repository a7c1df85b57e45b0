"""`landscape`: the cost along one or two directions through the weights, and in the plane a training run moved in."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from torchbp.arguments import checked, positive, whole_number
from torchbp.arguments.kinds import anything
from torchbp.errors import InputError
from torchbp.layer import QuantumLayer
from torchbp.trainability.cost import cost_function, layer_of

_CHUNK = 256
"""Points between two calls of the progress hook."""


@dataclass(frozen=True, eq=False)
class Path:
    """A training path in its principal plane.

    Attributes:
        center: (P,) the last point.
        directions: (2, P) orthonormal: the two along which the path extends most.
        coordinates: (T, 2) of the path's points, in radians along the directions, from the center.
        explained: share of the path's spread around its end that lies along each direction.
    """

    center: Tensor
    directions: Tensor
    coordinates: Tensor
    explained: tuple[float, float]


@dataclass(frozen=True, eq=False)
class Landscape:
    """Values of a cost on a grid, at center + sum_k axes[k][i_k] directions[k]; all float64.

    Attributes:
        center: (P,) weights at the origin of the axes.
        directions: (D, P), D 1 or 2.
        axes: D increasing vectors, in units of the directions (radians along unit vectors).
        values: (n,) or (n, n), first axis first.
        at_center: the cost at the center.
        path: the training path whose plane this is, if one was given.
    """

    center: Tensor
    directions: Tensor
    axes: tuple[Tensor, ...]
    values: Tensor
    at_center: float
    path: Path | None = None

    @property
    def spread(self) -> float:
        """Largest minus smallest value on the grid: on a plateau far below the observable's scale."""
        return float(self.values.max() - self.values.min())

    def to_dict(self) -> dict[str, Any]:
        """As lists of numbers for JSON."""
        path = self.path
        return {
            "center": self.center.tolist(),
            "directions": self.directions.tolist(),
            "axes": [axis.tolist() for axis in self.axes],
            "values": self.values.tolist(),
            "at_center": self.at_center,
            "path": None if path is None else path.coordinates.tolist(),
            "explained": None if path is None else list(path.explained),
        }


@checked(layer=layer_of, directions=anything, path=anything)
def landscape(
    layer: QuantumLayer,
    x: Tensor | None = None,
    *,
    loss: Callable[[Tensor], Tensor] | None = None,
    closure: Callable[[], Tensor] | None = None,
    center: Tensor | None = None,
    directions: int | Tensor = 2,
    path: Tensor | Sequence[Tensor] | None = None,
    span: float = math.pi,
    points: int = 41,
    generator: torch.Generator | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Landscape:
    """The cost on a line or a plane through the weights, from exact expectation values.

    One weight's direction shows a sinusoid. A random direction turns all weights at once: on a plateau it is flat
    nearly everywhere, whatever the point. A slice of two dimensions shows neither what lies beside it nor whether a
    minimum in it is one of the whole cost.

    Args:
        layer: whose weights vary; they are not changed.
        x, loss, closure: what the cost is, see `cost_function`: by default the mean over inputs of the sum of outputs.
        center: weights (P,) to look around; the layer's present ones if left out.
        directions: 1 or 2 random orthonormal directions, or those given, (P,) or (D, P).
        path: weights of a training run, (T, P) or T tensors: the plane is spanned by the two principal components of
            the path around its end (Li 2018, 1712.09913, section 7), and reaches a quarter beyond it on all sides.
        span: the axes go from -span to span, in units of the directions.
        points: on each axis, at least 3; an odd number holds the center.
        generator: source of random directions.
        progress: called with the points done and all points.

    Raises:
        InputError: an argument that does not fit.
    """
    cost = cost_function(layer, x, loss, closure)
    whole_number("points", points, 3)
    positive("span", span)
    size = layer.circuit.n_weights
    plane = None
    if path is None:
        middle = _weights("center", layer.weights if center is None else center, size)
        ways = _directions(directions, size, generator)
        axes = tuple(torch.linspace(-span, span, points, dtype=torch.float64) for _ in ways)
    else:
        if center is not None:
            raise InputError("A path has a center of its own, its last point: give path or center.")
        plane = training_path(path)
        middle, ways = _weights("path", plane.center, size), plane.directions
        axes = tuple(_axis(column, points) for column in plane.coordinates.T)
    grid = torch.cartesian_prod(*axes).reshape(-1, len(axes))
    every = torch.cat([middle[None], middle + grid @ ways])
    values = []
    for part in every.split(_CHUNK):
        values.append(cost(part))
        if progress:
            progress(sum(map(len, values)), len(every))
    found = torch.cat(values)
    shape = tuple(len(axis) for axis in axes)
    return Landscape(middle, ways, axes, found[1:].reshape(shape), float(found[0]), plane)


@checked(weights=anything)
def training_path(weights: Tensor | Sequence[Tensor]) -> Path:
    """The principal plane of a training path (T, P), around its last point.

    Random walks in many dimensions look like arcs in their principal planes too (Antognini 2018, 1806.08805): the
    shape of a path is no evidence for a valley.

    Raises:
        InputError: fewer than three points or two weights, points of different shapes, or a path that does not move.
    """
    try:
        points = torch.as_tensor(weights) if isinstance(weights, Tensor) else torch.stack(list(weights))
    except (TypeError, RuntimeError) as error:
        raise InputError(f"A path is (T, P) weights, or T tensors (P,): {error}.") from error
    points = points.detach().to("cpu", torch.float64)
    if points.ndim != 2 or len(points) < 3 or points.shape[1] < 2:
        raise InputError(
            f"A path of shape (steps, weights) needs 3 steps and 2 weights or more, got {tuple(points.shape)}."
        )
    offsets = points - points[-1]
    _, strengths, ways = torch.linalg.svd(offsets, full_matrices=False)
    squares = strengths.square()
    if not float(squares.sum()) > 0:
        raise InputError("The weights of this path never change: it spans no plane.")
    share = squares / squares.sum()
    return Path(points[-1], ways[:2], offsets @ ways[:2].T, (float(share[0]), float(share[1])))


def _axis(coordinates: Tensor, points: int) -> Tensor:
    """A quarter beyond the path on both sides, and some width where it does not move."""
    low, high = float(coordinates.min()), float(coordinates.max())
    margin = max((high - low) / 4, 1e-3)
    return torch.linspace(low - margin, high + margin, points, dtype=torch.float64)


def _weights(name: str, values: Tensor, size: int) -> Tensor:
    if not isinstance(values, Tensor) or values.shape != (size,):
        got = tuple(values.shape) if isinstance(values, Tensor) else type(values).__name__
        raise InputError(f"The circuit has {size} weights: {name} must have shape ({size},), got {got}.")
    return values.detach().to("cpu", torch.float64)


def _directions(given: int | Tensor, size: int, generator: torch.Generator | None) -> Tensor:
    if isinstance(given, Tensor):
        ways = given.detach().to("cpu", torch.float64)
        ways = ways[None] if ways.ndim == 1 else ways
        if ways.ndim != 2 or not 1 <= len(ways) <= 2 or ways.shape[1] != size:
            raise InputError(
                f"One or two directions through {size} weights have shape ({size},) or (2, {size}), got "
                f"{tuple(given.shape)}."
            )
        return ways
    if isinstance(given, bool) or given not in (1, 2) or given > size:
        raise InputError(
            f"directions is 1 or 2 (at most the {size} weights there are), or a tensor that holds them; got {given!r}."
        )
    device = generator.device if generator else "cpu"
    drawn = torch.randn(size, given, generator=generator, device=device, dtype=torch.float64).cpu()
    return torch.linalg.qr(drawn)[0].T.contiguous()
