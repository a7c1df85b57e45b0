"""Does a layer that was trained on the simulator still work on a noisy machine, and what does mitigation give back?

Two moons, a circuit of 4 wires that reads the point twice, trained in seconds on the exact simulator. The same
weights then run on Qiskit Aer with finite shots, and on a snapshot of a five-qubit machine of IBM's: as it is, with its
readout corrected, and extrapolated to zero noise. Prints what each measures and how far that is from the exact values,
and draws it. To run it on a machine, give --machine ibm:NAME; the jobs' ledger is then torchbp-jobs/ledger.jsonl.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import matplotlib.pyplot as plt
import torch
from torch import Tensor

from torchbp import Circuit, QuantumLayer, feature
from torchbp.circuits import hardware_efficient
from torchbp.hardware import Comparison, compare

torch.set_num_threads(1)  # tensors this small gain nothing from more, and wait for them on a busy machine


def moons(n: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Points (n, 2) on two interleaved half circles, blurred by 0.12, and the moon each belongs to, +1 or -1."""
    which = torch.arange(n) % 2
    angle = torch.pi * torch.rand(n, generator=generator)
    upper = torch.stack([angle.cos(), angle.sin()], dim=1)
    lower = torch.stack([1 - angle.cos(), 0.5 - angle.sin()], dim=1)
    points = torch.where(which[:, None] == 0, upper, lower) + 0.12 * torch.randn(n, 2, generator=generator)
    return points, 1.0 - 2.0 * which


def reading_circuit(n_wires: int, times: int) -> Circuit:
    """Both coordinates on every other wire, then trainable rotations and a ring of CNOTs; `times` over."""
    encoder = Circuit(n_wires)
    for wire in range(n_wires):
        encoder.append("ry", wire, feature(wire % 2))
    return (encoder + hardware_efficient(n_wires, depth=1)) * times


def train(layer: QuantumLayer, x: Tensor, y: Tensor, steps: int) -> None:
    """Minimize the logistic loss of 5 <Z0>."""
    optimizer = torch.optim.Adam(layer.parameters(), lr=0.1)
    for _ in range(steps):
        optimizer.zero_grad()
        torch.nn.functional.softplus(-5 * y * layer(x)[:, 0]).mean().backward()
        optimizer.step()


def draw(comparison: Comparison, path: Path) -> None:
    """Measured against exact values: on the diagonal nothing is lost; beside it, what of the error is bias."""
    shown = [m for m in comparison.measurements if m.name in ("shots", "noisy", "readout", "readout+zne")]
    figure, (left, right) = plt.subplots(1, 2, figsize=(11, 4.6), width_ratios=(3, 2), layout="constrained")
    exact = comparison.ideal[:, 0]
    edge = 1.1 * float(exact.abs().max())
    left.plot([-edge, edge], [-edge, edge], color="0.75", linewidth=1, zorder=0)
    for color, marker, m in zip(("0.45", "tab:red", "tab:orange", "tab:blue"), "ovs^", shown, strict=True):
        left.errorbar(
            exact, m.values[:, 0], m.standard_errors[:, 0], fmt=marker, markersize=4, color=color, label=m.name,
            elinewidth=0.8, alpha=0.8,
        )  # fmt: skip
    left.set(xlabel="exact ⟨Z₀⟩", ylabel="measured ⟨Z₀⟩", title="Each test point, once on each backend")
    left.legend(frameon=False)
    names = [m.name for m in shown]
    right.barh(names, [m.error(comparison.ideal) for m in shown], color="0.85", label="error, shots included")
    right.barh(names, [m.bias(comparison.ideal) for m in shown], height=0.45, color="tab:red", label="bias")
    right.invert_yaxis()
    right.set(xlabel="root mean square", title="What more shots would not remove")
    right.legend(frameon=False)
    for axes in (left, right):
        axes.spines[["top", "right"]].set_visible(False)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=130)
    plt.close(figure)


def main(machine: str, shots: int, points: int, steps: int, picture: Path) -> Comparison:
    generator = torch.Generator().manual_seed(0)
    x, y = moons(200, generator)
    test_x, test_y = moons(points, generator)
    layer = QuantumLayer(reading_circuit(n_wires=4, times=2), "Z0", generator=generator)
    begin = time.perf_counter()
    train(layer, x, y, steps)
    print(f"Trained {layer.circuit.n_weights} weights on the simulator in {time.perf_counter() - begin:.1f} s\n")

    comparison = compare(layer, machine, test_x, shots=shots, seed=0)
    print(comparison)
    for m in comparison.measurements:
        right = (m.values[:, 0] * test_y > 0).double().mean()
        print(f"{m.name:12} {right:.0%} of {points} test points on the right moon")
    draw(comparison, picture)
    print(f"\nDrawn in {picture}")
    return comparison


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--machine", default="fake_manila", help='"fake_manila", another fake, or "ibm:NAME"')
    parser.add_argument("--shots", type=int, default=4000)
    parser.add_argument("--points", type=int, default=60)
    parser.add_argument("--steps", type=int, default=150)
    parser.add_argument("--picture", type=Path, default=Path("runs/train_here_run_there.png"))
    arguments = parser.parse_args()
    main(arguments.machine, arguments.shots, arguments.points, arguments.steps, arguments.picture)
