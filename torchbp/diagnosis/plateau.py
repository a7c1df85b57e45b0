"""From evidence to verdict: why a hybrid network does not learn, or that it does. Pure functions.

`diagnose` asks what would make the run better, one question after another, cheap ones first. Its answer is a verdict,
or the experiment whose outcome the next question needs, or None as long as there is no reason to ask. A low SNR alone
decides nothing: a converged model has one too, and on a noiseless simulator a plateau has none.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from enum import Enum

from torchbp.diagnosis.concentration import Concentration
from torchbp.diagnosis.confidence import confidence
from torchbp.diagnosis.evidence import Evidence, LayerEvidence, ShotSignal
from torchbp.diagnosis.verdicts import ADVICE, Diagnosis, Finding, Verdict


class Experiment(str, Enum):
    """What can be tried on held batches, leaving no trace."""

    SURVEY = "survey"
    """Outputs near and far, and the loss at random weights of each quantum module."""
    SHOTS = "shots"
    """The exact gradient against what the present shots show of it."""
    DESCEND = "descend"
    """Go down from here; take a step as long as the optimizer's, and shorter ones."""
    NOISELESS = "noiseless"
    """Go down from here without the noise model."""
    ELSEWHERE = "elsewhere"
    """Go down from other weights of the quantum modules."""


@dataclass(frozen=True)
class Thresholds:
    """Where the questions draw their lines; all are shares or multiples, none has a unit.

    Attributes:
        material: share of what there is to gain (`Evidence.span`) from which a change of the loss matters.
        falling: p-value below which the loss counts as falling.
        concentrated: output variance, in units of the observable's scale, at and below which it counts as
            concentrated: a standard deviation of a tenth of what independent terms would have. Random deep circuits
            (2-designs) get there from 7 wires on.
        gorge: standard deviations of the loss over random weights by which the present loss may differ from their
            mean; beyond that the run is off the plateau, however flat the rest of the landscape.
        edge: the same in units of the loss's scale, where no gradient can be followed at the shots there are: who has
            come down by less is still on the plateau.
        share: of the loss's fall, below which a concentrated layer has no part in it.
        left: share of the way down that noise must leave, or it is the noise that keeps the run from it.
        snr: below this a finite-shot gradient can't be followed.
        drift: standard errors by which a reference circuit may shift.
        explosion: rise of the loss since the start, in units of its scale or of what there is to gain.
    """

    material: float = 0.02
    falling: float = 0.01
    concentrated: float = 0.01
    gorge: float = 5.0
    edge: float = 0.2
    share: float = 0.05
    left: float = 0.2
    snr: float = 1.0
    drift: float = 5.0
    explosion: float = 3.0


Answer = Diagnosis | Experiment | None
Question = Callable[[Evidence, Thresholds], Answer]


def diagnose(evidence: Evidence, thresholds: Thresholds | None = None) -> Answer:
    """The verdict on a run, or the experiment that is needed for one, or None while there is nothing to ask."""
    limits = thresholds or Thresholds()
    for question in (*AT_EVERY_LOOK, *(IN_DOUBT if evidence.doubtful else ())):
        answer = question(evidence, limits)
        if isinstance(answer, Diagnosis):
            return _complete(answer, evidence)
        if answer is not None:
            return _undecided(evidence, evidence.missing) if evidence.missing else answer
    return _structural(evidence)


def progresses(e: Evidence, t: Thresholds) -> bool:
    """Falling beyond doubt, and fast enough to matter: without noise the slowest crawl is beyond doubt."""
    ahead = e.loss.rate * e.horizon
    return e.loss.p_falling < t.falling and not ahead <= t.material * e.whole  # which may not be known yet


def _diverging(e: Evidence, t: Thresholds) -> Answer:
    if not e.loss.finite:
        return _verdict(e, Verdict.DIVERGING, ["the loss is NaN or infinite"])
    if not e.loss.now - e.loss.first > t.explosion * max(e.whole, e.loss.noise):  # which may not be known yet
        return None
    return _verdict(e, Verdict.DIVERGING, [f"the loss rose from {e.loss.first:.3g} to {e.loss.now:.3g}"])


