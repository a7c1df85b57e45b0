"""DeepQuantum's circuits as layers, against DeepQuantum's own simulation."""

import pytest
import torch

from torchbp import QuantumLayer
from torchbp.errors import CircuitError, InputError

dq = pytest.importorskip("deepquantum")
from deepquantum_circuits import CASES  # noqa: E402
from libraries import deepquantum_circuit  # noqa: E402

REFUSED = {
    "hamiltonian of time": "HamiltonianGate on wires .* has trained or encoded numbers",
    "channel": "computes with density matrices",
}


@pytest.mark.parametrize("name", sorted(CASES.keys() - REFUSED.keys()))
def test_values_and_gradients(name):
    """Every gate, with controls, inverted, shared, encoding data. Oracle: DeepQuantum's states and expectations."""
    torch.manual_seed(0)
    module, x = CASES[name]()
    x = x.requires_grad_()
    layer = QuantumLayer.from_deepquantum(module.circuit, example=x)
    theirs, ours = module(x), layer(x)
    torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=0)
    leaves = [x, *module.parameters()]
    slopes = torch.linspace(1, 2, ours.numel()).view(ours.shape)
    for one, other in zip(
        *(torch.autograd.grad(y, leaves, slopes, materialize_grads=True) for y in (theirs, ours)), strict=True
    ):
        torch.testing.assert_close(other, one, atol=3e-5, rtol=0)


@pytest.mark.parametrize("name", REFUSED)
def test_what_has_no_translation_is_named(name):
    module, x = CASES[name]()
    with pytest.raises(CircuitError, match=REFUSED[name]):
        QuantumLayer.from_deepquantum(module.circuit, example=x)


def test_parameters_are_the_gates_own():
    """Same objects, same names; frozen ones become constants."""
    circuit = deepquantum_circuit()
    layer = QuantumLayer.from_deepquantum(circuit)
    assert dict(layer.named_parameters()) == dict(circuit.named_parameters())
    assert layer.weight_groups == {"layer0": (0, 1, 2), "layer1": (3, 4, 5)}
    circuit.operators[3].theta.requires_grad_(False)
    assert QuantumLayer.from_deepquantum(circuit).circuit.n_weights == 5


def test_refusals():
    """Each names what it can't take."""
    circuit = dq.QubitCircuit(2, reupload=True)
    circuit.rylayer(encode=True)
    with pytest.raises(InputError, match="again and again: pass example="):
        QuantumLayer.from_deepquantum(circuit)
    with pytest.raises(InputError, match=r"takes a deepquantum.QubitCircuit, got Linear"):
        QuantumLayer.from_deepquantum(torch.nn.Linear(1, 1))
    with pytest.raises(InputError, match="encodes 3 columns of data, got 2"):
        QuantumLayer.from_deepquantum(deepquantum_circuit(), example=torch.zeros(1, 2))
    started = dq.QubitCircuit(2, init_state="entangle")
    started.rx(0)
    with pytest.raises(CircuitError, match=r"does not start from \|0...0>"):
        QuantumLayer.from_deepquantum(started)
    conditioned = dq.QubitCircuit(2)
    conditioned.x(1, controls=0, condition=True)
    with pytest.raises(CircuitError, match=r"PauliX on wires .* depends on a measurement"):
        QuantumLayer.from_deepquantum(conditioned)
    product = dq.QubitCircuit(2, mps=True, chi=2)
    product.rx(0)
    with pytest.raises(CircuitError, match="matrix product states"):
        QuantumLayer.from_deepquantum(product)
    splitter = dq.QubitCircuit(3)
    splitter.rbs([1, 2], controls=0)
    with pytest.raises(CircuitError, match=r"ReconfigurableBeamSplitter on wires .* with controls"):
        QuantumLayer.from_deepquantum(splitter)
