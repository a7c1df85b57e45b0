"""`QuantumLayer`: shapes, persistence, devices, and every message at its boundary."""

from __future__ import annotations

import copy
import pickle
import warnings

import numpy as np
import pytest
import torch
from helpers import dense_expectations, dense_state
from torch import Tensor, nn
from torch.nn.utils import prune

from torchbp import Circuit, PauliSum, QuantumLayer, feature, weight
from torchbp._torchquantum import QuantumDevice, QuantumModule, tq
from torchbp.backends import DensityMatrixBackend, NoiseModel
from torchbp.circuits import amplitude_encoding, angle_encoding, hardware_efficient, local_z
from torchbp.errors import BackendError, CapacityError, CircuitError, InputError, UnknownNameError


def make(n_wires: int = 3, depth: int = 2, **kwargs: object) -> QuantumLayer:
    circuit = angle_encoding(n_wires) + hardware_efficient(n_wires, depth)
    return QuantumLayer(circuit, generator=torch.Generator().manual_seed(0), **kwargs)


def features(batch: int, n: int = 3) -> Tensor:
    return torch.rand(batch, n, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("batch", [0, 1, 2, 7, 5, 64])
def test_every_batch_size_after_another(batch: int) -> None:
    """Oracle: dense matrices, sample by sample."""
    layer = make()
    layer(features(9))
    y = layer(features(batch))
    assert y.shape == (batch, 3)
    wanted = dense_expectations(
        layer.circuit, layer.observables, features(batch).numpy(), layer.weights.detach().numpy()
    )
    torch.testing.assert_close(
        y.detach(), torch.as_tensor(wanted, dtype=torch.float32).reshape(batch, 3), rtol=0, atol=1e-5
    )


def test_empty_batch_has_a_graph() -> None:
    """The gradient of an empty batch is zero, not None."""
    layer = make()
    layer(features(0)).sum().backward()
    assert layer.weights.grad is not None
    assert not layer.weights.grad.any()


def test_states_and_initial_state() -> None:
    """Oracle: dense matrices."""
    layer = make()
    start = torch.randn(2, 8, dtype=torch.complex64, generator=torch.Generator().manual_seed(2))
    start = start / start.norm(dim=1, keepdim=True)
    x = features(2)
    states = layer.states(x, start)
    for b in range(2):
        wanted = dense_state(layer.circuit, x[b].numpy(), layer.weights.detach().numpy(), start[b].numpy())
        torch.testing.assert_close(
            states[b].detach(), torch.as_tensor(wanted, dtype=torch.complex64), rtol=0, atol=1e-5
        )
    torch.testing.assert_close(layer(x, start[0]), layer(x, start[:1].expand(2, -1)))


@pytest.mark.parametrize("leading", [(), (1,), (2, 3), (2, 1, 3), (0, 3), (2, 0)])
def test_any_leading_dimensions(leading: tuple[int, ...]) -> None:
    """Oracle: the same samples as one batch, their values, states and gradients."""
    layer = make().double()
    x = torch.rand(*leading, 3, generator=torch.Generator().manual_seed(1), dtype=torch.float64).requires_grad_()
    rows = x.detach().reshape(-1, 3).requires_grad_()
    start = torch.randn(*leading, 8, dtype=torch.complex128, generator=torch.Generator().manual_seed(2))
    start = start / start.norm(dim=-1, keepdim=True)
    wanted = layer(rows, start.reshape(-1, 8))
    y = layer(x, start)
    assert y.shape == (*leading, 3)
    torch.testing.assert_close(y.reshape(-1, 3), wanted)
    one, two = (
        torch.autograd.grad(v.sin().sum(), [i, layer.weights], materialize_grads=True)
        for v, i in ((y, x), (wanted, rows))
    )
    torch.testing.assert_close(one[0].reshape(-1, 3), two[0])
    torch.testing.assert_close(one[1], two[1])
    assert layer.states(x).shape == (*leading, 8)
    slopes = layer.per_sample_gradients(x, y.detach())
    assert slopes.shape == (*leading, layer.circuit.n_weights)
    torch.testing.assert_close(slopes.reshape(-1, slopes.shape[-1]), layer.per_sample_gradients(rows, wanted.detach()))


def test_leading_dimensions_of_states_alone() -> None:
    """A circuit without features runs once for each given state."""
    layer = QuantumLayer(hardware_efficient(2, 1))
    start = torch.eye(4)[:3].expand(2, 3, 4)
    y = layer(initial_state=start)
    assert y.shape == (2, 3, 2)
    torch.testing.assert_close(y[1, 2], layer(initial_state=start[1, 2])[0])


@pytest.mark.parametrize(("scale", "said"), [(2.0, "2 for sample 1"), (0.0, "0 for sample 1"), (float("nan"), "nan")])
def test_states_of_another_norm_are_refused(scale: float, said: str) -> None:
    """They would scale the expectation values by the square of it."""
    start = torch.eye(8)[:2]
    start[1] *= scale
    with pytest.raises(InputError, match=f"A state has norm 1, initial_state has norm {said}.*divide it by"):
        make()(features(2), start)
    with pytest.raises(InputError, match=r"norm 1, initial_state has norm 2\.828: divide"):
        make()(features(2), torch.ones(8))


def test_circuit_without_features_needs_no_x() -> None:
    """A variational energy: <Z> after RX(t) is cos t."""
    circuit = Circuit(1).append("rx", 0, weight())
    layer = QuantumLayer(circuit, "Z0", init=torch.tensor([0.3]))
    torch.testing.assert_close(layer(), torch.tensor([[0.3]]).cos())


def test_circuit_without_weights() -> None:
    """A feature map: <Z> after RY(x) is cos x."""
    layer = QuantumLayer(Circuit(1).append("ry", 0, feature(0)))
    x = torch.tensor([[0.1], [1.2]], requires_grad=True)
    layer(x).sum().backward()
    torch.testing.assert_close(x.grad, -x.detach().sin())


def test_amplitude_encoding() -> None:
    """Oracle: <Z0> of the normalized vector."""
    layer = QuantumLayer(
        amplitude_encoding(2, 3) + hardware_efficient(2, 1), init=lambda c, g: torch.zeros(c.n_weights)
    )
    x = torch.tensor([[3.0, 0.0, 4.0]])
    # At zero angles only the entangling ring of the ansatz is left; on two wires a single CNOT, which keeps wire 0.
    torch.testing.assert_close(layer(x)[:, 0], torch.tensor([(9.0 - 16.0) / 25.0]))
    with pytest.raises(InputError, match="all zero: it has no direction"):
        layer(torch.zeros(1, 3))


def test_state_dict_holds_the_weights_only() -> None:
    layer = make()
    layer(features(17))
    assert list(layer.state_dict()) == ["weights"]
    assert not list(layer.buffers())


def test_copies_and_files(tmp_path: object) -> None:
    """deepcopy, pickle, state_dict through torch.load(weights_only=True): same outputs, own weights."""
    layer, x = make(), features(5)
    layer(x)
    twins = [copy.deepcopy(layer), pickle.loads(pickle.dumps(layer))]
    torch.save(layer.state_dict(), f"{tmp_path}/weights.pt")
    other = make(init="uniform")
    other.load_state_dict(torch.load(f"{tmp_path}/weights.pt", weights_only=True))
    for twin in [*twins, other]:
        torch.testing.assert_close(twin(x), layer(x))
        assert twin.weights is not layer.weights


def test_it_is_a_torch_and_a_torchquantum_module() -> None:
    layer = make()
    assert isinstance(layer, nn.Module)
    assert isinstance(layer, QuantumModule)
    assert "3 wires" in repr(layer)
    assert layer.to("cpu") is layer


def test_state_on_a_quantum_device() -> None:
    """Oracle: TorchQuantum's own measurement of the state that `evolve` leaves."""
    layer, x = make(), features(4)
    device = QuantumDevice(n_wires=3, bsz=4)
    layer.evolve(device, x)
    torch.testing.assert_close(tq.MeasureAll(tq.PauliZ)(device), layer(x))
    alone = QuantumDevice(n_wires=3)
    layer.evolve(alone, x[0])
    torch.testing.assert_close(tq.MeasureAll(tq.PauliZ)(alone)[0], layer(x)[0])


def test_evolve_goes_on_from_the_devices_state() -> None:
    """Twice the same rotation is the rotation by twice the angle."""
    once = QuantumLayer(Circuit(1).append("rx", 0, weight()), "Z0", init=torch.tensor([0.4]))
    device = QuantumDevice(n_wires=1)
    once.evolve(device)
    once.evolve(device)
    torch.testing.assert_close(tq.MeasureAll(tq.PauliZ)(device), torch.tensor([[0.8]]).cos())


def test_autocast_leaves_the_layer_in_its_dtype() -> None:
    layer, x = make(), features(4)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        y = layer(x.bfloat16())
    assert y.dtype is torch.float32
    torch.testing.assert_close(y, layer(x.bfloat16().float()))


def test_generator_makes_the_weights_reproducible() -> None:
    assert torch.equal(make().weights, make().weights)
    state = torch.get_rng_state()
    make()
    assert torch.equal(torch.get_rng_state(), state)


def test_weight_groups_partition_the_weights() -> None:
    layer = make(3, depth=4)
    groups = layer.weight_groups
    assert list(groups) == ["layer0", "layer1", "layer2", "layer3"]
    assert sorted(i for group in groups.values() for i in group) == list(range(layer.weights.numel()))


@pytest.mark.parametrize(
    ("x", "message"),
    [
        (None, r"needs a tensor of features of shape \(batch, 3\), got nothing"),
        ([[0.0, 0.0, 0.0]], "needs a tensor of features .* got list"),
        (torch.zeros(4, 2), r"reads 3 features: x must have shape \(batch, 3\) or \(\.\.\., 3\), got \(4, 2\)"),
        (torch.tensor(0.0), r"must have shape \(batch, 3\) or \(\.\.\., 3\), got \(\)"),
        (torch.zeros(2, 3, dtype=torch.complex64), "real numbers, got a complex tensor"),
        (torch.tensor([[0, 0, 0], [0, float("nan"), 0]]), "NaN or infinity, first at sample 1, feature 1"),
        (torch.full((1, 3), float("inf")), "NaN or infinity, first at sample 0, feature 0"),
        (torch.full((2, 1, 3), float("inf")), "NaN or infinity, first at sample 0, 0, feature 0"),
        (torch.full((3,), float("inf")), "NaN or infinity, first at feature 0"),
        (torch.zeros(2, 3, device="meta"), "x is on meta, the layer on cpu"),
    ],
)
def test_features_that_do_not_fit(x: object, message: str) -> None:
    with pytest.raises(InputError, match=message):
        make()(x)


def test_initial_states_that_do_not_fit() -> None:
    with pytest.raises(InputError, match=r"initial_state must have shape \(batch, 8\) or \(8,\), got \(2, 4\)"):
        make()(features(2), torch.zeros(2, 4))
    with pytest.raises(InputError, match=r"initial_state must have shape .* got list"):
        make()(features(2), [1.0] + 7 * [0.0])  # type: ignore[arg-type]
    with pytest.raises(InputError, match=r"holds 3 states of shape \(3,\) for samples of shape \(2,\): give one for"):
        make()(features(2), torch.eye(8)[:3])
    with pytest.raises(InputError, match="encodes amplitudes itself"):
        QuantumLayer(amplitude_encoding(1))(torch.ones(1, 2), torch.eye(2)[0])
    with pytest.raises(InputError, match="circuit has 3 wires, the QuantumDevice 2"):
        make().evolve(QuantumDevice(n_wires=2), features(1))


def test_layers_that_cannot_be() -> None:
    with pytest.raises(CircuitError, match="The circuit has no gates: append some"):
        QuantumLayer(Circuit(2))
    with pytest.raises(CircuitError, match="needs a torchbp Circuit, got int"):
        QuantumLayer(3)  # type: ignore[arg-type]
    with pytest.raises(CircuitError, match="acts on wire 3, but the circuit has wires 0 to 2"):
        make(observables=PauliSum("Z3"))
    with pytest.raises(CircuitError, match="at least one"):
        make(observables=[])
    with pytest.raises(UnknownNameError, match=r"Unknown backend 'torchquantm'. Did you mean 'torchquantum'\? Known: "):
        make(backend="torchquantm")
    with pytest.raises(BackendError, match="an object with the attribute `name`"):
        make(backend=3)
    with pytest.raises(UnknownNameError, match=r"Unknown initializer 'gausian'\. Did you mean 'gaussian'"):
        make(init="gausian")
    with pytest.raises(InputError, match=r"\(18,\)"):
        make(init=torch.zeros(5))
    with pytest.raises(
        CapacityError, match=r"Simulating 60 wires for a batch of 1 takes about .* GiB, and this machine"
    ):
        QuantumLayer(hardware_efficient(60, 1), local_z(60))


def test_a_dict_is_one_observable() -> None:
    """Oracle: the sum of its terms, with their coefficients."""
    terms = {"Z0": -1.0, "X1": 0.5}
    torch.testing.assert_close(make(observables=terms)(features(2)), make(observables=PauliSum(terms))(features(2)))


def test_numpy_integers_are_whole_numbers() -> None:
    layer = make(shots=np.int64(100))
    assert layer.shots == 100
    assert type(layer.shots) is int
    layer(features(2))
    with layer.shots_at(np.int32(7)):
        assert layer.shots == 7


def test_pruned_weights() -> None:
    """Oracle: a layer with the same weights. Pruned ones stay zero as the others train; the layer comes back."""
    layer, x = make(init="uniform"), features(4)
    prune.l1_unstructured(layer, "weights", amount=0.5)
    assert int((layer.weights == 0).sum()) == 9
    torch.testing.assert_close(layer(x), make(init=layer.weights.detach())(x))
    optimizer = torch.optim.SGD(layer.parameters(), lr=0.5)
    layer(x).sum().backward()
    optimizer.step()
    torch.testing.assert_close(layer(x), make(init=layer.weights.detach())(x))
    assert int((layer.weights == 0).sum()) == 9
    assert [place[0] for place in layer.weight_places] == [layer.weights_orig]
    prune.remove(layer, "weights")
    assert isinstance(layer.weights, nn.Parameter)
    assert list(layer.state_dict()) == ["weights"]


def test_weights_computed_from_others() -> None:
    """Oracle: a layer with the same weights; probing at others leaves what computes them as it is."""
    for normalize in (nn.utils.weight_norm, nn.utils.parametrizations.weight_norm):
        layer, x = make(init="uniform"), features(4)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)  # of torch, about the older one
            normalize(layer, "weights", dim=None)
        y = layer(x)
        torch.testing.assert_close(y, make(init=layer.weights.detach())(x))
        y.sum().backward()
        assert all(p.grad is not None for p in layer.parameters())
        with layer.weights_at(torch.ones(18)):
            torch.testing.assert_close(layer(x), make(init=torch.ones(18))(x))
        torch.testing.assert_close(layer(x), y)
        assert layer.weight_places == []


