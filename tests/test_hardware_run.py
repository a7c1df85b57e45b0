"""A layer trained on a fake machine through the job runner, with faults, killed and resumed: the account is exact."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest
from coins import Coins

from torchbp.hardware import Ledger
from torchbp.hardware.rehearsal import RehearsalService

DRIVER = """
import sys
from pathlib import Path
import torch
from qiskit_ibm_runtime.fake_provider import FakeManilaV2
from torchbp import QuantumLayer
from torchbp.circuits import angle_encoding, hardware_efficient
from torchbp.errors import JobError
from torchbp.hardware import Backoff, JobRunner, QiskitBackend
from torchbp.hardware.executors import BackendExecutor
from torchbp.hardware.program import Limit
from torchbp.hardware.rehearsal import RehearsalService

folder, rate = Path(sys.argv[1]), float(sys.argv[2])
torch.manual_seed(0)
torch.set_num_threads(1)
machine = FakeManilaV2()
service = RehearsalService(BackendExecutor(machine), folder / "service", rate=rate, seed=4, limit=Limit(circuits=12))
runner = JobRunner(service, folder / "ledger.jsonl", run="training", backoff=Backoff(0.0, 0.0), poll=0.001)
backend = QiskitBackend(runner, shots=64, machine=machine, seed=0)
layer = QuantumLayer(angle_encoding(2) + hardware_efficient(2, 1), backend=backend)
optimizer = torch.optim.SGD(layer.parameters(), lr=0.2)
x, y = torch.rand(3, 2), torch.rand(3, 2)
for step in range(2):
    runner.labels["epoch"] = step
    while True:
        optimizer.zero_grad()
        try:
            with runner.repeatable():
                torch.nn.functional.mse_loss(layer(x), y).backward()
            break
        except JobError:
            continue
    optimizer.step()
    print(step, *[w.hex() for w in layer.weights.tolist()], flush=True)
print("used", runner.shots_used, flush=True)
"""


def train(folder: Path, rate: float, kill_after: int | None = None) -> list[str]:
    """What the program prints; killed after so many records in its ledger."""
    process = subprocess.Popen(
        [sys.executable, "-c", DRIVER, str(folder), str(rate)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    ledger = folder / "ledger.jsonl"
    while kill_after is not None and process.poll() is None:
        if ledger.exists() and ledger.read_bytes().count(b"\n") >= kill_after:
            os.kill(process.pid, signal.SIGKILL)
            break
        time.sleep(0.01)
    out, error = process.communicate(timeout=300)
    assert process.returncode == (0 if kill_after is None else -signal.SIGKILL), error
    return out.splitlines()


def test_training_with_faults_killed_and_resumed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Oracle: the training that nothing happens to, bit for bit; the service's books for shots, time, what was paid."""
    monkeypatch.setattr(sys, "argv", ["", str(tmp_path / "whole"), "0.0"])
    exec(DRIVER, {})
    whole = capsys.readouterr().out.splitlines()
    (tmp_path / "killed").mkdir()
    train(tmp_path / "killed", 0.3, kill_after=20)
    resumed = train(tmp_path / "killed", 0.3)
    assert resumed == whole
    assert len(resumed) == 3
    remote = RehearsalService(Coins(), tmp_path / "killed" / "service")
    books, ledger = remote.books(), Ledger(tmp_path / "killed" / "ledger.jsonl")
    assert any(b["fault"] for b in books)
    done = Counter(a.key for a in ledger.attempts if a.state == "done")
    assert done == dict.fromkeys(ledger.jobs("training"), 1)
    account = ledger.summary()
    assert account["shots"] == sum(b["shots"] for b in books if b["state"] == "done")
    assert resumed[-1] == f"used {account['shots']}"
    assert account["quantum_seconds"] == pytest.approx(sum(b["seconds"] for b in books))
    assert account["shots_in_flight"] == 0
    assert set(account["runs"]["training"]["epochs"]) == {"0", "1"}
