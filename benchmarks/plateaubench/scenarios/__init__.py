"""The scenarios by half. Who writes rules looks at "dev" only; the others are for the numbers that are reported."""

from __future__ import annotations

from importlib import import_module

from benchmarks.plateaubench.task import Scenario

HALVES = ("dev", "test", "healthy")


def scenarios_of(half: str) -> tuple[Scenario, ...]:
    found: tuple[Scenario, ...] = import_module(f"{__name__}.{half}").SCENARIOS
    return found
