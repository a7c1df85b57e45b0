"""What one probe found, as metrics, as a table to read, and as tensors to save."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any

import torch
from torch import Tensor

from torchbp.gradients.stats import RESOLVED, LayerSummary
from torchbp.gradients.table import layer_table

COLUMNS = tuple(field.name for field in fields(LayerSummary) if field.name not in ("name", "kind", "source"))
"""The numbers of a layer, in the order of the columns of `History`."""


@dataclass(frozen=True)
class Measurement:
    """The layers of a model at one step; all from the same source."""

    step: int
    layers: tuple[LayerSummary, ...]

    @property
    def source(self) -> str:
        """Where the samples come from."""
        return self.layers[0].source

    def summary(self) -> dict[str, float]:
        """The lowest, middle and highest SNR of the quantum layers; empty where none has one."""
        ratios = [layer.snr for layer in self.layers if layer.kind == "quantum" and not math.isnan(layer.snr)]
        if not ratios:
            return {}
        prefix = f"torchbp/{self.source}/snr_"
        return {f"{prefix}{f.__name__}": f(ratios) for f in (min, statistics.median, max)}

    def metrics(self, decibel: bool = False) -> dict[str, float]:
        """Everything worth a curve: `summary` and four numbers of every layer, "torchbp_<number>/<source>/<layer>".

        Args:
            decibel: the layers' SNR as 20 log10(SNR), for dashboards without a logarithmic axis of their own.

        What was not measured (NaN) is left out.
        """
        found = self.summary()
        for layer in self.layers:
            numbers = {"median_abs": layer.median_abs, "variance": layer.variance, "p_value": layer.p_value}
            numbers |= {"snr_db": layer.snr_db} if decibel else {"snr": layer.snr}
            found |= {f"torchbp_{key}/{self.source}/{layer.name}": value for key, value in numbers.items()}
        return {tag: value for tag, value in found.items() if not math.isnan(value)}

    def report(self) -> str:
        """A Markdown table of the layers, quantum ones first, aligned so that it reads well in a terminal too."""
        head = f"Step {self.step}, source `{self.source}`; an SNR of {RESOLVED:g} or more is measurable."
        return f"{head}\n\n{layer_table(self.layers)}"


@dataclass(frozen=True)
class History:
    """Measurements as one array.

    Args:
        steps: (T,) int64.
        layers: name, kind and source of the L layers that appear in any of them.
        values: (T, L, len(COLUMNS)) float64, NaN where a layer was not measured.
    """

    steps: Tensor
    layers: tuple[tuple[str, str, str], ...]
    values: Tensor

    @classmethod
    def of(cls, measurements: Sequence[Measurement]) -> History:
        """The array of these measurements, in their order."""
        layers = _layers(measurements)
        row = {layer: index for index, layer in enumerate(layers)}
        values = torch.full((len(measurements), len(layers), len(COLUMNS)), math.nan, dtype=torch.float64)
        for t, measurement in enumerate(measurements):
            for layer in measurement.layers:
                numbers = asdict(layer)
                values[t, row[layer.name, layer.kind, layer.source]] = values.new_tensor([numbers[c] for c in COLUMNS])
        return cls(torch.tensor([m.step for m in measurements], dtype=torch.long), layers, values)

    def measurements(self) -> list[Measurement]:
        """Back to single measurements."""
        found = []
        for step, rows in zip(self.steps.tolist(), self.values.tolist(), strict=True):
            there = [(layer, row) for layer, row in zip(self.layers, rows, strict=True) if not math.isnan(row[0])]
            found.append(Measurement(step, tuple(_summary(layer, row) for layer, row in there)))
        return found

    def column(self, name: str) -> Tensor:
        """(T, L) one of the numbers in `COLUMNS`."""
        return self.values[..., COLUMNS.index(name)]

    def state_dict(self) -> dict[str, Any]:
        """Tensors and strings only."""
        return {"steps": self.steps, "layers": [list(layer) for layer in self.layers], "values": self.values}

    @classmethod
    def from_state_dict(cls, state: dict[str, Any]) -> History:
        """What `state_dict` saved."""
        return cls(state["steps"], tuple((n, k, s) for n, k, s in state["layers"]), state["values"])


def _layers(measurements: Iterable[Measurement]) -> tuple[tuple[str, str, str], ...]:
    return tuple({(layer.name, layer.kind, layer.source): None for m in measurements for layer in m.layers})


def _summary(layer: tuple[str, str, str], row: list[float]) -> LayerSummary:
    numbers: dict[str, Any] = dict(zip(COLUMNS, row, strict=True))
    counts = {key: int(numbers[key]) for key in ("n_weights", "n_samples")}
    return LayerSummary(**{"name": layer[0], "kind": layer[1], "source": layer[2]} | numbers | counts)
