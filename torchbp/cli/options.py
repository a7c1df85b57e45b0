"""What an option takes, checked before any work is done; argparse names the option in front of each message."""

from __future__ import annotations

import math
import os
from argparse import ArgumentTypeError
from collections.abc import Callable
from pathlib import Path


def whole(least: int) -> Callable[[str], int]:
    """A whole number of at least so much."""

    def read(text: str) -> int:
        try:
            value = int(text)
        except ValueError:
            value = least - 1
        if value < least:
            raise ArgumentTypeError(f"takes a whole number of at least {least}, got {text!r}")
        return value

    return read


def real(least: float = 0.0, above: float | None = None, below: float = math.inf) -> Callable[[str], float]:
    """A finite number of at least `least`, or above `above`, and below `below`."""
    bound = f"of at least {least:g}" if above is None else f"above {above:g}"
    bound += "" if below == math.inf else f" and below {below:g}"

    def read(text: str) -> float:
        try:
            value = float(text)
        except ValueError:
            value = math.nan
        if not (value >= least if above is None else value > above) or not value < below:
            raise ArgumentTypeError(f"takes a finite number {bound}, got {text!r}")
        return value

    return read


def new_file(text: str) -> Path:
    """The path of a file that can be written; what is there is left as it is."""
    path = Path(text)
    there = path.exists()
    try:
        path.open("ab").close()
    except OSError as error:
        raise ArgumentTypeError(f"{text} can't be written ({error.strerror}): give another file") from None
    if not there:
        path.unlink()
    return path


def picture(text: str) -> Path:
    """The path of a file that can be written, of a kind that matplotlib draws."""
    from matplotlib.backend_bases import FigureCanvasBase

    kinds = sorted(FigureCanvasBase.get_supported_filetypes())
    if Path(text).suffix.lower().removeprefix(".") not in kinds:
        raise ArgumentTypeError(f"{text} is no picture: give a name that ends in .png, or .{', .'.join(kinds)}")
    return new_file(text)


def new_folder(text: str) -> Path:
    """The path of a folder that is there or can be made."""
    path = Path(text)
    nearest = next(p for p in (path, *path.absolute().parents) if p.exists())
    if not nearest.is_dir() or not os.access(nearest, os.W_OK):
        why = "can't be written" if nearest.is_dir() else "is no folder"
        raise ArgumentTypeError(f"{text} can't be made, as {nearest} {why}: give another folder")
    return path
