"""Variances of a cost and its derivatives from many islands of paths."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from torchbp.trainability.paths.outlook import no_outlook, outlooks
from torchbp.trainability.paths.plan import PathPlan, Turn
from torchbp.trainability.paths.walk import Weights, can_start, walk

ISLANDS = 32
"""Independent estimates that a call makes, from whose scatter its error is known."""


@dataclass(frozen=True, eq=False)
class PathVariances:
    """Independent, unbiased estimates, one for each island.

    Attributes:
        cost: (K,) of Var[C].
        sums: (K, G) of the sum of Var[dC/dw] over each group's weights.
        squares: the same of E[(dC/dw)^2], the variance and the square of the mean.
        paths: that were walked in all.
        bound: where no path ended well: what Var[C], and each Var[dC/dw] divided by the square of its scale, is below
            at the confidence 1 - alpha, divided by ln(1 / alpha) (the rule of three); 0 where none can.
    """

    cost: np.ndarray
    sums: np.ndarray
    squares: np.ndarray
    paths: int
    bound: float


def path_variances(
    plan: PathPlan,
    group: np.ndarray,
    n_groups: int,
    *,
    paths: int = 20_000,
    seed: int = 0,
) -> PathVariances:
    """Var[C], and Var[dC/dw] and E[(dC/dw)^2] summed over groups of weights, over the random start of the plan.

    Time is linear in gates times paths, whatever the number of wires.

    Args:
        plan: see `plan_paths`.
        group: (P,) the group of each weight.
        n_groups: number of groups G.
        paths: in all, shared among `ISLANDS` islands.
        seed: of the walks.
    """
    hope, leads = outlooks(plan)
    groups, each = Weights(np.asarray(group), n_groups), max(2, paths // ISLANDS)
    cost, sums, squares = walk(plan, hope, leads, groups, ISLANDS, each, np.random.default_rng(seed))
    bound = 0.0
    if not cost.any() and not squares.any() and can_start(plan, hope):
        free = walk(plan, *no_outlook(plan), groups, ISLANDS, each, np.random.default_rng(seed + 1))
        cost, sums, squares = free
        bound = 0.0 if cost.any() or squares.any() else _bound(plan, each * ISLANDS)
    return PathVariances(cost, sums, squares, each * ISLANDS, bound)


def _bound(plan: PathPlan, paths: int) -> float:
    """With none of S paths at its end, the probability that one gets there is below ln(1 / alpha) / S."""
    odds = [s.square / (1 - s.square) for s in plan.steps if isinstance(s, Turn) and 0 < s.square < 1]
    return float(abs(plan.values).sum()) * max([1.0, *odds]) / paths
