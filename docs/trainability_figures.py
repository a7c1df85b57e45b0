"""Measures and draws the figures of trainability.md, and prints their numbers.

    .venv/bin/python docs/trainability_figures.py --cache runs/figures

A few minutes on one core; with --cache an interrupted run continues where it was.
"""

from __future__ import annotations

import argparse
import itertools
import math
import random
from pathlib import Path

import torch
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from torchbp import Circuit, PauliSum, QuantumLayer, plots, weight
from torchbp.circuits import alternating_layered, hardware_efficient, tfim
from torchbp.trainability import Progress, VarianceScan, curvatures, landscape, variance_scan

IMAGES = Path(__file__).parent / "images"


def one_rotation(n: int) -> Circuit:
    """RY on each wire: the product ansatz of Cerezo 2021."""
    circuit = Circuit(n)
    for wire in range(n):
        circuit.append("ry", wire, weight())
    return circuit


def global_cost(n: int) -> PauliSum:
    """1 - |0...0><0...0|."""
    strings = itertools.chain.from_iterable(itertools.combinations(range(n), k) for k in range(n + 1))
    terms = {" ".join(f"Z{w}" for w in s) or "I": -(2.0**-n) for s in strings}
    return PauliSum(terms | {"I": 1 - 2.0**-n})


def local_cost(n: int) -> PauliSum:
    """1 - mean_j |0><0|_j."""
    return PauliSum({"I": 0.5} | {f"Z{w}": -0.5 / n for w in range(n)})


def random_axes(n: int, depth: int) -> Circuit:
    """RY(pi/4) on each wire, then layers of a rotation about a random axis on each wire and CZ on neighbours.

    McClean 2018, figure 2.
    """
    rng, circuit = random.Random(n), Circuit(n)
    for wire in range(n):
        circuit.append("ry", wire, math.pi / 4)
    for _ in range(depth):
        circuit.start_layer()
        for wire in range(n):
            circuit.append(rng.choice(["rx", "ry", "rz"]), wire, weight())
        for wire in range(n - 1):
            circuit.append("cz", (wire, wire + 1))
    return circuit


def deep(n: int) -> int:
    return 10 * n


def show(progress: Progress) -> None:
    size = f"{progress.n_wires} wires" + (f", depth {progress.depth}" if progress.depth else "")
    print(f"\r{100 * progress.done / progress.total:5.1f}%  {size}, {progress.samples} draws", end="  ", flush=True)


def report(name: str, scan: VarianceScan) -> VarianceScan:
    print(f"\r\n{name}\n{scan.table()}\n{scan.text}\n")
    return scan


def new_figure(columns: int, width: float) -> Figure:
    figure = Figure(figsize=(width, 3.7), dpi=150, layout="constrained")
    FigureCanvasAgg(figure)
    figure.subplots(1, columns)
    return figure


def figure_costs(options: dict) -> None:
    """Cerezo 2021: the same ansatz, a global and a local cost."""
    wires = range(2, 11)
    scans = {
        cost.__name__: report(
            cost.__name__,
            variance_scan(one_rotation, wires, cost, samples=4096, seed=1, **options_for(options, cost.__name__)),
        )
        for cost in (global_cost, local_cost)
    }
    figure = new_figure(2, 9.2)
    left, right = figure.axes
    for i, (name, scan) in enumerate(scans.items()):
        plots.variance_scaling(scan, label=name.replace("_", " "), index=i, axes=left)
        plots.variance_scaling(scan, label=name.replace("_", " "), index=i, logarithmic_wires=True, axes=right)
    left.set_title("an exponential is straight here,", fontsize=10)
    right.set_title("a power law here", fontsize=10)
    figure.savefig(IMAGES / "variance_costs.png")


