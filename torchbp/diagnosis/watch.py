"""When is a verdict due? Keeps the losses of a run that a trend needs, and the patience. No Trainer, no torch."""

from __future__ import annotations

import math
from typing import Any

from torchbp.diagnosis.trend import LossTrend
from torchbp.diagnosis.verdicts import Diagnosis, Verdict

SHARE, SHORTEST, LONGEST, UNKNOWN = 0.05, 20, 100, 50
"""A window is this share of the run's steps, within these bounds; so many steps where their number isn't known."""
LOOKS = 4
"""Looks in a window."""
MOST_RESTS = 8
"""Windows from one investigation to the next, at most."""


class Watch:
    """Follows the losses, and says when to look, when to doubt, and when an investigation may be afforded.

    Args:
        window: steps that a trend is judged over; None: a twentieth of the run, between 20 and 100 steps.
        patience: looks in a row without progress before an investigation; a spike is none.
        cooldown: windows from one investigation to the next; twice as many each time the verdict stays.

    Attributes:
        steps: optimizer steps seen since the start or `restart`.
        stalled: looks in a row without progress.
    """

    def __init__(self, window: int | None, patience: int, cooldown: int) -> None:
        self.patience, self.cooldown = patience, cooldown
        self._window, self._budget = window, math.inf
        self.restart()

    def restart(self) -> None:
        """Forget the run so far: what a remedy calls after it has changed the weights."""
        self._first: list[float] = []
        self._losses: list[float] = []
        self.steps = self.stalled = 0
        self._rest_until = 0
        self._rests, self._same = self.cooldown, ""
        self._doubt_since: int | None = None

    def plan(self, budget: float) -> None:
        """The run is to have so many steps; inf where nobody knows."""
        self._budget = budget

    @property
    def window(self) -> int:
        """Steps that a trend is judged over."""
        if self._window is not None:
            return self._window
        known = math.isfinite(self._budget) and self._budget > 0
        return max(SHORTEST, min(LONGEST, round(SHARE * self._budget))) if known else UNKNOWN

    @property
    def stride(self) -> int:
        """Steps from one look to the next."""
        return max(1, self.window // LOOKS)

    @property
    def to_verdict(self) -> int:
        """Steps from the start to the first verdict on a run that makes no progress."""
        return self.window + (self.patience - 1) * self.stride

    @property
    def horizon(self) -> int:
        """Steps ahead that progress is projected over: as many as there were, or are left if that is more."""
        left = self._budget - self.steps if math.isfinite(self._budget) else 0
        return int(max(self.steps, left, 1))

    def see(self, loss: float) -> None:
        """The loss of one more step."""
        if len(self._first) < max(1, self.window // LOOKS):
            self._first.append(loss)
        self._losses = [*self._losses[-4 * LONGEST :], loss] if len(self._losses) > 8 * LONGEST else self._losses
        self._losses.append(loss)

    def step(self) -> bool:
        """One more optimizer step is complete; whether it is time to look."""
        self.steps += 1
        return self.steps >= self.window and (self.steps - self.window) % self.stride == 0

    @property
    def trend(self) -> LossTrend:
        """Of the last window."""
        return LossTrend.of(self._losses[-self.window :], self._first)

    @property
    def doubts(self) -> bool:
        """Whether the last look saw no progress."""
        return self.stalled > 0

    @property
    def rests(self) -> bool:
        """Whether it is too soon for another investigation."""
        return self.steps < self._rest_until

    def note(self, progress: bool) -> None:
        """A look has been taken."""
        self.stalled = 0 if progress else self.stalled + 1
        if progress:
            self._doubt_since = None
        elif self._doubt_since is None:
            self._doubt_since = max(0, self.steps - self.window)

    @property
    def onset(self) -> int | None:
        """How many steps ago the window began that was the first one without progress; None while there is progress."""
        return None if self._doubt_since is None else self.steps - self._doubt_since

    def investigated(self, found: Diagnosis | None) -> Diagnosis | None:
        """An investigation has come to this; what is to be said of it.

        "Converged" ends runs, and nothing is lost by another look, at other batches: it is said when found twice in a
        row, and "undecided" till then.
        """
        verdict = "" if found is None else found.verdict.value
        waits = found is None or found.verdict in (Verdict.HEALTHY, Verdict.UNDECIDED) or verdict == self._same
        self._rests = min(MOST_RESTS * self.cooldown, 2 * self._rests) if waits and self._same else self.cooldown
        first = found is not None and found.verdict is Verdict.CONVERGED and verdict != self._same
        self._same = verdict
        self._rest_until = self.steps + self._rests * self.window
        return found.to_be_confirmed() if found is not None and first else found

    def state_dict(self) -> dict[str, Any]:
        """All it has seen, as primitives."""
        return {
            "first": list(self._first),
            "losses": list(self._losses),
            "counters": [self.steps, self.stalled, self._rest_until, self._rests],
            "same": self._same,
            "doubt_since": self._doubt_since,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """What `state_dict` saved."""
        self.restart()
        self._first, self._losses = list(state["first"]), list(state["losses"])
        self.steps, self.stalled, self._rest_until, self._rests = state["counters"]
        self._same, self._doubt_since = state["same"], state["doubt_since"]
