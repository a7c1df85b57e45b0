"""TorchQuantum modules translated into layers, against TorchQuantum itself."""

from __future__ import annotations

import copy
import logging
import pickle
import runpy
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from torchbp import QuantumLayer
from torchbp._torchquantum import tq, tqf
from torchbp.backends.noise import NoiseModel
from torchbp.circuits import PauliSum, local_z
from torchbp.diagnosis.drift import Reference
from torchbp.diagnosis.probing import loss_landscape
from torchbp.errors import CircuitError, InputError
from torchbp.gradients.groups import find_groups

ARCH = {"n_wires": 4, "n_blocks": 2}
TRAINED = {"has_params": True, "trainable": True}
BATCH = 3

LAYERS: dict[str, Callable[[], nn.Module]] = {
    **{
        name: lambda name=name: getattr(tq.layer, name)(ARCH)
        for name in (
            "U3CU3Layer0", "CU3Layer0", "CXRZSXLayer0", "RZZLayer0", "BarrenLayer0", "FarhiLayer0", "RXYZCXLayer0",
            "SethLayer0", "SethLayer1", "SWAPSWAPLayer0",
        )
    },
    "RealAmplitudes": lambda: tq.layer.RealAmplitudes(4),
    "EfficientSU2": lambda: tq.layer.EfficientSU2(4, entanglement_layer="circular", reps=2),
    "ExcitationPreserving": lambda: tq.layer.ExcitationPreserving(4, reps=2),
    "PauliTwoDesign": lambda: tq.layer.PauliTwoDesign(4, reps=2),
    "TwoLocal": lambda: tq.layer.TwoLocal(4, ["rx", "rz"], "cz", entanglement_layer="full", reps=2),
    "NLocal": lambda: tq.layer.NLocal([tq.RY], [tq.CNOT], {"n_wires": 4}, rotation_layer_params=TRAINED),
    "Op1QAllLayer": lambda: tq.layer.Op1QAllLayer(tq.U3, 4, **TRAINED),
    "Op2QAllLayer": lambda: tq.layer.Op2QAllLayer(tq.CRot, 4, **TRAINED, wire_reverse=True, jump=2, circular=True),
    "Op2QFit32Layer": lambda: tq.layer.Op2QFit32Layer(tq.RXX, 4, **TRAINED),
    "Op2QButterflyLayer": lambda: tq.layer.Op2QButterflyLayer(tq.CRY, 4, **TRAINED),
    "Op2QDenseLayer": lambda: tq.layer.Op2QDenseLayer(tq.RZX, 4, **TRAINED),
    "EntangleLinear": lambda: tq.layer.EntangleLinear(tq.RYY, 4, **TRAINED),
    "EntangleCircular": lambda: tq.layer.EntangleCircular(tq.CRX, 4, **TRAINED),
    "EntanglePairwise": lambda: tq.layer.EntanglePairwise(tq.CU3, 4, **TRAINED),
    "RandomLayer": lambda: tq.layer.RandomLayer(range(4), n_ops=30, seed=3),
    "RandomLayerAllTypes": lambda: tq.layer.RandomLayerAllTypes(range(4), n_ops=40, op_types=WORKING, seed=3),
    "RandomOp1All": lambda: tq.layer.RandomOp1All(4, seed=3),
    "GlobalR": lambda: tq.layer.GlobalR(4, 0.3, 0.7),
    "GlobalRX": lambda: tq.layer.GlobalRX(4, 0.3),
    "GlobalRY": lambda: tq.layer.GlobalRY(4, 0.3),
    "GlobalRZ": lambda: tq.layer.GlobalRZ(4, 0.3),
    "SimpleQLayer": lambda: tq.layer.SimpleQLayer(4),
    "CXLayer": lambda: tq.layer.CXLayer(4),
    "CXCXCXLayer": lambda: tq.layer.CXCXCXLayer(4),
    "TrainableOpAll": lambda: tq.layer.TrainableOpAll(4, tq.RX),
    "FixedOpAll": lambda: tq.layer.FixedOpAll(4, tq.SX),
    "TwoQAll": lambda: tq.layer.TwoQAll(4, tq.CNOT),
    "QuantumModuleFromOps": lambda: tq.layer.QuantumModuleFromOps(
        [tq.RX(**TRAINED, wires=2), tq.MultiRZ(**TRAINED, n_wires=3, wires=[3, 0, 2]), tq.RZ(**TRAINED, wires=2)]
    ),
    "from_op_history": lambda: tq.QuantumModule.from_op_history(
        [{"name": "ry", "wires": [1], "params": 0.4}, {"name": "rx", "wires": [3], "params": 0.4, "trainable": True}]
    ),
}  # fmt: skip
WORKING = (
    tq.Hadamard, tq.SHadamard, tq.PauliX, tq.PauliY, tq.PauliZ, tq.S, tq.T, tq.SX, tq.CNOT, tq.CZ, tq.CY, tq.RX, tq.RY,
    tq.RZ, tq.RZZ, tq.SWAP, tq.CSWAP, tq.PhaseShift, tq.Rot, tq.MultiRZ, tq.CRX, tq.CRY, tq.CRZ, tq.CRot, tq.U3,
    tq.MultiCNOT, tq.MultiXCNOT, tq.CU3, tq.CU, tq.R,
)  # fmt: skip
ENCODERS: dict[str, Callable[[], nn.Module]] = {
    **{
        f"GeneralEncoder {name}": lambda entries=entries: tq.GeneralEncoder(entries)
        for name, entries in tq.encoding.encodings.encoder_op_list_name_dict.items()
        if max(w for entry in entries for w in entry["wires"]) < 8
    },
    "PhaseEncoder": lambda: tq.PhaseEncoder(tqf.rx),
    "MultiPhaseEncoder": lambda: tq.MultiPhaseEncoder(["rx", "u3", "ry", "phaseshift"], wires=[0, 3, 0, 5]),
    "StateEncoder": lambda: tq.StateEncoder(),
    "ClassicalInOpAll": lambda: tq.layer.ClassicalInOpAll(8, tq.RY),
}


