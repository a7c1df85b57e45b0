"""Budgets: refused before, not after, with what is planned and in flight counted."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest

from torchbp.errors import BudgetExceededError, InputError
from torchbp.hardware import Attempt, Budget, Cost, Ledger, Price


def attempt(tag: str, shots: int = 100, estimate: Cost | None = None, run: str = "r") -> Attempt:
    return Attempt(tag, run, tag, 0, 1, "ibm_x", 2, shots, estimate or Cost())


def test_shots_in_flight_count(tmp_path: Path) -> None:
    """Oracle: 250 of 300 shots by hand; refused jobs leave no line, and a restart remembers."""
    book, budget = Ledger(tmp_path / "l.jsonl"), Budget(shots=300)
    book.plan([attempt("a"), attempt("b")], budget.allow)
    book.record("a", "submitted", job_id="1")
    book.record("a", "done")
    size = book.path.stat().st_size
    with pytest.raises(BudgetExceededError, match=r"Nothing was sent: 2 jobs on 'ibm_x' would take 200 shots, and 100"):
        book.plan([attempt("c"), attempt("d")], budget.allow)  # one of them would fit, both don't
    assert book.path.stat().st_size == size
    again = Ledger(book.path)
    assert budget.left(again.attempts) == {"shots": 100, "quantum_seconds": None, "money": None}
    again.plan([attempt("c")], budget.allow)
    with pytest.raises(BudgetExceededError, match=r"0 of the budget's 300 are left, jobs in flight counted\. Raise"):
        again.plan([attempt("d", 1)], budget.allow)
    again.record("b", "lost")  # never arrived
    again.plan([attempt("d")], budget.allow)


def test_bills_replace_estimates(tmp_path: Path) -> None:
    """Oracle: 10 - 4 estimated, then 10 - 1.5 billed."""
    book, budget = Ledger(tmp_path / "l.jsonl"), Budget(quantum_seconds=10)
    book.plan([attempt("a", estimate=Cost(4.0))], budget.allow)
    assert budget.left(book.attempts)["quantum_seconds"] == 6.0
    book.record("a", "submitted", job_id="1")
    book.record("a", "failed")
    assert budget.left(book.attempts)["quantum_seconds"] == 6.0  # it may have been charged
    book.record("a", "failed", billed=Cost(1.5))
    assert budget.left(book.attempts)["quantum_seconds"] == 8.5
    with pytest.raises(BudgetExceededError, match=r"would take 9 quantum seconds, and 8\.50 of the budget's 10 are"):
        book.plan([attempt("b", estimate=Cost(9.0))], budget.allow)


def test_prices() -> None:
    """Oracle: by hand; the first name that fits counts."""
    budget = Budget(money=1, prices={"ibm_q*": Price(per_second=1.5), "*": Price(per_shot=0.001, per_circuit=0.3)})
    assert budget.price("ibm_quebec", 4.0, 1000, 2) == Cost(4.0, 6.0)
    assert budget.price("ibm_quebec", None, 1000, 2) == Cost(None, None)
    assert budget.price("ionq", None, 1000, 2) == Cost(None, 1.6)
    assert Budget().price("ionq", 2.0, 1000, 2) == Cost(2.0, None)


@pytest.mark.parametrize("unit", ["quantum_seconds", "money"])
def test_an_unknown_cost_is_refused(unit: str, tmp_path: Path) -> None:
    """What can't be estimated can't be within a limit."""
    budget = Budget(**{unit: 5}, prices={"*": Price(per_second=1)})  # type: ignore[arg-type]
    with pytest.raises(BudgetExceededError, match=rf"1 job on 'ibm_x' would cost in {unit.replace('_', ' ')} is not"):
        Ledger(tmp_path / "l").plan([attempt("a")], budget.allow)


def test_scopes() -> None:
    """Oracle: by hand, 100 shots of another run counted or not."""
    other = [attempt("a", run="other")]
    Budget(shots=150, scope="run").allow(other, [attempt("b")])
    with pytest.raises(BudgetExceededError, match="50 of the budget's 150"):
        Budget(shots=150).allow(other, [attempt("b")])
    assert Budget(shots=150, scope="run").left(other, "r")["shots"] == 150
    assert Budget(shots=150).left(other, "r")["shots"] == 50


def test_exactly_the_budget_fits() -> None:
    """Oracle: ten tenths are one, whatever floating point says."""
    budget = Budget(quantum_seconds=1.0)
    budget.allow([attempt(str(i), estimate=Cost(0.1)) for i in range(9)], [attempt("x", estimate=Cost(0.1))])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"shots": -1}, "shots is a finite number of at least 0, got -1"),
        ({"quantum_seconds": math.nan}, "quantum_seconds is a finite number"),
        ({"money": "5"}, "money is a finite number of at least 0, got '5'"),
        ({"scope": "epoch"}, 'scope is "ledger" or "run", got \'epoch\''),
        ({"money": 5}, "A budget in money needs prices"),
    ],
)
def test_wrong_budgets(arguments: dict[str, Any], message: str) -> None:
    """Each says what was given and what is needed."""
    with pytest.raises(InputError, match=message):
        Budget(**arguments)


def test_wrong_prices() -> None:
    """A price below zero."""
    with pytest.raises(InputError, match=r"per_shot is a finite number of at least 0, got -0\.1"):
        Price(per_shot=-0.1)
