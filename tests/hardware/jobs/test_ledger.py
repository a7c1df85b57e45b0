"""The record of jobs: what is written stays, what was cut off is gone, and the sums are those of the lines."""

from __future__ import annotations

import json
import os
import random
import time
from collections import Counter
from pathlib import Path
from typing import Any

import forks
import pytest

from torchbp.errors import InputError, LedgerError
from torchbp.hardware import Attempt, Cost, Ledger
from torchbp.hardware.jobs.account import Account, group


class Clock:
    """A second passes whenever it is looked at."""

    now = 1000.0

    def __call__(self) -> float:
        self.now += 1.0
        return self.now


def attempt(tag: str, **changes: Any) -> Attempt:
    content = changes.pop("content", tag)
    base = {"run": "r", "content": content, "occurrence": 0, "number": 1, "backend": "m"}
    return Attempt(**{"tag": tag, "circuits": 2, "shots": 200} | base | changes)


def ledger(folder: Path) -> Ledger:
    return Ledger(folder / "jobs" / "ledger.jsonl", Clock())


def test_what_is_written_is_read_back(tmp_path: Path) -> None:
    """Oracle: a second reader of the file holds the same attempts as the writer."""
    book = ledger(tmp_path)
    book.plan([attempt("a", estimate=Cost(2.0, 3.0), labels={"epoch": 1}), attempt("b")])
    book.record("a", "submitted", job_id="id-a")
    book.record("a", "running")
    book.record("a", "done", billed=Cost(1.5, 2.5), started=1010.0, ended=1011.0)
    book.record("b", "submitted", job_id="id-b")
    book.record("b", "failed", error="no luck")
    book.note("converged", "r", {"loss": 0.1})
    again = Ledger(book.path)
    assert again.attempts == book.attempts
    first, second = again.attempts
    assert (first.state, first.job_id, first.billed, first.cost) == ("done", "id-a", Cost(1.5, 2.5), Cost(1.5, 2.5))
    assert first.queue_seconds == 1010.0 - first.times["submitted"]
    assert (second.state, second.error) == ("failed", "no luck")
    assert again.notes("converged", "r")[0]["data"] == {"loss": 0.1}
    assert again.notes("converged", "another") == []
    assert again.converged == {"r"}


