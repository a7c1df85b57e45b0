"""PlateauBench's scores. Oracle: numbers worked out by hand, and scipy where it has the same interval."""

from __future__ import annotations

import math
from typing import Any

import pytest
from scipy.stats import binomtest

from benchmarks.plateaubench.labels import Labels, from_json
from benchmarks.plateaubench.report import figures, judged, leaderboard, text
from benchmarks.plateaubench.score import (
    Outcome,
    accuracy,
    bootstrap,
    calibration_error,
    clopper_pearson,
    f1,
    harm,
    judge,
    macro_f1,
    reliability,
    wilson,
)

LATER = Labels(((0, ("healthy",)), (200, ("barren_plateau", "healthy")), (240, ("barren_plateau",))), 400)


def result(*log: tuple[int, str], layers: tuple[str, ...] = (), confidence: float = 0.9) -> dict[str, Any]:
    entries = [
        {"step": step, "verdict": verdict, "confidence": confidence, "layers": layers, "message": ""}
        for step, verdict in log
    ]
    return {"scenario": "one", "seed": 0, "log": entries}


def outcome(verdict: str, truth: str, scenario: str = "one", confidence: float | None = None) -> Outcome:
    return Outcome(scenario, 0, verdict, None, truth, truth == "healthy", None, 100, confidence)


@pytest.mark.parametrize(
    ("log", "verdict", "truth"),
    [
        ([(50, "healthy"), (250, "barren_plateau")], "barren_plateau", "barren_plateau"),
        ([(210, "barren_plateau")], "barren_plateau", "barren_plateau"),  # where either is right
        ([(100, "barren_plateau"), (300, "healthy")], "barren_plateau", "healthy"),  # too early: nothing was wrong yet
        ([(100, "undecided"), (300, "converged")], "converged", "barren_plateau"),
        ([(100, "healthy"), (390, "undecided")], "healthy", "barren_plateau"),  # silence, judged at step 300
        ([], "healthy", "barren_plateau"),
    ],
)
def test_a_verdict_is_judged_by_what_holds_at_its_step(log: list[tuple[int, str]], verdict: str, truth: str) -> None:
    found = judge(result(*log), LATER)
    assert (found.verdict, found.truth, found.right) == (verdict, truth, verdict == truth)


def test_what_begins_late_need_not_be_named() -> None:
    late = Labels(((0, ("healthy",)), (350, ("converged",))), 400)
    assert judge(result(), late).right
    assert judge(result(), late).well
    assert judge(result((360, "converged")), late).right


def test_delay_is_counted_from_the_onset() -> None:
    assert judge(result((280, "barren_plateau")), LATER).delay == pytest.approx(40 / 400)
    assert judge(result((280, "converged")), LATER).delay == math.inf
    assert judge(result((210, "barren_plateau")), LATER).delay == 0.0


@pytest.mark.parametrize(
    ("named", "right"),
    [
        (("model.second",), True),
        (("model.second/layer0", "model.second/layer1"), True),
        (("model.first", "model.second"), False),
        (("model.second2",), False),
        ((), False),
    ],
)
def test_layers_named_are_those_that_are_stuck(named: tuple[str, ...], right: bool) -> None:
    two = Labels(((0, ("dead_layer",)),), 400, 1.0, (("model.first", "healthy"), ("model.second", "dead_layer")))
    assert judge(result((50, "dead_layer"), layers=named), two).layers_right is right


def test_layers_do_not_count_where_all_are_stuck() -> None:
    both = Labels(((0, ("dead_layer",)),), 400, 1.0, (("first", "dead_layer"), ("second", "dead_layer")))
    assert judge(result((50, "dead_layer")), both).layers_right is None


def test_f1_by_hand() -> None:
    """healthy: 3 of 4 right, 1 more accused of it: 6/(4 + 4). converged: 1 of 2, and one false: 2/(2 + 2)."""
    runs = [outcome("healthy", "healthy")] * 3
    runs += [outcome("converged", "healthy"), outcome("converged", "converged"), outcome("healthy", "converged")]
    assert f1(runs) == {"converged": pytest.approx(0.5), "healthy": pytest.approx(0.75)}
    assert macro_f1(runs) == pytest.approx(0.625)
    assert accuracy(runs) == pytest.approx(4 / 6)


def test_a_verdict_that_is_never_true_is_no_class() -> None:
    assert f1([outcome("drifting", "healthy"), outcome("healthy", "healthy")]) == {"healthy": pytest.approx(2 / 3)}


