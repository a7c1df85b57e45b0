"""`LossTrend`: the test of "the loss does not fall" against brute force and closed forms."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest

from torchbp.diagnosis.trend import BLOCKS, LossTrend, p_of_falls


def curve(name: str, n: int = 200) -> np.ndarray:
    t = np.arange(n) / n
    return {
        "line": 1 - t,
        "exponential": np.exp(-5 * t),
        "parabola": (1 - t) ** 2,
        "sigmoid": 1 / (1 + np.exp(10 * (t - 0.5))),
        "late drop": 1 - t**8,
        "crawl": 1 - 1e-9 * t,
    }[name]


@pytest.mark.parametrize("name", ["line", "exponential", "parabola", "sigmoid", "late drop", "crawl"])
def test_a_falling_curve_without_noise_is_beyond_doubt(name: str) -> None:
    """Oracle: all 66 pairs of block means fall, which one order in 12! has."""
    assert LossTrend.of(curve(name)).p_falling == pytest.approx(1 / math.factorial(BLOCKS))
    assert LossTrend.of(-curve(name)).p_falling == pytest.approx(1.0)


def test_p_of_falls_counts_orders() -> None:
    """Oracle: brute force over all orders of six values."""
    falls = [sum(a > b for a, b in itertools.combinations(order, 2)) for order in itertools.permutations(range(6))]
    for number in range(16):
        assert p_of_falls(number, 6) == pytest.approx(sum(f >= number for f in falls) / len(falls))


def test_noise_is_no_trend() -> None:
    """White noise of any kind has uniform p-values: P(p < 0.01) <= 0.01. With 4,000 windows more than 80 such have a
    probability below 1e-8 (binomial)."""
    rng = np.random.default_rng(0)
    windows = [*rng.normal(size=(2000, 40)), *rng.standard_cauchy(size=(2000, 40))]
    assert sum(LossTrend.of(w).p_falling < 0.01 for w in windows) <= 80


def test_a_spike_turns_nothing() -> None:
    """The change is a median of slopes; the noise a median of differences. Oracle: the line itself."""
    losses = np.linspace(1, 0, 120)
    losses[60] = 50
    found = LossTrend.of(losses)
    assert found.change == pytest.approx(-11 / 12, rel=0.1)  # from the middle of the first block to that of the last
    assert found.noise < 1e-9
    assert found.p_falling < 1e-3


def test_noise_is_that_of_single_losses() -> None:
    """Oracle: the standard deviation drawn, on top of a trend; 4 sigma of a median of 2,000 differences."""
    rng = np.random.default_rng(1)
    assert LossTrend.of(np.linspace(5, 0, 2000) + 0.3 * rng.normal(size=2000)).noise == pytest.approx(0.3, rel=0.12)


def test_rate_and_beginning() -> None:
    found = LossTrend.of([4.0, 3.0, 2.0, 1.0], beginning=[9.0, 7.0])
    assert (found.first, found.start, found.now, found.steps) == (9.0, 8.0, 1.0, 4)
    assert found.rate == pytest.approx(1.0)


def test_a_fall_within_the_noise_is_none() -> None:
    """Oracle: white noise about one level: 2,000 windows, of which 5% lie beyond two errors on either side; more than
    150 above zero have a probability below 1e-6 (binomial)."""
    windows = np.random.default_rng(2).normal(size=(2000, 80))
    assert sum(LossTrend.of(w[20:], w[:15]).fall > 0 for w in windows) <= 150
    assert LossTrend.of(np.linspace(1, 0, 40)).fall == pytest.approx(1 - 4.5 / 39)


@pytest.mark.parametrize("losses", [[], [1.0], [1.0, 0.5, 0.2]])
def test_too_few_for_a_trend(losses: list[float]) -> None:
    found = LossTrend.of(losses)
    assert (found.p_falling, found.finite) == (1.0, True)
    assert math.isnan(found.change)


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_a_loss_that_is_not_finite(bad: float) -> None:
    assert not LossTrend.of([1.0, 1.0, bad, 1.0, 1.0]).finite
