"""Where measurements go: to every logger of a trainer, to TensorBoard's page with all there is."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from torchbp.callbacks.records.measurement import Measurement
from torchbp.gradients.stats import GradientStatistics

if TYPE_CHECKING:
    from torchbp.callbacks.records.tensorboard_log import TensorBoardLog


class Loggers:
    """Those of one fit."""

    def __init__(self) -> None:
        self._boards: dict[int, TensorBoardLog] = {}

    def log(
        self,
        loggers: Iterable[Any],
        measurement: Measurement,
        shots: dict[str, float] | None,
        statistics: Mapping[str, GradientStatistics] | None,
    ) -> None:
        """Write a measurement.

        Args:
            shots: to resolve each layer, see `needed_shots`; for TensorBoard.
            statistics: of each layer, weight by weight; for TensorBoard.
        """
        for logger in loggers:
            board = self._board(logger)
            if board is None:
                logger.log_metrics(measurement.metrics(), measurement.step)
            else:
                board.log(measurement, shots, statistics)

    def report(self, loggers: Iterable[Any], history: Sequence[Measurement], draw_heatmap: bool) -> None:
        """Write what sums the run up, for TensorBoard."""
        for logger in loggers:
            if (board := self._board(logger)) is not None:
                board.log_report(history, draw_heatmap)

    def _board(self, logger: Any) -> TensorBoardLog | None:
        """The TensorBoard writer for this logger, None if it is another kind."""
        from torchbp.callbacks.records.tensorboard_log import TensorBoardLog, is_tensorboard

        if not is_tensorboard(logger):
            return None
        return self._boards.setdefault(id(logger), TensorBoardLog(logger))
