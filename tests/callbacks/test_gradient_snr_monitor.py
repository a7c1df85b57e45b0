"""GradientSNRMonitor in real, tiny fits of both Lightning packages."""

import csv
import importlib
import json
import math
import warnings
from types import SimpleNamespace

import lightning.pytorch
import numpy as np
import pytest
import torch
from fits import PACKAGES, fitted, lightning_module, loader, plain_loss, plain_module, recorder, trainer_of
from lightning.pytorch.loggers import TensorBoardLogger
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from torch import nn

from torchbp._torchquantum import tq
from torchbp.callbacks import GradientSNRMonitor
from torchbp.callbacks.records.pictures import picture_due
from torchbp.errors import InputError, TorchBPError
from torchbp.gradients.groups import find_groups
from torchbp.gradients.microbatch import microbatch_gradients, n_parts, split_batch
from torchbp.gradients.stats import GradientStatistics, layer_snr


@pytest.fixture(params=PACKAGES)
def any_pl(request):
    return importlib.import_module(request.param)


@pytest.fixture
def pl():
    return importlib.import_module("lightning.pytorch")


@pytest.mark.parametrize("source", ["microbatch", "per_sample"])
def test_numbers(any_pl, source):
    """Oracle: the same gradients outside of any trainer, on the first batch; both Lightning packages."""
    module, monitor = plain_module(any_pl), GradientSNRMonitor(n_microbatches=4, source=source)
    groups, batch = find_groups(module), next(iter(loader()))
    parts = split_batch(batch, {"microbatch": 4, "per_sample": 8}[source])  # single samples
    samples = microbatch_gradients(lambda b: plain_loss(module, b), groups, parts)
    statistics = GradientStatistics.from_samples(samples).split([len(g) for g in groups])
    fitted(any_pl, monitor, module)
    assert [m.step for m in monitor.history] == [0]
    assert monitor.history[0].source == source
    assert [layer.name for layer in monitor.latest] == ["encoder.0", "core/layer0", "core/layer1", "head"]
    assert [layer.kind for layer in monitor.latest] == ["classical", "quantum", "quantum", "classical"]
    for layer, expected in zip(monitor.latest, statistics, strict=True):
        found = monitor.statistics[layer.name]
        assert layer.snr == layer_snr(found)
        torch.testing.assert_close(found.mean, expected.mean, rtol=1e-4, atol=1e-6)
        torch.testing.assert_close(found.standard_error, expected.standard_error, rtol=1e-4, atol=1e-6)


def test_loss_fn_and_groups(pl):
    """A loss and a grouping of one's own. Oracle: a gradient that is 1 for every weight, and its infinite SNR."""
    monitor = GradientSNRMonitor(
        loss_fn=lambda module, batch: module.core.weights.sum(),
        groups=lambda module: find_groups(module)[2:3],
    )
    fitted(pl, monitor)
    (layer,) = monitor.latest
    assert (layer.name, layer.snr, layer.median_abs, layer.p_value) == ("core/layer0", math.inf, 1.0, 0.0)


