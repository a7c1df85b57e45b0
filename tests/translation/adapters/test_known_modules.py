"""Layers, shots and gradients of other libraries' modules, against lists written by hand and gradients one by one."""

import math
import subprocess
import sys
from importlib.metadata import EntryPoint

import pytest
import torch
from libraries import LIBRARIES, deepquantum_circuit, pennylane_layer, qiskit_circuit, qiskit_connector
from torch import nn

from torchbp import mark_quantum, probe
from torchbp.errors import InputError
from torchbp.gradients.groups import find_groups
from torchbp.gradients.per_sample import per_sample_gradients
from torchbp.translation.adapters import table
from torchbp.translation.adapters.adapter import Adapter
from torchbp.translation.adapters.table import adapter_of

LAYERS = {
    "PennyLane": ["0/weights[0]", "0/weights[1]"],
    "Qiskit Machine Learning": ["0/layer0", "0/layer1"],
    "DeepQuantum": ["0.circuit/layer0", "0.circuit/layer1"],
    "TensorCircuit": ["0/q_weights.0[0]", "0/q_weights.0[1]"],
}


@pytest.mark.parametrize("library", LIBRARIES)
def test_layers_of_a_circuit(library):
    """Each repetition of the ansatz is a group of its own, the head is classical. Oracle: by hand."""
    groups = find_groups(nn.Sequential(LIBRARIES[library](), nn.Linear(3, 1)))
    assert [(g.name, g.kind, g.n_weights) for g in groups] == [
        *((name, "quantum", 3) for name in LAYERS[library]),
        ("1", "classical", 4),
    ]


@pytest.mark.parametrize("library", LIBRARIES)
def test_a_layer_holds_its_own_weights(library):
    """Group k picks the weights 3k to 3k + 2 of all four libraries. Oracle: by hand."""
    module = LIBRARIES[library]()
    every = torch.cat([p.detach().reshape(-1) for p in module.parameters()])
    for k, group in enumerate(find_groups(module)):
        assert torch.equal(group.pick({p: p.detach() for p in module.parameters()}), every[3 * k : 3 * k + 3])


