"""Every simulating backend against the same oracles, and the registry's messages."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from helpers import dense_expectations, dense_state, random_circuit, random_state
from torch import Tensor

from torchbp.backends import BACKENDS, FusedBackend, TorchQuantumBackend, resolve_backend
from torchbp.backends.base import per_sample_gradients
from torchbp.circuits import Circuit, PauliSum, feature, local_z, weight
from torchbp.errors import BackendError, UnknownNameError

SIZES = [(1, 17), (2, 33), (3, 16), (4, 7), (5, 2), (6, 18), (7, 1)]  # (wires, samples)


def random_observables(rng: np.random.Generator, n_wires: int, count: int) -> list[PauliSum]:
    """Sums of up to four Pauli strings, identities and repeated X-patterns among them."""
    sums = []
    for _ in range(count):
        terms = {}
        for _ in range(rng.integers(1, 5)):
            letters = [f"{'IXYZ'[rng.integers(4)]}{wire}" for wire in range(n_wires)]
            terms[" ".join(letter for letter in letters if letter[0] != "I") or "I"] = float(rng.normal())
        sums.append(PauliSum(terms))
    return sums


def random_case(
    seed: int, n_wires: int, batch: int, gates: int = 25
) -> tuple[Circuit, list[PauliSum], Tensor, Tensor, Tensor]:
    """(circuit, observables, x, weights, cotangent) in float64."""
    rng = np.random.default_rng(seed)
    circuit = random_circuit(rng, n_wires, gates).freeze()
    observables = random_observables(rng, n_wires, 1 + seed % 3)
    x = torch.from_numpy(rng.normal(size=(batch, circuit.n_features)))
    weights = torch.from_numpy(rng.normal(size=circuit.n_weights))
    return circuit, observables, x, weights, torch.from_numpy(rng.normal(size=(batch, len(observables))))


@pytest.mark.parametrize("seed", range(14))
def test_random_circuits(seed: int) -> None:
    """Oracle: dense matrices, sample by sample; weights shared and for each sample."""
    n_wires, batch = SIZES[seed % 7]
    circuit, observables, x, weights, _ = random_case(seed, n_wires, batch, gates=40 - 4 * n_wires)
    for given in (weights, weights + torch.arange(batch)[:, None] / 7):
        wanted = torch.from_numpy(dense_expectations(circuit, observables, x.numpy(), given.numpy()))
        for backend, dtype, tolerance in (
            (FusedBackend(), torch.float64, 1e-10),
            (FusedBackend(), torch.float32, 1e-5),
            (TorchQuantumBackend(), torch.float32, 1e-5),
        ):
            got = backend.expectations(circuit, observables, x.to(dtype), given.to(dtype))
            assert got.dtype == dtype
            scale = max(observable.bound for observable in observables)
            torch.testing.assert_close(got.double(), wanted, rtol=tolerance, atol=tolerance * scale)


@pytest.mark.parametrize("backend", [FusedBackend(), TorchQuantumBackend()], ids=["fused", "torchquantum"])
def test_states(backend) -> None:
    """Oracle: dense matrices; from |0...0>, and from a given state."""
    circuit, _, x, weights, _ = random_case(5, 4, 3)
    start = torch.from_numpy(np.stack([random_state(np.random.default_rng(b), 4) for b in range(3)])).cfloat()
    for initial in (None, start):
        got = backend.states(circuit, x.float(), weights.float(), initial)
        for b in range(3):
            given = None if initial is None else initial[b].numpy()
            wanted = dense_state(circuit, x[b].numpy(), weights.numpy(), given)
            torch.testing.assert_close(got[b], torch.from_numpy(wanted).cfloat(), rtol=0, atol=2e-5)


@pytest.mark.parametrize("seed", range(7))
def test_gradients_agree(seed: int) -> None:
    """Oracle: autograd through TorchQuantum's gates, float32."""
    n_wires, batch = SIZES[seed]
    circuit, observables, x, weights, cotangent = (
        t.float() if isinstance(t, Tensor) else t for t in random_case(seed, n_wires, batch)
    )
    found = []
    for backend in (FusedBackend(), TorchQuantumBackend()):
        leaves = weights.clone().requires_grad_(), x.clone().requires_grad_()
        total = (backend.expectations(circuit, observables, leaves[1], leaves[0]) * cotangent).sum()
        found.append(torch.autograd.grad(total, leaves, allow_unused=True, materialize_grads=True))
    scale = 1 + max(g.abs().max().item() for g in found[1] if g.numel())
    for got, wanted in zip(*found, strict=True):
        torch.testing.assert_close(got, wanted, rtol=0, atol=2e-5 * scale)


@pytest.mark.parametrize("backend", [FusedBackend(), TorchQuantumBackend()], ids=["fused", "torchquantum"])
def test_per_sample_gradients(backend) -> None:
    """Oracle: one backward pass for each sample."""
    circuit, observables, x, weights, cotangent = (
        t.float() if isinstance(t, Tensor) else t for t in random_case(4, 4, 9)
    )
    rows = []
    for b in range(len(x)):
        leaf = weights.clone().requires_grad_()
        y = TorchQuantumBackend().expectations(circuit, observables, x[b : b + 1], leaf)
        rows.append(torch.autograd.grad((y * cotangent[b]).sum(), leaf)[0])
    got = per_sample_gradients(backend, circuit, observables, x, weights, cotangent)
    torch.testing.assert_close(got, torch.stack(rows), rtol=1e-5, atol=1e-4)


