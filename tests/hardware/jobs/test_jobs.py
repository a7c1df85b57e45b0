"""The job runner against a service with books of its own: nothing paid twice, nothing lost, nothing sent in doubt."""

from __future__ import annotations

import json
import math
import os
from collections import Counter
from pathlib import Path
from typing import Any

import forks
import pytest
from coins import Coins, ones, program

from torchbp.errors import BudgetExceededError, InputError, JobError, JobPendingError, UnknownNameError
from torchbp.hardware import Attempt, Backoff, Budget, JobRunner, Ledger, LocalService, Price, Usage
from torchbp.hardware.jobs.rehearsal import IBMNotAuthorizedError, RehearsalService, RequestsApiError
from torchbp.hardware.program import Limit, Program

AT_ONCE = Backoff(0.0, 0.0)


def service(folder: Path, *faults: str, rate: float = 1.0, **options: Any) -> RehearsalService:
    return RehearsalService(Coins(), folder / "service", rate=rate if faults else 0.0, faults=faults, **options)


def runner(folder: Path, remote: Any, **options: Any) -> JobRunner:
    return JobRunner(remote, folder / "ledger.jsonl", **{"run": "r", "backoff": AT_ONCE, "poll": 0.01} | options)


class First:
    """A service whose first so many jobs have a fault."""

    def __init__(self, inner: RehearsalService, count: int = 1) -> None:
        self.inner, self.rate = inner, inner.rate
        self.left = count
        for name in (
            "name",
            "limit",
            "secrets",
            "find",
            "result",
            "status",
            "usage",
            "estimate",
            "calibration",
            "books",
        ):
            if not hasattr(type(self), name):
                setattr(self, name, getattr(inner, name))

    def submit(self, work: Program, tag: str) -> str:
        self.inner.rate = self.rate if self.left > 0 else 0.0
        self.left -= 1
        return self.inner.submit(work, tag)


def states(run: JobRunner) -> list[str]:
    return [a.state for a in Ledger(run.ledger.path).attempts]


def test_a_program_is_run(tmp_path: Path) -> None:
    """Oracle: exact counts of angles 0 and pi, and the service's books."""
    remote = service(tmp_path)
    run = runner(tmp_path, remote, budget=Budget(prices={"*": Price(per_second=2.0)}))
    run.labels["epoch"] = 4
    assert ones(run.run(program(0.0, math.pi, math.pi, shots=70))) == [0, 70, 70]
    (attempt,) = Ledger(run.ledger.path).attempts
    assert (attempt.state, attempt.shots, attempt.circuits) == ("done", 210, 3)
    assert attempt.labels == {"epoch": 4}
    assert attempt.billed is not None
    assert attempt.billed.quantum_seconds == pytest.approx(remote.books()[0]["seconds"])
    assert attempt.billed.money == pytest.approx(2 * remote.books()[0]["seconds"])
    assert run.shots_used == 210
    assert run.name == "rehearsal_coins"


def test_a_program_becomes_jobs_within_the_limit(tmp_path: Path) -> None:
    """Oracle: seven circuits, two a job, in their order."""
    remote = service(tmp_path, limit=Limit(circuits=2))
    angles = [0.0, math.pi, math.pi, 0.0, math.pi, 0.0, math.pi]
    found = runner(tmp_path, remote).run(program(*angles))
    assert ones(found) == [0, 100, 100, 0, 100, 0, 100]
    assert [b["shots"] for b in remote.books()] == [200, 200, 200, 100]


def test_the_same_job_again_in_a_run_is_new_and_after_a_restart_is_not(tmp_path: Path) -> None:
    """Oracle: the executor's runs; the third process asks for one job more than the first two."""
    counts, results = [], []
    for repeats in (2, 2, 3):
        remote = service(tmp_path)
        run = runner(tmp_path, remote)
        results.append([ones(run.run(program(1.0, 1.1, 1.2, 1.3))) for _ in range(repeats)])
        counts.append(len(remote.books()))
    assert counts == [2, 2, 3]
    assert results[0] == results[1] == results[2][:2]
    assert results[0][0] != results[0][1]  # fresh shots: 4 binomial counts; they agree with probability below 1e-3