class Surrounded(tq.QuantumModule):
    """A module in the middle of other gates, so that all of it shows in expectation values of Z."""

    def __init__(self, part: nn.Module, n_wires: int) -> None:
        super().__init__()
        self.part, self.n_wires = part, n_wires
        self.measure = tq.MeasureAll(tq.PauliZ)

    def forward(self, x: Tensor) -> Tensor:
        device = tq.QuantumDevice(n_wires=self.n_wires, bsz=len(x))
        if isinstance(self.part, tq.encoding.Encoder | tq.layer.ClassicalInOpAll):
            self.part(device, x)
        else:
            for wire in range(self.n_wires):
                tqf.ry(device, wires=wire, params=x[:, wire])
            self.part(device)
        for wire in range(self.n_wires):
            tqf.rx(device, wires=wire, params=0.3 + wire)
        return self.measure(device)


def gradients(model: Callable[[Tensor], Tensor], parameters: list[nn.Parameter], x: Tensor) -> list[Tensor]:
    x = x.clone().requires_grad_()
    y = model(x)
    cotangent = torch.randn(y.shape, generator=torch.Generator().manual_seed(2))
    leaves = [p for p in parameters if p.requires_grad]
    return [y, *torch.autograd.grad((y * cotangent).sum(), [x, *leaves], allow_unused=True, materialize_grads=True)]


def assert_equal(module: nn.Module, layer: QuantumLayer, x: Tensor, atol: float = 1e-6) -> None:
    """Outputs and gradients in x and all parameters."""
    parameters = list(module.parameters())
    for got, wanted in zip(gradients(layer, parameters, x), gradients(module, parameters, x), strict=True):
        torch.testing.assert_close(got, wanted, rtol=1e-5, atol=atol)


def features(n: int, batch: int = BATCH) -> Tensor:
    return torch.rand(batch, n, generator=torch.Generator().manual_seed(1)) * 4 - 2


@pytest.mark.parametrize("name", LAYERS)
def test_layers(name: str) -> None:
    """Oracle: TorchQuantum, to 1e-6 in float32."""
    torch.manual_seed(0)
    module, x = Surrounded(LAYERS[name](), 4), features(4)
    assert_equal(module, QuantumLayer.from_torchquantum(module, example=x), x)


@pytest.mark.parametrize("name", ENCODERS)
def test_encoders(name: str) -> None:
    """Oracle: TorchQuantum, to 1e-6 in float32."""
    module = Surrounded(ENCODERS[name](), 8)
    entries = getattr(module.part, "func_list", None)
    x = features(8 if entries is None else 1 + max(i for entry in entries for i in entry.get("input_idx") or [0]))
    assert_equal(module, QuantumLayer.from_torchquantum(module, example=x), x)


