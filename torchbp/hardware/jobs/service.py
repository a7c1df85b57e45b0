"""What a job runner asks of a service that runs jobs, and the service that is this process itself."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

from torchbp.arguments import checked, not_negative
from torchbp.errors import BackendError, InputError
from torchbp.hardware.calibration import Calibration
from torchbp.hardware.outcomes import Outcomes
from torchbp.hardware.program import Executor, Limit, Program


@dataclass(frozen=True)
class Usage:
    """What a finished job took, by the service's own account.

    Attributes:
        quantum_seconds: as billed; None as long as the bill is not final.
        started, ended: seconds since 1970 (UTC) by the service's clock; None where it doesn't tell.
    """

    quantum_seconds: float | None = None
    started: float | None = None
    ended: float | None = None


def an_executor(name: str, value: Any) -> Any:
    """A check of arguments: whatever runs programs."""
    if not isinstance(value, Executor) or isinstance(value, type):
        raise InputError(f"{name} is an Executor, an object with a name and a method run(program); got {value!r:.80}.")
    return value


def told(number: object) -> float | None:
    """A time or a price as a service tells it, None where it is none: NaN, infinite, below zero, or no number.

    What counts against a budget passes here. A number that is none must not count as nothing: for all that anybody
    knows it stands for the costliest job of all.
    """
    try:
        return not_negative("A time", number)
    except InputError:
        return None


@runtime_checkable
class Service(Protocol):
    """Runs jobs, each known by an id of the service's and by a tag of ours.

    Methods may raise whatever the service's client raises: the runner finds out by the exception's class what it means
    (`torchbp.hardware.jobs.failures`), and frees its text of `secrets`.

    Attributes:
        name: of the machine; goes into files and tables, so it holds nothing secret.
        limit: the most that one job may hold.
        secrets: values that no text may show.
    """

    name: str
    limit: Limit
    secrets: Collection[str]

    def submit(self, program: Program, tag: str) -> str:
        """Send a job; returns the service's id for it."""
        ...

    def find(self, tag: str) -> str | None:
        """The id of the oldest job with this tag, None where there is none."""
        ...

    def result(self, job_id: str, timeout: float) -> list[Outcomes]:
        """Wait for a job, at most so many seconds; a TimeoutError says that it is not finished.

        The outcomes of all circuits in the program's order, in as many parts as the service likes.
        """
        ...

    def status(self, job_id: str) -> str:
        """ "queued", "running", "done", "failed" or "cancelled"."""
        ...

    def usage(self, job_id: str) -> Usage:
        """What a job has taken."""
        ...

    def estimate(self, program: Program) -> float | None:
        """Quantum seconds a job would take; None where that can't be told."""
        ...

    def calibration(self) -> Calibration | None:
        """What the machine reports about itself; None where it reports nothing."""
        ...


class LocalJobGone(BackendError):
    """A job of a process that is no more."""


class LocalService:
    """An `Executor` as a service: a job runs in this process when its result is asked for, and dies with it.

    An executor that has a method `reseed(seed)` gets, before each job, a seed made from the job, whichever attempt at
    it this is: a run that was interrupted goes on as if it had not been.

    Args:
        executor: a simulator, for which time costs nothing: quantum seconds are 0.
    """

    limit = Limit()
    secrets: Collection[str] = ()

    @checked(executor=an_executor)
    def __init__(self, executor: Executor) -> None:
        self.executor = executor
        self.name = executor.name
        self._programs: dict[str, Program] = {}

    def submit(self, program: Program, tag: str) -> str:
        self._programs[tag] = program
        return tag

    def find(self, tag: str) -> str | None:
        return tag if tag in self._programs else None

    def result(self, job_id: str, timeout: float) -> list[Outcomes]:
        program = self._programs.pop(job_id, None)
        if program is None:
            raise LocalJobGone(f"The job {job_id} went with the process that ran it.")
        reseed = getattr(self.executor, "reseed", None)
        if reseed is not None:
            reseed(int(job_id.split("-")[-2], 16) % 2**31)
        return self.executor.run(program)

    def status(self, job_id: str) -> str:
        return "queued" if job_id in self._programs else "failed"  # a result is given once, and never asked for again

    def usage(self, job_id: str) -> Usage:
        return Usage(quantum_seconds=0.0)

    def estimate(self, program: Program) -> float | None:
        return 0.0

    def calibration(self) -> Calibration | None:
        backend = getattr(self.executor, "backend", None)
        return None if getattr(backend, "target", None) is None else Calibration.of(backend)
