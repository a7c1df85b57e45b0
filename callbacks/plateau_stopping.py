"""`PlateauStopping`: ends a run that will not get anywhere, with the reason."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, ClassVar

from torchbp.arguments import checked
from torchbp.arguments.kinds import anything, each
from torchbp.callbacks.plateau_detector import PlateauDetector
from torchbp.callbacks.remedy import Remedy, a_detector
from torchbp.diagnosis.verdicts import Diagnosis, Verdict

HOPELESS = (
    Verdict.BARREN_PLATEAU,
    Verdict.NOISE_INDUCED,
    Verdict.SHOT_LIMITED,
    Verdict.LOCAL_MINIMUM,
    Verdict.CONVERGED,
    Verdict.DIVERGING,
)


class PlateauStopping(Remedy):
    """Stops the training when the detector keeps to a verdict with which going on is no use.

    It stands on the last rung: as long as another remedy of the same detector answers the verdict and has something
    left to do, that one acts. The weights stay those of the last step; `ModelCheckpoint` keeps the best ones.

    Args:
        detector: gives the verdicts, see `Remedy`.
        answers: verdicts to stop at: by default all that mean that the loss does not fall, and diverging. Leave out
            what is to be waited for.
        patience: verdicts in a row that must agree, at least 1. One investigation may err; diverging needs no second.
        confidence: verdicts that are less sure don't count.
        dry_run, name: see `Remedy`.

    Attributes:
        reason: the verdict it stopped at, None as long as it has not.

    Raises:
        InputError: patience below 1, or a confidence outside of 0 to 1.
        UnknownNameError: no such verdict.

    What it can't know: whether the run would have got off the plateau by itself, which on a noiseless simulator with
    few wires it may.
    """

    rung: ClassVar[int] = 90

    @checked(detector=a_detector, answers=each(anything))
    def __init__(
        self,
        detector: PlateauDetector | None = None,
        *,
        answers: Iterable[Verdict | str] = HOPELESS,
        patience: int = 2,
        confidence: float = 0.6,
        dry_run: bool = False,
        name: str = "",
    ) -> None:
        super().__init__(detector, answers=answers, dry_run=dry_run, name=name)
        self.patience, self.confidence = patience, confidence
        self.reason: str | None = None
        self._same: tuple[str, int] = ("", 0)  # the latest verdict, and how often it was given in a row

    def notice(self, diagnosis: Diagnosis) -> None:
        verdict, count = self._same
        sure = diagnosis.confidence >= self.confidence
        same = diagnosis.verdict.value == verdict
        self._same = diagnosis.verdict.value, (count if same else 0) + sure

    def suits(self, trainer: Any, module: Any, batch: Any, batch_idx: int, diagnosis: Diagnosis) -> bool:
        needed = 1 if diagnosis.verdict is Verdict.DIVERGING else self.patience
        return self._same[1] >= needed

    def describe(self, diagnosis: Diagnosis) -> str:
        return "stop the run"

    def act(self, trainer: Any, module: Any, batch: Any, batch_idx: int, diagnosis: Diagnosis) -> None:
        self.reason = str(diagnosis)
        trainer.should_stop = True
        verdict = diagnosis.verdict.value.replace("_", " ")
        again = f", {self._same[1]} times in a row" if self._same[1] > 1 else ""
        text = f"Stopped: the verdict was {verdict}{again}."
        self.tell(trainer, "stop", text, confidence=diagnosis.confidence, verdicts=self._same[1], reason=self.reason)

    def state_dict(self) -> dict[str, Any]:
        return super().state_dict() | {"reason": self.reason, "same": list(self._same)}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        super().load_state_dict(state_dict)
        self.reason = state_dict["reason"]
        verdict, count = state_dict["same"]
        self._same = verdict, count