def test_pennylane() -> None:
    """Oracle: PennyLane's default.qubit on gates both know."""
    qml = pytest.importorskip("pennylane")
    names = {
        "rx": qml.RX, "ry": qml.RY, "rz": qml.RZ, "p": qml.PhaseShift, "rxx": qml.IsingXX, "ryy": qml.IsingYY,
        "rzz": qml.IsingZZ, "crx": qml.CRX, "cry": qml.CRY, "crz": qml.CRZ, "cp": qml.ControlledPhaseShift,
        "singleexcitation": qml.SingleExcitation, "h": qml.Hadamard, "s": qml.S, "t": qml.T, "sx": qml.SX,
        "cnot": qml.CNOT, "cz": qml.CZ, "cy": qml.CY, "swap": qml.SWAP, "iswap": qml.ISWAP, "ecr": qml.ECR,
        "toffoli": qml.Toffoli, "cswap": qml.CSWAP, "rot": qml.Rot, "u3": qml.U3, "multirz": qml.MultiRZ,
    }  # fmt: skip
    rng = np.random.default_rng(8)
    for n_wires in (3, 5):
        circuit = random_circuit(rng, n_wires, 40, n_features=0, gates=list(names)).freeze()
        weights = rng.normal(size=circuit.n_weights)

        @qml.qnode(qml.device("default.qubit", wires=n_wires))
        def run(circuit=circuit, weights=weights):
            for op in circuit.operations:
                angles = [p.offset + (p.scale * weights[p.indices[0]] if p.indices else 0) for p in op.parameters]
                gate = names[op.gate.name](*angles, wires=op.wires)
                if op.inverse:
                    qml.adjoint(gate)
            return qml.state()

        got = FusedBackend().states(circuit, torch.empty(1, 0).double(), torch.from_numpy(weights))[0]
        torch.testing.assert_close(got, torch.as_tensor(np.asarray(run())), rtol=0, atol=1e-10)


def test_qiskit() -> None:
    """Oracle: Qiskit's Statevector, whose qubit order is the reverse."""
    library = pytest.importorskip("qiskit.circuit.library")
    info = pytest.importorskip("qiskit.quantum_info")
    qiskit = pytest.importorskip("qiskit")
    names = {
        "rx": "RXGate", "ry": "RYGate", "rz": "RZGate", "p": "PhaseGate", "rxx": "RXXGate", "ryy": "RYYGate",
        "rzz": "RZZGate", "rzx": "RZXGate", "crx": "CRXGate", "cry": "CRYGate", "crz": "CRZGate", "cp": "CPhaseGate",
        "r": "RGate", "u2": "U2Gate", "u3": "U3Gate", "cu3": "CU3Gate", "cu": "CUGate", "h": "HGate", "sx": "SXGate",
        "sdg": "SdgGate", "t": "TGate", "ch": "CHGate", "cnot": "CXGate", "csx": "CSXGate", "dcx": "DCXGate",
        "ecr": "ECRGate", "iswap": "iSwapGate", "toffoli": "CCXGate", "cswap": "CSwapGate", "rccx": "RCCXGate",
    }  # fmt: skip
    rng = np.random.default_rng(9)
    for n_wires in (3, 5):
        circuit = random_circuit(rng, n_wires, 40, n_features=0, gates=list(names)).freeze()
        weights = rng.normal(size=circuit.n_weights)
        theirs = qiskit.QuantumCircuit(n_wires)
        for op in circuit.operations:
            angles = [p.offset + (p.scale * weights[p.indices[0]] if p.indices else 0) for p in op.parameters]
            gate = getattr(library, names[op.gate.name])(*angles)
            # Their CU and controlled rotations, like all gates, count qubits from the least significant one.
            theirs.append(gate.inverse() if op.inverse else gate, list(op.wires))
        wanted = info.Statevector(theirs.reverse_bits()).data
        got = FusedBackend().states(circuit, torch.empty(1, 0).double(), torch.from_numpy(weights))[0]
        torch.testing.assert_close(got, torch.as_tensor(wanted), rtol=0, atol=1e-10)


def test_registry() -> None:
    """Names become backends; objects with the protocol pass; anything else is refused."""
    assert {name: resolve_backend(name).name for name in BACKENDS} == {name: name for name in BACKENDS}
    backend = FusedBackend()
    assert resolve_backend(backend) is backend
    with pytest.raises(UnknownNameError, match="Did you mean 'fused'"):
        resolve_backend("fuse")
    with pytest.raises(BackendError, match="the attribute `name` and the methods"):
        resolve_backend(object())  # type: ignore[arg-type]


def test_torchquantum_refuses_double() -> None:
    circuit = Circuit(1).append("rx", 0, weight()).append("ry", 0, feature(0)).freeze()
    with pytest.raises(BackendError, match='use backend="fused" for double precision'):
        TorchQuantumBackend().expectations(circuit, local_z(1), torch.ones(1, 1).double(), torch.ones(1).double())
