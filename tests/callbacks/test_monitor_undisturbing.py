"""A fit with GradientSNRMonitor leaves behind what the same fit without it does, however it is trained.

Oracle throughout: weights, buffers, optimizers' states, random streams, logs and counters of the fit without it, bit
for bit; and by hand, how often it has measured.
"""

import importlib

import pytest
import torch
from fits import PACKAGES, fitted, lightning_module, loader, plain_loss, plain_module, same, seed, trace, trainer_of
from torch import nn

from torchbp.callbacks import GradientSNRMonitor


@pytest.fixture
def pl():
    return importlib.import_module("lightning.pytorch")


def compare(pl, make, measured=None, monitor=None, **options):
    """Fit with and without; returns the monitor. `options` may be a function, called for each fit."""
    monitor = monitor or GradientSNRMonitor(every_n_steps=1, n_microbatches=4)
    given = options.pop("options", dict)
    with_it = trace(pl, monitor, make(), **given(), **options)
    without = trace(pl, None, make(), **given(), **options)
    assert same(with_it, without)
    assert len(monitor.history) == measured
    assert any(layer.n_samples for layer in monitor.latest)
    return monitor


@pytest.mark.parametrize("mixing", [True, False], ids=["microbatch", "per_sample"])
@pytest.mark.parametrize(
    ("options", "measured"),
    [
        ({}, 8),
        ({"accumulate_grad_batches": 3}, 4),
        ({"manual": True}, 8),
        ({"precision": "bf16-mixed"}, 8),
        ({"gradient_clip_val": 0.1}, 8),
        ({"limit_train_batches": 2}, 4),
        ({"limit_train_batches": 0.5, "overfit_batches": 2}, 4),
        ({"gradient_clip_val": 0.1, "gradient_clip_algorithm": "value", "detect_anomaly": True}, 8),
    ],
    ids=str,
)
@pytest.mark.filterwarnings("ignore:You requested to overfit", "ignore:Anomaly Detection has been enabled")
def test_automatic_and_manual_optimization(pl, mixing, options, measured):
    options = dict(options)
    manual = options.pop("manual", False)
    monitor = compare(pl, lambda: lightning_module(pl, manual=manual, mixing=mixing), measured, **options)
    assert {m.source for m in monitor.history} == {"microbatch" if mixing else "per_sample"}
    assert all(layer.n_samples == (4 if mixing else 8) for m in monitor.history for layer in m.layers)


@pytest.mark.parametrize("package", PACKAGES)
@pytest.mark.parametrize("mixing", [True, False], ids=["microbatch", "per_sample"])
def test_gradient_scaler(package, mixing):
    """Half precision with loss scaling; gradients come out unscaled. Oracle for that: the fit in full precision."""
    pl = importlib.import_module(package)
    plugins = importlib.import_module(f"{package}.plugins")

    def scaled():
        scaler = torch.amp.GradScaler("cpu", init_scale=2.0**12, growth_interval=3)
        return {"plugins": [plugins.MixedPrecision("16-mixed", "cpu", scaler=scaler)]}

    def make():
        return lightning_module(pl, mixing=mixing)

    monitor = compare(pl, make, 8, options=scaled)
    if mixing:  # BatchNorm of two samples amplifies any rounding
        return
    exact = GradientSNRMonitor(every_n_steps=1)
    trace(pl, exact, make())
    for layer, other in zip(monitor.history[0].layers, exact.history[0].layers, strict=True):
        assert layer.median_abs == pytest.approx(other.median_abs, rel=0.05, abs=1e-4)


def two_optimizers(pl, raw=False):
    module = lightning_module(pl, manual=True, mixing=False)

    def training_step(batch, batch_idx):
        loss = None
        optimizers = module.optimizers(use_pl_optimizer=not raw)
        for optimizer in optimizers:
            if not raw:
                module.toggle_optimizer(optimizer)
            optimizer.zero_grad()
            loss = module.loss(batch)
            module.manual_backward(loss)
            module.clip_gradients(optimizer, 0.5, "norm")
            optimizer.step()
            if not raw:
                module.untoggle_optimizer(optimizer)
        return loss

    def configure_optimizers():
        return [torch.optim.Adam(module.core.parameters(), 0.01), torch.optim.SGD(module.head.parameters(), 0.1)]

    module.training_step, module.configure_optimizers = training_step, configure_optimizers
    return module


@pytest.mark.parametrize("raw", [False, True], ids=["wrapped", "raw"])
def test_several_optimizers(pl, raw):
    """Toggled, clipped by hand; raw ones, of which Lightning's hooks and counters hear nothing, too."""
    monitor = GradientSNRMonitor(every_n_steps=1, n_microbatches=4, loss_fn=lambda module, batch: module.loss(batch))
    compare(pl, lambda: two_optimizers(pl, raw), 8, monitor)
    assert [m.step for m in monitor.history] == list(range(8))


def test_lbfgs(pl):
    """A step of many closures is one step, measured once."""

    def make():
        module = lightning_module(pl, mixing=False)
        module.configure_optimizers = lambda: torch.optim.LBFGS(module.parameters(), lr=0.1, max_iter=3)
        return module

    monitor = compare(pl, make, 8)
    assert [m.step for m in monitor.history] == list(range(8))


