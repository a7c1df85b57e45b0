"""When a verdict is due: stories of losses and measurements. No training."""

from __future__ import annotations

import io
import json
import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from torchbp.diagnosis.plateau import Thresholds, Verdict
from torchbp.diagnosis.watch import Watch, pooled
from torchbp.gradients.stats import GradientStatistics, LayerSummary, summarize

LAYER = LayerSummary("q/layer0", "quantum", "microbatch", 4, 8, 5.0, 0.05, 1e-4, 2.5e-3, 0.9, 1e-6)


def watch(patience: int = 2, window: int = 3, cooldown: int = 4) -> Watch:
    return Watch(patience, window, cooldown, Thresholds())


def play(w: Watch, losses: list[float], every: int = 4, scale: float = 1.0) -> list[str]:
    """What is said at each measurement, one every `every` losses: a verdict, "due", or "."."""
    said = []
    for step, loss in enumerate(losses):
        w.see_loss(loss)
        if step % every == 0:
            w.see_measurement((LAYER,))
            verdict, due = w.judge(w.evidence(step, scale))
            said.append("due" if due else verdict.verdict.value if verdict else ".")
    return said


def falling(n: int, start: float = 1.0, step: float = 0.02) -> list[float]:
    return [start - step * i for i in range(n)]


def test_a_falling_loss_is_healthy() -> None:
    """Oracle: by hand: silent until a window of three measurements is over, then healthy each time."""
    assert play(watch(), falling(24)) == [".", ".", ".", "healthy", "healthy", "healthy"]


def test_recovery_takes_more_than_chance() -> None:
    """Noise without a trend, at the level of one detector and of one that has found something wrong.

    Oracle: p-values are uniform, so windows look healthy at the rate of the threshold. Of 4,000 that is 40 and 4; more
    than 80 and 20 happen with a probability below 1e-6 (binomial).
    """
    rng, found = np.random.default_rng(0), {}
    strict = Thresholds(falling=Thresholds().recovering)
    for limits in (Thresholds(), strict):
        found[limits] = 0
        for _ in range(4000):
            w = watch()
            for step, loss in enumerate(rng.normal(size=13)):
                w.see_loss(float(loss))
                if step % 4 == 0:
                    w.see_measurement((LAYER,))
            verdict, _ = w.judge(w.evidence(12, 1.0), limits)
            found[limits] += verdict is not None
    assert 0 < found[Thresholds()] <= 80
    assert found[strict] <= 20


def test_a_flat_loss_is_looked_into_after_the_patience_then_after_the_cooldown() -> None:
    """Oracle: by hand: window 3, patience 2, cooldown 4."""
    assert play(watch(), [1.0] * 52) == [".", ".", ".", ".", "due", ".", ".", ".", "due", ".", ".", ".", "due"]


@pytest.mark.parametrize(("patience", "first"), [(1, 3), (2, 4), (5, 7)])
def test_patience(patience: int, first: int) -> None:
    """Oracle: by hand."""
    assert play(watch(patience), [1.0] * 40).index("due") == first


def test_a_spike_is_no_alarm() -> None:
    """One bad step, and one bad measurement, in a falling run. Oracle: never due, and healthy soon again."""
    losses = falling(60, step=0.01)
    for spike in (30, 31):
        losses[spike] += 0.5
    said = play(watch(patience=4), losses)
    assert "due" not in said
    assert said[-1] == "healthy"


def test_a_sustained_stall_is_one() -> None:
    """Oracle: healthy while it falls, due within window + patience + 1 measurements after it has stopped."""
    said = play(watch(), falling(24) + [0.52] * 40)
    assert said[5] == "healthy"
    assert said.index("due") <= 6 + 3 + 2 + 1


def test_recovery() -> None:
    """After a stall the loss falls again. Oracle: healthy, and the patience starts anew."""
    w = watch()
    said = play(w, [1.0] * 20 + falling(28, step=0.03) + [0.16] * 40)
    assert said.index("due") == 4
    again = said.index("healthy")
    assert again >= 5
    last_healthy = len(said) - 1 - said[::-1].index("healthy")
    assert said[last_healthy + 1] == "."
    assert "due" in said[last_healthy + 2 :]


def test_a_crawl_is_no_progress() -> None:
    """Beyond doubt, without noise, but by a thousandth of the scale in a window. Oracle: by hand."""
    assert "due" in play(watch(), falling(40, step=1e-4))
    assert "due" not in play(watch(), falling(40, step=1e-4), scale=1e-2)


def test_diverging_at_once() -> None:
    """Before any window is over; at every measurement as long as it lasts. Oracle: by hand."""
    assert play(watch(), [math.nan] * 8) == ["diverging", "diverging"]
    assert play(watch(), [1.0] * 4 + [math.inf] * 4) == [".", "diverging"]
    exploding = play(watch(), [1.0] * 4 + [10.0**i for i in range(1, 20)])
    assert exploding[1:] == ["diverging"] * 5


def test_a_loss_that_is_finite_again() -> None:
    """Oracle: no alarm once the NaN has left the window; without a trend it is looked into, not called healthy."""
    said = play(watch(), [1.0] * 4 + [math.nan] + falling(59))
    assert said[1:3] == ["diverging", "diverging"]
    assert "diverging" not in said[6:]


def test_without_losses() -> None:
    """Oracle: no verdict and no crash; due after window and patience."""
    w, said = watch(), []
    for step in range(6):
        w.see_measurement((LAYER,))
        verdict, due = w.judge(w.evidence(step, 1.0))
        said.append((verdict, due))
    assert [verdict for verdict, _ in said] == [None] * 6
    assert [due for _, due in said] == [False, False, False, False, True, False]


