"""Draws docs/images/reliability.png: how often a verdict of a confidence is right, from PlateauBench's figures.

python benchmarks/plateaubench --half test --json figures.json
python docs/plateaubench_figure.py figures.json
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")
from matplotlib import pyplot as plt

IMAGE = Path(__file__).parent / "images" / "reliability.png"


def draw(figures: dict[str, dict[str, Any]], path: Path) -> None:
    """A line a detector that has a confidence, with 95% intervals; on the diagonal, confidence is a probability."""
    figure, axes = plt.subplots(figsize=(4.2, 4.0), layout="constrained")
    axes.plot([0, 1], [0, 1], color="0.7", linewidth=1)
    axes.fill_between([0, 1], [-0.1, 0.9], [0.1, 1.1], color="0.93", zorder=0)
    for name, found in figures.items():
        bins = found["reliability"]
        if not bins:
            continue
        x, y = [b["confidence"] for b in bins], [b["right"] for b in bins]
        reach = [[b["right"] - b["interval"][0] for b in bins], [b["interval"][1] - b["right"] for b in bins]]
        line = axes.errorbar(x, y, yerr=reach, marker="o", capsize=2, label=name)
        for b in bins:
            spot = (b["confidence"], b["right"])
            axes.annotate(
                str(b["count"]), spot, (4, -10), textcoords="offset points", fontsize=7, color=line[0].get_color()
            )
    axes.set(xlim=(0, 1.02), ylim=(0, 1.02), xlabel="confidence", ylabel="share that was right", aspect="equal")
    axes.legend(frameon=False, loc="upper left")
    figure.savefig(path, dpi=160)


if __name__ == "__main__":
    draw(json.loads(Path(sys.argv[1]).read_text()), Path(sys.argv[2]) if len(sys.argv) > 2 else IMAGE)
