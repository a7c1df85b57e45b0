"""From evidence to verdict: why a hybrid network does not learn, or that it does. Pure functions.

`diagnose` asks one rule after another and takes the first that applies. Each rule names the numbers it used. A low
SNR alone decides nothing: a converged model has one too, and on a noiseless simulator a plateau has none.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from enum import Enum

from torchbp.diagnosis.concentration import Concentration
from torchbp.diagnosis.evidence import Evidence, ShotSignal
from torchbp.gradients.stats import RESOLVED


class Verdict(str, Enum):
    """What a run suffers from, if anything."""

    HEALTHY = "healthy"
    BARREN_PLATEAU = "barren_plateau"
    SHOT_LIMITED = "shot_limited"
    NOISE_INDUCED = "noise_induced"
    LOCAL_MINIMUM = "local_minimum"
    CONVERGED = "converged"
    OSCILLATING = "oscillating"
    DRIFTING = "drifting"
    DEAD_LAYER = "dead_layer"
    DIVERGING = "diverging"


ADVICE = {
    Verdict.HEALTHY: "Nothing to do.",
    Verdict.BARREN_PLATEAU: (
        "Start elsewhere (initializers gaussian, identity_blocks), grow the circuit layer by layer, measure a local "
        "instead of a global observable, or take fewer layers. Gradient-free optimizers don't escape a barren "
        "plateau: loss differences vanish with the gradients (Arrasmith 2021)."
    ),
    Verdict.SHOT_LIMITED: "Take more shots, or observables that share measurement settings.",
    Verdict.NOISE_INDUCED: (
        "Take fewer layers, or mitigate the noise. Another initialization doesn't help: the plateau is the noise's, "
        "and deepens with the circuit (Wang 2021)."
    ),
    Verdict.LOCAL_MINIMUM: "Restart from other weights, or perturb these: gradients elsewhere are large.",
    Verdict.CONVERGED: "Stop: there is nothing left to gain.",
    Verdict.OSCILLATING: "Lower the learning rate.",
    Verdict.DRIFTING: "Recalibrate, and measure the baseline anew before judging any gradient.",
    Verdict.DEAD_LAYER: "Take these weights out, measure a wire they reach, or connect them to one that is measured.",
    Verdict.DIVERGING: "Stop, go back to the last good weights, and lower the learning rate.",
}


@dataclass(frozen=True)
class Thresholds:
    """Where the rules draw their lines.

    Attributes:
        concentrated: output variance, in units of the observable's scale, at and below which it counts as
            concentrated: a standard deviation of a tenth of what independent terms would have. Random deep circuits
            (2-designs) get there from 7 wires on.
        material: change of the loss over the window, in units of the loss's scale, from which it counts as progress.
        falling: p-value below which the loss counts as falling.
        recovering: the same once something is found wrong: of a hundred windows on a plateau one falls by chance.
        drift: standard errors by which a reference circuit may shift.
        flips: share of resolved gradients whose sign flips between measurements from which a run oscillates.
        swing: standard deviation of the loss around its trend, in units of its scale, below which flips do no harm.
        gorge: standard deviations of the loss over random weights by which the present loss may differ from their
            mean; beyond that the run is off the plateau, however flat the rest of the landscape.
        edge: the same in units of the loss's scale, where no gradient can be followed at the shots there are: who has
            come down by less is still on the plateau.
        snr: below this a finite-shot gradient can't be followed.
        explosion: rise of the loss since the start, in units of its scale or of what it was, whichever is larger.
    """

    concentrated: float = 0.01
    material: float = 0.01
    falling: float = 0.01
    recovering: float = 0.001
    drift: float = 5.0
    flips: float = 0.3
    swing: float = 0.05
    gorge: float = 5.0
    edge: float = 0.2
    snr: float = 1.0
    explosion: float = 3.0


@dataclass(frozen=True)
class Diagnosis:
    """A verdict, how sure it is, what it rests on, and what to do.

    Attributes:
        verdict: one of ten.
        confidence: 0.5 to 1: how clearly the numbers lie on this side of the rule's lines. It is no probability.
        evidence: one phrase for each number used.
        advice: what to do.
        layers: the layers concerned; empty for the whole model.
        shots_to_resolve: shots for each circuit at which the gradient's SNR would be 3; None where that was not
            measured, or no number would do.
    """

    verdict: Verdict
    confidence: float
    evidence: tuple[str, ...]
    advice: str
    layers: tuple[str, ...] = ()
    shots_to_resolve: float | None = None

    def shots_for(self, snr: float) -> float:
        """Shots for each circuit at which the gradient's SNR would be this; NaN where that is not known."""
        return math.nan if self.shots_to_resolve is None else self.shots_to_resolve * (snr / RESOLVED) ** 2

    def __str__(self) -> str:
        where = f"{', '.join(self.layers)}: " if self.layers else ""
        name = self.verdict.value.replace("_", " ")
        return f"{where}{name} (confidence {self.confidence:.2f}). {'; '.join(self.evidence)}. {self.advice}"


