"""PlateauDetector in real, tiny fits of both Lightning packages."""

from __future__ import annotations

import importlib
import json
import random
import sys
import warnings
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
import torchmetrics
from ailing_runs import RUNS, Trained
from processes import run_alone
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from torchbp import Circuit, QuantumLayer, weight
from torchbp._torchquantum import tq
from torchbp.backends.noise import NoiseModel
from torchbp.backends.trajectories import TrajectoryBackend
from torchbp.callbacks import GradientSNRMonitor, PlateauDetector, PlateauStopping, plateau_detector
from torchbp.callbacks.mechanics.investigation import quantum_layers
from torchbp.circuits import angle_encoding, global_z, hardware_efficient, local_z
from torchbp.diagnosis.verdicts import Verdict
from torchbp.errors import InputError

PACKAGES = ["lightning.pytorch", "pytorch_lightning"]


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def circuit_layer(**options: Any) -> QuantumLayer:
    circuit = angle_encoding(n_wires=2) + hardware_efficient(n_wires=2, depth=2)
    return QuantumLayer(circuit, generator=generator(), **options)


def with_dead_layer() -> QuantumLayer:
    """The second of its two layers turns a wire that is not measured."""
    circuit = Circuit(3)
    circuit.start_layer("live").append("ry", 0, weight()).append("ry", 1, weight())
    circuit.start_layer("dead").append("ry", 2, weight())
    return QuantumLayer(angle_encoding(3) + circuit, local_z(3)[:2], generator=generator())


def simple(pl: Any, core: nn.Module | None = None, lr: float = 0.05, manual: bool = False, **members: Any) -> Any:
    """The quantum layer alone on a task; with a learning rate of 0 it is stuck."""

    class Model(pl.LightningModule):
        def __init__(self) -> None:
            super().__init__()
            self.automatic_optimization = not manual
            self.core = circuit_layer() if core is None else core

        def training_step(self, batch: Any, batch_idx: int) -> Any:
            loss = self.loss(batch)
            if manual:
                optimizer = self.optimizers()
                optimizer.zero_grad()
                self.manual_backward(loss)
                optimizer.step()
                return None
            return loss

        def loss(self, batch: Any) -> Tensor:
            return (self.core(batch[0]) - batch[1]).square().mean()

        def configure_optimizers(self) -> Any:
            return torch.optim.SGD(self.parameters(), lr=lr)

    module = Model()
    for name, value in members.items():
        setattr(module, name, value)
    return module


def loader(n: int = 32, batch: int = 8, features: int = 2, outputs: int = 2) -> DataLoader[Any]:
    x = 2 * torch.rand(n, features, generator=generator(1)) - 1
    y = torch.sin(x.sum(1, keepdim=True)).expand(-1, outputs)
    return DataLoader(TensorDataset(x, y), batch_size=batch)


def trainer_of(pl: Any, callbacks: list[Any], **options: Any) -> Any:
    quiet = {"enable_progress_bar": False, "enable_model_summary": False, "enable_checkpointing": False}
    defaults = {"max_epochs": 3, "logger": False, "accelerator": "cpu", "devices": 1, "log_every_n_steps": 1}
    return pl.Trainer(callbacks=callbacks, **{**quiet, **defaults, **options})


def eager(**options: Any) -> PlateauDetector:
    """Measures at every step and looks into every stall at once."""
    monitor = options.pop("monitor", None) or GradientSNRMonitor(every_n_steps=1, n_microbatches=4)
    return PlateauDetector(monitor, **{"patience": 1, "window": 8, "cooldown": 1, "samples": 4, **options})


def fitted(pl: Any, detector: PlateauDetector | None, module: Any = None, data: Any = None, **options: Any) -> Any:
    trainer = trainer_of(pl, [detector] if detector else [], **options)
    trainer.fit(simple(pl, lr=0.0) if module is None else module, loader() if data is None else data)
    return trainer


def verdicts(detector: PlateauDetector) -> list[tuple[int, str]]:
    return [(event.step, event.data["verdict"]) for event in detector.events]


@pytest.fixture(params=PACKAGES)
def any_pl(request: pytest.FixtureRequest) -> ModuleType:
    return importlib.import_module(request.param)