def test_a_dead_layer_is_looked_into_while_the_loss_falls() -> None:
    """Oracle: due after the patience, though the rest of the model learns."""
    w, said = watch(), []
    for step, loss in enumerate(falling(40)):
        w.see_loss(loss)
        if step % 4 == 0:
            w.see_measurement((LAYER, replace(LAYER, name="q/layer1", variance=0.0, signal=0.0)))
            said.append(w.judge(w.evidence(step, 1.0, dead=("q/layer1",)))[1])
    assert said.index(True) == 4


def test_the_evidence_is_passed_on() -> None:
    """Oracle: by hand."""
    w = Watch(2, 3, 4, Thresholds(), target=0.1)
    for flips in (None, 0.2, 0.4, 0.6, 0.8):
        w.see_loss(1.0)
        w.see_measurement((LAYER,), flips)
    found = w.evidence(17, 2.0, ("q/layer1",), 0.5)
    assert (found.step, found.scale, found.dead, found.drift, found.target) == (17, 2.0, ("q/layer1",), 0.5, 0.1)
    assert found.sign_flips == pytest.approx(0.6)
    assert found.quantum == (LAYER,)
    assert w.ready


def test_the_window_of_the_trend_is_that_of_the_measurements() -> None:
    """Oracle: numpy's line through the losses since the measurement a window ago."""
    w = watch(window=2)
    losses = [5.0] * 9 + falling(12)
    play(w, losses)
    slope = w.evidence(20, 1.0).loss.slope
    assert slope == pytest.approx(-0.02 * 7)  # eight losses since the measurement at step 12


def test_restart_forgets() -> None:
    """Oracle: a new watch."""
    w = watch()
    play(w, [1.0] * 20)
    w.restart()
    assert w.state_dict() == watch().state_dict()
    assert play(w, [1.0] * 20) == play(watch(), [1.0] * 20)


def test_state_goes_through_json_and_weights_only() -> None:
    """Oracle: an unbroken run: the same losses give the same trend."""
    losses = [*falling(20), *[0.62] * 20]
    whole, first = watch(), watch()
    play(whole, losses)
    play(first, losses[:20])
    state = first.state_dict()
    buffer = io.BytesIO()
    torch.save(state, buffer)
    buffer.seek(0)
    for loaded in (json.loads(json.dumps(state)), torch.load(buffer, weights_only=True)):
        second = watch()
        second.load_state_dict(loaded)
        assert second.state_dict() == state
        play(second, losses[20:])
        assert second.evidence(40, 1.0).loss == whole.evidence(40, 1.0).loss


def test_state_is_a_copy() -> None:
    """Oracle: what was saved does not grow with the run, nor the run with what is done to it."""
    w = watch()
    play(w, [1.0] * 4)
    state = w.state_dict()
    play(w, [1.0] * 4)
    assert len(state["losses"]) == 4
    other = watch()
    other.load_state_dict(state)
    state["losses"].append(9.0)
    assert len(other.state_dict()["losses"]) == 4


def test_a_resumed_watch_goes_on_where_it_was() -> None:
    """Stopped in the middle of a patience. Oracle: an unbroken run says the same at each measurement."""
    losses = [*falling(20), *[0.62] * 40]
    whole, first, second = (watch(patience=3, cooldown=2) for _ in range(3))
    said = play(whole, losses)
    before = play(first, losses[:28])
    second.load_state_dict(json.loads(json.dumps(first.state_dict())))
    assert before + play(second, losses[28:]) == said
    assert "due" in said[7:]
    assert second.state_dict() == whole.state_dict()


def test_pooled_numbers_are_medians() -> None:
    """Oracle: by hand; NaN, "not measured", does not count, and what is new stands for itself."""
    runs = [
        (replace(LAYER, snr=s, median_abs=m, signal=g, p_value=p),)
        for s, m, g, p in ((1.0, 0.1, 0.01, 0.5), (9.0, 0.3, math.nan, 0.4), (2.0, 0.2, 0.03, 0.3))
    ]
    new = replace(LAYER, name="head", kind="classical", snr=math.nan)
    assert pooled([]) == ()
    found = pooled([*runs[:2], (*runs[2], new)])
    assert (found[0].snr, found[0].median_abs, found[0].signal) == (2.0, 0.2, pytest.approx(0.02))
    assert found[0].p_value == 0.3  # the last one's
    assert found[1].name == "head"
    assert math.isnan(found[1].snr)


def test_a_turning_gradient_does_not_fool_it() -> None:
    """Clear at every step (SNR 20), its direction drifting around: a mean over steps reads far less. Oracle: both."""
    generator = torch.Generator().manual_seed(0)
    steps, runs, merged = 24, [], None
    for step in range(steps):
        angle = 2 * math.pi * step / steps
        mean = torch.tensor([math.cos(angle), math.sin(angle)], dtype=torch.float64)
        spread = 0.1 * torch.randn(8, 2, generator=generator, dtype=torch.float64)
        statistics = GradientStatistics.from_samples(mean + spread)
        merged = statistics if merged is None else merged.merge(statistics)
        runs.append((summarize(statistics, "q/layer0", "quantum", "microbatch"),))
    assert merged is not None
    assert summarize(merged, "q/layer0", "quantum", "microbatch").snr < 1
    (found,) = pooled(runs)
    assert found.snr > 10
    assert found.signal == pytest.approx(0.5, rel=0.1)


def test_verdicts_are_those_of_diagnose() -> None:
    """Oracle: the enum."""
    w = watch()
    play(w, falling(24))
    verdict, _ = w.judge(w.evidence(24, 1.0))
    assert verdict is not None
    assert verdict.verdict is Verdict.HEALTHY
