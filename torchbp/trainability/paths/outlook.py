"""How likely a path is to end well: an estimate for each letter on each wire, which leads the walk.

Where nothing entangles any more it is exact, and a product over wires. Before that it is made one again: for a step on
k wires, what it makes of the product behind it is averaged over the letters of the other wires. That it is positive
wherever the truth is keeps estimates unbiased; how close it is only decides how many paths they take.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np

from torchbp.circuits.pauli.steps import Clifford
from torchbp.circuits.pauli.words import anticommute
from torchbp.trainability.paths.plan import Damping, PathPlan, Turn

_POWER = 3
"""Of the mean over other wires. A plain mean forgets what few letters there keep alive, and the walk then misses it."""


@dataclass(frozen=True, eq=False)
class Lead:
    """A step's numbers, for each of the 4^k local strings before it.

    Attributes:
        gain: the outlook behind the step, the step's own factor included, divided by the outlook before it.
        held: the same for a path that may not turn.
        turn: probability of turning, led by the outlook; 0 where the string commutes. Led so, turning and staying have
            the same `gain`.
    """

    gain: np.ndarray
    held: np.ndarray
    turn: np.ndarray


def outlooks(plan: PathPlan) -> tuple[np.ndarray, list[Lead]]:
    """(n, 4) chances of I, Z, X, Y at the observable, each up to 1, and what leads each step of the walk."""
    hope = np.tile([1.0, 1.0, 0.0, 0.0], (plan.n_wires, 1))
    leads: list[Lead] = []
    for step in reversed(plan.steps):
        wires = list(step.wires)
        behind = _product(hope[wires])
        k = len(wires)
        if isinstance(step, Clifford):
            met = behind[_targets(images(step))]
            turn = np.zeros(4**k)
            stay = met
        elif isinstance(step, Damping):
            met = stay = behind * step.factors
            turn = np.zeros(4**k)
        else:
            anti, target = _turned(step.word, k)
            going, stay = (1 - step.square) * behind[target], behind
            met = np.where(anti, step.square * behind + going, behind)
            turn = np.where(anti, _ratio(going, met), 0.0)
        hope[wires] = _factors(met, k)
        before = _product(hope[wires])
        leads.append(Lead(_ratio(met, before), _ratio(stay, before), turn))
    return hope, leads[::-1]


def no_outlook(plan: PathPlan) -> tuple[np.ndarray, list[Lead]]:
    """The same for paths that nothing leads."""
    leads = []
    for step in plan.steps:
        ones, turn = np.ones(4 ** len(step.wires)), np.zeros(4 ** len(step.wires))
        if isinstance(step, Turn):
            turn = np.where(_turned(step.word, len(step.wires))[0], 1 - step.square, 0.0)
        gain = step.factors if isinstance(step, Damping) else ones
        leads.append(Lead(gain, gain, turn))
    return np.ones((plan.n_wires, 4)), leads


@cache
def digits(k: int) -> np.ndarray:
    """(4^k, k): for each local word the index 2 x + z on each wire."""
    words = np.arange(4**k)[:, None]
    places = np.arange(k - 1, -1, -1)
    return 2 * (words >> (k + places) & 1) + (words >> places & 1)


def images(step: Clifford) -> tuple[int, ...]:
    """(2k,) local words that the single bits of a local word become, the most significant first."""
    return tuple(word for _, word in step.images)


@cache
def _targets(becomes: tuple[int, ...]) -> np.ndarray:
    """(4^k,) what each local word becomes, from what its single bits do."""
    k = len(becomes) // 2
    words, out = np.arange(4**k), np.zeros(4**k, dtype=np.int64)
    for place, image in enumerate(becomes):
        out ^= np.where(words >> (2 * k - 1 - place) & 1, image, 0)
    return out


@cache
def _turned(word: int, k: int) -> tuple[np.ndarray, np.ndarray]:
    """Which local words anticommute with `word`, and what a turn makes of them."""
    words = np.arange(4**k)
    return np.array([anticommute(int(w), word, k) for w in words]), words ^ word


def _product(factors: np.ndarray) -> np.ndarray:
    """(4^k,) products of (k, 4) factors."""
    k = len(factors)
    return np.prod([factors[i, digits(k)[:, i]] for i in range(k)], axis=0)


def _factors(values: np.ndarray, k: int) -> np.ndarray:
    """(k, 4) factors whose product is near (4^k,) values, exactly if they are a product; 1 for the identity."""
    raised = values**_POWER
    rows = np.stack([[raised[digits(k)[:, i] == d].mean() for d in range(4)] for i in range(k)]) ** (1 / _POWER)
    return rows / rows[:, :1]


def _ratio(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    return np.divide(one, other, out=np.zeros_like(one), where=other > 0)