def _untrained(e: Evidence, t: Thresholds) -> Answer:
    if not e.layers or e.trained:
        return None
    return _verdict(e, Verdict.NOT_TRAINED, [layer.untrained for layer in e.layers[:1]], _names(e.layers))


def _drifting(e: Evidence, t: Thresholds) -> Answer:
    if e.drift is None or not e.drift > t.drift:
        return None
    return _verdict(e, Verdict.DRIFTING, [f"a fixed reference circuit has shifted by {e.drift:.3g} standard errors"])


def _ready(e: Evidence, t: Thresholds) -> Answer:
    """What there is to gain is measured before anything is called small."""
    return Experiment.SURVEY if math.isnan(e.span) else None


def _progressing(e: Evidence, t: Thresholds) -> Answer:
    if not progresses(e, t):
        return None
    idle = [x for x in e.trained if x.share is not None and x.share < t.share]
    if any(x.landscape is None for x in idle):
        return Experiment.SURVEY
    left_behind = [x for x in idle if _concentrates(x, e, t)]
    if left_behind:
        facts = ["the loss falls without it: " + _concentration_text(left_behind[0], t)]
        facts.append(f"its steps brought {max(0.0, left_behind[0].share or 0.0):.0%} of the fall")
        return _verdict(e, Verdict.BARREN_PLATEAU, facts, _names(left_behind))
    return _fine(e, [_loss_text(e)])


def _reached(e: Evidence, t: Thresholds) -> Answer:
    if e.target is None or not e.loss.now <= e.target:
        return None
    return _verdict(e, Verdict.CONVERGED, [f"the loss, {e.loss.now:.4g}, has reached its target {e.target:.4g}"])


def _surveyed(e: Evidence, t: Thresholds) -> Answer:
    return Experiment.SURVEY if any(x.landscape is None for x in e.trained) else None


def _compared(e: Evidence, t: Thresholds) -> Answer:
    """What the shots show is known before anything is blamed on the circuit."""
    return Experiment.SHOTS if any(x.n_shots is not None and x.shots is None for x in e.trained) else None


def _cut_off(e: Evidence, t: Thresholds) -> Answer:
    if not e.trained or any(x.matters is not False for x in e.trained):
        return None
    return _verdict(e, Verdict.DEAD_LAYER, ["the loss does not change with its weights at all"], _names(e.trained))


def _concentrating(e: Evidence, t: Thresholds) -> Answer:
    flat = [x for x in e.trained if _concentrates(x, e, t)]
    if not flat:
        return None
    worst = flat[0]
    facts = [_concentration_text(worst, t), _loss_text(e)]
    if worst.shots is not None and worst.shots.snr < t.snr:
        facts.append(_shots_text(worst.shots))
    if worst.entanglement is not None:
        facts.append(f"subsystem entropy is {worst.entanglement:.0%} of the Page value")
    if worst.noiseless is not None and not _is_concentrated(worst.noiseless, t):
        facts.append(f"without the noise it would vary by {worst.noiseless.far:.2g} and {worst.noiseless.near:.2g}")
        return _verdict(e, Verdict.NOISE_INDUCED, facts, _names(flat))
    return _verdict(e, Verdict.BARREN_PLATEAU, facts, _names(flat))


def _descended(e: Evidence, t: Thresholds) -> Answer:
    return Experiment.DESCEND if e.descent is None else None


def _noise_induced(e: Evidence, t: Thresholds) -> Answer:
    """The way down is there without the noise, and not with it: what is left of the landscape is the noise's."""
    assert e.descent is not None
    if not any(x.noisy for x in e.trained):
        return None
    if e.noiseless is None:
        return Experiment.NOISELESS
    line = t.material * max(e.whole, e.noiseless.mean)
    if not e.noiseless.exceeds(line) or not e.descent.gain.mean < e.noiseless.mean * t.left:
        return None
    lost = f"{1 - max(0.0, e.descent.gain.mean) / e.noiseless.mean:.0%}"
    facts = [f"going down would bring {e.noiseless.mean:.2g} without the noise, of which it takes {lost}"]
    return _verdict(e, Verdict.NOISE_INDUCED, facts, _names([x for x in e.trained if x.noisy]))


