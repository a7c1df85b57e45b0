"""What is a budget of shots worth to Adam and to the gradient-free searches? Energies reached, seed by seed.

    python benchmarks/gradient_free.py              all tasks, prints tables and writes JSON
    python benchmarks/gradient_free.py --seeds 2    a quick look

Adam and the natural gradient take their gradient by the parameter-shift rule from as many shots per circuit as the
searches take for a loss; they and QNSPSA at the best of three learning rates for each task, chosen on seeds that are
not reported. The searches run with their defaults. The metric of the natural gradient comes from exact states and
counts for no shots, which no machine can do; the fidelities of QNSPSA count. Every arm stops at the same number of
shots. Reported is the exact energy at the end over the ground energy: median and range over seeds.
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
from collections.abc import Callable
from datetime import date
from pathlib import Path
from typing import Any

import torch

from torchbp import QuantumLayer
from torchbp.circuits import global_z, hardware_efficient, tfim
from torchbp.models.vqe import ground_energy
from torchbp.optim import CMAES, QNSPSA, SPSA, QuantumNaturalGradient, Rotosolve

SHOTS, BUDGET = 100, 200_000
RATES = (0.05, 0.1, 0.2)
DEV_SEEDS = (1000, 1001)


def healthy(seed: int) -> QuantumLayer:
    return layer(hardware_efficient(4, 2), tfim(4), "small_angle", seed)


def random_start(seed: int) -> QuantumLayer:
    return layer(hardware_efficient(4, 4), tfim(4), "uniform", seed)


def plateau(seed: int) -> QuantumLayer:
    return layer(hardware_efficient(8, 6), global_z(8), "uniform", seed)


TASKS: dict[str, Callable[[int], QuantumLayer]] = {
    "TFIM, 4 wires, depth 2, small angles": healthy,
    "TFIM, 4 wires, depth 4, random start": random_start,
    "Z on all of 8 wires, depth 6, random start": plateau,
}
SEARCHES: dict[str, Callable[..., torch.optim.Optimizer]] = {
    "SPSA": lambda p, seed: SPSA(p, seed=seed),
    "CMA-ES": lambda p, seed: CMAES(p, seed=seed),
    "Rotosolve": lambda p, seed: Rotosolve(p),
}


def layer(circuit: Any, observable: Any, init: str, seed: int) -> QuantumLayer:
    generator = torch.Generator().manual_seed(seed)
    return QuantumLayer(circuit, observable, shots=SHOTS, init=init, generator=generator)


def reached(quantum: QuantumLayer) -> float:
    """Share of the ground energy."""
    with torch.no_grad(), quantum.exact():
        return float(quantum()) / ground_energy(quantum.observables[0], quantum.n_wires)


def adam(quantum: QuantumLayer, rate: float, budget: int) -> float:
    return descend(quantum, torch.optim.Adam(quantum.parameters(), lr=rate), budget)


def descend(quantum: QuantumLayer, optimizer: torch.optim.Optimizer, budget: int) -> float:
    step = 0
    while quantum.shots_used + step <= budget:
        before = quantum.shots_used
        optimizer.zero_grad()
        quantum().sum().backward()
        optimizer.step()
        step = quantum.shots_used - before
    return reached(quantum)


def natural(quantum: QuantumLayer, rate: float, budget: int) -> float:
    """Its gradient from shots, as Adam's; the metric from exact states, which counts for nothing: an upper limit."""
    return descend(quantum, QuantumNaturalGradient(quantum, lr=rate), budget)


def qnspsa(quantum: QuantumLayer, rate: float, budget: int) -> float:
    return search(quantum, lambda _, seed: QNSPSA(quantum, lr=rate, seed=seed), 0, budget)


def search(quantum: QuantumLayer, make: Callable[..., torch.optim.Optimizer], seed: int, budget: int) -> float:
    optimizer = make(quantum.parameters(), seed)
    step = 0
    while quantum.shots_used + step <= budget:
        before = quantum.shots_used
        optimizer.step(lambda: quantum().sum())
        step = quantum.shots_used - before
    return reached(quantum)


DESCENTS: dict[str, tuple[Callable[[QuantumLayer, float, int], float], tuple[float, ...]]] = {
    "Adam": (adam, RATES),
    "natural gradient": (natural, (0.02, 0.05, 0.1)),
    "QNSPSA": (qnspsa, (0.005, 0.02, 0.05)),
}


def measure(task: Callable[[int], QuantumLayer], seeds: range, budget: int) -> dict[str, Any]:
    found: dict[str, Any] = {"start": [reached(task(s)) for s in seeds]}
    chosen = {}
    for name, (run, rates) in DESCENTS.items():
        means = {r: statistics.fmean(run(task(s), r, budget) for s in DEV_SEEDS) for r in rates}
        chosen[name] = rate = max(means, key=means.__getitem__)
        found[name] = [run(task(s), rate, budget) for s in seeds]
    for name, make in SEARCHES.items():
        found[name] = [search(task(s), make, s, budget) for s in seeds]
    return {"learning_rates": chosen, "weights": task(0).circuit.n_weights, "reached": found}


def main(seeds: int, budget: int, out: Path) -> None:
    torch.set_num_threads(1)
    results = {}
    for title, task in TASKS.items():
        results[title] = result = measure(task, range(seeds), budget)
        print(f"\n{title}: {result['weights']} weights, {budget:,} shots, rates {result['learning_rates']}\n")
        print("| arm | median | lowest | highest |\n|---|---:|---:|---:|")
        for arm, values in result["reached"].items():
            print(f"| {arm} | {statistics.median(values):.2f} | {min(values):.2f} | {max(values):.2f} |", flush=True)
    about = {"date": str(date.today()), "torch": torch.__version__, "machine": platform.machine()}
    out.write_text(json.dumps({"about": about, "shots": SHOTS, "budget": budget, "tasks": results}, indent=1))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--budget", type=int, default=BUDGET)
    parser.add_argument("--out", type=Path, default=Path("gradient_free.json"))
    arguments = parser.parse_args()
    main(arguments.seeds, arguments.budget, arguments.out)