@pytest.fixture
def pl() -> ModuleType:
    return importlib.import_module("lightning.pytorch")


@pytest.fixture
def investigated(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """The evidence of every investigation, as it is gathered."""
    found: list[Any] = []
    real = plateau_detector.investigate

    def noting(trainer: Any, module: Any, layers: Any, *arguments: Any, **options: Any) -> Any:
        answer, evidence = real(trainer, module, layers, *arguments, **options)
        found.append((layers, evidence))
        return answer, evidence

    monkeypatch.setattr(plateau_detector, "investigate", noting)
    return found


# ---- where it stands, and what it leaves behind


def test_alone(any_pl: ModuleType) -> None:
    """One line in existing code: it measures, and has an opinion in the end. Oracle: the default cadence by hand."""
    detector = PlateauDetector()
    fitted(any_pl, detector, data=loader(8), max_epochs=310)
    assert [m.step for m in detector.monitor.history] == list(range(0, 310, 50))
    assert detector.diagnosis is not None
    assert verdicts(detector)[0][0] == 24  # a window of 20 steps and two looks, five steps apart


@pytest.mark.parametrize("place", ["before", "after"])
def test_the_monitor_may_stand_in_the_list(any_pl: ModuleType, place: str) -> None:
    """Oracle: the detector alone: same measurements, same verdicts, the same numbers in them."""
    alone = eager()
    fitted(any_pl, alone)
    listed = eager()
    pair = [listed.monitor, listed] if place == "before" else [listed, listed.monitor]
    trainer_of(any_pl, pair).fit(simple(any_pl, lr=0.0), loader())
    assert listed.monitor.history == alone.monitor.history
    assert listed.events == alone.events
    assert len(alone.events) >= 1


def restless(pl: Any, core: nn.Module, manual: bool = False) -> Any:
    """Dropout, BatchNorm, a metric, random numbers, lists, logs, and batches changed in place."""

    class Model(pl.LightningModule):
        def __init__(self) -> None:
            super().__init__()
            self.automatic_optimization = not manual
            self.encoder = nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2), nn.Dropout(0.2))
            self.core, self.head = core, nn.Linear(2, 1)
            self.error = torchmetrics.MeanMetric()
            self.losses: list[Tensor] = []

        def training_step(self, batch: Any, batch_idx: int) -> Any:
            x, y = batch
            x += 0.01 * torch.randn_like(x) + 0.01 * random.random() + 0.01 * np.random.rand()
            loss = nn.functional.mse_loss(self.head(self.core(self.encoder(x).float())).float(), y)
            self.losses.append(loss.detach())
            self.error.update(loss.detach())
            self.log("loss", loss, on_step=True, on_epoch=True)
            self.log("error", self.error, on_step=False, on_epoch=True)
            if not manual:
                return loss
            optimizer = self.optimizers()
            optimizer.zero_grad()
            self.manual_backward(loss)
            optimizer.step()
            return None

        def configure_optimizers(self) -> Any:
            return torch.optim.Adam(self.parameters(), lr=1e-4)

    torch.manual_seed(0)
    return Model()


def recorder(pl: Any) -> Any:
    class Recorder(importlib.import_module(f"{pl.__name__}.loggers").Logger):
        name, version = "recorder", 0

        def __init__(self) -> None:
            super().__init__()
            self.rows: list[tuple[int, dict[str, float]]] = []

        def log_hyperparams(self, *args: Any, **kwargs: Any) -> None: ...

        def log_metrics(self, metrics: dict[str, float], step: int | None = None) -> None:
            kept = {k: v for k, v in metrics.items() if not k.startswith("torchbp")}
            if kept:
                self.rows.append((step or 0, kept))

    return Recorder()


class Batches(list[Any]):
    """Handed out themselves, not copies. Lightning takes a plain list for several loaders."""


