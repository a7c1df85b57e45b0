"""`diagnose`: each of the ten verdicts, and the traps that fool simpler rules. Stories in numbers, no training."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest

from torchbp.diagnosis.concentration import Concentration
from torchbp.diagnosis.evidence import Curvature, Evidence, LossLandscape, LossTrend, ShotSignal
from torchbp.diagnosis.plateau import Diagnosis, Thresholds, Verdict, diagnose
from torchbp.gradients.stats import LayerSummary

FLAT = Concentration(far=2e-4, near=3e-4, two_design=3.9e-3, evaluations=64, radius=0.4)
VARIED = Concentration(far=0.12, near=0.06, two_design=3.9e-3, evaluations=64, radius=0.4)
MINIMUM = LossLandscape(here=0.1, mean=0.8, std=0.2, share_better=0.0)
TRAP = LossLandscape(here=0.7, mean=0.8, std=0.2, share_better=0.4)


def layer(name: str = "q/layer0", kind: str = "quantum", snr: float = 5.0, gradient: float = 0.05) -> LayerSummary:
    return LayerSummary(name, kind, "microbatch", 8, 8, snr, gradient, 1e-4, gradient**2, 0.9, 1e-6)  # type: ignore[arg-type]


def trend(start: float = 1.0, now: float = 1.0, slope: float = 0.0, p: float = 0.5, **rest: object) -> LossTrend:
    return replace(LossTrend(start, now, slope, p, 0.01, 0.0, 0.0, 0.5, True), **rest)  # type: ignore[arg-type]


STUCK = Evidence(100, (layer(snr=0.7, gradient=1e-4),), trend(), scale=1.0)
LEARNING = Evidence(100, (layer(),), trend(now=0.7, slope=-0.1, p=1e-6), scale=1.0)

STORIES = {
    "the loss falls": (LEARNING, Verdict.HEALTHY),
    "slow, but the gradient is there": (replace(STUCK, layers=(layer(),), concentration=VARIED), Verdict.HEALTHY),
    "the output concentrates": (replace(STUCK, concentration=FLAT, landscape=TRAP), Verdict.BARREN_PLATEAU),
    "it concentrates with noise only": (
        replace(STUCK, concentration=FLAT, noiseless=VARIED),
        Verdict.NOISE_INDUCED,
    ),
    "it concentrates with and without noise": (
        replace(STUCK, concentration=FLAT, noiseless=FLAT),
        Verdict.BARREN_PLATEAU,
    ),
    "too few shots": (
        replace(STUCK, concentration=VARIED, landscape=TRAP, shots=ShotSignal(10, 0.4, 560)),
        Verdict.SHOT_LIMITED,
    ),
    "stuck, other weights do better": (
        replace(STUCK, concentration=VARIED, landscape=TRAP, curvature=Curvature(16, 0.9, 0.1)),
        Verdict.LOCAL_MINIMUM,
    ),
    "target reached": (replace(STUCK, loss=trend(now=0.1), target=0.2, concentration=VARIED), Verdict.CONVERGED),
    "no progress in the window, some in half of the run": (
        replace(STUCK, loss=trend(now=0.7, half_change=-0.05, half_p_falling=1e-4), concentration=VARIED),
        Verdict.HEALTHY,
    ),
    "fallen far, and nothing better anywhere": (
        replace(STUCK, loss=trend(now=0.1), concentration=VARIED, landscape=MINIMUM),
        Verdict.CONVERGED,
    ),
    "clear gradients that flip": (
        replace(STUCK, layers=(layer(snr=20),), loss=trend(noise=0.3), sign_flips=0.6),
        Verdict.OSCILLATING,
    ),
    "the reference circuit moved": (replace(LEARNING, drift=9.0), Verdict.DRIFTING),
    "one layer without any gradient": (
        replace(LEARNING, layers=(layer(), layer("q/layer1", gradient=0.0)), dead=("q/layer1",)),
        Verdict.DEAD_LAYER,
    ),
    "not a number": (replace(LEARNING, loss=trend(finite=False)), Verdict.DIVERGING),
    "an explosion": (replace(STUCK, loss=trend(start=1.0, now=9.0)), Verdict.DIVERGING),
    "a small head, whose loss wanders by many times its scale": (
        replace(STUCK, loss=trend(start=2.3, now=2.4), scale=0.005, concentration=VARIED),
        Verdict.LOCAL_MINIMUM,
    ),
    # The traps.
    "converged, its gradient smaller than a plateau's": (
        replace(
            STUCK,
            layers=(layer(snr=0.5, gradient=1e-7),),
            loss=trend(now=0.05),
            concentration=VARIED,
            landscape=MINIMUM,
        ),
        Verdict.CONVERGED,
    ),
    "a large classical head over a dead quantum part": (
        replace(STUCK, layers=(*STUCK.layers, layer("head", "classical", 50, 1.0)), concentration=FLAT),
        Verdict.BARREN_PLATEAU,
    ),
    "an exact simulator, the plateau's SNR is 20 and the loss crawls": (
        replace(STUCK, layers=(layer(snr=20, gradient=1e-5),), loss=trend(slope=-1e-5, p=0.0), concentration=FLAT),
        Verdict.BARREN_PLATEAU,
    ),
    "an identity-like start, exactly stationary": (
        replace(
            STUCK, layers=(layer(snr=math.nan, gradient=0.0),), concentration=replace(FLAT, near=0.08), landscape=TRAP
        ),
        Verdict.LOCAL_MINIMUM,
    ),
    "converged in a gorge of a flat landscape": (
        replace(
            STUCK, loss=trend(now=0.4), concentration=FLAT, landscape=LossLandscape(0.4, 1.0, 0.01, share_better=0.0)
        ),
        Verdict.CONVERGED,
    ),
    "signs flip at the bottom, and do no harm": (
        replace(STUCK, loss=trend(now=0.1), sign_flips=0.9, concentration=VARIED, landscape=MINIMUM),
        Verdict.CONVERGED,
    ),
    "a plateau behind shot noise": (
        replace(STUCK, concentration=FLAT, shots=ShotSignal(100, 0.01, 9e6)),
        Verdict.BARREN_PLATEAU,
    ),
    "at the edge of a plateau, going nowhere at these shots": (
        replace(
            STUCK,
            loss=trend(now=0.9),
            concentration=FLAT,
            landscape=LossLandscape(0.9, 1.0, 0.01, share_better=0.0),
            shots=ShotSignal(4, 0.05, 16_000),
        ),
        Verdict.BARREN_PLATEAU,
    ),
    "down in a gorge, as far as these shots go": (
        replace(
            STUCK,
            loss=trend(now=0.4),
            concentration=FLAT,
            landscape=LossLandscape(0.4, 1.0, 0.01, share_better=0.0),
            shots=ShotSignal(4, 0.05, 16_000),
        ),
        Verdict.CONVERGED,
    ),
    "every layer zero is no dead layer": (
        replace(STUCK, dead=("q/layer0",), concentration=FLAT),
        Verdict.BARREN_PLATEAU,
    ),
}


@pytest.mark.parametrize("story", STORIES)
def test_stories(story: str) -> None:
    evidence, verdict = STORIES[story]
    found = diagnose(evidence)
    assert found.verdict is verdict, str(found)
    assert 0.5 <= found.confidence <= 1.0
    assert found.evidence
    assert found.advice


def test_without_evidence_there_is_no_verdict() -> None:
    """A low SNR and a flat loss alone prove nothing."""
    found = diagnose(STUCK)
    assert (found.verdict, found.confidence) == (Verdict.HEALTHY, 0.5)


def test_it_reads_as_a_sentence() -> None:
    text = str(diagnose(replace(STUCK, concentration=FLAT, entanglement=0.97)))
    assert text.startswith("q/layer0: barren plateau (confidence 0.97). the output varies by 0.0002 of its scale")
    assert "(2-design: 0.0039; trainable: above 0.01)" in text
    assert "subsystem entropy is 97% of the Page value" in text
    assert "gaussian" in text


def test_thresholds_are_the_callers() -> None:
    strict = Thresholds(concentrated=1e-6)
    assert diagnose(replace(STUCK, concentration=FLAT), strict).verdict is not Verdict.BARREN_PLATEAU


def test_confidence_grows_with_the_distance_from_the_line() -> None:
    near, far = (diagnose(replace(STUCK, concentration=replace(FLAT, far=v, near=v))).confidence for v in (9e-3, 1e-5))
    assert near < 0.6 < 0.95 < far


def test_diagnosis_is_a_value() -> None:
    assert diagnose(LEARNING) == diagnose(LEARNING)
    assert isinstance(diagnose(LEARNING), Diagnosis)


@pytest.mark.parametrize(
    ("losses", "falls"),
    [
        ([1 - 0.01 * i for i in range(40)], True),
        ([1.0] * 40, False),
        ([1 + (-1) ** i * 0.5 for i in range(40)], False),
        ([1 - 0.01 * i + 0.02 * math.sin(37 * i) for i in range(40)], True),
    ],
)
def test_loss_trend(losses: list[float], falls: bool) -> None:
    found = LossTrend.of(losses, 40)
    assert (found.p_falling < 0.01) is falls
    assert found.finite


def test_loss_trend_of_a_zigzag_alternates() -> None:
    assert LossTrend.of([(-1.0) ** i for i in range(40)], 40).alternation < -0.9


def test_loss_trend_of_nan() -> None:
    assert not LossTrend.of([1.0, math.nan], 4).finite


def test_shots_for_an_snr():
    """Oracle: the SNR grows with the root of the shots: 560 make it 3, a ninth of them 1; unknown stays unknown."""
    found = diagnose(STORIES["too few shots"][0])
    assert found.shots_for(3.0) == 560
    assert found.shots_for(1.0) == pytest.approx(560 / 9)
    never = replace(STORIES["too few shots"][0], shots=ShotSignal(10, 0.0, math.inf))
    assert diagnose(never).shots_to_resolve is None
    assert math.isnan(diagnose(STORIES["the output concentrates"][0]).shots_for(1.0))


def test_converged_as_far_as_the_shots_allow() -> None:
    """Oracle: by hand: the verdict stays, and says that more shots would show a gradient."""
    story = STORIES["fallen far, and nothing better anywhere"][0]
    for snr, said in [(0.4, True), (2.0, False)]:
        found = diagnose(replace(story, shots=ShotSignal(10, snr, 560)))
        assert found.verdict is Verdict.CONVERGED
        assert ("560 would resolve it. Stop, or take more shots" in str(found)) == said
