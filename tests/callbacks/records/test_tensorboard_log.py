"""What the callbacks leave for TensorBoard's page, in real, tiny fits, read back by TensorBoard's own readers."""

from __future__ import annotations

import importlib
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from board_logs import get, served, until
from fits import PACKAGES, fitted, plain_module
from lightning.pytorch.loggers import TensorBoardLogger
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from torch.utils.data import DataLoader, TensorDataset

from torchbp import Circuit, PauliSum, QuantumLayer, feature, weight
from torchbp.callbacks import GradientSNRMonitor
from torchbp.callbacks.records.announcement import FILE_NAME, announce
from torchbp.callbacks.records.events import Event
from torchbp.tensorboard.schema import EVENTS_TAG, Manifest, stats_tag, weights_tag

EVENTS = [
    Event(3, "verdict", "barren plateau", {"verdict": "barren_plateau", "confidence": 0.9}),
    Event(3, "reset", "new weights", {"verdict": "barren_plateau", "deviation": float("nan")}),
    Event(7, "kept", "better", {"tensor": torch.ones(1)}),
    Event(6, "shots", "more shots", {}),
]


@pytest.fixture(params=PACKAGES)
def any_pl(request: Any) -> Any:
    return importlib.import_module(request.param)


def read(folder: str) -> EventAccumulator:
    events = EventAccumulator(folder, size_guidance={"tensors": 0})
    events.Reload()
    return events


class Told:
    """As much of a trainer as an announcement asks for."""

    is_global_zero, fast_dev_run, ckpt_path = True, False, None


def announced(pl: Any, folder: Path) -> Any:
    """A logger after these events have been announced to it."""
    logger = importlib.import_module(f"{pl.__name__}.loggers").TensorBoardLogger(folder)
    told = Told()
    told.log_dir, told.loggers = logger.log_dir, [logger]
    for event in EVENTS:
        announce(told, event)
    logger.experiment.flush()
    return logger


def test_events(any_pl: Any, tmp_path: Path) -> None:
    """All of one step together, steps that never decrease, and the file. Oracle: by hand."""
    folder = announced(any_pl, tmp_path).log_dir
    found = read(folder)
    assert EVENTS_TAG in found.PluginTagToContent("torchbp")
    series = [(e.step, [json.loads(t)["kind"] for t in e.tensor_proto.string_val]) for e in found.Tensors(EVENTS_TAG)]
    assert series == [(3, ["verdict"]), (3, ["verdict", "reset"]), (7, ["kept"]), (7, ["kept", "shots"])]
    texts = [e.tensor_proto.string_val[0].decode() for e in found.Tensors(f"{EVENTS_TAG}/text_summary")]
    assert texts[1] == "**verdict** barren plateau\n\n**reset** new weights"
    lines = [json.loads(line) for line in Path(folder, FILE_NAME).read_text().splitlines()]
    assert [(line["step"], line["kind"]) for line in lines] == [(e.step, e.kind) for e in EVENTS]


@pytest.mark.parametrize("load_fast", ["true", "false"])
def test_events_reach_the_page(load_fast: str, tmp_path: Path) -> None:
    """None is lost on the way through either data loader. Oracle: what was announced."""
    announced(importlib.import_module("lightning.pytorch"), tmp_path)
    with served(tmp_path, f"--load_fast={load_fast}") as address:
        page = f"{address}/data/plugin/torchbp"
        (run,) = until(lambda: get(f"{page}/runs")["runs"])
        found = get(f"{page}/run?run={run['run']}")["events"]
    assert [(e["step"], e["kind"]) for e in found] == [(3, "verdict"), (3, "reset"), (6, "shots"), (7, "kept")]
    assert found[1]["data"] == {"verdict": "barren_plateau", "deviation": "NaN"}
    assert run["verdict"] == "barren_plateau"


