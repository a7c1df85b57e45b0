"""The ledger: an append-only file of every job, written to disk before anything is sent.

One JSON object a line, each with a checksum (`lines`), the first of which names the format. A line counts once it is
whole and on the disk (fsync);
what a killed process left of its last line is no record, and is cut off by the next writer. Any number of processes may
share the file: each takes its lock for as long as one record takes, and reads what the others wrote before it writes.
"""

from __future__ import annotations

import os
import secrets
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, BinaryIO

from torchbp.arguments import checked
from torchbp.errors import InputError, LedgerError
from torchbp.hardware.jobs import account, lines
from torchbp.hardware.jobs.attempt import Attempt, Cost, Key

try:
    import fcntl
except ImportError:  # Windows: one process at a time, please
    fcntl = None  # type: ignore[assignment]

_ADVICE = "restore the file from a copy, or move it away to begin a new one. What was spent is known to the service."
SCHEMA = 2
"""1 had no checksums; a ledger that began so goes on so."""


class Ledger:
    """Every job of any number of runs, from plan to result.

    Args:
        path: the file; it and its folder are made when the first record is written.
        clock: seconds since 1970.

    Attributes:
        id: tells this ledger from all others; final once the first record is written.

    Raises:
        LedgerError: the file is no ledger, was written by a newer torchbp, or is damaged: lines that can't be read, or
            that were altered, doubled, deleted or moved.
    """

    @checked()
    def __init__(self, path: str | os.PathLike[str], clock: Callable[[], float] = time.time) -> None:
        self.path = Path(path)
        self.id = secrets.token_hex(4)
        self._clock = clock
        self._attempts: dict[str, Attempt] = {}
        self._jobs: dict[Key, list[Attempt]] = {}
        self._runs: dict[str, dict[Key, int]] = {}  # the jobs of a run, numbered
        self._notes: list[dict[str, Any]] = []
        self._end = self._lines = 0  # of what has been read
        self._last: str | None = ""  # checksum of the last line, None where there are none
        self.refresh()

    @property
    def attempts(self) -> tuple[Attempt, ...]:
        """All attempts, in the order they were planned."""
        return tuple(self._attempts.values())

    def notes(self, kind: str, run: str | None = None) -> list[dict[str, Any]]:
        """What `note` wrote, as dicts with "kind", "run", "time" and "data", oldest first."""
        return [n for n in self._notes if n["kind"] == kind and run in (None, n["run"])]

    def attempt(self, tag: str) -> Attempt:
        """The attempt with this tag, which later records change.

        Raises:
            LedgerError: there is none.
        """
        if tag not in self._attempts:
            raise LedgerError(f"{self.path} knows of no attempt {tag}: plan it before it is sent.")
        return self._attempts[tag]

    def job(self, key: Key) -> tuple[Attempt, ...]:
        """The attempts at one job, oldest first; empty where it was never planned."""
        return tuple(self._jobs.get(key, ()))

    def jobs(self, run: str) -> dict[Key, int]:
        """All jobs of a run with their numbers, in the order they were first planned."""
        return dict(self._runs.get(run, {}))

    def number(self, key: Key) -> int:
        """Which job of its run it is, counted from 0."""
        return self._runs[key[0]][key]

    def plan(
        self, attempts: Sequence[Attempt], allow: Callable[[Sequence[Attempt], Sequence[Attempt]], None] | None = None
    ) -> None:
        """Write down attempts that are about to be sent: all of them or, where `allow` raises, none.

        Args:
            attempts: new ones; their times are filled in.
            allow: gets all attempts of the ledger and the new ones, while no other process can add to them.

        Raises:
            LedgerError: an attempt of this tag is there already.
        """
        with self._writing() as write:
            if allow is not None:
                allow(self.attempts, attempts)
            for attempt in attempts:
                if attempt.tag in self._attempts:
                    raise LedgerError(
                        f"The attempt {attempt.tag} has been planned already: do two programs work on the run "
                        f"{attempt.run!r}? Give each a run of its own."
                    )
            write([{"kind": "attempt", "time": self._clock()} | asdict(a) for a in attempts])

    def record(self, tag: str, state: str, **details: Any) -> Attempt:
        """Write down what became of an attempt.

        Args:
            tag: of the attempt.
            state: its next state.
            details: of `Attempt`'s fields: job_id, started, ended, billed, error.

        Raises:
            LedgerError: no such attempt, or the state can't follow its present one.
        """
        with self._writing() as write:
            attempt = self.attempt(tag)
            copy = replace(attempt, times={})
            if copy.advance(state, 0.0, {}) or details:  # raises before anything is written
                write([_change(tag, state, self._clock(), details)])
            return attempt

    def note(self, kind: str, run: str, data: Mapping[str, Any]) -> None:
        """Write down something about a run that is no job: a calibration, that it converged, ...

        Args:
            kind: any word but "attempt" and "state".
            run: its name.
            data: as JSON can hold it.

        Raises:
            InputError: another kind, or what JSON can't hold.
        """
        if kind in ("attempt", "state"):
            raise InputError(f"A note is of any kind but {kind!r}, which is for jobs: give another word.")
        with self._writing() as write:
            write([{"kind": kind, "run": run, "time": self._clock(), "data": dict(data)}])

    def summary(self, run: str | None = None) -> dict[str, Any]:
        """Shots, cost, retries and waiting of one run or all, in total, by run and by epoch; see `account.summary`."""
        return account.summary(self._of(run), self.converged)

    def table(self, by: str = "run", run: str | None = None) -> str:
        """The same as a table to print: a row for each "run", "backend", or value of a label such as "epoch"."""
        return account.table(self._of(run), by, self.converged)

    @property
    def converged(self) -> frozenset[str]:
        """Runs with a note "converged"."""
        return frozenset(note["run"] for note in self.notes("converged"))

    def refresh(self) -> None:
        """Read what other processes have written since."""
        if self.path.exists():
            with self.path.open("rb") as file:
                self._read(file)

    def _of(self, run: str | None) -> list[Attempt]:
        self.refresh()
        return [a for a in self.attempts if run in (None, a.run)]

    @contextmanager
    def _writing(self) -> Iterator[Callable[[Sequence[Mapping[str, Any]]], None]]:
        """The lock, and a function that appends records, waits for the disk, and takes them in."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        new = not self.path.exists()
        with self.path.open("a+b") as file:
            if fcntl is not None:
                fcntl.flock(file, fcntl.LOCK_EX)  # a killed process loses it
            self._read(file)
            file.truncate(self._end)

            def write(records: Sequence[Mapping[str, Any]]) -> None:
                head = [] if self._lines else [{"ledger": "torchbp", "schema": SCHEMA, "id": self.id}]
                file.write(lines.written([*head, *records], self._last))
                file.flush()
                os.fsync(file.fileno())
                if new:
                    sync_folder(self.path.parent)
                self._read(file)

            yield write

    def _read(self, file: BinaryIO) -> None:
        if file.seek(0, os.SEEK_END) < self._end:
            raise LedgerError(f"{self.path} has lost what stood at its end: {_ADVICE}")
        file.seek(self._end)
        data = file.read()
        whole = data[: data.rfind(b"\n") + 1]
        for line in whole.splitlines():
            self._lines += 1
            try:
                record, self._last = lines.read(line, self._last)
                self._take(record)
            except LedgerError as error:
                raise LedgerError(f"Line {self._lines} of {self.path}: {error}. What to do: {_ADVICE}") from None
            except (ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
                raise LedgerError(
                    f"Line {self._lines} of {self.path} can't be read ({type(error).__name__}): {_ADVICE}"
                ) from None
        self._end += len(whole)

    def _take(self, record: dict[str, Any]) -> None:
        """One line of the file."""
        if self._lines == 1:
            if record.get("ledger") != "torchbp":
                raise LedgerError("this is no ledger of torchbp")
            if record["schema"] > SCHEMA:
                raise LedgerError(
                    f"it has format {record['schema']}, and this torchbp reads up to {SCHEMA}: update torchbp"
                )
            if record["schema"] > 1 and self._last is None:
                raise LedgerError("its checksum is missing")
            self.id = record["id"]
            return
        kind = record["kind"]
        if kind == "attempt":
            planned = record.pop("time")
            del record["kind"]
            attempt = Attempt(**record | {"estimate": Cost(**record["estimate"]), "times": {"planned": planned}})
            if attempt.tag in self._attempts:
                raise LedgerError(f"the attempt {attempt.tag} is planned a second time")
            self._attempts[attempt.tag] = attempt
            self._jobs.setdefault(attempt.key, []).append(attempt)
            jobs = self._runs.setdefault(attempt.run, {})
            jobs.setdefault(attempt.key, len(jobs))
        elif kind == "state":
            attempt = self._attempts[record["tag"]]
            if not attempt.advance(record["state"], record["time"], record["details"]):
                attempt.settle(record["details"])
        else:
            kinds = {"kind": str, "run": str, "time": int | float, "data": dict}
            if not all(isinstance(record[name], kind) for name, kind in kinds.items()):
                raise TypeError("no note")
            self._notes.append(record)


def _change(tag: str, state: str, now: float, details: Mapping[str, Any]) -> dict[str, Any]:
    plain = {k: asdict(v) if isinstance(v, Cost) else v for k, v in details.items() if v is not None}
    return {"kind": "state", "tag": tag, "state": state, "time": now, "details": plain}


def sync_folder(folder: Path) -> None:
    """Wait until the names of new and renamed files are on the disk, where the system can do that."""
    try:
        descriptor = os.open(folder, os.O_RDONLY)
    except OSError:  # Windows has no descriptors of folders
        return
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
