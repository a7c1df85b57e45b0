"""PlateauGuard: who acts when, one state for all, and nothing at all in a dry run."""

from __future__ import annotations

import contextlib
import copy
import json
from pathlib import Path
from typing import Any

import lightning.pytorch as L
import pytest
import torch
from lightning.pytorch.loggers import CSVLogger
from scripted import Model, Scripted, equal, everything, fit, verdict

from torchbp.callbacks import (
    AdaptiveShots,
    GradientFreeFallback,
    GradientSNRMonitor,
    InitializationReset,
    LayerwiseTraining,
    PlateauDetector,
    PlateauGuard,
    PlateauStopping,
    ShotBudget,
)
from torchbp.diagnosis.plateau import Thresholds
from torchbp.errors import InputError

BP = "barren_plateau"


def ladder(**fallback: Any) -> list[Any]:
    """Every rung, quick to try and to give up."""
    return [
        AdaptiveShots(max_shots=200),
        InitializationReset(candidates=2, trial=2, warmup=1),
        LayerwiseTraining(schedule=1, trial=2),
        GradientFreeFallback(method="spsa", **{"max_evaluations": 26, **fallback}),
        PlateauStopping(),
    ]


def guard(script: Any, shots: int | None = None, **options: Any) -> PlateauGuard:
    return PlateauGuard(Scripted(script, options.pop("every", 1000)), options.pop("ladder", ladder()), **options)


def test_it_climbs_the_ladder():
    """The same verdict after every step. Oracle: by hand: two resets, the layers, the search, the end."""
    watch = guard(dict.fromkeys(range(60), BP))
    trainer = fit(Model(lr=1e-4), [watch], max_epochs=20)
    kinds = [event.kind for event in watch.events if event.kind != "verdict"]
    acts = [kind for kind in kinds if kind not in ("kept", "rollback")]
    assert acts == ["reset", "reset", "layerwise", "layerwise", "layerwise", "fallback", "gradients", "stop"]
    assert trainer.current_epoch < 19
    assert all(event.data["verdict"] == BP for event in watch.events if event.kind in ("reset", "fallback", "stop"))
    assert [event.step for event in watch.events] == sorted(event.step for event in watch.events)


@pytest.mark.parametrize(
    ("said", "first"),
    [
        ("shot_limited", "shots"),
        (BP, "reset"),
        ("local_minimum", "reset"),
        ("noise_induced", "layerwise"),
        ("diverging", "stop"),
        ("oscillating", None),
        ("healthy", None),
    ],
)
def test_the_verdict_chooses_the_rung(said, first):
    """Oracle: the table in the guard's docstring."""
    watch = guard({1: said})
    fit(Model(shots=20), [watch], max_epochs=1)
    assert [event.kind for event in watch.events][1:2] == ([first] if first else [])


@pytest.mark.parametrize("said", ["shot_limited", "converged"])
def test_where_shots_would_not_help_it_looks_elsewhere(said):
    """With its own ladder. Oracle: its docstring: a new start, or that there is none that promises more."""
    watch = PlateauGuard(Scripted({3: verdict(said, shots_to_resolve=1e9)}))
    fit(Model(shots=20), [watch], max_epochs=2)
    assert [event.kind for event in watch.events][1] in ("reset", "declined")


def test_a_doubtful_verdict_is_only_announced():
    """Oracle: by hand."""
    watch = guard({1: verdict(BP, confidence=0.55)})
    fit(Model(), [watch])
    assert [event.kind for event in watch.events] == ["verdict"]


def test_dry_run_changes_nothing():
    """With real measurements and verdicts. Oracle: the fit without it, bit for bit; it says what it would do."""
    runs = []
    for dry in (True, False):
        detector = PlateauDetector(
            GradientSNRMonitor(1, 2),
            patience=1,
            window=8,
            samples=4,
            thresholds=Thresholds(concentrated=9.0, gorge=1e9),
        )
        watch = PlateauGuard(detector, ladder(), dry_run=True)
        model = Model(lr=1e-6)
        trainer = fit(model, [watch] if dry else [])
        runs.append([*everything(model, trainer), torch.get_rng_state()])
        if dry:
            assert "dry_run" in {event.kind for event in watch.events}
            assert {event.kind for event in watch.events} <= {"verdict", "dry_run"}
    assert equal(*runs)


def test_one_line():
    """Its defaults, in the first steps of a healthy run. Oracle: the fit without it, bit for bit."""
    runs = []
    for callbacks in ([PlateauGuard()], []):
        model = Model()
        trainer = fit(model, callbacks)
        runs.append(everything(model, trainer))
    assert equal(*runs)


