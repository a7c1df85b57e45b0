"""`diagnose`: each verdict, what it asks for before, and the traps that fool simpler rules. Stories in numbers."""

from __future__ import annotations

from dataclasses import replace

import pytest

from torchbp.diagnosis.concentration import Concentration
from torchbp.diagnosis.evidence import (
    Descent,
    Elsewhere,
    Evidence,
    Gain,
    LayerEvidence,
    LossLandscape,
    ShotSignal,
)
from torchbp.diagnosis.plateau import Experiment, Thresholds, diagnose, progresses
from torchbp.diagnosis.trend import LossTrend
from torchbp.diagnosis.verdicts import Diagnosis, Verdict

FLAT = Concentration(far=2e-4, near=3e-4, two_design=3.9e-3, evaluations=64, radius=0.4)
VARIED = Concentration(far=0.12, near=0.06, two_design=3.9e-3, evaluations=64, radius=0.4)
HILLS = LossLandscape(here=0.7, mean=0.8, std=0.2, share_better=0.4)
PLAIN = LossLandscape(here=0.8, mean=0.8, std=1e-4, share_better=0.5)
GORGE = LossLandscape(here=0.1, mean=0.8, std=1e-4, share_better=0.0)
NOTHING, MUCH = Gain(0.001, 0.001, 8), Gain(0.3, 0.01, 8)
CLEAR, HIDDEN = ShotSignal(10, 4.0, 6), ShotSignal(10, 0.4, 560)

STANDING = LossTrend(1.0, 1.0, 1.0, 0.0, 0.5, 0.01, 20, True)
FALLING = LossTrend(1.0, 1.0, 0.7, -0.1, 1e-6, 0.01, 20, True)
SMOOTH = replace(STANDING, change=-1e-6, p_falling=1e-9)

SEEN = LayerEvidence("q", ("q/layer0", "q/layer1"), matters=True, concentration=VARIED, landscape=HILLS)
STUCK = Evidence(100, STANDING, (SEEN,), span=0.5, scale=1.0, horizon=100, stalled=2, patience=2)
LEARNING = replace(STUCK, loss=FALLING, stalled=0)


def with_layer(evidence: Evidence = STUCK, **changes: object) -> Evidence:
    return replace(evidence, layers=(replace(SEEN, **changes),))  # type: ignore[arg-type]