def test_bootstrap_draws_scenarios_whole() -> None:
    """Of two scenarios, one always right and one always wrong, accuracy is 0, 1/2 or 1: the interval is everything."""
    runs = [outcome("healthy", "healthy", "a")] * 10 + [outcome("converged", "healthy", "b")] * 10
    assert bootstrap(runs, accuracy, draws=200) == (0.0, 1.0)
    assert bootstrap(runs[:10], accuracy, draws=50) == (1.0, 1.0)


@pytest.mark.parametrize(("hits", "trials"), [(0, 10), (3, 17), (10, 10), (14, 90)])
def test_intervals_of_a_share(hits: int, trials: int) -> None:
    """Oracle: scipy.stats.binomtest."""
    test = binomtest(hits, trials)
    exact, score = test.proportion_ci(method="exact"), test.proportion_ci(method="wilson")
    assert clopper_pearson(hits, trials) == pytest.approx((exact.low, exact.high), abs=1e-9)
    assert wilson(hits, trials) == pytest.approx((score.low, score.high), abs=1e-6)
    assert wilson(0, 0) == (0.0, 1.0)


def test_calibration_by_hand() -> None:
    """Four at 0.95, three of them right: off by 0.2. Two at 0.55, both right: off by 0.45. (4 * 0.2 + 2 * 0.45) / 6."""
    runs = [outcome("converged", "converged", confidence=0.95)] * 3 + [outcome("converged", "healthy", confidence=0.95)]
    runs += [outcome("converged", "converged", confidence=0.55)] * 2 + [outcome("healthy", "healthy")]
    bins = reliability(runs)
    assert [(b.count, b.right) for b in bins] == [(2, 1.0), (4, 0.75)]
    assert calibration_error(bins) == pytest.approx((4 * 0.2 + 2 * 0.45) / 6)


def test_certainty_has_a_bin() -> None:
    assert reliability([outcome("converged", "converged", confidence=1.0)])[0].high == 1.0


@pytest.mark.parametrize(
    ("guarded", "harmed"),
    [
        ({"end": 0.5, "steps": 200, "deeds": [(200, "stop")]}, True),
        ({"end": 0.5, "steps": 400, "deeds": [(100, "reset")]}, True),
        ({"end": 0.5, "steps": 400, "deeds": []}, False),  # nothing was done: the seed's own luck
        ({"end": 0.101, "steps": 300, "deeds": [(300, "stop")]}, False),
        ({"end": None, "steps": 400, "deeds": [(100, "reset")]}, True),
    ],
)
def test_harm_is_what_acting_cost(guarded: dict[str, Any], harmed: bool) -> None:
    alone = {"end": 0.1, "steps": 400, "deeds": [], "scenario": "one", "seed": 0}
    found = harm({"scenario": "one", "seed": 0} | guarded, alone, Labels(((0, ("healthy",)),), 400, scale=2.0))
    assert found is not None
    assert found.well
    assert found.harmed is harmed


def test_labels_survive_their_file() -> None:
    labels = Labels(LATER.intervals, 400, 0.25, (("first", "healthy"), ("second", "dead_layer")))
    assert from_json(labels.to_json()) == labels


def test_the_report_has_every_run_and_the_leaderboard_every_detector() -> None:
    """Oracle: counted by hand; four runs of two scenarios, one false alarm, one plateau in time."""
    known = {("well", 0): Labels(((0, ("healthy",)),), 400), ("well", 1): Labels(((0, ("healthy",)),), 400)}
    known |= {("flat", seed): LATER for seed in range(2)}
    logs = {("well", 0): [], ("well", 1): [(50, "converged")], ("flat", 0): [(250, "barren_plateau")], ("flat", 1): []}
    results = [
        result(*log) | {"scenario": name, "seed": seed, "detector": "torchbp"} for (name, seed), log in logs.items()
    ]
    outcomes = judged([*results, results[0] | {"detector": "other"}], known, "torchbp")
    found = figures(outcomes)
    assert (found["runs"], found["healthy"], found["false_alarms"]) == (4, 2, 1)
    assert (found["plateaus"], found["plateaus_named"], found["plateaus_named_within_a_tenth"]) == (2, 1, 1)
    assert "flat                     barren_plateau   1/2" in text(outcomes, {"flat": "barren_plateau"})
    table = leaderboard({"torchbp": {"test": found, "healthy": found}, "other": {}})
    assert "| torchbp | " in table
    assert "1, 1 of 2 | 1 of 2" in table
    assert "| other |" in table