Rule = Callable[[Evidence, Thresholds], Diagnosis | None]


def diagnose(evidence: Evidence, thresholds: Thresholds | None = None) -> Diagnosis:
    """The verdict on a run.

    What can't be decided for lack of evidence counts as healthy with a confidence of 0.5: no remedy is better than
    the wrong one.
    """
    limits = thresholds or Thresholds()
    for rule in RULES:
        found = rule(evidence, limits)
        if found is not None:
            needed = math.inf if evidence.shots is None else evidence.shots.shots_to_resolve
            return replace(found, shots_to_resolve=needed if math.isfinite(needed) else None)
    return _verdict(Verdict.HEALTHY, 0.5, ["the evidence gathered shows no cause for concern"])


def improves(e: Evidence, t: Thresholds) -> bool:
    """Falling beyond doubt, and by enough to matter: without noise the slowest crawl is beyond doubt."""
    return e.loss.p_falling < t.falling and -e.loss.slope > t.material * e.scale


def _diverging(e: Evidence, t: Thresholds) -> Diagnosis | None:
    if not e.loss.finite:
        return _verdict(Verdict.DIVERGING, 1.0, ["the loss is NaN or infinite"])
    rise = (e.loss.now - e.loss.start) / max(e.scale, abs(e.loss.start))
    if not rise > t.explosion:
        return None
    text = f"the loss rose from {e.loss.start:.3g} to {e.loss.now:.3g}"
    return _verdict(Verdict.DIVERGING, _sure(rise / t.explosion), [text])


def _drifting(e: Evidence, t: Thresholds) -> Diagnosis | None:
    if e.drift is None or not e.drift > t.drift:
        return None
    text = f"a fixed reference circuit has shifted by {e.drift:.3g} standard errors"
    return _verdict(Verdict.DRIFTING, _sure(e.drift / t.drift), [text])


def _dead_layer(e: Evidence, t: Thresholds) -> Diagnosis | None:
    alive = [layer.name for layer in e.quantum if layer.name not in e.dead]
    if not e.dead or not alive:
        return None
    text = f"the gradient is exactly zero for every sample, while {len(alive)} other layers have one"
    return _verdict(Verdict.DEAD_LAYER, 0.99, [text], layers=e.dead)


def _oscillating(e: Evidence, t: Thresholds) -> Diagnosis | None:
    swing = e.loss.noise / e.scale
    if improves(e, t) or e.sign_flips is None or e.sign_flips < t.flips or not swing > t.swing:
        return None
    facts = [
        f"{e.sign_flips:.0%} of the resolved gradients flip sign between measurements",
        f"the loss swings by {swing:.2g} of its scale from step to step",
        _loss_text(e),
    ]
    return _verdict(Verdict.OSCILLATING, _sure(min(e.sign_flips / t.flips, swing / t.swing)), facts)