def test_another_run_another_machine_another_content(tmp_path: Path) -> None:
    """Oracle: the number of executions."""
    coins = Coins()
    for name in ("coins", "other"):
        coins.name = name
        for run in ("a", "b"):
            for shots in (10, 20):
                runner(tmp_path, coins, run=run).run(program(1.0, shots=shots))
    assert coins.runs == 8


def test_a_checkpoint_says_which_jobs_are_behind(tmp_path: Path) -> None:
    """Oracle: after the checkpoint the second job is replayed; a third is new; without it the first is replayed."""
    coins = Coins()
    first = runner(tmp_path, coins)
    one = first.run(program(1.0, 1.1, 1.2, shots=1000))
    state = json.loads(json.dumps(first.state_dict()))
    two = first.run(program(1.0, 1.1, 1.2, shots=1000))
    resumed = runner(tmp_path, coins)
    resumed.load_state_dict(state)
    assert ones(resumed.run(program(1.0, 1.1, 1.2, shots=1000))) == ones(two)
    assert coins.runs == 2
    three = resumed.run(program(1.0, 1.1, 1.2, shots=1000))
    assert coins.runs == 3
    afresh = runner(tmp_path, coins)
    again = [ones(afresh.run(program(1.0, 1.1, 1.2, shots=1000))) for _ in range(3)]
    assert again == [ones(one), ones(two), ones(three)]
    other = runner(tmp_path, coins, run="other")
    other.load_state_dict(state)
    other.run(program(1.0, 1.1, 1.2, shots=1000))
    assert coins.runs == 4


@pytest.mark.parametrize(
    ("fault", "wanted", "executions"),
    [
        ("lost", ["lost", "done"], 1),
        ("silent", ["done"], 1),
        ("late", ["done"], 1),
        ("busy", ["rejected", "done"], 1),
        ("failed", ["failed", "done"], 2),
        ("slow", ["done"], 1),
        ("network", ["done"], 1),
        ("outage", ["done"], 1),
    ],
)
def test_each_fault_that_passes(tmp_path: Path, fault: str, wanted: list[str], executions: int) -> None:
    """Oracle: the service's books: one paid result, and a half for the job that failed."""
    remote = First(service(tmp_path, fault))
    run = runner(tmp_path, remote)
    assert ones(run.run(program(math.pi))) == [100]
    assert states(run) == wanted
    books = remote.books()
    assert Counter(b["state"] for b in books)["done"] == 1
    assert len(books) == executions
    account = run.ledger.summary()
    assert (account["shots"], account["retries"]) == (100, len(wanted) - 1)
    assert account["quantum_seconds"] == pytest.approx(sum(b["seconds"] for b in books))


def test_slow_jobs_are_seen_to_run(tmp_path: Path) -> None:
    """Oracle: the service says queued, then running; the ledger has the second."""
    run = runner(tmp_path, service(tmp_path, "slow"))
    run.run(program(1.0))
    assert list(run.ledger.attempts[0].times) == ["planned", "submitted", "running", "done"]


@pytest.mark.parametrize(
    ("fault", "state", "message"),
    [
        ("refused", "rejected", r"did not take the job torchbp-.*IBMNotAuthorizedError: 401 .*mend the cause"),
        ("cancelled", "cancelled", r"gave no result: RuntimeInvalidStateError.*set retry_cancelled=True"),
    ],
)
def test_each_fault_that_does_not_pass(tmp_path: Path, fault: str, state: str, message: str) -> None:
    """Fatal at once, without a retry; asked again, the job is sent again, and done."""
    remote = First(service(tmp_path, fault))
    run = runner(tmp_path, remote)
    with pytest.raises(JobError, match=message):
        run.run(program(math.pi))
    assert states(run) == [state]
    assert ones(run.run(program(math.pi))) == [100]
    assert states(run) == [state, "done"]


