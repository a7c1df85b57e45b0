"""What torchbp leaves in TensorBoard's event files for its own page: tags, and the manifests that explain them.

Three kinds of tensors, all of the plugin `torchbp`. Each tag's first value carries a manifest, JSON in the summary's
metadata:

| tag | tensor | manifest |
|---|---|---|
| `torchbp/<source>/stats` | float32 (layers, columns), one a measurement | `Manifest` |
| `torchbp/<source>/weights/<layer number>` | float32 (weights, 2), mean gradient and standard error | `Manifest` |
| `torchbp/events` | strings, the events of one step as JSON objects | version |

A row that was not measured is NaN.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

PLUGIN_NAME = "torchbp"
VERSION = 1
EVENTS_TAG = "torchbp/events"
WEIGHT_COLUMNS = ("mean", "standard_error")


def stats_tag(source: str) -> str:
    """Of the layers' numbers, measured from this source."""
    return f"torchbp/{source}/stats"


def weights_tag(source: str, layer: int) -> str:
    """Of the weights of the layer in this row of the stats."""
    return f"torchbp/{source}/weights/{layer}"


@dataclass(frozen=True)
class Manifest:
    """What the rows and columns of a tensor are.

    Attributes:
        source: where the samples of the gradient come from.
        layers: names of the rows; of a tensor of weights, the one layer they belong to.
        columns: names of the columns.
        kinds: "quantum" or "classical" for each layer.
        n_weights: weights of each layer.
        thresholds: by the column's name, the value from which on it is good.
        version: of this format.
    """

    source: str
    layers: tuple[str, ...]
    columns: tuple[str, ...]
    kinds: tuple[str, ...] = ()
    n_weights: tuple[int, ...] = ()
    thresholds: Mapping[str, float] = field(default_factory=dict)
    version: int = VERSION

    def encode(self) -> bytes:
        """For the metadata of a summary."""
        return json.dumps(vars(self)).encode()

    @classmethod
    def decode(cls, content: bytes) -> Manifest | None:
        """None for what is not a manifest of this version: another program's, a later version's, or damaged."""
        try:
            found = json.loads(content)
            layers, columns = _names(found["layers"]), _names(found["columns"])
            source, version = str(found["source"]), int(found["version"])
            kinds = _names(found.get("kinds", ()))
            n_weights = tuple(int(n) for n in found.get("n_weights", ()))
            thresholds = {str(name): float(value) for name, value in dict(found.get("thresholds", {})).items()}
            if min(n_weights, default=0) < 0:
                return None
        except (ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError):
            return None
        kinds = kinds if len(kinds) == len(layers) else ("quantum",) * len(layers)
        n_weights = n_weights if len(n_weights) == len(layers) else ()
        if version > VERSION or not columns:
            return None
        return cls(source, layers, columns, kinds, n_weights, thresholds, version)


def table_summary(tag: str, table: np.ndarray, manifest: Manifest | None = None) -> Any:
    """A `Summary` with one float32 tensor; the first of a tag in every event file needs its manifest."""
    from tensorboard.compat.proto.tensor_pb2 import TensorProto  # type: ignore[import-untyped]

    array = np.ascontiguousarray(table, dtype="<f4")
    tensor = TensorProto(dtype="DT_FLOAT", tensor_content=array.tobytes(), tensor_shape=_shape(array.shape))
    return _summary(tag, tensor, None if manifest is None else manifest.encode())


def events_summary(events: Sequence[str]) -> Any:
    """A `Summary` with all events of one step: of several values at one step a reader may keep the last only."""
    from tensorboard.compat.proto.tensor_pb2 import TensorProto

    strings = [event.encode() for event in events]
    tensor = TensorProto(dtype="DT_STRING", string_val=strings, tensor_shape=_shape((len(strings),)))
    return _summary(EVENTS_TAG, tensor, json.dumps({"version": VERSION}).encode())


def _summary(tag: str, tensor: Any, content: bytes | None) -> Any:
    from tensorboard.compat.proto.summary_pb2 import (  # type: ignore[import-untyped]
        DATA_CLASS_TENSOR,
        Summary,
        SummaryMetadata,
    )

    value = Summary.Value(tag=tag, tensor=tensor)
    if content is not None:
        data = SummaryMetadata.PluginData(plugin_name=PLUGIN_NAME, content=content)
        value.metadata.CopyFrom(SummaryMetadata(plugin_data=data, data_class=DATA_CLASS_TENSOR))
    return Summary(value=[value])


def _shape(sizes: Sequence[int]) -> Any:
    from tensorboard.compat.proto.tensor_shape_pb2 import TensorShapeProto  # type: ignore[import-untyped]

    return TensorShapeProto(dim=[TensorShapeProto.Dim(size=n) for n in sizes])


def _names(values: Any) -> tuple[str, ...]:
    if not isinstance(values, list | tuple):
        raise TypeError(values)
    return tuple(str(value) for value in values)
