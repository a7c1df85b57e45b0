"""Events in a run's file: once each, also where a run is resumed into the folder of the one before."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from torchbp.callbacks.records.announcement import FILE_NAME, announce
from torchbp.callbacks.records.events import Event


class Trainer(SimpleNamespace):
    """As much of one as is asked."""

    __hash__ = object.__hash__  # type: ignore[assignment]

    def __eq__(self, other: object) -> bool:
        return self is other


def trainer(folder: Path, ckpt_path: str | None = None) -> Any:
    return Trainer(
        log_dir=str(folder), loggers=[object()], is_global_zero=True, fast_dev_run=False, ckpt_path=ckpt_path
    )


def steps(folder: Path) -> list[int]:
    return [json.loads(line)["step"] for line in (folder / FILE_NAME).read_text().splitlines() if line[0] == "{"]


def tell(trainer: Any, *steps: int) -> None:
    for step in steps:
        announce(trainer, Event(step, "verdict", "So it is."))


def test_what_a_resumed_run_does_again_stands_once(tmp_path: Path) -> None:
    """Oracle: the events of an undisturbed run. What was told after the checkpoint is told again."""
    tell(trainer(tmp_path), 10, 24, 40, 60)
    with (tmp_path / FILE_NAME).open("a") as file:
        file.write("half a li\n")
    tell(trainer(tmp_path, "step=20.ckpt"), 24, 40, 40, 72)
    assert steps(tmp_path) == [10, 24, 40, 40, 72]
    assert "half a li" in (tmp_path / FILE_NAME).read_text()


def test_a_new_run_takes_nothing_back(tmp_path: Path) -> None:
    """Without a checkpoint it is another run in the same folder."""
    tell(trainer(tmp_path), 10, 24)
    tell(trainer(tmp_path), 10)
    assert steps(tmp_path) == [10, 24, 10]


def test_a_resumed_run_in_a_new_folder(tmp_path: Path) -> None:
    tell(trainer(tmp_path / "new", "step=20.ckpt"), 24)
    assert steps(tmp_path / "new") == [24]
