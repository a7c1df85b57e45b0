"""To Qiskit and back: every gate and whole circuits against dense matrices, and Qiskit's numbers against torchbp's."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from helpers import dense_expectations, dense_unitary, equal_up_to_phase, random_circuit
from qiskit import QuantumCircuit
from qiskit.circuit import Parameter as QiskitParameter
from qiskit.circuit import ParameterVector
from qiskit.circuit.library import PermutationGate, zz_feature_map
from qiskit.primitives import StatevectorEstimator
from qiskit.quantum_info import Operator, Statevector
from torch import Tensor

from torchbp import QuantumLayer, torchquantum
from torchbp.circuits import (
    GATES,
    Circuit,
    PauliSum,
    amplitude_encoding,
    angle_encoding,
    feature,
    hardware_efficient,
    local_z,
    weight,
)
from torchbp.errors import CircuitError, InputError, MissingDependencyError, UnknownNameError
from torchbp.hardware import export, from_qiskit, load, to_qiskit
from torchbp.hardware.qiskit.files import sidecar
from torchbp.translation import packages
from torchbp.translation.qiskit.gates import append

tq = torchquantum

ASYMMETRIC = [PauliSum({"X0 Y2": 0.7, "Z1": -1.3, "I": 0.25}), PauliSum("Y0"), PauliSum({"Z0 Z1": 1.0, "X2": 0.5})]


def matrix_of(circuit: QuantumCircuit) -> np.ndarray:
    """Its matrix with wire 0 the most significant bit."""
    return np.asarray(Operator(circuit.reverse_bits()).data)


def rng_tensor(rng: np.random.Generator, *shape: int) -> Tensor:
    return torch.tensor(rng.uniform(-3, 3, shape))


def estimate(export, x=None, weights=None) -> np.ndarray:
    """(B, M) exact values of Qiskit's own estimator."""
    return np.asarray(StatevectorEstimator().run([export.pub(x, weights)]).result()[0].data.evs)


# Gates


@pytest.mark.parametrize("name", sorted(GATES))
def test_every_gate_has_its_matrix(name: str) -> None:
    """Oracle: the gate table's matrix. Wires in random order among others, inverted too, on 1 to 4 wires where free."""
    rng, row = np.random.default_rng(sum(map(ord, name))), GATES[name]
    for k in [row.n_wires] if row.n_wires else [1, 2, 3, 4]:
        for inverse in (False, True):
            wires = [int(w) for w in rng.permutation(k + 1)[:k]]
            angles = [float(a) for a in rng.uniform(-3, 3, row.n_params)]
            circuit = Circuit(k + 1).append(name, wires, *angles, inverse=inverse)
            qiskit = QuantumCircuit(k + 1)
            append(qiskit, circuit.operations[0], angles)
            assert equal_up_to_phase(matrix_of(qiskit), dense_unitary(circuit))
            back = from_qiskit(qiskit)
            assert equal_up_to_phase(dense_unitary(back), dense_unitary(circuit))


@pytest.mark.parametrize("name", sorted(name for name, row in GATES.items() if row.n_params))
def test_every_rotation_has_its_values_and_gradient(name: str) -> None:
    """Oracle: Qiskit's state vectors and their central differences, against autograd on the fused engine."""
    rng, row = np.random.default_rng(len(name)), GATES[name]
    k = row.n_wires or 3
    n = max(k, 2) + 1
    circuit = Circuit(n)
    for wire in range(n):
        circuit.append("u3", wire, *map(float, rng.uniform(-3, 3, 3)))
    wires = [int(w) for w in rng.permutation(n)[:k]]
    circuit.append(name, wires, *[float(rng.uniform(0.5, 2)) * weight() for _ in range(row.n_params)])
    circuit.append("cnot", (0, n - 1)).append("ry", 1, 0.4)
    observables = [PauliSum({"X0 Y2": 0.7, "Z1": -1.3}), PauliSum("Y0 Z2")]
    layer = QuantumLayer(circuit, observables, init=rng_tensor(rng, circuit.n_weights)).double()
    exported = to_qiskit(layer)

    def values(w: np.ndarray) -> np.ndarray:
        state = Statevector(exported.bound(weights=torch.tensor(w)))
        return np.array([state.expectation_value(o).real for o in exported.observables])

    start, y = layer.weights.detach().numpy(), layer()[0]
    assert np.allclose(values(start), y.detach().numpy(), atol=1e-10)
    for m in range(2):
        (gradient,) = torch.autograd.grad(y[m], layer.weights, retain_graph=True)
        steps = 1e-5 * np.eye(len(start))
        differences = [(values(start + s)[m] - values(start - s)[m]) / 2e-5 for s in steps]
        assert np.allclose(gradient.numpy(), differences, atol=1e-8)


