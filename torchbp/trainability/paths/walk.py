"""Islands of paths that walk together: led by an outlook, weighed, and split where few carry the weight."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from torchbp.circuits.pauli.steps import Clifford
from torchbp.circuits.pauli.words import letters
from torchbp.trainability.paths.outlook import Lead, images
from torchbp.trainability.paths.plan import PathPlan, Turn

_CHECKED = 2
"""Steps that change weights between two looks at how many paths carry them."""


@dataclass(frozen=True, eq=False)
class Weights:
    """Which groups the derivatives of a plan's weights are summed in.

    Attributes:
        group: (P,) the number of each weight's group.
        count: groups.
    """

    group: np.ndarray
    count: int


def walk(
    plan: PathPlan,
    hope: np.ndarray,
    leads: list[Lead],
    groups: Weights,
    islands: int,
    paths: int,
    rng: np.random.Generator,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(K,) independent unbiased estimates of Var[C], and (K, G) of the sums of Var[dC/dw] and of E[(dC/dw)^2] over
    each group's weights.

    Sequential Monte Carlo with twisted proposals (Whiteley 2014, 1210.0220): its estimate of a sum over paths is
    unbiased, however the proposals and the resampling times are chosen.

    Args:
        plan, hope, leads: see `plan_paths` and `outlooks`.
        groups: of weights.
        islands: K, which never exchange paths.
        paths: on each of them.
        rng: source of all that is random.
    """
    return _Islands(plan, hope, leads, groups, (islands, paths), rng).estimates()


