"""A token that is planted in everything foreign is in nothing of ours: messages, chains, files, logs."""

from __future__ import annotations

import logging
import traceback
from pathlib import Path
from typing import Any

import lightning as L
import pytest
import torch
from coins import Coins, program
from torch import nn

from torchbp.errors import TorchBPError
from torchbp.hardware import Backoff, JobRunner, Ledger, LocalService
from torchbp.hardware.jobs.redaction import HIDDEN, chain, describe, redact
from torchbp.hardware.outcomes import Outcomes
from torchbp.hardware.program import Program

TOKEN = "Pl4nted-Token_that-n0body-may-see-0123456789"
ACCOUNT = "0123456789abcdef0123456789abcdef"
CRN = f"crn:v1:bluemix:public:quantum-computing:us-east:a/{ACCOUNT}:11111111-2222-3333-4444-555555555555::"


@pytest.mark.parametrize(
    "text",
    [
        f"instance {CRN} not found",
        f"Authorization: Bearer {TOKEN}",
        f"{{'headers': {{'X-Access-Token': '{TOKEN}', 'Service-CRN': \"{CRN}\"}}}}",
        f"apikey={TOKEN}&grant=1",
        f'{{"token": "{TOKEN}"}}',
        f"token {TOKEN}.",
        f"proxy http://me:{TOKEN}@proxy.example:8080/ refused",
        f"account a/{ACCOUNT}",
        "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0In0.c2lnbmF0dXJl",
        "a" * 128,
        "owner jane.doe@example.org",
    ],
)
def test_what_looks_like_a_secret_is_hidden(text: str) -> None:
    """Oracle: nothing of the secret is left, although nobody named it."""
    found = redact(text)
    assert HIDDEN in found
    for secret in (TOKEN, ACCOUNT, "c2lnbmF0dXJl", "a" * 20, "jane.doe"):
        assert secret not in found


@pytest.mark.parametrize(
    "text",
    [
        "The job d1abcdefghijklmnopqr on ibm_torino is queued: 5 circuits, 1000 shots, 0.3 s",
        "job 7b9d1c1e-8f4f-4a51-9a3c-0b1f2d3e4f50 of run vqe-seed-0",
        f"content {'0123456789abcdef' * 4}",
        "tokens are checked; the account has no instance",
        "torchbp-1f2e3d4c-00112233445566aa was lost",
    ],
)
def test_what_does_not_is_left(text: str) -> None:
    """Job ids, hashes and plain words."""
    assert redact(text) == text


def test_known_secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    """Those given, whatever they look like, and those in the environment; short words are no secrets."""
    monkeypatch.setenv("QISKIT_IBM_TOKEN", "plain words")
    assert redact("say plain words and other words", ["other words", "and"]) == f"say {HIDDEN} and {HIDDEN}"


def test_chains() -> None:
    """Oracle: by hand; what was suppressed is told too, and hidden too."""

    def suppressed() -> None:
        try:
            raise ValueError(f"header {TOKEN}")
        except ValueError:
            raise KeyError("job") from None

    with pytest.raises(KeyError) as found:
        suppressed()
    assert describe(found.value) == f"KeyError: 'job' (from ValueError: header {HIDDEN})"
    assert len(list(chain(found.value))) == 2
    assert describe(RuntimeError()) == "RuntimeError"
    assert len(describe(RuntimeError("x " * 5000))) < 2100


class Talkative(LocalService):
    """A service whose client puts its token, account and instance into all it says."""

    secrets = ("a-secret-in-plain-words",)

    def __init__(self) -> None:
        super().__init__(Coins())
        self.told = 0

    def _tell(self) -> None:
        self.told += 1
        if self.told % 3:
            try:
                raise ConnectionError(f"GET https://me:{TOKEN}@api.example?apikey={TOKEN} {{'Service-CRN': '{CRN}'}}")
            except ConnectionError as error:
                raise RuntimeError(f"a-secret-in-plain-words {TOKEN} {CRN}") from error

    def submit(self, work: Program, tag: str) -> str:
        found = super().submit(work, tag)
        self._tell()
        return found

    def find(self, tag: str) -> str | None:
        self._tell()
        return super().find(tag)

    def result(self, job_id: str, timeout: float) -> list[Outcomes]:
        found = super().result(job_id, timeout)
        if found[0].shots == 13:
            raise RuntimeError(f"Job {job_id} of {CRN} ran out of luck, {TOKEN}")
        return found

    def usage(self, job_id: str) -> Any:
        self._tell()
        return super().usage(job_id)


class Training(L.LightningModule):
    """One weight, and a job for each step, the errors of which go to the log."""

    def __init__(self, runner: JobRunner) -> None:
        super().__init__()
        self.runner, self.weight, self.errors = runner, nn.Parameter(torch.ones(())), []

    def training_step(self, batch: Any, batch_idx: int) -> torch.Tensor:
        try:
            self.runner.run(program(1.0, shots=10 + batch_idx))
        except TorchBPError as error:
            logging.getLogger("training").exception("a job failed")
            self.errors.append(error)
        self.log("shots", float(self.runner.shots_used))
        return self.weight**2

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        checkpoint["runner"] = self.runner.state_dict()

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=0.1)


def test_a_run_with_a_planted_token(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Oracle: the bytes of every file, every log record, and every exception with all behind it."""
    caplog.set_level(logging.DEBUG)
    service = Talkative()
    runner = JobRunner(service, tmp_path / "jobs" / "ledger.jsonl", run="r", backoff=Backoff(0.0, 0.0), retries=1)
    model = Training(runner)
    trainer = L.Trainer(
        max_epochs=1, default_root_dir=tmp_path, log_every_n_steps=1, enable_progress_bar=False, accelerator="cpu"
    )
    trainer.fit(model, torch.utils.data.DataLoader(torch.arange(6.0)))
    assert service.told > 10
    assert model.errors, "nothing failed, so nothing was tested"
    assert any(HIDDEN in str(error) for error in model.errors)
    secrets = [TOKEN, ACCOUNT, CRN, "a-secret-in-plain-words"]
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert {path.suffix for path in files} >= {".jsonl", ".npz", ".ckpt"}
    for path in files:
        data = path.read_bytes()
        assert not [s for s in secrets if s.encode() in data], path.name
    assert not [s for s in secrets if s in caplog.text]
    for error in model.errors:
        assert list(chain(error)) == [error]  # nothing foreign behind it
        assert not [s for s in secrets if s in "".join(traceback.format_exception(error))]
    assert any(a.error is not None and HIDDEN in a.error for a in Ledger(runner.ledger.path).attempts)