def _improving(e: Evidence, t: Thresholds) -> Diagnosis | None:
    if not improves(e, t):
        return None
    return _verdict(Verdict.HEALTHY, _sure(-e.loss.slope / (t.material * e.scale)), [_loss_text(e), _snr_text(e)])


def _concentrating(e: Evidence, t: Thresholds) -> Diagnosis | None:
    if e.concentration is None or not _is_concentrated(e.concentration, t):
        return None
    if _is_off(e, t):
        return None
    c = e.concentration
    facts = [
        f"the output varies by {c.far:.2g} of its scale over all weights and by {c.near:.2g} around these "
        f"(2-design: {c.two_design:.2g}; trainable: above {t.concentrated:g})",
        _loss_text(e),
        _snr_text(e),
    ]
    if e.shots is not None and e.shots.snr < t.snr:
        facts.append(_shots_text(e.shots))
    if e.entanglement is not None:
        facts.append(f"subsystem entropy is {e.entanglement:.0%} of the Page value")
    sure = _sure(t.concentrated / max(c.far, c.near, math.ulp(0.0)))
    if e.noiseless is not None and not _is_concentrated(e.noiseless, t):
        facts.append(f"without the noise it would vary by {e.noiseless.far:.2g} and {e.noiseless.near:.2g}")
        return _verdict(Verdict.NOISE_INDUCED, sure, facts, layers=_names(e))
    return _verdict(Verdict.BARREN_PLATEAU, sure, facts, layers=_names(e))


def _reached(e: Evidence, t: Thresholds) -> Diagnosis | None:
    if e.target is None or e.loss.now > e.target:
        return None
    return _verdict(Verdict.CONVERGED, 0.99, [f"the loss, {e.loss.now:.4g}, has reached its target {e.target:.4g}"])


def _exhausted(e: Evidence, t: Thresholds) -> Diagnosis | None:
    gained = (e.loss.start - e.loss.now) / e.scale
    if e.target is not None or not gained > max(2 * t.material, 3 * e.loss.noise / e.scale):
        return None
    if e.landscape is not None and e.landscape.share_better > 0.05:
        return None
    facts = [f"the loss has fallen by {gained:.2g} of its scale since the start and no further", _loss_text(e)]
    if e.landscape is not None:
        facts.append("random weights do no better")
    sure = _sure(gained / (2 * t.material)) if e.landscape is not None else 0.6
    found = _verdict(Verdict.CONVERGED, sure, facts)
    if e.shots is None or not e.shots.snr < t.snr:
        return found
    advice = "Stop, or take more shots: this may be as far as these show the way."
    return replace(found, evidence=(*found.evidence, _shots_text(e.shots)), advice=advice)


def _shot_limited(e: Evidence, t: Thresholds) -> Diagnosis | None:
    if e.shots is None or not e.shots.snr < t.snr or math.isinf(e.shots.shots_to_resolve):
        return None
    sure = _sure(t.snr / max(e.shots.snr, math.ulp(0.0)))
    return _verdict(Verdict.SHOT_LIMITED, sure, [_shots_text(e.shots), _loss_text(e)], layers=_names(e))


def _crawling(e: Evidence, t: Thresholds) -> Diagnosis | None:
    """No progress within the window, which may be short, but some over the latter half of the run."""
    if not (e.loss.half_p_falling < t.falling and -e.loss.half_change > t.material * e.scale):
        return None
    change = e.loss.half_change / e.scale
    facts = [f"over the latter half of the run the loss changed by {change:+.2g} of its scale", _loss_text(e)]
    return _verdict(Verdict.HEALTHY, _sure(-change / t.material), facts)


