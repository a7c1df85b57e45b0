"""Circuits that are alike, simulated together, against dense matrices one at a time."""

from __future__ import annotations

import pickle

import numpy as np
import pytest
import torch
from helpers import dense_state, random_circuit

from torchbp.backends import resolve_backend
from torchbp.backends.alike import Alike
from torchbp.backends.shots import Sampler, ShiftedCircuits
from torchbp.circuits import Circuit, PauliSum, angle_encoding, feature, hardware_efficient, weight


def unrolled(circuit: Circuit) -> Circuit:
    """The same gates, each angle a feature of its own, for the dense twin."""
    out, slot = Circuit(circuit.n_wires), 0
    for step in circuit.elementary:
        if step.angle is None:
            out.append("qubitunitary", step.wires, unitary=step.matrix)
        else:
            out.append(step.gate.name, step.wires, feature(slot))
            slot += 1
    return out


def check(circuit: Circuit, angles: torch.Tensor, start: torch.Tensor | None = None) -> Alike:
    alike, twin = Alike(circuit.freeze()), unrolled(circuit)
    got = alike.states(resolve_backend("fused"), angles, start)
    for row, state in enumerate(got):
        initial = None if start is None else start[row].numpy()
        np.testing.assert_allclose(state.numpy(), dense_state(twin, angles[row].numpy(), (), initial), atol=1e-12)
    return alike


@pytest.mark.parametrize("seed", range(4))
def test_shifted_circuits(seed: int) -> None:
    """Every gate of the table, inverses, shared weights; oracle: dense matrices."""
    rng = np.random.default_rng(seed)
    circuit = random_circuit(rng, 4, 12).freeze()
    sampler = Sampler(circuit, [PauliSum("Z0")])
    angles = sampler.angles(
        torch.tensor(rng.normal(size=(2, circuit.n_features))), torch.tensor(rng.normal(size=circuit.n_weights))
    )
    shifted = ShiftedCircuits.of(sampler, angles, None, [True] * len(sampler.kinds))
    check(circuit, shifted.angles)


@pytest.mark.parametrize("n_circuits", [1, 2, 5, 40])
def test_any_angles(n_circuits: int) -> None:
    """Angles that have nothing in common, or everything; from states of their own; oracle: dense matrices."""
    generator = torch.Generator().manual_seed(n_circuits)
    circuit = angle_encoding(3) + hardware_efficient(3, 2)
    slots = sum(step.angle is not None for step in circuit.elementary)
    start = torch.randn(n_circuits, 8, dtype=torch.complex128, generator=generator)
    start /= start.norm(dim=1, keepdim=True)
    check(circuit, torch.randn(n_circuits, slots, dtype=torch.float64, generator=generator), start)
    check(circuit, torch.randn(1, slots, dtype=torch.float64, generator=generator).repeat(n_circuits, 1), start)


def test_a_wide_rotation_is_not_turned_by_dense_matrices() -> None:
    """Five wires: each circuit gets an angle of its own instead; oracle: dense matrices."""
    circuit = Circuit(5)
    for wire in range(5):
        circuit.append("ry", wire, weight())
    circuit.append("multirz", range(5), weight()).append("ry", 0, weight())
    angles = torch.linspace(0.1, 0.7, 7, dtype=torch.float64).repeat(30, 1)
    angles[3, 5] += 1
    angles[7, 2] += 1
    check(circuit, angles)


def test_plans_are_kept() -> None:
    """One plan for circuits that differ, one for circuits that don't; a layer of rotations ends a segment."""
    circuit = hardware_efficient(3, 4, ("ry",)).freeze()
    angles = torch.zeros(20, 12, dtype=torch.float64)
    alike = check(circuit, angles)
    angles[4, 7] = 1.0
    backend = resolve_backend("fused")
    for _ in range(2):
        alike.states(backend, angles, None)
    assert [len(plan) for plan in alike._plans.values()] == [1, 5]


def test_a_copy_plans_anew() -> None:
    """Pickled with the circuit alone."""
    alike = check(hardware_efficient(2, 1).freeze(), torch.zeros(3, 6, dtype=torch.float64))
    assert pickle.loads(pickle.dumps(alike))._plans == {}
