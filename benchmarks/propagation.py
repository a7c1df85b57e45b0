"""How fast is Pauli propagation next to pauli-prop, and do both methods on Pauli strings tell the truth?

Three tables: the kicked Ising model on 127 wires, forward and with its gradient, beside qiskit's pauli-prop on the same
circuit, in turns on one core; energies of Ising chains against free fermions; and variances by paths, by simulation
and in closed form, from 2 to 1,000 wires. pauli-prop is left out where it is not installed (pip install pauli-prop).

    OMP_NUM_THREADS=1 python benchmarks/propagation.py [--only kicked|fermions|variances] [--out propagation.json]
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import math
import statistics
import sys
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from torchbp import Circuit, PauliSum, weight
from torchbp.backends.propagation import PropagationBackend, TruncationWarning
from torchbp.circuits import alternating_layered, global_z, hamiltonian_variational, hardware_efficient, tfim
from torchbp.trainability import variance_scan

sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))
from helpers import free_fermion_energy, heavy_hex, one_rotation_per_wire

TURNS = 3
PEER_ROOM = 4
"""How many times our strings pauli-prop makes room for: it keeps those that ours knows to end at zero."""
KICKED = ((5, 0.7, 1e-4), (9, 0.3, 1e-4), (9, 0.5, 1e-4), (20, 0.2, 1e-4), (20, 0.3, 1e-3))


def kicked_ising(steps: int) -> Circuit:
    """RX on every wire, RZZ(-pi/2) on every bond, `steps` times (Kim 2023, Nature 618:500)."""
    n, bonds = heavy_hex()
    circuit = Circuit(n)
    for _ in range(steps):
        for wire in range(n):
            circuit.append("rx", wire, weight())
        for bond in bonds:
            circuit.append("rzz", bond, -math.pi / 2)
    return circuit.freeze()


def peer(steps: int, angle: float, min_abs: float, room: int) -> Callable[[], float]:
    """The same circuit by pauli-prop, its Clifford gates worked in beforehand, as ours are."""
    from pauli_prop import evolve_through_cliffords, propagate_through_circuit
    from qiskit import QuantumCircuit
    from qiskit.quantum_info import SparsePauliOp

    n, bonds = heavy_hex()
    circuit = QuantumCircuit(n)
    for _ in range(steps):
        for wire in range(n):
            circuit.rx(angle, wire)
        for a, b in bonds:  # RZZ(-pi/2), up to a phase
            circuit.sdg(a), circuit.sdg(b), circuit.cz(a, b)
    clifford, rotations = evolve_through_cliffords(circuit)
    start = SparsePauliOp.from_sparse_list([("Z", [62], 1.0)], n)

    def value() -> float:
        found, _ = propagate_through_circuit(start, rotations, max_terms=room, atol=min_abs, frame="h")
        ends = found.paulis.evolve(clifford, frame="h")  # this one has its Clifford gates at the beginning
        signs = np.where(ends.phase == 2, -1.0, 1.0)
        return float((found.coeffs.real * signs)[~ends.x.any(1)].sum())

    return value


def kicked() -> list[dict[str, Any]]:
    """Medians of `TURNS` turns."""
    rows = []
    nothing = torch.empty(1, 0, dtype=torch.float64)
    for steps, angle, min_abs in KICKED:
        circuit, backend = kicked_ising(steps), PropagationBackend(min_abs)
        weights = torch.full((circuit.n_weights,), angle, dtype=torch.float64)
        learning = weights.clone().requires_grad_()

        def forward(circuit=circuit, backend=backend, weights=weights) -> float:
            return float(backend.expectations(circuit, [PauliSum("Z62")], nothing, weights))

        def gradient(circuit=circuit, backend=backend, weights=learning) -> float:
            value = backend.expectations(circuit, [PauliSum("Z62")], nothing, weights)
            value.backward()
            return float(value.detach())

        contestants = {"forward": forward, "gradient": gradient}
        if importlib.util.find_spec("pauli_prop"):
            forward()
            contestants["pauli-prop"] = peer(steps, angle, min_abs, PEER_ROOM * backend.truncation.most_terms)
        values, times = {}, {name: [] for name in contestants}
        for turn in range(TURNS + 1):
            for name, run in contestants.items():
                begun = time.perf_counter()
                values[name] = run()
                if turn:  # the first prepares
                    times[name].append(time.perf_counter() - begun)
        middle = {name: statistics.median(t) for name, t in times.items()}
        row = {"steps": steps, "angle": angle, "min_abs": min_abs, "values": values, "seconds": middle}
        row |= {"terms": backend.truncation.most_terms, "estimate": float(backend.truncation.estimate)}
        rows.append(row)
        ratios = {name: t / middle["forward"] for name, t in middle.items()}
        print(
            f"| {steps}, {angle}, {min_abs:g} | {values['forward']:.5f} | {values.get('pauli-prop', math.nan):.5f} | "
            f"{row['estimate']:.1g} | {row['terms']:,} | {middle['forward']:.2f} s | {ratios['gradient']:.2f} x | "
            f"{ratios.get('pauli-prop', math.nan):.1f} x |",
            flush=True,
        )
    return rows


def fermions() -> list[dict[str, Any]]:
    """Energies at random angles, with nothing dropped."""
    rows, exact = [], PropagationBackend(0.0)
    for n, depth in ((20, 4), (50, 4), (100, 2)):
        start = Circuit(n)
        for wire in range(n):
            start.append("h", wire)
        circuit = (start + hamiltonian_variational(tfim(n), n, depth)).freeze()
        weights = torch.randn(circuit.n_weights, dtype=torch.float64, generator=torch.Generator().manual_seed(n))
        begun = time.perf_counter()
        value = float(exact.expectations(circuit, [tfim(n)], torch.empty(1, 0, dtype=torch.float64), weights))
        seconds = time.perf_counter() - begun
        wanted = free_fermion_energy(circuit, weights.numpy())
        terms = exact.truncation.most_terms
        rows.append({"n": n, "depth": depth, "value": value, "exact": wanted, "terms": terms, "seconds": seconds})
        print(f"| {n}, {depth} | {value:.8f} | {abs(value - wanted):.1g} | {terms:,} | {seconds:.1f} s |", flush=True)
    return rows


CASES: dict[str, tuple[Callable[[int], Circuit], Callable[[int], PauliSum], Callable[[int], float] | None]] = {
    "one RY a wire, Z on all": (one_rotation_per_wire, global_z, lambda n: 2.0**-n),
    "2 alternating layers, Z in the middle": (
        lambda n: alternating_layered(n, 2),
        lambda n: PauliSum(f"Z{n // 2}"),
        None,
    ),
    "2 alternating layers, Z on all": (lambda n: alternating_layered(n, 2), global_z, None),
    "2n layers, Z in the middle": (
        lambda n: hardware_efficient(n, 2 * n, ("ry", "rz"), "ring", "cz"),
        lambda n: PauliSum(f"Z{n // 2}"),
        lambda n: 1 / (2.0**n + 1),
    ),
}


def variances() -> list[dict[str, Any]]:
    """Var[C] by both methods, and in closed form (the last: of a 2-design)."""
    rows = []
    for name, (make, observable, closed) in CASES.items():
        for n in (2, 4, 8, 12, 50, 200, 1000):
            if "layers" in name and "all" in name and n > 50:
                continue
            if "2n" in name and n > 12:
                continue
            paths = variance_scan(make, [n], observable, method="paths", seed=0).rows[0]
            row: dict[str, Any] = {"case": name, "n": n, "paths": paths.cost.to_dict(), "seconds": paths.seconds}
            text = "-"
            if n <= 12:
                simulated = variance_scan(make, [n], observable, method="simulate", samples=2048, seed=0).rows[0]
                row |= {"simulated": simulated.cost.to_dict(), "simulated_seconds": simulated.seconds}
                text = f"{simulated.cost.value:.2e} ({simulated.cost.low:.1e} to {simulated.cost.high:.1e})"
            formula = "-" if closed is None else f"{closed(n):.2e}"
            cost = paths.cost
            rows.append(row)
            print(
                f"| {name} | {n} | {cost.value:.2e} ({cost.low:.1e} to {cost.high:.1e}) | {text} | {formula} | "
                f"{paths.seconds:.1f} s |",
                flush=True,
            )
    return rows


PARTS = {
    "kicked": (
        "| steps, angle, min_abs | ours | pauli-prop | estimate | strings | forward | gradient | pauli-prop |",
        kicked,
    ),
    "fermions": ("| n, depth | energy | off by | strings | seconds |", fermions),
    "variances": ("| circuit | n | paths | simulated | closed form | seconds |", variances),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", choices=PARTS)
    parser.add_argument("--out", type=Path, default=Path("propagation.json"))
    arguments = parser.parse_args()
    warnings.simplefilter("ignore", TruncationWarning)
    torch.set_num_threads(1)
    found = {}
    for name, (head, run) in PARTS.items():
        if arguments.only in (None, name):
            print(f"\n{name}\n{head}", flush=True)
            found[name] = run()
    arguments.out.write_text(json.dumps(found, indent=1, default=np.ndarray.tolist))


if __name__ == "__main__":
    main()
