"""Models with other libraries' modules, accelerated, against the models as they were."""

import copy
import pickle

import pytest
import torch
from libraries import LIBRARIES, DeepQuantumNet, pennylane_layer, qiskit_connector
from torch import nn

import torchbp
from torchbp import QuantumLayer, mark_quantum
from torchbp._torchquantum import tq
from torchbp.errors import InputError
from torchbp.layer import accelerate as accelerating

TRANSLATED = [name for name in LIBRARIES if name != "TensorCircuit"]


def hybrid(library: str) -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 3), nn.Dropout(0.5), LIBRARIES[library](), nn.Linear(3, 2))


@pytest.mark.parametrize("library", TRANSLATED)
def test_the_model_stays_what_it_was(library):
    """Same values, same parameters under the same names, checkpoints both ways. Oracle: a copy of the model."""
    model, x = hybrid(library).eval(), torch.rand(5, 4)
    before, expected = copy.deepcopy(model), model(x)
    parameters = dict(model.named_parameters(remove_duplicate=False))
    report = torchbp.accelerate(model, x)
    assert len(report.replaced) == 1
    assert "became" in repr(report)
    assert report.rows[0].deviation < 1e-5
    assert dict(model.named_parameters(remove_duplicate=False)) == parameters
    torch.testing.assert_close(model(x), expected, atol=1e-5, rtol=0)
    before.load_state_dict(model.state_dict())
    model.load_state_dict(before.state_dict())
    for twin in (copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        torch.testing.assert_close(twin(x), expected, atol=1e-5, rtol=0)
    assert any(isinstance(part, QuantumLayer) for part in model.modules())


@pytest.mark.parametrize("library", TRANSLATED)
def test_an_optimizer_made_before_goes_on(library):
    """One step changes the layer as it would have changed the module. Oracle: the step of a copy."""
    model, x = hybrid(library).eval(), torch.rand(5, 4)
    twin = copy.deepcopy(model)
    optimizers = [torch.optim.SGD(m.parameters(), 0.1) for m in (model, twin)]
    torchbp.accelerate(model, x)
    for module, optimizer in zip((model, twin), optimizers, strict=True):
        module(x).pow(2).mean().backward()
        optimizer.step()
    for one, other in zip(model.parameters(), twin.parameters(), strict=True):
        torch.testing.assert_close(one, other, atol=1e-5, rtol=0)


def test_what_is_not_read_stays_and_the_reason_is_told():
    """A library without a translator, a marked module, a module out of reach, one without an example."""
    torch.manual_seed(0)
    model = nn.ModuleDict({"net": LIBRARIES["TensorCircuit"](), "own": mark_quantum(nn.Linear(2, 2))})
    report = torchbp.accelerate(model)
    assert [row.reason for row in report.rows] == [
        "torchbp can't read the circuit of a module of tensorcircuit.",
        "torchbp can't read the circuit of a module that was marked as quantum.",
    ]
    idle = nn.Sequential(nn.Linear(2, 2))
    idle[0].idle = pennylane_layer()
    (row,) = torchbp.accelerate(idle, torch.rand(1, 2)).rows
    assert (row.path, row.reason) == ("0.idle", "the example does not reach it, as a tensor and its first argument.")
    (row,) = torchbp.accelerate(pennylane_layer()).rows
    assert "pass example=" in row.reason
    assert "stays" in str(row)
    assert repr(torchbp.accelerate(nn.Linear(1, 1))).startswith("There is no quantum module")


def test_a_deviation_is_caught(monkeypatch):
    """A translation of other values is not kept. Oracle: one that is wrong on purpose."""
    wrong = accelerating._TRANSLATORS | {
        "pennylane": lambda module, x: accelerating.DropIn.from_pennylane(module, ["X0", "Z1", "Z2"], example=x)
    }
    monkeypatch.setattr(accelerating, "_TRANSLATORS", wrong)
    module = pennylane_layer()
    report = torchbp.accelerate(module, torch.rand(2, 3))
    assert report.model is module
    assert "its values and those of the translation differ" in report.rows[0].reason


def test_a_model_that_is_one_module():
    """The report has what takes its place; shared modules are replaced everywhere."""
    module = qiskit_connector()
    report = torchbp.accelerate(module)
    assert isinstance(report.model, QuantumLayer)
    shared = pennylane_layer()
    model = nn.Sequential(shared, nn.Tanh(), shared)
    assert len(torchbp.accelerate(model, torch.rand(2, 3)).rows) == 1
    assert model[0] is model[2]
    assert isinstance(model[0], QuantumLayer)


def test_the_example_of_a_lightning_module():
    """`example_input_array` is taken where no example is given, and modes and random numbers are left alone."""
    model = hybrid("PennyLane")
    model.example_input_array = torch.rand(2, 4)
    state = torch.get_rng_state()
    assert torchbp.accelerate(model).replaced
    assert model.training
    assert model[2].training
    assert torch.equal(torch.get_rng_state(), state)


def test_a_model_that_is_called_in_another_way():
    """A function of the model may call it; what can't be called is told."""
    model = nn.ModuleDict({"quantum": pennylane_layer()})
    with pytest.raises(InputError, match=r"can't be called with the example \(NotImplementedError.*training_step"):
        torchbp.accelerate(model, torch.rand(2, 3))
    assert torchbp.accelerate(model, lambda m: m["quantum"](torch.rand(2, 3))).replaced


def test_single_values_keep_their_shape():
    """A QNode of one expectation value returns (B,). Oracle: the module."""
    qml = pytest.importorskip("pennylane")

    @qml.qnode(qml.device("default.qubit", wires=1))
    def node(inputs, weight):
        qml.RX(inputs[..., 0] + weight, wires=0)
        return qml.expval(qml.PauliZ(0))

    model = nn.Sequential(qml.qnn.TorchLayer(node, {"weight": ()}))
    x = torch.rand(3, 1)
    expected = model(x)
    assert torchbp.accelerate(model, x).replaced
    torch.testing.assert_close(model(x), expected)
    torch.testing.assert_close(model[0](inputs=x), expected)


def test_finite_shots_go_along():
    """The layer measures as often as the QNode did; values are compared within the noise (8 sigma: 1e-15 a value)."""
    model = nn.Sequential(pennylane_layer(shots=500))
    report = torchbp.accelerate(model, torch.rand(2, 3))
    assert report.replaced
    assert model[0].shots == 500


def test_a_circuit_that_is_asked_for_more():
    """Of a translated QubitCircuit there are expectation values, with shots too, and no state."""
    torch.manual_seed(0)
    model, x = DeepQuantumNet(), torch.rand(2, 3)
    torchbp.accelerate(model, x)
    with pytest.raises(InputError, match="Call the circuit with its data first"):
        copy.deepcopy(model.circuit).expectation()
    state = model.circuit(x)
    with pytest.raises(InputError, match="computes no state vector, so there is no 'shape' of it"):
        _ = state.shape
    exact = model.circuit.expectation()
    assert (model.circuit.expectation(shots=1000) - exact).abs().max() < 0.3  # more than nine sigma
    with pytest.raises(InputError, match="got a state to start from"):
        model.circuit(x, state=torch.zeros(8))


class Own(tq.QuantumModule):
    """A TorchQuantum module that makes its device itself."""

    def __init__(self) -> None:
        super().__init__()
        self.n_wires = 2
        self.encoder = tq.GeneralEncoder([{"input_idx": [i], "func": "ry", "wires": [i]} for i in range(2)])
        self.gate = tq.RX(has_params=True, trainable=True)
        self.measure = tq.MeasureAll(tq.PauliZ)

    def forward(self, x):
        device = tq.QuantumDevice(n_wires=2, bsz=len(x))
        self.encoder(device, x)
        self.gate(device, wires=1)
        return self.measure(device)


def test_modules_of_torchquantum():
    """One that takes features is replaced; one that takes a device stays, with the way to translate it."""
    model, x = nn.Sequential(nn.Linear(3, 2), Own()), torch.rand(4, 3)
    expected = model(x)
    assert torchbp.accelerate(model, x).replaced
    torch.testing.assert_close(model(x), expected, atol=1e-5, rtol=0)
    holder = nn.Module()
    holder.layer = tq.layer.U3CU3Layer0({"n_wires": 2, "n_blocks": 1})
    (row,) = torchbp.accelerate(holder).rows
    assert "acts on a QuantumDevice that its caller has" in row.reason
