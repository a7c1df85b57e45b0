"""Variances over draws: exactness, coverage of the interval, shot noise taken out, and honesty about heavy tails."""

import math

import numpy as np
import pytest
import torch

from torchbp.errors import InputError
from torchbp.trainability import variance_of


def test_value_and_error_are_the_jackknifes() -> None:
    """Oracle: numpy's variance, and leaving out one draw after another."""
    values = torch.randn(20, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64).exp()
    found = variance_of(values)
    assert found.value == pytest.approx(values.var(0).mean().item(), rel=1e-12)
    left = np.array([np.delete(values.numpy(), i, 0).var(0, ddof=1).mean() for i in range(20)])
    assert found.standard_error == pytest.approx(math.sqrt(19 / 20 * ((left - left.mean()) ** 2).sum()), rel=1e-10)
    assert found.low < found.value < found.high
    assert found.floor == 0


def global_gradients(n: int, samples: int, generator: torch.Generator) -> torch.Tensor:
    """Gradients of 1 - p0 after RY on each wire, for all n weights (Cerezo 2021): Var = (1/8) (3/8)^(n-1)."""
    t = math.pi * (2 * torch.rand(samples, n, generator=generator, dtype=torch.float64) - 1)
    each = (t / 2).cos().square()
    return torch.stack([t[:, i].sin() / 2 * each[:, [j for j in range(n) if j != i]].prod(1) for i in range(n)], 1)


@pytest.mark.parametrize(("n", "samples", "least"), [(1, 64, 168), (4, 256, 165), (6, 512, 160)])
def test_interval_covers_the_truth_as_often_as_it_says(n: int, samples: int, least: int) -> None:
    """Oracle: the closed form. Of 200 intervals at 95% at least `least` hold it.

    The kurtosis is 1.5 (35/18)^(n-1), up to 41. False failures under 1e-6 if the true coverage is 94%, 93.3% and 92%
    or more; simulated with 2,000 intervals each it was 0.953, 0.950 and 0.946.
    """
    generator, truth = torch.Generator().manual_seed(7), (3 / 8) ** (n - 1) / 8
    found = [variance_of(global_gradients(n, samples, generator)) for _ in range(200)]
    assert sum(e.low <= truth <= e.high for e in found) >= least


def test_heavy_tails_are_told() -> None:
    """300 draws of a cost on 14 wires: one of them carries most of the variance, and the estimate says so."""
    found = variance_of(global_gradients(14, 300, torch.Generator().manual_seed(1)))
    assert not found.trusted
    assert found.dominance > 0.1
    assert found.needed(0.1) > 3000
    light = variance_of(global_gradients(2, 300, torch.Generator().manual_seed(1)))
    assert light.trusted
    assert light.needed(light.relative_error) == pytest.approx(300)


def test_noise_of_measurement_is_taken_out() -> None:
    """Oracle: the variance without noise. |z| < 6: false failures under 1e-8."""
    generator = torch.Generator().manual_seed(3)
    exact = 0.1 * torch.randn(4000, 5, generator=generator, dtype=torch.float64)
    sigma = 0.5 + torch.rand(4000, 5, generator=generator, dtype=torch.float64)
    noisy = exact + sigma * torch.randn(4000, 5, generator=generator, dtype=torch.float64)
    raw, found = variance_of(noisy), variance_of(noisy, sigma.square())
    assert raw.value > 50 * 0.01
    assert abs(found.value - 0.01) < 6 * found.standard_error
    assert found.floor == pytest.approx(sigma.square().mean().item())
    assert found.value == pytest.approx(raw.value - found.floor)


def test_no_variance_at_all() -> None:
    """Equal draws have a variance of exactly zero, and no error."""
    found = variance_of(torch.full((10,), 0.3))
    assert (found.value, found.low, found.high, found.standard_error) == (0, 0, 0, 0)
    assert found.relative_error == math.inf
    assert found.needed() == math.inf


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((torch.zeros(2, 3),), r"at least 3 of them, got values of shape \(2, 3\)"),
        ((torch.zeros(3, 0),), r"got values of shape \(3, 0\)"),
        ((torch.tensor([0.0, 1.0, math.nan]),), "holds NaN or infinity"),
        ((torch.zeros(3), torch.zeros(4)), r"values' shape \(3,\), got \(4,\)"),
        ((torch.zeros(3), None, 95), "confidence is a finite number of at least 0 and of at most 1, got 95"),
    ],
)
def test_bad_arguments(arguments: tuple, message: str) -> None:
    """Oracle: the messages."""
    with pytest.raises(InputError, match=message):
        variance_of(*arguments)
