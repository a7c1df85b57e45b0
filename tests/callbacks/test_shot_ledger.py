"""ShotLedger in tiny fits of both Lightning packages: labels, curves, events, and a run that goes on."""

from __future__ import annotations

import csv
import importlib
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from coins import Coins, program
from fits import PACKAGES
from qiskit_ibm_runtime.fake_provider import FakeManilaV2
from torch import nn
from torch.utils.data import DataLoader

from torchbp import QuantumLayer
from torchbp.callbacks import PlateauDetector, ShotLedger
from torchbp.circuits import angle_encoding, hardware_efficient
from torchbp.diagnosis.verdicts import Diagnosis, Verdict
from torchbp.errors import BudgetExceededError, InputError
from torchbp.hardware import Backoff, Budget, JobRunner, Ledger, Price, QiskitBackend
from torchbp.hardware.jobs.rehearsal import RehearsalService

STEPS = 4


@pytest.fixture(params=PACKAGES)
def pl(request: pytest.FixtureRequest) -> Any:
    return importlib.import_module(request.param)


def model(pl: Any, runner: JobRunner, stop_at: int = 1000) -> Any:
    """One weight, a job for each training and validation step; of the same content every second step."""

    class Model(pl.LightningModule):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.weight, self.seen = nn.Parameter(torch.ones(())), []

        def training_step(self, batch: Any, batch_idx: int) -> torch.Tensor:
            if self.global_step == stop_at:
                raise KeyboardInterrupt
            (found,) = runner.run(program(1.0 + batch_idx % 2, shots=1000))
            self.seen.append(found.counts()[0]["1"])
            return self.weight**2

        def validation_step(self, batch: Any, batch_idx: int) -> None:
            runner.run(program(2.5, shots=10))

        def configure_optimizers(self) -> torch.optim.Optimizer:
            return torch.optim.SGD(self.parameters(), lr=0.1)

    return Model()


def runner(folder: Path, **options: Any) -> JobRunner:
    coins = Coins()
    coins.backend = FakeManilaV2()
    service = RehearsalService(coins, folder / "service", rate=0.3, faults=["failed", "silent", "busy"], seed=2)
    prices = {"*": Price(per_second=2.0)}
    budget = options.pop("budget", Budget(prices=prices))
    return JobRunner(service, folder / "ledger.jsonl", run="r", budget=budget, backoff=Backoff(0.0, 0.0), **options)


def fit(pl: Any, folder: Path, module: Any, callback: ShotLedger, epochs: int = 2, **options: Any) -> Any:
    loggers = importlib.import_module(f"{pl.__name__}.loggers")
    trainer = pl.Trainer(
        max_epochs=epochs,
        accelerator="cpu",
        callbacks=[callback],
        logger=loggers.CSVLogger(folder),
        log_every_n_steps=1,
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
    )
    data = DataLoader(torch.arange(float(STEPS)))
    trainer.fit(module, data, DataLoader(torch.zeros(1)), **options)
    return trainer


def test_labels_curves_and_events(pl: Any, tmp_path: Path) -> None:
    """Oracle: the ledger's own account, of which the parts are known by hand."""
    run = runner(tmp_path)
    trainer = fit(pl, tmp_path, model(pl, run), ShotLedger(run, every_n_steps=2))
    ledger = Ledger(run.ledger.path)
    labels = [(a.labels["stage"], a.labels["epoch"]) for a in ledger.attempts if a.number == 1]
    assert labels == ([("train", 0)] * STEPS + [("validate", 0)] + [("train", 1)] * STEPS + [("validate", 1)])
    assert [a.labels["step"] for a in ledger.attempts if a.number == 1][:STEPS] == [0, 1, 2, 3]
    account = ledger.summary()
    assert account["shots"] == 2 * (STEPS * 1000 + 10)
    assert account["retries"] > 0
    assert [e["shots"] for e in account["runs"]["r"]["epochs"].values()] == [STEPS * 1000 + 10] * 2
    folder = Path(trainer.log_dir)
    rows = list(csv.DictReader((folder / "metrics.csv").read_text().splitlines()))
    shots = [float(row["torchbp/hardware/shots"]) for row in rows if row.get("torchbp/hardware/shots")]
    assert shots[0] == 2000
    assert shots == sorted(shots)
    assert shots[-1] == account["shots"]
    last = [row for row in rows if row.get("torchbp/hardware/money")][-1]
    assert float(last["torchbp/hardware/money"]) == pytest.approx(2 * account["quantum_seconds"])
    assert float(last["torchbp/calibration/t1"]) == pytest.approx(run.service.calibration().medians()["t1"])
    (event,) = [json.loads(line) for line in (folder / "torchbp_events.jsonl").read_text().splitlines()]
    assert (event["kind"], event["step"]) == ("shots", 2 * STEPS)
    assert event["message"].startswith(f"The run has taken {account['shots']:,} shots, 10 jobs, {account['retries']} r")
    assert event["data"]["r"]["shots"] == account["shots"]


