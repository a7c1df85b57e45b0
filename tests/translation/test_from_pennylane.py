"""PennyLane's templates, gates and measurements as layers, against PennyLane's own simulation and matrices."""

import pickle

import numpy as np
import pytest
import torch

from torchbp import QuantumLayer
from torchbp.circuits.operations import GATES, PAULIS, kron
from torchbp.errors import CircuitError, InputError
from torchbp.translation.pennylane_gates import FIXED, ROTATIONS, pauli_strings_of_matrix

qml = pytest.importorskip("pennylane")
from pennylane_templates import CASES, TEMPLATES  # noqa: E402

pytestmark = pytest.mark.filterwarnings("ignore::pennylane.exceptions.PennyLaneDeprecationWarning", "ignore:.*Complex")
REFUSED = {
    "trained scale of a feature": "'rx' on [0] is not one parameter or feature times and plus a number",
    "arccos of a feature": "'rx' on [0] is not one parameter or feature times and plus a number",
    "measurement in the middle": "measures in the middle of the circuit",
    "noise channel": "AmplitudeDamping is a noise channel",
    "variance": "neither an expectation value nor the probabilities of wires",
}
UNRUN = {"SumOfSlatersPrep"}  # asks for work wires that a plain QNode does not hand out


def test_the_table_of_gates():
    """Each row is PennyLane's own matrix at random angles. Oracle: `qml.matrix`."""
    rng = np.random.default_rng(0)
    for name, ours in FIXED.items():
        n = GATES[ours].n_wires
        np.testing.assert_allclose(qml.matrix(getattr(qml, name)(wires=range(n))), GATES[ours].matrix(), atol=1e-12)
    for name, (ours, sign) in ROTATIONS.items():
        angles, n = rng.uniform(-3, 3, GATES[ours].n_params), GATES[ours].n_wires or 3
        theirs = qml.matrix(getattr(qml, name)(*angles, wires=range(n)), wire_order=range(n))
        np.testing.assert_allclose(theirs, GATES[ours].matrix(*sign * angles, n_wires=n), atol=1e-12)


@pytest.mark.parametrize("name", sorted(CASES.keys() - REFUSED.keys() - UNRUN))
def test_values_and_gradients(name):
    """Of every template and way to build on one, by weights and features. Oracle: default.qubit with backprop."""
    torch.manual_seed(0)
    module, x = CASES[name]()
    module, x = module.double(), x.double().requires_grad_()
    layer = QuantumLayer.from_pennylane(module, example=x)
    theirs, ours = module(x), layer(x)
    theirs = theirs[:, None] if theirs.ndim == 1 else theirs
    torch.testing.assert_close(ours, theirs, atol=1e-7, rtol=0)  # PennyLane rounds angles of some preparations
    slopes, leaves = torch.rand_like(theirs), [x, *module.parameters()]
    for one, other in zip(
        *(torch.autograd.grad(y, leaves, slopes, materialize_grads=True) for y in (theirs, ours)), strict=True
    ):
        torch.testing.assert_close(other, one, atol=1e-7, rtol=0)


@pytest.mark.parametrize("name", REFUSED)
def test_what_has_no_translation_is_named(name):
    module, x = CASES[name]()
    with pytest.raises(CircuitError) as error:
        QuantumLayer.from_pennylane(module, example=x)
    assert REFUSED[name] in str(error.value)


def test_nine_in_ten_templates():
    """Of those that act on qubits by gates. Oracle: the list itself."""
    assert len(TEMPLATES) >= 70
    assert len(UNRUN & set(TEMPLATES)) <= len(TEMPLATES) / 10


def torch_layer():
    @qml.qnode(qml.device("default.qubit", wires=3))
    def node(inputs, weights, angle):
        qml.AngleEmbedding(inputs, wires=range(3))
        qml.StronglyEntanglingLayers(weights, wires=range(3))
        qml.RX(angle[0], wires=2)
        return [qml.expval(qml.PauliZ(w)) for w in range(3)]

    return qml.qnn.TorchLayer(node, {"weights": (2, 3, 3), "angle": (1,)})


def test_parameters_are_the_modules_own():
    """Same objects, same names: one optimizer, checkpoints that fit both ways, one list of layers."""
    module = torch_layer()
    layer = QuantumLayer.from_pennylane(module, example=torch.zeros(1, 3))
    assert dict(layer.named_parameters()) == dict(module.named_parameters())
    assert layer.state_dict().keys() == module.state_dict().keys()
    layer.load_state_dict({name: value + 1 for name, value in module.state_dict().items()})
    module.load_state_dict(layer.state_dict())
    assert {name: len(w) for name, w in layer.weight_groups.items()} == {"layer0": 9, "layer1": 10}
    copied = pickle.loads(pickle.dumps(layer))
    x = torch.rand(4, 3)
    torch.testing.assert_close(copied(x), module(x))


