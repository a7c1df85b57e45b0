"""Random numbers of every process's own: ranks and forked workers hold copies of one generator.

If they drew alike, a mean over processes would have the noise of one of them, and look as if it had less.
"""

from __future__ import annotations

import hashlib
import multiprocessing

import torch
from torch import distributed

Place = tuple[int, str]
"""Rank among the processes of a distributed run, 0 without one; and the name of the process."""


def here() -> Place:
    """Where this is executed."""
    grouped = distributed.is_available() and distributed.is_initialized()
    return distributed.get_rank() if grouped else 0, multiprocessing.current_process().name


def birthplace() -> Place:
    """Where a generator was made that has drawn nothing yet: on what rank does not count, ranks seed alike."""
    return 0, here()[1]


def part(generator: torch.Generator, place: Place) -> None:
    """Give the generator a stream of this place's own, by its present state: the same one whenever that is the same."""
    digest = hashlib.sha256(generator.get_state().cpu().numpy().tobytes() + repr(place).encode()).digest()
    generator.manual_seed(int.from_bytes(digest[:8], "little") >> 1)
