"""Is this run's gradient like that of comparable runs? Their history as a file, and z-scores against it."""

from __future__ import annotations

import json
import math
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from torchbp.errors import InputError
from torchbp.gradients.stats import LayerSummary

VERSION = 1

# One measured run: (step, layers) in the order of the steps.
History = Iterable[tuple[int, Sequence[LayerSummary]]]


@dataclass(frozen=True)
class Baseline:
    """Decadic logarithms of the median |gradient| of each layer in comparable runs, by step.

    Logarithms, since magnitudes spread over decades. Runs are comparable if model, data, batch size and optimizer
    are: nothing here can check that.

    Attributes:
        source: where the samples came from; measurements of another source have no z-score.
        values: layer → step → one value for each run.
    """

    source: str
    values: Mapping[str, Mapping[int, tuple[float, ...]]]

    @classmethod
    def from_runs(cls, runs: Iterable[History]) -> Baseline:
        """The baseline that these runs make, at least two; see `GradientSNRMonitor.history`.

        Raises:
            InputError: fewer than two runs, or runs measured from different sources.
        """
        found: dict[str, dict[int, list[float]]] = {}
        sources, count = set(), 0
        for run in runs:
            count += 1
            for step, layers in run:
                for layer in layers:
                    sources.add(layer.source)
                    if layer.median_abs > 0:
                        found.setdefault(layer.name, {}).setdefault(step, []).append(math.log10(layer.median_abs))
        if count < 2:
            raise InputError(f"A spread takes at least two runs, got {count}.")
        if len(sources) != 1:
            raise InputError(f"A baseline holds gradients of one source, got {', '.join(sorted(sources)) or 'none'}.")
        return cls(sources.pop(), {n: {s: tuple(v) for s, v in by.items()} for n, by in found.items()})

    def z_scores(self, step: int, layers: Sequence[LayerSummary]) -> dict[str, float]:
        """Standard deviations by which each layer's log |gradient| lies above the runs' mean at the nearest step.

        Layers that the baseline does not know, or knows from fewer than two runs, are left out; equal values in all
        runs give an infinite score for any other.
        """
        scores = {}
        for layer in layers:
            steps = {s: v for s, v in self.values.get(layer.name, {}).items() if len(v) > 1}
            if layer.source != self.source or not steps or not layer.median_abs > 0:
                continue
            known = steps[min(steps, key=lambda s: abs(s - step))]
            distance, spread = math.log10(layer.median_abs) - statistics.fmean(known), statistics.stdev(known)
            scores[layer.name] = distance / spread if spread else math.copysign(math.inf, distance) if distance else 0.0
        return scores

    def save(self, path: str | Path) -> None:
        """Write it as JSON."""
        Path(path).write_text(json.dumps({"version": VERSION, "source": self.source, "values": self.values}))

    @classmethod
    def load(cls, path: str | Path) -> Baseline:
        """Read what `save` wrote.

        Raises:
            InputError: the file is not a baseline, or of a version unknown here.
        """
        try:
            data = json.loads(Path(path).read_text())
            version, source, values = data["version"], data["source"], data["values"]
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise InputError(f"{path} is no baseline file ({error}): write one with Baseline.save.") from error
        if version != VERSION:
            raise InputError(f"{path} is a baseline of version {version}, this torchbp reads version {VERSION}.")
        return cls(source, {n: {int(s): tuple(v) for s, v in by.items()} for n, by in values.items()})