@pytest.mark.parametrize(
    ("batches", "accumulate", "every", "steps"),
    [(8, 1, 3, [0, 3, 6, 9, 12, 15]), (5, 2, 2, [0, 2, 4]), (4, 1, 100, [0])],
)
def test_cadence(pl, batches, accumulate, every, steps):
    """Steps are accumulation windows, the short last one of an epoch counted. Oracle: by hand, two epochs."""
    monitor = GradientSNRMonitor(every_n_steps=every, n_microbatches=2)
    epochs = 2 if every < 100 else 1
    fitted(
        pl,
        monitor,
        data=loader(4 * batches, 4),
        max_epochs=epochs,
        accumulate_grad_batches=accumulate,
        logger=False,
    )
    limit = epochs * -(-batches // accumulate)
    assert [m.step for m in monitor.history] == [s for s in steps if s < limit]


def test_every_logger(any_pl, tmp_path):
    """TensorBoard, CSV and one of one's own get every measurement. Oracle: the monitor's history."""
    loggers = importlib.import_module(f"{any_pl.__name__}.loggers")
    log = recorder(any_pl)
    board, table = loggers.TensorBoardLogger(tmp_path, name="tb"), loggers.CSVLogger(tmp_path, name="csv")
    monitor = GradientSNRMonitor(every_n_steps=2, n_microbatches=2)
    fitted(any_pl, monitor, logger=[board, table, log], max_epochs=2)
    expected = [(m.step, m.metrics()) for m in monitor.history]
    assert len(expected) == 4
    assert log.of("torchbp") == expected
    with open(f"{table.log_dir}/metrics.csv") as file:
        rows = [row for row in csv.DictReader(file) if row["torchbp/microbatch/snr_min"]]
    assert [int(row["step"]) for row in rows] == [0, 2, 4, 6]
    assert float(rows[1]["torchbp_snr/microbatch/core/layer0"]) == pytest.approx(monitor.history[1].layers[1 + 1].snr)

    events = EventAccumulator(board.log_dir)
    events.Reload()
    curve = events.Scalars("torchbp_snr_db/microbatch/core/layer0")
    assert [point.step for point in curve] == [0, 2, 4, 6]
    assert curve[1].value == pytest.approx(20 * math.log10(monitor.history[1].layers[2].snr), rel=1e-4)
    for number in ("median_abs", "variance", "p_value"):
        assert len(events.Scalars(f"torchbp_{number}/microbatch/head")) == 4


def test_tensorboard_extras(pl, tmp_path):
    """Heatmap, table, layout and the plugin's tensor, read back by TensorBoard itself."""
    board, monitor = TensorBoardLogger(tmp_path), GradientSNRMonitor(every_n_steps=2, n_microbatches=2)
    fitted(pl, monitor, logger=board, max_epochs=2)
    events = EventAccumulator(board.log_dir, size_guidance={"tensors": 0, "images": 0})
    events.Reload()
    images = events.Images("torchbp/microbatch/snr_heatmap")
    assert [(image.width, image.height) for image in images] == [(624, 416)] * 2
    report = events.Tensors("torchbp/microbatch/report/text_summary")[-1].tensor_proto.string_val[0].decode()
    assert report == monitor.history[-1].report()
    layout = events.Tensors("custom_scalars__config__")[0].tensor_proto.string_val[0]
    assert b"torchbp/microbatch/snr_median" in layout

    tag = "torchbp/microbatch/stats"
    manifest = json.loads(events.SummaryMetadata(tag).plugin_data.content)
    assert events.PluginTagToContent("torchbp").keys() == {tag}
    assert manifest["layers"] == [layer.name for layer in monitor.latest]
    assert manifest["source"] == "microbatch"
    stored = [np.frombuffer(e.tensor_proto.tensor_content, "<f4") for e in events.Tensors(tag)]
    assert len(stored) == 4
    values = stored[-1].reshape(len(manifest["layers"]), len(manifest["columns"]))
    np.testing.assert_allclose(
        values[:, manifest["columns"].index("snr")], [layer.snr for layer in monitor.latest], rtol=1e-6
    )


def test_without_heatmap(pl, tmp_path):
    board = TensorBoardLogger(tmp_path)
    fitted(pl, GradientSNRMonitor(heatmap=False), logger=board)
    events = EventAccumulator(board.log_dir)
    events.Reload()
    assert events.Tags()["images"] == []


def test_early_stopping_and_checkpoint(any_pl, tmp_path):
    """Both can monitor the SNR. Oracle: training stops, a checkpoint is kept by it."""
    callbacks = importlib.import_module(f"{any_pl.__name__}.callbacks")
    key = "torchbp/microbatch/snr_min"
    stop = callbacks.EarlyStopping(key, stopping_threshold=0.0, mode="max", check_on_train_epoch_end=True)
    keep = callbacks.ModelCheckpoint(tmp_path, monitor=key, mode="max", save_on_train_epoch_end=True)
    monitor = GradientSNRMonitor(every_n_steps=1, n_microbatches=2)
    trainer = trainer_of(any_pl, [monitor, stop, keep], max_epochs=5, enable_checkpointing=True)
    trainer.fit(lightning_module(any_pl), loader())
    assert trainer.current_epoch == 1
    assert float(keep.best_model_score) == pytest.approx(monitor.history[-1].summary()[key], rel=1e-5)


def test_resume(any_pl, tmp_path):
    """History and step count go on where they were; configuration stays the new one. Oracle: an unbroken run."""
    whole = GradientSNRMonitor(every_n_steps=3, n_microbatches=2)
    fitted(any_pl, whole, max_epochs=3)
    first = GradientSNRMonitor(every_n_steps=3, n_microbatches=2)
    trainer = fitted(any_pl, first, max_epochs=1)
    trainer.save_checkpoint(tmp_path / "last.ckpt")
    torch.load(tmp_path / "last.ckpt", weights_only=True)
    second = GradientSNRMonitor(every_n_steps=3, n_microbatches=4)
    trainer = trainer_of(any_pl, [second], max_epochs=3)
    trainer.fit(lightning_module(any_pl), loader(), ckpt_path=tmp_path / "last.ckpt", weights_only=True)
    assert [m.step for m in second.history] == [m.step for m in whole.history]
    assert second.history[: len(first.history)] == first.history
    assert second.latest[0].n_samples == 4


def test_second_fit_goes_on(pl):
    """Of the same model: steps never run backwards, which TensorBoard would take for a restart. Oracle: by hand."""
    monitor, module = GradientSNRMonitor(every_n_steps=2, n_microbatches=2), lightning_module(pl)
    fitted(pl, monitor, module)
    fitted(pl, monitor, module)
    assert [m.step for m in monitor.history] == [0, 2, 4, 6]


def test_another_model_is_another_run(pl):
    """Cross-validation with one monitor. Oracle: by hand."""
    monitor = GradientSNRMonitor(every_n_steps=2, n_microbatches=2)
    fitted(pl, monitor)
    fitted(pl, monitor)
    assert [m.step for m in monitor.history] == [0, 2]


def test_no_quantum_layer_warns_once(pl):
    """The warning names what it saw; the classical layers are measured. Oracle: by hand."""
    monitor, module = GradientSNRMonitor(n_microbatches=2), lightning_module(pl, core=nn.Identity())
    with pytest.warns(UserWarning, match=r"no quantum layer in Model; it saw Linear x2, BatchNorm1d, and measures"):
        fitted(pl, monitor, module)
    with warnings.catch_warnings():
        warnings.filterwarnings("error", "GradientSNRMonitor")
        fitted(pl, monitor, module)
    assert {layer.kind for layer in monitor.latest} == {"classical"}
    assert monitor.history[-1].summary() == {}


class Existing(tq.QuantumModule):
    """A circuit as in TorchQuantum's examples."""

    def __init__(self):
        super().__init__()
        self.encoder = tq.GeneralEncoder([{"input_idx": [i], "func": "ry", "wires": [i]} for i in range(2)])
        self.rx = tq.RX(has_params=True, trainable=True)
        self.layer = tq.Op1QAllLayer(op=tq.RY, n_wires=2, has_params=True, trainable=True)
        self.measure = tq.MeasureAll(tq.PauliZ)
        self.q_device = tq.QuantumDevice(n_wires=2)

    def forward(self, x):
        self.q_device.reset_states(len(x))
        self.encoder(self.q_device, x)
        self.rx(self.q_device, wires=0)
        self.layer(self.q_device)
        return self.measure(self.q_device)


def test_existing_torchquantum_code(any_pl):
    """One line in somebody's own code finds the circuit; its device has the batch size it had. Oracle: by hand."""
    monitor, module = GradientSNRMonitor(n_microbatches=4), plain_module(any_pl, core=Existing())
    fitted(any_pl, monitor, module)
    quantum = {layer.name: layer for layer in monitor.latest if layer.kind == "quantum"}
    assert {name: layer.n_weights for name, layer in quantum.items()} == {"core": 1, "core.layer": 2}
    assert all(math.isfinite(layer.snr) for layer in quantum.values())
    assert len(module.core.q_device.states) == 8


def test_small_batches(pl):
    """Fewer samples than parts; BatchNorm's two; and a batch of one, skipped with one warning. Oracle: by hand."""
    monitor = GradientSNRMonitor(every_n_steps=1, n_microbatches=8, source="microbatch")
    fitted(pl, monitor, plain_module(pl), loader(12, 3))
    assert {layer.n_samples for layer in monitor.latest} == {3}
    fitted(pl, monitor, lightning_module(pl), loader(8, 8))
    assert {layer.n_samples for layer in monitor.latest} == {4}
    with pytest.warns(UserWarning, match="two parts of at least 1 each, which a batch of 1 does not give") as caught:
        fitted(pl, monitor, plain_module(pl), loader(3, 1))
    assert sum("GradientSNRMonitor" in str(w.message) for w in caught) == 1
    assert monitor.history == []


@pytest.mark.filterwarnings("ignore:`training_step` returned `None`")
def test_step_without_a_loss(pl):
    """`training_step` returns None ("skip"): no data, one warning, training goes on. Oracle: by hand."""
    monitor = GradientSNRMonitor(every_n_steps=1, n_microbatches=2)
    module = plain_module(pl, step=lambda batch, batch_idx, loss: None if batch_idx < 2 else {"loss": loss})
    with pytest.warns(UserWarning, match="no finite gradient: the training step returned no loss"):
        fitted(pl, monitor, module)
    assert [m.step for m in monitor.history] == [2, 3]


def test_nonfinite_loss(pl):
    """Parts with a loss of NaN are no samples; the others are. Oracle: by hand."""
    monitor = GradientSNRMonitor(n_microbatches=4, source="microbatch")
    module = plain_module(pl, step=lambda batch, batch_idx, loss: loss * (math.nan if batch[0][0, 0] > 0.9 else 1))
    fitted(pl, monitor, module, limit_train_batches=1)
    bad = sum(float(part[0][0, 0]) > 0.9 for part in split_batch(next(iter(loader())), 4))
    assert {layer.n_samples for layer in monitor.latest} == {4 - bad}


def test_frozen_layer(pl):
    """A frozen layer is listed without data, and measured from when it is not frozen any more. Oracle: by hand."""
    module, monitor = plain_module(pl), GradientSNRMonitor(n_microbatches=2)
    module.core.requires_grad_(False)
    fitted(pl, monitor, module)
    layer = {layer.name: layer for layer in monitor.latest}["core/layer0"]
    assert (layer.n_weights > 0, layer.n_samples, math.isnan(layer.snr)) == (True, 0, True)
    assert monitor.history[-1].summary() == {}


def fails_on_parts(batch, batch_idx, loss):
    if len(batch[0]) < 8:
        raise RuntimeError("only whole batches")
    return loss


def test_a_failing_probe_does_not_stop_training(pl):
    """One warning with the reason; the fit ends as usual; fast_dev_run shows the error. Oracle: by hand."""
    monitor = GradientSNRMonitor(every_n_steps=1, n_microbatches=2, source="microbatch")
    with pytest.warns(UserWarning, match=r"skips it: RuntimeError: only whole batches loss_fn=") as caught:
        trainer = fitted(pl, monitor, plain_module(pl, step=fails_on_parts))
    assert sum("GradientSNRMonitor" in str(w.message) for w in caught) == 1
    assert trainer.global_step == 4
    assert monitor.latest == []
    with pytest.raises(RuntimeError, match="only whole batches"):
        fitted(pl, GradientSNRMonitor(source="microbatch"), plain_module(pl, step=fails_on_parts), fast_dev_run=True)


def test_exception_in_training(pl):
    """An error of the model's own comes through, and the monitor leaves no stand-ins behind. Oracle: by hand."""

    def fail(batch, batch_idx, loss):
        if batch_idx == 2 and len(batch[0]) == 8:
            raise KeyError("mine")
        return loss

    module, log = plain_module(pl, step=fail), recorder(pl)
    trainer = trainer_of(pl, [GradientSNRMonitor(every_n_steps=1)], logger=log)
    with pytest.raises(KeyError, match="mine"):
        trainer.fit(module, loader())
    assert trainer.loggers == [log]
    assert "log" not in vars(module)
    assert len(log.of("torchbp")) == 3


def test_manual_optimization_with_several_losses(pl):
    """Two losses and none returned: says so, and what to do. Oracle: the message."""
    module = lightning_module(pl, manual=True)

    def training_step(batch, batch_idx):
        for _ in range(2):
            module.manual_backward(plain_loss(module, batch))

    module.training_step = training_step
    with pytest.warns(UserWarning, match=r"handed 2 losses to manual_backward and returned none.*pass loss_fn="):
        fitted(pl, GradientSNRMonitor(), module)


def test_manual_optimization_with_raw_optimizer(pl):
    """A step around Lightning's wrapper does not move the weights in a probe. Oracle: the weights it saw."""
    module, seen = lightning_module(pl, manual=True), []

    def training_step(batch, batch_idx):
        seen.append(module.head.weight.detach().clone())
        for optimizer in (module.optimizers(use_pl_optimizer=False), module.trainer.optimizers[0]):
            optimizer.zero_grad()
            loss = plain_loss(module, batch)
            optimizer.step(lambda loss=loss: module.trainer.should_stop)
        return loss

    module.training_step = training_step
    monitor = GradientSNRMonitor(n_microbatches=4)
    fitted(pl, monitor, module, limit_train_batches=1)
    assert len(seen) == 5
    assert all(torch.equal(weight, seen[0]) for weight in seen)
    assert monitor.latest[0].n_samples == 4


def test_fast_dev_run_probes_once(any_pl):
    """Oracle: by hand; and nothing is written."""
    monitor = GradientSNRMonitor()
    fitted(any_pl, monitor, fast_dev_run=True)
    assert len(monitor.history) == 1


def test_sanity_check_and_validation_are_left_alone(pl):
    """Oracle: by hand."""
    module, monitor = plain_module(pl), GradientSNRMonitor()
    module.validation_step = lambda batch, batch_idx: None
    trainer = trainer_of(pl, [monitor], num_sanity_val_steps=2)
    trainer.validate(module, loader(), verbose=False)
    assert monitor.history == []
    trainer.fit(module, loader(), loader())
    assert [m.step for m in monitor.history] == [0]


@pytest.mark.filterwarnings("ignore:Found `dataloader_iter` argument", "ignore:You are using the `dataloader_iter`")
def test_batches_fetched_by_the_step(pl):
    """training_step(dataloader_iter) can't be run on a part of a batch: says so. Oracle: the messages."""

    class Fetching(type(plain_module(pl))):
        def training_step(self, dataloader_iter):
            return plain_loss(self, next(dataloader_iter)[0])

    with pytest.warns(UserWarning, match="GradientSNRMonitor") as caught:
        fitted(pl, GradientSNRMonitor(every_n_steps=1), Fetching(), limit_train_batches=3)
    messages = [str(w.message) for w in caught if "GradientSNRMonitor" in str(w.message)]
    assert len(messages) == 2
    assert "skips them. There is no tensor to split in a batch of type NoneType" in messages[0]
    assert "fetches its own batches" in messages[1]
    assert "pass loss_fn=" in messages[1]


def test_lazy_weights_are_waited_for(pl):
    """Before the first forward there is nothing to measure. Oracle: the steps measured."""
    module, monitor = plain_module(pl), GradientSNRMonitor(every_n_steps=1)
    module.encoder = nn.Sequential(nn.LazyLinear(2))
    module.configure_optimizers = lambda: torch.optim.SGD(module.core.parameters(), lr=0.1)
    fitted(pl, monitor, module, limit_train_batches=2)
    assert [m.step for m in monitor.history] == [1]


def test_several_monitors_state_key():
    """The key names the source, so that monitors of other sources fit beside it. Oracle: by hand."""
    assert GradientSNRMonitor().state_key == "torchbp.GradientSNRMonitor.auto"
    assert GradientSNRMonitor(source="microbatch").state_key == "torchbp.GradientSNRMonitor.microbatch"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"every_n_steps": 0}, "every_n_steps is a whole number of at least 1, got 0"),
        ({"every_n_steps": float("nan")}, "every_n_steps is a whole number of at least 1, got nan"),
        ({"every_n_steps": 1.5}, "every_n_steps is a whole number of at least 1, got 1.5"),
        ({"n_microbatches": 1}, "n_microbatches is a whole number of at least 2, got 1"),
        ({"source": "shots"}, "Unknown source 'shots'. Known: auto, microbatch, per_sample"),
    ],
)
def test_bad_options(options, message):
    with pytest.raises(TorchBPError, match=message):
        GradientSNRMonitor(**options)


