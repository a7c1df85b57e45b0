"""A service to rehearse on: it runs jobs on a simulator, fails as real ones do, and keeps books of its own.

What a run would do when submissions get lost, jobs fail and programs are killed can be tried here before it costs
anything. The books are a file, so that they outlive the programs that send the jobs, and what those believe to have
paid can be compared with what was charged.
"""

from __future__ import annotations

import os
import random
import sqlite3
import time
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

from torchbp.arguments import checked
from torchbp.arguments.kinds import a
from torchbp.errors import UnknownNameError
from torchbp.hardware.calibration import Calibration
from torchbp.hardware.jobs.results import ResultStore
from torchbp.hardware.jobs.service import LocalService, Usage, an_executor
from torchbp.hardware.outcomes import Outcomes
from torchbp.hardware.program import Executor, Limit, Program

FAULTS = {
    "lost": "the submission does not arrive, and there is no answer",
    "silent": "the submission arrives, and there is no answer",
    "late": "as silent, and the job is not found at first",
    "busy": "too many requests (429)",
    "refused": "the token has expired (401)",
    "failed": "the job fails on the machine, and half of it is charged",
    "cancelled": "somebody cancels the job",
    "slow": "the client's time-out passes twice before the job is finished",
    "network": "the connection breaks while waiting",
    "outage": "maintenance (503) while waiting",
}