def test_every_record_is_on_the_disk_before_the_call_returns(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Oracle: os.fsync is called after the last byte of each record was written."""
    book, sizes = ledger(tmp_path), []
    real = os.fsync

    def fsync(descriptor: int) -> None:
        sizes.append(os.fstat(descriptor).st_size)
        real(descriptor)

    monkeypatch.setattr(os, "fsync", fsync)
    book.plan([attempt("a")])
    assert book.path.stat().st_size in sizes
    book.record("a", "submitted", job_id="x")
    assert sizes[-1] == book.path.stat().st_size


@pytest.mark.parametrize("cut", [1, 5, 30])
def test_a_line_cut_off_is_no_record(tmp_path: Path, cut: int) -> None:
    """Oracle: the file without the line; readers skip it, the next writer removes it."""
    book = ledger(tmp_path)
    book.plan([attempt("a")])
    whole = book.path.read_bytes()
    book.record("a", "submitted", job_id="x")
    book.path.write_bytes(book.path.read_bytes()[:-cut])
    again = Ledger(book.path, Clock())
    assert [a.state for a in again.attempts] == ["planned"]
    again.record("a", "submitted", job_id="y")
    lines = again.path.read_bytes().splitlines(keepends=True)
    assert b"".join(lines[:2]) == whole
    assert [json.loads(line).get("state") for line in lines] == [None, "planned", "submitted"]
    assert Ledger(book.path).attempts[0].job_id == "y"


def test_damage_is_said(tmp_path: Path) -> None:
    """A line that is whole and can't be read is an error, as money may stand in it."""
    book = ledger(tmp_path)
    book.plan([attempt("a")])
    with book.path.open("a") as file:
        file.write("{half of\n")
    with pytest.raises(LedgerError, match=r"Line 3 of .*ledger.jsonl can't be read .*restore the file"):
        Ledger(book.path)


DAMAGES = {
    "a number altered": lambda lines: [*lines[:1], lines[1].replace(b'"shots": 200', b'"shots": 2'), *lines[2:]],
    "doubled": lambda lines: [*lines[:2], lines[1], *lines[2:]],
    "deleted": lambda lines: [*lines[:2], *lines[3:]],
    "moved": lambda lines: [lines[0], lines[2], lines[1], *lines[3:]],
    "without its checksum": lambda lines: [*lines[:3], lines[3].partition(b', "check"')[0] + b"}\n", *lines[4:]],
    "of another ledger": lambda lines: [lines[0].replace(b'"id": "', b'"id": "0'), *lines[1:]],
    "a header without its checksum": lambda lines: [lines[0].partition(b', "check"')[0] + b"}\n", *lines[1:]],
    "a list": lambda lines: [*lines, b"[]\n"],
    "null": lambda lines: [*lines, b"null\n"],
    "deep": lambda lines: [*lines, b"[" * 100_000 + b"\n"],
    "no text": lambda lines: [*lines, b"\xff\xfe\n"],
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_every_damage_is_found(tmp_path: Path, damage: str) -> None:
    """Oracle: by hand; whoever opens the file is told the line, and nobody can write behind it."""
    book = ledger(tmp_path)
    book.plan([attempt("a"), attempt("b"), attempt("c")])
    book.record("b", "submitted", job_id="x")
    kept = book.path.read_bytes().splitlines(keepends=True)
    book.path.write_bytes(b"".join(DAMAGES[damage](kept)))
    with pytest.raises(LedgerError, match=r"Line \d of .*ledger.jsonl.*: .*restore the file from a copy"):
        Ledger(book.path)


@pytest.mark.parametrize(
    "line", [b"[]", b"null", b"3", b'{"kind": "note"}', b'{"kind": "converged", "run": 3}', b"[" * 10**5]
)
def test_a_ledger_without_checksums(tmp_path: Path, line: bytes) -> None:
    """Of the first format: it is read and goes on without them; what is no record is found all the same."""
    path = tmp_path / "ledger.jsonl"
    path.write_bytes(b'{"ledger": "torchbp", "schema": 1, "id": "00"}\n')
    book = Ledger(path)
    book.plan([attempt("a")])
    book.note("converged", "r", {})
    assert b"check" not in path.read_bytes()
    assert (Ledger(path).attempts[0].tag, Ledger(path).converged) == ("a", {"r"})
    with path.open("ab") as file:
        file.write(line + b"\n")
    with pytest.raises(LedgerError, match=r"Line 4 of .*restore the file"):
        Ledger(path)
    path.write_bytes(path.read_bytes().splitlines(keepends=True)[1] * 2)
    with pytest.raises(LedgerError, match=r"Line 1 of .*is no ledger"):
        Ledger(path)


def test_lines_gone_while_it_is_open(tmp_path: Path) -> None:
    """What was read and is there no more is told, not filled with zeros."""
    book = ledger(tmp_path)
    book.plan([attempt("a")])
    book.path.write_bytes(book.path.read_bytes().splitlines(keepends=True)[0])
    with pytest.raises(LedgerError, match=r"has lost what stood at its end: restore"):
        book.record("a", "submitted")


def test_notes_have_kinds_of_their_own(tmp_path: Path) -> None:
    """A note can't pass for a job."""
    with pytest.raises(InputError, match="any kind but 'attempt', which is for jobs"):
        ledger(tmp_path).note("attempt", "r", {})


def test_other_files_are_refused(tmp_path: Path) -> None:
    """What is no ledger, and what a later version wrote."""
    other = tmp_path / "events.jsonl"
    other.write_text('{"kind": "verdict"}\n')
    with pytest.raises(LedgerError, match=r"is no ledger of torchbp.*move it away"):
        Ledger(other)
    other.write_text('{"ledger": "torchbp", "schema": 99}\n')
    with pytest.raises(LedgerError, match=r"format 99, and this torchbp reads up to 2: update torchbp"):
        Ledger(other)


def test_states_follow_each_other(tmp_path: Path) -> None:
    """A result can't come back to the queue; a record said twice counts once; nothing wrong is written."""
    book = ledger(tmp_path)
    book.plan([attempt("a")])
    book.record("a", "submitted", job_id="x")
    book.record("a", "done", billed=Cost(1.0))
    size = book.path.stat().st_size
    with pytest.raises(LedgerError, match="is done and can't become submitted: after done comes nothing"):
        book.record("a", "submitted")
    with pytest.raises(LedgerError, match="knows of no attempt b: plan it before"):
        book.record("b", "submitted")
    with pytest.raises(LedgerError, match="has been planned already"):
        book.plan([attempt("a")])
    book.record("a", "done")
    assert book.path.stat().st_size == size
    book.record("a", "done", billed=Cost(3.0))  # a bill may come late
    assert Ledger(book.path).attempts[0].billed == Cost(3.0)


def test_an_attempt_that_was_lost_may_turn_up(tmp_path: Path) -> None:
    """Oracle: by hand; it costs nothing while lost, and its bill once found."""
    book = ledger(tmp_path)
    book.plan([attempt("a", estimate=Cost(2.0, 4.0))])
    book.record("a", "lost")
    assert (book.attempts[0].cost, book.attempts[0].spent_shots) == (Cost(0.0, 0.0), 0)
    book.record("a", "done", job_id="x", billed=Cost(1.0, 2.0))
    assert (book.attempts[0].cost, book.attempts[0].spent_shots) == (Cost(1.0, 2.0), 200)


def test_what_json_can_not_hold(tmp_path: Path) -> None:
    """The message names the culprit's type; nothing is written."""
    book = ledger(tmp_path)
    with pytest.raises(InputError, match=r"what JSON can: .*type set is not JSON serializable.*Look at the labels"):
        book.plan([attempt("a", labels={"epoch": {1}})])
    assert book.attempts == ()
    book.plan([attempt("a")])
    assert [a.tag for a in Ledger(book.path).attempts] == ["a"]


WRITER = """
from torchbp.hardware import Attempt, Ledger
book, name = Ledger(PATH), "abc"[number]
for i in range(COUNT):
    tag = f"{name}-{i}"
    book.plan([Attempt(tag, name, tag, 0, 1, "m", 1, 10)])
    book.record(tag, "submitted", job_id=tag)
    book.record(tag, "done")
    print(tag, flush=True)
"""


def writer(path: Path, count: int) -> str:
    return WRITER.replace("PATH", repr(str(path))).replace("COUNT", str(count))


def test_processes_share_a_ledger(tmp_path: Path) -> None:
    """Oracle: three writers at once, each of whose records is there once."""
    path = tmp_path / "ledger.jsonl"
    forks.run(writer(path, 40), path, at_once=3)
    counts = Counter(a.run for a in Ledger(path).attempts if a.state == "done")
    assert counts == {"a": 40, "b": 40, "c": 40}
    assert len(path.read_text().splitlines()) == 1 + 3 * 3 * 40


def test_what_a_killed_process_said_is_there(tmp_path: Path) -> None:
    """Oracle: what it printed after each record; killed (SIGKILL) in the middle, the next one goes on."""
    path = tmp_path / "ledger.jsonl"
    said, after = forks.run(writer(path, 60), path, kills=[100])
    book = Ledger(path)
    done = [a.tag for a in book.attempts if a.state == "done"]
    assert set(done) >= {*said, *after}
    assert 30 < len(said) < 60
    assert sum(a.run == "a" for a in book.attempts) <= len(said) + 2
    assert after == [f"b-{i}" for i in range(60)]


def history(folder: Path) -> Ledger:
    """Sixty jobs of two runs with every outcome, the first attempt of some failed."""
    book, rng = ledger(folder), random.Random(3)
    for i in range(60):
        for number in (1, 2):
            tag = f"{i}-{number}"
            labels = {"epoch": i // 20}
            estimate = Cost(rng.uniform(1, 2), rng.uniform(2, 3))
            shots = rng.randrange(100, 200)
            job = {"run": "ab"[i % 2], "content": str(i), "number": number, "labels": labels}
            book.plan([attempt(tag, estimate=estimate, shots=shots, **job)])
            if number == 1 and rng.random() < 0.4:
                outcome = rng.choice(["lost", "rejected", "failed", "cancelled"])
                if outcome in ("failed", "cancelled"):
                    book.record(tag, "submitted", job_id=tag)
                book.record(tag, outcome, billed=Cost(0.5, 0.25) if outcome == "failed" and i % 3 else None)
                continue
            book.record(tag, "submitted", job_id=tag)
            if rng.random() < 0.8:
                book.record(tag, "running")
                book.record(tag, "done", billed=Cost(rng.uniform(1, 2), rng.uniform(2, 3)))
            break
    book.note("converged", "a", {})
    return book


def brute_force(path: Path, run: str | None, epoch: int | None) -> dict[str, Any]:
    """The sums, from the lines of the file alone."""
    lines = [json.loads(line) for line in path.read_text().splitlines()][1:]
    jobs = {r["tag"]: r for r in lines if r["kind"] == "attempt"}
    chosen = {t: r for t, r in jobs.items() if run in (None, r["run"]) and epoch in (None, r["labels"]["epoch"])}
    last = {t: [r for r in lines if r["kind"] == "state" and r["tag"] == t] for t in chosen}
    out: dict[str, Any] = Counter()
    money = 0.0
    for tag, record in chosen.items():
        states = [r["state"] for r in last[tag]]
        bill = next((r["details"]["billed"]["money"] for r in last[tag] if "billed" in r["details"]), None)
        final = states[-1] if states else "planned"
        out["attempts"] += 1
        out["retries"] += record["number"] > 1
        out["done"] += final == "done"
        out["shots"] += record["shots"] * (final == "done")
        out["circuits"] += record["circuits"] * (final == "done")
        out["shots_lost"] += record["shots"] * (final == "failed")
        out["shots_in_flight"] += record["shots"] * (final in ("planned", "submitted", "running"))
        if final in ("planned", "submitted", "running", "done", "failed"):
            money += record["estimate"]["money"] if bill is None else bill
    return dict(out) | {"jobs": len({r["content"] for r in chosen.values()}), "money": pytest.approx(money)}


def test_sums_are_those_of_the_lines(tmp_path: Path) -> None:
    """Oracle: the file read line by line by other code; in total, by run, by epoch, and for each run that converged."""
    book = history(tmp_path)
    found = book.summary()
    assert {"lost", "rejected", "failed", "cancelled", "done", "submitted"} == {a.state for a in book.attempts}
    for run in (None, "a", "b"):
        own = found if run is None else found["runs"][run]
        assert {k: own[k] for k in brute_force(book.path, run, None)} == brute_force(book.path, run, None)
    for epoch, own in found["runs"]["b"]["epochs"].items():
        wanted = brute_force(book.path, "b", int(epoch))
        assert {k: own[k] for k in wanted} == wanted
    assert found["converged_runs"] == 1
    assert found["shots_per_converged_run"] == found["shots"]  # the other run's shots are part of the price
    assert found["money_per_converged_run"] == pytest.approx(found["money"])
    assert found["queue_seconds"] == found["longest_queue_seconds"] == 1.0  # of this clock
    assert (found["runs"]["a"]["converged"], found["runs"]["b"]["converged"]) == (True, False)
    assert json.loads(json.dumps(found)) == found
    assert book.summary("b")["shots_per_converged_run"] is None


def test_the_table_shows_the_sums(tmp_path: Path) -> None:
    """Oracle: the numbers of `summary`, cell by cell; columns are aligned."""
    book = history(tmp_path)
    head, rule, first, _, total, _, note = book.table().splitlines()
    assert len(head) == len(rule) == len(first) == len(total)
    cells = [cell.strip() for cell in first.strip("|").split("|")]
    own = book.summary()["runs"]["a"]
    assert cells[0] == "a *"
    assert cells[1:4] == [str(own["jobs"]), str(own["done"]), str(own["retries"])]
    assert cells[5] == f"{own['shots']:,}"
    assert note == "* converged"
    names = [line.split("|")[1].strip(" -:") for line in book.table(by="epoch", run="a").splitlines()]
    assert names == ["epoch", "", "0", "1", "2", "all"]


def test_an_empty_ledger(tmp_path: Path) -> None:
    """Oracle: nothing, by hand; looking writes no file."""
    book = ledger(tmp_path)
    assert book.attempts == ()
    assert book.summary()["shots"] == 0
    assert book.summary()["money"] is None
    assert "| all |    0 |" in book.table()
    assert not book.path.exists()
    assert book.job(("r", "x", 0)) == ()
    assert book.jobs("r") == {}


def test_groups() -> None:
    """Oracle: by hand; what has no such label stands under a dash."""
    attempts = [attempt("a", labels={"epoch": 0}), attempt("b", backend="n"), attempt("c", labels={"epoch": 0})]
    assert {k: len(v) for k, v in group(attempts, "epoch").items()} == {"0": 2, "-": 1}
    assert {k: len(v) for k, v in group(attempts, "backend").items()} == {"m": 2, "n": 1}
    assert Account.of(attempts).shots_in_flight == 600


def test_a_record_takes_milliseconds(tmp_path: Path) -> None:
    """A thousand records read and a hundred written in well under ten seconds: reading goes on where it stopped."""
    book = ledger(tmp_path)
    book.plan([attempt(str(i)) for i in range(1000)])
    start = time.perf_counter()
    for i in range(100):
        book.record(str(i), "submitted", job_id=str(i))
    assert time.perf_counter() - start < 10
    assert sum(a.state == "submitted" for a in Ledger(book.path).attempts) == 100
