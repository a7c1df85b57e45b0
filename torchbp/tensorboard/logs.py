"""Reads torchbp's data through TensorBoard's data provider, whatever the files hold."""

from __future__ import annotations

import json
import threading
from collections import OrderedDict
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from tensorboard import errors  # type: ignore[import-untyped]
from tensorboard.data import provider  # type: ignore[import-untyped]

from torchbp.tensorboard.schema import EVENTS_TAG, PLUGIN_NAME, WEIGHT_COLUMNS, Manifest, stats_tag, weights_tag
from torchbp.tensorboard.table import Table

ALL = 10**6
"""Points to ask a data provider for: it has no word for "all"."""
CACHE_BYTES = 256 * 2**20


class Logs:
    """The runs of one log directory.

    Every method takes the request's context and experiment first, as data providers do. Tables are kept in memory
    until their run has gone on, so that one quantity after the other can be looked at.

    Raises:
        NotFoundError: no such run, source, layer or quantity in these logs.
    """

    def __init__(self, data_provider: Any) -> None:
        self._provider = data_provider
        self._tables: OrderedDict[tuple[Any, ...], Table] = OrderedDict()
        self._lock = threading.Lock()

    def runs(self, context: Any, experiment: str) -> list[dict[str, Any]]:
        """Every run with data of torchbp: name, last step, time of the last value, sources, and latest verdict."""
        index = self._index(context, experiment)
        events = self._events(context, experiment, [run for run, tags in index.items() if EVENTS_TAG in tags])
        found = []
        for run, tags in index.items():
            verdicts = [event for event in events.get(run, []) if event["kind"] == "verdict"]
            found.append(
                {
                    "run": run,
                    "last_step": max(series.max_step for series in tags.values()),
                    "time": max(series.max_wall_time for series in tags.values()),
                    "sources": list(_manifests(tags)),
                    "verdict": verdicts[-1]["data"].get("verdict") if verdicts else None,
                }
            )
        return sorted(found, key=lambda run: (-run["time"], run["run"]))

    def others(self, context: Any, experiment: str) -> int:
        """How many runs there are that hold scalars, with data of torchbp or without."""
        listed = self._provider.list_scalars(context, experiment_id=experiment, plugin_name="scalars")
        return len(listed or {})

    def run(self, context: Any, experiment: str, run: str) -> dict[str, Any]:
        """What the run's tables hold, its events in the order of their steps, and the curves that could be a loss."""
        tags = self._tags(context, experiment, run)
        sources = {}
        for source, manifest in _manifests(tags).items():
            number = range(len(manifest.layers))
            weights = [manifest.layers[n] for n in number if weights_tag(source, n) in tags]
            sources[source] = vars(manifest) | {"per_weight": weights}
        listed = self._provider.list_scalars(context, experiment_id=experiment, plugin_name="scalars") or {}
        curves = [tag for tag in sorted(listed.get(run, {})) if not tag.startswith("torchbp")]
        events = self._events(context, experiment, [run]).get(run, [])
        return {"run": run, "sources": sources, "events": events, "curves": curves}

    def stats(self, context: Any, experiment: str, run: str, source: str, column: str) -> tuple[Table, np.ndarray]:
        """A table of the run, and one of its columns, (T, layers)."""
        tags = self._tags(context, experiment, run)
        manifest = _known("source", source, _manifests(tags), run)
        shape = (len(manifest.layers), len(manifest.columns))
        table = self._table(context, experiment, run, stats_tag(source), tags, shape)
        columns = dict(zip(manifest.columns, range(len(manifest.columns)), strict=True))
        return table, table.values[:, :, _known("quantity", column, columns, run)]

    def weights(
        self, context: Any, experiment: str, run: str, source: str, layer: str, column: str
    ) -> tuple[Table, np.ndarray]:
        """The weights of one layer: SNR, |mean|, "mean" or "standard_error" of their gradients, (T, weights)."""
        tags = self._tags(context, experiment, run)
        manifest = _known("source", source, _manifests(tags), run)
        numbered = {name: weights_tag(source, number) for number, name in enumerate(manifest.layers)}
        logged = {name: tag for name, tag in numbered.items() if tag in tags}
        tag = _known("layer with single weights", layer, logged, run)
        own = Manifest.decode(tags[tag].plugin_content)
        if own is None or not own.n_weights:
            raise errors.NotFoundError(f"The description of the weights of {layer!r} in run {run!r} is damaged.")
        table = self._table(context, experiment, run, tag, tags, (own.n_weights[0], len(WEIGHT_COLUMNS)))
        of: Callable[[np.ndarray, np.ndarray], np.ndarray] = _known("quantity", column, _WEIGHT_NUMBERS, run)
        with np.errstate(divide="ignore", invalid="ignore"):
            return table, of(table.values[:, :, 0], table.values[:, :, 1])

    def curve(self, context: Any, experiment: str, run: str, tag: str) -> Table:
        """A scalar of the run, (T, 1, 1)."""
        chosen = provider.RunTagFilter(runs=[run], tags=[tag])
        options = {"experiment_id": experiment, "plugin_name": "scalars", "downsample": ALL}
        read = self._provider.read_scalars(context, run_tag_filter=chosen, **options) or {}
        series = _known("curve", tag, read.get(run, {}), run)
        return Table.of(((d.step, np.full((1, 1), d.value, dtype=np.float32)) for d in series), (1, 1))

    def _index(self, context: Any, experiment: str) -> Mapping[str, Mapping[str, Any]]:
        return self._provider.list_tensors(context, experiment_id=experiment, plugin_name=PLUGIN_NAME) or {}

    def _tags(self, context: Any, experiment: str, run: str) -> Mapping[str, Any]:
        index = self._index(context, experiment)
        if run not in index:
            raise errors.NotFoundError(f"There is no data of torchbp in run {run!r}.")
        return index[run]

    def _read(self, context: Any, experiment: str, runs: list[str], tag: str) -> dict[str, Any]:
        chosen = provider.RunTagFilter(runs=runs, tags=[tag])
        options = {"experiment_id": experiment, "plugin_name": PLUGIN_NAME, "downsample": ALL}
        read = self._provider.read_tensors(context, run_tag_filter=chosen, **options) or {}
        return {run: read.get(run, {}).get(tag, []) for run in runs}

    def _table(
        self, context: Any, experiment: str, run: str, tag: str, tags: Mapping[str, Any], shape: tuple[int, int]
    ) -> Table:
        state = (experiment, run, tag, tags[tag].max_step, tags[tag].max_wall_time)
        with self._lock:
            if state in self._tables:
                self._tables.move_to_end(state)
                return self._tables[state]
        records = self._read(context, experiment, [run], tag)[run]
        table = Table.of(((datum.step, datum.numpy) for datum in records), shape)
        with self._lock:
            for old in [key for key in self._tables if key[:3] == state[:3]]:
                del self._tables[old]
            self._tables[state] = table
            while len(self._tables) > 1 and sum(t.nbytes for t in self._tables.values()) > CACHE_BYTES:
                self._tables.popitem(last=False)
        return table

    def _events(self, context: Any, experiment: str, runs: list[str]) -> dict[str, list[dict[str, Any]]]:
        if not runs:
            return {}
        return {run: _parsed(data) for run, data in self._read(context, experiment, runs, EVENTS_TAG).items()}