def test_a_cancelled_job_may_be_sent_again(tmp_path: Path) -> None:
    """Oracle: the states."""
    run = runner(tmp_path, First(service(tmp_path, "cancelled")), retry_cancelled=True)
    run.run(program(1.0))
    assert states(run) == ["cancelled", "done"]


def test_retries_are_bounded_and_back_off(tmp_path: Path) -> None:
    """Oracle: 1 + 3 attempts; waits between half and all of 1, 2, 4 seconds, never the same for another seed."""
    waits: dict[int, list[float]] = {0: [], 1: []}
    for seed, seconds in waits.items():
        backoff = Backoff(1.0, 60.0, seed=seed, sleep=seconds.append)
        run = runner(tmp_path / str(seed), service(tmp_path / str(seed), "failed"), retries=3, backoff=backoff)
        with pytest.raises(JobError, match=r"was tried 4 times, and given up: RuntimeJobFailureError"):
            run.run(program(1.0))
        assert states(run) == ["failed"] * 4
        assert all(w / 2 <= s <= w for s, w in zip(seconds, (1, 2, 4), strict=True))
    assert waits[0] != waits[1]
    assert max(Backoff(1.0, 60.0).delay(k) for k in range(50, 2000, 50)) <= 60


def test_a_time_out_of_the_client_sends_nothing(tmp_path: Path) -> None:
    """Oracle: one job in the books, whose result the next call takes."""
    remote, ticks = service(tmp_path, "slow"), iter(range(0, 10_000, 10))
    run = runner(tmp_path, remote, timeout=5.0, clock=lambda: float(next(ticks)))
    with pytest.raises(JobPendingError, match=r"The job 1 is (submitted|running) on .* after 10 s, and stays"):
        run.run(program(1.0))
    with pytest.raises(JobPendingError):
        run.run(program(1.0))
    assert len(run.run(program(1.0))) == 1
    assert len(remote.books()) == 1
    assert states(run) == ["done"]


def test_in_doubt_nothing_is_sent(tmp_path: Path) -> None:
    """A submission without an answer, then a service that can't be asked: an error, and no second job, until it can."""

    class Mute(First):
        mute = True

        def find(self, tag: str) -> str | None:
            if self.mute:
                raise RequestsApiError("Connection refused")
            return self.inner.find(tag)

    remote = Mute(service(tmp_path, "silent"))
    run = runner(tmp_path, remote)
    for _ in range(2):
        with pytest.raises(JobError, match=r"reached rehearsal_coins can't be told: .*Connection refused"):
            run.run(program(math.pi))
        assert states(run) == ["planned"]
    remote.mute = False
    assert ones(run.run(program(math.pi))) == [100]
    assert len(remote.books()) == 1


def test_a_token_that_expires_while_waiting(tmp_path: Path) -> None:
    """Fatal at once, and the job goes on: the next call takes its result. Oracle: the books."""

    class Expired(First):
        def result(self, job_id: str, timeout: float) -> Any:
            if self.left >= 0:
                self.left -= 1
                raise IBMNotAuthorizedError("401 Client Error")
            return self.inner.result(job_id, timeout)

    remote = Expired(service(tmp_path))
    run = runner(tmp_path, remote)
    with pytest.raises(JobError, match="mend the cause, and run the program again, which waits for the same job"):
        run.run(program(math.pi))
    assert states(run) == ["submitted"]
    assert ones(run.run(program(math.pi))) == [100]
    assert len(remote.books()) == 1


def test_a_job_is_looked_for_ever_more_patiently(tmp_path: Path) -> None:
    """Oracle: between five looks, then before the next attempt: half to all of 1, 2, 4, 8 seconds, then of 1 again."""
    waits: list[float] = []
    backoff = Backoff(1.0, 60.0, seed=0, sleep=waits.append)
    runner(tmp_path, First(service(tmp_path, "lost")), backoff=backoff).run(program(1.0))
    assert all(w / 2 <= s <= w for s, w in zip(waits, (1, 2, 4, 8, 1), strict=True))