def _slow(e: Evidence, t: Thresholds) -> Diagnosis | None:
    """A gradient that can be followed and leads down, taken in small steps."""
    resolved = [layer.snr for layer in e.quantum if not math.isnan(layer.snr)]
    steep = [layer.signal for layer in e.quantum if not math.isnan(layer.signal)]
    if not resolved or min(resolved) < RESOLVED or math.sqrt(max(steep)) < t.material * e.scale:
        return None
    facts = [_snr_text(e), _loss_text(e)]
    advice = "The gradient is there, but the loss hardly moves: raise the learning rate."
    return Diagnosis(Verdict.HEALTHY, 0.6, tuple(facts), advice)


def _trapped(e: Evidence, t: Thresholds) -> Diagnosis | None:
    if e.concentration is None and e.landscape is None:
        return None
    facts = [_loss_text(e), _snr_text(e)]
    sure = 0.6
    if e.concentration is not None:
        c = e.concentration
        facts.append(f"the output does vary, by {c.far:.2g} of its scale over all weights, {c.near:.2g} around these")
        sure = _sure(max(c.far, c.near) / t.concentrated)
    if e.curvature is not None:
        facts.append(f"the curvature is positive along {e.curvature.share_positive:.0%} of the weights probed")
    if e.landscape is not None:
        facts.append(f"{e.landscape.share_better:.0%} of random weights do better")
    return _verdict(Verdict.LOCAL_MINIMUM, sure, facts)


RULES: tuple[Rule, ...] = (
    _diverging,
    _drifting,
    _dead_layer,
    _oscillating,
    _improving,
    _concentrating,
    _reached,
    _crawling,
    _exhausted,
    _shot_limited,
    _slow,
    _trapped,
)
"""In the order they are asked: what invalidates all else first, what needs the most evidence last."""


def _verdict(verdict: Verdict, confidence: float, evidence: list[str], layers: tuple[str, ...] = ()) -> Diagnosis:
    return Diagnosis(verdict, confidence, tuple(evidence), ADVICE[verdict], layers)


def _is_concentrated(c: Concentration, t: Thresholds) -> bool:
    return c.far <= t.concentrated and c.near <= t.concentrated


def _is_off(e: Evidence, t: Thresholds) -> bool:
    """Whether the run has left the plateau, for a gorge in it."""
    if e.landscape is None:
        return False
    distance = abs(e.landscape.here - e.landscape.mean)
    stuck = e.shots is not None and e.shots.snr < t.snr
    return distance > max(t.gorge * e.landscape.std, t.edge * e.scale if stuck else 0.0)


def _sure(ratio: float) -> float:
    """Confidence from how many times a number is beyond its line: 0.5 on it, 0.8 at 4 times, 0.99 at 100 times."""
    return min(0.99, ratio / (1 + ratio)) if math.isfinite(ratio) else 0.99


def _loss_text(e: Evidence) -> str:
    if math.isnan(e.loss.slope):
        return "there are too few losses for a trend"
    return f"over the window the loss changed by {e.loss.slope / e.scale:+.2g} of its scale"


def _snr_text(e: Evidence) -> str:
    ratios = [layer.snr for layer in e.quantum if not math.isnan(layer.snr)]
    if not ratios:
        return "no gradient to measure an SNR of"
    text = f"gradient SNR {min(ratios):.2g} to {max(ratios):.2g} (source {e.quantum[0].source})"
    if e.baseline:
        lowest = min(e.baseline, key=lambda name: e.baseline[name])
        text += f", in {lowest} {e.baseline[lowest]:+.1f} standard deviations from comparable runs"
    return text


def _shots_text(shots: ShotSignal) -> str:
    text = f"with {shots.shots} shots the gradient's SNR is {shots.snr:.2g}"
    needed = float(f"{shots.shots_to_resolve:.2g}")
    return text if math.isinf(needed) else f"{text}, and {needed:,.0f} would resolve it"


def _names(e: Evidence) -> tuple[str, ...]:
    return tuple(layer.name for layer in e.quantum)
