"""From what was said, and what is so, to numbers with intervals. Pure functions; no run is needed to test them."""

from __future__ import annotations

import math
import random
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from benchmarks.plateaubench.labels import Labels

HEALTHY = "healthy"
SILENT = (HEALTHY, "undecided")
"""What nobody acts on."""

LATE = 0.75
"""Share of the budget. What goes wrong later than this need not be named within the run."""


@dataclass(frozen=True)
class Outcome:
    """One run, judged.

    Attributes:
        verdict: the first that is neither "healthy" nor "undecided"; "healthy" where there is none.
        at: its step, or None.
        truth: the verdict itself if it was right when it was given, else what would have been right.
        well: "healthy" is a right verdict up to LATE of the budget.
        onset: the step from which on it is not.
    """

    scenario: str
    seed: int
    verdict: str
    at: int | None
    truth: str
    well: bool
    onset: int | None
    steps: int
    confidence: float | None = None
    layers_right: bool | None = None

    @property
    def right(self) -> bool:
        return self.verdict == self.truth

    @property
    def delay(self) -> float:
        """Share of the budget from the onset to the right verdict; infinite without one."""
        if not self.right or self.at is None or self.onset is None:
            return math.inf
        return max(0, self.at - self.onset) / self.steps


def judge(result: dict[str, Any], labels: Labels) -> Outcome:
    """A verdict counts by what holds at its step; silence by what holds at LATE of the budget."""
    entry = next((e for e in result["log"] if e["verdict"] not in SILENT), None)
    late = int(LATE * labels.steps)
    step = late if entry is None else entry["step"]
    verdict = HEALTHY if entry is None else entry["verdict"]
    accepted = labels.at(step)
    return Outcome(
        scenario=result["scenario"],
        seed=result["seed"],
        verdict=verdict,
        at=None if entry is None else step,
        truth=verdict if verdict in accepted else accepted[0],
        well=labels.onset is None or labels.onset > late,
        onset=labels.onset,
        steps=labels.steps,
        confidence=None if entry is None else entry["confidence"],
        layers_right=_layers_right(entry, labels),
    )


def _layers_right(entry: dict[str, Any] | None, labels: Labels) -> bool | None:
    """Whether the layers that are named are those that something is wrong with; None where there is nothing to tell."""
    ill = {name for name, verdict in labels.layers if verdict != HEALTHY}
    if not ill or len(ill) == len(labels.layers) or entry is None:
        return None
    named = entry["layers"]
    belongs = lambda layer, name: layer == name or layer.startswith((f"{name}.", f"{name}/"))  # noqa: E731
    return (
        bool(named)
        and all(any(belongs(layer, name) for name in ill) for layer in named)
        and all(any(belongs(layer, name) for layer in named) for name in ill)
    )


def f1(outcomes: Sequence[Outcome]) -> dict[str, float]:
    """2 TP / (2 TP + FP + FN) of each verdict that is the truth of some run."""
    hits = Counter(o.truth for o in outcomes if o.right)
    truths, verdicts = Counter(o.truth for o in outcomes), Counter(o.verdict for o in outcomes)
    return {name: 2 * hits[name] / (truths[name] + verdicts[name]) for name in sorted(truths)}


def macro_f1(outcomes: Sequence[Outcome]) -> float:
    scores = f1(outcomes)
    return sum(scores.values()) / len(scores) if scores else math.nan


def accuracy(outcomes: Sequence[Outcome]) -> float:
    return sum(o.right for o in outcomes) / len(outcomes) if outcomes else math.nan


def bootstrap(
    outcomes: Sequence[Outcome], measure: Callable[[Sequence[Outcome]], float], draws: int = 1000, seed: int = 0
) -> tuple[float, float]:
    """95% interval by drawing scenarios, with all their seeds, with replacement: seeds of one scenario are alike."""
    groups: dict[str, list[Outcome]] = {}
    for outcome in outcomes:
        groups.setdefault(outcome.scenario, []).append(outcome)
    names, draw = sorted(groups), random.Random(seed)
    found = sorted(
        measure([o for name in draw.choices(names, k=len(names)) for o in groups[name]]) for _ in range(draws)
    )
    return found[int(0.025 * draws)], found[min(draws - 1, int(0.975 * draws))]