def test_a_qnode_brings_its_weights():
    """Values of its arguments become parameters; the features' argument needs an example."""

    @qml.qnode(qml.device("default.qubit"))
    def node(inputs, theta, scale=2.0):
        qml.RY(scale * inputs[..., 0] + theta, wires="a")
        return qml.expval(qml.X("a"))

    with pytest.raises(InputError, match=r"argument 'theta' has no value: pass weights=\{'theta': ...\}"):
        QuantumLayer.from_pennylane(node, example=torch.zeros(1, 1))
    with pytest.raises(InputError, match="argument 'inputs': pass example="):
        QuantumLayer.from_pennylane(node, weights={"theta": torch.tensor(0.3)})
    layer = QuantumLayer.from_pennylane(node, example=torch.zeros(1, 1), weights={"theta": torch.tensor(0.3)})
    torch.testing.assert_close(layer(torch.tensor([[0.2]])), torch.sin(torch.tensor([[0.7]])))


def test_one_sample_at_a_time():
    """A function that indexes features, not samples, is told by an example of one axis. Oracle: by hand."""

    @qml.qnode(qml.device("default.qubit", wires=2))
    def node(inputs, theta):
        for wire in range(2):
            qml.RY(inputs[wire] + theta, wires=wire)
        return [qml.expval(qml.PauliZ(w)) for w in range(2)]

    layer = QuantumLayer.from_pennylane(node, example=torch.zeros(2), weights={"theta": torch.tensor(0.3)})
    x = torch.rand(5, 2)
    torch.testing.assert_close(layer(x), torch.cos(x + 0.3))


def test_shots_of_the_qnode_go_along():
    """Those that it was made with, unless others are asked for."""
    node = qml.set_shots(torch_layer().qnode, 150)
    module = qml.qnn.TorchLayer(node, {"weights": (2, 3, 3), "angle": (1,)})
    assert QuantumLayer.from_pennylane(module, example=torch.zeros(1, 3)).shots == 150
    assert QuantumLayer.from_pennylane(module, example=torch.zeros(1, 3), shots=7).shots == 7


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (lambda x, w: qml.RX(w, 0) if w > 0 else qml.RY(w, 0), "Which gates node applies depends on the values"),
        (lambda x, w: qml.QubitUnitary(torch.diag(torch.exp(1j * torch.stack([w, -w]))), 0), "'rz' .* is not one"),
        (lambda x, w: qml.Displacement(w, 0.0, wires=0), "continuous variables"),
        (lambda x, w: qml.RX(w.detach() * 1.0, 0), "times and plus a number"),
        (lambda x, w: (qml.H(0), qml.AmplitudeEmbedding(x, 0, normalize=True)), "amplitudes at the beginning only"),
        (lambda x, w: qml.AmplitudeEmbedding(x**2, 0, normalize=True), "not the first features, normalized"),
        (lambda x, w: qml.RX(x[0, 0], 0), "the same for the whole batch"),
        (lambda x, w: 1 / 0, "node can't be recorded: ZeroDivisionError"),
    ],
)  # fmt: skip
def test_refusals(body, message):
    """Each names what it can't take."""

    def node(inputs, weight):
        body(inputs, weight)
        return qml.expval(qml.PauliZ(0))

    module = qml.qnn.TorchLayer(qml.QNode(node, qml.device("default.qubit")), {"weight": ()})
    with pytest.raises(CircuitError, match=message):
        QuantumLayer.from_pennylane(module, example=torch.zeros(1, 2))


def test_trained_observables_are_refused():
    def node(inputs, weight):
        qml.RX(inputs[..., 0], 0)
        return qml.expval(qml.Hamiltonian([weight], [qml.Z(0)]))

    module = qml.qnn.TorchLayer(qml.QNode(node, qml.device("default.qubit")), {"weight": ()})
    with pytest.raises(CircuitError, match="are trained: only angles may be"):
        QuantumLayer.from_pennylane(module, example=torch.zeros(1, 1))


def test_no_layer_of_pennylane():
    with pytest.raises(InputError, match=r"takes a qml.qnn.TorchLayer or a QNode, got Linear"):
        QuantumLayer.from_pennylane(torch.nn.Linear(1, 1))
    with pytest.raises(InputError, match=r"example is a Tensor, got \[1\.0\]"):
        QuantumLayer.from_pennylane(torch_layer(), example=[1.0])


def test_pauli_strings_of_a_matrix():
    """Oracle: the sum of the strings' matrices is the matrix."""
    rng = np.random.default_rng(1)
    matrix = rng.normal(size=(8, 8)) + 1j * rng.normal(size=(8, 8))
    strings = pauli_strings_of_matrix(matrix, "abc")
    total = sum(c * kron(*(PAULIS[dict(s).get(wire, "I")] for wire in "abc")) for s, c in strings.items())
    np.testing.assert_allclose(total, matrix, atol=1e-12)
    assert len(strings) == 64