def test_an_unknown_error_may_have_arrived(tmp_path: Path) -> None:
    """What nobody has heard of stops the run; the job it may have sent is found by the next call."""

    class Odd(First):
        def submit(self, work: Program, tag: str) -> str:
            found = self.inner.submit(work, tag)
            if self.left:
                self.left -= 1
                raise KeyError("id")
            return found

    remote = Odd(service(tmp_path))
    run = runner(tmp_path, remote)
    with pytest.raises(JobError, match="KeyError: 'id'"):
        run.run(program(math.pi))
    assert states(run) == ["planned"]
    assert ones(run.run(program(math.pi))) == [100]
    assert len(remote.books()) == 1


def test_a_job_that_seemed_lost_and_ran_is_in_the_account(tmp_path: Path) -> None:
    """Oracle: the service's books; the job is found when its run is settled."""
    remote = First(service(tmp_path, "late"))
    run = runner(tmp_path, remote, lookups=1)
    run.run(program(1.0))
    assert states(run) == ["lost", "done"]
    run.settle()
    run.settle()
    assert states(run) == ["done", "done"]
    assert run.ledger.summary()["quantum_seconds"] == pytest.approx(sum(b["seconds"] for b in remote.books()))


def test_bills_may_come_later(tmp_path: Path) -> None:
    """Oracle: the estimate counts until the bill is there."""

    class Later(First):
        ready = False

        def usage(self, job_id: str) -> Usage:
            return self.inner.usage(job_id) if self.ready else Usage()

        def estimate(self, work: Program) -> float:
            return 50.0

    remote = Later(service(tmp_path))
    run = runner(tmp_path, remote)
    run.run(program(1.0))
    assert run.ledger.summary()["quantum_seconds"] == 50.0
    remote.ready = True
    run.settle()
    assert run.ledger.summary()["quantum_seconds"] == pytest.approx(0.1)


def test_a_budget_refuses_all_of_a_program(tmp_path: Path) -> None:
    """Oracle: the books stay empty; after a restart what was spent still counts."""
    remote = service(tmp_path, limit=Limit(circuits=1))
    run = runner(tmp_path, remote, budget=Budget(shots=350))
    with pytest.raises(BudgetExceededError, match=r"4 jobs on 'rehearsal_coins' would take 400 shots, and 350 of"):
        run.run(program(1.0, 2.0, 3.0, 4.0))
    assert remote.books() == []
    run.run(program(1.0, 2.0, 3.0))
    again = runner(tmp_path, remote, budget=Budget(shots=350))
    again.run(program(1.0, 2.0, 3.0))  # replayed, and free
    with pytest.raises(BudgetExceededError, match="50 of the budget's 350 are left"):
        again.run(program(5.0))


def test_the_budget_holds_for_retries_too(tmp_path: Path) -> None:
    """Oracle: two jobs' shots are there, the first fails with a bill; so one retry, and no second."""
    remote = service(tmp_path, "failed")
    run = runner(tmp_path, remote, budget=Budget(shots=200))
    with pytest.raises(BudgetExceededError):
        run.run(program(1.0))
    assert states(run) == ["failed", "failed"]


def test_what_was_not_sent_does_not_count(tmp_path: Path) -> None:
    """The first job is refused; the others, planned with it, are withdrawn from the budget."""
    remote = First(service(tmp_path, "refused", limit=Limit(circuits=1)))
    run = runner(tmp_path, remote, budget=Budget(shots=300))
    for _ in range(3):
        remote.left = 1
        with pytest.raises(JobError):
            run.run(program(1.0, 2.0, 3.0))
    assert run.ledger.summary()["shots_in_flight"] == 0
    assert len(run.run(program(1.0, 2.0, 3.0))[0]) == 3