@pytest.mark.parametrize("name", ["MaxwellLayer0", "QFTLayer", "inverse QFTLayer", "Toffoli"])
def test_what_torchquantum_cannot_run(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Layers whose gates raise NameError in TorchQuantum 0.1.8. Oracle: it, with the missing import put in."""
    part = {
        "MaxwellLayer0": lambda: tq.layer.MaxwellLayer0(ARCH),
        "QFTLayer": lambda: tq.layer.QFTLayer(4),
        "inverse QFTLayer": lambda: tq.layer.QFTLayer(4, do_swaps=False, inverse=True),
        "Toffoli": lambda: tq.Toffoli(wires=[2, 0, 3]),
    }[name]()
    module, x = Surrounded(part, 4), features(4)
    with pytest.raises(NameError, match="mat_dict"):
        module(x)
    layer = QuantumLayer.from_torchquantum(module, example=x)
    with pytest.raises(NameError, match="mat_dict"):  # TorchQuantum is as it was
        module(x)
    for function in (tqf.u1, tqf.toffoli):
        monkeypatch.setitem(function.__globals__, "mat_dict", tqf.mat_dict)
    assert_equal(module, layer, x)


def test_layer_that_takes_a_device() -> None:
    """Oracle: the state TorchQuantum leaves on the device."""
    module, device = tq.layer.U3CU3Layer0(ARCH), tq.QuantumDevice(n_wires=4)
    layer = QuantumLayer.from_torchquantum(module)
    module(device)
    torch.testing.assert_close(layer.states(), device.get_states_1d(), rtol=0, atol=1e-6)
    assert list(layer.observables) == local_z(4)
    assert layer.backend.name == "fused"


def test_operator_by_itself() -> None:
    """Oracle: TorchQuantum's state."""
    for operator in (tq.RX(**TRAINED, wires=1, inverse=True), tq.CU3(True, False, [0.1, 0.2, 0.3], wires=[2, 0])):
        device = tq.QuantumDevice(n_wires=3)
        operator(device)
        layer = QuantumLayer.from_torchquantum(operator, "Z0", n_wires=3)
        torch.testing.assert_close(layer.states(), device.get_states_1d())
    assert QuantumLayer.from_torchquantum(tq.RX(**TRAINED, wires=2)).n_wires == 3


class Own(tq.QuantumModule):
    """Functions and operators with parameters of its own, each used in a way of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.theta = nn.Parameter(torch.tensor([[0.1, 0.2], [0.3, 0.4]]))
        self.weights = nn.Parameter(torch.tensor(0.7))
        self.unused = nn.Parameter(torch.ones(1))
        self.rx = tq.RX()
        self.fixed = tq.RY(has_params=True, trainable=False, init_params=0.4)
        self.matrix = tq.QubitUnitary(has_params=True, init_params=[[0, 1j], [1j, 0]])
        self.coefficient = torch.tensor([0.5, 2.0, -1.0])

    def forward(self, x: Tensor, scale: float = 2.0) -> Tensor:
        device = tq.QuantumDevice(n_wires=3, bsz=len(x))
        device.h(wires=[1])
        tqf.rz(device, wires=0, params=scale * x[:, 3] - 0.5)
        device.ry(wires=2, params=x[:, 0] * x[:, 1] * 0.3)
        tqf.rx(device, 2, params=x[:, [2]] ** 2, inverse=True)
        tqf.u3(device, wires=1, params=torch.cat([self.theta[1], self.theta[0, :1] * torch.pi + 1])[None])
        self.rx(device, wires=0, params=x[:, 0])
        tqf.crx(device, wires=np.array([0, 2]), params=self.weights)
        tqf.ryy(device, wires=[0, 1], params=-self.theta[1, 1].float())
        self.fixed(device, wires=1)
        self.matrix(device, wires=2)
        copied = tq.QuantumDevice(n_wires=3, bsz=len(x))
        copied.clone_states(device.states)
        tqf.rx(copied, wires=1, params=[0.3] * len(x))
        z = tq.expval(copied, [2, 0, 1], [tq.PauliZ(), tq.PauliY(), tq.PauliX()])
        return torch.stack([z @ self.coefficient, z[:, 1] + 0.25], dim=1)


def test_module_of_ones_own() -> None:
    """Angles times and plus numbers, products of features, matrices, copied states; sums of what is measured.

    Oracle: TorchQuantum.
    """
    module, x = Own(), features(5)
    module(x.requires_grad_())  # leaves results in self.rx.params
    layer = QuantumLayer.from_torchquantum(module, example=x)
    assert_equal(module, layer, x.detach())
    assert [PauliSum({"Z2": 0.5, "Y0": 2.0, "X1": -1.0}), PauliSum({"Y0": 1.0, "I": 0.25})] == list(layer.observables)
    assert layer.weight_groups == {"Own": (0, 1, 2, 3)}
    names = "theta", "weights", "unused", "fixed.params"
    assert set(layer.state_dict()) == set(names) == {name for name, _ in layer.named_parameters()}
    torch.testing.assert_close(layer.weights, torch.tensor([0.3, 0.4, 0.1, 0.7]))  # [1, 0], [1, 1], [0, 0], weights


def test_a_global_phase_is_left_out() -> None:
    """It changes no expectation value, and TorchQuantum applies it to no wires."""
    module = forwards(lambda m, d, x: [tqf.globalphase(d, [], x), tqf.ry(d, 0, x[:, 0]), measured(d)][2])
    layer = QuantumLayer.from_torchquantum(module, example=features(1))
    assert [str(op) for op in layer.circuit.operations] == ["ry(x[0]) on [0]"]


def example_module() -> tuple[nn.Module, Tensor]:
    path, logger = (
        Path(__file__).parents[2] / "examples" / "existing_code" / "torchquantum_wine.py",
        logging.getLogger("lightning.pytorch"),
    )
    level = logger.level
    part = runpy.run_path(str(path))["QuantumPart"]()
    logger.setLevel(level)  # the example silences it
    return part, features(4, 20)


def test_existing_code() -> None:
    """The example's module. Oracle: itself; and the groups of its layers."""
    module, x = example_module()
    layer = QuantumLayer.from_torchquantum(module, example=x)
    assert_equal(module, layer, x)
    assert list(layer.weight_groups) == ["rotations.0", "rotations.1"]
    for mine, theirs in zip(find_groups(layer), find_groups(module), strict=True):
        assert (mine.name, mine.kind) == (theirs.name, theirs.kind)
        assert all(p is q for (p, _), (q, _) in zip(mine.parts, theirs.parts, strict=True))


def test_translating_leaves_the_module_as_it_was() -> None:
    """No new attributes, same parameters, gradients and random numbers."""
    module, x = example_module()
    before, state = copy.deepcopy(module.state_dict()), torch.get_rng_state()
    layer = QuantumLayer.from_torchquantum(module, example=x, generator=torch.Generator())
    assert torch.equal(torch.get_rng_state(), state)
    assert list(before) == list(module.state_dict()) == list(layer.state_dict())
    assert all(torch.equal(v, module.state_dict()[name]) for name, v in before.items())
    assert all(p.grad is None for p in module.parameters())
    assert len(module._forward_hooks) == 0


def test_parameters_are_shared() -> None:
    """Training the layer trains the module, and the other way round; an optimizer over both sees each once."""
    module, x = example_module()
    layer = QuantumLayer.from_torchquantum(module, example=x)
    assert all(p is q for p, q in zip(layer.parameters(), module.parameters(), strict=True))
    assert len(list(nn.ModuleList([layer, module]).parameters())) == 8
    y = module(x)
    optimizer = torch.optim.SGD(layer.parameters(), lr=0.5)
    layer(x).sum().backward()
    optimizer.step()
    assert (module(x) - y).abs().max() > 1e-2
    torch.testing.assert_close(layer(x), module(x), rtol=0, atol=1e-6)
    optimizer = torch.optim.SGD(module.parameters(), lr=0.5)
    module(x).sum().backward()
    optimizer.step()
    torch.testing.assert_close(layer(x), module(x), rtol=0, atol=1e-6)


def test_a_checkpoint_of_the_module_fits_the_layer() -> None:
    """With the state of a device in it, as TorchQuantum's layers leave it there too. Oracle: the module."""
    module, other = (Surrounded(tq.layer.U3CU3Layer0(ARCH), 4) for _ in range(2))
    x = features(4)
    layer = QuantumLayer.from_torchquantum(other, example=x)
    module(x)
    assert "part.q_device.states" in module.state_dict()
    nn.Sequential(copy.deepcopy(layer)).load_state_dict(nn.Sequential(module).state_dict())
    layer.load_state_dict(module.state_dict())
    torch.testing.assert_close(layer(x), module(x), rtol=0, atol=1e-6)
    torch.testing.assert_close(layer.double()(x).float(), module(x), rtol=0, atol=1e-6)


@pytest.mark.parametrize("duplicate", [copy.deepcopy, lambda pair: pickle.loads(pickle.dumps(pair))])
def test_copies_share_among_themselves(duplicate: Callable) -> None:
    """A layer and its module copied together share; with the originals they share nothing."""
    module = Own()
    layer = QuantumLayer.from_torchquantum(module, example=features(4))
    with torch.no_grad():
        module.theta += 0.5
    twin, copied = duplicate((layer, module))
    assert all(p is q for p, q in zip(twin.parameters(), copied.parameters(), strict=True))
    torch.testing.assert_close(twin(features(4)), layer(features(4)))
    with torch.no_grad():
        copied.theta += 1.0
    torch.testing.assert_close(twin.weights[:3], layer.weights[:3] + 1.0)


def test_other_weights_for_a_while() -> None:
    """Both kinds of layer compute with the weights given, and have their own back. Oracle: a plain layer."""
    module, x = Own(), features(4)
    layer = QuantumLayer.from_torchquantum(module, example=x)
    plain = QuantumLayer(layer.circuit, layer.observables, init=layer.weights.detach())
    draw = torch.tensor([1.0, -2.0, 3.0, 0.5], dtype=torch.float64)
    wanted = QuantumLayer(layer.circuit, layer.observables, init=draw.float())(x)
    for each in (layer, plain):
        before, y = copy.deepcopy(each.state_dict()), each(x)
        with each.weights_at(draw):
            torch.testing.assert_close(each(x), wanted)
            torch.testing.assert_close(each.weights.detach(), draw.float())
        assert torch.equal(each(x), y)
        assert all(torch.equal(v, each.state_dict()[k]) for k, v in before.items())
        y.sum().backward()  # a graph made before is still good
        with pytest.raises(InputError, match=r"has 4 weights, got weights of shape \(2,\)"), each.weights_at(draw[:2]):
            pass


def test_probing_a_shared_layer() -> None:
    """Landscape and drift are those of a plain layer with the same circuit and weights."""
    module, x = example_module()
    layer = QuantumLayer.from_torchquantum(module, example=x)
    plain = QuantumLayer(layer.circuit, layer.observables, init=layer.weights.detach())
    found = []
    for each in (layer, plain):
        source = torch.Generator().manual_seed(0)
        found.append(
            (
                loss_landscape(each, lambda each=each: each(x).square().sum(), samples=4, generator=source),
                Reference.of(each).shift(each),
            )
        )
    assert found[0] == found[1]
    assert torch.equal(layer.per_sample_gradients(x), plain.per_sample_gradients(x))


def test_a_parameter_that_became_a_constant() -> None:
    """It may be loaded again, but not changed or trained."""
    module, x = Own(), features(4)
    layer = QuantumLayer.from_torchquantum(module, example=x)
    module.load_state_dict(copy.deepcopy(module.state_dict()))
    layer.double()(x)
    layer.float()
    module.fixed.params.requires_grad = True
    with pytest.raises(InputError, match=r"'fixed.params' was not trainable when .* became constants"):
        layer(x)
    module.fixed.params.requires_grad = False
    layer(x)
    with torch.no_grad():
        module.fixed.params += 1
    with pytest.raises(InputError, match="translate the module again"):
        layer(x)


def test_a_module_without_parameters() -> None:
    layer = QuantumLayer.from_torchquantum(tq.StateEncoder(), example=torch.ones(1, 3), n_wires=2)
    assert layer.weights.shape == (0,)
    assert not layer.state_dict()
    torch.testing.assert_close(layer(torch.tensor([[0.0, 0.0, 2.0]])), torch.tensor([[-1.0, 1.0]]))
    assert layer.double()(torch.ones(1, 3)).dtype is torch.float64


def test_shots_and_noise() -> None:
    """A translated layer is a layer. Oracle: exact values, 5 standard errors at 40000 shots."""
    module, x = example_module()
    layer = QuantumLayer.from_torchquantum(module, example=x, shots=40_000, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(layer(x), module(x), rtol=0, atol=5 / 200)
    noisy = QuantumLayer.from_torchquantum(module, example=x, noise=NoiseModel(depolarizing_2q=0.1))
    assert noisy(x).abs().mean() < module(x).abs().mean()


def forwards(function: Callable, **parameters: Tensor) -> nn.Module:
    """A module with this forward, `function(module, device, x)`, on 2 wires."""

    class Written(tq.QuantumModule):
        def forward(self, x: Tensor) -> object:
            return function(self, tq.QuantumDevice(n_wires=2, bsz=len(x)), x)

    module = Written()
    for name, value in parameters.items():
        setattr(module, name, nn.Parameter(value))
    return module


def measured(device: object, name: str = "PauliZ") -> Tensor:
    return tq.MeasureAll(getattr(tq, name))(device)


def test_measurements() -> None:
    """Oracle: TorchQuantum's own, on one column each."""
    functions = [
        lambda m, d, x: [tqf.ry(d, 0, params=x[:, 0]), measured(d, "PauliX")][1],
        lambda m, d, x: [tqf.rx(d, 1, params=x[:, 0]), measured(d, "PauliY").reshape(-1, 2, 1).sum(-1)][1],
        lambda m, d, x: [tqf.rx(d, 1, params=x[:, 0]), tq.measurement.expval_joint_analytical(d, "ZZ")[:, None]][1],
        lambda m, d, x: [tqf.rx(d, 1, params=x[:, 0]), measured(d).sum(-1, keepdim=True)][1],
        lambda m, d, x: [tqf.ry(d, 0, params=x[:, 0]), tq.MeasureMultipleTimes(
            [{"wires": [0, 1], "observables": ["x", "z"]}])(d)][1],
    ]  # fmt: skip
    for function in functions:
        module = forwards(function)
        layer = QuantumLayer.from_torchquantum(module, example=features(1))
        torch.testing.assert_close(layer(features(1)), module(features(1)), rtol=0, atol=1e-6)


ANGLE = "not one parameter or feature times and plus a number"
NOT_MEASURED = "not a weighted sum of expectation values"
SCALAR = torch.tensor([0.3])


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (lambda m, d, x: tqf.ry(d, 0, params=torch.tanh(x[:, 0])), rf"gate 'ry' on \[0\] is {ANGLE}"),
        (lambda m, d, x: tqf.ry(d, 0, params=m.a.sin()), ANGLE),
        (lambda m, d, x: tqf.ry(d, 0, params=m.a.abs()), ANGLE),
        (lambda m, d, x: tqf.ry(d, 0, params=m.a.detach()), ANGLE),
        (lambda m, d, x: tqf.ry(d, 0, params=x[:, 0].clamp(max=3.14)), ANGLE),
        (lambda m, d, x: tqf.ry(d, 0, params=x[:, 0].detach().sin()), ANGLE),
        (lambda m, d, x: tqf.ry(d, 0, params=torch.rand(len(x))), ANGLE),
        (lambda m, d, x: tqf.ry(d, 0, params=x[:, 0].rsqrt()), ANGLE),
        (lambda m, d, x: tqf.rz(d, 1, params=x[:, 1] * m.a), r"'rz' on \[1\] is made of a\[0\], feature 1: it can be"),
        (lambda m, d, x: tqf.rz(d, 1, params=x[:, 0] + x[:, 1]), "made of feature 0, feature 1"),
        (lambda m, d, x: tqf.rz(d, 1, params=x[:, 0] - x[:, 0].mean()), "made of several samples of the batch"),
        (lambda m, d, x: tqf.rz(d, 1, params=x[0, :1] * 2), "made of one sample's features"),
        (lambda m, d, x: tqf.u3(d, 1, params=torch.rand(3)), r"must have shape \(1 or batch, .* got \(3, 1\)"),
        (lambda m, d, x: tqf.u3(d, 1, params=torch.rand(1, 2)), "Gate 'u3' takes 3 angles, got 2"),
        (lambda m, d, x: tqf.qubitunitary(d, 0, torch.matrix_exp(1j * m.a * torch.eye(2))), "The matrix of the gate"),
        (lambda m, d, x: tqf.x(d, wires=0 if m.a > 0 else 1), "Which gates Written applies depends on the values"),
        (lambda m, d, x: tqf.x(d, wires=5), "Gate 'paulix' on wire 5: the circuit has wires 0 to 1"),
        (lambda m, d, x: tq.PauliX()(d), "'paulix' in '' has no wires"),
        (lambda m, d, x: (tqf.x(d, 0), tqf.reset(d, 1), tqf.x(d, 1)), "by tq.reset, which is not unitary"),
        (lambda m, d, x: [tq.StateEncoder()(d, x.tanh()), tqf.x(d, 0)], "by StateEncoder of something else"),
        (lambda m, d, x: [d.reset_all_eq_states(len(x)), tqf.x(d, 0)], "neither |0...0> nor its first"),
        (lambda m, d, x: tqf.x(tq.NoiseDevice(2), 0), "tq.NoiseDevice can't be translated: use a tq.QuantumDevice"),
        (lambda m, d, x: tqf.x(d, 0) or 1 / 0, "recorded, after the gate 'paulix' .* ZeroDivisionError: division by"),
        (lambda m, d, x: None, "applied no gate of TorchQuantum"),
        (lambda m, d, x: [tqf.x(d, 0), measured(d).softmax(1)][1], NOT_MEASURED),
        (lambda m, d, x: [tqf.x(d, 0), measured(d) * m.a][1], NOT_MEASURED),
        (lambda m, d, x: [tqf.x(d, 0), measured(d) + x][1], NOT_MEASURED),
        (lambda m, d, x: [tqf.x(d, 0), measured(d) - measured(d).mean(0)][1], NOT_MEASURED),
        (lambda m, d, x: [tqf.x(d, 0), d.get_states_1d().abs()][1], NOT_MEASURED),
        (lambda m, d, x: [tqf.x(d, 0), measured(d).sum()][1], r"returns shape \(\) for a batch of 2"),
        (lambda m, d, x: [tqf.x(d, 0), measured(d, "Hadamard")][1], "measures Hadamard: only PauliX"),
        (lambda m, d, x: [tqf.x(d, 0), measured(d, "PauliX") + measured(d)][1], "measures different states"),
    ],
)  # fmt: skip
def test_what_has_no_translation_is_named(function: Callable, message: str) -> None:
    with pytest.raises(CircuitError, match=message.replace("|", r"\|")):
        QuantumLayer.from_torchquantum(forwards(function, a=SCALAR), example=torch.zeros(1, 2))