_WEIGHT_NUMBERS: dict[str, Callable[[np.ndarray, np.ndarray], np.ndarray]] = {
    "snr": lambda mean, error: np.abs(mean) / error,
    "median_abs": lambda mean, error: np.abs(mean),
    "mean": lambda mean, error: mean,
    "standard_error": lambda mean, error: error,
}


def _manifests(tags: Mapping[str, Any]) -> dict[str, Manifest]:
    """Of every source whose stats are there and can be read."""
    found = {}
    for tag, series in tags.items():
        manifest = Manifest.decode(series.plugin_content)
        if manifest is not None and tag == stats_tag(manifest.source):
            found[manifest.source] = manifest
    return found


def _parsed(data: Any) -> list[dict[str, Any]]:
    """The events of a run, each once, in the order of their steps; what is no event is left out."""
    texts = {bytes(t) if isinstance(t, bytes) else str(t): None for d in data for t in np.atleast_1d(d.numpy).ravel()}
    found = []
    for text in texts:
        try:
            event = json.loads(text)
            data = event.get("data")
            found.append(
                {
                    "step": int(event["step"]),
                    "kind": str(event["kind"]),
                    "message": str(event["message"]),
                    "data": data if isinstance(data, dict) else {},
                }
            )
        except (ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError):
            continue
    return sorted(found, key=lambda event: event["step"])


def _known(kind: str, name: str, known: Mapping[str, Any], run: str) -> Any:
    if name not in known:
        listed = ", ".join(sorted(known)) or "none"
        raise errors.NotFoundError(f"There is no {kind} {name!r} in run {run!r}. There are: {listed}.")
    return known[name]
