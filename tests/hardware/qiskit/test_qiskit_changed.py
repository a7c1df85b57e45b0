"""Circuits that Qiskit has worked on since `to_qiskit` made them: imported as what they are, or refused."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from helpers import dense_unitary, equal_up_to_phase
from qiskit import QuantumCircuit, qpy, transpile
from qiskit.circuit import Parameter as QiskitParameter
from qiskit.primitives import StatevectorEstimator
from qiskit.quantum_info import Operator
from qiskit.transpiler import CouplingMap
from qiskit_aer.primitives import EstimatorV2 as AerEstimator
from torch import Tensor

from torchbp import Circuit, PauliSum, QuantumLayer, weight
from torchbp.circuits import amplitude_encoding, angle_encoding, hardware_efficient, local_z
from torchbp.errors import CircuitError
from torchbp.hardware import export, from_qiskit, load, to_qiskit
from torchbp.translation.qiskit.notes import CHANGED

BASIS = ["rz", "sx", "x", "cx"]
WARNING = CHANGED.partition(":")[0]


def angles() -> QuantumLayer:
    generator = torch.Generator().manual_seed(0)
    circuit = angle_encoding(3) + hardware_efficient(3, 2)
    return QuantumLayer(circuit, local_z(3), init="uniform", generator=generator).double()


def amplitudes() -> QuantumLayer:
    generator = torch.Generator().manual_seed(1)
    circuit = amplitude_encoding(2) + hardware_efficient(2, 2)
    return QuantumLayer(circuit, local_z(2), init="uniform", generator=generator).double()


def features(layer: QuantumLayer) -> Tensor:
    shape = 4, layer.circuit.n_features
    return torch.rand(shape, generator=torch.Generator().manual_seed(2), dtype=torch.float64)


def values(circuit: Circuit, layer: QuantumLayer) -> Tensor:
    """The imported circuit at the layer's weights and features."""
    return QuantumLayer(circuit, layer.observables, init=layer.weights.detach()).double()(features(layer))


def measured(circuit: QuantumCircuit) -> QuantumCircuit:
    circuit.measure_all()
    return circuit


def extended(circuit: QuantumCircuit) -> QuantumCircuit:
    circuit.x(0)
    circuit.x(0)
    return circuit


@pytest.mark.parametrize("make", [angles, amplitudes])
@pytest.mark.parametrize("change", [QuantumCircuit.copy, measured], ids=["copy", "measured"])
def test_what_changes_no_gate_keeps_everything(make: Callable[[], QuantumLayer], change: Callable) -> None:
    """Oracle: the layer that was exported."""
    layer = make()
    back = from_qiskit(change(to_qiskit(layer).circuit))
    torch.testing.assert_close(values(back, layer), layer(features(layer)))
    assert [(g.name, g.weights) for g in back.layers] == [(g.name, g.weights) for g in layer.circuit.layers]
    assert back.n_amplitudes == layer.circuit.n_amplitudes


@pytest.mark.parametrize(
    ("make", "change"),
    [
        (angles, lambda c: transpile(c, basis_gates=BASIS, optimization_level=0)),
        (angles, lambda c: transpile(c, basis_gates=BASIS, optimization_level=1)),
        (angles, lambda c: transpile(c, basis_gates=BASIS, optimization_level=3)),
        (angles, lambda c: c.decompose()),
        (angles, extended),
        (angles, lambda c: transpile(c, basis_gates=BASIS, coupling_map=CouplingMap.from_line(5), seed_transpiler=1)),
        (amplitudes, extended),
    ],
)
def test_changed_gates_lose_the_layers_and_nothing_else(make: Callable[[], QuantumLayer], change: Callable) -> None:
    """Oracle: the layer that was exported, of which all of these are another way to write it."""
    layer = make()
    with pytest.warns(UserWarning, match=WARNING):
        back = from_qiskit(change(to_qiskit(layer).circuit))
    torch.testing.assert_close(values(back, layer), layer(features(layer)))
    assert [(g.name, len(g.weights)) for g in back.layers if g.weights] == [("weights", layer.circuit.n_weights)]


def test_gates_that_were_added_count() -> None:
    """Oracle: <Z0> changes its sign behind an X; a new parameter is one more weight."""
    layer = angles()
    circuit = to_qiskit(layer).circuit
    circuit.x(0)
    circuit.rz(QiskitParameter("aaa"), 0)
    with pytest.warns(UserWarning, match=WARNING):
        back = from_qiskit(circuit)
    new = QuantumLayer(back, layer.observables, init=torch.cat([layer.weights.detach(), torch.ones(1)])).double()
    y = new(features(layer))
    torch.testing.assert_close(-y[:, 0], layer(features(layer))[:, 0])


@pytest.mark.parametrize("make", [angles, amplitudes])
def test_numbers_in_place_of_parameters(make: Callable[[], QuantumLayer]) -> None:
    """Oracle: the layer at that sample. Nothing is left to train, or to encode."""
    layer = make()
    back = from_qiskit(to_qiskit(layer).bound(features(layer)[0]))
    assert (back.n_weights, back.n_features, back.n_amplitudes) == (0, 0, 0)
    torch.testing.assert_close(QuantumLayer(back, layer.observables).double()()[0], layer(features(layer))[0])


def test_some_weights_bound() -> None:
    """Oracle: the layer; the weights that are left keep their order and their layers."""
    layer = angles()
    exported = to_qiskit(layer)
    some = {p: v for p, v in zip(exported.weights, layer.weights.tolist(), strict=True) if p.index % 3}
    back = from_qiskit(exported.circuit.assign_parameters(some))
    rest = layer.weights.detach()[::3]
    assert [g.name for g in back.layers] == [g.name for g in layer.circuit.layers]
    torch.testing.assert_close(
        QuantumLayer(back, layer.observables, init=rest).double()(features(layer)), layer(features(layer))
    )