def test_frozen_and_unused_weights(pl):
    """None gradients are no data; what trains beside them is measured."""

    def make():
        module = lightning_module(pl, mixing=False)
        module.unused = nn.Linear(2, 2)
        module.head.weight.requires_grad_(False)
        return module

    monitor = compare(pl, make, 8)
    samples = {layer.name: layer.n_samples for layer in monitor.latest}
    assert samples == {
        "encoder.0": 8, "encoder.1": 8, "core/layer0": 8, "core/layer1": 8, "head": 8, "unused": 0,
    }  # fmt: skip
    assert int(monitor.statistics["head"].count.sum()) == 8  # the bias


@pytest.mark.parametrize("source", ["per_sample", "microbatch"])
def test_compiled_submodules(pl, source):
    """A probe compiles nothing, whatever the size of its batches. Oracle for that: the number of compilations."""
    compilations = []

    def backend(graph, inputs):
        compilations.append(graph)
        return graph.forward

    def make():
        torch._dynamo.reset()
        module = lightning_module(pl, mixing=False)
        module.encoder = torch.compile(module.encoder, backend=backend)
        return module

    monitor = GradientSNRMonitor(every_n_steps=1, n_microbatches=3, source=source)
    compare(pl, make, 8, monitor)
    assert len(compilations) == 2 * (len(compilations) // 2) > 0  # as many with the monitor as without
    assert [layer.name for layer in monitor.latest][:2] == ["encoder.0", "encoder.1"]
    assert all(layer.n_samples == (8 if source == "per_sample" else 3) for layer in monitor.latest)


def test_validation_and_sanity_check(pl):
    """Validation in between, the sanity check before: measured are training steps only."""

    def make():
        module = lightning_module(pl, mixing=False)
        module.validation_step = lambda batch, batch_idx: module.log("val", plain_loss(module, batch))
        module.val_dataloader = lambda: loader(16, 8)
        return module

    compare(pl, make, 8, num_sanity_val_steps=1, val_check_interval=2)


def test_learning_rate_finder(pl):
    """Its fit comes before the real one, which starts at step 0 again. Oracle: the rate it finds without."""
    tuner = importlib.import_module("lightning.pytorch.tuner")
    found = []
    for monitor in (GradientSNRMonitor(every_n_steps=2), None):
        module = lightning_module(pl, mixing=False)
        seed(3)
        module.lr = 0.01
        module.configure_optimizers = lambda module=module: torch.optim.SGD(module.parameters(), lr=module.lr)
        trainer = trainer_of(pl, [monitor] if monitor else [], max_epochs=1)
        finder = tuner.Tuner(trainer).lr_find(module, loader(128), num_training=12, min_lr=1e-4, max_lr=1.0)
        assert monitor is None or monitor.history == []
        trainer.fit(module, loader(64))
        found.append((finder.results, module.lr, [p.detach().clone() for p in module.parameters()]))
        assert monitor is None or [m.step for m in monitor.history] == [0, 2, 4, 6]
    assert found[0][:2] == found[1][:2]
    assert all(torch.equal(a, b) for a, b in zip(found[0][2], found[1][2], strict=True))


def test_batch_size_finder(pl):
    """Oracle: the size it finds without."""
    tuner = importlib.import_module("lightning.pytorch.tuner")
    found = []
    for monitor in (GradientSNRMonitor(every_n_steps=1), None):
        module = lightning_module(pl, mixing=False)
        seed(3)
        module.batch_size = 4
        module.train_dataloader = lambda module=module: loader(64, module.batch_size)
        trainer = trainer_of(pl, [monitor] if monitor else [])
        found.append(tuner.Tuner(trainer).scale_batch_size(module, max_trials=2, steps_per_trial=2))
        assert monitor is None or monitor.history == []
    assert found[0] == found[1]


def test_second_fit_and_resuming(pl, tmp_path):
    """A fit that was stopped and goes on from its checkpoint, with the monitor or without."""
    ends = []
    for monitors in ((GradientSNRMonitor(every_n_steps=1), GradientSNRMonitor(every_n_steps=1)), (None, None)):
        seed(4)
        trainer = fitted(pl, monitors[0], lightning_module(pl, mixing=False))
        trainer.save_checkpoint(tmp_path / "last.ckpt")
        module = lightning_module(pl, mixing=False)
        seed(5)
        trainer = trainer_of(pl, [monitors[1]] if monitors[1] else [], max_epochs=2)
        trainer.fit(module, loader(), ckpt_path=tmp_path / "last.ckpt", weights_only=True)
        trainer.fit_loop.max_epochs = 3
        trainer.fit(module, loader())
        ends.append([*module.state_dict().values(), torch.get_rng_state()])
        assert monitors[1] is None or [m.step for m in monitors[1].history] == list(range(12))
    assert all(torch.equal(a, b) for a, b in zip(*ends, strict=True))


@pytest.mark.parametrize("source", ["per_sample", "microbatch"])
def test_exception_in_the_step_that_is_probed(pl, source):
    """It comes from the training itself, and nothing of the probe stays. Oracle: the message; by hand."""
    module = plain_module(pl)

    def training_step(batch, batch_idx):
        if batch_idx == 1:
            raise KeyError("mine")
        return plain_loss(module, batch)

    module.training_step = training_step
    trainer = trainer_of(pl, [GradientSNRMonitor(every_n_steps=1, source=source)])
    with (
        pytest.warns(UserWarning, match="skips it: KeyError: 'mine' loss_fn="),
        pytest.raises(KeyError, match="mine"),
    ):
        trainer.fit(module, loader())
    assert not {"log", "log_dict", "manual_backward"} & set(vars(module))
    assert not module.core._forward_hooks
    assert module.core.backend.name == "fused"
    assert all(p.isfinite().all() for p in module.parameters())
