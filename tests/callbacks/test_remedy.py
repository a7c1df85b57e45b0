"""What all remedies share: when they act, in which order, and what they leave behind."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import lightning.pytorch as pl
import pytest
import torch
from test_plateau_detector import eager, loader, simple, trainer_of

from torchbp.callbacks.remedy import Remedy
from torchbp.diagnosis.verdicts import ADVICE, Diagnosis, Verdict
from torchbp.errors import InputError, UnknownNameError


class Noting(Remedy):
    """Notes when it acts, `times` times at most."""

    def __init__(self, detector: Any, times: int = 100, rung: int = 50, **options: Any) -> None:
        super().__init__(detector, **{"answers": list(Verdict), **options})
        self.rung = rung  # type: ignore[misc]
        self.times, self.acted, self.restored, self.occupied = times, [], 0, False

    @property
    def available(self) -> bool:
        return len(self.acted) < self.times

    @property
    def busy(self) -> bool:
        return self.occupied

    def act(self, trainer: Any, module: Any, batch: Any, batch_idx: int, diagnosis: Diagnosis) -> None:
        self.acted.append(self.step)

    def restore(self, trainer: Any, module: Any) -> None:
        self.restored += 1


def fit(callbacks: list[Any], **options: Any) -> Any:
    """On a model that is stuck, since it has a learning rate of 0."""
    trainer = trainer_of(pl, callbacks, **{"max_epochs": 12} | options)
    trainer.fit(simple(pl, lr=0.0), loader())
    return trainer


def diagnosis(verdict: Verdict = Verdict.BARREN_PLATEAU) -> Diagnosis:
    return Diagnosis(verdict, 0.9, ("a number",), ADVICE[verdict])


def test_a_remedy_alone_runs_its_detector_and_acts_once_on_each_verdict():
    """Nobody else is in the list of callbacks."""
    remedy = Noting(eager())
    fit([remedy])
    assert len(remedy.acted) > 1
    assert remedy.detector.judged - len(remedy.acted) in (0, 1)  # the last step's verdict has no step after it
    assert all(b - a > 1 for a, b in zip(remedy.acted, remedy.acted[1:], strict=False))  # the detector began anew


@pytest.mark.parametrize("order", [[0, 1, 2], [2, 1, 0], [1, 2, 0]])
def test_the_lowest_rung_with_something_left_acts(order):
    """Whatever their order in the list of callbacks, and whether the detector is in it or not."""
    detector = eager()
    low, high = Noting(detector, times=1, rung=10), Noting(detector, rung=20, name="high")
    fit([[low, high, detector][i] for i in order])
    assert len(low.acted) == 1
    assert high.acted
    assert min(high.acted) > low.acted[0]


def test_others_wait_for_a_busy_one():
    """A trial is not to be disturbed."""
    detector = eager()
    low, high = Noting(detector, times=0, rung=10), Noting(detector, rung=20, name="high")
    low.occupied = True
    fit([low, high])
    assert high.acted == []


def test_it_acts_where_no_gradient_is_accumulated():
    """Four batches an epoch, two to a step: steps count the windows."""
    remedy = Noting(eager())
    starts = []
    remedy.act = lambda trainer, module, batch, batch_idx, diagnosis: starts.append((remedy.step, batch_idx))
    fit([remedy], accumulate_grad_batches=2, max_epochs=8)
    assert starts
    assert all(index % 2 == 0 and step % 2 == index // 2 for step, index in starts)


def test_a_dry_run_only_says_what_it_would_do():
    """And says it once as long as the verdict stays."""
    remedy = Noting(eager(), dry_run=True)
    fit([remedy])
    assert remedy.acted == []
    assert {event.kind for event in remedy.events} == {"dry_run"}
    said = [event.data["verdict"] for event in remedy.events]
    assert all(one != other for one, other in pairwise(said))
    assert remedy.events[0].message.startswith("Would act (Noting).")


def test_what_is_not_allowed_is_not_done():
    """`allowed` is one more condition on the diagnosis."""
    remedy = Noting(eager())
    remedy.allowed = lambda diagnosis: diagnosis.verdict is Verdict.DIVERGING
    fit([remedy])
    assert remedy.acted == []


def test_restored_after_an_exception():
    """Lightning calls `on_exception` alone then."""
    remedy = Noting(eager())
    module = simple(pl, lr=0.0)

    def broken(batch: Any, batch_idx: int) -> Any:
        raise RuntimeError("broken")

    module.training_step = broken
    trainer = trainer_of(pl, [remedy])
    with pytest.raises(RuntimeError, match="broken"), pytest.warns(UserWarning, match="can't"):
        trainer.fit(module, loader())
    assert remedy.restored


@pytest.mark.parametrize(
    ("answers", "error", "message"),
    [
        ([], InputError, "A remedy needs a verdict to act on"),
        (["baren_plateau"], UnknownNameError, "Unknown verdict 'baren_plateau'. Did you mean 'barren_plateau'?"),
    ],
)
def test_wrong_arguments(answers, error, message):
    """Said where they are given."""
    with pytest.raises(error, match=message):
        Noting(eager(), answers=answers)


def test_state_is_of_tensors_and_primitives(tmp_path):
    """It loads with weights_only=True, and is what it was."""
    remedy = Noting(eager())
    trainer = fit([remedy])
    trainer.save_checkpoint(tmp_path / "run.ckpt")
    state = torch.load(tmp_path / "run.ckpt", weights_only=True)["callbacks"]["torchbp.Noting"]
    other = Noting(eager())
    other._drives_detector = True
    other.load_state_dict(state)
    assert other.events == remedy.events
    assert other.detector.judged == remedy.detector.judged
