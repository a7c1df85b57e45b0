"""What `precheck` found: a value with a report."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any

from torchbp.diagnosis.concentration import Concentration
from torchbp.diagnosis.verdicts import Verdict
from torchbp.gradients.stats import RESOLVED
from torchbp.trainability.algebras.lie_algebra import LieAlgebra
from torchbp.trainability.prechecks.signal import Signal


@dataclass(frozen=True)
class DepthPoint:
    """The circuit cut off after some layers.

    Attributes:
        depth: layers left.
        snr: SNR of the gradient at the start where a step takes its share of the budget.
        shots_per_step: shots that a step needs for an SNR of 3.
    """

    depth: int
    snr: float
    shots_per_step: float


@dataclass(frozen=True)
class Suggestion:
    """A change that was tried.

    Attributes:
        what: in words.
        code: how to write it.
        gain: mean square gradient at the start, divided by that without the change; inf where that was zero.
        shots_per_step: shots that a step needs for an SNR of 3, with the change.
    """

    what: str
    code: str
    gain: float
    shots_per_step: float

    @classmethod
    def of(cls, what: str, code: str, signal: Signal, before: Signal) -> Suggestion:
        if before.mean_square > 0:
            gain = signal.mean_square / before.mean_square
        else:
            gain = math.inf if signal.mean_square > 0 else 1.0
        return cls(what, code, gain, signal.shots_per_step)

    def __str__(self) -> str:
        return f"{self.what}: gradient variance x {self.gain:.3g}"


@dataclass(frozen=True)
class Precheck:
    """What can be known of a model before its first step.

    Attributes:
        layer: path of the quantum layer.
        n_wires, n_weights, n_layers: of its circuit.
        verdict, evidence: what to expect, and why. `LOCAL_MINIMUM` is a start where the gradient is exactly zero.
        start: the gradient at the start, see `Signal`.
        concentration: of the layer's output.
        dead_weights: weights outside of every observable's light cone.
        algebra: the Lie algebra, with the first observable; None where it takes long.
        steps, budget, price_per_shot: as given.
        depths: fewer layers, rising.
        suggestions: what helps, best first.
        skipped: what there was no time for.
        interrupted: whether somebody stopped it (Ctrl-C).
        seconds: what it took.
        calibration_shots: that a machine takes before the first step, to measure its readout errors.
        method: "simulate", or "paths" beyond the simulator: over random starts and features, of the mean output.
    """

    layer: str
    n_wires: int
    n_weights: int
    n_layers: int
    verdict: Verdict
    evidence: tuple[str, ...]
    start: Signal
    concentration: Concentration
    dead_weights: int
    algebra: LieAlgebra | None
    steps: int
    budget: float
    price_per_shot: float | None
    depths: tuple[DepthPoint, ...]
    suggestions: tuple[Suggestion, ...]
    skipped: tuple[str, ...]
    interrupted: bool
    seconds: float
    calibration_shots: int = 0
    method: str = "simulate"

    @property
    def shots_per_run(self) -> float:
        """Shots of a run of `steps` steps with an SNR of 3 at each, if all were as the first; calibration included."""
        return self.start.shots_per_step * self.steps + self.calibration_shots

    @property
    def price(self) -> float | None:
        """Of such a run; None without a price per shot."""
        return None if self.price_per_shot is None else self.shots_per_run * self.price_per_shot

    @property
    def acceptable_depths(self) -> tuple[int, ...]:
        """Those of `depths` whose SNR is at least 3 within the budget."""
        return tuple(point.depth for point in self.depths if point.snr >= RESOLVED)

    @property
    def fine(self) -> bool:
        """Whether nothing was found that speaks against a run."""
        return self.verdict is Verdict.HEALTHY

    def to_dict(self) -> dict[str, Any]:
        """The attributes and what follows from them, for JSON."""
        found = asdict(self) | {"verdict": self.verdict.value, "start": self.start.to_dict()}
        derived = {"shots_per_run": self.shots_per_run, "price": self.price, "fine": self.fine}
        return found | derived | {"acceptable_depths": list(self.acceptable_depths)}

    def report(self) -> str:
        """For people: the verdict first, then the numbers, then what helps."""
        name = self.verdict.value.replace("_", " ")
        if self.verdict is Verdict.LOCAL_MINIMUM:
            name = "stationary start"
        lines = [
            f"{self.layer}: {name}. {'; '.join(self.evidence)}.",
            "",
            f"circuit         {self.n_wires} wires, {self.n_weights} weights in {self.n_layers} layers"
            + (f", {self.dead_weights} of them without effect" if self.dead_weights else ""),
            f"gradient        {math.sqrt(self.start.mean_square):.3g} (root mean square at the start)"
            + (", by Pauli paths" if self.method == "paths" else ""),
            f"for an SNR of 3 {self._shots_text()}",
        ]
        if self.calibration_shots:
            lines.append(
                f"calibration     {self.calibration_shots:,} shots before the first step, once (calibration_shots=)"
            )
        if self.price is not None and math.isfinite(self.price):
            lines.append(f"price of a run  {self.price:,.2f} at {self.price_per_shot:g} a shot")
        if self.algebra is not None:
            dimension = f"{'' if self.algebra.complete else 'at least '}{self.algebra.dimension:,}"
            theory = (
                "" if self.algebra.variance is None else f"; deep circuits of it: Var[C] {self.algebra.variance:.2g}"
            )
            lines.append(f"Lie algebra     dimension {dimension} of {4**self.n_wires - 1:,}{theory}")
        if self.depths:
            lines += ["", f"| layers | SNR at {_count(self.budget / self.steps)} shots a step | shots a step for 3 |"]
            lines.append("| ---: | ---: | ---: |")
            lines += [f"| {p.depth} | {p.snr:.2g} | {_count(p.shots_per_step)} |" for p in self.depths]
            lines += ["", self._depth_text()]
        if self.suggestions:
            lines += ["", "Tried on the spot:"]
            lines += [f"  {s} ({_count(s.shots_per_step)} shots a step)" for s in self.suggestions]
        if self.skipped:
            lines += ["", f"No time for: {', '.join(self.skipped)}."]
        return "\n".join(lines)

    __str__ = report

    def _shots_text(self) -> str:
        if self.start.ratio == 0:
            return "no number of shots is enough: there is no gradient"
        per_step, run = _count(self.start.shots_per_step), _count(self.shots_per_run)
        circuits = f"{self.start.circuits:,} circuits"
        return (
            f"{_count(self.start.shots)} shots a circuit, {per_step} a step ({circuits}), {run} in {self.steps:,} steps"
        )

    def _depth_text(self) -> str:
        good = self.acceptable_depths
        if not good:
            return "No depth has an SNR of 3 within the budget."
        if len(good) == len(self.depths):
            return "Every depth has an SNR of 3 within the budget."
        return f"Within the budget: {', '.join(map(str, good))} layers; the least is {good[0]}, the most {good[-1]}."


def _count(number: float) -> str:
    """Three digits are all that is meant."""
    return f"{number:,.0f}" if number < 1e6 else f"{number:.3g}"