def test_sharded_gradients_are_refused():
    """Any child of a sharding strategy, of either package. Oracle: the message."""
    strategy = type("Mine", (type("FSDPStrategy", (), {}),), {})()
    with pytest.raises(InputError, match=r"whole gradients on every process, and FSDPStrategy shards them"):
        GradientSNRMonitor().setup(SimpleNamespace(strategy=strategy), None, "fit")
    GradientSNRMonitor().setup(SimpleNamespace(strategy=object()), None, "fit")


@pytest.mark.parametrize(
    ("size", "wanted", "smallest", "parts"),
    [(32, 8, 1, 8), (3, 8, 1, 3), (8, 8, 2, 4), (1, 8, 1, 1), (0, 8, 1, 0)],
)
def test_n_parts(size, wanted, smallest, parts):
    assert n_parts(size, wanted, smallest) == parts


@pytest.mark.parametrize(
    ("max_epochs", "expected"),
    [
        (1, [1]),
        (3, [1, 2, 3]),
        (25, [3, 6, 9, 12, 15, 18, 21, 24, 25]),
        (None, [1, 2, 4, 8, 16]),
        (-1, [1, 2, 4, 8, 16]),
    ],
)
def test_picture_due(max_epochs, expected):
    """About ten a run. Oracle: by hand."""
    last = 25 if max_epochs in (None, -1) else max_epochs
    assert [epoch for epoch in range(last + 1) if picture_due(epoch, max_epochs)] == expected


