"""Layers that nothing reaches, layers that nobody trains, and devices that drift."""

import torch
from torch import Tensor, nn

from benchmarks.plateaubench.building import Beside, Drifting, Parts, adam, inputs, mse, sgd, shallow, taught
from benchmarks.plateaubench.task import Learner, Scenario, Task, generator, pick, supervised
from torchbp import Circuit, QuantumLayer, torchquantum, weight
from torchbp.circuits import angle_encoding, local_z


def light_cone(seed: int) -> Task:
    layer = beyond_the_light_cone(pick(seed, 2, 3), seed)
    x, y = taught(layer, seed, 1.0)
    return supervised(Learner(layer, mse, sgd(0.1)), x, y, seed, steps=250)


def beyond_the_light_cone(n: int, seed: int) -> QuantumLayer:
    """The second of three circuit layers turns wires that are neither measured nor entangled with those that are."""
    circuit = Circuit(n + 2)
    for index, wires in enumerate((range(n), range(n, n + 2), range(n))):
        circuit.start_layer(f"layer{index}")
        for wire in wires:
            circuit.append("ry", wire, weight()).append("rx", wire, weight())
        for wire in list(wires)[:-1]:
            circuit.append("cnot", (wire, wire + 1))
    return QuantumLayer(angle_encoding(n + 2) + circuit, local_z(n + 2)[:n], generator=generator(seed))


class Times(nn.Module):
    def __init__(self, module: nn.Module, factor: float) -> None:
        super().__init__()
        self.module, self.factor = module, factor

    def forward(self, x: Tensor) -> Tensor:
        return self.factor * self.module(x)


def times_zero(seed: int) -> Task:
    """A gate that was left closed: the circuit's output is multiplied by zero beside a path that learns."""
    x = inputs(3, seed)
    y = torch.sin(2 * x[:, :1]) + x[:, 1:2]
    model = Beside(nn.Linear(3, 3), Times(shallow(3, seed), 0.0), nn.Linear(6, 1))
    return supervised(Learner(model, mse, adam(0.003)), x, y, seed, steps=250)


def frozen(seed: int) -> Task:
    """A circuit as a fixed feature map, `requires_grad` off, and a head that learns."""
    layer = shallow(3, seed, init="uniform")
    layer.requires_grad_(False)
    x = inputs(3, seed)
    y = torch.sin(2 * x[:, :1]) + x[:, 1:2]
    model = Parts(nn.Identity(), layer, nn.Linear(3, 1))
    return supervised(Learner(model, mse, adam(0.003)), x, y, seed, steps=250)


class Untouched(nn.Module):
    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module

    def forward(self, x: Tensor) -> Tensor:
        with torch.no_grad():
            return self.module(x)


def without_gradients(seed: int) -> Task:
    """A reservoir: the circuit runs under `torch.no_grad`."""
    x = inputs(3, seed)
    y = torch.sin(2 * x[:, :1]) + x[:, 1:2]
    model = Parts(nn.Identity(), Untouched(shallow(3, seed, init="uniform")), nn.Linear(3, 1))
    return supervised(Learner(model, mse, adam(0.003)), x, y, seed, steps=250)


def no_weights(seed: int) -> Task:
    """An encoding and a measurement, and no angle to train."""
    circuit = angle_encoding(3)
    for wire in range(2):
        circuit.append("cnot", (wire, wire + 1))
    x = inputs(3, seed)
    y = torch.sin(2 * x[:, :1]) + x[:, 1:2]
    model = Parts(nn.Linear(3, 3), QuantumLayer(circuit, local_z(3)), nn.Linear(3, 1))
    return supervised(Learner(model, mse, adam(0.003)), x, y, seed, steps=250)


def fading(seed: int) -> Task:
    """The contrast of the device fades, a thousandth with each step."""
    device = Drifting(lambda values, clock: values * torch.exp(-0.003 * clock))
    layer = shallow(3, seed, backend=device)
    x, y = taught(layer, seed, 0.5)
    module = Learner(layer, mse, sgd(0.1))
    device.clock = module.clock
    return supervised(module, x, y, seed, steps=300)


def translated(seed: int) -> Task:
    """A TorchQuantum module run by torchbp, with the module's own parameters."""
    module = torchquantum.layer.U3CU3Layer0({"n_wires": 3, "n_blocks": 2})
    model = Parts(nn.Linear(3, 3), FromState(QuantumLayer.from_torchquantum(module)), nn.Linear(3, 1))
    x = inputs(3, seed)
    y = torch.sin(2 * x[:, :1]) + x[:, 1:2]
    return supervised(Learner(model, mse, adam(0.002)), x, y, seed, steps=250)


class FromState(nn.Module):
    """Features as the state a circuit starts from."""

    def __init__(self, layer: QuantumLayer) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, x: Tensor) -> Tensor:
        half = x / 2
        state = torch.ones(len(x), 1, dtype=x.dtype)
        for wire in range(x.shape[1]):
            turned = torch.stack([half[:, wire].cos(), half[:, wire].sin()], dim=1)
            state = (state[:, :, None] * turned[:, None, :]).flatten(1)
        return self.layer(initial_state=state)


SCENARIOS = (
    Scenario("light_cone", "dead layers", "dead_layer", light_cone),
    Scenario("times_zero", "dead layers", "dead_layer", times_zero),
    Scenario("frozen", "untrained", "not_trained", frozen),
    Scenario("without_gradients", "untrained", "not_trained", without_gradients),
    Scenario("no_weights", "untrained", "not_trained", no_weights),
    Scenario("fading", "drift", "drifting", fading),
    Scenario("translated", "TorchQuantum", "healthy", translated),
)