class Unregistered(tq.QuantumModule):
    """Trainable operators and numbers where `parameters()` does not look."""

    def __init__(self, kind: str) -> None:
        super().__init__()
        self.n_wires, self.kind, self.first = 2, kind, tq.RY(**TRAINED)
        self.ops, self.gates = [tq.RX(**TRAINED)], {"forget": {"turn": tq.RX(**TRAINED)}}
        self.angle = torch.rand(1, requires_grad=True)

    def forward(self, device: tq.QuantumDevice) -> None:
        self.first(device, wires=0)
        if self.kind == "ops[0].params":
            self.ops[0](device, wires=1)
        elif self.kind == "angle":
            tqf.rz(device, wires=1, params=2 * self.angle)
        else:
            self.gates["forget"]["turn"](device, wires=1)


@pytest.mark.parametrize("kind", ["ops[0].params", "gates['forget']['turn'].params", "angle"])
def test_what_nobody_would_train_is_named(kind: str) -> None:
    """Their gradients would be missing without a word; registered or within, they are trained."""
    module = Unregistered(kind)
    wanted = f"depends on {kind!r}, a trainable tensor .* of Unregistered, .* nn.ModuleList or nn.ModuleDict"
    with pytest.raises(CircuitError, match=wanted.replace("[", r"\[").replace("]", r"\]").replace("'", ".")):
        QuantumLayer.from_torchquantum(module)
    if kind == "ops[0].params":
        module.ops = nn.ModuleList(module.ops)
        assert QuantumLayer.from_torchquantum(module).circuit.n_weights == 2


