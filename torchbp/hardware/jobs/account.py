"""What jobs have cost: shots, money, retries and waiting, for each run, each epoch, and each run that converged."""

from __future__ import annotations

import statistics
from collections.abc import Collection, Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from torchbp.gradients.table import markdown
from torchbp.hardware.jobs.attempt import Attempt
from torchbp.hardware.jobs.budget import CALIBRATION


@dataclass(frozen=True)
class Account:
    """The sum of some attempts.

    Attributes:
        jobs: jobs asked for, each once, however often it was sent.
        done: jobs with a result.
        attempts: submissions, those that got lost on the way included.
        retries: attempts after a job's first.
        circuits: of the jobs that are done.
        shots: that gave a result.
        shots_lost: of attempts that failed on the machine, and may have been paid for.
        shots_in_flight: of attempts that may still run.
        quantum_seconds: billed, estimated where there is no bill; None where nothing is known.
        money: likewise, in the currency of the price table.
        queue_seconds: median time from submission to start; None where no service told.
        longest_queue_seconds: the longest of these.
    """

    jobs: int
    done: int
    attempts: int
    retries: int
    circuits: int
    shots: int
    shots_lost: int
    shots_in_flight: int
    quantum_seconds: float | None
    money: float | None
    queue_seconds: float | None
    longest_queue_seconds: float | None

    @classmethod
    def of(cls, attempts: Iterable[Attempt]) -> Account:
        """Add up these attempts."""
        attempts = list(attempts)
        done = [a for a in attempts if a.state == "done"]
        queued = [a.queue_seconds for a in attempts if a.queue_seconds is not None]
        return cls(
            jobs=len({a.key for a in attempts}),
            done=len({a.key for a in done}),
            attempts=len(attempts),
            retries=sum(a.number > 1 for a in attempts),
            circuits=sum(a.circuits for a in done),
            shots=sum(a.shots for a in done),
            shots_lost=sum(a.spent_shots for a in attempts if a.state == "failed"),
            shots_in_flight=sum(a.spent_shots for a in attempts if a.is_open),
            quantum_seconds=_total(a.cost.quantum_seconds for a in attempts),
            money=_total(a.cost.money for a in attempts),
            queue_seconds=statistics.median(queued) if queued else None,
            longest_queue_seconds=max(queued, default=None),
        )


def group(attempts: Iterable[Attempt], by: str) -> dict[str, list[Attempt]]:
    """Attempts by "run", "backend", or one of their labels ("epoch", "step", ...), as text; "-" for those without."""
    found: dict[str, list[Attempt]] = {}
    for attempt in attempts:
        value = getattr(attempt, by) if by in ("run", "backend") else attempt.labels.get(by)
        found.setdefault("-" if value is None else str(value), []).append(attempt)
    return found


def summary(attempts: Sequence[Attempt], converged: Collection[str]) -> dict[str, Any]:
    """The account as JSON can hold it: the total's numbers, and under "runs" the same for each run and its epochs.

    Args:
        attempts: of any number of runs.
        converged: names of the runs that converged.

    "shots_for_calibration" are those of "shots" that measured readout errors. "shots_per_converged_run" and
    "money_per_converged_run" are what all runs cost, calibrations and failed ones too, divided by the number that
    converged: what the next success will cost if things stay as they are. None where none has.
    """
    total = Account.of(attempts)
    runs = {}
    for run, own in group(attempts, "run").items():
        epochs = {epoch: asdict(Account.of(a)) for epoch, a in group(own, "epoch").items() if epoch != "-"}
        runs[run] = asdict(Account.of(own)) | {"converged": run in converged, "epochs": epochs}
    successes = sum(bool(r["converged"]) for r in runs.values())
    calibrations = group(attempts, "purpose").get(CALIBRATION, [])
    return asdict(total) | {
        "shots_for_calibration": Account.of(calibrations).shots,
        "converged_runs": successes,
        "shots_per_converged_run": total.shots / successes if successes else None,
        "money_per_converged_run": total.money / successes if successes and total.money is not None else None,
        "runs": runs,
    }


_COLUMNS = {
    "jobs": "jobs",
    "done": "done",
    "retries": "retries",
    "circuits": "circuits",
    "shots": "shots",
    "shots_lost": "lost",
    "shots_in_flight": "in flight",
    "quantum_seconds": "quantum s",
    "money": "money",
    "queue_seconds": "queue s",
}


def table(attempts: Sequence[Attempt], by: str, converged: Collection[str]) -> str:
    """A Markdown table with a row for each group and one for all, aligned so that it reads well in a terminal too."""
    groups = group(attempts, by)
    marks = {name: " *" if by == "run" and name in converged else "" for name in groups}
    rows = []
    for name, own in [*groups.items(), *([("all", list(attempts))] if len(groups) != 1 else [])]:
        numbers = asdict(Account.of(own))
        rows.append([name + marks.get(name, ""), *(_text(numbers[column]) for column in _COLUMNS)])
    note = "\n* converged\n" if any(marks.values()) else ""
    return markdown([by, *_COLUMNS.values()], rows, text_columns=1) + note


def _total(values: Iterable[float | None]) -> float | None:
    known = [v for v in values if v is not None]
    return sum(known) if known else None


def _text(value: float | None) -> str:
    if value is None:
        return "-"
    return f"{value:,}" if isinstance(value, int) else f"{value:,.2f}"