def wilson(hits: int, trials: int, z: float = 1.959964) -> tuple[float, float]:
    """95% interval of a share (Wilson 1927): (p + z²/2n ± z sqrt(p(1-p)/n + z²/4n²)) / (1 + z²/n)."""
    if not trials:
        return 0.0, 1.0
    p, ratio = hits / trials, z * z / trials
    middle, reach = p + ratio / 2, z * math.sqrt(p * (1 - p) / trials + ratio / (4 * trials))
    return max(0.0, (middle - reach) / (1 + ratio)), min(1.0, (middle + reach) / (1 + ratio))


def clopper_pearson(hits: int, trials: int, level: float = 0.95) -> tuple[float, float]:
    """Interval of a share that holds at least `level` of the time (Clopper & Pearson 1934), by beta quantiles."""
    from scipy.stats import beta

    tail = (1 - level) / 2
    low = 0.0 if hits == 0 else float(beta.ppf(tail, hits, trials - hits + 1))
    high = 1.0 if hits == trials else float(beta.ppf(1 - tail, hits + 1, trials - hits))
    return low, high


@dataclass(frozen=True)
class Bin:
    """Verdicts whose confidence lies in [low, high), or up to 1."""

    low: float
    high: float
    count: int
    confidence: float
    right: float
    interval: tuple[float, float]


def reliability(outcomes: Iterable[Outcome], bins: int = 10) -> list[Bin]:
    """Mean confidence and share that was right, by confidence; empty bins are left out."""
    sorted_in: dict[int, list[tuple[float, bool]]] = {}
    for outcome in outcomes:
        if outcome.confidence is not None:
            index = min(bins - 1, int(outcome.confidence * bins))
            sorted_in.setdefault(index, []).append((outcome.confidence, outcome.right))
    found = []
    for index, pairs in sorted(sorted_in.items()):
        hits, count = sum(right for _, right in pairs), len(pairs)
        mean = sum(confidence for confidence, _ in pairs) / count
        found.append(Bin(index / bins, (index + 1) / bins, count, mean, hits / count, wilson(hits, count)))
    return found


def calibration_error(bins: Sequence[Bin]) -> float:
    """Expected calibration error (Naeini 2015): mean distance of confidence and share right, weighted by counts."""
    total = sum(b.count for b in bins)
    return sum(b.count * abs(b.confidence - b.right) for b in bins) / total if total else math.nan


@dataclass(frozen=True)
class Harm:
    """What acting did to one run, against the same run left alone.

    Attributes:
        loss: the guarded run's final objective minus the other's, in units of what the task has to give.
        stopped: it did not use its budget.
        deeds: what else was done.
    """

    scenario: str
    seed: int
    well: bool
    loss: float
    stopped: bool
    deeds: tuple[str, ...]

    @property
    def harmed(self) -> bool:
        """Stopped or changed, and worse off by more than a fiftieth."""
        return (self.stopped or bool(self.deeds)) and self.loss > 0.02


def harm(guarded: dict[str, Any], alone: dict[str, Any], labels: Labels) -> Harm | None:
    """None where the run alone did not end at a finite objective."""
    if alone["end"] is None:
        return None
    end = math.inf if guarded["end"] is None else guarded["end"]
    stopped, late = guarded["steps"] < labels.steps, int(LATE * labels.steps)
    deeds = tuple(deed for _, deed in guarded["deeds"] if deed not in ("stop", "declined", "dry_run"))
    well = labels.onset is None or labels.onset > late
    loss = (end - alone["end"]) / labels.scale
    return Harm(guarded["scenario"], guarded["seed"], well, loss, stopped, deeds)
