"""Jobs that are paid once: planned and written down before they are sent, looked for before they are sent again.

A job is known by its run, its content, and which job of that content it is. Asked for again, by the same process or by
one that goes on after it was killed, a job that has a result is not run, and one that is in flight is waited for.
"""

from __future__ import annotations

import hashlib
import os
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from torchbp.arguments import checked
from torchbp.arguments.kinds import a, either, path
from torchbp.errors import InputError, JobError, TorchBPError
from torchbp.hardware.jobs.account import Account
from torchbp.hardware.jobs.attempt import Attempt
from torchbp.hardware.jobs.backoff import Backoff
from torchbp.hardware.jobs.budget import Budget
from torchbp.hardware.jobs.dispatch import Dispatcher, Job, Patience
from torchbp.hardware.jobs.failures import Failure
from torchbp.hardware.jobs.ledger import Ledger
from torchbp.hardware.jobs.results import ResultStore
from torchbp.hardware.jobs.service import LocalService, Service, an_executor, told
from torchbp.hardware.outcomes import Outcomes
from torchbp.hardware.program import Executor, Program


def _a_service(name: str, value: Any) -> Any:
    return value if isinstance(value, Service) and not isinstance(value, type) else an_executor(name, value)


class JobRunner:
    """An `Executor` that runs programs as jobs of a service, with a ledger, a budget, and retries.

    A program is cut into jobs within the service's limits; all of them are planned, or none, and then in flight
    together. What fails is classified (`torchbp.hardware.jobs.failures`): fatal errors stop at once; a job that failed
    is sent again after a while; a submission without an answer is looked for by its tag before anything is sent again;
    a job that is not finished when `timeout` has passed is left in flight, and asking again waits on.

    Args:
        service: a `Service`, or an `Executor`, which then runs in this process.
        ledger: a `Ledger`, or the path of one; results are kept in a folder "results" beside it.
        run: names what the jobs belong to. Who goes on with a run gives the same name, and gets the results it has
            already; who begins anew gives another. Processes that work at the same time need names of their own.
        budget: refuses before it is exceeded.
        retries: how often a job is sent again, and a question asked again, before giving up.
        timeout: seconds to wait for one job; None waits for as long as it takes.
        poll: seconds between looks at whether a job has begun to run.
        lookups: how often a job is looked for before it counts as never arrived; with the default backoff five looks
            take about ten seconds.
        in_flight: the most jobs at a time.
        retry_cancelled: whether to send a job again that somebody cancelled.
        backoff: how long to wait between retries.
        clock: seconds, for the timeout.

    Attributes:
        name: of the machine.
        labels: what the ledger writes with each job: {"epoch": 3}, ...

    Raises:
        InputError: no name for the run, or numbers that make no sense.
    """

    @checked(
        service=_a_service,
        ledger=either(path, a(Ledger)),
        budget=a(Budget, write="Budget(shots=1_000_000)"),
        backoff=a(Backoff),
    )
    def __init__(
        self,
        service: Service | Executor,
        ledger: Ledger | str | os.PathLike[str],
        *,
        run: str,
        budget: Budget | None = None,
        retries: int = 5,
        timeout: float | None = None,
        poll: float = 10.0,
        lookups: int = 5,
        in_flight: int = 3,
        retry_cancelled: bool = False,
        backoff: Backoff | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        if not isinstance(run, str) or not run:
            raise InputError(f'A run needs a name, such as run="vqe-seed-0", that it is found again by; got {run!r}.')
        self.service = service if isinstance(service, Service) else LocalService(service)
        self.ledger = ledger if isinstance(ledger, Ledger) else Ledger(ledger)
        self.results = ResultStore(Path(self.ledger.path).parent / "results")
        self.run_name, self.budget, self.name = run, budget or Budget(), self.service.name
        lookups = 1 if isinstance(self.service, LocalService) else lookups
        patience = Patience(retries, timeout, poll, lookups, in_flight, retry_cancelled, backoff or Backoff(), clock)
        self._to = Dispatcher(self.service, self.ledger, self.results, self.budget, patience, self._plan)
        self.labels: dict[str, Any] = {}
        self._seen: Counter[str] = Counter()  # how many jobs of each content were asked for
        self._asked = 0  # the run's jobs up to this number were asked for
        self._calibrated = False

    @property
    def shots_used(self) -> int:
        """Shots that gave this run its results, those before a restart included."""
        return self.account.shots

    @property
    def account(self) -> Account:
        """What this run has taken so far, before a restart included."""
        return Account.of(a for a in self.ledger.attempts if a.run == self.run_name)

    def run(self, program: Program) -> list[Outcomes]:
        """The outcomes of a program, one `Outcomes` for each pub.

        Raises:
            BudgetExceededError: it would cost more than is left; nothing was sent.
            JobError: a job can't be run: says why, and what to do. What was paid for is kept for the next call.
            JobPendingError: a job is not finished after `timeout` seconds; the next call waits on.
        """
        chunks = program.chunks(self.service.limit)
        jobs = self._jobs([chunk.content for chunk in chunks], chunks)
        for job in jobs:
            self._recall(job)
        self._plan([job for job in jobs if job.outcomes is None and job.attempt is None])
        try:
            self._to.run([job for job in jobs if job.outcomes is None])
        except TorchBPError:
            self._withdraw(jobs)
            raise
        self._seen.update(job.key[1] for job in jobs)  # only here: whoever tries again after an error means these jobs
        self._asked = max([self._asked, *(self.ledger.number(job.key) + 1 for job in jobs)])
        return program.join(chunks, [job.outcomes or [] for job in jobs])

    @contextmanager
    def repeatable(self) -> Iterator[None]:
        """A block that asks for several programs, such as a training step, and may be tried again after an error.

        Without it a step whose backward pass failed would run its forward pass anew: that was asked for, and given.
        """
        seen, asked = Counter(self._seen), self._asked
        try:
            yield
        except BaseException:
            self._seen, self._asked = seen, asked
            raise

    def settle(self) -> None:
        """Ask what became of jobs that nobody waits for, and for bills that were not final.

        To be called when a run ends, or for one that was given up: what it planned and never sent counts against the
        budget until then. Runs nothing, and raises nothing when the service does not answer.
        """
        for attempt in self.ledger.attempts:
            if attempt.run == self.run_name:
                self._find_again(attempt)
                self._ask_for_end_and_bill(attempt)

    def _find_again(self, attempt: Attempt) -> None:
        """Whether the service has an attempt of which it never gave the id."""
        if attempt.state not in ("planned", "lost"):
            return
        try:
            found = self._to.look(attempt.tag, 1 if attempt.state == "lost" else self._to.patience.lookups)
        except JobError:
            return
        if found is not None:
            self.ledger.record(attempt.tag, "submitted", job_id=found)
        elif attempt.state == "planned":
            self.ledger.record(attempt.tag, "lost")

    def _ask_for_end_and_bill(self, attempt: Attempt) -> None:
        job_id = attempt.job_id
        if job_id is None:
            return
        if attempt.is_open:
            status = self._to.ask("wait", partial(self.service.status, job_id))
            if status in ("done", "failed", "cancelled"):
                self.ledger.record(attempt.tag, status)
        if not attempt.is_open and attempt.billed is None:
            details = self._to.details(attempt, self._to.usage(job_id), attempt.state)
            self.ledger.record(attempt.tag, attempt.state, **details)

    def state_dict(self) -> dict[str, Any]:
        """How far the run has come: for a checkpoint, so that jobs after it are replayed, and those before it not."""
        return {"run": self.run_name, "asked": self._asked}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from what `state_dict` gave. Of another run's state nothing is taken: this run begins anew."""
        self.ledger.refresh()
        own = state["run"] == self.run_name
        self._asked = state["asked"] if own else 0
        before = [key for key, number in self.ledger.jobs(self.run_name).items() if number < self._asked]
        self._seen = Counter(content for _, content, _ in before)

    # Which job it is, and what is known of it.

    def _jobs(self, contents: Sequence[str], chunks: Sequence[Program]) -> list[Job]:
        seen, jobs = Counter(self._seen), []
        for content, chunk in zip(contents, chunks, strict=True):
            identity = hashlib.sha256(f"{self.name} {content}".encode()).hexdigest()
            jobs.append(Job(chunk, (self.run_name, identity, seen[identity])))
            seen[identity] += 1
        return jobs

    def _recall(self, job: Job) -> None:
        """Take on a result that is there, or an attempt that may be on its way."""
        self.ledger.refresh()
        attempts = self.ledger.job(job.key)
        for attempt in attempts:
            kept = self.results.get(attempt.tag)
            if kept is not None:  # also of an attempt that was killed before it wrote so
                job.attempt, (job.outcomes, usage) = attempt, kept
                if attempt.state != "done":
                    self.ledger.record(attempt.tag, "done", **self._to.details(attempt, usage, "done"))
                return
        for attempt in reversed(attempts):
            if attempt.is_open or attempt.state == "done":  # done, but its file is gone: the service has it
                job.attempt, job.sent = attempt, True
                return
        for attempt in attempts:
            if attempt.state == "lost" and (found := self._to.look(attempt.tag, 1)):
                job.attempt, job.sent = self.ledger.record(attempt.tag, "submitted", job_id=found), True
                return

    def _plan(self, jobs: Sequence[Job]) -> None:
        """Write down the next attempt at each job: all of them, or none."""
        if not jobs:
            return
        self._note_calibration()
        attempts = []
        for job in jobs:
            number = len(self.ledger.job(job.key)) + 1
            seconds = self._to.ask("find", partial(self.service.estimate, job.program))
            size = job.program.shots, job.program.circuits
            estimate = self.budget.price(self.name, None if isinstance(seconds, Failure) else told(seconds), *size)
            run, content, occurrence = job.key
            name = hashlib.sha256(f"{run} {content} {occurrence}".encode()).hexdigest()[:16]
            tag = f"torchbp-{self.ledger.id}-{name}-{number}"
            attempts.append(
                Attempt(tag, run, content, occurrence, number, self.name, size[1], size[0], estimate, dict(self.labels))
            )
        self.ledger.plan(attempts, self.budget.allow)
        for job, attempt in zip(jobs, attempts, strict=True):
            job.attempt, job.sent = self.ledger.attempt(attempt.tag), False

    def _withdraw(self, jobs: Sequence[Job]) -> None:
        """What was planned and never sent must not count as in flight."""
        for job in jobs:
            if job.attempt is not None and job.attempt.state == "planned" and not job.sent:
                self.ledger.record(job.attempt.tag, "rejected", error="not sent: another job of the program failed")

    def _note_calibration(self) -> None:
        if not self._calibrated:
            found = self._to.ask("find", self.service.calibration)
            if found is not None and not isinstance(found, Failure):
                self.ledger.note("calibration", self.run_name, found.to_dict())
            self._calibrated = True