@pytest.mark.filterwarnings("ignore:The dirpath has changed")  # Lightning: its new version has a folder of its own
def test_going_on_from_a_checkpoint(pl: Any, tmp_path: Path) -> None:
    """Oracle: the same training in one go; jobs after the checkpoint are replayed, those before it are not repeated."""
    whole = model(pl, runner(tmp_path / "whole"))
    fit(pl, tmp_path / "whole", whole, ShotLedger(runner(tmp_path / "whole")), epochs=2)
    run = runner(tmp_path)
    first = model(pl, run, stop_at=STEPS + 2)
    with pytest.raises((KeyboardInterrupt, SystemExit)):
        fit(pl, tmp_path, first, ShotLedger(run))
    assert len(first.seen) == STEPS + 2
    jobs = len(Ledger(run.ledger.path).jobs("r"))
    (checkpoint,) = (tmp_path / "lightning_logs").rglob("*.ckpt")
    torch.load(checkpoint, weights_only=True)
    again = runner(tmp_path)
    second = model(pl, again)
    fit(pl, tmp_path, second, ShotLedger(again), ckpt_path=checkpoint)
    assert second.seen[:2] == first.seen[STEPS:]
    assert first.seen[:STEPS] + second.seen == whole.seen
    assert len(set(whole.seen)) > 2  # fresh shots for the same content
    assert len(again.ledger.jobs("r")) == jobs + 3 == 2 * (STEPS + 1)


def test_a_budget_that_ends_a_fit(pl: Any, tmp_path: Path) -> None:
    """The error goes on; the event says what is left."""
    run = runner(tmp_path, budget=Budget(shots=2500))
    with pytest.raises(BudgetExceededError):
        fit(pl, tmp_path, model(pl, run), ShotLedger(run))
    (file,) = tmp_path.rglob("torchbp_events.jsonl")
    event = json.loads(file.read_text().splitlines()[-1])
    assert event["kind"] == "budget"
    account = Ledger(run.ledger.path).summary()
    assert event["data"]["left"]["r"]["shots"] == 2500 - account["shots"] - account["shots_lost"]


@pytest.mark.parametrize("verdict", [Verdict.CONVERGED, Verdict.HEALTHY])
def test_a_run_that_converged(tmp_path: Path, verdict: Verdict) -> None:
    """Oracle: the detector's verdict, given by hand."""
    pl = importlib.import_module("lightning.pytorch")
    detector = PlateauDetector()
    detector.diagnosis = Diagnosis(verdict, 1.0, (), "")
    run = runner(tmp_path)
    fit(pl, tmp_path, model(pl, run), ShotLedger(run, detector=detector), epochs=1)
    wanted = STEPS * 1000 + 10 if verdict is Verdict.CONVERGED else None
    assert Ledger(run.ledger.path).summary()["shots_per_converged_run"] == wanted


def test_the_runner_behind_a_layer(pl: Any, tmp_path: Path) -> None:
    """Oracle: the layer's own count of shots, and its jobs in the ledger, forward and backward; found by itself."""
    backend = QiskitBackend("aer", shots=20, ledger=tmp_path / "ledger.jsonl", run="here")
    layer = QuantumLayer(angle_encoding(2) + hardware_efficient(2, 1), backend=backend)

    class Model(pl.LightningModule):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.layer = layer

        def training_step(self, batch: Any, batch_idx: int) -> torch.Tensor:
            return self.layer(batch[:, None].expand(-1, 2)).sum()

        def validation_step(self, batch: Any, batch_idx: int) -> None:
            self.layer(batch[:, None].expand(-1, 2))

        def configure_optimizers(self) -> torch.optim.Optimizer:
            return torch.optim.SGD(self.parameters(), lr=0.1)

    callback = ShotLedger()
    fit(pl, tmp_path, Model(), callback, epochs=1)
    assert callback.runners == [backend.executor]
    ledger = Ledger(tmp_path / "ledger.jsonl")
    assert [a.labels["stage"] for a in ledger.attempts] == ["train"] * 2 * STEPS + ["validate"]
    assert ledger.summary()["shots"] == layer.shots_used > 0


def test_errors(tmp_path: Path) -> None:
    """Each says what was given and what is needed."""
    with pytest.raises(InputError, match="every_n_steps is a whole number of at least 1, got 0"):
        ShotLedger(every_n_steps=0)
    pl = importlib.import_module("lightning.pytorch")
    with pytest.raises(InputError, match="found no JobRunner behind a quantum layer"):
        fit(pl, tmp_path, model(pl, runner(tmp_path)), ShotLedger())