def trace(pl: Any, detector: PlateauDetector | None, core: QuantumLayer, manual: bool, **options: Any) -> Any:
    """All that a fit leaves behind."""
    random.seed(3), np.random.seed(3)
    module, log = restless(pl, core, manual), recorder(pl)
    batches = Batches([[x, y[:, :1]] for x, y in loader(32, 8)])
    torch.manual_seed(4)
    trainer = fitted(pl, detector, module, batches, max_epochs=6, logger=log, **options)
    moments = [v for state in trainer.optimizers[0].state_dict()["state"].values() for v in state.values()]
    metrics = {k: float(v) for k, v in trainer.callback_metrics.items() if not k.startswith("torchbp")}
    return {
        "tensors": [
            *module.state_dict().values(),
            *moments,
            *module.losses,
            *(tensor for batch in batches for tensor in batch),
            torch.get_rng_state(),
            core.shot_generator.get_state(),
        ],
        "others": repr([log.rows, metrics, trainer.global_step, core.shots, sorted(vars(core)), sorted(vars(module))]),
        "random": (random.getstate(), repr(np.random.get_state())),
        "loggers": trainer.loggers == [log],
    }


@pytest.mark.parametrize(
    "options",
    [{}, {"accumulate_grad_batches": 2}, {"manual": True}, {"precision": "bf16-mixed"}, {"shots": 20}, {"noise": True}],
    ids=str,
)
def test_undisturbing(pl: ModuleType, options: dict[str, Any], investigated: list[Any]) -> None:
    """While it investigates at every other step, bit for bit: weights, buffers, Adam, random streams, batches, logs.

    Oracle: the fit without it.
    """
    options = dict(options)
    quantum: dict[str, Any] = {"shots": options.pop("shots", None)}
    if options.pop("noise", False):
        quantum["noise"] = NoiseModel(0.01, 0.02)
    options.setdefault("manual", False)
    with_it = trace(pl, eager(samples=2), circuit_layer(**quantum), **options)
    assert len(investigated) >= 2
    without = trace(pl, None, circuit_layer(**quantum), **options)
    assert all(torch.equal(a, b) for a, b in zip(with_it.pop("tensors"), without.pop("tensors"), strict=True))
    assert with_it == without


def test_looking_costs_no_shots(pl: ModuleType) -> None:
    """Oracle: the layer's bill: experiments have exact values, and the monitor listens to the training."""
    bills = []
    for detector in (None, eager()):
        core = circuit_layer(shots=5)
        fitted(pl, detector, simple(pl, core, lr=0.0), max_epochs=1)
        bills.append(core.shots_used)
    assert bills[1] == bills[0] > 0


# ---- what it says, and where


