"""Gradient statistics against numpy, scipy and constructed samples."""

import math

import numpy as np
import pytest
import torch
from scipy import stats as scipy_stats

from torchbp.errors import InputError
from torchbp.gradients.stats import (
    GradientStatistics,
    layer_snr,
    mean_variance,
    median_magnitude,
    p_no_gradient,
    resolved_share,
    signal,
    snr,
    summarize,
)


def normal(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def of(*columns: list[float]) -> GradientStatistics:
    """Statistics of weights given by their samples."""
    return GradientStatistics.from_samples(torch.tensor(columns, dtype=torch.float64).T)


def close(one: GradientStatistics, other: GradientStatistics) -> None:
    for name in ("count", "mean", "m2"):
        torch.testing.assert_close(getattr(one, name), getattr(other, name), equal_nan=True)


def test_moments():
    """Oracle: numpy's mean and unbiased variance, scipy's standard error."""
    samples = normal(7, 5) + 3
    found = GradientStatistics.from_samples(samples)
    np.testing.assert_allclose(found.mean, samples.numpy().mean(0))
    np.testing.assert_allclose(found.variance, samples.numpy().var(0, ddof=1))
    np.testing.assert_allclose(found.standard_error, scipy_stats.sem(samples.numpy()))
    np.testing.assert_allclose(snr(found), abs(scipy_stats.ttest_1samp(samples.numpy(), 0).statistic))


def test_nonfinite_is_no_sample():
    """Oracle: the statistics of the finite samples alone."""
    samples = normal(6, 3)
    samples[1, 0], samples[2, 0], samples[:, 2] = math.nan, math.inf, math.nan
    found = GradientStatistics.from_samples(samples)
    assert found.count.tolist() == [4, 6, 0]
    close(found.split([1, 2])[0], GradientStatistics.from_samples(samples[[0, 3, 4, 5], :1]))
    assert math.isnan(found.mean[2])
    assert math.isnan(found.variance[2])


@pytest.mark.parametrize("cut", [0, 1, 4, 9])
def test_merge_and_reduce(cut):
    """Oracle: the statistics of all samples at once; with missing samples, and with nothing on one side."""
    samples = normal(9, 4) + 1e3
    samples[0, 1], samples[:, 2], samples[:5, 3] = math.nan, math.nan, math.nan
    whole = GradientStatistics.from_samples(samples)
    parts = [GradientStatistics.from_samples(part) for part in (samples[:cut], samples[cut:])]
    close(parts[0].merge(parts[1]), whole)

    # Two "processes": each calls reduce with a sum that knows what the other one gives in that round.
    def totals() -> list[torch.Tensor]:
        first = sum(torch.stack([p.count, p.count * p._filled_mean()]) for p in parts)
        mean = first[1] / first[0]
        return [
            first,
            sum(p.m2 + p.count * (p._filled_mean() - mean).square().nan_to_num(0.0) for p in parts),
        ]

    for part in parts:
        rounds = iter(totals())
        close(part.reduce(lambda tensor, rounds=rounds: next(rounds)), whole)


def test_split():
    """Oracle: the statistics of the columns."""
    samples = normal(5, 6)
    for part, columns in zip(
        GradientStatistics.from_samples(samples).split([2, 0, 4]), ([0, 1], [], [2, 3, 4, 5]), strict=True
    ):
        close(part, GradientStatistics.from_samples(samples[:, columns]))


@pytest.mark.parametrize("scale", [1.0, 1e-9, 1e-30])
def test_scale_does_not_matter(scale):
    """No epsilon: gradients of 1e-9 with an SNR of 50 read 50, in float32 too. Oracle: the definition."""
    samples = torch.tensor([[1.0 - 0.04], [1.0 + 0.04]]) * scale  # s = 0.04 sqrt(2), SE = 0.04: SNR 25
    assert layer_snr(GradientStatistics.from_samples(samples)) == pytest.approx(25, rel=1e-5)


@pytest.mark.parametrize("value", [0.1, 1e-9, 1 / 3, -7e8])
@pytest.mark.parametrize("count", [2, 3, 7, 11])
def test_zero_variance_is_explicit(value, count):
    """Equal samples have exactly zero variance: inf for a gradient, NaN for none. Oracle: the definition."""
    found = of([value] * count, [0.0] * count)
    assert found.variance.tolist() == [0, 0]
    assert snr(found)[0] == math.inf
    assert math.isnan(snr(found)[1])


def test_layer_numbers():
    """Oracle: worked out by hand. Samples a-d, a+d have mean a, s = d sqrt(2) and SE = d."""
    found = of([9, 11], [1, 3], [-6, -2], [0, 0])  # means 10, 2, -4, 0; SE 1, 1, 2, 0; SNR 10, 2, 2, NaN
    assert layer_snr(found) == 2
    assert median_magnitude(found) == 3  # of 10, 4, 2, 0
    assert mean_variance(found) == pytest.approx((2 + 2 + 8 + 0) / 4)
    assert signal(found) == pytest.approx((99 + 3 + 12 + 0) / 4)
    assert resolved_share(found) == 0.25
    assert layer_snr(of([1, 1], [2, 2])) == math.inf  # the median of infinities
    assert signal(of([-1, 1])) == 0


def test_signal_is_unbiased():
    """Oracle: the true mean square, 0.25, over 4,000 weights (standard deviation of the estimate 0.012)."""
    assert signal(GradientStatistics.from_samples(normal(8, 4000) + 0.5)) == pytest.approx(0.25, abs=0.05)


def test_snr_of_noise():
    """Oracle: median of |N(0,1)|, 0.674, for many samples; of |t_7|, 0.711, for eight."""
    assert layer_snr(GradientStatistics.from_samples(normal(400, 4000))) == pytest.approx(0.674, abs=0.04)
    expected = scipy_stats.t(7).ppf(0.75)
    assert layer_snr(GradientStatistics.from_samples(normal(8, 8000))) == pytest.approx(expected, abs=0.04)


def false_alarms(samples: torch.Tensor, level: float = 0.05) -> float:
    """Share of layers (N, S, P) with a p-value below the level."""
    return sum(p_no_gradient(GradientStatistics.from_samples(layer)) < level for layer in samples) / len(samples)


def test_false_alarms_of_independent_noise():
    """Nominal 5%: 4 to 6% of 2,000 null layers, S = 8. Oracle: the construction."""
    assert 0.04 <= false_alarms(normal(2000, 8, 24)) <= 0.06


@pytest.mark.parametrize(("rho", "most"), [(0.5, 0.10), (0.99, 0.065)])
def test_false_alarms_of_correlated_noise(rho, most):
    """The documented limit where all weights share a part of their noise. Oracle: the construction."""
    samples = math.sqrt(1 - rho) * normal(2000, 8, 24) + math.sqrt(rho) * normal(2000, 8, 1, seed=1)
    assert 0.035 <= false_alarms(samples) <= most


def test_p_value():
    """Oracles: scipy's t-test for one weight; one live weight in 24 is found; constructed edges."""
    samples = normal(6, 1) + 1
    expected = scipy_stats.ttest_1samp(samples.numpy()[:, 0], 0).pvalue
    assert p_no_gradient(GradientStatistics.from_samples(samples)) == pytest.approx(expected)
    live = normal(8, 24)
    live[:, 5] += 20
    assert p_no_gradient(GradientStatistics.from_samples(live)) < 1e-4
    assert p_no_gradient(of([2, 2], [-1, 1])) == 0
    assert p_no_gradient(of([0, 0], [0, 0])) == 1
    assert math.isnan(p_no_gradient(of([math.nan, math.nan])))
    assert math.isnan(p_no_gradient(GradientStatistics.from_samples(torch.empty(4, 0))))


def test_summary():
    """Oracle: the functions it collects; NaN, not an error, where nothing was measured."""
    found = summarize(of([9, 11], [1, 3]), "quantum/layer0", "quantum", "microbatch", n_weights=5)
    assert (found.name, found.n_weights, found.n_samples, found.snr) == ("quantum/layer0", 5, 2, 6)
    assert found.snr_db == pytest.approx(20 * math.log10(6))
    empty = summarize(of([math.nan, math.nan]), "head", "classical", "microbatch")
    assert empty.n_samples == 0
    numbers = (
        empty.snr,
        empty.snr_db,
        empty.median_abs,
        empty.variance,
        empty.signal,
        empty.resolved,
        empty.p_value,
    )
    assert all(map(math.isnan, numbers))


def test_error():
    with pytest.raises(InputError, match=r"shape \(samples, weights\), got \(3,\)"):
        GradientStatistics.from_samples(torch.zeros(3))