def test_per_weight(any_pl: Any, tmp_path: Path) -> None:
    """Mean and standard error of every quantum weight, asked for. Oracle: the monitor's statistics."""
    loggers = importlib.import_module(f"{any_pl.__name__}.loggers")
    for per_weight in (False, True):
        board = loggers.TensorBoardLogger(tmp_path, name=str(per_weight))
        monitor = GradientSNRMonitor(every_n_steps=2, n_microbatches=2, per_weight=per_weight)
        fitted(any_pl, monitor, plain_module(any_pl), logger=board)
        events = read(board.log_dir)
        tags = {tag for tag in events.PluginTagToContent("torchbp") if "/weights/" in tag}
        source = monitor.history[0].source
        names = [layer.name for layer in monitor.latest]
        quantum = {weights_tag(source, names.index(f"core/layer{k}")) for k in range(2)}
        assert tags == (quantum if per_weight else set())
    for tag in tags:
        manifest = Manifest.decode(events.SummaryMetadata(tag).plugin_data.content)
        assert manifest is not None
        series = events.Tensors(tag)
        stored = np.frombuffer(series[-1].tensor_proto.tensor_content, "<f4").reshape(*manifest.n_weights, 2)
        expected = monitor.statistics[manifest.layers[0]]
        np.testing.assert_allclose(stored[:, 0], expected.mean, rtol=1e-5, atol=1e-12)
        np.testing.assert_allclose(stored[:, 1], expected.standard_error, rtol=1e-5, atol=1e-12)
        assert [e.step for e in series] == [m.step for m in monitor.history]


def shot_module(pl: Any, lr: float = 0.1, **options: Any) -> Any:
    """One wire at a known angle, <Z> as loss: everything about its shots is known."""

    class Model(pl.LightningModule):
        def __init__(self) -> None:
            super().__init__()
            circuit = Circuit(1).append("rx", 0, feature(0)).start_layer("turn").append("rx", 0, weight())
            self.core = QuantumLayer(circuit, [PauliSum({"Z0": 1.0})], shots=16, **options)

        def training_step(self, batch: Any, batch_idx: int) -> torch.Tensor:
            return self.core(batch[0]).mean()

        def configure_optimizers(self) -> torch.optim.Optimizer:
            return torch.optim.SGD(self.parameters(), lr=lr)

    return Model()


def test_shots_to_resolve(any_pl: Any, tmp_path: Path) -> None:
    """Oracle: E = cos t, dE/dt = -sin t from two circuits with E = -+sin t, so that one shot for each has the variance
    (2 - 2 sin^2 t) / 4 = cos^2 t / 2, divided by B in the mean over B samples: 9 cos^2 t / (2 B sin^2 t)."""
    angle, batch = 0.3, 4
    board = importlib.import_module(f"{any_pl.__name__}.loggers").TensorBoardLogger(tmp_path)
    data = DataLoader(TensorDataset(torch.zeros(batch, 1)), batch)
    module = shot_module(any_pl)
    with torch.no_grad():
        module.core.weights.fill_(angle)
    monitor = GradientSNRMonitor(every_n_steps=1, n_microbatches=2, shots_to_resolve=True)
    fitted(any_pl, monitor, module, data, logger=board)
    events = read(board.log_dir)
    tag = stats_tag(monitor.history[0].source)
    manifest = Manifest.decode(events.SummaryMetadata(tag).plugin_data.content)
    assert manifest is not None
    assert (manifest.layers, manifest.columns[-1]) == (("core/turn",), "shots_to_resolve")
    stored = np.frombuffer(events.Tensors(tag)[0].tensor_proto.tensor_content, "<f4")
    assert stored[-1] == pytest.approx(9 * math.cos(angle) ** 2 / (2 * batch * math.sin(angle) ** 2), rel=1e-5)


def test_shots_to_resolve_without_a_simulator(tmp_path: Path) -> None:
    """One warning, and the measurement goes on. Oracle: by hand."""
    pl = importlib.import_module("lightning.pytorch")
    module = shot_module(pl)
    module.training_step = lambda batch, batch_idx: module.core.weights.sum() + module.core(batch[0]).detach().sum()
    monitor = GradientSNRMonitor(every_n_steps=1, n_microbatches=2, shots_to_resolve=True, source="microbatch")
    data = DataLoader(TensorDataset(torch.zeros(8, 1)), 4)
    with pytest.warns(UserWarning, match="can't tell the shots to resolve a gradient, and leaves them out: InputError"):
        fitted(pl, monitor, module, data, logger=TensorBoardLogger(tmp_path))
    assert len(monitor.history) == 2
