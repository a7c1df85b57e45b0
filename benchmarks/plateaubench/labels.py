"""The oracle's labels in a file, so that nobody has to wait for it: `labelled/HALF.json`."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

FOLDER = Path(__file__).parent / "labelled"


@dataclass(frozen=True)
class Labels:
    """What holds during one run.

    Attributes:
        intervals: (from step, acceptable verdicts, the one that fits best first), in order, from step 0.
        steps: of the run.
        scale: what the task has to give, in units of the objective.
        layers: what holds for each quantum layer, where there are several.
    """

    intervals: tuple[tuple[int, tuple[str, ...]], ...]
    steps: int
    scale: float = 1.0
    layers: tuple[tuple[str, str], ...] = ()

    def at(self, step: int) -> tuple[str, ...]:
        """The verdicts that are right at a step."""
        return [names for begin, names in self.intervals if begin <= max(step, 0)][-1]

    @property
    def onset(self) -> int | None:
        """The first step from which on something is wrong: where "healthy" is no right verdict."""
        return next((begin for begin, names in self.intervals if "healthy" not in names), None)

    def to_json(self) -> dict[str, object]:
        found: dict[str, object] = {
            "labels": [[begin, *names] for begin, names in self.intervals],
            "steps": self.steps,
            "scale": float(f"{self.scale:.4g}"),
        }
        return found | ({"layers": dict(self.layers)} if self.layers else {})


def from_json(entry: dict[str, object]) -> Labels:
    intervals = tuple((int(begin), tuple(names)) for begin, *names in entry["labels"])  # type: ignore[attr-defined]
    layers = tuple(entry.get("layers", {}).items())  # type: ignore[attr-defined]
    return Labels(intervals, int(entry["steps"]), float(entry["scale"]), layers)  # type: ignore[call-overload, arg-type]


def path_of(half: str) -> Path:
    return FOLDER / f"{half}.json"


def read(half: str) -> dict[tuple[str, int], Labels]:
    """Labels by (scenario, seed); empty where the file is missing."""
    if not path_of(half).exists():
        return {}
    stored = json.loads(path_of(half).read_text())
    return {(name, int(seed)): from_json(entry) for name, runs in stored.items() for seed, entry in runs.items()}


def write(half: str, labels: dict[tuple[str, int], Labels]) -> None:
    """One line a run, in order, so that a change shows as one."""
    FOLDER.mkdir(exist_ok=True)
    names = sorted({name for name, _ in labels})
    blocks = []
    for name in names:
        runs = sorted((seed, entry) for (other, seed), entry in labels.items() if other == name)
        lines = [f'  "{seed}": {json.dumps(entry.to_json())}' for seed, entry in runs]
        blocks.append(f' "{name}": {{\n' + ",\n".join(lines) + "\n }")
    path_of(half).write_text("{\n" + ",\n".join(blocks) + "\n}\n")