STORIES = {
    "the loss falls": (LEARNING, Verdict.HEALTHY),
    "nothing is known of what there is to gain": (replace(LEARNING, span=float("nan")), Experiment.SURVEY),
    "a crawl without noise is beyond doubt, and no progress": (
        replace(STUCK, loss=SMOOTH, stalled=0),
        None,
    ),
    "one look without progress": (replace(STUCK, stalled=1), None),
    "the loss is not finite": (replace(LEARNING, loss=replace(FALLING, finite=False)), Verdict.DIVERGING),
    "the loss explodes": (replace(STUCK, loss=replace(STANDING, now=9.0)), Verdict.DIVERGING),
    "batches differ by as much as the loss rose": (
        replace(STUCK, loss=replace(STANDING, now=4.0, noise=2.0), stalled=1),
        None,
    ),
    "nothing is trained": (with_layer(untrained="none of its weights requires a gradient"), Verdict.NOT_TRAINED),
    "the machine drifts": (replace(LEARNING, drift=9.0), Verdict.DRIFTING),
    "a dead layer in a run that learns": (with_layer(LEARNING, dead=("q/layer1",)), Verdict.DEAD_LAYER),
    "the target is reached": (replace(STUCK, target=1.5), Verdict.CONVERGED),
    "doubt, and nobody has looked": (with_layer(landscape=None, concentration=None), Experiment.SURVEY),
    "the loss does not notice the layer": (with_layer(matters=False), Verdict.DEAD_LAYER),
    "shots, and nobody has looked at them": (with_layer(n_shots=10), Experiment.SHOTS),
    "the output concentrates": (with_layer(concentration=FLAT, landscape=PLAIN), Verdict.BARREN_PLATEAU),
    "it concentrates, but for one draw in a gorge": (
        with_layer(concentration=replace(FLAT, far=0.03), landscape=replace(PLAIN, std=2e-3)),
        Verdict.BARREN_PLATEAU,
    ),
    "it concentrates, but here is a gorge": (with_layer(concentration=FLAT, landscape=GORGE), Experiment.DESCEND),
    "it concentrates with noise only": (
        with_layer(concentration=FLAT, landscape=PLAIN, noiseless=VARIED),
        Verdict.NOISE_INDUCED,
    ),
    "it concentrates with and without noise": (
        with_layer(concentration=FLAT, landscape=PLAIN, noiseless=FLAT),
        Verdict.BARREN_PLATEAU,
    ),
    "the loss falls, the circuit has no part in it and nobody has looked": (
        with_layer(LEARNING, share=0.0, landscape=None),
        Experiment.SURVEY,
    ),
    "the loss falls without a circuit that concentrates": (
        with_layer(LEARNING, share=0.01, concentration=FLAT, landscape=PLAIN),
        Verdict.BARREN_PLATEAU,
    ),
    "the loss falls by a circuit that concentrates": (
        with_layer(LEARNING, share=0.9, concentration=FLAT, landscape=PLAIN),
        Verdict.HEALTHY,
    ),
    "the loss falls, a circuit that could take part does not": (with_layer(LEARNING, share=0.0), Verdict.HEALTHY),
    "nobody has gone down": (STUCK, Experiment.DESCEND),
    "the way down is there": (replace(STUCK, descent=Descent(MUCH)), Verdict.HEALTHY),
    "the way down is there, and shots hide it": (
        replace(with_layer(n_shots=10, shots=HIDDEN), descent=Descent(MUCH)),
        Verdict.SHOT_LIMITED,
    ),
    "the way down is there, and shots show it": (
        replace(with_layer(n_shots=10, shots=CLEAR), descent=Descent(MUCH)),
        Verdict.HEALTHY,
    ),
    "steps are too long": (
        replace(STUCK, loss=replace(STANDING, noise=0.2), descent=Descent(MUCH, overshoot=0.1, shorter=-0.1)),
        Verdict.OSCILLATING,
    ),
    "a long step from a quiet loss": (
        replace(STUCK, loss=replace(STANDING, noise=1e-4), descent=Descent(MUCH, overshoot=0.1, shorter=-0.1)),
        Verdict.HEALTHY,
    ),
    "batches differ too much": (replace(STUCK, descent=Descent(Gain(0.01, 0.02, 8))), Verdict.UNDECIDED),
    "noise, and nobody has left it out": (
        replace(with_layer(noisy=True), descent=Descent(NOTHING)),
        Experiment.NOISELESS,
    ),
    "noise takes the way down": (
        replace(with_layer(noisy=True), descent=Descent(NOTHING), noiseless=MUCH),
        Verdict.NOISE_INDUCED,
    ),
    "at the bottom, with noise and without": (
        replace(with_layer(noisy=True), descent=Descent(NOTHING), noiseless=NOTHING),
        Experiment.ELSEWHERE,
    ),
    "at the bottom": (replace(STUCK, descent=Descent(NOTHING)), Experiment.ELSEWHERE),
    "other starts get lower": (
        replace(STUCK, descent=Descent(NOTHING), elsewhere=Elsewhere(4, MUCH)),
        Verdict.LOCAL_MINIMUM,
    ),
    "no start gets lower": (
        replace(STUCK, descent=Descent(NOTHING), elsewhere=Elsewhere(4, NOTHING)),
        Verdict.CONVERGED,
    ),
    "no start gets lower, the target is": (
        replace(STUCK, target=0.5, descent=Descent(NOTHING), elsewhere=Elsewhere(4, NOTHING)),
        Verdict.LOCAL_MINIMUM,
    ),
    "experiments can't be made": (replace(STUCK, missing="a machine has no exact values"), Verdict.UNDECIDED),
}


@pytest.mark.parametrize("story", STORIES)
def test_stories(story: str) -> None:
    evidence, expected = STORIES[story]
    answer = diagnose(evidence)
    assert (answer.verdict if isinstance(answer, Diagnosis) else answer) == expected
    if isinstance(answer, Diagnosis):
        assert 0 <= answer.confidence <= 1
        assert answer.evidence
        assert answer.advice.endswith((".", "!"))