def test_events_everywhere(any_pl: ModuleType, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Console, JSON lines, TensorBoard's text. Oracle: `detector.events`, read back from each."""
    loggers = importlib.import_module(f"{any_pl.__name__}.loggers")
    board, detector = loggers.TensorBoardLogger(tmp_path), eager()
    log = importlib.import_module("logging").getLogger("lightning.pytorch")
    log.addHandler(caplog.handler)
    try:
        fitted(any_pl, detector, simple(any_pl, with_dead_layer()), loader(features=3), logger=board)
    finally:
        log.removeHandler(caplog.handler)
    event = detector.events[0]
    assert event.kind == "verdict"
    assert event.message.startswith("Dead layer in layer 2 since step 0 (")
    assert event.data["layers"] == ("core/dead",)
    lines = [json.loads(line) for line in Path(board.log_dir, "torchbp_events.jsonl").read_text().splitlines()]
    assert [(line["step"], line["data"]["verdict"], line["message"]) for line in lines] == [
        (e.step, e.data["verdict"], e.message) for e in detector.events
    ]
    read = EventAccumulator(board.log_dir)
    read.Reload()
    (text,) = read.Tensors("torchbp/events/text_summary")[:1]
    assert text.tensor_proto.string_val[0].decode() == f"**verdict** {event.message}"
    assert text.step == event.step
    assert f"torchbp, step {event.step}: {event.message}" in caplog.text
    told = [s.value for s in read.Scalars("torchbp/plateau_layers")]
    assert (told[0], told[-1]) == (0.0, 1.0)  # from the first step on


def test_without_a_logger_there_is_no_file(pl: ModuleType, tmp_path: Path) -> None:
    """Oracle: an empty folder, and events all the same."""
    detector = eager()
    fitted(pl, detector, default_root_dir=tmp_path)
    assert detector.events
    assert list(tmp_path.iterdir()) == []


def test_a_verdict_that_lasts_is_one_event(pl: ModuleType, investigated: list[Any]) -> None:
    """Oracle: many verdicts, one event."""
    detector = eager()
    fitted(pl, detector, simple(pl, with_dead_layer()), loader(features=3))
    assert detector.judged >= 1
    assert verdicts(detector) == [(7, "dead_layer")]


def test_early_stopping(any_pl: ModuleType) -> None:
    """It can monitor the number of ailing layers, from the first epoch on. Oracle: stops on one, not on health."""
    callbacks = importlib.import_module(f"{any_pl.__name__}.callbacks")
    for core, epochs in ((with_dead_layer(), 2), (circuit_layer(), 4)):
        stop = callbacks.EarlyStopping(
            "torchbp/plateau_layers", mode="max", patience=100, stopping_threshold=0.5, check_on_train_epoch_end=True
        )
        detector = eager(patience=1 if epochs == 2 else 1000)
        trainer = trainer_of(any_pl, [stop, detector], max_epochs=4)
        trainer.fit(simple(any_pl, core), loader(features=core.circuit.n_features))
        assert trainer.current_epoch == epochs


def test_recovery_is_an_event(pl: ModuleType) -> None:
    """Stuck, then a learning rate. Oracle: an alarm, then healthy, and the scalar falls to zero."""
    detector, module = eager(), simple(pl, lr=0.0)

    class Wake(pl.Callback):
        def on_train_epoch_start(self, trainer: Any, pl_module: Any) -> None:
            trainer.optimizers[0].param_groups[0]["lr"] = 0.5 if trainer.current_epoch >= 1 else 0.0

    trainer = trainer_of(pl, [detector, Wake()], max_epochs=6)
    trainer.fit(module, loader(batch=32))
    trainer.fit_loop.max_epochs = 16
    trainer.fit(module, loader(batch=32))
    assert verdicts(detector)[-1][1] == "healthy"
    assert float(trainer.callback_metrics["torchbp/plateau_layers"]) == 0.0


# ---- resuming


@pytest.mark.parametrize("listed", [False, True])
def test_resume(any_pl: ModuleType, tmp_path: Path, listed: bool) -> None:
    """Events, verdict, losses and history go on; configuration is the new one. Oracle: the first detector."""

    def callbacks_of(detector: PlateauDetector) -> list[Any]:
        return [detector, detector.monitor] if listed else [detector]

    first = eager()
    trainer = trainer_of(any_pl, callbacks_of(first), max_epochs=2)
    trainer.fit(simple(any_pl, with_dead_layer()), loader(features=3))
    trainer.save_checkpoint(tmp_path / "last.ckpt")
    state = torch.load(tmp_path / "last.ckpt", weights_only=True)["callbacks"]["torchbp.PlateauDetector"]
    assert (state["monitor"] is None) is listed
    second = eager(window=9)
    trainer = trainer_of(any_pl, callbacks_of(second), max_epochs=4)
    module = simple(any_pl, with_dead_layer())
    trainer.fit(module, loader(features=3), ckpt_path=tmp_path / "last.ckpt", weights_only=True)
    assert [m.step for m in second.monitor.history] == list(range(16))
    assert second.monitor.history[:8] == first.monitor.history
    assert [replace(e, data={}) for e in second.events] == [replace(e, data={}) for e in first.events]
    assert verdicts(second) == [(7, "dead_layer")]
    assert second.diagnosis is not None
    assert second.watch.state_dict()["losses"][:8] == first.watch.state_dict()["losses"]
    assert len(second.watch.state_dict()["losses"]) == 16
    assert second.state_dict()["known"] == first.state_dict()["known"]
    assert second.watch.window == 9


def test_resume_without_the_monitors_history(pl: ModuleType, tmp_path: Path) -> None:
    """Saved with the monitor in the list, resumed without it. Oracle: the run's clock: its first epoch had 4 steps."""
    first = eager()
    trainer = trainer_of(pl, [first, first.monitor], max_epochs=1)
    trainer.fit(simple(pl, lr=0.0), loader())
    trainer.save_checkpoint(tmp_path / "last.ckpt")
    second = eager(monitor=GradientSNRMonitor(every_n_steps=3, n_microbatches=2))
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Be aware that when using `ckpt_path`")
        trainer_of(pl, [second], max_epochs=2).fit(
            simple(pl, lr=0.0), loader(), ckpt_path=tmp_path / "last.ckpt", weights_only=True
        )
    assert [m.step for m in second.monitor.history] == [6]


def test_state_of_a_new_one() -> None:
    """Oracle: itself, through JSON."""
    state = json.loads(json.dumps(PlateauDetector().state_dict()))
    detector = PlateauDetector()
    detector.load_state_dict(state)
    assert detector.state_dict() == state
    assert detector.state_key == "torchbp.PlateauDetector"


# ---- models and trainers of all kinds


@pytest.mark.parametrize("quantum", [False, True], ids=["classical", "TorchQuantum"])
def test_without_a_layer_of_torchbp(any_pl: ModuleType, quantum: bool) -> None:
    """One warning of its own, no verdict, and the monitor still measures. Oracle: the message."""

    class Ready(tq.QuantumModule):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.rotation = tq.RY(has_params=True, trainable=True)

        def forward(self, x: Tensor) -> Tensor:
            device = tq.QuantumDevice(n_wires=2, bsz=len(x))
            self.rotation(device, wires=0)
            return tq.MeasureAll(tq.PauliZ)(device) + 0 * x

    core = Ready() if quantum else nn.Linear(2, 2)
    detector = eager()
    if not quantum:
        warnings.filterwarnings("ignore", "GradientSNRMonitor found no quantum layer")
    wanted = r"PlateauDetector found no quantum layer in Model that it could call at other weights, and gives no"
    with pytest.warns(UserWarning, match=wanted) as caught:
        fitted(any_pl, detector, simple(any_pl, core, lr=0.0))
    assert sum("PlateauDetector" in str(w.message) for w in caught) == 1
    assert detector.diagnosis is None
    assert len(detector.monitor.history) == 12
    with warnings.catch_warnings():
        warnings.filterwarnings("error", "PlateauDetector")
        fitted(any_pl, detector, simple(any_pl, core, lr=0.0))


def test_fast_dev_run(any_pl: ModuleType, tmp_path: Path) -> None:
    """One step, one measurement, no verdict, no file. Oracle: by hand."""
    detector = eager()
    fitted(any_pl, detector, fast_dev_run=True, default_root_dir=tmp_path)
    assert len(detector.monitor.history) == 1
    assert detector.events == []
    assert list(tmp_path.iterdir()) == []


def test_barebones(pl: ModuleType) -> None:
    """Oracle: the same verdict as in a full trainer."""
    full, bare = eager(), eager()
    fitted(pl, full)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        trainer = pl.Trainer(barebones=True, callbacks=[bare], max_epochs=3, accelerator="cpu", devices=1)
        trainer.fit(simple(pl, lr=0.0), loader())
    assert verdicts(bare) == verdicts(full)


def test_manual_optimization_without_a_returned_loss(any_pl: ModuleType) -> None:
    """The loss is what goes to `manual_backward`. Oracle: the loss of the same batches by hand."""
    detector, module = eager(), simple(any_pl, lr=0.0, manual=True)
    fitted(any_pl, detector, module, max_epochs=1)
    wanted = [float(module.loss(batch).detach()) for batch in loader()]
    assert detector.watch.state_dict()["losses"] == pytest.approx(wanted, rel=1e-5)
    learning = eager(patience=3)
    fitted(any_pl, learning, simple(any_pl, lr=0.5, manual=True), loader(batch=32), max_epochs=12)
    assert [verdict for _, verdict in verdicts(learning)] == ["healthy"]


@pytest.mark.parametrize("accumulate", [1, 2, 4])
def test_losses_under_accumulation(pl: ModuleType, accumulate: int) -> None:
    """A step's loss is the mean of its batches'. Oracle: by hand; Lightning divides each by their number."""
    detector, module = eager(), simple(pl, lr=0.0)
    fitted(pl, detector, module, max_epochs=1, accumulate_grad_batches=accumulate)
    wanted = torch.tensor([float(module.loss(batch).detach()) for batch in loader()]).view(-1, accumulate).mean(1)
    assert detector.watch.state_dict()["losses"] == pytest.approx(wanted.tolist(), rel=1e-5)


def test_loss_fn(pl: ModuleType) -> None:
    """The monitor's loss is the one that is judged. Oracle: its values and its scale by hand."""
    monitor = GradientSNRMonitor(1, 2, loss_fn=lambda module, batch: 3 * module.core(batch[0]).mean())
    detector, module = eager(monitor=monitor), simple(pl, lr=0.0)
    fitted(pl, detector, module, max_epochs=1)
    wanted = [3 * float(module.core(x).detach().mean()) for x, _ in loader()]
    assert detector.watch.state_dict()["losses"] == pytest.approx(wanted, rel=1e-5)
    assert detector.state_dict()["known"][1] == pytest.approx(3.0)


def test_scale_is_that_of_the_start(pl: ModuleType) -> None:
    """Oracle: sum |dL/dy| of half of the first batch at the first weights, by hand; the other half is to judge by."""
    detector, module = eager(patience=1000), simple(pl)
    x, y = (half[:4] for half in next(iter(loader())))
    wanted = float((2 * (module.core(x).detach() - y) / y.numel()).abs().sum())
    fitted(pl, detector, module)
    assert detector.state_dict()["known"][1] == pytest.approx(wanted, rel=1e-5)


def test_a_failing_probe_does_not_stop_training(pl: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    """One warning with the reason. Oracle: the fit ends; fast_dev_run raises."""

    def failing(*arguments: Any, **options: Any) -> Any:
        raise RuntimeError("not today")

    monkeypatch.setattr(plateau_detector, "investigate", failing)
    detector = eager()
    with pytest.warns(UserWarning, match=r"can't probe.*gives no verdict: RuntimeError: not today loss_fn=") as w:
        trainer = fitted(pl, detector, simple(pl, lr=0.0))
    assert sum("PlateauDetector" in str(one.message) for one in w) == 1
    assert trainer.global_step == 12
    assert detector.events == []
    with pytest.raises(RuntimeError, match="not today"):
        fitted(pl, eager(), fast_dev_run=True)


def test_a_layer_behind_a_detach_is_not_trained(pl: ModuleType) -> None:
    """No gradient reaches it. Oracle: by construction."""
    module = simple(pl, other=nn.Linear(2, 2))
    module.loss = lambda b: (module.other(b[0]) + module.core(b[0]).detach() - b[1]).square().mean()
    detector = eager()
    fitted(pl, detector, module)
    assert [verdict for _, verdict in verdicts(detector)] == ["not_trained"]


def test_exception_in_training(pl: ModuleType) -> None:
    """An error of the model's own comes through, and no stand-ins stay behind. Oracle: by hand."""
    module, log = simple(pl, lr=0.0), recorder(pl)
    step = module.training_step

    def fail(batch: Any, batch_idx: int) -> Any:
        if batch_idx == 3 and "log" not in vars(module):  # which is silenced while probing
            raise KeyError("mine")
        return step(batch, batch_idx)

    module.training_step = fail
    trainer = trainer_of(pl, [eager()], logger=log)
    with pytest.raises(KeyError, match="mine"):
        trainer.fit(module, loader())
    assert trainer.loggers == [log]
    assert "log" not in vars(module)
    assert len(module.core._forward_hooks) == 0


@pytest.mark.parametrize("driven", ["by the detector", "by a remedy"])
def test_nobody_listens_after_an_exception(pl: ModuleType, driven: str) -> None:
    """The monitor that they run listens to the shots of a step. Oracle: by hand."""
    detector, core = eager(), circuit_layer(shots=5)
    module = simple(pl, core)
    step = module.training_step

    def fail(batch: Any, batch_idx: int) -> Any:
        if "log" not in vars(module):  # which is silenced while probing
            raise KeyError("mine")
        return step(batch, batch_idx)

    module.training_step = fail
    callback = detector if driven == "by the detector" else PlateauStopping(detector)
    with pytest.raises(KeyError, match="mine"):
        trainer_of(pl, [callback]).fit(module, loader())
    assert core.shift_listener is None


@pytest.mark.filterwarnings("ignore:`training_step` returned `None`")
def test_skipped_batches(pl: ModuleType) -> None:
    """A training step that returns None now and then. Oracle: the losses of the others."""
    module = simple(pl, lr=0.0)
    step: Callable[[Any, int], Any] = module.training_step
    module.training_step = lambda batch, batch_idx: None if batch_idx % 2 else step(batch, batch_idx)
    detector = eager(monitor=GradientSNRMonitor(2, 2))
    fitted(pl, detector, module, max_epochs=2)
    assert len(detector.watch.state_dict()["losses"]) == 4


def test_compiled_layer(pl: ModuleType, investigated: list[Any]) -> None:
    """Names are those of the monitor, and the layer inside is probed. Oracle: the same without torch.compile."""
    plain, compiled = eager(), eager()
    fitted(pl, plain, simple(pl, with_dead_layer()), loader(features=3))
    module = simple(pl, torch.compile(with_dead_layer(), backend="eager"))
    assert list(quantum_layers(module)) == ["core"]
    fitted(pl, compiled, module, loader(features=3))
    assert verdicts(compiled) == verdicts(plain) == [(7, "dead_layer")]


def test_random_backend(pl: ModuleType, investigated: list[Any]) -> None:
    """Trajectories scatter and have no states. Oracle: entropy and concentration without their noise, and no drift."""
    backend = TrajectoryBackend(NoiseModel(0.02, 0.02), 20, generator(3))
    fitted(pl, eager(), simple(pl, circuit_layer(backend=backend), lr=0.0))
    assert len(investigated) >= 1
    layers = [layer for _, e in investigated for layer in e.layers]
    assert all(layer.entanglement is not None and layer.noiseless is not None for layer in layers)
    assert all(e.drift is None or e.drift < 5 for _, e in investigated)


def test_of_two_layers_only_the_stuck_one_is_named(pl: ModuleType) -> None:
    """One learns; the other is a deep circuit with a global observable. Oracle: by construction."""
    deep = QuantumLayer(
        angle_encoding(7) + hardware_efficient(7, 8), global_z(7), init="uniform", generator=generator(2)
    )
    module = simple(pl, lr=0.05, deep=deep)
    module.loss = lambda b: (module.core(b[0][:, :2]) + module.deep(b[0]) - b[1]).square().mean()
    detector = eager(window=16, samples=16)
    fitted(pl, detector, module, loader(features=7), max_epochs=12)
    named = [event for event in detector.events if event.data["verdict"] == "barren_plateau"]
    assert named
    assert all(name.startswith("deep/") for event in named for name in event.data["layers"])


def test_without_weights(pl: ModuleType) -> None:
    """Feature maps have nothing to train: they are no plateau. Oracle: no dead layer, no crash."""
    module = simple(pl, QuantumLayer(angle_encoding(2)), encoder=nn.Linear(2, 2))
    module.loss = lambda batch: (module.core(module.encoder(batch[0])) - batch[1]).square().mean()
    with pytest.warns(UserWarning, match="found no quantum layer in Model"):
        fitted(pl, eager(), module, max_epochs=1)


# ---- targets, arguments


def test_target(pl: ModuleType) -> None:
    """Oracle: the same stuck run, whose loss is about 0.4, is solved by one target and not by the other."""
    found = {}
    for target in (0.001, 100.0):
        detector = eager(target=target)
        fitted(pl, detector)
        found[target] = verdicts(detector)[-1][1]
    assert found[100.0] == "converged"
    assert found[0.001] != "converged"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"patience": 0}, "patience is a whole number of at least 1, got 0"),
        ({"window": 1}, "window is a whole number of at least 8, got 1"),
        ({"cooldown": 0}, "cooldown is a whole number of at least 1, got 0"),
        ({"samples": 1}, "samples is a whole number of at least 2, got 1"),
    ],
)
def test_bad_options(options: dict[str, int], message: str) -> None:
    """Oracle: the messages."""
    with pytest.raises(InputError, match=message):
        PlateauDetector(**options)  # type: ignore[arg-type]


