"""Laws fitted to variances: synthetic truths, the choice between them, and what can't be said."""

import json
import math

import numpy as np
import pytest

from torchbp.errors import InputError
from torchbp.trainability import VarianceEstimate, fit_scaling


def estimate(value: float, relative: float = 0.05) -> VarianceEstimate:
    """With a symmetric interval of log V, as wide as a relative standard error makes it."""
    factor = math.exp(1.959964 * relative)
    return VarianceEstimate(value, value / factor, value * factor, relative * value, 1000, 0.001)


def test_exact_laws_are_found() -> None:
    """Oracle: the laws the numbers were made with."""
    sizes = [2, 4, 6, 8]
    fit = fit_scaling(sizes, [estimate(0.3 * 2 ** (-1.4 * n)) for n in sizes])
    assert fit.verdict == "exponential"
    assert fit.law is fit.exponential
    assert fit.law.slope == pytest.approx(-1.4)
    assert 2**fit.law.intercept == pytest.approx(0.3)
    assert fit.law.predict(10) == pytest.approx(0.3 * 2**-14)
    # The standard error of a slope is sigma / sqrt(sum (n - mean)^2), sigma in log2 here.
    half = 1.959964 * 0.05 / math.log(2) / math.sqrt(20)
    assert fit.law.high - fit.law.slope == pytest.approx(half, rel=1e-5)
    fit = fit_scaling(sizes, [estimate(0.3 * n**-2.0) for n in sizes])
    assert fit.verdict == "polynomial"
    assert fit.law is fit.power
    assert fit.law.slope == pytest.approx(-2)
    assert fit.law.predict(10) == pytest.approx(0.003)
    assert "n^-2.00" in fit.text


def test_slopes_are_covered_as_often_as_it_says() -> None:
    """Of 500 noisy fits at 95%, 445 or more hold the slope. False failures under 1e-6 at a true coverage of 94%."""
    rng, held = np.random.default_rng(5), 0
    for _ in range(500):
        noisy = [estimate(2.0**-n * math.exp(0.05 * rng.normal())) for n in range(2, 8)]
        law = fit_scaling(range(2, 8), noisy).exponential
        held += law.low <= -1 <= law.high
    assert held >= 445


def test_a_law_that_does_not_hold_has_a_wider_interval() -> None:
    """A kink that the errors exclude: the interval grows with the misfit, and the sentence says so."""
    values = [0.5, 0.25, 0.05, 0.02, 0.001, 0.0005]
    fit = fit_scaling(range(2, 8), [estimate(v, 0.01) for v in values])
    assert fit.exponential.misfit > 100
    assert fit.exponential.high - fit.exponential.low > 0.5
    if fit.law:
        assert "fits roughly" in fit.text


def test_no_decay() -> None:
    """Noise around a constant is no plateau; the same with huge errors is no statement."""
    rng = np.random.default_rng(1)
    values = [0.1 * math.exp(0.03 * rng.normal()) for _ in range(6)]
    assert fit_scaling(range(2, 8), [estimate(v, 0.03) for v in values]).verdict == "constant"
    assert fit_scaling(range(2, 8), [estimate(v, 4.0) for v in values]).verdict == "undecided"
    rising = fit_scaling(range(2, 8), [estimate(0.1 * n, 0.03) for n in range(2, 8)])
    assert rising.verdict == "constant"
    assert "No decay is seen from 2 to 7 wires" in rising.text


def test_one_size_or_two_say_nothing() -> None:
    """A plateau is a statement about scaling."""
    for sizes in ([8], [4, 8]):
        fit = fit_scaling(sizes, [estimate(1e-9) for _ in sizes])
        assert fit.verdict == "too_few_sizes"
        assert fit.law is None
        assert f"three sizes or more, and {len(sizes)} can be used" in fit.text


def test_undecided_says_which_size_would_decide() -> None:
    """Three near sizes fit both laws; adding the size it names makes the choice."""
    sizes = [6, 7, 8]
    fit = fit_scaling(sizes, [estimate(2.0**-n, 0.1) for n in sizes])
    assert fit.verdict == "undecided"
    assert fit.next_size is not None
    assert f"{fit.next_size} wires would tell them apart" in fit.text
    sizes.append(fit.next_size)
    assert fit_scaling(sizes, [estimate(2.0**-n, 0.1) for n in sizes]).verdict == "exponential"


def test_what_is_lost_in_noise_is_left_out_and_named() -> None:
    """Values whose interval holds zero can't be on a logarithmic axis."""
    values = [estimate(2.0**-n) for n in (2, 4, 6)]
    lost = VarianceEstimate(1e-4, -1e-3, 1e-3, 5e-4, 1000, 0.001, 0.1)
    fit = fit_scaling([2, 4, 6, 8], [*values, lost])
    assert fit.verdict == "exponential"
    assert fit.left_out == (8,)
    assert "Left out, as not told from zero: 8 wires." in fit.text
    nothing = VarianceEstimate(0, 0, 0, 0, 1000, 0)
    assert fit_scaling([2, 4, 6], [nothing] * 3).verdict == "zero"
    assert fit_scaling([2, 4, 6], [lost] * 3).verdict == "too_few_sizes"


def test_as_json() -> None:
    """Primitives only, with the sentence."""
    fit = fit_scaling([2, 4, 6], [estimate(2.0**-n) for n in (2, 4, 6)], variable="layers")
    found = json.loads(json.dumps(fit.to_dict()))
    assert found["verdict"] == "exponential"
    assert found["exponential"]["slope"] == pytest.approx(-1)
    assert "for each layer " in found["text"]


@pytest.mark.parametrize(
    ("sizes", "message"),
    [([2, 4], "one variance for each size, got 2 sizes and 3"), ([2, 2, 4], r"increase, got \[2, 2, 4\]")],
)
def test_bad_arguments(sizes: list[int], message: str) -> None:
    """Oracle: the messages."""
    with pytest.raises(InputError, match=message):
        fit_scaling(sizes, [estimate(0.1)] * 3)
