"""`Watch`: when to look, when to doubt, when to rest. Stories of losses, without a Trainer."""

from __future__ import annotations

import io
import json
import math

import pytest
import torch

from torchbp.diagnosis.verdicts import ADVICE, Diagnosis, Verdict
from torchbp.diagnosis.watch import LONGEST, SHORTEST, UNKNOWN, Watch


def verdict(name: str) -> Diagnosis:
    found = Verdict(name)
    return Diagnosis(found, 0.9, ("a number",), ADVICE[found])


def looks(watch: Watch, steps: int) -> list[int]:
    return [step for step in range(1, steps + 1) if watch.step()]


@pytest.mark.parametrize(
    ("window", "budget", "expected"),
    [(12, 1000, 12), (None, 1000, 50), (None, 100, SHORTEST), (None, 10**6, LONGEST), (None, math.inf, UNKNOWN)],
)
def test_the_window_is_a_twentieth_of_the_run(window: int | None, budget: float, expected: int) -> None:
    watch = Watch(window, 2, 1)
    watch.plan(budget)
    assert watch.window == expected


def test_it_looks_four_times_in_a_window_once_that_is_full() -> None:
    watch = Watch(20, 2, 1)
    assert looks(watch, 36) == [20, 25, 30, 35]
    assert watch.to_verdict == 25


def test_progress_is_projected_over_what_was_or_what_is_left() -> None:
    watch = Watch(20, 2, 1)
    watch.plan(100)
    looks(watch, 30)
    assert watch.horizon == 70
    looks(watch, 40)
    assert watch.horizon == 70
    watch.plan(math.inf)
    assert watch.horizon == 70


def test_a_spike_is_no_doubt() -> None:
    """Doubt is so many looks in a row."""
    watch = Watch(20, 2, 1)
    for progress in (True, False, True, False):
        watch.note(progress)
    assert watch.stalled == 1
    watch.note(False)
    assert watch.stalled == 2


def test_the_onset_is_the_beginning_of_the_first_window_without_progress() -> None:
    watch = Watch(20, 2, 1)
    looks(watch, 60)
    watch.note(True)
    assert watch.onset is None
    looks(watch, 5)
    watch.note(False)
    looks(watch, 5)
    watch.note(False)
    assert watch.onset == 25  # 70 steps so far; the window that ended at 65 began at 45


def test_it_rests_longer_as_long_as_the_verdict_stays() -> None:
    watch, waits = Watch(10, 1, 1), []
    for name in ("converged", "converged", "converged", "local_minimum", "healthy", "healthy"):
        began = watch.steps
        watch.investigated(verdict(name))
        while watch.rests:
            watch.step()
        waits.append(watch.steps - began)
    assert waits == [10, 20, 40, 10, 20, 40]


def test_converged_is_said_when_it_was_found_twice() -> None:
    """In a row; any other verdict at once."""
    watch = Watch(10, 1, 1)
    said = [
        watch.investigated(verdict(name)) for name in ("converged", "converged", "healthy", "converged", "diverging")
    ]
    assert [found.verdict.value for found in said if found] == [
        "undecided",
        "converged",
        "healthy",
        "undecided",
        "diverging",
    ]


def test_losses_and_their_beginning() -> None:
    watch = Watch(8, 1, 1)
    for step in range(100):
        watch.see(float(step))
        watch.step()
    assert (watch.trend.first, watch.trend.start, watch.trend.steps) == (0.0, 0.5, 8)
    assert watch.trend.now == 98.5


def test_a_long_run_is_not_kept() -> None:
    watch = Watch(20, 1, 1)
    for _ in range(5000):
        watch.see(1.0)
    assert len(watch.state_dict()["losses"]) <= 8 * LONGEST + 1


def test_restart_forgets() -> None:
    watch = Watch(8, 1, 1)
    for _ in range(20):
        watch.see(1.0)
        watch.step()
    watch.note(False)
    watch.restart()
    assert (watch.steps, watch.stalled, watch.onset, watch.trend.steps) == (0, 0, None, 0)


def test_state_goes_through_json_and_weights_only_and_goes_on() -> None:
    watch = Watch(8, 2, 1)
    for step in range(21):
        watch.see(1.0 / (step + 1))
        watch.step()
    watch.note(False)
    watch.investigated(verdict("converged"))
    file = io.BytesIO()
    torch.save(watch.state_dict(), file)
    file.seek(0)
    other = Watch(8, 2, 1)
    other.load_state_dict(torch.load(file, weights_only=True))
    assert json.dumps(other.state_dict()) == json.dumps(watch.state_dict())
    for one in (watch, other):
        one.see(0.5)
        one.step()
    assert other.trend == watch.trend
    assert other.rests == watch.rests