def test_operators_made_from_a_history() -> None:
    """Oracle: by hand, <Z1> = cos b behind RX(b); TorchQuantum's own names are no obstacle."""
    steps = [{"name": name, "wires": k, "params": 0.4, "trainable": True} for k, name in enumerate(("ry", "rx"))]
    layer = QuantumLayer.from_torchquantum(tq.QuantumModule.from_op_history(steps), n_wires=2)
    torch.testing.assert_close(layer(), torch.tensor([[0.4, 0.4]]).cos())
    assert layer.circuit.n_weights == 2


def test_features_before_the_device() -> None:
    """Oracle: TorchQuantum."""

    class Swapped(tq.QuantumModule):
        def __init__(self) -> None:
            super().__init__()
            self.n_wires, self.turn, self.measure = 2, tq.RX(**TRAINED), tq.MeasureAll(tq.PauliZ)

        def forward(self, x: Tensor, q_device: tq.QuantumDevice) -> Tensor:
            tqf.ry(q_device, wires=1, params=x[:, 0])
            self.turn(q_device, wires=1)
            return self.measure(q_device)

    module, x = Swapped(), features(1)
    layer = QuantumLayer.from_torchquantum(module, example=x)
    torch.testing.assert_close(layer(x), module(x, tq.QuantumDevice(n_wires=2, bsz=len(x))), rtol=0, atol=1e-6)