def test_a_lost_result_file_is_fetched_again(tmp_path: Path) -> None:
    """Oracle: the books: nothing is run twice; where the service has it no more, that is said."""
    remote = service(tmp_path)
    run = runner(tmp_path, remote)
    before = ones(run.run(program(1.0)))
    (file,) = run.results.folder.glob("*.npz")
    file.write_bytes(file.read_bytes()[:100])
    assert ones(runner(tmp_path, remote).run(program(1.0))) == before
    assert len(remote.books()) == 1
    file.unlink()
    remote._books.execute("delete from jobs")
    with pytest.raises(JobError, match=r"The result of the job 1 is gone from .*Restore the file"):
        runner(tmp_path, remote).run(program(1.0))


def test_other_results_than_asked_for(tmp_path: Path) -> None:
    """A service that gives too few outcomes is not believed; parts of any size are put together."""

    class Parts(Coins):
        def run(self, work: Program) -> Any:
            (pub,) = work.pubs
            return [self._pub(pub.rows(i, i + 1)) for i in range(len(pub))]

    class Short(Coins):
        def run(self, work: Program) -> Any:
            return super().run(work)[:1]

    assert ones(runner(tmp_path, Parts()).run(program(0.0, math.pi))) == [0, 100]
    two = Program(program(1.0).pubs * 2)
    with pytest.raises(JobError, match=r"gave the outcomes of 1 circuits, and has 2: the service runs other circuits"):
        runner(tmp_path, Short()).run(two)


def test_a_local_job_dies_with_its_process(tmp_path: Path) -> None:
    """An executor's job that was not finished is run again; its error is told, and nothing is left in flight."""

    class Failing(Coins):
        def run(self, work: Program) -> Any:
            raise MemoryError("too large")

    run = runner(tmp_path, Failing())
    with pytest.raises(JobError, match="MemoryError: too large"):
        run.run(program(1.0))
    assert states(run) == ["failed"]
    runner(tmp_path, Coins()).run(program(1.0))
    book = Ledger(run.ledger.path)
    copied = tmp_path / "copy.jsonl"
    copied.write_bytes(b"".join(book.path.read_bytes().splitlines(keepends=True)[:-1]))  # killed while it ran
    again = JobRunner(Coins(), copied, run="r", backoff=AT_ONCE)
    again.results.folder = tmp_path / "none"
    again.run(program(1.0))
    assert [a.state for a in again.ledger.attempts] == ["failed", "failed", "done"]
    assert again.shots_used == 100


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"run": ""}, "A run needs a name"),
        ({"retries": -1}, "retries is a whole number of at least 0, got -1"),
        ({"in_flight": 0}, "in_flight is a whole number of at least 1, got 0"),
        ({"lookups": True}, "lookups is a whole number of at least 1, got True"),
        ({"timeout": 0}, "timeout is a positive finite number, got 0"),
    ],
)
def test_wrong_arguments(tmp_path: Path, options: dict[str, Any], message: str) -> None:
    """Each says what was given and what is needed."""
    with pytest.raises(InputError, match=message):
        runner(tmp_path, Coins(), **options)


def test_wrong_arguments_of_the_others(tmp_path: Path) -> None:
    """Backoff and rehearsal."""
    with pytest.raises(InputError, match=r"needs 0 <= first <= longest, got 2\.0 and 1\.0"):
        Backoff(2.0, 1.0)
    with pytest.raises(InputError, match=r"rate is a finite number of at least 0 and of at most 1, got 20"):
        RehearsalService(Coins(), tmp_path, rate=20)
    with pytest.raises(UnknownNameError, match=r"Unknown fault 'slo'\. Did you mean 'slow'"):
        RehearsalService(Coins(), tmp_path, faults=["slo"])


