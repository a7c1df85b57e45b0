"""Sending jobs and waiting for them: what is done about each way in which that can fail."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeVar

from torchbp.errors import JobError, JobPendingError
from torchbp.hardware.jobs.attempt import Attempt, Key
from torchbp.hardware.jobs.backoff import Backoff
from torchbp.hardware.jobs.budget import Budget
from torchbp.hardware.jobs.failures import Failure, Kind, Phase, classify
from torchbp.hardware.jobs.ledger import Ledger
from torchbp.hardware.jobs.results import ResultStore
from torchbp.hardware.jobs.service import Service, Usage, told
from torchbp.hardware.outcomes import Outcomes
from torchbp.hardware.program import Program

T = TypeVar("T")

_NO_ANSWER = (Kind.NETWORK, Kind.BUSY)


@dataclass
class Job:
    """A chunk of a program on its way.

    Attributes:
        attempt: the present one, once planned.
        sent: whether the service may know of it.
        failed: attempts that failed while this process watched.
        outcomes: the result, once there.
    """

    program: Program
    key: Key
    attempt: Attempt | None = None
    sent: bool = False
    failed: int = 0
    outcomes: list[Outcomes] | None = None


@dataclass(frozen=True)
class Patience:
    """How long and how often to try; see `JobRunner`."""

    retries: int
    timeout: float | None
    poll: float
    lookups: int
    in_flight: int
    retry_cancelled: bool
    backoff: Backoff
    clock: Callable[[], float]


class Dispatcher:
    """Brings planned jobs to a service and their results back.

    Args:
        plan: writes down the next attempt at jobs, within the budget.
    """

    def __init__(
        self,
        service: Service,
        ledger: Ledger,
        results: ResultStore,
        budget: Budget,
        patience: Patience,
        plan: Callable[[Sequence[Job]], None],
    ) -> None:
        self.service, self.ledger, self.results, self.budget = service, ledger, results, budget
        self.patience, self._plan = patience, plan

    def run(self, jobs: Sequence[Job]) -> None:
        """Fill in the outcomes of jobs whose attempts are planned, or on their way already."""
        flying: deque[Job] = deque()
        for job in jobs:
            if len(flying) >= self.patience.in_flight:
                self._collect(flying.popleft())
            self._send(job)
            flying.append(job)
        while flying:
            self._collect(flying.popleft())

    def ask(self, phase: Phase, question: Callable[[], T]) -> T | Failure:
        """The service's answer, or what its exception means; the exception itself, and all it holds, ends here."""
        try:
            return question()
        except Exception as error:
            return classify(error, phase, self.service.secrets)

    def look(self, tag: str, times: int) -> str | None:
        """The id of the job with this tag; None when it was not there as often as it was looked for."""
        silent = missed = 0
        while True:
            found = self.ask("find", partial(self.service.find, tag))
            if not isinstance(found, Failure):
                missed += 1
                if found is not None or missed >= times:
                    return found
            elif found.kind not in _NO_ANSWER or silent >= self.patience.retries:
                raise JobError(
                    f"Whether the job {tag} reached {self.service.name} can't be told: {found.text}. It is not sent "
                    "again before that is known: run the program again when the service answers."
                )
            else:
                silent += 1
            self.patience.backoff.wait(silent + missed - 1)

    def usage(self, job_id: str) -> Usage:
        """What a job took; nothing known where the service doesn't answer, or with what is no time."""
        found = self.ask("wait", partial(self.service.usage, job_id))
        if isinstance(found, Failure):
            return Usage()
        return Usage(told(found.quantum_seconds), told(found.started), told(found.ended))

    def details(self, attempt: Attempt, usage: Usage, state: str) -> dict[str, Any]:
        """What to write down of an attempt that came to an end; failed ones are charged for time only."""
        size = (attempt.shots, attempt.circuits) if state == "done" else (0, 0)
        seconds = told(usage.quantum_seconds)  # kept results may be of an earlier version, which believed everything
        cost = self.budget.price(attempt.backend, seconds, *size)
        known = seconds is not None or cost.money is not None
        return {"billed": cost if known else None, "started": usage.started, "ended": usage.ended}

    def _send(self, job: Job) -> None:
        """See to it that the service has the job."""
        while True:
            attempt = _planned(job)
            if attempt.state != "planned":
                return
            if job.sent:  # by a process that was killed, or without an answer
                found = self.look(attempt.tag, self.patience.lookups)
                if found is not None:
                    self.ledger.record(attempt.tag, "submitted", job_id=found)
                    return
                self.ledger.record(attempt.tag, "lost")
                self._again(job, "the submission got lost")
                continue
            job.sent = True
            answer = self.ask("submit", partial(self.service.submit, job.program, attempt.tag))
            if not isinstance(answer, Failure):
                self.ledger.record(attempt.tag, "submitted", job_id=answer)
                return
            if answer.refused:
                self.ledger.record(attempt.tag, "rejected", error=answer.text)
            if answer.kind is Kind.BUSY:
                self._again(job, answer.text)
            elif answer.kind is Kind.FATAL:
                raise JobError(
                    f"{self.service.name} did not take the job {attempt.tag}: {answer.text}. This is not tried again "
                    "by itself: mend the cause, and run the program again."
                )

    def _collect(self, job: Job) -> None:
        """Wait for a job and keep its result."""
        began, silent = self.patience.clock(), 0
        while True:
            attempt = _planned(job)
            job_id = attempt.job_id or ""
            answer = self.ask("wait", partial(self.service.result, job_id, self.patience.poll))
            if not isinstance(answer, Failure):
                outcomes, usage = _by_pub(job.program, answer, job_id), self.usage(job_id)
                self.results.keep(attempt.tag, outcomes, usage)
                if attempt.state != "done":
                    self.ledger.record(attempt.tag, "done", **self.details(attempt, usage, "done"))
                job.outcomes = outcomes
                return
            if answer.kind is Kind.PENDING:
                silent = 0
                self._note_running(attempt, job_id)
                waited = self.patience.clock() - began
                if self.patience.timeout is not None and waited >= self.patience.timeout:
                    raise JobPendingError(
                        f"The job {job_id} is {attempt.state} on {self.service.name} after {waited:.0f} s, and stays "
                        "there: run the program again to wait on, which sends and costs nothing."
                    )
            elif answer.kind in _NO_ANSWER:
                silent += 1
                if silent > self.patience.retries:
                    raise JobError(
                        f"{self.service.name} does not answer about the job {job_id}: {answer.text}. The job goes on: "
                        "run the program again when the service answers."
                    )
                self.patience.backoff.wait(silent - 1)
            else:
                self._failed(job, attempt, job_id, answer)
                began, silent = self.patience.clock(), 0

    def _failed(self, job: Job, attempt: Attempt, job_id: str, failure: Failure) -> None:
        """A job came to a bad end: send it again, or raise."""
        if attempt.state == "done":
            raise JobError(
                f"The result of the job {job_id} is gone from {self.results.folder}, and {self.service.name} does not "
                f"give it again: {failure.text}. Restore the file, or take another name for the run."
            )
        over = {Kind.FAILED: "failed", Kind.CANCELLED: "cancelled"}.get(failure.kind)
        if over is None and self.ask("wait", partial(self.service.status, job_id)) == "failed":
            over = "failed"
        if over is not None:
            details = self.details(attempt, self.usage(job_id), over)
            self.ledger.record(attempt.tag, over, error=failure.text, **details)
        if failure.kind is Kind.FAILED or (failure.kind is Kind.CANCELLED and self.patience.retry_cancelled):
            self._again(job, failure.text)
            self._send(job)
            return
        advice = "mend the cause, and run the program again" + ("" if over else ", which waits for the same job")
        if failure.kind is Kind.CANCELLED:
            advice = "run the program again to send it again, or set retry_cancelled=True"
        raise JobError(f"The job {job_id} on {self.service.name} gave no result: {failure.text}. What to do: {advice}.")

    def _again(self, job: Job, reason: str) -> None:
        """Plan the next attempt, after a while; within the budget."""
        job.failed += 1
        if job.failed > self.patience.retries:
            raise JobError(
                f"A job on {self.service.name} was tried {job.failed} times, and given up: {reason}. Run the program "
                "again to try on; the jobs that are done are kept."
            )
        self.patience.backoff.wait(job.failed - 1)
        self._plan([job])

    def _note_running(self, attempt: Attempt, job_id: str) -> None:
        if attempt.state == "submitted" and self.ask("wait", partial(self.service.status, job_id)) == "running":
            self.ledger.record(attempt.tag, "running")


def _by_pub(program: Program, parts: Sequence[Outcomes], job_id: str) -> list[Outcomes]:
    """One `Outcomes` for each pub, from those of all circuits in any parts.

    Raises:
        JobError: there are more or fewer than circuits.
    """
    left, found = list(parts), []
    for pub in program.pubs:
        own: list[Outcomes] = []
        while left and sum(map(len, own)) < len(pub):
            own.append(left.pop(0))
        found.append(Outcomes.concatenate(own) if own else Outcomes.empty(pub.n_bits, pub.shots))
    if left or [len(o) for o in found] != [len(pub) for pub in program.pubs]:
        raise JobError(
            f"The job {job_id} gave the outcomes of {sum(map(len, parts))} circuits, and has {program.circuits}: the "
            "service runs other circuits than it was sent. Nothing was kept, and nothing is sent again."
        )
    return found


def _planned(job: Job) -> Attempt:
    assert job.attempt is not None
    return job.attempt