# ---- the ten verdicts


@pytest.mark.parametrize(
    ("label", "seed", "adam"),
    [
        (Verdict.HEALTHY, 100, False),
        (Verdict.BARREN_PLATEAU, 100, False),
        (Verdict.SHOT_LIMITED, 0, False),
        (Verdict.NOISE_INDUCED, 100, False),
        (Verdict.LOCAL_MINIMUM, 101, False),
        (Verdict.CONVERGED, 100, False),
        (Verdict.OSCILLATING, 101, True),
        (Verdict.DRIFTING, 101, False),
        (Verdict.DEAD_LAYER, 102, False),
        (Verdict.DIVERGING, 100, False),
    ],
)
def test_each_verdict_in_a_run_that_shows_it(pl: ModuleType, label: Verdict, seed: int, adam: bool) -> None:
    """The first verdict other than healthy within 400 steps. Oracle: how the run was constructed."""
    run = RUNS[label.value](seed, adam)
    detector = PlateauDetector(target=run.target)

    class Stop(pl.Callback):
        def on_train_batch_end(self, trainer: Any, *_: Any) -> None:
            said = {verdict for _, verdict in verdicts(detector)}
            trainer.should_stop = not said <= {"healthy", "undecided"}

    torch.manual_seed(seed)
    data = DataLoader(TensorDataset(run.x, run.y), run.batch_size, shuffle=True, generator=generator(seed))
    trainer_of(pl, [detector, Stop()], max_epochs=None, max_steps=400).fit(Trained(run), data)
    assert detector.diagnosis is not None
    assert detector.diagnosis.verdict is label, str(detector.diagnosis)
    assert detector.diagnosis.advice


