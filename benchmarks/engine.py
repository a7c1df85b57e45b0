"""How fast is the fused backend, next to its peers and to the machine?

Measures forward + backward in float32 through the public API. The contestants (`peers.py`, those that are installed)
take turns, so that what else the machine does hits all of them, and are timed once they have settled; a
ratio is the median over turns of (peer's time) / (fused time). Before anything is timed, all have to agree on the
gradients. Memory is measured in processes of their own.

    python benchmarks/engine.py [--quick] [--only PART ...] [--threads N] [--out engine.json]
"""

from __future__ import annotations

import argparse
import json
import logging
import math
import os
import platform
import random
import subprocess
import sys
import time
import warnings
from collections.abc import Callable
from datetime import date
from pathlib import Path

import lightning as L
import torch
from peers import PEERS, Build, Run, data, fused, installed_peers
from sklearn.datasets import load_digits
from torch.utils.data import DataLoader, TensorDataset

from torchbp import QuantumLayer
from torchbp.backends.fused.program import default_block_wires
from torchbp.circuits import Circuit, PauliSum, feature, weight
from torchbp.models import HybridClassifier

HARDWARE_EFFICIENT = [
    (2, 3, 64), (4, 4, 64), (6, 4, 32), (8, 4, 128), (10, 6, 64), (12, 4, 16), (14, 4, 8), (16, 6, 2), (18, 4, 1),
    (20, 4, 1),
]  # fmt: skip
LEAST_TURNS = 5
SETTLED, LONG = 0.05, 1.0
"""Seconds after which the traces of another contestant are gone, and of a call on which they leave no mark."""
ROTATIONS = ("rx", "ry", "rz")


def layered(n: int, depth: int, reupload: bool = False, rotations: tuple[str, ...] = ROTATIONS) -> Circuit:
    """RY encoding, then `depth` layers of rotations on every wire and a ring of CNOTs."""
    circuit = Circuit(n)
    for layer in range(depth):
        if layer == 0 or reupload:
            for wire in range(n):
                circuit.append("ry", wire, feature(wire))
        for wire in range(n):
            for name in rotations:
                circuit.append(name, wire, weight())
        for wire in range(n):
            circuit.append("cnot", (wire, (wire + 1) % n))
    return circuit


def qaoa_like(n: int, depth: int) -> Circuit:
    circuit = Circuit(n)
    for wire in range(n):
        circuit.append("h", wire).append("rz", wire, feature(wire))
    for _ in range(depth):
        cost, mixer = weight(), weight()
        for wire in range(n):
            circuit.append("rzz", (wire, (wire + 1) % n), cost)
        for wire in range(n):
            circuit.append("rx", wire, mixer)
    return circuit


def bricks(n: int, depth: int) -> Circuit:
    circuit = Circuit(n)
    for wire in range(n):
        circuit.append("ry", wire, feature(wire))
    for layer in range(depth):
        for wire in range(layer % 2, n - 1, 2):
            for name in ("rxx", "ryy", "rzz"):
                circuit.append(name, (wire, wire + 1), weight())
    return circuit


def scattered(n: int, gates: int) -> Circuit:
    """Random gates on random wires."""
    choose, circuit = random.Random(0), Circuit(n)
    for _ in range(gates):
        a, b = choose.sample(range(n), 2)
        kind = choose.random()
        if kind < 0.4:
            circuit.append(choose.choice(ROTATIONS), a, weight())
        elif kind < 0.5:
            circuit.append(choose.choice(ROTATIONS), a, feature(choose.randrange(n)))
        elif kind < 0.7:
            circuit.append(choose.choice(["rxx", "ryy", "rzz", "crx", "crz"]), (a, b), weight())
        elif kind < 0.85:
            circuit.append(choose.choice(["h", "s", "t", "x"]), a)
        else:
            circuit.append(choose.choice(["cnot", "cz", "swap"]), (a, b))
    return circuit


OTHERS = {
    "re-upload n=8 B=64": (lambda: layered(8, 4, reupload=True), 64),
    "real amplitudes n=10 B=64": (lambda: layered(10, 6, rotations=("ry",)), 64),
    "QAOA n=10 B=64": (lambda: qaoa_like(10, 4), 64),
    "RXX/RYY/RZZ bricks n=8 B=64": (lambda: bricks(8, 4), 64),
    "random, 150 gates n=8 B=64": (lambda: scattered(8, 150), 64),
    "random, 200 gates n=10 B=64": (lambda: scattered(10, 200), 64),
}


