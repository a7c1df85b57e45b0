"""Pauli propagation: against dense matrices and state vectors, Clifford circuits, free fermions, and its own limits."""

from __future__ import annotations

import copy
import math
import pickle
import warnings

import numpy as np
import pytest
import torch
from helpers import dense_expectations, free_fermion_energy, heavy_hex, random_circuit
from qiskit import QuantumCircuit
from qiskit.quantum_info import Pauli
from test_backends import random_observables

from torchbp import QuantumLayer
from torchbp.backends import DensityMatrixBackend, NoiseModel, PropagationBackend
from torchbp.backends.base import per_sample_gradients
from torchbp.backends.propagation import TruncationWarning
from torchbp.circuits import (
    Circuit,
    PauliSum,
    alternating_layered,
    amplitude_encoding,
    angle_encoding,
    hamiltonian_variational,
    hardware_efficient,
    heisenberg,
    iqp_encoding,
    local_z,
    number_preserving,
    strongly_entangling,
    tfim,
    weight,
)
from torchbp.errors import BackendError, CapacityError, InputError

EXACT = PropagationBackend(min_abs=0.0)
NOTHING = torch.empty(1, 0, dtype=torch.float64)


def kicked_ising(steps: int) -> Circuit:
    """RX on every wire, RZZ(-pi/2) on every bond of the 127-wire heavy hexagon, `steps` times (Kim 2023)."""
    n, bonds = heavy_hex()
    circuit = Circuit(n)
    for _ in range(steps):
        circuit.start_layer()
        for wire in range(n):
            circuit.append("rx", wire, weight())
        for bond in bonds:
            circuit.append("rzz", bond, -math.pi / 2)
    return circuit.freeze()


@pytest.mark.parametrize("seed", range(12))
def test_random_circuits(seed: int) -> None:
    """Oracle: dense matrices, for gates of the whole table; weights shared and for each sample; both precisions."""
    rng = np.random.default_rng(seed)
    n = 1 + seed % 4
    circuit = random_circuit(rng, n, 20).freeze()
    observables = random_observables(rng, n, 1 + seed % 3)
    x = torch.from_numpy(rng.normal(size=(3, circuit.n_features)))
    weights = torch.from_numpy(rng.normal(size=circuit.n_weights))
    for given in (weights, weights + torch.arange(3)[:, None] / 7):
        wanted = torch.from_numpy(dense_expectations(circuit, observables, x.numpy(), given.numpy()))
        for dtype, tolerance in ((torch.float64, 1e-10), (torch.float32, 2e-5)):
            got = EXACT.expectations(circuit, observables, x.to(dtype), given.to(dtype))
            assert got.dtype == dtype
            torch.testing.assert_close(got.double(), wanted, rtol=tolerance, atol=tolerance)
    assert EXACT.truncation.exact


@pytest.mark.parametrize(
    ("circuit", "observables"),
    [
        (
            angle_encoding(14) + alternating_layered(14, 2),
            [PauliSum("Z0"), PauliSum({"X6 Y7": 1.3, "Z13": 0.4, "I": 2})],
        ),
        (strongly_entangling(10, 2), local_z(10)),
        (iqp_encoding(6) + strongly_entangling(6, 1), local_z(6)),
        (hamiltonian_variational(heisenberg(8), 8, 2), [heisenberg(8)]),
        (number_preserving(6, 3, 2), [tfim(6)]),
    ],
    ids=["alternating_layered-14", "strongly_entangling-10", "iqp-6", "heisenberg-8", "number_preserving-6"],
)
def test_against_state_vectors(circuit: Circuit, observables: list[PauliSum]) -> None:
    """Oracle: the fused engine; values, gradients by weights and features, and those of single samples."""
    torch.manual_seed(0)
    layer = QuantumLayer(circuit, observables, init="uniform").double()
    x = torch.randn(3, circuit.n_features, dtype=torch.float64)
    cotangent = torch.randn(3, len(observables), dtype=torch.float64)
    found = []
    for backend in (layer.backend, EXACT):
        leaves = layer.weights.detach().clone().requires_grad_(), x.clone().requires_grad_()
        values = backend.expectations(layer.circuit, layer.observables, leaves[1], leaves[0])
        slopes = torch.autograd.grad((values * cotangent).sum(), leaves, allow_unused=True, materialize_grads=True)
        each = per_sample_gradients(backend, layer.circuit, layer.observables, x, layer.weights, cotangent)
        found.append((values.detach(), *slopes, each))
    for wanted, got in zip(*found, strict=True):
        torch.testing.assert_close(got, wanted, rtol=1e-9, atol=1e-11)


