"""While a search has the quantum weights, everything else trains as if they were frozen.

Oracle throughout: the same fit with `requires_grad_(False)` on the quantum weights and no callback, bit for bit. The
search looks at other points and stays where it is.
"""

from __future__ import annotations

import importlib
import os
import sys

import lightning.pytorch as pl
import pytest
import torch
from fits import PACKAGES, lightning_module, same, trace
from processes import SEARCH, run_alone

from torchbp import QuantumLayer
from torchbp.backends.noise import NoiseModel
from torchbp.backends.trajectories import TrajectoryBackend
from torchbp.callbacks import GradientFreeFallback, GradientSNRMonitor, PlateauDetector
from torchbp.circuits import angle_encoding, hardware_efficient


class Still:
    """Looks around and proposes no change."""

    def __init__(self, start, seed):
        self.point = start

    def ask(self):
        return [self.point, self.point + 0.5]

    def tell(self, losses):
        return self.point.clone()

    def state_dict(self):
        return {}

    def load_state_dict(self, state):
        pass


def still(monitor=None, **options):
    detector = PlateauDetector(monitor or GradientSNRMonitor(every_n_steps=3))
    return GradientFreeFallback(detector, Still, start_at=0, resume_when=None, **options)


def compare(make, pl=pl, options=dict, evaluations=16, monitor=None, **more):
    fallback = still(monitor)
    searched = trace(pl, fallback, make(), **options(), **more)
    frozen = make()
    frozen.core.requires_grad_(False)
    assert same(searched, trace(pl, None, frozen, **options(), **more))
    assert fallback.evaluations == evaluations
    assert [event.kind for event in fallback.events] == ["fallback"]
    return fallback


def measured(shots=None, **options):
    circuit = angle_encoding(n_wires=2) + hardware_efficient(n_wires=2, depth=2)
    return QuantumLayer(circuit, shots=shots, generator=torch.Generator().manual_seed(0), **options)


@pytest.mark.parametrize("mixing", [True, False], ids=["BatchNorm", "LayerNorm"])
@pytest.mark.parametrize(
    ("options", "evaluations"),
    [
        ({}, 16),
        ({"accumulate_grad_batches": 3}, 8),
        ({"precision": "bf16-mixed"}, 16),
        ({"gradient_clip_val": 0.01}, 16),
        ({"gradient_clip_val": 0.01, "gradient_clip_algorithm": "value"}, 16),
    ],
    ids=str,
)
def test_automatic_optimization(mixing, options, evaluations):
    """Dropout, metrics, schedulers, random numbers of three kinds; see `lightning_module`."""
    compare(lambda: lightning_module(pl, mixing=mixing), evaluations=evaluations, **options)


def test_manual_optimization():
    compare(lambda: lightning_module(pl, manual=True))


@pytest.mark.parametrize("manual", [False, True])
def test_shots(manual):
    """The generator of outcomes goes on as with frozen weights, and no shots are spent on their gradient."""
    make = lambda: lightning_module(pl, measured(shots=20), manual=manual)  # noqa: E731
    module, frozen = make(), make()
    fallback = still(GradientSNRMonitor(every_n_steps=100))
    searched = trace(pl, fallback, module)
    frozen.core.requires_grad_(False)
    assert same(searched, trace(pl, None, frozen))
    probes = module.core.shots_used - frozen.core.shots_used - fallback.shots_spent
    assert fallback.shots_spent == 16 * 8 * 20  # evaluations, samples, shots: one measurement group
    assert 0 < probes < fallback.shots_spent + 8 * 20 * 2 * 8 * 3  # the monitor's one and the detector's


def test_noise_with_random_numbers_of_its_own():
    noise = NoiseModel(depolarizing_1q=0.05, depolarizing_2q=0.1)

    def make():
        backend = TrajectoryBackend(noise, n_trajectories=2, generator=torch.Generator().manual_seed(1))
        return lightning_module(pl, measured(backend=backend))

    compare(make)


@pytest.mark.parametrize("package", PACKAGES)
def test_gradient_scaler(package):
    pl = importlib.import_module(package)
    plugins = importlib.import_module(f"{package}.plugins")

    def scaled():
        scaler = torch.amp.GradScaler("cpu", init_scale=2.0**12, growth_interval=3)
        return {"plugins": [plugins.MixedPrecision("16-mixed", "cpu", scaler=scaler)]}

    compare(lambda: lightning_module(pl), pl, scaled)


OPTIMIZERS = {
    "AdamW": lambda p: torch.optim.AdamW(p, 0.01, weight_decay=0.5),
    "SGD with momentum": lambda p: torch.optim.SGD(p, 0.1, momentum=0.9, weight_decay=0.1),
    "fused Adam": lambda p: torch.optim.Adam(p, 0.01, fused=True),
    "RMSprop": lambda p: torch.optim.RMSprop(p, 0.01, momentum=0.5),
    "LBFGS": lambda p: torch.optim.LBFGS(p, lr=0.1, max_iter=3),
}


@pytest.mark.parametrize("name", list(OPTIMIZERS))
def test_optimizers(name):
    def make():
        module = lightning_module(pl, mixing=False)
        module.configure_optimizers = lambda: OPTIMIZERS[name](module.parameters())
        return module

    compare(make)


