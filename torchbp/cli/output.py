"""What commands print: results on stdout, as text or JSON, and progress on stderr."""

from __future__ import annotations

import argparse
import json
import math
import sys
import time
from typing import Any


def add_json_option(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="print the result as JSON instead of text")


def show(arguments: argparse.Namespace, values: Any, text: str) -> None:
    """One result, as the user asked for it."""
    print(json.dumps(strict(values), indent=1) if arguments.json else text)


def save(axes: Any, file: str) -> None:
    """The figure that the axes are in, as a picture, and a line on stderr."""
    axes.figure.savefig(file, dpi=150)
    print(f"Picture: {file}", file=sys.stderr)


def strict(value: Any) -> Any:
    """The value with None for NaN, and "inf" and "-inf": JSON has no words for these."""
    if isinstance(value, float) and not math.isfinite(value):
        return None if math.isnan(value) else str(value)
    if isinstance(value, dict):
        return {str(k): strict(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [strict(v) for v in value]
    return value


class Progress:
    """A line on stderr, rewritten on a terminal and cleared at the end; elsewhere a new one every ten seconds."""

    def __init__(self, command: str) -> None:
        self.prefix, self.terminal = f"torchbp {command}: ", sys.stderr.isatty()
        self._width, self._next = 0, 0.0

    def __call__(self, text: str) -> None:
        if self.terminal:
            line = self.prefix + text
            print(f"\r{line.ljust(self._width)}", end="", file=sys.stderr, flush=True)
            self._width = len(line)
        elif time.monotonic() >= self._next:
            self._next = time.monotonic() + 10
            print(self.prefix + text, file=sys.stderr, flush=True)

    def __enter__(self) -> Progress:
        return self

    def __exit__(self, *_: object) -> None:
        if self.terminal and self._width:
            print(f"\r{' ' * self._width}\r", end="", file=sys.stderr, flush=True)