def test_gradcheck() -> None:
    """Oracle: finite differences, in weights of all samples, weights of each, and features; of a truncated sum too."""
    circuit = (angle_encoding(3) + hardware_efficient(3, 1) + iqp_encoding(3)).freeze()
    observables = [PauliSum({"Z0 Z1": 0.7, "X2": 0.2}), PauliSum("Y1")]
    torch.manual_seed(0)
    x = torch.randn(2, 3, dtype=torch.float64, requires_grad=True)
    for shape in ((circuit.n_weights,), (2, circuit.n_weights)):
        weights = torch.randn(shape, dtype=torch.float64, requires_grad=True)
        for backend in (EXACT, PropagationBackend(min_abs=0.01)):
            assert torch.autograd.gradcheck(
                lambda x, w, backend=backend: backend.expectations(circuit, observables, x, w), (x, weights)
            )


@pytest.mark.parametrize(
    "noise",
    [
        NoiseModel(depolarizing_1q=0.02, depolarizing_2q=0.05, phase_damping=0.03, readout=0.04),
        NoiseModel(depolarizing_1q=0.02, amplitude_damping=0.1, readout=(0.01, 0.06)),
    ],
    ids=["pauli", "damping"],
)
def test_noise(noise: NoiseModel) -> None:
    """Oracle: the density matrix; amplitude damping too, which makes new strings."""
    circuit = (angle_encoding(3) + strongly_entangling(3, 2)).freeze()
    observables = [*local_z(3), PauliSum({"Y0 X1": 0.5, "Z0 Z1 Z2": -1.0})]
    torch.manual_seed(0)
    x = torch.randn(2, 3, dtype=torch.float64)
    weights = torch.randn(circuit.n_weights, dtype=torch.float64, requires_grad=True)
    cotangent = torch.randn(2, 4, dtype=torch.float64)
    found = []
    for backend in (DensityMatrixBackend(noise), PropagationBackend(min_abs=0.0, noise=noise)):
        values = backend.expectations(circuit, observables, x, weights)
        found.append((values.detach(), *torch.autograd.grad((values * cotangent).sum(), weights)))
    for wanted, got in zip(*found, strict=True):
        torch.testing.assert_close(got, wanted, rtol=1e-9, atol=1e-11)


def test_noise_makes_it_cheaper() -> None:
    circuit = hardware_efficient(12, 3).freeze()
    torch.manual_seed(0)
    weights = torch.randn(circuit.n_weights)
    most = []
    for noise in (None, NoiseModel(depolarizing_1q=0.05, depolarizing_2q=0.1)):
        backend = PropagationBackend(min_abs=1e-2, noise=noise)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", TruncationWarning)
            backend.expectations(circuit, [PauliSum("Z5")], torch.empty(1, 0), weights)
        most.append(backend.truncation.most_terms)
    assert most[1] < most[0] / 2


@pytest.mark.parametrize("steps", [1, 5, 20])
def test_clifford_angles_on_127_wires(steps: int) -> None:
    """Oracle: qiskit's Pauli tracking through the Clifford circuit. Every angle a multiple of a quarter turn."""
    circuit, rng = kicked_ising(steps), np.random.default_rng(steps)
    turns = rng.integers(4, size=circuit.n_weights)
    n, bonds = heavy_hex()
    clifford = QuantumCircuit(n)
    for step in range(steps):
        for wire in range(n):
            for _ in range(turns[step * n + wire]):
                clifford.sx(wire)
        for a, b in bonds:  # exp(i pi/4 ZZ), up to a phase
            clifford.cz(a, b), clifford.s(a), clifford.s(b)
            clifford.z(a), clifford.z(b)
    strings = ["Z62", "X13 Z29 Y31", "Z0 Z1 Z126"]
    wanted = []
    for text in strings:
        label = ["I"] * n
        for factor in text.split():
            label[n - 1 - int(factor[1:])] = factor[0]
        back = Pauli("".join(label)).evolve(clifford, frame="h")
        wanted.append(0.0 if back.x.any() else float((1j ** (-back.phase)).real))
    backend = PropagationBackend(min_abs=1e-9)
    weights = torch.from_numpy(turns * (math.pi / 2))
    got = backend.expectations(circuit, [PauliSum(s) for s in strings], NOTHING, weights)
    torch.testing.assert_close(got[0], torch.tensor(wanted, dtype=torch.float64))
    assert backend.truncation.most_terms <= 2 * len(strings)


