"""One attempt at a job on a machine: what it asks, what became of it, and what it cost."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from torchbp.errors import LedgerError

# What may follow what. "lost" is an attempt that the service does not know of; it may turn up late. "failed" and
# "cancelled" ran or may have run; "rejected" never reached a machine.
_NEXT: dict[str, tuple[str, ...]] = {
    "planned": ("submitted", "rejected", "lost"),
    "submitted": ("running", "done", "failed", "cancelled"),
    "running": ("done", "failed", "cancelled"),
    "lost": ("submitted", "running", "done", "failed", "cancelled"),
    "done": (),
    "failed": (),
    "cancelled": (),
    "rejected": (),
}
STATES = tuple(_NEXT)
OPEN = ("planned", "submitted", "running")
"""States in which an attempt may still cost what was estimated."""


Key = tuple[str, str, int]
"""A job: its run, the hash of its content, and which job of that content it is."""


@dataclass(frozen=True)
class Cost:
    """What a machine takes for a job.

    Attributes:
        quantum_seconds: time on the machine, as the service bills it; None where it is not known.
        money: in the currency of the price table; None where there is no price.
    """

    quantum_seconds: float | None = None
    money: float | None = None


@dataclass
class Attempt:
    """What the ledger knows of one attempt. All times are seconds since 1970 (UTC).

    Attributes:
        tag: unique name that the service keeps with the job.
        run: name of the training or evaluation that it belongs to.
        content: hash of everything that decides what is run.
        occurrence: 0 for the first job of this content in the run, 1 for the second, ...
        number: 1 for the first attempt at the job.
        backend: name of the machine.
        circuits: circuits in the job, each run as often as the program says.
        shots: of all circuits together.
        estimate: what it was expected to cost before it was sent.
        labels: epoch, step, stage, ..., as they were when it was planned.
        state: one of `STATES`.
        job_id: the service's own name for it; None until known.
        times: when each state was recorded.
        started, ended: when the machine began and finished, by the service's clock, where it tells.
        billed: what it really cost; None until known.
        error: why it failed, free of secrets.
    """

    tag: str
    run: str
    content: str
    occurrence: int
    number: int
    backend: str
    circuits: int
    shots: int
    estimate: Cost = field(default_factory=Cost)
    labels: dict[str, Any] = field(default_factory=dict)
    state: str = "planned"
    job_id: str | None = None
    times: dict[str, float] = field(default_factory=dict)
    started: float | None = None
    ended: float | None = None
    billed: Cost | None = None
    error: str | None = None

    @property
    def key(self) -> Key:
        """The job that this is an attempt at."""
        return self.run, self.content, self.occurrence

    @property
    def is_open(self) -> bool:
        """Whether it may still run, or is known to be running."""
        return self.state in OPEN

    @property
    def cost(self) -> Cost:
        """What counts against a budget: the bill; the estimate where it says nothing, but something may have run."""
        if self.is_open or self.state in ("done", "failed"):
            if self.billed is None:
                return self.estimate
            bill, estimate = self.billed, self.estimate
            return Cost(
                estimate.quantum_seconds if bill.quantum_seconds is None else bill.quantum_seconds,
                estimate.money if bill.money is None else bill.money,
            )
        if self.billed is not None:
            return self.billed
        return Cost(*(None if value is None else 0.0 for value in (self.estimate.quantum_seconds, self.estimate.money)))

    @property
    def spent_shots(self) -> int:
        """Shots that count against a budget: those that ran, those that may yet, and those of a failure with a bill."""
        free = self.billed is not None and not self.billed.quantum_seconds and not self.billed.money
        return self.shots if self.is_open or self.state == "done" or (self.state == "failed" and not free) else 0

    @property
    def queue_seconds(self) -> float | None:
        """From submission to the machine's start; None where that is not known."""
        start, sent = self.started or self.times.get("running"), self.times.get("submitted")
        return None if start is None or sent is None else max(0.0, start - sent)

    def advance(self, state: str, time: float, details: Mapping[str, Any]) -> bool:
        """Take on another state; whether that changed anything.

        Raises:
            LedgerError: no such state, or it can't follow the present one.
        """
        if state == self.state:
            return False
        if state not in _NEXT[self.state]:
            raise LedgerError(
                f"The attempt {self.tag} is {self.state} and can't become {state}: after {self.state} comes "
                f"{' or '.join(_NEXT[self.state]) or 'nothing'}. Do two programs work on the run {self.run!r}?"
            )
        self.state = state
        self.times[state] = time
        self.settle(details)
        return True

    def settle(self, details: Mapping[str, Any]) -> None:
        """Take in what a record says besides the state."""
        for name in ("job_id", "started", "ended", "error"):
            if details.get(name) is not None:
                setattr(self, name, details[name])
        if details.get("billed") is not None:
            self.billed = Cost(**details["billed"])
