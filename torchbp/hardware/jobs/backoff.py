"""How long to wait before asking again: twice as long each time, and never all at once."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from torchbp.arguments import checked
from torchbp.errors import InputError


@checked()
@dataclass
class Backoff:
    """Exponential backoff with jitter: before retry k a random time from half to all of min(longest, first 2^k).

    Args:
        first: seconds before the first retry, at most.
        longest: seconds before any retry, at most.
        seed: of the jitter; None for one that differs between programs that began at the same moment.
        sleep: waits.

    Raises:
        InputError: seconds below zero.
    """

    first: float = 1.0
    longest: float = 60.0
    seed: int | None = None
    sleep: Callable[[float], None] = time.sleep
    _random: random.Random = field(init=False, repr=False)

    def __post_init__(self) -> None:
        if not 0 <= self.first <= self.longest:
            raise InputError(f"Backoff needs 0 <= first <= longest, got {self.first!r} and {self.longest!r}.")
        self._random = random.Random(self.seed)

    def delay(self, retry: int) -> float:
        """Seconds before a retry, the first of which is number 0."""
        return min(self.longest, self.first * 2.0 ** min(retry, 60)) * self._random.uniform(0.5, 1.0)

    def wait(self, retry: int) -> None:
        """Sleep for as long."""
        self.sleep(self.delay(retry))