@pytest.mark.parametrize("scaled", [False, True], ids=["float32", "scaler"])
@pytest.mark.parametrize("raw", [False, True], ids=["wrapped", "raw"])
def test_two_optimizers(raw, scaled):
    """Toggled and clipped by hand; raw ones, of which Lightning's hooks hear nothing, too."""
    if raw and scaled:
        pytest.skip("Lightning scales the steps of its own wrappers only")

    def make():
        module = lightning_module(pl, manual=True, mixing=False)

        def training_step(batch, batch_idx):
            for optimizer in module.optimizers(use_pl_optimizer=not raw):
                if not raw:
                    module.toggle_optimizer(optimizer)
                optimizer.zero_grad()
                loss = module.loss(batch)
                module.manual_backward(loss)
                if not scaled:
                    module.clip_gradients(optimizer, 0.01, "norm")
                optimizer.step()
                if not raw:
                    module.untoggle_optimizer(optimizer)
            return loss

        def configure_optimizers():
            first = [*module.encoder.parameters(), *module.core.parameters()]
            return [torch.optim.AdamW(first, 0.01), torch.optim.SGD(module.head.parameters(), 0.1)]

        module.training_step, module.configure_optimizers = training_step, configure_optimizers
        return module

    def options():
        if not scaled:
            return {}
        precision = importlib.import_module("lightning.pytorch.plugins").MixedPrecision
        return {"plugins": [precision("16-mixed", "cpu", scaler=torch.amp.GradScaler("cpu", init_scale=64.0))]}

    # The training step has two losses; this is the one to look at.
    monitor = GradientSNRMonitor(every_n_steps=3, loss_fn=lambda module, batch: module.loss(batch))
    compare(make, options=options, monitor=monitor)


def test_an_optimizer_of_their_own():
    """Freezing leaves a gradient scaler without a gradient to look at; here it has one, of zero, and goes on."""

    def make(frozen):
        module = lightning_module(pl, manual=True, mixing=False)

        def training_step(batch, batch_idx):
            loss = module.loss(batch)
            for optimizer in module.optimizers()[: 1 if frozen else 2]:
                optimizer.zero_grad()
            module.manual_backward(loss)
            for optimizer in module.optimizers()[: 1 if frozen else 2]:
                optimizer.step()

        def configure_optimizers():
            classical = [*module.encoder.parameters(), *module.head.parameters()]
            return [torch.optim.Adam(classical, 0.01), torch.optim.AdamW(module.core.parameters(), 0.01)]

        module.training_step, module.configure_optimizers = training_step, configure_optimizers
        module.core.requires_grad_(not frozen)
        return module

    def options():
        precision = importlib.import_module("lightning.pytorch.plugins").MixedPrecision
        return {"plugins": [precision("16-mixed", "cpu", scaler=torch.amp.GradScaler("cpu", init_scale=64.0))]}

    module, frozen = make(False), make(True)
    trace(pl, still(), module, **options())
    trace(pl, None, frozen, **options())
    pairs = zip(module.state_dict().values(), frozen.state_dict().values(), strict=True)
    assert all(torch.equal(a, b) for a, b in pairs)


def test_nothing_but_quantum_weights():
    """A loss that has no gradient but theirs still has a backward pass. Oracle: the weights at the start."""

    class Energy(pl.LightningModule):
        def __init__(self):
            super().__init__()
            self.core = measured(shots=20)

        def training_step(self, batch, batch_idx):
            return self.core(batch[0][:, :2]).mean()

        def configure_optimizers(self):
            return torch.optim.AdamW(self.parameters(), 0.1)

    module = Energy()
    module.losses, start = [], module.core.weights.detach().clone()
    module.calls = 0
    trace(pl, still(), module)
    assert torch.equal(module.core.weights, start)
    assert module.core.weights.requires_grad


DDP = """
import sys, torch, lightning.pytorch as pl
from torch.utils.data import DataLoader, DistributedSampler
from fits import lightning_module, loader, seed, trainer_of
from test_fallback_undisturbing import measured, still

folder = sys.argv[1]
torch.set_num_threads(1)

def run(kind):
    module = lightning_module(pl, measured(shots=20), mixing=False)
    fallback = still() if kind == "searched" else None
    if fallback is None:
        module.core.requires_grad_(False)
    def shard():
        data = loader().dataset
        return DataLoader(data, 4, sampler=DistributedSampler(data, 2, module.trainer.global_rank, shuffle=False))
    module.train_dataloader = shard
    class Save(pl.Callback):
        def on_train_start(self, trainer, module):
            seed(trainer.global_rank)
        def on_train_end(self, trainer, module):
            events = [event.kind for event in fallback.events] if fallback else []
            evaluations = fallback.evaluations if fallback else 0
            tensors = list(module.state_dict().values())
            torch.save((tensors, events, evaluations), f"{folder}/{kind}{trainer.global_rank}.pt")
    callbacks = [Save(), *([fallback] if fallback else [])]
    trainer_of(pl, callbacks, max_epochs=2, devices=2, strategy="ddp_fork", use_distributed_sampler=False).fit(module)

run("searched")
run("frozen")
"""


def test_two_processes(tmp_path):
    """Plain DDP, which waits for the gradient of each parameter that it knows."""
    script = tmp_path / "run.py"
    script.write_text(DDP)
    environment = os.environ | {"PYTHONPATH": SEARCH}
    command = [sys.executable, "-W", "ignore", script, tmp_path]
    done = run_alone(command, env=environment)
    assert done.returncode == 0, done.stderr
    found = {path.stem: torch.load(path) for path in tmp_path.glob("*.pt")}
    assert len(found) == 4
    for rank in (0, 1):
        searched, events, evaluations = found[f"searched{rank}"]
        assert (events, evaluations) == (["fallback"], 16)
        assert all(torch.equal(a, b) for a, b in zip(searched, found[f"frozen{rank}"][0], strict=True))