def timed(run: Callable[[], object], repeats: int = 1) -> float:
    start = time.perf_counter()
    for _ in range(repeats):
        run()
    return (time.perf_counter() - start) / repeats


def turn(run: Callable[[], object], repeats: int = 1) -> float:
    """Seconds of a call, as if nobody else had been there: training is one such call after another.

    The one before has left other data in the caches, and hundreds of megabytes on the heap for the next to clear away.
    """
    start = time.perf_counter()
    while time.perf_counter() < start + SETTLED:
        last = timed(run)
    return last if last > LONG else timed(run, repeats)


def quartiles(values: list[float]) -> list[float]:
    ordered = sorted(values)
    return [ordered[min(len(ordered) - 1, round(q * (len(ordered) - 1)))] for q in (0.25, 0.5, 0.75)]


def compare(ours: Callable[[], object], others: dict[str, Run], seconds: float) -> dict[str, object]:
    """Milliseconds and ratios, as [quartile, median, quartile], from turns of everybody."""
    for _ in range(3):
        ours()
    for run in others.values():
        run()
    repeats = max(1, math.ceil(0.01 / min(timed(ours) for _ in range(3))))
    times: dict[str, list[float]] = {name: [] for name in ("fused", *others)}
    end = time.perf_counter() + seconds
    while time.perf_counter() < end or len(times["fused"]) < LEAST_TURNS:
        times["fused"].append(turn(ours, repeats))
        for name, run in others.items():
            times[name].append(turn(run))
    ratios = {name: quartiles([b / a for a, b in zip(times["fused"], times[name], strict=True)]) for name in others}
    return {
        "ms": {name: [1e3 * t for t in quartiles(values)] for name, values in times.items()},
        "ratio": ratios,
    }


def contest(circuit: Circuit, batch: int, peers: dict[str, Build], seconds: float) -> dict:
    ours, others = fused(circuit, batch), {}
    first_call = timed(ours)
    for name, build in peers.items():
        others[name] = build(circuit, batch)
        torch.testing.assert_close(others[name]().to(torch.float32), ours(), rtol=1e-4, atol=1e-5, msg=name)
    return {"first_call_ms": 1e3 * first_call, **compare(ours, others, seconds)}


def part_hardware_efficient(seconds: float, quick: bool) -> dict[str, object]:
    rows = {}
    for n, depth, batch in HARDWARE_EFFICIENT[: 5 if quick else None]:
        names = ["TorchQuantum", *(["PennyLane default.qubit"] if n <= 16 else ["PennyLane lightning.qubit"])]
        rows[f"n={n} L={depth} B={batch}"] = contest(layered(n, depth), batch, installed_peers(names), seconds)
        show(rows)
    return rows


def part_peers(seconds: float, quick: bool) -> dict[str, object]:
    """Everybody who is installed, on the same circuits. Qiskit's layer takes seconds for four samples on two wires."""
    rows = {}
    everybody = [name for name in PEERS if name != "Qiskit Machine Learning"]
    for n, depth, batch in [(2, 1, 4), (4, 4, 64), (8, 4, 128), (10, 6, 64)][: 2 if quick else None]:
        peers = installed_peers(None if n == 2 else everybody)
        rows[f"n={n} L={depth} B={batch}"] = contest(layered(n, depth), batch, peers, seconds)
        show(rows)
    return rows


def part_others(seconds: float, quick: bool) -> dict[str, object]:
    rows = {}
    for name, (build, batch) in OTHERS.items():
        rows[name] = contest(build(), batch, installed_peers(["TorchQuantum"]), seconds)
        show(rows)
    return rows


def part_per_sample(seconds: float, quick: bool) -> dict[str, object]:
    """Gradients for each sample against summed ones: here the ratio is (per sample) / (summed)."""
    rows = {}
    for n, depth, batch in [(6, 4, 64), (10, 6, 64), (10, 6, 256)]:
        circuit = layered(n, depth)
        x, start = data(circuit, batch)
        layer = QuantumLayer(circuit, init=start)
        rows[f"n={n} B={batch}"] = compare(
            fused(circuit, batch),
            {"per sample": lambda layer=layer, x=x: layer.per_sample_gradients(x)},
            seconds,
        )
        show(rows)
    return rows