def test_a_block_that_is_tried_again(tmp_path: Path) -> None:
    """Oracle: the executor's runs: a forward pass whose backward pass fails is not run again, and then it is."""
    coins = Coins()
    run = runner(tmp_path, coins)
    for attempt in range(3):
        try:
            with run.repeatable():
                run.run(program(1.0))
                if attempt < 2:
                    raise KeyError("backward")
        except KeyError:
            continue
    assert coins.runs == 1
    run.run(program(1.0))
    assert coins.runs == 2


def test_what_was_planned_and_given_up(tmp_path: Path) -> None:
    """A run that nobody goes on with: what never arrived counts no more, what did is billed. Oracle: the books."""
    remote = service(tmp_path)
    book = Ledger(tmp_path / "ledger.jsonl")
    for tag in ("torchbp-0-a-1", "torchbp-0-b-1"):
        book.plan([Attempt(tag, "r", tag, 0, 1, remote.name, 1, 100)])
    remote.submit(program(1.0), "torchbp-0-b-1")
    budget = Budget(shots=250)
    with pytest.raises(BudgetExceededError):
        runner(tmp_path, remote, run="new", budget=budget).run(program(1.0))
    runner(tmp_path, remote).settle()
    assert states(runner(tmp_path, remote)) == ["lost", "done"]
    runner(tmp_path, remote, run="new", budget=budget).run(program(1.0))
    assert Ledger(book.path).summary()["quantum_seconds"] == pytest.approx(sum(b["seconds"] for b in remote.books()))


class Crash(BaseException):
    """The machine stops."""


@pytest.mark.parametrize("power", [True, False], ids=["killed", "without power"])
@pytest.mark.parametrize("fault", ["none", "silent", "failed"])
def test_a_crash_at_every_write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fault: str, power: bool) -> None:
    """Oracle: the books: one result paid for, wherever the program stopped; without power, unsynced bytes are lost."""
    real, left, synced = os.fsync, [0], {}

    def fsync(descriptor: int) -> None:
        left[0] -= 1
        if left[0] == 0:
            raise Crash
        real(descriptor)
        status = os.fstat(descriptor)
        synced[status.st_ino] = status.st_size

    monkeypatch.setattr(os, "fsync", fsync)
    crashes = 0
    for point in range(1, 100):
        folder = tmp_path / str(point)
        remote = First(service(folder, fault) if fault != "none" else service(folder))
        left[0] = 0
        remote.inner._results.keep = lambda *_, keep=remote.inner._results.keep: _without(left, lambda: keep(*_))
        left[0] = point
        try:
            runner(folder, remote).run(program(math.pi))
        except Crash:
            crashes += 1
            path = folder / "ledger.jsonl"
            if not power and path.exists():
                os.truncate(path, synced.get(path.stat().st_ino, 0))
        left[0] = 0
        again = runner(folder, remote)
        assert ones(again.run(program(math.pi))) == [100]
        assert Counter(b["state"] for b in remote.books())["done"] == 1
        assert again.account.shots == 100
        assert again.account.quantum_seconds == pytest.approx(sum(b["seconds"] for b in remote.books()))
        if crashes < point:
            break
    assert crashes == {"none": 6, "silent": 6, "failed": 9}[fault]


def _without(left: list[int], keep: Any) -> None:
    """The service's own writes are not the program's."""
    saved, left[0] = left[0], 0
    keep()
    left[0] = saved


PROGRAM = """
from pathlib import Path
from coins import Coins, ones, program
from torchbp.errors import JobError
from torchbp.hardware import Backoff, JobRunner
from torchbp.hardware.program import Limit
from torchbp.hardware.jobs.rehearsal import RehearsalService
folder = Path(FOLDER)
service = RehearsalService(Coins(), folder / "service", rate=0.2, seed=5, limit=Limit(circuits=1))
run = JobRunner(service, folder / "ledger.jsonl", run="r", backoff=Backoff(0.0, 0.0), poll=0.001)
for i in range(JOBS):
    while True:
        try:
            found = run.run(program(0.01 * i, 2.0, shots=100 + i))
            break
        except JobError:
            continue
    print(i, *ones(found), flush=True)
"""


