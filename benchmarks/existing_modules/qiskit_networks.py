"""Qiskit's library of ansätze and feature maps, and Qiskit Machine Learning's networks, one connector each."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable
from typing import Any

import torch
from qiskit.circuit import ParameterVector, QuantumCircuit
from qiskit.circuit import library as lib
from qiskit.primitives import StatevectorEstimator
from qiskit.quantum_info import Pauli, SparsePauliOp
from qiskit.transpiler import CouplingMap, generate_preset_pass_manager
from qiskit_machine_learning.circuit.library import qnn_circuit
from qiskit_machine_learning.connectors import TorchConnector
from qiskit_machine_learning.neural_networks import EstimatorQNN, SamplerQNN
from torch import Tensor, nn

CASES: dict[str, Callable[[], tuple[nn.Module, Tensor]]] = {}
"""Of each name a function that makes a connector, and a batch for it."""
BATCH = 3


def z_on_each(n: int) -> list[SparsePauliOp]:
    return [SparsePauliOp.from_sparse_list([("Z", [wire], 1.0)], n) for wire in range(n)]


def angles(n: int) -> QuantumCircuit:
    circuit, x = QuantumCircuit(n), ParameterVector("x", n)
    for wire in range(n):
        circuit.ry(x[wire], wire)
    return circuit


def estimator(features: QuantumCircuit, ansatz: QuantumCircuit, observables: Any = None, **options: Any) -> nn.Module:
    circuit = features.compose(ansatz)
    network = EstimatorQNN(
        circuit=circuit,
        estimator=StatevectorEstimator(),
        observables=z_on_each(circuit.num_qubits) if observables is None else observables,
        input_params=list(features.parameters),
        weight_params=list(ansatz.parameters),
        input_gradients=True,
        default_precision=0.0,
        **options,
    )
    return TorchConnector(network)


def sampler(interpret: Any = None, shape: int | None = None, measured: Iterable[int] = ()) -> nn.Module:
    features, ansatz = lib.zz_feature_map(3, 1), lib.real_amplitudes(3, reps=1)
    circuit = features.compose(ansatz)
    if measured := list(measured):
        kept = QuantumCircuit(3, len(measured))
        kept.compose(circuit, inplace=True)
        kept.measure(measured, range(len(measured)))
        circuit = kept
    network = SamplerQNN(
        circuit=circuit,
        interpret=interpret,
        output_shape=shape,
        input_params=list(features.parameters),
        weight_params=list(ansatz.parameters),
        input_gradients=True,
    )
    return TorchConnector(network)


def case(name: str, make: Callable[[], nn.Module], batch: int = BATCH) -> None:
    def build() -> tuple[nn.Module, Tensor]:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the classes among the library's circuits are deprecated, and used
            module = make()
        return module, 2 * torch.rand(batch, module.neural_network.num_inputs) - 1

    CASES[name] = build


HAMILTONIAN = SparsePauliOp.from_sparse_list([("ZZ", [0, 1], 0.7), ("ZZ", [1, 2], -0.4), ("X", [1], 0.2)], 3)
ANSATZE = {
    "real_amplitudes": lambda: lib.real_amplitudes(3, reps=2),
    "efficient_su2": lambda: lib.efficient_su2(3, reps=1),
    "n_local": lambda: lib.n_local(3, ["rx", "rz"], "crz", "circular", reps=1),
    "pauli_two_design": lambda: lib.pauli_two_design(3, reps=2, seed=1),
    "excitation_preserving": lambda: lib.excitation_preserving(3, reps=1, mode="fsim"),
    "qaoa_ansatz": lambda: lib.qaoa_ansatz(HAMILTONIAN, reps=2),
    "hamiltonian_variational_ansatz": lambda: lib.hamiltonian_variational_ansatz(HAMILTONIAN, reps=1),
    "evolved_operator_ansatz": lambda: lib.evolved_operator_ansatz([HAMILTONIAN, SparsePauliOp("IXY")], reps=1),
    "RealAmplitudes": lambda: lib.RealAmplitudes(3, reps=1),
    "EfficientSU2": lambda: lib.EfficientSU2(3, reps=1),
    "TwoLocal": lambda: lib.TwoLocal(3, ["ry", "rz"], "cx", "linear", reps=1),
    "NLocal": lambda: lib.NLocal(3, lib.RXGate(ParameterVector("a", 1)[0]), lib.CCXGate(), reps=1),
    "PauliTwoDesign": lambda: lib.PauliTwoDesign(3, reps=1, seed=2),
    "ExcitationPreserving": lambda: lib.ExcitationPreserving(3, reps=1),
    "QAOAAnsatz": lambda: lib.QAOAAnsatz(SparsePauliOp(["IZZ", "ZZI"], [0.7, -0.4]), reps=1),
    "EvolvedOperatorAnsatz": lambda: lib.EvolvedOperatorAnsatz([SparsePauliOp("ZZI"), SparsePauliOp("IXX")], reps=1),
}
FEATURE_MAPS = {
    "z_feature_map": lambda: lib.z_feature_map(3),
    "zz_feature_map": lambda: lib.zz_feature_map(3),
    "pauli_feature_map": lambda: lib.pauli_feature_map(3, paulis=["Z", "XY", "ZZZ"]),
    "ZFeatureMap": lambda: lib.ZFeatureMap(3, reps=1),
    "ZZFeatureMap": lambda: lib.ZZFeatureMap(3, reps=1),
    "PauliFeatureMap": lambda: lib.PauliFeatureMap(3, reps=1, paulis=["Z", "YY"]),
}
for name, ansatz in ANSATZE.items():
    case(name, lambda ansatz=ansatz: estimator(angles(3), ansatz()))
for name, features in FEATURE_MAPS.items():
    case(name, lambda features=features: estimator(features(), lib.real_amplitudes(3, reps=1)))
LIBRARY = tuple(CASES)
"""The library's circuits; what follows are networks."""


