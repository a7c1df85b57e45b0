"""PlateauStopping: stories of verdicts, and when the run ends."""

from __future__ import annotations

from typing import Any

import pytest
from scripted import Model, Scripted, fit, verdict

from torchbp.callbacks import InitializationReset, PlateauStopping
from torchbp.errors import InputError

BP, OK, MIN, NAN = "barren_plateau", "healthy", "local_minimum", "diverging"
UNSURE = verdict(BP, confidence=0.5)


@pytest.mark.parametrize(
    ("said", "patience", "stops"),
    [
        ([BP, BP], 2, 2),
        ([BP], 1, 1),
        ([BP], 2, None),
        ([BP, OK, BP], 2, None),
        ([BP, MIN, BP, MIN, MIN], 2, 5),
        ([OK, OK, OK, OK], 1, None),
        ([UNSURE, UNSURE, UNSURE], 2, None),
        ([BP, UNSURE, BP], 2, 3),
        ([NAN], 3, 1),
        (["oscillating", "oscillating"], 1, None),
    ],
)
def test_stories(said, patience, stops):
    """A verdict at the end of every step. Oracle: by hand: the step before which the fit is told to stop."""
    detector = Scripted(dict(enumerate(said)))
    remedy = PlateauStopping(detector, patience=patience)
    trainer = fit(Model(), [remedy])
    assert [(event.step, event.kind) for event in remedy.events] == ([] if stops is None else [(stops, "stop")])
    assert trainer.global_step == (12 if stops is None else stops + 1)
    assert (remedy.reason is None) == (stops is None)


def test_others_come_first():
    """Two resets are left. Oracle: by hand: it stops at the verdicts after these."""
    detector = Scripted(dict.fromkeys(range(20), BP))
    remedies: list[Any] = [PlateauStopping(detector), InitializationReset(detector, candidates=1, trial=2)]
    fit(Model(), remedies, max_epochs=5)
    resets = [event.step for event in remedies[1].events if event.kind == "reset"]
    assert len(resets) == 2
    (stop,) = remedies[0].events
    assert stop.step > resets[-1] + 2
    assert stop.data["verdict"] == BP


def test_only_what_it_answers():
    """Oracle: by hand."""
    detector = Scripted({1: BP, 2: BP, 5: "converged", 6: "converged"})
    remedy = PlateauStopping(detector, answers=["converged"])
    fit(Model(), [remedy])
    assert [event.step for event in remedy.events] == [7]


def test_dry_run():
    """Oracle: the fit goes on to its end."""
    remedy = PlateauStopping(Scripted({1: BP, 2: BP}), dry_run=True)
    assert fit(Model(), [remedy]).global_step == 12
    assert remedy.events[0].message == "Would stop the run."


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"patience": 0}, "patience is a whole number of at least 1, got 0"),
        ({"confidence": 1.5}, "confidence is a finite number of at least 0 and of at most 1, got 1.5"),
    ],
)
def test_wrong_arguments(options, message):
    """Said where they are given."""
    with pytest.raises(InputError, match=message):
        PlateauStopping(Scripted({}), **options)
