"""What a run suffers from, by experiments that know everything; it shares no code with what is judged.

At ten steps of a run it asks, exactly and on all the data: does the run get anywhere by itself; what is the lowest
objective that a tuned descent finds from here, and from other starts; would the run's own optimizer do better without
shots, without noise, at a tenth of its rate; is a layer trained, reached, concentrated; does the device stand still.
"""

from __future__ import annotations

import math
import statistics
from dataclasses import dataclass
from typing import Any

import torch

from benchmarks.plateaubench.lab import Lab, call_of
from benchmarks.plateaubench.labels import Labels
from benchmarks.plateaubench.layers import LayerFacts, examine
from benchmarks.plateaubench.record import POINTS, Snapshot, exact, goal
from benchmarks.plateaubench.task import Scenario
from torchbp import QuantumLayer

NEAR, CLOSE = 0.01, 0.03
"""Shares of what a task has to give that a run at its goal, or close to it, may be short of."""
MOVES = 0.05
"""Share of what is left to gain that a run gains in a quarter of its budget, or later on, if it gets anywhere."""
LOWER = 0.1
"""Share of what a task has to give that another start, or way of training, must gain to be worth it."""
WARM = 0.04
"""A start that is short of the goal by less than this share of a random start's distance is at the goal."""
DRIFTS = 0.03
"""Change of a fixed circuit's outputs, relative to their spread."""

Intervals = list[tuple[int, list[str]]]
"""(from step, acceptable verdicts, the one that fits best first), in order."""


@dataclass
class Labelled:
    """
    Attributes:
        steps, scale: of the run, and of its objective.
        labels: over the steps of the run.
        layers: what holds for each quantum layer at the end, where there are several.
        facts: the numbers behind it, one entry a snapshot.
    """

    steps: int
    scale: float
    labels: Intervals
    layers: dict[str, str]
    facts: list[dict[str, Any]]

    def compact(self) -> Labels:
        """What is stored."""
        intervals = tuple((step, tuple(names)) for step, names in self.labels)
        return Labels(intervals, self.steps, self.scale, tuple(self.layers.items()))


def label(scenario: Scenario, seed: int) -> Labelled:
    lab = Lab(scenario, seed)
    found: list[tuple[int, list[str]]] = []
    facts: list[dict[str, Any]] = []
    layers: dict[str, LayerFacts] = {}
    known: Judged | None = None
    for snapshot in lab.run.snapshots:
        if lab.run.ended_at is not None and snapshot.step >= lab.run.ended_at - 1:
            break
        known = Judged(lab, snapshot, known)
        found.append((snapshot.step, known.labels()))
        facts.append({"step": snapshot.step, **known.facts})
        layers = known.layers
    if lab.run.ended_at is not None:
        found = found or [(0, ["healthy"])]
        found = [(step, list(dict.fromkeys([*names, "diverging"]))) for step, names in found]
        found.append((lab.run.ended_at, ["diverging"]))
    named = {name: verdict_of_layer(layer) for name, layer in layers.items()} if len(layers) > 1 else {}
    scale = known.scale() if known else lab.rough_scale
    return Labelled(lab.run.steps, scale, joined(found), named, facts)


def joined(found: Intervals) -> Intervals:
    """One entry an interval: what holds where it begins, and, as a change lies somewhere within, where it ends."""
    wide: Intervals = []
    for index, (step, names) in enumerate(found):
        after = found[index + 1][1] if index + 1 < len(found) and found[index + 1][1] != ["diverging"] else []
        both = [*names, *(name for name in after if name not in names)]
        if not wide or wide[-1][1] != both:
            wide.append((step, both))
    return wide


def verdict_of_layer(layer: LayerFacts) -> str:
    if not layer.trained:
        return "not_trained"
    if layer.dead:
        return "dead_layer"
    return "barren_plateau" if layer.concentrated else "healthy"


