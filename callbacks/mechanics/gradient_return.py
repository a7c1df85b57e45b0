"""When a search without gradients is no longer needed: the gradient can be told from its noise again."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Sequence
from typing import Any

from torchbp.callbacks.records.measurement import Measurement
from torchbp.errors import InputError

STREAK = 2
"""Measurements in a row that must say so."""

Resume = float | Callable[[Measurement], bool] | None


class GradientReturn:
    """Watches measurements for the return of the gradient of the quantum layers.

    Args:
        resume_when: the median SNR of the quantum layers from which the gradient is back, if it was below as the watch
            began; or a function `Measurement -> bool`; or None for never.

    Raises:
        InputError: `resume_when` is none of these.
    """

    def __init__(self, resume_when: Resume) -> None:
        number = isinstance(resume_when, int | float) and not isinstance(resume_when, bool) and resume_when > 0
        if not (number or resume_when is None or callable(resume_when)):
            raise InputError(
                "resume_when is an SNR above 0, a function (measurement) -> bool, or None for never; got "
                f"{resume_when!r}."
            )
        self.resume_when = resume_when
        self._before = math.nan
        self._streak = 0
        self._seen = -1  # step of the last measurement looked at

    def begin(self, history: Sequence[Measurement]) -> None:
        """Watch from here on."""
        self._before, self._streak, self._seen = median_snr(history), 0, _last_step(history)

    def has_come(self, history: Sequence[Measurement]) -> bool:
        """Whether it is back; looks at the latest measurement, and at each once."""
        if _last_step(history) == self._seen:
            return False
        self._seen = _last_step(history)
        if callable(self.resume_when):
            resolved = bool(self.resume_when(history[-1]))
        elif self.resume_when is None or self._before >= self.resume_when:
            resolved = False
        else:
            resolved = median_snr(history) >= self.resume_when
        self._streak = self._streak + 1 if resolved else 0
        return self._streak >= STREAK

    def state_dict(self) -> dict[str, Any]:
        return {"before": self._before, "streak": self._streak, "seen": self._seen}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self._before, self._streak, self._seen = state["before"], state["streak"], state["seen"]


def median_snr(history: Sequence[Measurement]) -> float:
    """Over the quantum layers at the latest measurement; NaN where there is none."""
    latest = history[-1].layers if history else ()
    ratios = [layer.snr for layer in latest if layer.kind == "quantum" and not math.isnan(layer.snr)]
    return statistics.median(ratios) if ratios else math.nan


def _last_step(history: Sequence[Measurement]) -> int:
    return history[-1].step if history else -1
