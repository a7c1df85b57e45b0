"""The plugin: routes from addresses to data, and the page's own files. No thoughts of its own."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from tensorboard import errors, plugin_util  # type: ignore[import-untyped]
from tensorboard.backend import http_util  # type: ignore[import-untyped]
from tensorboard.plugins import base_plugin  # type: ignore[import-untyped]
from werkzeug import wrappers

from torchbp.tensorboard.logs import Logs
from torchbp.tensorboard.schema import PLUGIN_NAME
from torchbp.tensorboard.table import Table

STATIC = Path(__file__).parent / "static"
TYPES = {".js": "text/javascript", ".css": "text/css"}
POINTS = 2000
"""Steps to send if the page does not say how many it can show."""

Application = Callable[[Any, Any], Any]


class PlateauPlugin(base_plugin.TBPlugin):
    """TensorBoard's page "Barren plateaus".

    Args:
        context: TensorBoard's; nothing but its data provider is used.
    """

    plugin_name = PLUGIN_NAME

    def __init__(self, context: Any) -> None:
        self._logs = Logs(context.data_provider)

    def is_active(self) -> bool:
        """Whether to show the page without being asked to; TensorBoard finds a plugin with data by itself."""
        return False

    def frontend_metadata(self) -> Any:
        """Where the page starts, and its name."""
        return base_plugin.FrontendMetadata(es_module_path="/index.js", tab_name="Barren plateaus")

    def get_plugin_apps(self) -> dict[str, Application]:
        """Below `data/plugin/torchbp`: the page's files, and what it asks for."""
        files = {f"/{path.name}": _file(path) for path in STATIC.iterdir() if path.suffix in TYPES}
        return files | {
            "/runs": _json(self._runs),
            "/run": _json(self._run),
            "/stats": _binary(self._stats),
            "/weights": _binary(self._weights),
            "/curve": _binary(self._curve),
        }

    def _runs(self, context: Any, experiment: str, arguments: Any) -> Any:
        runs = self._logs.runs(context, experiment)
        return {"runs": runs, "others": self._logs.others(context, experiment), "now": time.time()}

    def _run(self, context: Any, experiment: str, arguments: Any) -> Any:
        return self._logs.run(context, experiment, _text(arguments, "run"))

    def _stats(self, context: Any, experiment: str, arguments: Any) -> tuple[Table, np.ndarray]:
        run, source, column = (_text(arguments, name) for name in ("run", "source", "column"))
        return self._logs.stats(context, experiment, run, source, column)

    def _weights(self, context: Any, experiment: str, arguments: Any) -> tuple[Table, np.ndarray]:
        run, source, layer, column = (_text(arguments, name) for name in ("run", "source", "layer", "column"))
        return self._logs.weights(context, experiment, run, source, layer, column)

    def _curve(self, context: Any, experiment: str, arguments: Any) -> tuple[Table, np.ndarray]:
        table = self._logs.curve(context, experiment, _text(arguments, "run"), _text(arguments, "tag"))
        return table, table.values[:, :, 0]


def _file(path: Path) -> Application:
    @wrappers.Request.application
    def serve(request: Any) -> Any:
        return http_util.Respond(request, path.read_text(encoding="utf-8"), TYPES[path.suffix])

    return serve


def _json(answer: Callable[[Any, str, Any], Any]) -> Application:
    @wrappers.Request.application
    def serve(request: Any) -> Any:
        context, experiment = plugin_util.context(request.environ), plugin_util.experiment_id(request.environ)
        return http_util.Respond(request, answer(context, experiment, request.args), "application/json")

    return serve


def _binary(answer: Callable[[Any, str, Any], tuple[Table, np.ndarray]]) -> Application:
    """Numbers over steps, see `Table.pack`; `from`, `to` and `points` choose among the steps."""

    @wrappers.Request.application
    def serve(request: Any) -> Any:
        first, last = _number(request.args, "from", -math.inf), _number(request.args, "to", math.inf)
        points = max(2, int(_number(request.args, "points", POINTS)))
        context, experiment = plugin_util.context(request.environ), plugin_util.experiment_id(request.environ)
        table, values = answer(context, experiment, request.args)
        return http_util.Respond(request, table.pack(values, first, last, points), "application/octet-stream")

    return serve


def _text(arguments: Any, name: str) -> str:
    """
    Raises:
        InvalidArgumentError: the address lacks this argument.
    """
    if name not in arguments:
        raise errors.InvalidArgumentError(f"The address needs ?{name}=...")
    return str(arguments[name])


def _number(arguments: Any, name: str, default: float) -> float:
    """
    Raises:
        InvalidArgumentError: not a finite number.
    """
    text = arguments.get(name)
    if text is None:
        return default
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise errors.InvalidArgumentError(f"{name} must be a number, got {text!r}.")
    return value