def test_faults_and_kills(tmp_path: Path) -> None:
    """Oracle: the service's books and results: every result once, every shot, nothing twice, whatever was killed."""
    jobs, path = 60, tmp_path / "ledger.jsonl"
    code = PROGRAM.replace("FOLDER", repr(str(tmp_path))).replace("JOBS", str(jobs))
    *_, last = forks.run(code, path, ["coins"], kills=[50, 151, 252])
    printed = [line.split() for line in last]
    remote = RehearsalService(Coins(), tmp_path / "service")
    books, ledger = remote.books(), Ledger(tmp_path / "ledger.jsonl")
    assert len({b["fault"] for b in books} | {None}) > 4
    done = [a for a in ledger.attempts if a.state == "done"]
    assert Counter(a.key for a in done) == dict.fromkeys(ledger.jobs("r"), 1)
    assert sum(b["state"] == "done" for b in books) == len(ledger.jobs("r")) == 2 * jobs
    assert [line[0] for line in printed] == [str(i) for i in range(jobs)]
    remote.limit = Limit(circuits=1)
    again = JobRunner(remote, ledger, run="r")
    found = [ones(again.run(program(0.01 * i, 2.0, shots=100 + i))) for i in range(jobs)]
    assert [[float(k) for k in line[1:]] for line in printed] == found
    assert remote.books() == books
    account = ledger.summary()
    assert account["shots"] == sum(2 * (100 + i) for i in range(jobs))
    assert account["shots"] == sum(b["shots"] for b in books if b["state"] == "done")
    assert account["shots_lost"] == sum(b["shots"] for b in books if b["state"] == "failed")
    assert account["shots_in_flight"] == 0
    assert account["quantum_seconds"] == pytest.approx(sum(b["seconds"] for b in books))
    assert {b["tag"] for b in books} <= {a.tag for a in ledger.attempts}


class Bookkeeper(LocalService):
    """A service that estimates and bills whatever it is told to."""

    def __init__(self, estimate: Any, bill: Any) -> None:
        super().__init__(Coins())
        self.sent, self._estimate, self._bill = 0, estimate, bill

    def submit(self, work: Program, tag: str) -> str:
        self.sent += 1
        return super().submit(work, tag)

    def estimate(self, work: Program) -> float | None:
        return self._estimate

    def usage(self, job_id: str) -> Usage:
        return Usage(self._bill)


NO_TIMES = [math.nan, math.inf, -1.0, "1", True, None]


@pytest.mark.parametrize("bill", NO_TIMES)
@pytest.mark.parametrize("prices", [None, {"*": Price(per_shot=0.0)}])
def test_a_bill_that_is_none_counts_as_the_estimate(tmp_path: Path, bill: Any, prices: Any) -> None:
    """Oracle: six jobs of a second by the estimate, and no seventh, whatever the service says they took."""
    remote = Bookkeeper(1.0, bill)
    run = runner(tmp_path, remote, budget=Budget(quantum_seconds=6, prices=prices))
    for angle in range(6):
        run.run(program(float(angle)))
    with pytest.raises(BudgetExceededError, match="would take 1 quantum seconds, and 0 of the budget's 6 are left"):
        run.run(program(6.0))
    assert remote.sent == 6
    assert all(a.cost.quantum_seconds == 1.0 for a in Ledger(run.ledger.path).attempts)


@pytest.mark.parametrize("estimate", NO_TIMES)
def test_an_estimate_that_is_none_is_not_known(tmp_path: Path, estimate: Any) -> None:
    """Nothing is sent under a limit on time; without one the job runs."""
    remote = Bookkeeper(estimate, 1.0)
    with pytest.raises(BudgetExceededError, match="would cost in quantum seconds is not known"):
        runner(tmp_path, remote, budget=Budget(quantum_seconds=6)).run(program(1.0))
    assert remote.sent == 0
    runner(tmp_path, remote).run(program(1.0))
    assert remote.sent == 1