# Circuits


@pytest.mark.parametrize("seed", range(6))
def test_random_circuits(seed: int) -> None:
    """Oracle: dense matrices. All gates, shared weights, products of features, inverses; back again, layers kept."""
    rng = np.random.default_rng(seed)
    circuit = random_circuit(rng, 4, 30)
    circuit = circuit.inverse() if seed % 2 else circuit
    x, w = rng_tensor(rng, 2, circuit.n_features), rng_tensor(rng, circuit.n_weights)
    exported = to_qiskit(circuit, ASYMMETRIC)
    assert equal_up_to_phase(matrix_of(exported.bound(x[1], w)), dense_unitary(circuit, x[1], w))
    assert np.allclose(estimate(exported, x, w), dense_expectations(circuit, ASYMMETRIC, x, w), atol=1e-9)
    back = from_qiskit(exported.circuit)
    assert equal_up_to_phase(dense_unitary(back, x[1], w), dense_unitary(circuit, x[1], w))
    assert by_layer(back) == by_layer(circuit)


def by_layer(circuit: Circuit) -> dict[str, set[int]]:
    return {layer.name: set(layer.weights) for layer in circuit.layers}


def test_more_than_ten_parameters_keep_their_order() -> None:
    """Oracle: the layer itself. Sorted as text, w[10] would come before w[2], and features before weights or after."""
    circuit = angle_encoding(3, rotation=("ry", "rz"), n_features=6) * 2 + hardware_efficient(3, depth=3)
    layer = QuantumLayer(circuit, ASYMMETRIC, generator=torch.Generator().manual_seed(0)).double()
    assert circuit.n_weights > 10
    x = torch.rand(4, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    assert np.allclose(estimate(to_qiskit(layer), x), layer(x).detach().numpy(), atol=1e-10)


def test_reuploaded_shared_and_constant() -> None:
    """Oracle: dense matrices. Data encoded three times, one weight in two gates with other factors, a fixed angle."""
    shared = weight()
    block = (
        Circuit(3).append("ry", 0, feature(0)).append("rx", 2, 2 * shared).append("crz", (2, 0), -0.5 * shared + 0.1)
    )
    circuit = (block.append("rzx", (1, 2), 0.3).append("cnot", (0, 1))) * 3
    assert (circuit.n_weights, circuit.n_features) == (3, 1)
    rng = np.random.default_rng(0)
    x, w = rng_tensor(rng, 3, 1), rng_tensor(rng, 3)
    exported = to_qiskit(circuit, ASYMMETRIC)
    assert np.allclose(estimate(exported, x, w), dense_expectations(circuit, ASYMMETRIC, x, w), atol=1e-10)


def test_two_layers_in_one_program() -> None:
    """Oracle: the layer of the composed circuit. Prefixes keep the parameters of the two apart."""
    one, two = hardware_efficient(3, depth=2), angle_encoding(3) + hardware_efficient(3, depth=2)
    first, second = to_qiskit(one, prefix="first_"), to_qiskit(two, ASYMMETRIC, prefix="second_")
    assert {p.name[: p.name.index("_")] for p in second.circuit.parameters} == {"second"}
    rng = np.random.default_rng(3)
    x, w = rng_tensor(rng, 1, 3), rng_tensor(rng, one.n_weights + two.n_weights)
    whole = first.circuit.compose(second.circuit)
    values = dict(zip([*first.weights, *second.weights, *second.features], [*w.tolist(), *x[0].tolist()], strict=True))
    state = Statevector(whole.assign_parameters(values))
    found = [state.expectation_value(o).real for o in second.observables]
    assert np.allclose(found, dense_expectations(one + two, ASYMMETRIC, x, w)[0], atol=1e-10)


@pytest.mark.parametrize(("n_wires", "n_features"), [(1, 2), (2, 3), (3, 8), (4, 11)])
def test_amplitude_encoding(n_wires: int, n_features: int) -> None:
    """Oracle: dense matrices. Amplitudes of both signs and zeros; the circuit comes back as it was."""
    circuit = amplitude_encoding(n_wires, n_features) + hardware_efficient(n_wires, depth=1)
    rng = np.random.default_rng(n_features)
    x, w = rng_tensor(rng, 3, n_features), rng_tensor(rng, circuit.n_weights)
    x[0, 1:] = 0
    x[1, : n_features // 2] = 0
    exported = to_qiskit(circuit, local_z(n_wires))
    assert np.allclose(estimate(exported, x, w), dense_expectations(circuit, local_z(n_wires), x, w), atol=1e-10)
    back = from_qiskit(exported.circuit)
    assert (back.n_amplitudes, back.n_features, len(back)) == (n_features, n_features, len(circuit))
    with pytest.raises(InputError, match="all zero"):
        exported.bindings(torch.zeros(1, n_features), w)


def test_torchquantum_modules_go_out_through_the_same_door() -> None:
    """Oracle: the TorchQuantum module. Its own encoder, trainable gates and layers, and its weights' values."""

    class Model(tq.QuantumModule):
        def __init__(self) -> None:
            super().__init__()
            self.n_wires = 3
            self.encoder = tq.GeneralEncoder([{"input_idx": [i], "func": "ry", "wires": [i]} for i in range(3)])
            self.layer = tq.layer.U3CU3Layer0({"n_wires": 3, "n_blocks": 2})
            self.measure = tq.MeasureAll(tq.PauliZ)

        def forward(self, device: tq.QuantumDevice, x: Tensor) -> Tensor:
            self.encoder(device, x)
            tq.functional.cnot(device, wires=[2, 0])
            self.layer(device)
            return self.measure(device)

    torch.manual_seed(0)
    model, x = Model(), torch.rand(3, 3)
    device = tq.QuantumDevice(n_wires=3, bsz=3)
    expected = model(device, x)
    layer = QuantumLayer.from_torchquantum(model, example=x)
    assert np.allclose(estimate(to_qiskit(layer), x), expected.detach().numpy(), atol=1e-5)


# From Qiskit


def test_a_qiskit_circuit_trains() -> None:
    """Oracle: Qiskit's estimator. Its ZZ feature map (products of features) before an ansatz, in Qiskit's order."""
    ansatz = QuantumCircuit(3)
    w = ParameterVector("θ", 12)
    for i in range(12):
        ansatz.ry(w[11 - i], i % 3)
        ansatz.cx(i % 3, (i + 1) % 3)
    features = ParameterVector("x", 3)
    circuit = zz_feature_map(3, reps=1).decompose()
    circuit = circuit.assign_parameters(dict(zip(circuit.parameters, features, strict=True))).compose(ansatz)
    layer = QuantumLayer(from_qiskit(circuit, features=features), ASYMMETRIC).double()
    assert (layer.circuit.n_weights, layer.circuit.n_features) == (12, 3)
    x = rng_tensor(np.random.default_rng(0), 1, 3)
    order = [p for p in circuit.parameters if p in set(w)]
    values = dict(zip([*order, *features], [*layer.weights.tolist(), *x[0].tolist()], strict=True))
    state = Statevector(circuit.assign_parameters(values))
    found = [state.expectation_value(o).real for o in to_qiskit(layer).observables]
    assert np.allclose(layer(x).detach().numpy(), found, atol=1e-10)
    layer(x).sum().backward()
    assert layer.weights.grad.abs().max() > 1e-3


def test_what_the_gate_table_lacks_is_taken_apart() -> None:
    """Oracle: Qiskit's matrix of the same circuit. Controlled on 0, defined gates, sums of parameters, permutations."""
    a, b = QiskitParameter("a"), QiskitParameter("b")
    inner = QuantumCircuit(2, name="mine")
    inner.u(a, 2 * a - 0.5 * b + 1, b, 0)
    inner.cry(a + b, 1, 0)
    circuit = QuantumCircuit(4)
    circuit.append(inner.to_gate(), [2, 0])
    circuit.append(PermutationGate([2, 0, 1]), [1, 3, 0])
    circuit.barrier()
    circuit.ccx(3, 1, 0, ctrl_state=1)
    circuit.mcx([0, 1, 2], 3)
    circuit.append(QuantumCircuit(3, global_phase=0.3).to_gate().control(1), [0, 1, 2, 3])
    circuit.rv(0.1, 0.2, 0.3, 0)
    circuit.measure_all()
    found = from_qiskit(circuit)
    circuit.remove_final_measurements()
    bound = circuit.assign_parameters({a: 0.4, b: -1.1})
    assert equal_up_to_phase(matrix_of(bound), dense_unitary(found, weights=[0.4, -1.1]))


@pytest.mark.parametrize(
    ("build", "features", "message"),
    [
        (lambda c, p: c.rx(p.sin(), 0), None, r"The angle sin\(p\) has no place in a torchbp circuit"),
        (lambda c, p: c.rx(p * p, 0), None, r"The angle .* has no place"),
        (lambda c, p: c.rx(1 / (p + 1), 0), ["p"], r"The angle .* has no place"),
        (lambda c, p: c.reset(0), None, r"'reset' on qubits \[0\] is no gate"),
        (lambda c, p: (c.measure_all(), c.x(0)), None, r"'x' acts on qubits \[0\] after a measurement"),
        (lambda c, p: c.rx(p, 0), ["q"], "features= names 'q', and the circuit's parameters are: p"),
        (lambda c, p: c.rx(p, 0), [3], "features= names 3, and"),
    ],
)
def test_what_cannot_come_in(build, features, message) -> None:
    circuit, p = QuantumCircuit(1), QiskitParameter("p")
    build(circuit, p)
    with pytest.raises(CircuitError, match=message):
        from_qiskit(circuit, features)


# Files


@pytest.mark.parametrize("format", ["qpy", "qasm3"])
def test_files_keep_everything(tmp_path, format: str) -> None:
    """Oracle: the layer that was written. All gates, more than 12 weights, layers, observables, values."""
    rng = np.random.default_rng(5)
    circuit = random_circuit(rng, 3, 30) + hardware_efficient(3, depth=2)
    layer = QuantumLayer(circuit, ASYMMETRIC).double()
    path = export(layer, tmp_path / f"layer.{format}", format, prefix="q_")
    assert sidecar(path).exists() == (format == "qasm3")
    loaded = load(path)
    again = loaded.layer().double()
    again.load_state_dict({"weights": loaded.weights})
    x = rng_tensor(rng, 2, circuit.n_features)
    assert torch.allclose(again(x), layer(x), atol=1e-9)
    assert by_layer(again.circuit) == by_layer(circuit)
    assert loaded.observables == layer.observables


def test_qasm2_is_one_sample(tmp_path) -> None:
    """Oracle: the layer at that sample."""
    layer = QuantumLayer(angle_encoding(3) + hardware_efficient(3, depth=2), ASYMMETRIC).double()
    x = rng_tensor(np.random.default_rng(0), 3)
    loaded = load(export(layer, tmp_path / "a.qasm", "qasm2", x=x))
    assert (loaded.circuit.n_weights, loaded.circuit.n_features, loaded.weights) == (0, 0, None)
    values = QuantumLayer(loaded.circuit, loaded.observables)()
    assert torch.allclose(values.double(), layer(x[None]), atol=1e-5)


def test_files_of_others(tmp_path) -> None:
    """A file without notes: all parameters are weights, the gate a file defines is what it defines, not its name."""
    path = tmp_path / "their.qasm"
    path.write_text('OPENQASM 2.0; include "qelib1.inc"; gate ccz a { h a; } qreg q[2]; ccz q[1]; rx(0.5) q[0];')
    assert equal_up_to_phase(
        dense_unitary(load(path).circuit), dense_unitary(Circuit(2).append("h", 1).append("rx", 0, 0.5))
    )


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        (("a.txt",), InputError, "'a.txt' does not tell the format: give format=, one of qpy, qasm3, qasm2"),
        (("a.qpy", "qasm"), UnknownNameError, "Unknown format 'qasm'. Did you mean 'qasm3'"),
        (("a.qasm", "qasm2"), InputError, r"x must have shape \(batch, 2\), got nothing"),
    ],
)
def test_wrong_export(tmp_path, arguments, error, message) -> None:
    layer = QuantumLayer(angle_encoding(2))
    with pytest.raises(error, match=message):
        export(layer, tmp_path / arguments[0], *arguments[1:])


