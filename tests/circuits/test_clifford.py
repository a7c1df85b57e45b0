"""`clifford_search` and its energies, against state vectors; `warm_start` from other circuits."""

from __future__ import annotations

import math
from functools import partial

import numpy as np
import pytest
import torch

from torchbp import Circuit, PauliSum, QuantumLayer, weight
from torchbp.circuits import (
    alternating_layered,
    angle_encoding,
    hamiltonian_variational,
    hardware_efficient,
    heisenberg,
    initialize,
    tfim,
)
from torchbp.circuits.clifford import CliffordEnergies, clifford_search
from torchbp.errors import InputError, PreconditionError

MIXED = Circuit(3)
MIXED.append("crx", (0, 2), weight()).append("ry", 1, 2 * weight() + math.pi / 2).append("rzz", (0, 1), weight())
MIXED.append("iswap", (0, 1)).append("xy", (1, 2), -weight()).append("sdg", 0).append("rx", 0, math.pi)


@pytest.mark.parametrize(
    ("circuit", "observable"),
    [
        (hardware_efficient(4, 2), tfim(4)),
        (hamiltonian_variational(tfim(4, coupling=0.5), 4, 2), tfim(4)),
        (MIXED, heisenberg(3)),
    ],
    ids=["hardware_efficient", "shared weights", "mixed"],
)
def test_energies(circuit: Circuit, observable: PauliSum) -> None:
    """Oracle: the fused engine at the same angles."""
    energies = CliffordEnergies(circuit, [observable])
    settings = np.random.default_rng(0).integers(4, size=(8, circuit.n_weights))
    layer = QuantumLayer(circuit, observable).double()
    weights = torch.from_numpy(settings * energies.units)
    wanted = layer.backend.expectations(layer.circuit, layer.observables, weights.new_empty(8, 0), weights)[:, 0]
    assert energies(settings) == pytest.approx(wanted.detach().numpy(), abs=1e-10)


def test_search_finds_the_best() -> None:
    """Oracle: all 4^6 settings of a small circuit; and on 50 wires the product state of all spins along X, -50."""
    circuit = alternating_layered(2, 2)
    energies = CliffordEnergies(circuit, [heisenberg(2)])
    every = np.stack(np.meshgrid(*[range(4)] * circuit.n_weights), -1).reshape(-1, circuit.n_weights)
    found = clifford_search(circuit, torch.Generator().manual_seed(0), observable=heisenberg(2))
    reached = energies((found.numpy() / energies.units).round().astype(int)[None])[0]
    assert reached == pytest.approx(energies(every).min())
    large = hardware_efficient(50, 1, ("ry",), "line", "cz") + hardware_efficient(50, 1, ("ry",), "line", "cz")
    init = partial(clifford_search, observable=tfim(50), sweeps=1, restarts=1)
    layer = QuantumLayer(large, tfim(50), backend="propagation", init=init)
    assert layer().item() == pytest.approx(-50, abs=1e-3)


def test_errors() -> None:
    """Each names the gate or the argument, and what to do."""
    one = Circuit(1).append("ry", 0, weight())
    with pytest.raises(InputError, match="needs what to minimize: observable="):
        initialize("clifford_search", one)
    with pytest.raises(InputError, match="sweeps is a whole number of at least 1, got 0"):
        clifford_search(one, observable=PauliSum("Z0"), sweeps=0)
    for circuit, message in (
        (Circuit(1).append("t", 0).append("ry", 0, weight()), r"a gate on wires \[0\] is not"),
        (Circuit(1).append("rx", 0, 0.3).append("ry", 0, weight()), r"rx on wires \[0\] has 0.3"),
        (angle_encoding(1) + one, "needs the features that rx reads|needs the features that ry reads"),
    ):
        with pytest.raises(PreconditionError, match=message):
            clifford_search(circuit, observable=PauliSum("Z0"))
    shared = weight()
    uneven = Circuit(1).append("ry", 0, shared).append("rz", 0, 1.5 * shared)
    with pytest.raises(PreconditionError, match=r"weight 0 turns its gates .1.0, 1.5. times"):
        clifford_search(uneven, observable=PauliSum("Z0"))


def test_warm_start_from_a_smaller_circuit() -> None:
    """By hand: wires take the angles at the same share of the way; further layers begin at zero."""
    small, large = hardware_efficient(3, 1, ("ry", "rz")), hardware_efficient(5, 2, ("ry", "rz"))
    values = torch.arange(1.0, 7.0)  # ry 1 2 3, rz 4 5 6
    got = initialize("warm_start", large, source=small, values=values, width=0.0)
    assert got[:10].tolist() == [1, 1, 2, 2, 3, 4, 4, 5, 5, 6]
    assert got[10:].abs().max() == 0
    deeper = initialize("warm_start", hardware_efficient(3, 2, ("ry", "rz")), source=small, values=values, width=0.0)
    assert deeper[:6].tolist() == values.tolist()
    shared = hamiltonian_variational(tfim(3), 3, 1), hamiltonian_variational(tfim(7), 7, 2)
    got = initialize("warm_start", shared[1], source=shared[0], values=[0.3, 0.7], width=0.0)
    assert got.tolist() == pytest.approx([0.3, 0.7, 0, 0])
    with pytest.raises(InputError, match=r"No gate of .* take a smaller or shallower circuit of the same ansatz"):
        initialize("warm_start", Circuit(1).append("rx", 0, weight()), source=small, values=values)
