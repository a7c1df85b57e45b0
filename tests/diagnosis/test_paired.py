"""The paired comparison: its interval, its coverage, and what decides where losses are not finite."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from torchbp.diagnosis.paired import Comparison, Decision, compare
from torchbp.errors import InputError

NAN = math.nan


def test_the_interval():
    """Oracle: scipy's paired t test."""
    rng = np.random.default_rng(0)
    before, after = rng.normal([[1.0], [0.4]], size=(2, 9))
    found = compare(before, after, 0.9)
    wanted = stats.ttest_rel(after, before).confidence_interval(0.9)
    assert (found.low, found.high) == pytest.approx((wanted.low, wanted.high), abs=1e-5)
    assert (found.n, found.before, found.after) == (9, pytest.approx(before.mean()), pytest.approx(after.mean()))


def test_it_errs_as_often_as_it_says():
    """2000 comparisons of equals. Oracle: 2.5% each way; a binomial count leaves 20 to 92 once in 4e6 such tests."""
    rng = np.random.default_rng(1)
    batch = 5 * rng.normal(size=(2000, 12))
    decisions = [
        compare(b + e[0], b + e[1]).decision for b, e in zip(batch, rng.normal(size=(2000, 2, 12)), strict=True)
    ]
    for side in (Decision.BETTER, Decision.WORSE):
        assert 20 <= decisions.count(side) <= 92


def test_pairs_see_what_means_do_not():
    """Batches differ by 5, the states by 0.1. Oracle: the difference put in."""
    rng = np.random.default_rng(2)
    before = 5 * rng.normal(size=12)
    after = before - 0.1 + 0.01 * rng.normal(size=12)
    assert compare(before, after).decision is Decision.BETTER
    assert compare(after, before).decision is Decision.WORSE


@pytest.mark.parametrize(
    ("before", "after", "decision"),
    [
        ([], [], "undecided"),
        ([1.0], [0.0], "undecided"),
        ([1.0, 1.0], [0.5, 0.5], "better"),  # no noise, no doubt
        ([1.0, 1.0], [1.0, 1.0], "undecided"),
        ([1.0, 1.0], [1.0 + 1e-8, 1.0 + 1e-8], "undecided"),  # what float32 can't tell
        ([1.0, 1.0, 1.0], [0.0, 0.0, NAN], "worse"),
        ([NAN, 1.0], [1.0, 1.0], "better"),
        ([NAN, NAN], [NAN, math.inf], "undecided"),
        ([NAN, 1.0], [1.0, NAN], "undecided"),
    ],
)
def test_what_decides(before, after, decision):
    """Oracle: by hand."""
    assert compare(before, after).decision.value == decision


def test_what_it_says():
    """Oracle: by hand."""
    assert str(Comparison(4, 1.0, 0.5, -0.6, -0.4, 0.95)) == "the loss is 0.5, against 1 (difference -0.6 to -0.4)"
    assert str(compare([1.0], [0.5])) == "the loss is 0.5, against 1"


def test_wrong_arguments():
    with pytest.raises(InputError, match="in pairs: got 2 before and 1 after"):
        compare([1.0, 2.0], [1.0])
    with pytest.raises(InputError, match="between 0 and 1, got 1"):
        compare([1.0], [1.0], level=1)
