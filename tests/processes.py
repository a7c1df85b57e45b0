"""Other processes of a test: as slow as the machine makes them, and none outlives the test."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import IO, Any

TESTS = Path(__file__).parent

SEARCH = os.pathsep.join(
    [str(TESTS.parent), str(TESTS), *(str(folder) for folder in TESTS.iterdir() if folder.is_dir())]
)
"""PYTHONPATH of a process that imports tests and their helpers."""

PATIENCE = 1800.0
"""Seconds until a process counts as hanging: far beyond what a busy machine needs."""


def run_alone(command: Sequence[Any], **options: Any) -> subprocess.CompletedProcess[str]:
    """`subprocess.run(command, capture_output=True, text=True)`; what it starts ends with it. See `run_together`."""
    return run_together([command], **options)[0]


def run_together(
    commands: Sequence[Sequence[Any]], patience: float = PATIENCE, **options: Any
) -> list[subprocess.CompletedProcess[str]]:
    """Run commands side by side until all have ended, or one has failed, for which the others may wait.

    Each leads a process group of its own, which is killed in the end, whatever happens.
    """
    with contextlib.ExitStack() as stack:
        files = [[stack.enter_context(tempfile.TemporaryFile("w+")) for _ in range(2)] for _ in commands]
        begun: list[subprocess.Popen[str]] = []
        for command, (out, err) in zip(commands, files, strict=True):
            given = [str(part) for part in command]
            process = subprocess.Popen(given, stdout=out, stderr=err, text=True, start_new_session=True, **options)
            stack.callback(end_group, process)
            begun.append(process)
        deadline = time.monotonic() + patience
        while None in (codes := [process.poll() for process in begun]) and not any(codes):
            assert time.monotonic() < deadline, f"Still running after {patience:g} s: {commands}"
            time.sleep(0.02)
        for process in begun:
            end_group(process)
        return [
            subprocess.CompletedProcess(list(command), process.returncode, _text(out), _text(err))
            for command, process, (out, err) in zip(commands, begun, files, strict=True)
        ]


def end_group(process: subprocess.Popen[Any]) -> None:
    """Kill a process that leads a group, and all that are in it."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def _text(file: IO[str]) -> str:
    file.seek(0)
    return file.read()