def test_wrong_files(tmp_path) -> None:
    layer, path = QuantumLayer(hardware_efficient(2, 1)), tmp_path / "a.qasm"
    with pytest.raises(InputError, match="keeps features as parameters"):
        export(layer, path, "qasm3", x=torch.zeros(0))
    with pytest.raises(InputError, match=r"a\.qasm can't be read \(No such file"):
        load(path)
    path.write_text("Hello")
    with pytest.raises(InputError, match="neither QPY nor OpenQASM"):
        load(path)
    export(layer, path)
    notes = json.loads(sidecar(path).read_text())
    notes["torchbp"]["format"] = 99
    sidecar(path).write_text(json.dumps(notes))
    with pytest.raises(InputError, match="has format 99, and this torchbp reads up to 1"):
        load(path)


def test_wrong_sources_and_bindings() -> None:
    layer = QuantumLayer(angle_encoding(2) + hardware_efficient(2, 1))
    with pytest.raises(CircuitError, match="takes a QuantumLayer or a Circuit, got Linear"):
        to_qiskit(torch.nn.Linear(1, 1))
    with pytest.raises(CircuitError, match="A layer has its own observables"):
        to_qiskit(layer, local_z(2))
    exported = to_qiskit(layer.circuit)
    with pytest.raises(InputError, match=r"reads 2 features: x must have shape \(batch, 2\), got \(1, 3\)"):
        exported.bindings(torch.zeros(1, 3))
    with pytest.raises(InputError, match="no observables to estimate: give observables="):
        exported.pub(torch.zeros(1, 2))
    with pytest.raises(InputError, match="weights, got none: give weights="):
        exported.bindings(torch.zeros(1, 2))
    with pytest.raises(InputError, match=r"x must have shape \(F,\), got 2 samples"):
        to_qiskit(layer).bound(torch.zeros(2, 2))
    with pytest.raises(CircuitError, match=r"uses weights \[11\] and layer 1; the circuit has 1 weights and 1 la"):
        Circuit.of(2, [(hardware_efficient(2, 1) * 2).operations[-2]], ["a"], 1)


def test_a_missing_package(monkeypatch) -> None:
    """Each package names the extra that brings it."""
    monkeypatch.setattr(packages, "import_module", lambda name: (_ for _ in ()).throw(ImportError("No module")))
    with pytest.raises(MissingDependencyError, match=r"needs Qiskit Aer.*pip install 'torchbp\[qiskit\]'"):
        packages.need("qiskit_aer")
    with pytest.raises(MissingDependencyError, match=r"needs the IBM.*pip install 'torchbp\[ibm\]'"):
        packages.need("qiskit_ibm_runtime")
