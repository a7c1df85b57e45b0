"""How a variance falls with size: an exponential and a power law, their intervals, and which the data choose."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np
from scipy.special import ndtri, stdtrit

from torchbp.arguments import checked
from torchbp.arguments.kinds import a, each, whole
from torchbp.errors import InputError
from torchbp.trainability.scans.moments import VarianceEstimate

Verdict = Literal["exponential", "polynomial", "constant", "undecided", "too_few_sizes", "zero"]

ODDS = 20.0
"""Likelihood ratio from which on one law is preferred to the other."""
LEAST_FALL = 1.5
"""From the smallest size to the largest; less is no decay, however sure."""


@dataclass(frozen=True)
class Law:
    """One fitted law: log2 V = intercept + slope n ("exponential"), or intercept + slope log2 n ("power").

    Attributes:
        slope, low, high: the slope and its interval. Exponential: a size more multiplies V by 2^slope. Power: V is
            proportional to n^slope.
        intercept: of the line.
        chi2: sum over sizes of ((log2 V - line) / sigma)^2.
        dof: sizes minus 2.
    """

    kind: Literal["exponential", "power"]
    slope: float
    low: float
    high: float
    intercept: float
    chi2: float
    dof: int

    @property
    def misfit(self) -> float:
        """chi2 / dof, near 1 or below for a law that holds within the errors; NaN for two sizes."""
        return self.chi2 / self.dof if self.dof else math.nan

    def predict(self, size: float) -> float:
        """V at this size, by the law."""
        return float(2 ** (self.intercept + self.slope * (math.log2(size) if self.kind == "power" else size)))


@dataclass(frozen=True)
class ScalingFit:
    """Both laws and what they say.

    Attributes:
        verdict: "exponential" (a barren plateau, over these sizes), "polynomial" (a power law with falling variance),
            "constant" (no decay seen), "undecided" (both laws fit), "too_few_sizes" (fewer than 3: a plateau is a
            statement about scaling, and one size or two can't establish it), "zero" (no variance at all).
        exponential, power: the fits; None with fewer than two usable sizes.
        odds: likelihood ratio of the exponential law to the power law, after widening all errors until the better law
            fits; above 20 or below 1/20 decides.
        sizes: those used. left_out: those whose variance is zero or not told from zero by its interval.
        next_size: smallest further size at which the laws' predictions would differ enough to decide, where they do
            not yet; None otherwise.
        variable: what the size is, for the text: "wires" or "layers".
        of: what falls with it, for the text.
    """

    verdict: Verdict
    exponential: Law | None
    power: Law | None
    odds: float
    sizes: tuple[int, ...]
    left_out: tuple[int, ...]
    next_size: int | None
    variable: str = "wires"
    of: str = "variance"

    @property
    def law(self) -> Law | None:
        """The law the verdict is about; None where there is none."""
        return {"exponential": self.exponential, "polynomial": self.power}.get(self.verdict)

    @property
    def text(self) -> str:
        """The verdict as a sentence, with its numbers and limits."""
        return " ".join([_SENTENCES[self.verdict](self), *self._limits()])

    def to_dict(self) -> dict[str, Any]:
        """As primitives for JSON, with the sentence."""
        return {**asdict(self), "text": self.text}

    def _limits(self) -> list[str]:
        said = []
        if self.left_out:
            said.append(f"Left out, as not told from zero: {_list(self.left_out)} {self.variable}.")
        law = self.law
        if law is not None and law.misfit > 4:
            said.append(f"The law fits roughly (chi2/dof = {law.misfit:.1f}); its interval is widened accordingly.")
        return said


@checked(sizes=each(whole(1)), estimates=each(a(VarianceEstimate)))
def fit_scaling(
    sizes: Sequence[int],
    estimates: Sequence[VarianceEstimate],
    *,
    variable: str = "wires",
    of: str = "variance",
    confidence: float = 0.95,
) -> ScalingFit:
    """Fit log2 V by both laws, weighted by the intervals, and choose.

    Weighted least squares with the error of log2 V taken from each interval, sigma = (log2 high - log2 low) / (2 q).
    Intervals of slopes are Gaussian where the law fits, else widened by sqrt(chi2 / dof), with Student's quantile. Both
    laws have two parameters, so their likelihood ratio exp((chi2_power - chi2_exp) / 2) compares them as AIC would.

    The choice is among these two, over these sizes. It does not extrapolate: a polynomial beginning may end in a
    plateau (depth that grows, a light cone that closes), and small sizes bend both laws.

    Args:
        sizes: wires or layers, increasing.
        estimates: a variance for each.
        variable: "wires" or "layers".
        of: what the estimates are of, for the text.
        confidence: of the slopes' intervals.

    Raises:
        InputError: sizes that don't increase or are not positive, or another number of estimates.
    """
    if len(sizes) != len(estimates):
        raise InputError(f"A fit needs one variance for each size, got {len(sizes)} sizes and {len(estimates)}.")
    if list(sizes) != sorted(set(sizes)) or any(s < 1 for s in sizes):
        raise InputError(f"Sizes are positive and increase, got {list(sizes)}.")
    used = [(s, e) for s, e in zip(sizes, estimates, strict=True) if e.value > 0 and e.low > 0]
    kept = tuple(s for s, _ in used)
    out = tuple(s for s in sizes if s not in kept)
    if len(used) < 2:
        verdict: Verdict = "zero" if len(sizes) > 1 and all(e.value == 0 for e in estimates) else "too_few_sizes"
        return ScalingFit(verdict, None, None, math.nan, kept, out, None, variable, of)
    n = np.array(kept, dtype=float)
    y = np.log2([e.value for _, e in used])
    sigma = np.array([_log_error(e) for _, e in used])
    exponential, power = (_line(kind, n, y, sigma, confidence) for kind in ("exponential", "power"))
    if len(used) < 3:
        return ScalingFit("too_few_sizes", exponential, power, math.nan, kept, out, None, variable, of)
    best = min(exponential.chi2, power.chi2)
    widening = max(1.0, best / (len(used) - 2))
    log_odds = (power.chi2 - exponential.chi2) / 2 / widening
    odds = math.exp(min(700.0, max(-700.0, log_odds)))
    better = exponential if log_odds >= 0 else power
    next_size = None
    fall = better.predict(kept[0]) / better.predict(kept[-1])
    if better.low <= 0 <= better.high or fall < LEAST_FALL:
        # With errors this large that even a 2-design's slope fits, nothing was seen rather than no decay.
        verdict = "undecided" if exponential.low <= -1 else "constant"
    elif abs(log_odds) < math.log(ODDS):
        verdict = "undecided"
        next_size = _separating_size(better, n, y, sigma * math.sqrt(widening))
    else:
        verdict = "exponential" if log_odds > 0 else "polynomial"
    return ScalingFit(verdict, exponential, power, odds, kept, out, next_size, variable, of)


def _log_error(estimate: VarianceEstimate) -> float:
    """Standard error of log2 of the value, from the width of its interval."""
    quantile = float(ndtri((1 + estimate.confidence) / 2))
    width = math.log2(estimate.high) - math.log2(estimate.low)
    # Values without any spread (a single weight, all draws alike) still need a finite weight.
    return max(width / (2 * quantile), 1e-12)


def _line(kind: Literal["exponential", "power"], n: np.ndarray, y: np.ndarray, sigma: np.ndarray, p: float) -> Law:
    x = np.log2(n) if kind == "power" else n
    w = sigma**-2
    middle_x, middle_y = (w * x).sum() / w.sum(), (w * y).sum() / w.sum()
    spread = (w * (x - middle_x) ** 2).sum()
    slope = (w * (x - middle_x) * (y - middle_y)).sum() / spread
    intercept = middle_y - slope * middle_x
    chi2, dof = float((w * (y - intercept - slope * x) ** 2).sum()), len(n) - 2
    fits = dof == 0 or chi2 <= dof
    reach = float(ndtri((1 + p) / 2)) if fits else float(stdtrit(dof, (1 + p) / 2)) * math.sqrt(chi2 / dof)
    half = reach / math.sqrt(spread)
    return Law(kind, float(slope), float(slope - half), float(slope + half), float(intercept), chi2, dof)


def _separating_size(better: Law, n: np.ndarray, y: np.ndarray, sigma: np.ndarray) -> int | None:
    """The next size, up to four times the largest, at which the better law's prediction, added, would decide for it."""
    step = max(1, int(n[-1] - n[0]) // (len(n) - 1))
    errors = np.append(sigma, np.median(sigma))
    for size in range(int(n[-1]) + step, 4 * int(n[-1]) + 1, step):
        sizes, values = np.append(n, size), np.append(y, math.log2(better.predict(size)))
        exponential, power = (_line(kind, sizes, values, errors, 0.95) for kind in ("exponential", "power"))
        if abs(power.chi2 - exponential.chi2) > 2 * math.log(ODDS):
            return size
    return None


def _list(sizes: Sequence[int]) -> str:
    return ", ".join(map(str, sizes))


def _unit(fit: ScalingFit) -> str:
    return fit.variable.removesuffix("s")


def _range(fit: ScalingFit) -> str:
    return f"from {fit.sizes[0]} to {fit.sizes[-1]} {fit.variable}"


def _decay(fit: ScalingFit) -> str:
    law = fit.law
    assert law is not None
    if law.kind == "exponential":
        how, rate, odds, other = "exponentially", f"by 2^{law.slope:.3f} for each {_unit(fit)}", fit.odds, "a power law"
    else:
        how, rate, odds, other = "polynomially", f"as n^{law.slope:.3f}", 1 / fit.odds, "an exponential"
    sure = "over 1e6 : 1" if odds > 1e6 else f"{odds:.0f} : 1"
    interval = f"interval {law.low:.3f} to {law.high:.3f}; {sure} against {other}"
    return f"The {fit.of} falls {how} {_range(fit)}, {rate} ({interval})."


def _constant(fit: ScalingFit) -> str:
    law = fit.exponential
    assert law is not None
    return (
        f"No decay is seen {_range(fit)}: the exponent for each {_unit(fit)} lies in {law.low:.3f} to {law.high:.3f}."
    )


def _undecided(fit: ScalingFit) -> str:
    more = (
        f"{fit.next_size} {fit.variable} would tell them apart at this precision."
        if fit.next_size is not None
        else "Take more sizes, larger ones, or more samples."
    )
    return f"An exponential and a power law both fit {_range(fit)}. {more}"


def _too_few(fit: ScalingFit) -> str:
    return (
        f"A plateau is a statement about scaling: it takes three sizes or more, and {len(fit.sizes)} can be used. "
        "Scan further sizes."
    )


_SENTENCES: dict[str, Callable[[ScalingFit], str]] = {
    "exponential": _decay,
    "polynomial": _decay,
    "constant": _constant,
    "undecided": _undecided,
    "too_few_sizes": _too_few,
    "zero": lambda fit: (
        f"The {fit.of} is zero at every size: nothing that is measured depends on these weights, or at these starts."
    ),
}
