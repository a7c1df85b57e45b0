"""Budgets in shots, quantum seconds and money: what would exceed them is refused before it is sent."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Literal

from torchbp.arguments import checked
from torchbp.arguments.kinds import real
from torchbp.errors import BudgetExceededError, InputError
from torchbp.hardware.jobs.attempt import Attempt, Cost

CALIBRATION = "readout calibration"
"""The label "purpose" of jobs that measure readout errors."""


@checked()
@dataclass(frozen=True)
class Price:
    """What a machine charges, in one currency; the sum of the three.

    Attributes:
        per_second: of time on the machine (quantum seconds).
        per_shot: for each shot.
        per_circuit: for each circuit or task.

    Raises:
        InputError: a price below zero, or not finite.
    """

    per_second: float = 0.0
    per_shot: float = 0.0
    per_circuit: float = 0.0

    def of(self, quantum_seconds: float | None, shots: int, circuits: int) -> float | None:
        """Money for a job; None where time has a price and the time is not known."""
        if self.per_second and quantum_seconds is None:
            return None
        return self.per_second * (quantum_seconds or 0.0) + self.per_shot * shots + self.per_circuit * circuits


@checked(shots=real(0), quantum_seconds=real(0))
@dataclass(frozen=True)
class Budget:
    """Limits on everything in a ledger, or on one run.

    What counts is what has been billed, what is estimated of that which has no bill yet, and what is planned or in
    flight. It is read from the ledger at every decision, so it survives restarts, and programs that share a ledger
    share its budget.

    Args:
        shots: of all circuits together.
        quantum_seconds: time on machines.
        money: in the currency of the prices.
        prices: by name of the machine, in which * stands for anything; the first name that fits counts. A machine that
            none fits is free, unless there is a limit on money: then it is refused.
        scope: "ledger" for all runs in the ledger together, "run" for each run by itself.

    Raises:
        InputError: a limit below zero or not finite, no such scope, or a limit on money without prices.

    Example:
        >>> Budget(shots=2_000_000, money=50.0, prices={"ibm_*": Price(per_second=1.60), "aer*": Price()})
    """

    shots: int | None = None
    quantum_seconds: float | None = None
    money: float | None = None
    prices: Mapping[str, Price] | None = None
    scope: Literal["ledger", "run"] = "ledger"

    def __post_init__(self) -> None:
        if self.scope not in ("ledger", "run"):
            raise InputError(f'A budget\'s scope is "ledger" or "run", got {self.scope!r}.')
        if self.money is not None and not self.prices:
            raise InputError(
                "A budget in money needs prices: what does each machine charge? "
                'For example prices={"ibm_*": Price(per_second=...)}.'
            )

    def price(self, backend: str, quantum_seconds: float | None, shots: int, circuits: int) -> Cost:
        """What a job costs: its time and, by the price table, its money; None for what can't be known."""
        price = next((p for name, p in (self.prices or {}).items() if fnmatchcase(backend, name)), None)
        return Cost(quantum_seconds, None if price is None else price.of(quantum_seconds, shots, circuits))

    def allow(self, known: Sequence[Attempt], wanted: Sequence[Attempt]) -> None:
        """Let these attempts pass, all of them, or none.

        Args:
            known: everything in the ledger.
            wanted: of one run, about to be planned.

        Raises:
            BudgetExceededError: says what was asked for, what is left of which limit, and what to do.
        """
        if not wanted:
            return
        run = wanted[0].run
        counted = [a for a in known if self.scope == "ledger" or a.run == run]
        self._check("shots", self.shots, [a.spent_shots for a in counted], [a.shots for a in wanted], wanted)
        for unit, limit in (("quantum seconds", self.quantum_seconds), ("money", self.money)):
            name = unit.replace(" ", "_")
            spent, asked = ([getattr(c, name) for c in costs] for costs in _costs(counted, wanted))
            self._check(unit, limit, spent, asked, wanted)

    def left(self, known: Sequence[Attempt], run: str | None = None) -> dict[str, float | None]:
        """What is left of each limit ("shots", "quantum_seconds", "money"); None where there is no limit."""
        counted = [a for a in known if self.scope == "ledger" or a.run == run]
        spent = {
            "shots": sum(a.spent_shots for a in counted),
            "quantum_seconds": sum(a.cost.quantum_seconds or 0.0 for a in counted),
            "money": sum(a.cost.money or 0.0 for a in counted),
        }
        limits = {name: getattr(self, name) for name in spent}
        return {name: None if limit is None else limit - spent[name] for name, limit in limits.items()}

    def _check(
        self,
        unit: str,
        limit: float | None,
        spent: Sequence[float | None],
        asked: Sequence[float | None],
        wanted: Sequence[Attempt],
    ) -> None:
        if limit is None:
            return
        jobs = f"{len(wanted)} job{'s' if len(wanted) > 1 else ''} on {wanted[0].backend!r}"
        if any(a is None for a in asked):
            what = "a price for that machine" if unit == "money" else "a service that can estimate them"
            raise BudgetExceededError(
                f"Nothing was sent: what {jobs} would cost in {unit} is not known, and the budget has a limit of "
                f"{_number(limit)}. Give it {what}, or set no limit on {unit}."
            )
        need, left = sum(a or 0.0 for a in asked), limit - sum(s or 0.0 for s in spent)
        if not need <= left * (1 + 1e-12):  # a NaN, from a ledger of an earlier version, is no leave
            raise BudgetExceededError(
                f"Nothing was sent: {jobs} would take {_number(need)} {unit}, and {_number(max(left, 0.0))} of the "
                f"budget's {_number(limit)} are left, jobs in flight counted. {_advice(wanted)}"
            )


def _advice(wanted: Sequence[Attempt]) -> str:
    if all(a.labels.get("purpose") == CALIBRATION for a in wanted):
        return (
            "They measure the readout errors, once, before the program's own circuits. Raise the budget, or give "
            'calibration_shots= fewer, or mitigation="none".'
        )
    return (
        "Raise the budget, or ask for less: fewer shots, a smaller batch, fewer observables' groups, or weights frozen."
    )


def _costs(known: Sequence[Attempt], wanted: Sequence[Attempt]) -> tuple[list[Cost], list[Cost]]:
    return [a.cost for a in known], [a.estimate for a in wanted]


def _number(value: float) -> str:
    return f"{value:,.0f}" if float(value).is_integer() else f"{value:,.2f}"