# ---- two processes

DDP = """
import sys, torch, lightning.pytorch as L
from lightning.pytorch.loggers import CSVLogger
from torch.utils.data import DataLoader, DistributedSampler, TensorDataset
from torchbp import Circuit, QuantumLayer, weight
from torchbp.callbacks import GradientSNRMonitor, PlateauDetector
from torchbp.circuits import angle_encoding, local_z

class Model(L.LightningModule):
    def __init__(self):
        super().__init__()
        circuit = Circuit(2).start_layer("live").append("ry", 0, weight())
        circuit.start_layer("dead").append("ry", 1, weight())
        generator = torch.Generator().manual_seed(0)
        self.core = QuantumLayer(angle_encoding(2) + circuit, local_z(2)[:1], generator=generator)
    def training_step(self, batch, batch_idx):
        loss = (1 + self.global_rank) * (self.core(batch[0]) - batch[1]).square().mean()
        self.log("loss", loss, sync_dist=True)  # communicates: all ranks must probe alike
        return loss
    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.05)
    def train_dataloader(self):
        rank = self.trainer.global_rank
        return DataLoader(self.data, batch_size=8, sampler=DistributedSampler(self.data, 2, rank, shuffle=False))

class Save(L.Callback):
    def __init__(self, detector):
        self.detector = detector
    def on_train_end(self, trainer, module):
        d = self.detector
        found = [(e.step, e.message) for e in d.events], d.watch.state_dict(), d.state_dict()["known"], trainer.log_dir
        torch.save(found, f"{sys.argv[1]}/rank{trainer.global_rank}.pt")

torch.set_num_threads(1)
x = torch.randn(64, 2, generator=torch.Generator().manual_seed(0))
model, detector = Model(), PlateauDetector(GradientSNRMonitor(1, 2), patience=1, window=8, cooldown=1, samples=2)
model.data = TensorDataset(x, x.sum(1, keepdim=True))
L.Trainer(max_epochs=2, accelerator="cpu", devices=2, strategy="ddp_fork", logger=CSVLogger(sys.argv[1]),
    use_distributed_sampler=False, callbacks=[detector, Save(detector)], log_every_n_steps=1,
    enable_progress_bar=False, enable_model_summary=False, enable_checkpointing=False).fit(model)
"""


def test_two_processes_agree(tmp_path: Path) -> None:
    """Two gloo ranks with different data: the same verdicts, one file. Oracle: each other."""
    script = tmp_path / "run.py"
    script.write_text(DDP)
    done = run_alone([sys.executable, script, tmp_path])
    assert done.returncode == 0, done.stderr
    one, other = (torch.load(tmp_path / f"rank{rank}.pt", weights_only=True) for rank in range(2))
    assert one == other
    (events, _, _, folder) = one
    assert [step for step, _ in events] == [7]
    assert events[0][1].startswith("Dead layer in layer 2")
    assert len(Path(folder, "torchbp_events.jsonl").read_text().splitlines()) == 1