def _shot_limited(e: Evidence, t: Thresholds) -> Answer:
    """A smaller gain counts here: no patience brings it, shots do."""
    assert e.descent is not None
    if not e.descent.gain.exceeds(t.material * e.whole / 4):
        return None
    known = [x for x in e.trained if x.shots is not None and not math.isinf(x.shots.shots_to_resolve)]
    hidden = [x for x in known if x.shots is not None and x.shots.snr < t.snr]
    if not hidden:
        return None
    assert hidden[0].shots is not None
    facts = [_shots_text(hidden[0].shots), _gain_text(e, "without shot noise")]
    return _verdict(e, Verdict.SHOT_LIMITED, facts, _names(hidden))


def _oscillating(e: Evidence, t: Thresholds) -> Answer:
    assert e.descent is not None
    d = e.descent
    line = t.material * e.whole
    if not d.gain.exceeds(line) or not d.shorter < min(0.0, d.overshoot) - line:
        return None
    if not e.loss.noise > t.material * e.whole / 2:
        return None
    facts = [
        "a step shorter than the optimizer's leads further down",
        f"the loss swings by {e.loss.noise / e.whole:.0%} of what there is to gain",
        _gain_text(e, "with shorter steps"),
    ]
    return _verdict(e, Verdict.OSCILLATING, facts)


def _slow(e: Evidence, t: Thresholds) -> Answer:
    assert e.descent is not None
    if not e.descent.gain.exceeds(t.material * e.whole):
        return None
    found = _fine(e, [_gain_text(e, "down from here"), _loss_text(e)])
    advice = "The way down is there, but the loss hardly moves: raise the learning rate, or wait."
    return replace(found, advice=advice) if found.verdict is Verdict.HEALTHY else found


def _unclear(e: Evidence, t: Thresholds) -> Answer:
    assert e.descent is not None
    gain, line = e.descent.gain, t.material * e.whole
    if gain.stays_below(line):
        return None
    text = f"batches differ too much to tell a gain of {line:.2g} from none: {gain.count} parts left ± {gain.error:.2g}"
    return _undecided(e, text)


def _elsewhere(e: Evidence, t: Thresholds) -> Answer:
    if e.elsewhere is None:
        return Experiment.ELSEWHERE
    line = t.material * e.whole
    missed = e.target is not None and e.loss.now > e.target
    if not e.elsewhere.gain.exceeds(line) and not missed:
        return None
    lower = f"{e.elsewhere.gain.mean / e.whole:.0%} of what there is to gain"
    facts = [
        f"going down from {e.elsewhere.starts} other starts ends lower by up to {lower}",
        _gain_text(e, "down from here"),
    ]
    if not e.elsewhere.gain.exceeds(line):
        facts[0] = f"the target {e.target:.4g} is not reached, and nothing leads further down from here"
    return _verdict(e, Verdict.LOCAL_MINIMUM, facts)


def _converged(e: Evidence, t: Thresholds) -> Answer:
    assert e.elsewhere is not None
    facts = [
        f"nothing leads further down, neither from here nor from {e.elsewhere.starts} other starts",
        _gain_text(e, "down from here"),
    ]
    hidden = [x.shots for x in e.trained if x.shots is not None and x.shots.snr < t.snr]
    found = _verdict(e, Verdict.CONVERGED, facts)
    if not hidden:
        return found
    return replace(found, evidence=(*facts, _shots_text(hidden[0])))


AT_EVERY_LOOK: tuple[Question, ...] = (_diverging, _untrained, _drifting, _ready, _progressing)
"""What invalidates all else, first."""

IN_DOUBT: tuple[Question, ...] = (
    _reached,
    _surveyed,
    _cut_off,
    _compared,
    _concentrating,
    _descended,
    _noise_induced,
    _shot_limited,
    _oscillating,
    _slow,
    _unclear,
    _elsewhere,
    _converged,
)
"""Asked once progress has been missing for a while, what costs the most evaluations last."""


def _concentrates(x: LayerEvidence, e: Evidence, t: Thresholds) -> bool:
    """Whether the module is on a plateau: its output concentrates, and the loss is where random weights have it."""
    if x.concentration is None or not (_is_concentrated(x.concentration, t) or _is_flat(x, e, t)):
        return False
    if x.landscape is None:
        return True
    distance = abs(x.landscape.here - x.landscape.mean)
    stuck = x.shots is not None and x.shots.snr < t.snr and not math.isnan(e.scale)
    return not distance > max(t.gorge * x.landscape.std, t.edge * e.scale if stuck else 0.0)


