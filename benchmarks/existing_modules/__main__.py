"""Which modules of other libraries become layers, exactly, and how much faster are they then?

Every module of the tables beside this file is accelerated (`torchbp.accelerate`): what became of it, or the reason why
it stays; the largest deviation of values and gradients; and how many times longer a forward and backward of the module
takes than one of its layer, the median over turns that they take one after the other.

    python benchmarks/existing_modules [--only TEXT ...] [--no-times] [--out existing_modules.json]
"""

from __future__ import annotations

import argparse
import copy
import json
import statistics
import time
import warnings
from collections.abc import Callable
from importlib import import_module

import torch
from torch import Tensor, nn

import torchbp

TABLES = {
    "PennyLane": "pennylane_templates",
    "Qiskit": "qiskit_networks",
    "DeepQuantum": "deepquantum_circuits",
    "n = 8, B = 64": "eight_wires",
}
SECONDS, MOST_TURNS = 0.5, 15


def measured(module: nn.Module, x: Tensor, times: bool) -> dict[str, object]:
    """One row of the table."""
    holder = nn.Sequential(copy.deepcopy(module))
    (row, *_) = torchbp.accelerate(holder, x).rows
    if row.layer is None:
        return {"translated": False, "reason": row.reason}
    found: dict[str, object] = {"translated": True, "deviation": row.deviation}
    if times:
        found["ratio"] = ratio(step(module, x), step(holder, x))
    return found


def step(module: nn.Module, x: Tensor) -> Callable[[], None]:
    """One forward and backward by the weights."""

    def run() -> None:
        module.zero_grad()
        y = module(x)
        if y.requires_grad:
            y.sum().backward()

    return run


def ratio(theirs: Callable[[], None], ours: Callable[[], None]) -> float:
    """The median of their time by ours, over turns one after the other; neither's first turn counts."""
    found: list[float] = []
    theirs(), ours()
    start = time.perf_counter()
    while len(found) < 3 or (time.perf_counter() - start < SECONDS and len(found) < MOST_TURNS):
        found.append(timed(theirs) / timed(ours, repeats=5))
    return statistics.median(found)


def timed(run: Callable[[], None], repeats: int = 1) -> float:
    start = time.perf_counter()
    for _ in range(repeats):
        run()
    return (time.perf_counter() - start) / repeats


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", default=[""], help="modules whose library or name contains one of these")
    parser.add_argument("--no-times", action="store_true", help="leave the ratios out")
    parser.add_argument("--out", default="existing_modules.json")
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    results = []
    for library, table in TABLES.items():
        print(f"\n| {library} | largest deviation | times longer |\n|---|--:|--:|")
        for name, make in import_module(table).CASES.items():
            if not any(text in f"{library} {name}" for text in options.only):
                continue
            torch.manual_seed(0)
            module, x = make()
            try:
                row = measured(module, x, not options.no_times)
            except Exception as error:  # it does not run where it comes from
                row = {"translated": False, "reason": f"does not run: {error}"}
            results.append({"library": library, "name": name, **row})
            told = (
                f"{row['deviation']:.0e} | " + (f"{row['ratio']:.0f}" if "ratio" in row else "")
                if row["translated"]
                else f"{row['reason']} |"
            )
            print(f"| {name} | {told} |", flush=True)
    done = sum(row["translated"] for row in results)
    print(f"\n{done} of {len(results)} modules became layers.")
    with open(options.out, "w") as file:
        json.dump(results, file, indent=1)


if __name__ == "__main__":
    main()
