"""Networks of Qiskit Machine Learning as layers, against the networks themselves and their parameter shifts."""

import pytest
import torch

from torchbp import QuantumLayer
from torchbp.errors import CircuitError, InputError

pytest.importorskip("qiskit_machine_learning")
from libraries import qiskit_circuit, qiskit_connector
from qiskit_networks import CASES, LIBRARY

# Qiskit's exact evolution by a sum of Pauli strings.
pytestmark = pytest.mark.filterwarnings("ignore:spsolve is more efficient", "ignore:splu converted its input")
REFUSED = {
    "weight times feature": r"angle w\[0\]\*x\[0\] has no place",
    # Qiskit simulates an evolution exactly, and decomposes it into a product formula, which is what a machine runs.
    "evolution by terms that don't commute": "",
}


@pytest.mark.parametrize("name", sorted(CASES.keys() - REFUSED.keys()))
def test_values_and_gradients(name):
    """By weights, and by features where the network has them. Oracle: the network's own forward and backward."""
    torch.manual_seed(0)
    module, x = CASES[name]()
    layer = QuantumLayer.from_qiskit(module)
    x = x.requires_grad_(module.neural_network.input_gradients)
    theirs, ours = module(x), layer(x)
    torch.testing.assert_close(ours, theirs, atol=2e-5, rtol=0)
    leaves = [module.weight, *([x] if x.requires_grad else [])]
    slopes = torch.linspace(1, 2, ours.numel()).view(ours.shape)
    for one, other in zip(*(torch.autograd.grad(y, leaves, slopes) for y in (theirs, ours)), strict=True):
        torch.testing.assert_close(other, one, atol=5e-5, rtol=2e-4)


def test_all_of_the_library():
    """No circuit of Qiskit's library is among those refused. Oracle: the list itself."""
    assert len(LIBRARY) == 22
    assert not REFUSED.keys() & set(LIBRARY)


def test_a_product_formula_is_not_the_evolution():
    """What the translation runs is the circuit's own decomposition. Oracle: Qiskit, on the decomposed circuit."""
    from qiskit.quantum_info import Statevector

    module, x = CASES["evolution by terms that don't commute"]()
    network = module.neural_network
    layer = QuantumLayer.from_qiskit(module)
    values = dict(
        zip([*network.input_params, *network.weight_params], [*x[0].tolist(), *module.weight.tolist()], strict=True)
    )
    state = Statevector(network.circuit.assign_parameters(values).decompose(reps=6))
    expected = [float(state.expectation_value(o).real) for o in network.observables]
    torch.testing.assert_close(layer(x)[0], torch.tensor(expected), atol=1e-5, rtol=0)


def test_a_weight_times_a_feature_is_refused():
    module, _ = CASES["weight times feature"]()
    with pytest.raises(CircuitError, match=REFUSED["weight times feature"]):
        QuantumLayer.from_qiskit(module)


def test_parameters_are_the_connectors_own():
    """Under both names that it has in a checkpoint; layers are the ansatz's repetitions."""
    module = qiskit_connector()
    layer = QuantumLayer.from_qiskit(module)
    assert list(layer.parameters()) == [module.weight]
    assert list(layer.state_dict()) == list(module.state_dict()) == ["weight", "_weights"]
    module.load_state_dict(layer.state_dict())
    layer.load_state_dict(module.state_dict())
    assert layer.weight_groups == {"layer0": (0, 1, 2), "layer1": (3, 4, 5)}


def test_a_network_without_a_connector():
    """Starts from zeros or from what is given."""
    network = qiskit_connector().neural_network
    start = torch.linspace(0, 1, 6)
    assert QuantumLayer.from_qiskit(network).weights.tolist() == [0.0] * 6
    torch.testing.assert_close(QuantumLayer.from_qiskit(network, weights=start).weights, start)
    with pytest.raises(InputError, match=r"has 6 weights, got weights of shape \(2,\)"):
        QuantumLayer.from_qiskit(network, weights=torch.zeros(2))


def test_shots_of_the_primitive_go_along():
    assert QuantumLayer.from_qiskit(qiskit_connector(precision=0.05)).shots == 400
    assert QuantumLayer.from_qiskit(qiskit_connector(precision=0.05), shots=9).shots == 9


def test_what_is_no_network():
    with pytest.raises(InputError, match=r"got QuantumCircuit; a QuantumCircuit goes through"):
        QuantumLayer.from_qiskit(qiskit_circuit()[0])


def sampler(circuit, features, weights, **options):
    from qiskit_machine_learning.neural_networks import SamplerQNN

    return SamplerQNN(circuit=circuit, input_params=features, weight_params=weights, **options)


def test_samplers_that_are_refused():
    """Outputs of several axes, too many columns, and bits that are not measured."""
    from qiskit.circuit import QuantumCircuit

    with pytest.raises(CircuitError, match=r"output has shape \(2, 2\)"):
        QuantumLayer.from_qiskit(
            sampler(*qiskit_circuit(2, 1), interpret=lambda i: (i & 1, i >> 1), output_shape=(2, 2))
        )
    with pytest.raises(CircuitError, match=r"measures 10 qubits into 1024 columns"):
        QuantumLayer.from_qiskit(sampler(*qiskit_circuit(10, 1)))
    circuit, features, weights = qiskit_circuit(2, 1)
    partly = QuantumCircuit(2, 2).compose(circuit)
    partly.measure(0, 1)
    with pytest.raises(CircuitError, match="measures into some bits of a register"):
        QuantumLayer.from_qiskit(sampler(partly, features, weights))