class RehearsalService:
    """A `Service` with faults.

    Args:
        executor: runs the jobs.
        folder: of the books and the results; programs that use the same folder use the same service.
        rate: share of the jobs that something happens to.
        faults: what may happen, each as likely as the others; all of `FAULTS` if left out.
        seed: of what happens, which depends on this and the job alone.
        seconds_per_shot: what is charged.
        limit: of one job.

    Raises:
        InputError: the rate is no share.
        UnknownNameError: no such fault.
    """

    secrets: Collection[str] = ()

    @checked(executor=an_executor, limit=a(Limit))
    def __init__(
        self,
        executor: Executor,
        folder: str | os.PathLike[str],
        *,
        rate: float = 0.2,
        faults: Sequence[str] | None = None,
        seed: int = 0,
        seconds_per_shot: float = 1e-3,
        limit: Limit | None = None,
    ) -> None:
        self.faults = list(FAULTS if faults is None else faults)
        for name in self.faults:
            if name not in FAULTS:
                raise UnknownNameError("fault", name, FAULTS)
        self.name, self.limit, self.rate, self.seed = f"rehearsal_{executor.name}", limit or Limit(), rate, seed
        self.seconds_per_shot = seconds_per_shot
        self._local = LocalService(executor)
        self._results = ResultStore(Path(folder) / "results")
        Path(folder).mkdir(parents=True, exist_ok=True)
        self._books = sqlite3.connect(Path(folder) / "books.sqlite", isolation_level=None, timeout=60)
        self._books.execute("pragma synchronous = off")  # outlives programs, not machines
        self._books.execute(
            "create table if not exists jobs (id integer primary key, tag text, fault text, shots integer,"
            " seconds real, state text, hidden integer, asked integer, time real)"
        )

    def submit(self, program: Program, tag: str) -> str:
        fault = self._fault(tag)
        if fault == "lost":
            raise RequestsApiError("Connection reset by peer")
        if fault == "busy":
            raise RequestsApiError("429 Client Error: Too Many Requests", 429)
        if fault == "refused":
            raise IBMNotAuthorizedError("401 Client Error: Unauthorized")
        state, seconds = "done", program.shots * self.seconds_per_shot
        if fault == "failed":
            state, seconds = "failed", seconds / 2
        elif fault == "cancelled":
            state, seconds = "cancelled", 0.0
        else:
            self._local.submit(program, tag)
            self._results.keep(tag, self._local.result(tag, 0.0), Usage())
        row = (tag, fault, program.shots, seconds, state, 2 if fault == "late" else 0, 0, time.time())
        self._books.execute(
            "insert into jobs (tag, fault, shots, seconds, state, hidden, asked, time) values (?, ?, ?, ?, ?, ?, ?, ?)",
            row,
        )
        if fault in ("silent", "late"):
            raise RequestsApiError("Read timed out")
        return str(self._one("select max(id) from jobs where tag = ?", tag)[0])

    def find(self, tag: str) -> str | None:
        found = self._one("select id, hidden from jobs where tag = ? order by id", tag)
        if found is not None and found[1] > 0:
            self._books.execute("update jobs set hidden = hidden - 1 where id = ?", (found[0],))
            return None
        return None if found is None else str(found[0])

    def result(self, job_id: str, timeout: float) -> list[Outcomes]:
        tag, fault, state, asked = self._job(job_id, "tag, fault, state, asked")
        self._books.execute("update jobs set asked = asked + 1 where id = ?", (int(job_id),))
        if fault == "slow" and asked < 2:
            raise RuntimeJobTimeoutError(f"Timed out waiting for job to complete after {timeout} secs.")
        if fault == "network" and asked < 1:
            raise RequestsApiError("Connection aborted")
        if fault == "outage" and asked < 1:
            raise RequestsApiError("503 Server Error: Service Unavailable")
        if state == "failed":
            raise RuntimeJobFailureError("Unable to retrieve job result. Internal error")
        if state == "cancelled":
            raise RuntimeInvalidStateError("Unable to retrieve result. Job was cancelled.")
        found = self._results.get(tag)
        assert found is not None
        return found[0]

    def status(self, job_id: str) -> str:
        fault, state, asked = self._job(job_id, "fault, state, asked")
        return ("queued", "running")[asked - 1] if fault == "slow" and 0 < asked <= 2 else str(state)

    def usage(self, job_id: str) -> Usage:
        seconds, began = self._job(job_id, "seconds, time")
        return Usage(seconds, began, began + seconds)

    def estimate(self, program: Program) -> float | None:
        return program.shots * self.seconds_per_shot

    def calibration(self) -> Calibration | None:
        return self._local.calibration()

    def books(self) -> list[dict[str, Any]]:
        """Every job that arrived, as the service knows it: tag, fault, shots, seconds charged, state."""
        names = ("tag", "fault", "shots", "seconds", "state")
        rows = self._books.execute(f"select {', '.join(names)} from jobs order by id")
        return [dict(zip(names, row, strict=True)) for row in rows]

    def _fault(self, tag: str) -> str | None:
        chance = random.Random(f"{self.seed} {tag.split('-', 2)[-1]}")  # without the ledger's name
        return chance.choice(self.faults) if self.faults and chance.random() < self.rate else None

    def _job(self, job_id: str, columns: str) -> tuple[Any, ...]:
        found = self._one(f"select {columns} from jobs where id = ?", int(job_id))
        if found is None:
            raise RuntimeJobNotFound(f"Job not found: {job_id}")
        return found

    def _one(self, query: str, *values: Any) -> Any:
        return self._books.execute(query, values).fetchone()


# What the clients of services raise, by the names that `torchbp.hardware.jobs.failures` knows.


class RequestsApiError(Exception):
    """As that of qiskit-ibm-runtime: no answer, or one with an HTTP status."""

    def __init__(self, message: str, status_code: int = -1) -> None:
        super().__init__(message)
        self.status_code = status_code


class IBMNotAuthorizedError(Exception):
    """As that of qiskit-ibm-runtime."""


class RuntimeJobTimeoutError(Exception):
    """As that of qiskit-ibm-runtime."""


class RuntimeJobFailureError(Exception):
    """As that of qiskit-ibm-runtime."""


class RuntimeInvalidStateError(Exception):
    """As that of qiskit-ibm-runtime."""


class RuntimeJobNotFound(Exception):
    """As that of qiskit-ibm-runtime."""