def test_energies_in_several_bases() -> None:
    """Oracle: TorchQuantum. Without features, the values of the only sample are a row."""

    class Energy(tq.QuantumModule):
        def __init__(self) -> None:
            super().__init__()
            self.n_wires, self.turn = 2, tq.layer.U3CU3Layer0({"n_wires": 2, "n_blocks": 1})
            rows = [{"wires": [0, 1], "observables": list(o), "coefficient": [1, 1]} for o in ("xx", "zi", "yz")]
            self.measure = tq.measurement.MeasureMultiPauliSum(rows)

        def forward(self, device: tq.QuantumDevice) -> Tensor:
            self.turn(device)
            return self.measure(device)

    module = Energy()
    wanted = module(tq.QuantumDevice(n_wires=2))
    torch.testing.assert_close(QuantumLayer.from_torchquantum(module)(), wanted[None], rtol=0, atol=1e-6)


def test_other_modules_are_told_of_the_other_way() -> None:
    module, _ = example_module()
    with pytest.raises(InputError, match=r"images, sequences or complex states there is model = QuantumLayer.within\("):
        QuantumLayer.from_torchquantum(module, example=torch.zeros(2, 1, 4, 4))
    softmax = forwards(lambda m, d, x: [tqf.ry(d, 0, params=x[:, 0]), measured(d).softmax(1)][1])
    with pytest.raises(CircuitError, match=r"run the circuits in it: model = QuantumLayer.within\(module\)"):
        QuantumLayer.from_torchquantum(softmax, example=features(2))