def _is_concentrated(c: Concentration, t: Thresholds) -> bool:
    return c.far <= t.concentrated and c.near <= t.concentrated


def _is_flat(x: LayerEvidence, e: Evidence, t: Thresholds) -> bool:
    """The variance of a global observable has heavy tails: one draw in a gorge hides how flat all others are."""
    assert x.concentration is not None
    if x.landscape is None or math.isnan(e.scale) or x.concentration.near > t.concentrated:
        return False
    return x.landscape.std <= t.concentrated * e.scale


def _structural(e: Evidence) -> Diagnosis | None:
    """What is wrong whatever the loss does: layers that are dead."""
    dead = [name for x in e.trained for name in x.dead]
    if not dead:
        return None
    return _verdict(e, Verdict.DEAD_LAYER, ["its gradient is exactly zero for every sample, others have one"], dead)


def _fine(e: Evidence, facts: Sequence[str]) -> Diagnosis:
    return _structural(e) or _verdict(e, Verdict.HEALTHY, facts)


def _undecided(e: Evidence, why: str) -> Diagnosis:
    return _structural(e) or _verdict(e, Verdict.UNDECIDED, [why])


def _verdict(e: Evidence, verdict: Verdict, facts: Sequence[str], layers: Sequence[str] = ()) -> Diagnosis:
    return Diagnosis(verdict, confidence(verdict, e), tuple(facts), ADVICE[verdict], tuple(layers))


def _complete(found: Diagnosis, e: Evidence) -> Diagnosis:
    """The diagnosis with what else was found, and with the shots that would resolve the gradient."""
    others = [
        Finding(Verdict.NOT_TRAINED, x.names, (x.untrained,))
        for x in e.layers
        if x.untrained and found.verdict is not Verdict.NOT_TRAINED
    ]
    dead = tuple(name for x in e.trained for name in x.dead)
    if dead and found.verdict is not Verdict.DEAD_LAYER:
        others.append(Finding(Verdict.DEAD_LAYER, dead, ("the gradient is exactly zero for every sample",)))
    needed = [x.shots.shots_to_resolve for x in e.layers if x.shots is not None]
    finite = [number for number in needed if math.isfinite(number)]
    if e.baseline:
        lowest = min(e.baseline, key=lambda name: e.baseline[name])
        text = f"the gradient in {lowest} is {e.baseline[lowest]:+.1f} standard deviations from comparable runs"
        found = replace(found, evidence=(*found.evidence, text))
    needed_shots = max(finite) if finite else None
    return replace(found, findings=tuple(others), shots_to_resolve=needed_shots, every=_names(e.layers))


def _names(layers: Sequence[LayerEvidence]) -> tuple[str, ...]:
    return tuple(name for layer in layers for name in layer.names)


def _concentration_text(x: LayerEvidence, t: Thresholds) -> str:
    c = x.concentration
    assert c is not None
    return (
        f"the output varies by {c.far:.2g} of its scale over all weights and by {c.near:.2g} around these "
        f"(2-design: {c.two_design:.2g}; trainable: above {t.concentrated:g})"
    )


def _loss_text(e: Evidence) -> str:
    if math.isnan(e.loss.change):
        return "there are too few losses for a trend"
    unit = e.whole if e.whole > 0 else 1.0
    return f"over {e.loss.steps} steps the loss changed by {e.loss.change / unit:+.1%} of what there is to gain"


def _gain_text(e: Evidence, where: str) -> str:
    assert e.descent is not None
    gain = e.descent.gain
    unit = e.whole if e.whole > 0 else 1.0
    error = f" ± {gain.error / unit:.1%}" if gain.error else ""
    return f"{gain.mean / unit:.1%}{error} of what there is to gain lies {where}"


def _shots_text(shots: ShotSignal) -> str:
    text = f"with {shots.shots} shot{'s' * (shots.shots > 1)} the gradient's SNR is {shots.snr:.2g}"
    needed = float(f"{shots.shots_to_resolve:.2g}")
    return text if math.isinf(needed) else f"{text}, and {needed:,.0f} would resolve it"
