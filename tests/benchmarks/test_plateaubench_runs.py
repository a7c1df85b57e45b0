"""PlateauBench's scenarios are built and trained, the same from the same seed; a run that fails fails alone."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from benchmarks.plateaubench import detectors, runner
from benchmarks.plateaubench.record import Recorder, fit
from benchmarks.plateaubench.scenarios import HALVES, scenarios_of
from benchmarks.plateaubench.task import Scenario, Task

EVERY = [pytest.param(s, id=s.name) for half in HALVES for s in scenarios_of(half)]


def short(scenario: Scenario, seed: int = 0) -> Task:
    task = scenario.task(seed)
    task.steps = 3
    return task


@pytest.mark.parametrize("scenario", EVERY)
def test_every_scenario_trains(scenario: Scenario) -> None:
    """Three steps, twice. Oracle: the same seed makes the same run."""
    ends = []
    for _ in range(2):
        task = short(scenario)
        recorder = Recorder(task)
        trainer = fit(task, [recorder])
        assert trainer.global_step >= 3
        assert recorder.record.curve[0][0] == 0
        ends.append(torch.cat([p.detach().flatten() for p in task.module.parameters()]))
    torch.testing.assert_close(ends[0], ends[1], equal_nan=True, rtol=0, atol=0)


@pytest.mark.parametrize("name", list(detectors.DETECTORS))
def test_every_detector_takes_part(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runner, "scenarios_of", lambda half: (Scenario("one", "", "", build),))
    build = scenarios_of("dev")[0].build
    monkeypatch.setattr(runner, "fit", lambda task, callbacks: fit(_cut(task), callbacks))
    result = runner.execute(runner.Job("dev", "one", 0, name))
    assert "error" not in result, result.get("error")
    json.dumps(result)
    assert result["steps"] == 3


def _cut(task: Task) -> Task:
    task.steps = 3
    return task


def test_a_failure_stays_with_its_run_and_is_tried_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Three jobs, one of which raises: two results, one error; the next time only that one runs."""
    asked = []

    def execute(job: runner.Job) -> dict[str, Any]:
        asked.append(job.seed)
        found = {"half": job.half, "scenario": job.scenario, "seed": job.seed, "detector": job.detector, "seconds": 0.0}
        return found | ({"error": "no"} if job.seed == 1 else {"log": [], "deeds": [], "steps": 3})

    monkeypatch.setattr(runner, "execute", execute)
    jobs = [runner.Job("dev", "one", seed, "none") for seed in range(3)]
    results = runner.run(jobs, tmp_path / "dev.jsonl")
    assert ["error" in r for r in results] == [False, True, False]
    with (tmp_path / "dev.jsonl").open("a") as file:
        file.write('{"half": "dev", "scen')  # a crash while writing
    runner.run(jobs, tmp_path / "dev.jsonl")
    assert asked == [0, 1, 2, 1]


def test_an_exception_becomes_an_error() -> None:
    result = runner.execute(runner.Job("dev", "no such scenario", 0, "none"))
    assert "StopIteration" in result["error"]


def steps(
    rule: detectors.Rule, losses: list[float], gradients: list[torch.Tensor], shots: int | None = None
) -> list[int]:
    """At which steps a rule speaks."""
    return [i for i, (loss, g) in enumerate(zip(losses, gradients, strict=True)) if rule.judge(loss, g, shots)]


def test_rules_of_others() -> None:
    """Each as its docstring says. Oracle: counted by hand."""
    tiny, plain = torch.full((4,), 1e-9), torch.tensor([0.1, -0.2, 0.3, 0.05])
    assert steps(detectors.SmallGradient(), [1.0] * 41, [tiny] * 41)[0] == 39
    assert steps(detectors.NoImprovement(), [1.0, *[1.0] * 40], [plain] * 41)[0] == 40
    assert steps(detectors.ObserverRules(), [1e-4] * 50, [plain] * 50)[0] == 49
    assert detectors.ObserverRules().judge(1.0, plain, None) is None
    observer = detectors.ObserverRules()
    assert steps(observer, [1.0] * 100, [tiny] * 100)[0] == 99
    noisy = torch.tensor([1.0, -1.0, 1.0, -1.0])
    assert steps(detectors.ObserverRules(), [float(i) for i in range(1, 51)], [noisy] * 50, shots=1)[0] == 49