def test_noise_of_a_layer_and_of_its_backend() -> None:
    """A noisy backend is the layer's noise, and there is only one."""
    noise = NoiseModel(depolarizing_1q=0.1)
    layer = make(backend=DensityMatrixBackend(noise))
    assert layer.noise is noise
    with layer.noiseless():
        torch.testing.assert_close(layer(features(2)), make()(features(2)))
    torch.testing.assert_close(layer(features(2)), make(noise=noise)(features(2)))
    with pytest.raises(BackendError, match="'density' has a noise model of its own: give noise= or such a backend"):
        make(backend=DensityMatrixBackend(noise), noise=noise)


def test_a_failed_layer_leaves_its_circuit_open() -> None:
    """Nothing half-built stays behind."""
    circuit = hardware_efficient(2, 1)
    with pytest.raises(InputError):
        QuantumLayer(circuit, init=torch.zeros(1))
    circuit.append("x", 0)
    QuantumLayer(circuit)
    with pytest.raises(CircuitError, match="frozen, since a layer uses it"):
        circuit.append("x", 0)


def test_a_batch_too_large_for_memory() -> None:
    layer = QuantumLayer(hardware_efficient(22, 1), "Z0", init=torch.zeros(66))
    with pytest.raises(CapacityError, match="Simulating 22 wires for a batch of 100000"):
        layer.states(initial_state=torch.empty(1, 2**22, dtype=torch.complex64).expand(100000, -1))


def test_half_precision_layers_are_refused() -> None:
    with pytest.raises(InputError, match=r"float32 or float64, its weights are torch.float16: call .float\(\)"):
        make().half()(features(2))


def test_weights_of_a_wrong_shape() -> None:
    layer = make()
    layer.weights = nn.Parameter(torch.zeros(4))
    with pytest.raises(InputError, match=r"has 18 weights, got weights of shape \(4,\)"):
        layer(features(2))
