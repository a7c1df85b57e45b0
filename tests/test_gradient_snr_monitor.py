"""GradientSNRMonitor in real, tiny fits of both Lightning packages."""

import csv
import importlib
import json
import math
import random
import subprocess
import sys
import warnings
from types import SimpleNamespace

import numpy as np
import pytest
import torch
import torchmetrics
from lightning.pytorch.loggers import TensorBoardLogger
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from torchbp import QuantumLayer
from torchbp._torchquantum import tq
from torchbp.callbacks import GradientSNRMonitor
from torchbp.callbacks.gradient_snr_monitor import n_parts, picture_due
from torchbp.circuits import angle_encoding, hardware_efficient
from torchbp.errors import InputError
from torchbp.gradients.groups import find_groups
from torchbp.gradients.microbatch import microbatch_gradients, split_batch
from torchbp.gradients.stats import GradientStatistics, layer_snr

PACKAGES = ["lightning.pytorch", "pytorch_lightning"]


def quantum_layer() -> QuantumLayer:
    return QuantumLayer(angle_encoding(n_wires=2) + hardware_efficient(n_wires=2, depth=2))


def lightning_module(pl, core=None, step=None, manual=False):
    """A restless LightningModule: dropout, BatchNorm, a metric, random numbers, lists, logs."""

    class Model(pl.LightningModule):
        def __init__(self):
            super().__init__()
            self.automatic_optimization = not manual
            self.encoder = nn.Sequential(nn.Linear(3, 2), nn.BatchNorm1d(2), nn.Dropout(0.2))
            self.core = quantum_layer() if core is None else core
            self.head = nn.Linear(2, 1)
            self.error = torchmetrics.MeanMetric()
            self.losses, self.calls = [], 0

        def training_step(self, batch, batch_idx):
            x, y = batch
            x += 0.01 * torch.randn_like(x) + random.random() + np.random.rand()
            loss = nn.functional.mse_loss(self.head(self.core(self.encoder(x).float()).float()), y)
            self.calls += 1
            self.losses.append(loss.detach())
            self.error.update(loss.detach())
            self.log("loss", loss, on_step=True, on_epoch=True)
            self.log("error", self.error, on_step=False, on_epoch=True)
            self.log_dict({"calls": float(self.calls)})
            if manual:
                optimizer = self.optimizers()
                optimizer.zero_grad()
                self.manual_backward(loss)
                optimizer.step()
                self.lr_schedulers().step()
                return None
            return loss if step is None else step(self, batch, loss)

        def configure_optimizers(self):
            optimizer = torch.optim.Adam(self.parameters(), lr=0.01)
            return [optimizer], [torch.optim.lr_scheduler.StepLR(optimizer, 2, 0.9)]

    torch.manual_seed(0)
    return Model()


def loader(n=32, batch=8):
    generator = torch.Generator().manual_seed(1)
    x = torch.randn(n, 3, generator=generator)
    return DataLoader(TensorDataset(x, torch.sin(x.sum(1, keepdim=True))), batch_size=batch)


def trainer_of(pl, callbacks, **options):
    quiet = {"enable_progress_bar": False, "enable_model_summary": False, "enable_checkpointing": False}
    defaults = {"max_epochs": 1, "logger": False, "accelerator": "cpu", "devices": 1, "log_every_n_steps": 1}
    return pl.Trainer(callbacks=callbacks, **{**quiet, **defaults, **options})


def recorder(pl):
    class Recorder(importlib.import_module(f"{pl.__name__}.loggers").Logger):
        name, version = "recorder", 0

        def __init__(self):
            super().__init__()
            self.rows = []

        def log_hyperparams(self, *args, **kwargs): ...

        def log_metrics(self, metrics, step=None):
            self.rows.append((step, dict(metrics)))

        def of(self, prefix):
            return [(step, m) for step, m in self.rows if any(key.startswith(prefix) for key in m)]

    return Recorder()


@pytest.fixture(params=PACKAGES)
def any_pl(request):
    return importlib.import_module(request.param)


@pytest.fixture
def pl():
    return importlib.import_module("lightning.pytorch")


