"""A layer trained on a fake machine through the job runner, with faults, killed and resumed: the account is exact."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import forks
import pytest
from coins import Coins

from torchbp.hardware import Ledger
from torchbp.hardware.jobs.rehearsal import RehearsalService

PROGRAM = """
from pathlib import Path
import torch
from qiskit_ibm_runtime.fake_provider import FakeManilaV2
from torchbp import QuantumLayer
from torchbp.circuits import angle_encoding, hardware_efficient
from torchbp.errors import JobError
from torchbp.hardware import Backoff, JobRunner, QiskitBackend
from torchbp.hardware.executors import BackendExecutor
from torchbp.hardware.program import Limit
from torchbp.hardware.jobs.rehearsal import RehearsalService

folder = Path(FOLDER)
torch.manual_seed(0)
torch.set_num_threads(1)
machine = FakeManilaV2()
service = RehearsalService(BackendExecutor(machine), folder / "service", rate=RATE, seed=4, limit=Limit(circuits=12))
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


def train(folder: Path, rate: float, kills: Sequence[int] = ()) -> list[str]:
    """What the program prints that comes to its end."""
    folder.mkdir()
    code = PROGRAM.replace("FOLDER", repr(str(folder))).replace("RATE", str(rate))
    return forks.run(code, folder / "ledger.jsonl", ["qiskit_ibm_runtime.fake_provider", "qiskit_aer"], kills)[-1]


def test_training_with_faults_killed_and_resumed(tmp_path: Path) -> None:
    """Oracle: the training that nothing happens to, bit for bit; the service's books for shots, time, what was paid."""
    whole = train(tmp_path / "whole", 0.0)
    resumed = train(tmp_path / "killed", 0.3, kills=[20])
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