def figure_random_circuits(options: dict) -> None:
    """McClean 2018: random circuits against wires (with the closed form) and layers."""
    wide = report(
        "random circuits, deep",
        variance_scan(
            random_axes,
            range(2, 17, 2),
            "Z0 Z1",
            depth=deep,
            samples=2048,
            tolerance=0.03,
            seed=2,
            **options_for(options, "wide"),
        ),
    )
    layers = report(
        "random circuits, layer by layer",
        variance_scan(
            random_axes,
            [2, 4, 6, 8, 10],
            "Z0 Z1",
            depth=[1, 2, 4, 8, 16, 32, 64, 96],
            samples=1024,
            tolerance=0.03,
            seed=3,
            **options_for(options, "layers"),
        ),
    )
    figure = new_figure(2, 9.2)
    left, right = figure.axes
    plots.variance_scaling(wide, label="10 n layers", axes=left)
    sizes = [2 + 0.1 * i for i in range(141)]
    haar = [4**n / (2 * (4**n - 1) * (2**n + 1)) for n in sizes]
    left.plot(sizes, haar, "--", color="black", linewidth=1, label="2-designs on both sides")
    left.legend(frameon=False, fontsize=8)
    plots.variance_depth(layers, axes=right)
    figure.savefig(IMAGES / "variance_random_circuits.png")


def figure_starts(options: dict) -> None:
    """The same circuit and cost from three initializers."""
    figure = new_figure(1, 5.6)
    for i, init in enumerate(("uniform", "reduced_domain", "gaussian")):
        scan = variance_scan(
            lambda n, depth: hardware_efficient(n, depth, ("rx", "ry"), gate="cz"),
            [2, 4, 6, 8, 10],
            "Z0 Z1",
            depth=lambda n: 2 * n,
            samples=1024,
            tolerance=0.03,
            init=init,
            seed=4,
            **options_for(options, init),
        )
        plots.variance_scaling(report(init, scan), label=init.replace("_", " "), index=i, axes=figure.axes[0])
    figure.savefig(IMAGES / "variance_starts.png")


def figure_landscapes() -> None:
    """A training path in its plane, and curvatures on a plateau, at a start and at a minimum."""
    layer = QuantumLayer(
        alternating_layered(4, 2), tfim(4), init="uniform", generator=torch.Generator().manual_seed(5)
    ).double()
    optimizer = torch.optim.Adam(layer.parameters(), lr=0.1)
    way = [layer.weights.detach().clone()]
    start = curvatures(layer)
    for _ in range(150):
        optimizer.zero_grad()
        layer().sum().backward()
        optimizer.step()
        way.append(layer.weights.detach().clone())
    end = curvatures(layer)
    plateau = curvatures(
        QuantumLayer(
            hardware_efficient(10, 20), tfim(10) * 0.4, init="uniform", generator=torch.Generator().manual_seed(6)
        ).double()
    )
    found = landscape(layer, path=way, points=61)
    figure = new_figure(2, 10.0)
    left, right = figure.axes
    plots.landscape(found, axes=left)
    for i, (name, c) in enumerate({"start": start, "end of training": end, "plateau, 10 wires": plateau}.items()):
        right.plot(c.curvature, c.gradient, "osD"[i], color=plots.COLORS[i], alpha=0.7, markersize=4, label=name)
        print(f"{name}: median amplitude {c.amplitude.median():.2e}, positive curvatures {c.positive:.0%}")
    right.set_xlabel("curvature along a weight")
    right.set_ylabel("gradient")
    right.legend(frameon=False, fontsize=8)
    right.spines[["top", "right"]].set_visible(False)
    figure.savefig(IMAGES / "landscapes.png")


def options_for(options: dict, name: str) -> dict:
    cache = options["cache"]
    return {"progress": options["progress"], "file": None if cache is None else Path(cache) / f"{name}.npz"}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cache", help="folder for unfinished scans")
    parser.add_argument("--only", choices=["costs", "random", "starts", "landscapes"])
    chosen = parser.parse_args()
    if chosen.cache:
        Path(chosen.cache).mkdir(parents=True, exist_ok=True)
    options = {"cache": chosen.cache, "progress": show}
    torch.set_num_threads(1)
    IMAGES.mkdir(exist_ok=True)
    figures = {
        "costs": lambda: figure_costs(options),
        "random": lambda: figure_random_circuits(options),
        "starts": lambda: figure_starts(options),
        "landscapes": figure_landscapes,
    }
    for name, draw in figures.items():
        if chosen.only in (None, name):
            draw()


if __name__ == "__main__":
    main()