def test_changed_amplitudes_are_refused() -> None:
    """Their angles are functions of features that the circuit no longer tells."""
    circuit = to_qiskit(amplitudes()).circuit
    before = QuantumCircuit(2)
    before.x(0)
    for changed in (transpile(circuit, basis_gates=BASIS), circuit.compose(before, front=True)):
        with (
            pytest.warns(UserWarning, match=WARNING),
            pytest.raises(CircuitError, match=r"encode amplitudes were changed .* \(a\[0\], ...\) are functions of"),
        ):
            from_qiskit(changed)


@pytest.mark.parametrize("seed", range(8))
def test_a_layout_is_applied(seed: int) -> None:
    """Oracle: Qiskit's matrix of the circuit before it was transpiled, onto a line with other, idle or used, qubits."""
    rng = np.random.default_rng(seed)
    circuit = QuantumCircuit(4)
    for _ in range(12):
        a, b = rng.permutation(4)[:2].tolist()
        circuit.ry(rng.uniform(-3, 3), a)
        circuit.cx(a, b)
    far = transpile(
        circuit,
        coupling_map=CouplingMap.from_line(6) if seed % 2 else CouplingMap.from_ring(5),
        initial_layout=rng.permutation(5)[:4].tolist(),
        optimization_level=seed % 3,
        seed_transpiler=seed,
    )
    found = from_qiskit(far)
    wanted = np.asarray(Operator(circuit.reverse_bits()).data)
    others = 2 ** (found.n_wires - 4)
    matrix = dense_unitary(found).reshape(16, others, 16, others)[:, 0, :, 0]
    assert equal_up_to_phase(matrix, wanted)


def test_a_layout_that_does_not_fit_is_refused() -> None:
    far = transpile(QuantumCircuit(2), coupling_map=CouplingMap.from_line(3), initial_layout=[2, 0])
    more = QuantumCircuit(4)
    more.h(3)
    more._layout = far.layout
    with pytest.raises(CircuitError, match="4 qubits, and its layout, from being transpiled, tells of 3"):
        from_qiskit(more)


def test_files_that_were_changed(tmp_path) -> None:
    """Oracle: <Z0> behind an X. In QPY the circuit tells, in OpenQASM the text."""
    layer = angles()
    for name in ("a.qpy", "a.qasm"):
        path = export(layer, tmp_path / name)
        if name.endswith("qpy"):
            with path.open("rb") as file:
                (circuit,) = qpy.load(file)
            circuit.x(0)
            with path.open("wb") as file:
                qpy.dump(circuit, file)
        else:
            path.write_text(path.read_text() + "x q[0];\n")
        with pytest.warns(UserWarning, match=WARNING):
            loaded = load(path)
        y = loaded.layer().double()(features(layer))
        torch.testing.assert_close(-y[:, 0], layer(features(layer))[:, 0], rtol=0, atol=1e-6)


def test_terms_of_an_angle_that_cancel(tmp_path) -> None:
    """Oracle: the layer. One weight as both phases of a CU3, whose definition subtracts one from the other."""
    shared = weight()
    layer = QuantumLayer(Circuit(2).append("h", 0).append("cu3", (0, 1), weight(), shared, shared), "Z1").double()
    path = export(layer, tmp_path / "a.qasm")
    torch.testing.assert_close(load(path).layer().double()(), layer())
    p = QiskitParameter("p")
    circuit = QuantumCircuit(1)
    circuit.rx((p - p) / 2 + 0.3, 0)
    circuit.ry(p, 0)
    assert equal_up_to_phase(
        dense_unitary(from_qiskit(circuit), weights=[0.4]),
        dense_unitary(Circuit(1).append("rx", 0, 0.3).append("ry", 0, 0.4)),
    )


def controlled() -> QuantumLayer:
    """More than ten weights on controlled rotations, three observables."""
    circuit = angle_encoding(3)
    for i in range(14):
        name = ["crx", "cry", "crz", "cu3", "rx"][i % 5]
        wires = i % 3 if name == "rx" else (i % 3, (i + 1) % 3)
        circuit.append(name, wires, *(weight() for _ in range(3 if name == "cu3" else 1)))
    observables = ["Z0", "X1 Y2", PauliSum({"Z0 Z1": 0.5, "X2": -1.0})]
    return QuantumLayer(circuit, observables, init="uniform", generator=torch.Generator().manual_seed(0)).double()


@pytest.mark.parametrize("batch", [1, 3, 4])
@pytest.mark.parametrize("estimator", [StatevectorEstimator, AerEstimator])
@pytest.mark.parametrize("transpiled", [False, True])
def test_a_pub_gives_every_observable_of_every_sample(estimator, batch: int, transpiled: bool) -> None:
    """Oracle: the layer; as many samples as observables, and another number; on two estimators, transpiled too."""
    layer = controlled()
    x = features(layer)[:batch]
    exported = to_qiskit(layer)
    line = CouplingMap.from_line(4)
    far = transpile(exported.circuit, coupling_map=line, initial_layout=[2, 0, 3], seed_transpiler=0)
    values = estimator().run([exported.pub(x, circuit=far if transpiled else None)]).result()[0].data.evs
    assert values.shape == (batch, 3)
    np.testing.assert_allclose(values, layer(x).detach().numpy(), atol=1e-9)