def test_long_runs_keep_a_bounded_history(pl, monkeypatch):
    """The older measurements thin out, the last and the first stretch of the run stay. Oracle: by hand."""
    monkeypatch.setattr("torchbp.callbacks.gradient_snr_monitor.MAX_HISTORY", 6)
    monitor = GradientSNRMonitor(every_n_steps=1, n_microbatches=2)
    fitted(pl, monitor, max_epochs=3)
    assert [m.step for m in monitor.history] == [0, 4, 7, 9, 10, 11]


def test_the_reason_for_micro_batches_is_said_once(pl, monkeypatch):
    """And what single samples can't measure, by name. Oracle: what is handed to Lightning's log."""
    said = []
    monkeypatch.setattr("torchbp.callbacks.gradient_snr_monitor.rank_zero_info", said.append)
    fitted(pl, GradientSNRMonitor(every_n_steps=1, n_microbatches=2))
    assert len(said) == 1
    assert "GradientSNRMonitor measures from micro-batches: BatchNorm1d mixes the samples of a" in said[0]
    said.clear()
    module = plain_module(pl)
    module.scale = nn.Parameter(torch.ones(()))
    module.training_step = lambda batch, batch_idx: plain_loss(module, batch) * module.scale
    monitor = GradientSNRMonitor(every_n_steps=1)
    fitted(pl, monitor, module)
    assert len(said) == 1
    assert "does not measure Model from single samples: its parameters are used without" in said[0]
    assert [m.source for m in monitor.history] == ["per_sample"] * 4
    assert [layer.n_samples for layer in monitor.latest] == [0, 8, 8, 8, 8]