def part_pauli_sum(seconds: float, quick: bool) -> dict[str, object]:
    """A sum of 100 random strings on a shallow circuit, against Z on one wire: the difference is the measurement."""
    choose, n = random.Random(0), 10
    strings = ["".join(choose.choices("IXYZ", k=n)) for _ in range(100)]
    terms = {" ".join(f"{p}{i}" for i, p in enumerate(s) if p != "I"): choose.gauss(0, 1) for s in strings}
    circuit = layered(n, 1)
    x, start = data(circuit, 64)
    runs = []
    for observable in (PauliSum("Z0"), PauliSum(terms)):
        layer = QuantumLayer(circuit, observable, init=start)
        runs.append(lambda layer=layer: torch.autograd.grad(layer(x).sum(), layer.weights)[0])
    rows = {"n=10 B=64": compare(runs[0], {"100 strings": runs[1]}, seconds)}
    show(rows)
    return rows


def part_growth(seconds: float, quick: bool) -> dict[str, object]:
    """Milliseconds, and on Linux peak memory over import, along n, depth and batch, with the rest fixed."""
    rows = {}
    for n, depth, batch in [
        *((n, 4, 16) for n in (4, 8, 12, 14)), *((10, d, 64) for d in (2, 8, 32)), *((10, 4, b) for b in (1, 16, 256)),
    ]:  # fmt: skip
        row = compare(fused(layered(n, depth), batch), {}, seconds / 4)
        rows[f"n={n} L={depth} B={batch}"] = row | {"peak_mb": None if quick else peak_memory("fused", n, depth, batch)}
        show(rows)
    return rows


def part_training(seconds: float, quick: bool) -> dict[str, object]:
    """An epoch of `examples/digits.py`, classical layers, Adam and Lightning included."""
    x, y = load_digits(return_X_y=True)
    samples = TensorDataset(torch.tensor(x / 16, dtype=torch.float32), torch.tensor(y))
    loader = DataLoader(samples, 32, shuffle=True)
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    warnings.filterwarnings("ignore", module="lightning")

    def epochs(backend: str) -> Run:
        model = HybridClassifier(n_features=64, n_classes=10, n_wires=8, depth=4, learning_rate=0.02)
        model.quantum = QuantumLayer(model.quantum.circuit, backend=backend)

        def one() -> torch.Tensor:
            L.Trainer(max_epochs=1, accelerator="cpu", barebones=True).fit(model, loader)
            return model.quantum.weights

        return one

    rows: dict[str, object] = {
        "digits, 8 wires, 57 steps": compare(epochs("fused"), {"TorchQuantum": epochs("torchquantum")}, seconds)
    }
    show(rows)
    return rows


def part_machine(seconds: float, quick: bool) -> dict[str, object]:
    """The limits of this machine, and what part of them whole training steps reach.

    In each layer every block of k wires multiplies psi and kappa, and their reduced matrix is taken: 3 products of
    8 * 2^k flops an amplitude, each of which moves two states, if nothing stays in the cache.
    """
    a = torch.randn(1024, 1024, dtype=torch.complex64)
    gemm = 8 * 1024**3 / min(timed(lambda: a @ a) for _ in range(5)) / 1e9
    big = torch.randn(2**25)
    target = torch.empty_like(big)
    bandwidth = 2 * big.nbytes / min(timed(lambda: target.copy_(big)) for _ in range(5)) / 1e9
    found: dict[str, object] = {"cgemm GFLOP/s": round(gemm, 1), "copy GB/s": round(bandwidth, 1)}
    for n, depth, batch in [(8, 4, 128), (12, 4, 16), (16, 6, 2), (20, 4, 1)][: 2 if quick else None]:
        run, k = fused(layered(n, depth), batch), default_block_wires(n)
        run()
        step = quartiles([timed(run, 1 if n > 16 else 5) for _ in range(5)])[1]
        products = depth * 3 * n / k * batch * 2**n
        compute, traffic = 8 * 2**k * products / step / 1e9 / gemm, 16 * products / step / 1e9 / bandwidth
        found[f"n={n} L={depth} B={batch}"] = f"{1e3 * step:.1f} ms: {compute:.0%} of cgemm, {traffic:.0%} of copy"
    return found


