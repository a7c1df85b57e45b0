"""What TensorBoard shows of the gradients beyond curves: a chart, a table, a picture, and data for a plugin."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import numpy as np
from tensorboard.compat.proto.summary_pb2 import DATA_CLASS_TENSOR, Summary, SummaryMetadata  # type: ignore[import-untyped]
from tensorboard.compat.proto.tensor_pb2 import TensorProto  # type: ignore[import-untyped]
from tensorboard.compat.proto.tensor_shape_pb2 import TensorShapeProto  # type: ignore[import-untyped]

from torchbp.callbacks.heatmap import snr_image
from torchbp.callbacks.measurement import COLUMNS, History, Measurement
from torchbp.gradients.stats import RESOLVED

PLUGIN_NAME = "torchbp"
VERSION = 1


def is_tensorboard(logger: Any) -> bool:
    """Whether this is the TensorBoardLogger of either Lightning package, or a child of it."""
    return any(cls.__name__ == "TensorBoardLogger" for cls in type(logger).__mro__)


class TensorBoardLog:
    """Writes measurements of one source into the run of one TensorBoardLogger, through the logger's own writer."""

    def __init__(self, logger: Any) -> None:
        self.logger = logger
        self.layers: list[tuple[str, str]] | None = None

    def log(self, measurement: Measurement) -> None:
        """The curves, and the same numbers as one tensor (layers, columns) for torchbp's TensorBoard plugin.

        The first call also writes the layout of the Custom Scalars page, and with the tensor a manifest: version,
        source, names and kinds of its rows, names of its columns, threshold. Rows keep their places: a layer that
        appears later is not in the tensor.
        """
        self.logger.log_metrics(measurement.metrics(decibel=True), measurement.step)
        manifest = None
        if self.layers is None:
            self.layers = [(layer.name, layer.kind) for layer in measurement.layers]
            manifest = self._manifest(measurement.source)
            self.logger.experiment.add_custom_scalars(_layout(measurement.source))
        history = History.of([measurement])
        rows = {(name, kind): index for index, (name, kind, _) in enumerate(history.layers)}
        table = np.full((len(self.layers), len(COLUMNS)), np.nan, dtype="<f4")
        for place, layer in enumerate(self.layers):
            if layer in rows:
                table[place] = history.values[0, rows[layer]].numpy()
        writer = self.logger.experiment._get_file_writer()  # torch's SummaryWriter can't write a plugin's tensors
        writer.add_summary(_summary(f"torchbp/{measurement.source}/stats", table, manifest), measurement.step)

    def log_report(self, measurements: Sequence[Measurement], heatmap: bool) -> None:
        """The latest measurement as a table, and all of them as a picture."""
        last = measurements[-1]
        experiment = self.logger.experiment
        experiment.add_text(f"torchbp/{last.source}/report", last.report(), last.step)
        if heatmap:
            image = snr_image(measurements)
            experiment.add_image(f"torchbp/{last.source}/snr_heatmap", image, last.step, dataformats="HWC")

    def _manifest(self, source: str) -> dict[str, Any]:
        names = [name for name, _ in self.layers or ()]
        kinds = [kind for _, kind in self.layers or ()]
        columns = list(COLUMNS)
        return {"version": VERSION, "source": source, "layers": names, "kinds": kinds, "columns": columns} | {
            "thresholds": {"snr": RESOLVED}
        }


def _layout(source: str) -> dict[str, dict[str, list[Any]]]:
    tags = [f"torchbp/{source}/snr_{name}" for name in ("median", "min", "max")]  # line, lower and upper border
    return {"torchbp": {f"SNR of the quantum layers, median and range ({source})": ["Margin", tags]}}


def _summary(tag: str, table: np.ndarray, manifest: dict[str, Any] | None) -> Summary:
    shape = TensorShapeProto(dim=[TensorShapeProto.Dim(size=n) for n in table.shape])
    tensor = TensorProto(dtype="DT_FLOAT", tensor_content=table.tobytes(), tensor_shape=shape)
    value = Summary.Value(tag=tag, tensor=tensor)
    if manifest is not None:
        data = SummaryMetadata.PluginData(plugin_name=PLUGIN_NAME, content=json.dumps(manifest).encode())
        value.metadata.CopyFrom(SummaryMetadata(plugin_data=data, data_class=DATA_CLASS_TENSOR))
    return Summary(value=[value])
