"""LayerwiseTraining: its stages by hand, and what it holds still in fits of every kind."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from lightning.pytorch.callbacks import ModelCheckpoint
from scripted import Model, Scripted, Tape, data, equal, fit

from torchbp import QuantumLayer
from torchbp.callbacks import LayerwiseTraining
from torchbp.callbacks.mechanics.growth import Stage, allows, stages
from torchbp.callbacks.records.measurement import COLUMNS, Measurement
from torchbp.circuits import Circuit, weight
from torchbp.errors import InputError, UnknownNameError
from torchbp.gradients.stats import LayerSummary


def layerwise(script: Any = None, **options: Any) -> LayerwiseTraining:
    detector = Scripted(script or {}, every_n_steps=options.pop("every", 1000))
    return LayerwiseTraining(detector, **{"schedule": 1, "begin": "start", **options})


def groups(model: Any) -> list[list[int]]:
    return [list(indices) for indices in model.core.weight_groups.values()]


def three_layers(**options: Any) -> QuantumLayer:
    circuit = Circuit(2)
    for k in range(3):
        circuit.start_layer(f"part{k}")
        for wire in range(2):
            circuit.append("ry", wire, weight()).append("rx", wire, weight())
        circuit.append("cz", (0, 1))
    return QuantumLayer(circuit, init="uniform", generator=torch.Generator().manual_seed(0), **options)


class Deep(Model):
    """Three circuit layers of four weights, without features."""

    def __init__(self, kind: str = "adam", **options: Any) -> None:
        super().__init__(kind, **options)
        self.core = three_layers()

    def loss(self, batch: Any) -> Any:
        return self.head(self.core().expand(len(batch[0]), -1)).sub(batch[1]).square().mean()


def test_stages_by_hand():
    """Oracle: Skolik's figures 1 and 2."""
    assert stages(3) == [Stage(1, 0, 1), Stage(2, 1, 2), Stage(3, 2, 3), Stage(3, 0, 3)]
    assert stages(3, freeze=False) == [Stage(1, 0, 1), Stage(2, 0, 2), Stage(3, 0, 3), Stage(3, 0, 3)]
    assert stages(5, grow=2, partitions=2) == [
        Stage(2, 0, 2),
        Stage(4, 2, 4),
        Stage(5, 4, 5),
        Stage(5, 0, 2),
        Stage(5, 2, 5),
    ]
    assert stages(2, grow=2, partitions=2) == [Stage(2, 0, 2)]


def test_the_gradient_allows_the_next_layer():
    """Oracle: by hand."""
    layer = LayerSummary("core/a", "quantum", "shots", **dict.fromkeys(COLUMNS, 8.0))
    strong, weak = replace(layer, snr=5.0, signal=1e-2), replace(layer, snr=2.0, signal=1e-2)
    small = replace(layer, snr=9.0, signal=1e-4)
    assert allows([strong], [small])
    assert allows([small], [])
    assert not allows([weak], [small])
    assert not allows([small], [strong])
    assert not allows([strong, weak], [small])
    assert not allows([], [strong])


@pytest.mark.parametrize(
    ("kind", "options"),
    [
        ("adam", {}),
        ("adam", {"gradient_clip_val": 0.1}),
        ("adam", {"accumulate_grad_batches": 2}),
        ("adam", {"precision": "bf16-mixed"}),
        ("sgd", {}),
        ("manual", {}),
        ("two", {}),
        ("lbfgs", {}),
    ],
)
def test_only_the_stage_s_layers_move(kind, options):
    """Weight decay and momentum included. Oracle: by hand, bit for bit; waiting layers are at zero."""
    model, tape = Deep(kind), Tape()
    before = model.core.weights.detach().clone()
    remedy = layerwise()
    fit(model, [remedy, tape], max_epochs=5, **options)
    first, second, third = groups(model)
    assert torch.equal(tape.starts[0][first], before[first])
    assert not tape.starts[0][second + third].any()
    per_epoch = 4
    trained = [first, second, third, first + second + third, first + second + third]
    for epoch, moving in enumerate(trained):
        start, end = tape.starts[per_epoch * epoch], tape.ends[per_epoch * epoch + per_epoch - 1]
        still = [i for i in range(12) if i not in moving]
        assert torch.equal(start[still], end[still])
        assert (start[moving] != end[moving]).any()
    assert [event.data["trained"] for event in remedy.events] == [[0, 1], [1, 2], [2, 3], [0, 3]]


def test_frozen_weights_count_for_no_clipped_norm():
    """Oracle: the classical weights of a fit whose circuit is only the first layer, and the rest constant."""
    heads = []
    for remedy in (True, False):
        model = Deep("sgd")
        if not remedy:
            _, second, third = groups(model)
            with torch.no_grad():
                model.core.weights[second + third] = 0
            model.core.weights.register_hook(lambda g, rest=second + third: g.index_fill(0, torch.tensor(rest), 0.0))
        fit(model, [layerwise(schedule=100)] if remedy else [], gradient_clip_val=0.01)
        heads.append([model.head.weight.detach(), model.core.weights.detach()])
    assert equal(*heads)