def test_observables_given_replace_what_is_returned() -> None:
    """Oracle: TorchQuantum's measurement without the softmax."""
    module = forwards(lambda m, d, x: [tqf.ry(d, 0, params=x[:, 0]), measured(d).softmax(1)][1])
    plain = forwards(lambda m, d, x: [tqf.ry(d, 0, params=x[:, 0]), measured(d)][1])
    layer = QuantumLayer.from_torchquantum(module, local_z(2), example=features(2))
    torch.testing.assert_close(layer(features(2)), plain(features(2)), rtol=0, atol=1e-6)


def test_modules_that_cannot_be() -> None:
    module, x = example_module()
    with pytest.raises(InputError, match=r"QuantumPart.forward needs 'x': pass example=, a batch of features \(B, F\)"):
        QuantumLayer.from_torchquantum(module)
    with pytest.raises(InputError, match=r"batch of real features \(B, F\), got \(4,\)"):
        QuantumLayer.from_torchquantum(module, example=x[0])
    with pytest.raises(CircuitError, match="a QuantumDevice of 4 wires itself, got n_wires=5"):
        QuantumLayer.from_torchquantum(module, example=x, n_wires=5)
    with pytest.raises(CircuitError, match="how many wires its QuantumDevice has: pass n_wires="):
        QuantumLayer.from_torchquantum(tq.PhaseEncoder(tqf.rx), example=x)
    named = forwards(lambda m, d, x: tqf.rx(d, 0, params=m.circuit), circuit=SCALAR)
    with pytest.raises(CircuitError, match="'circuit' has the name of something that every QuantumLayer has"):
        QuantumLayer.from_torchquantum(named, example=x)
    for change, message in (
        (lambda m: m.encoder.static_on(), r"'encoder' is in TorchQuantum's static mode: call static_off\(\)"),
        (lambda m: m.set_noise_model_tq(object()), "QuantumPart has a TorchQuantum noise model, .* noise=NoiseModel"),
        (lambda m: m.set_qiskit_processor(object()), r"has a Qiskit processor: remove it with"),
    ):
        refused = copy.deepcopy(module)
        change(refused)
        with pytest.raises(CircuitError, match=message):
            QuantumLayer.from_torchquantum(refused, example=x)
