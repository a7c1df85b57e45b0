"""What a training run left in its folder: curves, events and settings, from TensorBoard's files or a CSV logger's."""

from __future__ import annotations

import csv
import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torchbp.callbacks.records.announcement import FILE_NAME
from torchbp.callbacks.records.measurement import Measurement
from torchbp.errors import InputError
from torchbp.gradients.stats import LayerSummary

Curve = list[tuple[int, float]]

_SETTINGS = ("config.yaml", "hparams.yaml")


@dataclass(frozen=True)
class RunFiles:
    """One run.

    Attributes:
        folder: where it was read from.
        curves: (step, value) of every scalar, by its tag.
        events: what was announced, in order.
        settings: texts of the run's settings files, by name.
    """

    folder: Path
    curves: dict[str, Curve]
    events: list[dict[str, Any]]
    settings: dict[str, str]

    @classmethod
    def read(cls, folder: Path) -> RunFiles:
        """All of a folder.

        Raises:
            InputError: there is no such folder, or no log in it.
        """
        if not folder.is_dir():
            raise InputError(f"There is no folder {folder}: give the folder of one run, such as runs/demo/version_0.")
        curves = _from_tensorboard(folder) | _from_csv(folder)
        path = folder / FILE_NAME
        events = []
        for line in path.read_text(encoding="utf-8").splitlines() if path.is_file() else []:
            try:
                events.append(json.loads(line))
            except ValueError:  # the last line of a run that was killed
                continue
        if not curves and not events:
            below = sorted({str(p.parent) for p in folder.glob("**/events.out.tfevents*")})
            hint = f" There are runs in {', '.join(below[:3])}." if below else ""
            raise InputError(f"{folder} holds neither TensorBoard files, nor metrics.csv, nor {FILE_NAME}.{hint}")
        settings = {name: (folder / name).read_text() for name in _SETTINGS if (folder / name).is_file()}
        return cls(folder, curves, events, settings)

    def measurements(self) -> list[Measurement]:
        """The monitor's measurements, with the SNR alone; of several sources the one with most layers."""
        by_source: dict[str, dict[int, list[LayerSummary]]] = {}
        for tag, curve in self.curves.items():
            number, _, rest = tag.partition("/")
            source, _, layer = rest.partition("/")
            if number not in ("torchbp_snr", "torchbp_snr_db") or not layer:
                continue
            for step, value in curve:
                snr = 10 ** (value / 20) if number.endswith("db") else value
                by_source.setdefault(source, {}).setdefault(step, []).append(_summary(layer, source, snr))
        if not by_source:
            return []
        steps = max(by_source.values(), key=lambda found: sum(map(len, found.values())))
        return [Measurement(step, tuple(steps[step])) for step in sorted(steps)]

    def losses(self) -> dict[str, Curve]:
        """Curves with "loss" in their tags; step by step rather than by epoch, where there are both."""
        found = {tag: c for tag, c in self.curves.items() if "loss" in tag and not tag.startswith("torchbp")}
        return {tag: c for tag, c in found.items() if not tag.endswith("_epoch") or f"{tag[:-6]}_step" not in found}


def _summary(layer: str, source: str, snr: float) -> LayerSummary:
    # A circuit's layers are named path/layer, classical modules by their path.
    nan = math.nan
    kind = "quantum" if "/" in layer else "classical"
    return LayerSummary(layer, kind, source, 0, 2, snr, nan, nan, nan, nan, nan)  # type: ignore[arg-type]


def _from_tensorboard(folder: Path) -> dict[str, Curve]:
    if not list(folder.glob("events.out.tfevents*")):
        return {}
    from tensorboard.backend.event_processing import event_accumulator  # type: ignore[import-untyped]

    files = event_accumulator.EventAccumulator(str(folder), size_guidance={"scalars": 0})
    files.Reload()
    return {tag: [(e.step, e.value) for e in files.Scalars(tag)] for tag in files.Tags()["scalars"]}


def _from_csv(folder: Path) -> dict[str, Curve]:
    path = folder / "metrics.csv"
    curves: dict[str, Curve] = {}
    if path.is_file():
        with path.open(newline="") as file:
            for row in csv.DictReader(file):
                for tag, text in row.items():
                    if text and tag not in ("step", "epoch"):
                        curves.setdefault(tag, []).append((int(float(row["step"])), float(text)))
    return curves
