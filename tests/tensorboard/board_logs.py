"""Event files for the tests of TensorBoard's page, written without torch and Lightning, and TensorBoard itself."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any, TypeVar

import numpy as np
from processes import PATIENCE
from tensorboard.compat.proto.event_pb2 import Event
from tensorboard.compat.proto.summary_pb2 import Summary
from tensorboard.summary.writer.event_file_writer import EventFileWriter

from torchbp.tensorboard.schema import (
    WEIGHT_COLUMNS,
    Manifest,
    events_summary,
    stats_tag,
    table_summary,
    weights_tag,
)

T = TypeVar("T")
COLUMNS = ("n_weights", "n_samples", "snr", "median_abs", "variance", "signal", "resolved", "p_value")
SOURCE = "per_sample"


class RunWriter:
    """One run's event file."""

    def __init__(self, folder: Path, layers: Sequence[str], kinds: Sequence[str] = (), suffix: str = "") -> None:
        self.layers, self.kinds = tuple(layers), tuple(kinds) or ("quantum",) * len(layers)
        self._file = EventFileWriter(str(folder), filename_suffix=suffix)
        self._told: set[str] = set()

    def stats(self, step: int, snr: Sequence[float]) -> None:
        """A measurement with these SNRs; the other numbers follow from them."""
        ratio = np.array(snr, dtype=float)
        table = np.stack([ratio] * len(COLUMNS), axis=1)
        table[:, [0, 1]] = 4, 32
        table[:, 3:5] = ratio[:, None] * [1e-3, 1e-6]
        manifest = Manifest(SOURCE, self.layers, COLUMNS, self.kinds, (4,) * len(self.layers), {"snr": 3.0})
        self.add(step, table_summary(stats_tag(SOURCE), table, self._once("stats", manifest)))

    def weights(self, step: int, layer: int, mean: Sequence[float], error: float = 1.0) -> None:
        """The gradients of a layer's weights."""
        manifest = Manifest(SOURCE, (self.layers[layer],), WEIGHT_COLUMNS, n_weights=(len(mean),))
        table = np.stack([mean, np.full(len(mean), error)], axis=1)
        self.add(step, table_summary(weights_tag(SOURCE, layer), table, self._once(f"weights{layer}", manifest)))

    def events(self, step: int, *events: tuple[str, str, dict[str, Any]]) -> None:
        """Everything that happened at a step: kind, message, data."""
        texts = [json.dumps({"step": step, "kind": k, "message": m, "data": d}) for k, m, d in events]
        self.add(step, events_summary(texts))

    def scalar(self, step: int, tag: str, value: float) -> None:
        """A point of a curve."""
        self.add(step, Summary(value=[Summary.Value(tag=tag, simple_value=value)]))

    def add(self, step: int, summary: Any) -> None:
        self._file.add_event(Event(step=step, wall_time=time.time(), summary=summary))

    def flush(self) -> None:
        self._file.flush()

    def close(self) -> None:
        self._file.close()

    def _once(self, key: str, manifest: Manifest) -> Manifest | None:
        first = key not in self._told
        self._told.add(key)
        return manifest if first else None


def verdict(name: str, confidence: float = 0.9, layers: Sequence[str] = ()) -> tuple[str, str, dict[str, Any]]:
    """A verdict as `PlateauDetector` announces it."""
    evidence = ["the output varies by 0.0003 of its scale", "random weights do no better"]
    data = {"verdict": name, "confidence": confidence, "evidence": evidence, "advice": "Do this.", "layers": [*layers]}
    return "verdict", f"{name} (confidence {confidence})", data


@contextmanager
def served(logs: Path, *options: str, **environment: str) -> Iterator[str]:
    """TensorBoard on a log directory, in a process of its own; its address, without a slash at the end."""
    command = [sys.executable, "-m", "tensorboard.main", f"--logdir={logs}", "--port=0", "--host=127.0.0.1"]
    with TemporaryFile("w+") as said:
        process = subprocess.Popen(
            [*command, "--reload_interval=1", *options], stderr=said, text=True, env=os.environ | environment
        )

        def address() -> str:
            said.seek(0)
            text = said.read()
            assert process.poll() is None, text
            found = re.search(r"TensorBoard \S+ at (http\S+?)/? \(", text)
            return found[1] if found else ""

        try:
            yield until(address)
        finally:
            process.terminate()
            process.wait()


def get(address: str) -> Any:
    """What an address answers, JSON decoded."""
    with urllib.request.urlopen(address, timeout=20) as answer:
        content = answer.read()
        return json.loads(content) if "json" in answer.headers["Content-Type"] else content


def unpack(content: bytes) -> tuple[dict[str, Any], np.ndarray, np.ndarray]:
    """Head, steps (T,) and values (T, rows) of a packed table."""
    line, _, body = content.partition(b"\n")
    head = json.loads(line)
    steps = np.frombuffer(body[: 8 * head["steps"]], "<f8")
    return head, steps, np.frombuffer(body[8 * head["steps"] :], "<f4").reshape(head["steps"], head["rows"])


def until(found: Callable[[], T], limit: float = PATIENCE) -> T:
    """The first true value; TensorBoard reads its files in its own time."""
    end = time.monotonic() + limit
    while True:
        try:
            value = found()
        except urllib.error.URLError:
            value = None  # type: ignore[assignment]
        if value or time.monotonic() > end:
            assert value
            return value
        time.sleep(0.1)