MEMORY_PROBE = """
import re, sys, torch
from pathlib import Path
sys.path.insert(0, {folder!r})
from engine import PEERS, fused, layered
status = Path("/proc/self/status")
peak = lambda: int(re.search(r"VmHWM:\\s+(\\d+)", status.read_text())[1]) / 1024
which, n, depth, batch = sys.argv[1], *map(int, sys.argv[2:])
torch.ones(8, 8, dtype=torch.complex64) @ torch.ones(8, 8, dtype=torch.complex64)
Path("/proc/self/clear_refs").write_text("5")  # a new process counts from its parent's peak otherwise
before = peak()
circuit = layered(n, depth)
budget = {{"recompute": {{"store_bytes": 0}}, "store": {{"store_bytes": 2**40}}}}
run = PEERS[which][1](circuit, batch) if which in PEERS else fused(circuit, batch, **budget.get(which, {{}}))
run(); run()
print(peak() - before)
"""


def peak_memory(which: str, n: int, depth: int, batch: int, **environment: str) -> float | None:
    """Peak resident set over import in MB, forward + backward, in a process of its own; None without /proc."""
    if not Path("/proc/self/clear_refs").exists():
        return None
    code = MEMORY_PROBE.format(folder=str(Path(__file__).parent))
    command = [sys.executable, "-W", "ignore", "-c", code, which, str(n), str(depth), str(batch)]
    out = subprocess.run(command, check=True, capture_output=True, text=True, env=os.environ | environment).stdout
    return round(float(out), 1)


def part_memory(seconds: float, quick: bool) -> dict[str, object]:
    """Peak memory with states stored or recomputed; `trimmed`: glibc is told to hand freed memory back at once."""
    sizes = [(12, 4, 16), (16, 4, 2), (16, 16, 2), (20, 4, 1)]
    rows: dict[str, object] = {}
    for n, depth, batch in sizes[: 1 if quick else None]:
        for which in ("recompute", "store", *(["TorchQuantum"] if n < 20 else [])):
            case = f"n={n} L={depth} B={batch} {which}"
            rows[case] = peak_memory(which, n, depth, batch)
            if n == 20:
                rows[f"{case}, trimmed"] = peak_memory(which, n, depth, batch, MALLOC_TRIM_THRESHOLD_="100000")
    return rows


def show(rows: dict[str, object]) -> None:
    """The last row, as a line of the table."""
    name, row = list(rows.items())[-1]
    assert isinstance(row, dict)
    line = f"{name:30s} fused {row['ms']['fused'][1]:9.2f} ms"
    for peer, (low, median, high) in row["ratio"].items():
        line += f" | {peer} x{median:.1f} ({low:.1f}..{high:.1f})"
    if row.get("peak_mb") is not None:
        line += f" | {row['peak_mb']} MB"
    print(line, flush=True)


PARTS: dict[str, Callable[[float, bool], dict[str, object]]] = {
    name.removeprefix("part_"): part for name, part in globals().items() if name.startswith("part_")
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="small sizes, a second each")
    parser.add_argument("--only", nargs="+", choices=PARTS, default=list(PARTS))
    parser.add_argument("--out", type=Path, default=Path("engine.json"))
    parser.add_argument("--threads", type=int, help="torch's own choice if left out; 1 is steadier on a busy machine")
    options = parser.parse_args()
    if options.threads:
        torch.set_num_threads(options.threads)
    report: dict[str, object] = {
        "date": date.today().isoformat(), "machine": platform.processor() or platform.machine(),
        "threads": torch.get_num_threads(), "torch": torch.__version__,
    }  # fmt: skip
    for name in options.only:
        print(f"\n{name.replace('_', ' ')}")
        report[name] = found = PARTS[name](1.0 if options.quick else 4.0, options.quick)
        if name in ("machine", "memory"):
            print("\n".join(f"{key:40s} {value}" for key, value in found.items()))
        options.out.write_text(json.dumps(report, indent=1))


if __name__ == "__main__":
    main()