class Judged:
    """One step of a run, looked at from all sides; experiments are made when they are asked for."""

    def __init__(self, lab: Lab, snapshot: Snapshot, before: Judged | None = None) -> None:
        self.lab, self.snapshot, self.before = lab, snapshot, before
        self.facts: dict[str, Any] = {}
        self.why: list[str] | None = None
        self.left = lab.run.steps - snapshot.step
        self.ahead = max(self.left, lab.run.steps // 2)
        self.layers = examine(lab, snapshot)

    def labels(self) -> list[str]:
        trained = {name: layer for name, layer in self.layers.items() if layer.trained}
        if not trained:
            return self._untrained()
        if any(layer.dead for layer in trained.values()):
            return (
                ["dead_layer", "not_trained"]
                if any("all" in layer.dead for layer in trained.values())
                else ["dead_layer"]
            )
        course = self._course()
        drift = self.drift()
        if drift > DRIFTS:
            return ["drifting", *([] if drift > 3 * DRIFTS else course)]
        if drift > DRIFTS / 3:
            return [*course, "drifting"]
        return course

    def _untrained(self) -> list[str]:
        """Without a trained quantum layer: that is the finding, and whatever holds for the rest is no mistake."""
        if not any(p.requires_grad for p in self.lab.task.module.parameters()):
            return ["not_trained"]
        rest = "healthy" if self.moving() or not self.near() else "converged"
        return [rest, "not_trained"] if not self.layers else ["not_trained", rest]

    def _course(self) -> list[str]:
        """Where the run is going, and if nowhere, why."""
        stuck = self._standing_still() if self.moving() else []
        if self.short() > 3 and self.now() > 2 * abs(self.lab.run.curve[0][1]):
            return ["diverging", "oscillating"]
        if self.moving():
            if stuck:
                return stuck
            if self.noise():
                return ["noise_induced"] if self.won() < 0.1 * self.facts["clear"] else ["noise_induced", "healthy"]
            return ["healthy"] if self.short() > CLOSE else ["healthy", "converged"]
        if (
            self.before is not None
            and self.before.why
            and abs(self.before.now() - self.now()) < NEAR / 3 * self.scale()
        ):
            cause = self.before.why  # it has not gone anywhere since, and what held it there does so still
        else:
            cause = self._cause()
        self.why = cause if "healthy" not in cause else None
        return cause if not self.creeping() or "healthy" in cause else [*cause, "healthy"]

    # ---- how the run fares by itself

    def now(self) -> float:
        return smooth(self.lab.run.curve, self.snapshot.step)

    def lowest(self) -> float:
        """The lowest objective known of."""
        return min(self.lab.lowest, float(self.facts.get("bottom", math.inf)))

    def bottom(self) -> float:
        if "bottom" not in self.facts:
            self.facts["bottom"] = self.lab.bottom(self.snapshot)
        return float(self.facts["bottom"])

    def scale(self) -> float:
        """What the run has to gain: from its start to the lowest known; from a random start, where it starts there."""
        begins = [begin for begin, _ in self.lab.restarts if math.isfinite(begin)]
        own, usual = self.lab.run.curve[0][1] - self.lowest(), statistics.median(begins) - self.lowest()
        return (own if own > WARM * usual else usual) or 1.0

    def short(self) -> float:
        """What is left to gain, of what there is."""
        self.facts["short"] = (self.now() - self.lowest()) / self.scale()
        return float(self.facts["short"])

    def near(self) -> bool:
        return self.short() < NEAR

    def won(self) -> float:
        """What the run itself will gain: to the lowest mean over a quarter of the budget, or over all that is left."""
        later = [
            value if math.isfinite(value) else math.inf for s, value in self.lab.run.curve if s > self.snapshot.step
        ]
        width = min(len(later), POINTS // 4)
        means = [sum(later[i : i + width]) / width for i in range(len(later) - width + 1)] if later else [self.now()]
        return max(0.0, self.now() - min(means) - 2 * roughness(self.lab.run.curve))

    def gain(self) -> float:
        """The same, as a share of what is left to gain."""
        self.facts["gain"] = self.won() / max(self.short() * self.scale(), 1e-300)
        return float(self.facts["gain"])

    def pace(self) -> float:
        """MOVES, or less where less than a quarter of the budget is left."""
        return MOVES * min(1.0, 4 * self.left / self.lab.run.steps)

    def moving(self) -> bool:
        return not self.near() and self.gain() > self.pace()

    def creeping(self) -> bool:
        return self.gain() > self.pace() / 2

    # ---- why it stands still

    def _cause(self) -> list[str]:
        if self.near():
            done = self.short() < NEAR / 3 or self.gain() < self.pace()
            return ["converged"] if done else ["converged", "healthy"]
        causes = self.noise() or self.shots()
        if causes == ["shot_limited"]:
            causes += [name for name in self.step_size() if name == "oscillating"]  # smaller steps average, too
        if not causes:
            causes = self.concentration() or self.step_size() or self.place()
        return [*causes, "converged"] if self.short() < 2 * CLOSE and "converged" not in causes else causes

    def noise(self) -> list[str]:
        """Without noise the run's own optimizer would descend, by far more than it can with noise."""
        if not any(isinstance(m, QuantumLayer) and m.noise for m in self.lab.task.module.modules()):
            return []
        task = self.lab.at(self.snapshot)
        with exact(task.module, noiseless=True):
            here = goal(task)
        there = self.lab.bottom(self.snapshot, noiseless=True)
        can, clear = self.now() - self.bottom(), here - there
        self.facts |= {"noise": can / clear if clear > 0 else math.inf, "clear": clear}
        return ["noise_induced"] if can < 0.3 * clear else []

    def shots(self) -> list[str]:
        """With exact values the run's own optimizer gains what it does not gain with its shots."""
        if not any(isinstance(m, QuantumLayer) and m.shots for m in self.lab.task.module.modules()):
            return []
        with_exact = self.now() - self.lab.continued(self.snapshot, self.ahead, without_shots=True)
        with_shots = self.now() - self.lab.continued(self.snapshot, self.ahead)
        self.facts["shots"] = with_exact / self.scale(), with_shots / self.scale()
        worth = with_exact > max(LOWER / 2 * self.scale(), 0.3 * self.short() * self.scale())
        return ["shot_limited"] if worth and with_shots < 0.4 * with_exact else []

    def concentration(self) -> list[str]:
        flat = [layer for layer in self.layers.values() if layer.trained and layer.concentrated]
        self.facts["variance"] = [layer.variance for layer in self.layers.values()]
        self.facts["steepness"] = [layer.steepness for layer in self.layers.values()]
        return ["barren_plateau"] if flat else []

    def step_size(self) -> list[str]:
        """At a tenth or a hundredth of its rate the run would gain what it does not gain now."""
        slower = min(self.lab.continued(self.snapshot, self.ahead, rate=rate) for rate in (0.1, 0.01))
        as_is = self.lab.continued(self.snapshot, self.ahead)
        self.facts["slower"] = (as_is - slower) / self.scale()
        won = as_is - slower
        if won < max(0.3 * (as_is - self.lowest()), LOWER / 3 * self.scale()):
            return []
        return (
            ["oscillating"] if not math.isfinite(as_is) or won > LOWER * self.scale() else ["oscillating", "converged"]
        )

    def place(self) -> list[str]:
        """A tuned descent from here ends above those from other starts; or there is nothing better to be found."""
        below = (self.now() - self.bottom()) / self.scale()
        better = [end < self.bottom() - LOWER * self.scale() for _, end in self.lab.restarts]
        self.facts |= {"below": below, "better": sum(better)}
        if below > 0.5 * self.short():
            return ["healthy"]  # a better rate would do: no verdict says so, and all others are wrong
        return ["local_minimum"] if any(better) else ["converged"]

    # ---- a layer that stands still beside others that learn

    def _standing_still(self) -> list[str]:
        """Concentrated layers that the run's gain does not come from, and that another start would make of use."""
        trained = {name: layer for name, layer in self.layers.items() if layer.trained}
        flat = [name for name, layer in trained.items() if layer.concentrated]
        if not flat:
            return []
        steps = self.ahead
        for name in flat:
            full = self.now() - self.lab.continued(self.snapshot, steps, without_shots=True)
            held = self.now() - self.lab.continued(self.snapshot, steps, without_shots=True, frozen=name)
            self.facts["share"] = 1 - held / full if full > 0 else 0.0
            if self.facts["share"] < 0.2:
                return ["barren_plateau"] if self._of_use(name) else ["barren_plateau", "healthy"]
        return []

    def _of_use(self, name: str) -> bool:
        """Whether the model with this layer near zero ends lower than with the layer held where it is."""
        held = self.lab.precise(self.snapshot)
        held.module.get_submodule(name).requires_grad_(False)
        as_is = self.lab.descend(held)
        moved = self.lab.precise(self.snapshot)
        with torch.no_grad():
            for parameter in moved.module.get_submodule(name).parameters():
                parameter.mul_(0.02)
        fresh = self.lab.descend(moved)
        self.facts["of_use"] = (as_is - fresh) / self.scale()
        return bool(as_is - fresh > LOWER * self.scale())

    # ---- the device

    def drift(self) -> float:
        """Change since the start of a layer's outputs at its first weights, relative to their rms spread or size."""
        worst = 0.0
        for name in self.lab.task.layers():
            first, now = self.lab.precise(), self.lab.precise()
            now.module.get_buffer("clock").fill_(self.snapshot.step) if hasattr(now.module, "clock") else None
            outputs = []
            for task in (first, now):
                layer = task.layers()[name]
                given, named = call_of(task, layer)
                with torch.no_grad(), exact(task.module):
                    outputs.append(layer(*given, **named))
            size = float(outputs[0].square().mean().sqrt()) or 1.0
            worst = max(worst, float((outputs[1] - outputs[0]).square().mean().sqrt()) / size)
        if worst:
            self.facts["drift"] = worst
        return worst


def smooth(curve: list[tuple[int, float]], step: int) -> float:
    """Median of the five points around a step; two at the ends."""
    steps = [s for s, _ in curve]
    index = min(range(len(steps)), key=lambda i: abs(steps[i] - step))
    reach = 0 if index == 0 else min(2, len(curve) - 1 - index, index)
    values = [v for _, v in curve[index - reach : index + reach + 1] if math.isfinite(v)]
    return statistics.median(values) if values else math.inf


def roughness(curve: list[tuple[int, float]]) -> float:
    """Median distance of the second half of the curve from its own smoothed values."""
    half = curve[len(curve) // 2 :]
    distances = [abs(value - smooth(curve, step)) for step, value in half if math.isfinite(value)]
    return statistics.median(distances) if distances else 0.0


def certify(scenario: Scenario, seed: int) -> Labels | None:
    """Healthy labels of a run that kept learning, from its exact objective alone; None for any other run.

    It must gain at least an eighth of its objective's range over random starts, and a twentieth of that gain in the
    last quarter of the budget; where less than a tenth of the gain is left, "converged" is no mistake.
    """
    lab = Lab(scenario, seed)
    curve, steps = lab.run.curve, lab.run.steps
    if lab.run.ended_at is not None or not all(math.isfinite(value) for _, value in curve):
        return None
    rough = roughness(curve)
    begin, late, end = (smooth(curve, step) for step in (0, 3 * steps // 4, steps))
    starts = [goal(lab.restarted(number)) for number in range(3)]
    usual = max([begin, *starts]) - min([end, *starts])
    if begin - end < max(usual / 8, 6 * rough) or late - end < max((begin - end) / 20, 3 * rough):
        return None
    nearly = [step for step, _ in curve if smooth(curve, step) - end < (begin - end) / 10]
    intervals: list[tuple[int, tuple[str, ...]]] = [(0, ("healthy",))]
    if nearly and nearly[0] > 0:
        intervals.append((nearly[0], ("healthy", "converged")))
    return Labels(tuple(intervals), steps, begin - end)
