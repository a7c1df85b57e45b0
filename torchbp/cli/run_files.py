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
from torchbp.hardware.jobs.redaction import redact, redact_all

Curve = list[tuple[int, float]]

_SETTINGS = ("config.yaml", "hparams.yaml")
_EVENT = {"step": int, "kind": str, "message": str, "data": dict}


@dataclass(frozen=True)
class RunFiles:
    """One run.

    Attributes:
        folder: where it was read from.
        curves: (step, value) of every scalar, by its tag.
        events: what was announced, in order, without secrets.
        settings: texts of the run's settings files, by name, without secrets.
    """

    folder: Path
    curves: dict[str, Curve]
    events: list[dict[str, Any]]
    settings: dict[str, str]

    @classmethod
    def read(cls, folder: Path) -> RunFiles:
        """All of a folder.

        Raises:
            InputError: there is no such folder, no log in it, or one that can't be read.
        """
        if not folder.is_dir():
            raise InputError(f"There is no folder {folder}: give the folder of one run, such as runs/demo/version_0.")
        curves = _from_tensorboard(folder) | _from_csv(folder)
        events = _events(folder / FILE_NAME)
        if not curves and not events:
            below = sorted({str(p.parent) for p in folder.glob("**/events.out.tfevents*")})
            hint = f" There are runs in {', '.join(below[:3])}." if below else ""
            raise InputError(f"{folder} holds neither TensorBoard files, nor metrics.csv, nor {FILE_NAME}.{hint}")
        settings = {name: redact(_text(folder / name)) for name in _SETTINGS if (folder / name).is_file()}
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


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except ValueError as error:
        raise InputError(f"{path} is no text ({error}): move it away, or restore it from a copy.") from None


def _events(path: Path) -> list[dict[str, Any]]:
    """What stands in a file of events; the last line of a run that was killed is none, if it was cut off."""
    if not path.is_file():
        return []
    text, events = _text(path), []
    for number, line in enumerate(text.splitlines(), 1):
        try:
            event = json.loads(line)
        except (ValueError, RecursionError):
            if number == text.count("\n") + 1:
                break
            event = None
        if not isinstance(event, dict) or not all(isinstance(event.get(key), kind) for key, kind in _EVENT.items()):
            wanted = ", ".join(f"{key!r}: {kind.__name__}" for key, kind in _EVENT.items())
            raise InputError(f"Line {number} of {path} is no event ({{{wanted}}}): mend it, or take it out.")
        events.append(redact_all(event))
    return events


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
            try:
                for row in csv.DictReader(file):
                    for tag, text in row.items():
                        if text and tag not in ("step", "epoch"):
                            curves.setdefault(tag, []).append((int(float(row["step"])), float(text)))
            except (ValueError, TypeError, LookupError, OverflowError, csv.Error) as error:
                raise InputError(
                    f"{path} is no table of a CSV logger ({type(error).__name__}: {error}): restore it from a copy, or "
                    "move it away."
                ) from None
    return curves