def test_a_model_whose_circuit_nobody_knows(recwarn):
    """What does not apply steps aside, with a word. Oracle: the fit ends."""
    model = Model()
    model.core = torch.nn.Linear(2, 2)
    trainer = fit(model, [PlateauGuard()])
    assert trainer.global_step == 12
    said = " ".join(str(warning.message) for warning in recwarn)
    assert "found no quantum layer in Model" in said
    assert "gives no verdict" in said


def test_a_budget_of_its_own():
    """Oracle: the layer's own count; the reset asks for what is left."""
    watch = guard({2: BP}, budget=ShotBudget(200_000), ladder=[InitializationReset(candidates=100, trial=50)])
    model = Model(shots=50)
    fit(model, [watch], max_epochs=20)
    assert watch.budget.used == model.core.shots_used <= 200_000
    kinds = {event.kind for event in watch.events}
    assert kinds in ({"verdict", "reset", "budget", "kept"}, {"verdict", "reset", "budget", "rollback"})
    assert 1 < watch.events[1].data["candidates"] < 20


def traces(model: Any) -> dict[str, Any]:
    """What a callback might leave on a model."""
    hooks = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")
    found: dict[str, Any] = {}
    for name, module in model.named_modules():
        replaced = [key for key in vars(module) if callable(getattr(type(module), key, None))]
        found[name] = replaced, [len(getattr(module, hook)) for hook in hooks], module.training
    for name, p in model.named_parameters():
        found[f"{name} p"] = p.requires_grad, len(p._backward_hooks or ()), len(p._post_accumulate_grad_hooks or ())
    return found | {"shots": model.core.shots}


@pytest.mark.parametrize("end", [RuntimeError, KeyboardInterrupt, "should_stop"])
@pytest.mark.parametrize(
    ("said", "kind", "rungs"),
    [
        ("shot_limited", "shots", [AdaptiveShots()]),
        (BP, "reset", [InitializationReset(warmup=50, trial=50)]),
        (BP, "layerwise", [LayerwiseTraining(schedule=50)]),
        (BP, "fallback", [GradientFreeFallback()]),
    ],
)
def test_interrupted_in_the_middle(said, kind, rungs, end):
    """By an exception, a key, or another callback. Oracle: the model before, whose training then goes on."""
    model, watch = Model(shots=20), guard({1: said}, ladder=copy.deepcopy(rungs), budget=ShotBudget(10**7))
    before, trainers = traces(model), []

    class Interrupts(L.Callback):
        def on_train_batch_start(self, trainer: Any, pl_module: Any, batch: Any, batch_idx: int) -> None:
            trainers.append(trainer)
            if trainer.global_step == 3:
                assert watch.events[-1].kind == kind
                if end == "should_stop":
                    trainer.should_stop = True
                else:
                    raise end

    with pytest.raises((end, SystemExit)) if end != "should_stop" else contextlib.nullcontext():
        fit(model, [watch, Interrupts()])
    assert trainers[-1].global_step < 5
    assert traces(model) == before
    optimizer = trainers[0].strategy.optimizers[0] if trainers[0].strategy.optimizers else None
    assert optimizer is None or not optimizer._optimizer_step_post_hooks
    assert optimizer is None or not optimizer._optimizer_step_pre_hooks
    weights = model.core.weights.detach().clone()
    fit(model, [], max_epochs=1)
    assert bool((model.core.weights != weights).all())


def test_events_have_their_evidence(tmp_path):
    """In the file beside the logs: strict JSON, every event once. Oracle: the events themselves."""
    watch = guard(dict.fromkeys(range(60), BP), every=1)
    fit(Model(lr=1e-4), [watch], max_epochs=20, log_every_n_steps=1, logger=CSVLogger(tmp_path))

    def refuse(constant: str) -> Any:
        raise AssertionError(constant)

    (file,) = Path(tmp_path).rglob("torchbp_events.jsonl")
    written = [json.loads(line, parse_constant=refuse) for line in file.read_text().splitlines()]
    assert [(row["step"], row["kind"]) for row in written] == [(e.step, e.kind) for e in watch.events]
    assert watch.report().count("\n") == len(watch.events) - 1
    reset = next(row for row in written if row["kind"] == "reset")
    assert len(reset["data"]["losses"]) == len(reset["data"]["slopes"]) == 2


def test_pieces_listen_to_the_guard_s_detector():
    """Oracle: by hand."""
    watch = guard({})
    assert all(remedy.detector is watch.detector for remedy in watch.ladder)
    assert watch.monitor is watch.detector.monitor


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"confidence": -0.1}, "confidence is a finite number of at least 0 and of at most 1, got -0.1"),
        ({"ladder": [ShotBudget(1)]}, "each of ladder is a Remedy, got a ShotBudget"),
        ({"ladder": [PlateauStopping(), PlateauStopping()]}, "two remedies 'torchbp.PlateauStopping'"),
    ],
)
def test_wrong_arguments(options, message):
    """Said where they are given."""
    with pytest.raises(InputError, match=message):
        guard({}, **options)