def test_near_clifford_angles_on_127_wires() -> None:
    """Oracle: the state vector of the light cone, which few steps leave small enough. The bound holds, and is small."""
    steps, (n, bonds) = 4, heavy_hex()
    cones = [{62}]  # the bonds of a step commute: those that touch the cone of the later steps matter, once
    for _ in range(steps - 1):  # the last step's commute with Z
        cones.append(cones[-1].union(*(bond for bond in bonds if cones[-1].intersection(bond))))
    place = {wire: i for i, wire in enumerate(sorted(cones[-1]))}
    part, kept = Circuit(len(place)), []
    for step, cone in enumerate(cones[::-1]):
        for wire in sorted(cone):
            part.append("rx", place[wire], weight())
            kept.append(step * n + wire)
        if step < steps - 1:
            for a, b in bonds:
                if cones[::-1][step + 1].intersection((a, b)):
                    part.append("rzz", (place[a], place[b]), -math.pi / 2)
    torch.manual_seed(0)
    weights = 0.3 + 0.1 * torch.randn(steps * n, dtype=torch.float64)
    exact = QuantumLayer(part, PauliSum(f"Z{place[62]}"), init=weights[kept]).double()().item()
    backend = PropagationBackend(min_abs=1e-4)
    got = backend.expectations(kicked_ising(steps), [PauliSum("Z62")], NOTHING, weights).item()
    assert abs(got - exact) <= backend.truncation.bound.item() < 0.1


def test_free_fermions_on_50_wires() -> None:
    """Oracle: the covariance matrix of 100 Majorana operators. At any angles: the strings are a few thousand."""
    n, start = 50, Circuit(50)
    for wire in range(n):
        start.append("h", wire)
    circuit = (start + hamiltonian_variational(tfim(n), n, 3)).freeze()
    torch.manual_seed(0)
    weights = torch.randn(circuit.n_weights, dtype=torch.float64)
    got = EXACT.expectations(circuit, [tfim(n)], NOTHING, weights).item()
    assert got == pytest.approx(free_fermion_energy(circuit, weights.numpy()), abs=1e-9)
    assert EXACT.truncation.exact
    assert EXACT.truncation.most_terms <= n * (2 * n - 1)


def test_layers_on_a_hundred_wires() -> None:
    """A layer's forward, backward, samples' gradients, pickle and copy, where no state vector fits."""
    torch.manual_seed(0)
    circuit = angle_encoding(100) + hardware_efficient(100, 2, ("ry", "rz"), "line", "cz")
    layer = QuantumLayer(circuit, [PauliSum("Z50"), PauliSum("X0 Z99")], backend="propagation", init="small_angle")
    x = 0.1 * torch.randn(4, 100, requires_grad=True)
    layer(x).sum().backward()
    assert layer.weights.grad.abs().max() > 0.1
    torch.testing.assert_close(layer.per_sample_gradients(x).sum(0), layer.weights.grad)
    for twin in (copy.deepcopy(layer), pickle.loads(pickle.dumps(layer))):
        torch.testing.assert_close(twin(x), layer(x))


def test_bound_and_warning() -> None:
    """No value is further from the exact one than the bound; where the estimate exceeds the values it says so."""
    circuit = hardware_efficient(8, 3).freeze()
    torch.manual_seed(1)
    weights = torch.randn(circuit.n_weights, dtype=torch.float64)
    exact = EXACT.expectations(circuit, local_z(8), NOTHING, weights)
    for backend in (PropagationBackend(0.05), PropagationBackend(0.01), PropagationBackend(0.0, max_weight=2)):
        with pytest.warns(TruncationWarning, match=r"observables altogether \(at most .* strings; error estimate"):
            got = backend.expectations(circuit, local_z(8), NOTHING, weights)
        error = (got - exact).abs()
        assert (error <= backend.truncation.bound).all()
        assert (backend.truncation.estimate <= backend.truncation.bound).all()
        assert error.max() > 0