def fitted(pl, monitor, module=None, data=None, **options):
    trainer = trainer_of(pl, [monitor] if monitor else [], **options)
    trainer.fit(module or lightning_module(pl), data or loader())
    return trainer


def trace(pl, monitor, manual=False, **options):
    """All that a fit leaves behind."""
    random.seed(3), np.random.seed(3)
    log, module = recorder(pl), lightning_module(pl, manual=manual)
    torch.manual_seed(4)
    trainer = fitted(pl, monitor, module, max_epochs=2, logger=log, **options)
    optimizer = trainer.optimizers[0].state_dict()
    moments = [v for state in optimizer["state"].values() for v in state.values()]
    metrics = {k: float(v) for k, v in trainer.callback_metrics.items() if not k.startswith("torchbp")}
    rows = [row for row in log.rows if not any(key.startswith("torchbp") for key in row[1])]
    return {
        "tensors": [*module.state_dict().values(), *moments, *module.losses, torch.get_rng_state()],
        "others": repr([rows, metrics, module.calls, trainer.global_step, optimizer["param_groups"]]),
        "random": (random.getstate(), repr(np.random.get_state())),
        "loggers": trainer.loggers == [log],
    }


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"accumulate_grad_batches": 3},
        {"manual": True},
        {"precision": "bf16-mixed"},
        {"gradient_clip_val": 0.1},
    ],
    ids=str,
)
def test_undisturbing(pl, options):
    """Weights, buffers, Adam's state, random streams and logs are those of a fit without it, bit for bit."""
    monitor = GradientSNRMonitor(every_n_steps=1, n_microbatches=4)
    with_it, without = trace(pl, monitor, **options), trace(pl, None, **options)
    assert len(monitor.history) >= 4
    assert all(layer.n_samples == 4 for m in monitor.history for layer in m.layers)
    assert all(torch.equal(a, b) for a, b in zip(with_it.pop("tensors"), without.pop("tensors"), strict=True))
    assert with_it == without


def plain_module(pl, core=None, step=None):
    """Nothing random in it, so that its gradients can be computed again."""
    module = lightning_module(pl, core)
    module.encoder = nn.Sequential(nn.Linear(3, 2))

    def training_step(batch, batch_idx):
        loss = plain_loss(module, batch)
        return loss if step is None else step(batch, batch_idx, loss)

    module.training_step = training_step
    return module


def plain_loss(module, batch):
    return nn.functional.mse_loss(module.head(module.core(module.encoder(batch[0]))), batch[1])


def test_numbers(any_pl):
    """Oracle: the same gradients outside of any trainer, on the first batch; both Lightning packages."""
    module, monitor = plain_module(any_pl), GradientSNRMonitor(n_microbatches=4)
    groups, batch = find_groups(module), next(iter(loader()))
    samples = microbatch_gradients(lambda b: plain_loss(module, b), groups, split_batch(batch, 4))
    statistics = GradientStatistics.from_samples(samples).split([len(g) for g in groups])
    fitted(any_pl, monitor, module)
    assert [m.step for m in monitor.history] == [0]
    assert [layer.name for layer in monitor.latest] == ["encoder.0", "core/layer0", "core/layer1", "head"]
    assert [layer.kind for layer in monitor.latest] == ["classical", "quantum", "quantum", "classical"]
    for layer, expected in zip(monitor.latest, statistics, strict=True):
        assert layer.snr == pytest.approx(layer_snr(expected), rel=1e-6)
        torch.testing.assert_close(monitor.statistics[layer.name].mean, expected.mean)


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
    """Steps never run backwards, which TensorBoard would take for a restart. Oracle: by hand."""
    monitor = GradientSNRMonitor(every_n_steps=2, n_microbatches=2)
    fitted(pl, monitor)
    fitted(pl, monitor)
    assert [m.step for m in monitor.history] == [0, 2, 4, 6]


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
    monitor = GradientSNRMonitor(every_n_steps=1, n_microbatches=8)
    fitted(pl, monitor, plain_module(pl), loader(12, 3))
    assert {layer.n_samples for layer in monitor.latest} == {3}
    fitted(pl, monitor, lightning_module(pl), loader(8, 8))
    assert {layer.n_samples for layer in monitor.latest} == {4}
    with pytest.warns(UserWarning, match="on a batch of 1: a spread takes two parts of at least 1 each") as caught:
        fitted(pl, monitor, plain_module(pl), loader(3, 1))
    assert sum("GradientSNRMonitor" in str(w.message) for w in caught) == 1
    assert len(monitor.history) == 5


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
    monitor = GradientSNRMonitor(n_microbatches=4)
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
    monitor = GradientSNRMonitor(every_n_steps=1, n_microbatches=2)
    with pytest.warns(UserWarning, match=r"skips it: RuntimeError: only whole batches loss_fn=") as caught:
        trainer = fitted(pl, monitor, plain_module(pl, step=fails_on_parts))
    assert sum("GradientSNRMonitor" in str(w.message) for w in caught) == 1
    assert trainer.global_step == 4
    assert monitor.latest == []
    with pytest.raises(RuntimeError, match="only whole batches"):
        fitted(pl, GradientSNRMonitor(), plain_module(pl, step=fails_on_parts), fast_dev_run=True)


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
    assert "no tensor to split in a batch of type NoneType, and skips it" in messages[0]
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
    assert GradientSNRMonitor().state_key == "torchbp.GradientSNRMonitor.microbatch"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"every_n_steps": 0}, "every_n_steps is at least 1, got 0"),
        ({"n_microbatches": 1}, "n_microbatches is at least 2, got 1"),
    ],
)
def test_bad_options(options, message):
    with pytest.raises(InputError, match=message):
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


