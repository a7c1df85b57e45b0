"""What happened to a run."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Event:
    """Something worth telling.

    Attributes:
        step: optimizer steps of the run so far, as the monitor counts them.
        kind: "verdict", or what a remedy did: "reset", "declined" (no start promised more), "rollback", "kept",
            "layerwise", "fallback" (gradient-free takes over), "gradients" (they resume), "shots", "budget", "stop",
            "dry_run".
        message: one sentence for people.
        data: the numbers behind it, as JSON can hold them.
    """

    step: int
    kind: str
    message: str
    data: dict[str, Any] = field(default_factory=dict)