def test_weight_counts_wires_where_the_string_is() -> None:
    """By hand: RX(w) RX(0.4) turns Z1 into Y1 and back. Behind a CNOT both are Z0 times that, on two wires."""
    cnot, turns = Circuit(2).append("cnot", (0, 1)), Circuit(2).append("rx", 1, 0.4).append("rx", 1, weight())
    weights = torch.tensor([0.7], dtype=torch.float64)
    for circuit, wanted in ((cnot + turns, math.cos(1.1)), (turns + cnot, math.cos(0.4) * math.cos(0.7))):
        backend = PropagationBackend(0.0, max_weight=1)
        got = backend.expectations(circuit, [PauliSum("Z1")], NOTHING, weights).item()
        assert got == pytest.approx(wanted)
        assert backend.truncation.exact == (wanted == math.cos(1.1))


def test_stretches_change_nothing() -> None:
    """With memory for hardly a step's record the walk is repeated in stretches: the same numbers, bit for bit."""
    circuit = (angle_encoding(6) + hardware_efficient(6, 3)).freeze()
    torch.manual_seed(0)
    x = torch.randn(2, 6, dtype=torch.float64)
    weights = torch.randn(circuit.n_weights, dtype=torch.float64, requires_grad=True)
    found = []
    for backend in (PropagationBackend(1e-3), PropagationBackend(1e-3, store_bytes=20_000)):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", TruncationWarning)
            found.append(torch.autograd.grad(backend.expectations(circuit, local_z(6), x, weights).sum(), weights)[0])
    assert torch.equal(*found)


def test_keys_of_long_strings_are_told_apart() -> None:
    """Oracle: the same small circuit on far wires, where strings take four rows and a key, against its own few
    wires."""
    rng = np.random.default_rng(3)
    small = random_circuit(rng, 4, 25, n_features=1, gates=["rx", "ry", "rz", "cnot", "rzz", "crx", "t", "swap"])
    far = (3, 31, 32, 120)
    large = Circuit.of(
        127,
        [
            copy.copy(op).__class__(op.gate, tuple(far[w] for w in op.wires), op.parameters, op.inverse)
            for op in small.operations
        ],
        n_weights=small.n_weights,
    )
    x = torch.from_numpy(rng.normal(size=(2, small.n_features)))
    weights = torch.from_numpy(rng.normal(size=small.n_weights))
    here = EXACT.expectations(small, [PauliSum("Z0 X3"), PauliSum("Y1 Z2")], x, weights)
    there = EXACT.expectations(large, [PauliSum("Z3 X120"), PauliSum("Y31 Z32")], x, weights)
    torch.testing.assert_close(there, here, rtol=1e-12, atol=1e-12)


def test_errors() -> None:
    """Each says what was given, what is needed, and what to do."""
    for arguments, message in (
        ({"min_abs": -1.0}, "min_abs is a finite number of at least 0, got -1.0"),
        ({"max_terms": 0}, "max_terms is a whole number of at least 1, got 0"),
        ({"max_weight": 1.5}, "max_weight is a whole number of at least 1, got 1.5"),
    ):
        with pytest.raises(InputError, match=message):
            PropagationBackend(**arguments)
    circuit = hardware_efficient(40, 6).freeze()
    backend = PropagationBackend(1e-6, max_terms=1000)
    with pytest.raises(CapacityError, match=r"more than max_terms=1,000: raise min_abs .now 1e-06., lower max_weight"):
        backend.expectations(circuit, [PauliSum("Z0")], torch.empty(1, 0), torch.ones(circuit.n_weights))
    with pytest.raises(InputError, match="'propagation' has no states to measure shots on, got shots=100"):
        QuantumLayer(circuit, backend="propagation", shots=100)
    layer = QuantumLayer(circuit, backend="propagation")
    with pytest.raises(BackendError, match="has no states, and so nothing to sample"):
        layer.states()
    with pytest.raises(BackendError, match="takes no initial_state and no amplitude encoding"):
        QuantumLayer(amplitude_encoding(2) + hardware_efficient(2, 1), backend="propagation")(torch.ones(1, 4))
    wide = Circuit(8).append("multicnot", range(8)).append("rx", 0, weight())
    with pytest.raises(CapacityError, match="'multicnot' on 8 wires is too wide for Pauli strings, at most 5"):
        QuantumLayer(wide, backend="propagation")()
    noisy = QuantumLayer(
        hardware_efficient(20, 1),
        PauliSum(" ".join(f"Z{w}" for w in range(20))),
        backend="propagation",
        noise=NoiseModel(readout=(0.1, 0.0)),
    )
    assert noisy.backend.name == "propagation"
    with pytest.raises(CapacityError, match="give both the same probability"):
        noisy()