def test_source_asked_for_is_not_replaced(pl):
    """`per_sample` of a model with BatchNorm: one warning, no numbers of another source. Oracle: by hand."""
    monitor = GradientSNRMonitor(every_n_steps=1, source="per_sample")
    with pytest.warns(UserWarning, match=r"PreconditionError: BatchNorm1d mixes .*source=\"microbatch\" measures any"):
        fitted(pl, monitor)
    assert monitor.history == []


def test_one_source_in_a_fit(pl):
    """What does not fit in the middle of a fit changes the source for its rest, and the next fit tries again.

    Oracle: by hand; the third batch comes to the layer in another shape.
    """

    def step(batch, batch_idx, loss):
        if batch_idx % 4 != 2:
            return loss
        return module.core(module.encoder(torch.cat([batch[0], batch[0]]))).square().mean()

    module, monitor = plain_module(pl, step=step), GradientSNRMonitor(every_n_steps=1, n_microbatches=4)
    fitted(pl, monitor, module)
    assert [m.source for m in monitor.history] == ["per_sample", "per_sample", "microbatch", "microbatch"]
    fitted(pl, monitor, module, limit_train_batches=1)
    assert monitor.history[-1].source == "per_sample"


class Squeezing(lightning.pytorch.LightningModule):
    """TorchQuantum's own idiom, which loses the batch of one sample."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(2, 4)

    def training_step(self, batch, batch_idx):
        y = self.layer(batch[0]).reshape(len(batch[0]), 2, 2).sum(-1).squeeze()
        return nn.functional.nll_loss(nn.functional.log_softmax(y, dim=1), batch[1])

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.1)


@pytest.mark.filterwarnings("ignore:GradientSNRMonitor found no quantum layer")
def test_a_step_that_fails_on_one_sample():
    """Oracle: parts of two samples each, and a measurement at every step."""
    data = torch.utils.data.TensorDataset(torch.rand(16, 2), torch.randint(0, 2, (16,)))
    monitor = GradientSNRMonitor(every_n_steps=1, source="microbatch")
    trainer = lightning.pytorch.Trainer(
        max_epochs=1, logger=False, enable_checkpointing=False, enable_progress_bar=False, accelerator="cpu",
        enable_model_summary=False, callbacks=[monitor],
    )  # fmt: skip
    trainer.fit(Squeezing(), torch.utils.data.DataLoader(data, batch_size=8))
    assert len(monitor.history) == 2
    assert monitor.n_microbatches == 4
