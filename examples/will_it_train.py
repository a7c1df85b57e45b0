"""Will this circuit still train on more wires than I can simulate?

How the gradient's variance scales, measured on few wires, says which of four designs to grow.
"""

from __future__ import annotations

import argparse
import sys

import torch

from torchbp.circuits import Circuit, alternating_layered, global_z, hardware_efficient
from torchbp.trainability import Progress, VarianceScan, variance_scan

NEIGHBOURS = "Z0 Z1"


def deep(n_wires: int, depth: int) -> Circuit:
    return hardware_efficient(n_wires, depth, rotations=("rx", "ry"), gate="cz")


def growing(n_wires: int) -> int:
    return 2 * n_wires


DESIGNS = {
    "deep, uniform start": {"make_circuit": deep, "observable": NEIGHBOURS, "depth": growing},
    "deep, gaussian start": {"make_circuit": deep, "observable": NEIGHBOURS, "depth": growing, "init": "gaussian"},
    "shallow, global observable": {"make_circuit": alternating_layered, "observable": global_z, "depth": 2},
    "shallow, local observable": {"make_circuit": alternating_layered, "observable": NEIGHBOURS, "depth": 2},
}


def show(progress: Progress) -> None:
    if sys.stderr.isatty():
        print(f"\r{progress.done / progress.total:6.0%} ", end="", file=sys.stderr, flush=True)


def main(wires: list[int], samples: int) -> dict[str, VarianceScan]:
    scans = {}
    for name, design in DESIGNS.items():
        scans[name] = scan = variance_scan(
            **design, n_wires=wires, samples=samples, tolerance=0.05, seed=0, progress=show
        )
        print(f"\n{name}: {scan.verdict}\n{scan.fit.text}")
        print(scan.table())
    return scans


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--wires", type=int, nargs="+", default=[4, 6, 8, 10])
    parser.add_argument("--samples", type=int, default=1024)
    chosen = parser.parse_args()
    torch.set_num_threads(1)  # threads only get into each other's way in circuits this small
    main(chosen.wires, chosen.samples)