def test_a_stage_begins_with_a_new_optimizer_for_the_quantum_weights():
    """Oracle: Adam's first step is lr, whatever the gradient; here two epochs in."""
    model, tape = Deep(), Tape()
    fit(model, [layerwise(), tape])
    second = groups(model)[1]
    lr = 0.05 * 0.5  # the scheduler has halved it once
    torch.testing.assert_close(
        (tape.ends[4] - tape.starts[4])[second].abs(), torch.full((4,), lr), rtol=1e-2, atol=1e-4
    )


def test_partitions_take_turns():
    """Oracle: by hand."""
    remedy = layerwise(partitions=2, grow=2)
    fit(Deep(), [remedy], max_epochs=6)
    assert [event.data["trained"] for event in remedy.events] == [[0, 2], [2, 3], [0, 1], [1, 3], [0, 1], [1, 3]]


def test_it_starts_anew_at_a_verdict():
    """Oracle: by hand: the step after the verdict; drawn weights for the first layer, zeros for the others."""
    model, tape = Deep(), Tape()
    remedy = layerwise({5: "barren_plateau", 7: "barren_plateau"}, begin="verdict", schedule=2)
    fit(model, [remedy, tape], max_epochs=4)
    seen = [(event.step, event.kind) for event in remedy.events]
    assert seen == [(6, "layerwise"), (12, "layerwise"), (15, "rollback")]  # the fit has ended before it was any better
    first, second, third = groups(model)
    assert torch.equal(model.core.weights, tape.ends[5])
    assert not torch.equal(tape.starts[6][first], tape.ends[5][first])
    assert tape.starts[6][first].all()
    assert not tape.starts[6][second + third].any()


def test_the_gradient_may_call_for_the_next_layer():
    """The schedule "snr". Oracle: by hand: a measurement calls for the second layer, two epochs for others."""
    remedy, model = layerwise(schedule="snr", epochs=2), Deep()
    layer = LayerSummary("core/part0", "quantum", "shots", **dict.fromkeys(COLUMNS, 8.0))

    class Measure(Tape):
        def on_train_batch_end(self, trainer: Any, pl_module: Any, *_: Any) -> None:
            if remedy.step == 5:
                first, second = replace(layer, signal=1e-4), replace(layer, name="core/part1", signal=1e-2)
                remedy.detector.monitor.history.append(Measurement(5, (first, second)))

    fit(model, [remedy, Measure()], max_epochs=6)
    assert [(event.step, event.data["trained"]) for event in remedy.events] == [
        (0, [0, 1]),
        (6, [1, 2]),
        (12, [2, 3]),
        (20, [0, 3]),
    ]


def test_a_circuit_of_one_layer_does_not_grow():
    """Oracle: nothing happens, bit for bit."""
    runs = []
    for callbacks in ([layerwise()], []):
        model = Deep()
        model.core = QuantumLayer(Circuit(2).append("ry", 0, weight()).append("rx", 1, weight()), init=torch.ones(2))
        fit(model, callbacks)
        runs.append(list(model.state_dict().values()))
    assert equal(*runs)


def test_nothing_is_left_behind():
    """Oracle: no hooks on the optimizer, gradients untouched; after an exception too."""
    model, trainers = Deep(), []

    class Break(Tape):
        def on_train_batch_end(self, trainer: Any, pl_module: Any, *_: Any) -> None:
            trainers.append(trainer)
            assert trainer.strategy.optimizers[0]._optimizer_step_post_hooks
            raise KeyError("broken")

    with pytest.raises(KeyError):
        fit(model, [layerwise(), Break()], data())
    assert not trainers[0].strategy.optimizers[0]._optimizer_step_post_hooks


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"schedule": "epochs"}, UnknownNameError, "Unknown schedule 'epochs'"),
        ({"schedule": 0}, InputError, "schedule is a whole number of at least 1, got 0"),
        ({"begin": "strat"}, UnknownNameError, "Unknown begin 'strat'. Did you mean 'start'?"),
        ({"strategy": "gausian"}, UnknownNameError, "Unknown initializer 'gausian'"),
        ({"grow": 0}, InputError, "grow is a whole number of at least 1, got 0"),
        ({"partitions": 0}, InputError, "partitions is a whole number of at least 1, got 0"),
        ({"epochs": 0}, InputError, "epochs is a whole number of at least 1, got 0"),
    ],
)
def test_wrong_arguments(options, error, message):
    """Said where they are given."""
    with pytest.raises(error, match=message):
        layerwise(**options)


@pytest.mark.filterwarnings("ignore:The dirpath has changed")
@pytest.mark.parametrize("step", [4, 8])
def test_resumed_from_the_last_step_of_an_epoch(tmp_path, step):
    """Four steps an epoch, and a checkpoint after every one. Oracle: the stages of the run that went through."""
    events, checkpoint = [], None
    for folder in ("one", "two"):
        remedy = layerwise()
        saving = ModelCheckpoint(tmp_path / folder, filename="{step}", every_n_train_steps=1, save_top_k=-1)
        fit(Deep(), [remedy, saving], max_epochs=4, checkpoint=checkpoint, enable_checkpointing=True)
        events.append([(event.step, event.kind) for event in remedy.events])
        checkpoint = tmp_path / f"one/step={step}.ckpt"
    assert events[0] == events[1] == [(0, "layerwise"), (4, "layerwise"), (8, "layerwise"), (12, "layerwise")]
