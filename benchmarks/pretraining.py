"""What is pretraining without a machine worth, in shots?

Energies on 12 wires, by Adam with finite shots, from the "gaussian" start and from weights that Clifford search and
Pauli propagation have found beforehand: shots until the exact energy is within 5% of the ground state's, 20 seeds, the
learning rate of each arm chosen on seeds of its own. And once on 50 wires: pretrained weights measured with shots by
Aer's matrix product state simulator.

    OMP_NUM_THREADS=1 python benchmarks/pretraining.py [--only tfim|maxcut|mps] [--seeds 20] [--out pretraining.json]
"""

from __future__ import annotations

import argparse
import json
import math
import statistics
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import torch

from torchbp import Circuit, PauliSum, QuantumLayer, pretrain
from torchbp.backends import PropagationBackend
from torchbp.backends.propagation import TruncationWarning
from torchbp.circuits import alternating_layered, initialize, maxcut, tfim

N, DEPTH, SHOTS, BUDGET = 12, 2, 100, 2e6
RATES, TUNING = (0.05, 0.2), 2
ARMS = ("gaussian", "clifford", "pretrained")


def graph() -> PauliSum:
    """A ring with chords, weights drawn once."""
    rng = np.random.default_rng(0)
    edges = [(w, (w + 1) % N) for w in range(N)] + [(w, (w + 4) % N) for w in range(0, N, 2)]
    return maxcut([(a, b, float(rng.uniform(0.5, 1.5))) for a, b in edges])


TASKS = {"tfim": lambda: tfim(N), "maxcut": graph}


def ground(hamiltonian: PauliSum) -> float:
    matrix = hamiltonian.matrix(N)
    if not np.any(matrix - np.diag(np.diag(matrix))):
        return float(np.diag(matrix).real.min())
    return float(np.linalg.eigvalsh(matrix.real)[0])


def begin(arm: str, circuit: Circuit, hamiltonian: PauliSum, seed: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    if arm == "gaussian":
        return initialize("gaussian", circuit, generator)
    start = initialize("clifford_search", circuit, generator, observable=hamiltonian, sweeps=1, restarts=2)
    start = start + 0.05 * torch.randn(circuit.n_weights, generator=generator)
    if arm == "clifford":
        return start
    layer = QuantumLayer(circuit, hamiltonian, init=start)
    pretrain(layer, steps=60, backend=PropagationBackend(1e-3))
    return layer.weights.detach()


def shots_needed(arm: str, hamiltonian: PauliSum, lowest: float, rate: float, seed: int) -> float:
    """inf where the budget is not enough."""
    circuit = alternating_layered(N, DEPTH)
    layer = QuantumLayer(
        circuit,
        hamiltonian,
        shots=SHOTS,
        init=begin(arm, circuit, hamiltonian, seed),
        generator=torch.Generator().manual_seed(seed),
    )
    optimizer = torch.optim.Adam(layer.parameters(), lr=rate)
    while True:
        with torch.no_grad(), layer.exact():
            if float(layer()) <= lowest + 0.05 * abs(lowest):
                return float(layer.shots_used)
        if layer.shots_used >= BUDGET:
            return math.inf
        optimizer.zero_grad()
        layer().sum().backward()
        optimizer.step()


def under_a_budget(task: str, seeds: int, tuning: int) -> list[dict[str, Any]]:
    hamiltonian = TASKS[task]()
    lowest, rows = ground(hamiltonian), []
    for arm in ARMS:
        tuned = {
            rate: [shots_needed(arm, hamiltonian, lowest, rate, 1000 + seed) for seed in range(tuning)]
            for rate in RATES
        }
        rate = min(RATES, key=lambda r: sum(min(shots, 2 * BUDGET) for shots in tuned[r]))
        needed = [shots_needed(arm, hamiltonian, lowest, rate, seed) for seed in range(seeds)]
        rows.append({"task": task, "arm": arm, "rate": rate, "shots": needed})
        reached = sum(map(math.isfinite, needed))
        print(f"| {task} | {arm} | {rate} | {reached} of {seeds} | {statistics.median(needed):.3g} |", flush=True)
    return rows


def mps(n: int = 50, shots: int = 4000) -> dict[str, Any]:
    """Energy of a pretrained chain as Aer's matrix product states measure it, and the values it should have."""
    from qiskit_aer import AerSimulator

    from torchbp.hardware import QiskitBackend

    circuit, hamiltonian = alternating_layered(n, 1), tfim(n)
    start = begin("clifford", circuit, hamiltonian, 0)
    layer = QuantumLayer(circuit, hamiltonian, backend="propagation", init=start)
    found = pretrain(layer, steps=40, backend=PropagationBackend(1e-3))
    exact = float(layer.to_backend(PropagationBackend(1e-6))().detach())
    machine = QiskitBackend(AerSimulator(method="matrix_product_state", seed_simulator=0), shots=shots, seed=0)
    with torch.no_grad():
        measured = float(layer.to_backend(machine)())
    lowest = -float(np.linalg.svd(np.eye(n) + np.eye(n, k=1), compute_uv=False).sum())
    row = {"n": n, "pretraining": str(found), "propagation": exact, "measured": measured, "ground": lowest}
    print(f"| {n} | {exact:.3f} | {measured:.3f} | {lowest:.3f} | {layer.shots_used:,} |", flush=True)
    return row


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", choices=[*TASKS, "mps"])
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--tuning", type=int, default=TUNING, help="seeds that rates are chosen on")
    parser.add_argument("--out", type=Path, default=Path("pretraining.json"))
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    warnings.simplefilter("ignore", TruncationWarning)
    found: dict[str, Any] = {}
    print("| task | start | rate | reached | median shots |", flush=True)
    for task in TASKS:
        if arguments.only in (None, task):
            found[task] = under_a_budget(task, arguments.seeds, arguments.tuning)
    if arguments.only in (None, "mps"):
        print("\n| n | propagation | measured on MPS | ground state | shots |", flush=True)
        found["mps"] = mps()
    arguments.out.write_text(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