def _qnn_circuit() -> nn.Module:
    circuit, features, weights = qnn_circuit(3)
    return TorchConnector(EstimatorQNN(circuit=circuit, input_params=features, weight_params=weights))


def _laid_out() -> nn.Module:
    """For a machine of seven qubits, on which the circuit's stand in another order."""
    features, ansatz = angles(3), lib.real_amplitudes(3, reps=1)
    couplings = CouplingMap([(0, 1), (1, 2), (1, 3), (3, 5), (4, 5), (5, 6)])
    manager = generate_preset_pass_manager(
        1, coupling_map=couplings, basis_gates=["rz", "sx", "x", "cx"], initial_layout=[5, 3, 4], seed_transpiler=1
    )
    circuit = manager.run(features.compose(ansatz))
    observables = [o.apply_layout(circuit.layout) for o in z_on_each(3)]
    network = EstimatorQNN(
        circuit=circuit, observables=observables, input_params=features.parameters, weight_params=ansatz.parameters
    )
    return TorchConnector(network)


def _shared_weights() -> nn.Module:
    """Affine expressions of weights and features, sums of both, and one weight in several gates."""
    x, w = ParameterVector("x", 2), ParameterVector("w", 3)
    circuit = QuantumCircuit(2)
    circuit.rx(2 * x[0] + w[0] - 0.3, 0)
    circuit.u(w[1] / 2, x[1] + w[2], 0.4, 1)
    circuit.rzz(x[0] * x[1], 0, 1)
    circuit.ry(-w[0], 1)
    circuit.crx(w[1] + w[2], 1, 0)
    return TorchConnector(EstimatorQNN(circuit=circuit, observables=z_on_each(2), input_params=x, weight_params=w))


def _not_affine() -> nn.Module:
    x, w = ParameterVector("x", 1), ParameterVector("w", 1)
    circuit = QuantumCircuit(1)
    circuit.ry(x[0] * w[0], 0)
    return TorchConnector(EstimatorQNN(circuit=circuit, input_params=x, weight_params=w))


OBSERVABLES = [Pauli("XYZ"), HAMILTONIAN]
case("qnn_circuit", _qnn_circuit)
case("laid out for a machine", _laid_out)
case("parameter expressions", _shared_weights)
case("observables of all kinds", lambda: estimator(angles(3), lib.real_amplitudes(3, reps=1), OBSERVABLES))
case("SamplerQNN", sampler)
case("SamplerQNN, parity", lambda: sampler(lambda outcome: f"{outcome:b}".count("1") % 2, 2))
# One sample: of a batch, version 0.9.1 returns the mean of all samples in every row where a circuit measures by itself.
case("SamplerQNN, two qubits measured", lambda: sampler(lambda outcome: outcome, 4, measured=[2, 0]), batch=1)
case("evolution by terms that don't commute", lambda: estimator(angles(3), lib.QAOAAnsatz(HAMILTONIAN, reps=1)))
case("weight times feature", _not_affine)