DDP = """
import sys, torch, lightning.pytorch as L
from torch import nn
from torch.utils.data import DataLoader, DistributedSampler, TensorDataset
from torchbp.callbacks import GradientSNRMonitor
from torchbp.gradients.groups import find_groups
from torchbp.gradients.microbatch import microbatch_gradients, split_batch
from torchbp.gradients.stats import GradientStatistics, layer_snr

class Model(L.LightningModule):
    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.net = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 1))
    def training_step(self, batch, batch_idx):
        return nn.functional.mse_loss(self.net(batch[0]), batch[1])
    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.1)
    def train_dataloader(self):  # Lightning's own sampler would shuffle
        rank = self.trainer.global_rank
        return DataLoader(self.data, batch_size=8, sampler=DistributedSampler(self.data, 2, rank, shuffle=False))

def run():
    torch.set_num_threads(1)
    x = torch.randn(16, 3, generator=torch.Generator().manual_seed(0))
    data = TensorDataset(x, x.sum(1, keepdim=True))
    model, monitor = Model(), GradientSNRMonitor(n_microbatches=4)
    groups = find_groups(model)
    parts = [p for r in range(2) for p in split_batch([t[r::2] for t in data.tensors], 4)]  # as the sampler deals them
    samples = microbatch_gradients(lambda b: model.training_step(b, 0), groups, parts)
    expected = [layer_snr(s) for s in GradientStatistics.from_samples(samples).split([len(g) for g in groups])]
    class Save(L.Callback):
        def on_train_end(self, trainer, module):
            found = [(layer.snr, layer.n_samples) for layer in monitor.latest]
            torch.save((found, expected), f"{sys.argv[1]}/rank{trainer.global_rank}.pt")
    trainer = L.Trainer(max_epochs=1, accelerator="cpu", devices=2, strategy="ddp_fork",
        logger=False, use_distributed_sampler=False, callbacks=[monitor, Save()],
        enable_progress_bar=False, enable_model_summary=False, enable_checkpointing=False)
    model.data = data
    trainer.fit(model)

run()
"""


def test_two_processes_agree(tmp_path):
    """Two gloo ranks: the same numbers on both. Oracle: one process with the samples of both."""
    script = tmp_path / "run.py"
    script.write_text(DDP)
    done = subprocess.run([sys.executable, script, tmp_path], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    (found, expected), (other, _) = (torch.load(tmp_path / f"rank{rank}.pt") for rank in range(2))
    assert found == other
    assert [n for _, n in found] == [8, 8]
    assert [snr for snr, _ in found] == pytest.approx(expected, rel=1e-5)
