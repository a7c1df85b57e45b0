"""Other libraries' modules by the handles of a `QuantumLayer`, against the `QuantumLayer` they translate to."""

import pytest
import torch
from libraries import LIBRARIES, deepquantum_circuit, pennylane_layer, qiskit_connector, same_weights
from torch import nn

from torchbp import QuantumLayer, mark_quantum
from torchbp.circuits import angle_encoding
from torchbp.diagnosis.concentration import concentration
from torchbp.errors import CircuitError, InputError
from torchbp.layer.foreign import ForeignLayer, quantum_modules

MODULES = {name: make for name, make in LIBRARIES.items() if name != "DeepQuantum"} | {
    "DeepQuantum": deepquantum_circuit
}


def foreign(name: str) -> ForeignLayer:
    (layer,) = quantum_modules(same_weights(MODULES[name](), torch.linspace(0.1, 1.4, 6))).values()
    assert isinstance(layer, ForeignLayer)
    return layer


def twin(weights: torch.Tensor) -> QuantumLayer:
    """The circuit of all four, in torchbp."""
    circuit = QuantumLayer.from_pennylane(pennylane_layer(), example=torch.zeros(1, 3)).circuit
    return QuantumLayer(circuit, init=weights)


@pytest.mark.parametrize("name", MODULES)
def test_weights_as_one_vector(name):
    """Values, groups and places. Oracle: what the parameters were set to, in their order."""
    layer = foreign(name)
    torch.testing.assert_close(layer.weights, torch.linspace(0.1, 1.4, 6))
    assert [*layer.weight_groups.values()] == [(0, 1, 2), (3, 4, 5)]
    assert layer.n_weights == 6
    assert layer.weights.requires_grad
    for parameter, elements, indices in layer.weight_places:
        torch.testing.assert_close(parameter.reshape(-1)[elements], layer.weights[indices])
    assert layer.parameters() == list(layer.module.parameters())


@pytest.mark.parametrize("name", MODULES)
def test_calls_at_other_weights(name):
    """Leave the module's own as they were, bit for bit. Oracle: the same circuit as a torchbp layer."""
    torch.manual_seed(0)
    layer, x, weights = foreign(name), torch.rand(4, 3), torch.rand(2, 6)
    before = [(p, p.data.clone(), p._version) for p in layer.parameters()]
    found = layer.outputs(x, weights)
    torch.testing.assert_close(found, torch.stack([twin(w)(x) for w in weights]).detach(), atol=1e-5, rtol=0)
    torch.testing.assert_close(layer(x), twin(torch.linspace(0.1, 1.4, 6))(x), atol=1e-5, rtol=0)
    assert all(torch.equal(p, values) and p._version == version for p, values, version in before)
    with (
        pytest.raises(InputError, match=r"has 6 weights, got weights of shape \(5,\)"),
        layer.weights_at(torch.zeros(5)),
    ):
        pass


@pytest.mark.parametrize("name", MODULES)
def test_new_starts(name):
    """By the shape of the weights; spreads within 5 sigma. Initializers that need the gates say so."""
    layer, generator = foreign(name), torch.Generator().manual_seed(0)
    for init, spread in (("uniform", 3.1416 / 3**0.5), ("small_angle", 0.1), ("gaussian", 1 / (4 * (2 + 2)) ** 0.5)):
        drawn = torch.stack([layer.draw(init, generator) for _ in range(500)])
        assert drawn.shape == (500, 6)
        assert abs(float(drawn.std()) / spread - 1) < 0.07
    with pytest.raises(CircuitError, match="identity_blocks"):
        layer.draw("identity_blocks", generator)


def test_exact_values_under_shots():
    """PennyLane has a way to them, an estimator has not: it is told, not guessed. Oracle: the exact one."""
    x, start = torch.rand(2, 3), torch.linspace(0.1, 1.4, 6)
    (measured,) = quantum_modules(same_weights(pennylane_layer(shots=10), start)).values()
    node = measured.module.qnode
    assert (measured.shots, measured.is_exact) == (10, True)
    with measured.exact():
        torch.testing.assert_close(measured(x), same_weights(pennylane_layer(), start)(x))
    assert measured.module.qnode is node
    (sampled,) = quantum_modules(qiskit_connector(precision=0.1)).values()
    assert (sampled.shots, sampled.is_exact) == (100, False)
    with sampled.exact(), sampled.noiseless():
        assert sampled.shots == 100


def test_all_quantum_modules_of_a_model():
    """torchbp's and others', each once, by their author's path."""
    own = QuantumLayer(angle_encoding(n_wires=3))
    plain = mark_quantum(nn.Linear(3, 3))
    model = nn.ModuleDict({"a": nn.Sequential(own), "b": torch.compile(pennylane_layer(), backend="eager"), "c": plain})
    found = quantum_modules(model)
    assert list(found) == ["a.0", "b", "c"]
    assert found["a.0"] is own
    assert repr(found["b"]) == "ForeignLayer(TorchLayer of pennylane, 6 weights)"
    assert repr(found["c"]) == "ForeignLayer(Linear of marked, 12 weights)"


@pytest.mark.parametrize("name", MODULES)
def test_concentration(name):
    """By calls of the module. Oracle: the same draws on the torchbp layer."""
    x = torch.rand(2, 3)
    found, wanted = (
        concentration(layer, x, samples=8, generator=torch.Generator().manual_seed(1))
        for layer in (foreign(name), twin(torch.linspace(0.1, 1.4, 6)))
    )
    assert found.far == pytest.approx(wanted.far, rel=1e-4)
    assert found.near == pytest.approx(wanted.near, rel=1e-4)
    assert found.two_design == wanted.two_design or name == "TensorCircuit"
