"""`search`: successive halving over candidates whose order is known."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
import torch
from torch import nn

from torchbp import Circuit, QuantumLayer, weight
from torchbp.circuits import hardware_efficient, real_amplitudes
from torchbp.errors import InputError, MissingDependencyError, UnknownNameError
from torchbp.trainability import search
from torchbp.trainability.search import Standing

CIRCUITS = {f"depth {d}": real_amplitudes(2, d) for d in range(1, 10)}


def by_weights(calls: list[tuple[int, int]] | None = None) -> Callable[[nn.Module, int], float]:
    """A score with a known order: the fewer weights, the better."""

    def score(model: nn.Module, steps: int) -> float:
        assert isinstance(model, QuantumLayer)
        if calls is not None:
            calls.append((model.circuit.n_weights, steps))
        return float(model.circuit.n_weights)

    return score


def test_halving() -> None:
    """9 candidates, then 3; each rung takes half of the budget; the ranking is that of the scores."""
    calls: list[tuple[int, int]] = []
    found = search(CIRCUITS, 90, score=by_weights(calls))
    assert [steps for _, steps in calls] == [5] * 9 + [15] * 3
    assert found.best == "depth 1"
    assert [s.name for s in found.ranking[:3]] == ["depth 1", "depth 2", "depth 3"]
    assert found.spent == 90
    assert json.loads(json.dumps(found.to_dict()))["best"] == "depth 1"
    assert "best: depth 1, after 90 training steps in all." in found.report()


def test_training_reaches_the_ground_state() -> None:
    """Oracle: <Z> = -1. A rotation gets there, a phase can't move at all and is sorted out before training."""
    turning = Circuit(1).start_layer().append("ry", 0, weight())
    phase = Circuit(1).start_layer().append("rz", 0, weight())
    found = search({"phase": phase, "turning": turning}, 200, observables="Z0", learning_rate=0.2)
    assert found.best == "turning"
    assert found.ranking[0].score == pytest.approx(-1, abs=1e-2)


def test_plateaus_go_first() -> None:
    """Candidates on a plateau are not trained, unless all are."""
    deep, shallow = hardware_efficient(8, 6), hardware_efficient(8, 1)
    found = search({"deep": deep, "shallow": shallow}, 4, observables="Z0 Z1 Z2 Z3 Z4 Z5 Z6 Z7")
    verdicts = {s.name: s.verdict for s in found.history if s.rung == 0}
    assert verdicts["deep"] == "barren_plateau"
    trained = {s.name for s in found.history if s.rung}
    assert trained == ({"shallow"} if verdicts["shallow"] != "barren_plateau" else {"deep", "shallow"})


def test_trainability_alone() -> None:
    """Without a budget the ranking is by shots; models may be made by functions."""
    found = search({"a": lambda: QuantumLayer(real_amplitudes(2, 1)), "b": real_amplitudes(2, 2)}, 0)
    assert [s.rung for s in found.ranking] == [0, 0]
    assert found.ranking[0].score <= found.ranking[1].score


def test_a_study_is_continued(tmp_path: Any) -> None:
    """What was stopped goes on where it was: no candidate is scored twice; other settings are another search."""
    pytest.importorskip("optuna")
    storage, calls = f"sqlite:///{tmp_path}/s.db", list[tuple[int, int]]()

    def interrupted(model: nn.Module, steps: int) -> float:
        if len(calls) == 4:
            raise KeyboardInterrupt
        return by_weights(calls)(model, steps)

    first = search(CIRCUITS, 90, score=interrupted, storage=storage)
    assert first.interrupted
    assert "Stopped before the end." in first.report()
    second = search(CIRCUITS, 90, score=by_weights(calls), storage=storage)
    assert len(calls) == 12
    assert second.history == search(CIRCUITS, 90, score=by_weights(calls), storage=storage).history
    assert len(calls) == 12
    search(CIRCUITS, 90, score=by_weights(calls), storage=storage, seed=1)
    assert len(calls) == 24
    search(CIRCUITS, 90, score=by_weights(calls), storage=storage, observables="Z0")
    assert len(calls) == 36
    turned = {name: circuit.inverse() for name, circuit in CIRCUITS.items()}
    search(turned, 90, score=by_weights(calls), storage=storage)
    assert len(calls) == 48


def test_ray_at_the_seam(monkeypatch: pytest.MonkeyPatch) -> None:
    """Oracle: the local search. A stand-in for Ray Tune with its interface runs trials out of order."""

    @dataclass
    class Result:
        config: dict[str, Any]
        metrics: dict[str, Any]
        error: Exception | None = None

    reports: list[dict[str, Any]] = []

    class Tuner:
        def __init__(self, trial: Callable[[dict[str, Any]], None], param_space: dict[str, Sequence[int]]) -> None:
            self.trial, self.space = trial, param_space["index"]

        def fit(self) -> list[Result]:
            results = []
            for index in reversed(self.space):
                self.trial({"index": index})
                results.append(Result({"index": index}, reports.pop()))
            return results

    tune: Any = ModuleType("ray.tune")
    tune.Tuner, tune.report, tune.grid_search = Tuner, reports.append, list
    monkeypatch.setitem(sys.modules, "ray", SimpleNamespace(tune=tune))
    monkeypatch.setitem(sys.modules, "ray.tune", tune)
    assert search(CIRCUITS, 90, score=by_weights(), runner="ray") == search(CIRCUITS, 90, score=by_weights())


def test_a_runner_of_ones_own() -> None:
    """A function from tasks to outcomes."""

    def backwards(evaluate: Callable[[Any], Standing], tasks: Sequence[Any]) -> list[Standing]:
        return [evaluate(task) for task in reversed(tasks)][::-1]

    assert search(CIRCUITS, 90, score=by_weights(), runner=backwards).best == "depth 1"


def test_what_is_not_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    """The message names the extra."""
    monkeypatch.setitem(sys.modules, "ray", None)
    monkeypatch.setitem(sys.modules, "ray.tune", None)
    with pytest.raises(MissingDependencyError, match=r"pip install 'torchbp\[ray\]'"):
        search(CIRCUITS, 90, runner="ray")
    monkeypatch.setitem(sys.modules, "optuna", None)
    with pytest.raises(MissingDependencyError, match=r"pip install 'torchbp\[optuna\]'"):
        search(CIRCUITS, 90, storage="sqlite://")


def test_the_random_state_is_left_alone() -> None:
    """Candidates are seeded; nothing else is."""
    state = torch.get_rng_state()
    search({"a": real_amplitudes(2, 1)}, 2)
    assert torch.equal(state, torch.get_rng_state())


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"candidates": {}}, InputError, "A search needs candidates"),
        ({"budget": -1}, InputError, "budget is a whole number of at least 0, got -1"),
        ({"budget": 3}, InputError, "A budget of 3 steps is too small for 9 candidates"),
        ({"eta": 1}, InputError, "eta is a whole number of at least 2, got 1"),
        ({"runner": "rey"}, UnknownNameError, "Did you mean 'ray'"),
    ],
)
def test_errors(options: dict[str, Any], error: type[Exception], message: str) -> None:
    """Each says what was given and what is needed."""
    with pytest.raises(error, match=message):
        search(**({"candidates": CIRCUITS, "budget": 90} | options))
