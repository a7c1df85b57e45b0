"""Measures and draws the figure of any_size.md, and prints its numbers. A minute or two on one core.

.venv/bin/python docs/any_size_figures.py
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from trainability_figures import local_cost, one_rotation

from torchbp import Circuit, PauliSum
from torchbp.circuits import alternating_layered, global_z, hardware_efficient
from torchbp.trainability import variance_scan

IMAGES = Path(__file__).parent / "images"
SIZES = (2, 5, 10, 20, 50, 100, 200, 500, 1000)


def middle(n: int) -> PauliSum:
    return PauliSum(f"Z{n // 2}")


def two_design(n: int) -> float:
    """McClean 2018: d^2 / (2 (d^2 - 1) (d + 1))."""
    tiny = 2.0**-n
    return tiny / (2 * (1 - tiny**2) * (1 + tiny))


SERIES: dict[str, tuple[Callable[[int], Circuit], Callable[[int], PauliSum], Callable[[int], float] | None, int]] = {
    "one RY a wire, local cost: 1 / 8n²": (one_rotation, local_cost, lambda n: 1 / (8 * n**2), 1000),
    "one RY a wire, Z on all: 2⁻ⁿ": (one_rotation, global_z, lambda n: 2.0**-n, 1000),
    "2 alternating layers, Z in the middle": (lambda n: alternating_layered(n, 2), middle, None, 1000),
    "2 alternating layers, Z on all": (lambda n: alternating_layered(n, 2), global_z, None, 50),
    "2n layers, Z in the middle: 2-design": (
        lambda n: hardware_efficient(n, 2 * n, ("ry", "rz"), "ring", "cz"),
        middle,
        two_design,
        20,
    ),
}


def main() -> None:
    figure = Figure(figsize=(7, 5), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots()
    for number, (name, (make, observable, closed, largest)) in enumerate(SERIES.items()):
        sizes = [n for n in SIZES if n <= largest]
        scan = variance_scan(make, sizes, observable, method="paths", seed=0)
        print(f"{name}\n{scan.table()}\n")
        # The weights that count: of a local cost most can't move it at all, and their share grows with the wires.
        strongest = [max(row.layers.values(), key=lambda v: v.value) for row in scan.rows]
        values = [v.value for v in strongest]
        errors = [[v.value - v.low for v in strongest], [v.high - v.value for v in strongest]]
        axes.errorbar(sizes, values, errors, fmt="o", color=f"C{number}", label=name, capsize=3)
        if closed is not None:
            axes.plot(sizes, [closed(n) for n in sizes], color=f"C{number}", linewidth=1)
    axes.set(xscale="log", yscale="log", ylim=(1e-21, 1), xlabel="wires", ylabel="Var[∂C], mean over a layer's weights")
    axes.legend(fontsize="small")
    axes.grid(alpha=0.3)
    figure.savefig(IMAGES / "variance_any_size.png", dpi=120)


if __name__ == "__main__":
    main()
