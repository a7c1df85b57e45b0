"""Random numbers of every process's own: ranks and forked workers hold copies of one generator.

If they drew alike, a mean over processes would have the noise of one of them, and look as if it had less.
"""

from __future__ import annotations

import hashlib
import multiprocessing

import torch
from torch import distributed

FIRST = "rank 0"
"""The process whose stream is the one that the generator was seeded with."""


def here() -> str:
    """The rank among the processes of a distributed run; without one, the name of the process."""
    if distributed.is_available() and distributed.is_initialized():
        return f"rank {distributed.get_rank()}"
    return birthplace()


def birthplace() -> str:
    """Where a generator is made: ranks seed theirs alike, so which of them it is does not count."""
    return multiprocessing.current_process().name


def part(generator: torch.Generator, place: str) -> None:
    """Give the generator a stream of this place's own, by its present state: the same one whenever that is the same."""
    digest = hashlib.sha256(generator.get_state().cpu().numpy().tobytes() + place.encode()).digest()
    generator.manual_seed(int.from_bytes(digest[:8], "little") >> 1)
