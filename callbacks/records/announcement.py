"""An event said everywhere: on the console, in TensorBoard, and as JSON lines beside the logs."""

from __future__ import annotations

import json
import logging
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any
from weakref import WeakSet

from torchbp.callbacks.records.events import Event
from torchbp.callbacks.records.tensorboard_log import is_tensorboard, log_event
from torchbp.hardware.jobs.redaction import redact, redact_all

FILE_NAME = "torchbp_events.jsonl"

_begun: WeakSet[Any] = WeakSet()
"""Trainers that have announced something."""

_console = logging.getLogger("lightning.pytorch.torchbp")  # shown where Lightning's own messages are


def announce(trainer: Any, event: Event) -> None:
    """Tell the console, TensorBoard (its text page and torchbp's own) and a file.

    The file is `torchbp_events.jsonl` beside the first logger's files, one JSON object a line.

    Nothing of it holds secrets: `torchbp.hardware.jobs.redaction` goes over what leaves the process.

    To be called on every process; one of them writes. Without a logger there is no file.
    """
    folder = trainer.log_dir if trainer.loggers else None  # waits for every process
    if not trainer.is_global_zero:
        return
    event = replace(event, message=redact(event.message), data=redact_all(event.data))
    _console.info("torchbp, step %d: %s", event.step, event.message)
    if trainer.fast_dev_run:
        return
    for logger in trainer.loggers:
        if is_tensorboard(logger):
            log_event(logger, event)
    if folder is not None:
        path = Path(folder) / FILE_NAME
        path.parent.mkdir(parents=True, exist_ok=True)
        if trainer not in _begun:
            _begun.add(trainer)
            if trainer.ckpt_path is not None:
                _forget_from(path, event.step)
        with path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(asdict(event), default=str) + "\n")


def _forget_from(path: Path, step: int) -> None:
    """Take back what a run has told from a step on: it was resumed from before, and comes there again."""
    if not path.exists():
        return
    lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
    kept = [line for line in lines if not _is_from(line, step)]
    if len(kept) < len(lines):
        path.write_text("".join(kept), encoding="utf-8")


def _is_from(line: str, step: int) -> bool:
    try:
        return int(json.loads(line)["step"]) >= step
    except (ValueError, KeyError, TypeError):
        return False  # cut off, or not ours