@pytest.mark.parametrize("library", ["PennyLane", "Qiskit Machine Learning"])
def test_per_sample_gradients(library):
    """Oracle: the loss of every sample, differentiated by itself."""
    torch.manual_seed(0)
    module = LIBRARIES[library]()
    head = nn.Linear(3, 1)
    model, x = nn.Sequential(module, head), torch.rand(3, 3)
    groups = find_groups(model)
    rows, unmeasured = per_sample_gradients(model, lambda x: model(x).pow(2).mean(), x, groups)
    assert not unmeasured
    parameters = list(model.parameters())
    for row, sample in zip(rows, x, strict=True):
        found = torch.autograd.grad(model(sample[None]).pow(2).mean(), parameters)
        expected = torch.cat([g.pick(dict(zip(parameters, found, strict=True))) for g in groups])
        torch.testing.assert_close(row, expected, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("library", ["DeepQuantum", "TensorCircuit"])
def test_microbatches_where_there_is_no_way_to_a_sample(library):
    """The reason names the library."""
    found = probe(LIBRARIES[library](), torch.rand(4, 3))
    assert found.source == "microbatch"
    assert f"single sample in {library.lower()}" in found.reason


def test_shots_of_the_device_are_known():
    """And finite ones are measured from micro-batches. Oracle: what the device was made with."""
    for make, exact, finite in (
        (pennylane_layer, {}, {"shots": 400}),
        (qiskit_connector, {}, {"precision": 0.05}),
    ):
        for options, shots in ((exact, None), (finite, 400)):
            module = make(**options)
            adapter = adapter_of(module)
            assert adapter is not None
            assert (adapter.shots(module), adapter.n_wires(module)) == (shots, 3)
        assert "finite shots" in probe(module, torch.rand(2, 3)).reason


def test_shots_of_samplers():
    """A sampler's default shots; the library's own, exact one has none. Oracle: what they were made with."""
    circuit, features, weights = qiskit_circuit()
    from qiskit.primitives import StatevectorSampler
    from qiskit_machine_learning.connectors import TorchConnector
    from qiskit_machine_learning.neural_networks import SamplerQNN

    for sampler, shots in ((StatevectorSampler(default_shots=300), 300), (None, None)):
        network = SamplerQNN(circuit=circuit, sampler=sampler, input_params=features, weight_params=weights)
        module = TorchConnector(network)
        assert adapter_of(module).shots(module) == shots


def test_parameter_vectors_name_layers():
    """A repetition that is all of one ParameterVector goes by its name, inside composed instructions too."""
    pytest.importorskip("qiskit_machine_learning")
    from qiskit.circuit import ParameterVector, QuantumCircuit
    from qiskit_machine_learning.connectors import TorchConnector
    from qiskit_machine_learning.neural_networks import EstimatorQNN

    first, second, idle = ParameterVector("first", 2), ParameterVector("second", 2), ParameterVector("idle", 1)
    block = QuantumCircuit(2)
    block.rx(first[0], 0)
    block.rx(first[1] / 2, 1)
    circuit = QuantumCircuit(3)
    circuit.append(block.to_instruction(), [1, 2])
    circuit.rx(second[0], 1)
    circuit.rx(second[1], 2)
    circuit.rz(idle[0] * second[0], 0)
    network = EstimatorQNN(circuit=circuit, weight_params=[*second, *first, *idle])
    names = {g.name: g.parts[0][1].tolist() for g in find_groups(TorchConnector(network))}
    assert names == {"first": [2, 3], "layer1": [0, 1, 4]}


def test_a_repetition_begins_where_a_gate_comes_again():
    """In DeepQuantum's flat list of gates; another kind of gate on the same wires belongs to the layer."""
    dq = pytest.importorskip("deepquantum")
    circuit = dq.QubitCircuit(2)
    for _ in range(2):
        circuit.rx(0)
        circuit.ry(0)
        circuit.rx(1)
        circuit.crx(0, 1)
    circuit.rz(0, inputs=0.3)
    assert [g.n_weights for g in find_groups(circuit)] == [4, 4]


def test_tensors_by_wire_are_one_layer():
    """(wire, angle) is no (layer, wire): the device tells how many wires there are."""
    qml = pytest.importorskip("pennylane")

    @qml.qnode(qml.device("default.qubit", wires=3))
    def node(inputs, angles, layered, single):
        return qml.expval(qml.PauliZ(0))

    layer = qml.qnn.TorchLayer(node, {"angles": (3, 2), "layered": (2, 3, 2), "single": (4,)})
    assert [g.name for g in find_groups(layer)] == ["angles", "layered[0]", "layered[1]", "single"]


class Functions(nn.Module):
    """A circuit that nobody could know for one."""

    def __init__(self) -> None:
        super().__init__()
        self.theta = nn.Parameter(torch.rand(2, 3))
        self.phi = nn.Parameter(torch.rand(4))
        self.head = nn.Linear(3, 1)

    def forward(self, x):
        return self.head(torch.cos(x + self.theta[0]) * torch.sin(self.theta[1] + self.phi[0]))


def test_mark_quantum():
    """What is named is quantum, in the layers asked for; the rest stays what it was. Oracle: by hand."""
    model = nn.Sequential(nn.Linear(3, 3), Functions())
    assert {g.kind for g in find_groups(model)} == {"classical"}
    circuit = mark_quantum(model[1], {"first": "theta[0]", "second": ["theta[1]", "phi"]}, n_wires=3, shots=100)
    assert circuit is model[1]
    assert [(g.name, g.kind, g.n_weights) for g in find_groups(model)] == [
        ("0", "classical", 12),
        ("1/first", "quantum", 3),
        ("1/second", "quantum", 7),
        ("1.head", "classical", 4),
    ]
    adapter = adapter_of(circuit)
    assert adapter is not None
    assert (adapter.n_wires(circuit), adapter.shots(circuit)) == (3, 100)


def test_mark_quantum_decorates_classes():
    """Every instance is marked; left out, layers are told by the shapes."""

    @mark_quantum
    class Marked(Functions):
        pass

    kinds = {g.name: g.kind for g in find_groups(Marked())}
    assert kinds == {n: "quantum" for n in ("theta[0]", "theta[1]", "phi", "head.weight", "head.bias")}
    assert probe(Marked(), torch.rand(4, 3)).source == "microbatch"  # it has a layer inside


@pytest.mark.parametrize("wrong", ["theta[2]", "phi[0][1]", "nothing", "theta[-1]"])
def test_mark_quantum_says_what_there_is(wrong):
    with pytest.raises(InputError, match=r"Functions has no '.*'; its parameters are: theta \(2, 3\), phi \(4,\)"):
        mark_quantum(Functions(), {"one": wrong})


def test_mark_quantum_takes_modules():
    with pytest.raises(InputError, match=r"takes a torch.nn.Module or a class of them, got int"):
        mark_quantum(3)


def test_other_packages_add_theirs(monkeypatch):
    """By an entry point named after the library, which is not loaded before that library is. Oracle: a stand-in."""
    loaded = []

    class Layer(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.angles = nn.Parameter(torch.zeros(2, 2))

    class Point(EntryPoint):
        def load(self):
            loaded.append(self.name)
            return Adapter("somelib", ("Layer",))

    Layer.__module__ = "somelib.layers"
    points = tuple(Point(name, "x:y", table.ENTRY_POINTS) for name in ("somelib", "otherlib"))
    monkeypatch.setattr(table, "_entry_points", lambda: points)
    assert {g.kind for g in find_groups(Layer())} == {"classical"}  # nobody has imported it
    monkeypatch.setitem(sys.modules, "somelib", math)
    assert [g.name for g in find_groups(Layer())] == ["angles[0]", "angles[1]"]
    assert loaded == ["somelib"]


def test_nothing_is_imported_to_find_out():
    """A fresh process in which a model without any of the libraries is looked at."""
    code = (
        "import sys; from torch import nn; from torchbp.gradients.groups import find_groups\n"
        "find_groups(nn.Sequential(nn.Linear(2, 2), nn.Tanh()))\n"
        "names = {'pennylane', 'qiskit', 'qiskit_machine_learning', 'deepquantum', 'tensorcircuit'}\n"
        "assert not names & set(sys.modules), names & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_deepquantum_circuits_of_other_classes_stay_quantum():
    """A class derived from one that is known is known; a class of the same name elsewhere is not."""

    class Own(type(deepquantum_circuit())):
        pass

    class QubitCircuit(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.theta = nn.Parameter(torch.zeros(1))

    own = Own(2)
    own.rx(0)
    assert {g.kind for g in find_groups(own)} == {"quantum"}
    assert {g.kind for g in find_groups(QubitCircuit())} == {"classical"}