class _Islands:
    """All paths at some step. What is known of a path stands in the last axis; islands are stretches of it."""

    def __init__(
        self,
        plan: PathPlan,
        hope: np.ndarray,
        leads: list[Lead],
        groups: Weights,
        shape: tuple[int, int],
        rng: np.random.Generator,
    ) -> None:
        self.plan, self.leads, self.groups, self.rng, self.shape = plan, leads, groups, rng, shape
        paths = shape[0] * shape[1]
        start, log_scale = _choose(plan, hope, shape, rng)
        self.log_scale = np.full(shape[0], log_scale)
        self.x, self.z = (np.zeros((plan.n_wires, paths), dtype=bool) for _ in range(2))
        self.present = np.zeros(plan.n_wires, dtype=bool)
        for k in np.unique(start):
            here = start == k
            for wire, has_x, has_z in letters(plan.starts[k], plan.n_wires):
                self.x[wire, here], self.z[wire, here], self.present[wire] = has_x, has_z, True
        self.sign = np.sign(plan.values[start])
        self.held = None if plan.held is None else plan.held[start]
        self.weight = np.ones(paths)
        # What a derivative counts: turns and stays by group, and for paths that turn once what their stays leave.
        self.stayed, self.turned = (np.zeros((groups.count, paths)) for _ in range(2))
        self.turns = np.zeros(paths, dtype=np.int32)
        self.unmoved, self.last = np.ones(paths), np.zeros(paths)

    def estimates(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        place, weighed = sum(isinstance(step, Turn) for step in self.plan.steps), 0
        for step, lead in zip(self.plan.steps, self.leads, strict=True):
            place -= isinstance(step, Turn)
            if not self.present[list(step.wires)].any():
                continue
            local = self._local(step.wires)
            if isinstance(step, Turn):
                self._turn(step, lead, local, place)
            else:
                self._weigh(lead.gain, local)
                if isinstance(step, Clifford):
                    self._conjugate(step)
            if len(step.wires) > 1:
                weighed += 1
                if weighed % _CHECKED == 0:
                    self._split()
        ended = ~self.x.any(0)  # the outlook of X and Y is zero at the end, so that these have no weight
        weight = np.where(ended, self.weight * self.sign, 0.0) / self.shape[1]
        cost = np.where(self.turns > 0, 1.0, 1.0 - self.unmoved)
        once = np.where(self.turns > 1, 1.0, 1.0 - self.last * self.unmoved)
        scale = np.exp(self.log_scale)
        sums, squares = (
            (((self.stayed + turned) * weight).reshape(-1, *self.shape).sum(2) * scale).T
            for turned in (self.turned * once, self.turned)
        )
        return (weight * cost).reshape(self.shape).sum(1) * scale, sums, squares

    def _weigh(self, factors: np.ndarray, local: np.ndarray) -> None:
        if (factors != 1).any():
            self.weight *= factors.take(local)

    def _turn(self, step: Turn, lead: Lead, local: np.ndarray, place: int) -> None:
        k = len(step.wires)
        anti = np.zeros(len(local), dtype=bool)
        rows, bits = self._rows(step.wires), [step.word >> place & 1 for place in range(2 * k - 1, -1, -1)]
        for row, bit in zip(rows, bits[k:] + bits[:k], strict=True):  # X meets Z, and Z meets X
            if bit:
                anti ^= row
        chance = lead.turn.take(local)
        held = None if self.held is None else self.held[:, place]
        if held is not None and held.any():
            self.weight *= np.where(held, lead.held.take(local), lead.gain.take(local))
            anti &= ~held
            chance[held] = 0
        else:
            self._weigh(lead.gain, local)
        going = self.rng.random(len(local), dtype=np.float32) < chance
        for row, bit in zip(rows, bits, strict=True):
            if bit:
                row ^= going
        self._note(step.wires)
        staying = anti & ~going
        left = step.mean**2 / step.square if step.square else 0.0
        self.turns += going
        self.unmoved *= 1 - (1 - left) * staying
        if left:
            self.last[going] = left
        else:
            self.last *= ~going
        if step.weight is not None:
            group, square = self.groups.group[step.weight], step.slope**2
            self.stayed[group] += (square * (1 - step.square) / step.square if step.square else 0.0) * staying
            self.turned[group] += (square * step.square / (1 - step.square) if step.square < 1 else 0.0) * going

    def _conjugate(self, step: Clifford) -> None:
        k, rows = len(step.wires), self._rows(step.wires)
        new: list[np.ndarray | None] = [None] * (2 * k)
        for row, image in zip(rows, images(step), strict=True):
            for bit in range(2 * k):
                if image >> (2 * k - 1 - bit) & 1:
                    present = new[bit]
                    new[bit] = row.copy() if present is None else present ^ row
        for row, value in zip(rows, new, strict=True):
            assert value is not None
            row[:] = value
        self._note(step.wires)

    def _rows(self, wires: tuple[int, ...]) -> list[np.ndarray]:
        """X, then Z, on each wire."""
        return [rows[wire] for rows in (self.x, self.z) for wire in wires]

    def _note(self, wires: tuple[int, ...]) -> None:
        """Which wires some path has reached."""
        for wire in wires:
            if not self.present[wire]:
                self.present[wire] = self.x[wire].any() or self.z[wire].any()

    def _local(self, wires: tuple[int, ...]) -> np.ndarray:
        rows = self._rows(wires)
        local = rows[0].astype(np.intp)
        for row in rows[1:]:
            local <<= 1
            local |= row
        return local

    def _split(self) -> None:
        """On islands where less than half of the paths would carry as much, draw all anew by weight."""
        weight = self.weight.reshape(self.shape)
        total, count = weight.sum(1), self.shape[1]
        with np.errstate(divide="ignore", invalid="ignore"):
            self.log_scale += np.log(total / count)
            weight = np.where(total[:, None] > 0, weight * (count / total)[:, None], 0.0)
        self.weight = weight.reshape(-1)
        few = np.flatnonzero((np.square(weight).sum(1) > 2 * count) & (total > 0))
        if not len(few):
            return
        chosen = np.arange(len(self.weight)).reshape(self.shape)
        for island in few:
            steps = (np.arange(count) + self.rng.random()) / count
            drawn = np.searchsorted(np.cumsum(weight[island]) / count, steps).clip(max=count - 1)
            chosen[island] = chosen[island][drawn]
            weight[island] = 1
        where, here = chosen.reshape(-1), np.flatnonzero(self.present)
        self.x[here], self.z[here] = self.x[here][:, where], self.z[here][:, where]
        for name in ("sign", "turns", "unmoved", "last"):
            setattr(self, name, getattr(self, name)[where])
        self.stayed, self.turned = self.stayed[:, where], self.turned[:, where]
        self.held = None if self.held is None else self.held[where]
        self.weight = weight.reshape(-1)


def can_start(plan: PathPlan, hope: np.ndarray) -> bool:
    """Whether any start has an outlook."""
    return bool((_log_values(plan, hope) > -np.inf).any())


def _log_values(plan: PathPlan, hope: np.ndarray) -> np.ndarray:
    """Logarithms of each start's |value| times its outlook."""
    with np.errstate(divide="ignore"):
        outlook, logs = np.log(hope), np.log(abs(plan.values))
    for k, word in enumerate(plan.starts):
        logs[k] += sum(outlook[wire, 2 * has_x + has_z] for wire, has_x, has_z in letters(word, plan.n_wires))
    return logs


def _choose(
    plan: PathPlan, hope: np.ndarray, shape: tuple[int, int], rng: np.random.Generator
) -> tuple[np.ndarray, float]:
    """(K S,) starts drawn by value times outlook on each island, and the logarithm of the sum of these."""
    logs = _log_values(plan, hope)
    most = logs.max(initial=-np.inf)
    if not most > -np.inf:
        return np.zeros(shape[0] * shape[1], dtype=np.int64), -np.inf
    shares = np.exp(logs - most)
    total = shares.sum()
    steps = (np.arange(shape[1]) + rng.random((shape[0], 1))) / shape[1] * total
    return np.searchsorted(np.cumsum(shares), steps.reshape(-1)).clip(max=len(shares) - 1), float(most + np.log(total))
