"""What TensorBoard shows of the gradients beyond curves: a chart, a table, a picture, and data for a plugin."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np

from torchbp.callbacks.records.events import Event
from torchbp.callbacks.records.heatmap import snr_image
from torchbp.callbacks.records.measurement import COLUMNS, History, Measurement
from torchbp.gradients.stats import RESOLVED, GradientStatistics
from torchbp.tensorboard.schema import (
    WEIGHT_COLUMNS,
    Manifest,
    events_summary,
    stats_tag,
    table_summary,
    weights_tag,
)


def is_tensorboard(logger: Any) -> bool:
    """Whether this is the TensorBoardLogger of either Lightning package, or a child of it."""
    return any(cls.__name__ == "TensorBoardLogger" for cls in type(logger).__mro__)


def log_event(logger: Any, event: Event) -> None:
    """The event as text for TensorBoard's Text page, and as data for torchbp's own page.

    All events of one step are written together, again with each new one: of several values at one step TensorBoard's
    data server keeps the last. For the same reason the steps they are filed under never decrease, whatever steps they
    tell of.
    """
    experiment = logger.experiment
    step, earlier = _latest_events.get(experiment, (event.step, ()))
    events = (*earlier, event) if event.step <= step else (event,)
    step = max(step, event.step)
    _latest_events[experiment] = step, events
    text = "\n\n".join(f"**{event.kind}** {event.message}" for event in events)
    experiment.add_text("torchbp/events", text, step)
    writer = experiment._get_file_writer()  # torch's SummaryWriter can't write a plugin's tensors
    writer.add_summary(events_summary([json.dumps(asdict(event), default=str) for event in events]), step)


_latest_events: WeakKeyDictionary[Any, tuple[int, tuple[Event, ...]]] = WeakKeyDictionary()
"""For each open log, the last step that has events, and these."""


class TensorBoardLog:
    """Writes measurements of one source into the run of one TensorBoardLogger, through the logger's own writer."""

    def __init__(self, logger: Any) -> None:
        self.logger = logger
        self.layers: list[tuple[str, str]] | None = None
        self._with_weights: set[str] = set()

    def log(
        self,
        measurement: Measurement,
        shots_to_resolve: Mapping[str, float] | None = None,
        weights: Mapping[str, GradientStatistics] | None = None,
    ) -> None:
        """The curves, and the same numbers as one tensor (layers, columns) for torchbp's own page.

        The first call also writes the layout of the Custom Scalars page, and with the tensor its manifest. Rows keep
        their places: a layer that appears later is not in the tensor.

        Args:
            measurement: numbers of every layer.
            shots_to_resolve: one more number of some layers; all calls have it, or none.
            weights: statistics of the layers whose single weights are to be shown too.
        """
        self.logger.log_metrics(measurement.metrics(decibel=True), measurement.step)
        manifest = None
        if self.layers is None:
            self.layers = [(layer.name, layer.kind) for layer in measurement.layers]
            manifest = self._manifest(measurement, () if shots_to_resolve is None else ("shots_to_resolve",))
            self.logger.experiment.add_custom_scalars(_layout(measurement.source))
        history = History.of([measurement])
        rows = {(name, kind): index for index, (name, kind, _) in enumerate(history.layers)}
        table = np.full((len(self.layers), len(COLUMNS)), np.nan, dtype="<f4")
        for place, layer in enumerate(self.layers):
            if layer in rows:
                table[place] = history.values[0, rows[layer]].numpy()
        if shots_to_resolve is not None:
            extra = [shots_to_resolve.get(name, np.nan) for name, _ in self.layers]
            table = np.column_stack([table, extra])
        writer = self.logger.experiment._get_file_writer()  # torch's SummaryWriter can't write a plugin's tensors
        writer.add_summary(table_summary(stats_tag(measurement.source), table, manifest), measurement.step)
        for place, (name, kind) in enumerate(self.layers):
            if weights is not None and kind == "quantum" and name in weights:
                writer.add_summary(self._weights(measurement.source, place, name, weights[name]), measurement.step)

    def log_report(self, measurements: Sequence[Measurement], heatmap: bool) -> None:
        """The latest measurement as a table, and all of them as a picture."""
        last = measurements[-1]
        experiment = self.logger.experiment
        experiment.add_text(f"torchbp/{last.source}/report", last.report(), last.step)
        if heatmap:
            image = snr_image(measurements)
            experiment.add_image(f"torchbp/{last.source}/snr_heatmap", image, last.step, dataformats="HWC")

    def _manifest(self, measurement: Measurement, more: tuple[str, ...]) -> Manifest:
        layers = measurement.layers
        return Manifest(
            source=measurement.source,
            layers=tuple(layer.name for layer in layers),
            columns=COLUMNS + more,
            kinds=tuple(layer.kind for layer in layers),
            n_weights=tuple(layer.n_weights for layer in layers),
            thresholds={"snr": RESOLVED},
        )

    def _weights(self, source: str, place: int, name: str, statistics: GradientStatistics) -> Any:
        tag, manifest = weights_tag(source, place), None
        if tag not in self._with_weights:
            self._with_weights.add(tag)
            manifest = Manifest(source, (name,), WEIGHT_COLUMNS, n_weights=(len(statistics.mean),))
        numbers = np.column_stack([statistics.mean.cpu().numpy(), statistics.standard_error.cpu().numpy()])
        return table_summary(tag, numbers, manifest)


def _layout(source: str) -> dict[str, dict[str, list[Any]]]:
    tags = [f"torchbp/{source}/snr_{name}" for name in ("median", "min", "max")]  # line, lower and upper border
    return {"torchbp": {f"SNR of the quantum layers, median and range ({source})": ["Margin", tags]}}
