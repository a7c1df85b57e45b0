"""Can a circuit of a hundred wires be trained before a machine is asked? About a minute on one core.

A chain of 100 spins in a transverse field, and a shallow circuit for its ground state. Pauli paths say whether the
circuit would train from a random start, at its true size; a search among Clifford circuits finds where to begin; Pauli
propagation trains from there. The exact energy is known from free fermions. Then the weights go to a machine, as they
are:

    layer.to_backend(QiskitBackend(...))
"""

from __future__ import annotations

import argparse

import numpy as np
import torch

from torchbp import QuantumLayer, pretrain
from torchbp.backends import PropagationBackend
from torchbp.circuits import alternating_layered, initialize, tfim
from torchbp.trainability import precheck


def exact_energy(n: int) -> float:
    """Ground-state energy of the open chain with unit couplings, by free fermions: minus the sum of n mode energies."""
    return -float(np.linalg.svd(np.eye(n) + np.eye(n, k=1), compute_uv=False).sum())


def main(n: int = 100, depth: int = 1, steps: int = 40) -> tuple[float, float, float]:
    """Energies found among Clifford circuits, after training, and exact."""
    torch.manual_seed(0)
    circuit, energy = alternating_layered(n, depth), tfim(n)

    found = precheck(circuit, observables=energy, budget=1e10)
    spread, shots = found.concentration.far, found.start.shots_per_step
    print(
        f"random start: {found.verdict.value}; Var[C] is {spread:.2g} of its scale, {shots:.2g} shots a step for SNR 3"
    )

    start = initialize("clifford_search", circuit, observable=energy, sweeps=1, restarts=1)
    layer = QuantumLayer(circuit, energy, backend="propagation", init=start)
    clifford = layer().item()
    print(f"best Clifford circuit: {clifford:.3f}")

    with torch.no_grad():  # a Clifford point may be stationary
        layer.weights += 0.05 * torch.randn_like(layer.weights)
    trained = pretrain(layer, steps=steps, backend=PropagationBackend(min_abs=1e-3))
    print(f"trained without a machine: {trained}")

    reached, exact = trained.losses[trained.best], exact_energy(n)
    print(f"exact: {exact:.3f}; the training closed {(reached - clifford) / (exact - clifford):.0%} of the gap")
    return clifford, reached, exact


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--wires", type=int, default=100)
    parser.add_argument("--depth", type=int, default=1)
    parser.add_argument("--steps", type=int, default=40)
    arguments = parser.parse_args()
    main(arguments.wires, arguments.depth, arguments.steps)
