"""Measurements in every logger of a trainer, each in its own way."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from torchbp.callbacks.records.measurement import Measurement
from torchbp.callbacks.records.tensorboard_log import TensorBoardLog, is_tensorboard
from torchbp.gradients.stats import GradientStatistics


class Boards:
    """The loggers of one fit: TensorBoard gets charts, tables and torchbp's own page, all others the numbers."""

    def __init__(self) -> None:
        self._of: dict[int, TensorBoardLog] = {}

    def log(
        self,
        trainer: Any,
        measurement: Measurement,
        shots: Mapping[str, float] | None,
        weights: Mapping[str, GradientStatistics] | None,
    ) -> None:
        """One more measurement; see `TensorBoardLog.log`."""
        for logger in _writing(trainer):
            if is_tensorboard(logger):
                self._board(logger).log(measurement, shots, weights)
            else:
                logger.log_metrics(measurement.metrics(), measurement.step)

    def report(self, trainer: Any, history: Sequence[Measurement], heatmap: bool) -> None:
        """All of them, for TensorBoard to show."""
        for logger in _writing(trainer) if history else ():
            if is_tensorboard(logger):
                self._board(logger).log_report(history, heatmap)

    def _board(self, logger: Any) -> TensorBoardLog:
        return self._of.setdefault(id(logger), TensorBoardLog(logger))


def _writing(trainer: Any) -> Sequence[Any]:
    """The loggers, on the process that writes."""
    return trainer.loggers if trainer.is_global_zero and not trainer.fast_dev_run else ()