def test_only_the_stuck_one_of_two_is_named() -> None:
    other = replace(SEEN, path="deep", names=("deep/layer0",), concentration=FLAT, landscape=PLAIN, share=0.0)
    found = diagnose(replace(LEARNING, layers=(replace(SEEN, share=0.9), other)))
    assert isinstance(found, Diagnosis)
    assert (found.verdict, found.layers) == (Verdict.BARREN_PLATEAU, ("deep/layer0",))


def test_what_else_was_found() -> None:
    """Several causes are several findings: the one to act on is the verdict."""
    frozen = replace(SEEN, path="f", names=("f/layer0",), untrained="none of its weights requires a gradient")
    flat = replace(SEEN, dead=("q/layer1",), concentration=FLAT, landscape=PLAIN)
    found = diagnose(replace(STUCK, layers=(flat, frozen)))
    assert isinstance(found, Diagnosis)
    assert found.verdict is Verdict.BARREN_PLATEAU
    assert [(f.verdict, f.layers) for f in found.findings] == [
        (Verdict.NOT_TRAINED, ("f/layer0",)),
        (Verdict.DEAD_LAYER, ("q/layer1",)),
    ]


def test_the_unit_is_what_there_is_to_gain() -> None:
    """Losses a million times as large or small, and offsets, change nothing."""
    for unit in (1e-6, 1e6):
        loss = replace(FALLING, first=1e3, start=1e3, now=1e3 - 0.3 * unit, change=-0.1 * unit, noise=0.01 * unit)
        assert progresses(replace(LEARNING, loss=loss, span=0.5 * unit, scale=unit), Thresholds())


def test_it_reads_as_a_sentence() -> None:
    found = diagnose(with_layer(concentration=FLAT, landscape=PLAIN))
    assert isinstance(found, Diagnosis)
    text = str(replace(found, onset=40, confidence=0.9))
    assert text.startswith("Barren plateau in all 2 layers since step 40 (90% sure): the output varies by 0.0002")
    assert text.count(". ") == 0
    assert found.advice in found.details


def test_shots_for_an_snr() -> None:
    """Shots grow with the square of the SNR; 3 is what `shots_to_resolve` is for."""
    evidence = replace(with_layer(n_shots=10, shots=HIDDEN), descent=Descent(MUCH))
    found = diagnose(evidence)
    assert isinstance(found, Diagnosis)
    assert found.shots_for(3.0) == pytest.approx(560)
    assert found.shots_for(1.0) == pytest.approx(560 / 9)


def test_converged_as_far_as_the_shots_allow() -> None:
    found = diagnose(
        replace(
            with_layer(n_shots=10, shots=HIDDEN),
            descent=Descent(NOTHING),
            elsewhere=Elsewhere(4, NOTHING),
        )
    )
    assert isinstance(found, Diagnosis)
    assert found.verdict is Verdict.CONVERGED
    assert "with 10 shots the gradient's SNR is 0.4, and 560 would resolve it" in found.evidence


def test_a_diagnosis_goes_through_json() -> None:
    frozen = replace(SEEN, path="f", names=("f/layer0",), untrained="it has no weights")
    found = diagnose(replace(STUCK, layers=(replace(SEEN, concentration=FLAT, landscape=PLAIN), frozen)))
    assert isinstance(found, Diagnosis)
    assert Diagnosis.loads(found.dumps()) == found


def test_comparable_runs_are_told_of() -> None:
    """The layer that lies lowest. Oracle: by hand."""
    found = diagnose(replace(LEARNING, baseline={"q/layer0": 0.4, "q/layer1": -2.5}))
    assert isinstance(found, Diagnosis)
    assert found.evidence[-1] == "the gradient in q/layer1 is -2.5 standard deviations from comparable runs"


def test_thresholds_are_the_callers() -> None:
    assert diagnose(replace(STUCK, descent=Descent(MUCH)), Thresholds(material=0.9)) is not None
    found = diagnose(with_layer(concentration=FLAT, landscape=PLAIN), Thresholds(concentrated=1e-6))
    assert found is Experiment.DESCEND
