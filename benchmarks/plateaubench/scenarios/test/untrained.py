"""Gradients that are zero, weights that nobody moves, devices that drift: each for another reason."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from benchmarks.plateaubench.building import Beside, Drifting, Parts, adam, inputs, sgd, table
from benchmarks.plateaubench.task import Learner, Scenario, Task, generator, supervised
from torchbp import QuantumLayer, weight
from torchbp.circuits import angle_encoding, hardware_efficient, local_z, real_amplitudes, strongly_entangling


def circuit_of(n: int, seed: int, **options: Any) -> QuantumLayer:
    circuit = angle_encoding(n, "rx") + real_amplitudes(n, 2)
    return QuantumLayer(circuit, local_z(n), generator=generator(seed), **options)


def last_turns(seed: int) -> Task:
    """The last circuit layer turns around the axis that is measured."""
    circuit = angle_encoding(3) + hardware_efficient(3, 2, ("ry", "rx"))
    circuit.start_layer("last")
    for wire in range(3):
        circuit.append("rz", wire, weight())
    layer = QuantumLayer(circuit, local_z(3), generator=generator(seed))
    x, y = table("wine", 3, seed)
    model = nn.Sequential(layer, nn.Linear(3, 3))
    return supervised(Learner(model, nn.functional.cross_entropy, adam(0.01)), x, y, seed, steps=250)


def closed_rectifier(seed: int) -> Task:
    """All that the circuit says is below the threshold of the unit behind it; another path learns."""
    gate = nn.Linear(3, 4)
    with torch.no_grad():
        gate.bias.fill_(-6.0)
    quantum = nn.Sequential(circuit_of(3, seed), gate, nn.ReLU())
    x, y = table("breast_cancer", 3, seed)
    model = Beside(nn.Linear(3, 2), quantum, nn.Linear(6, 1))
    logistic = nn.functional.binary_cross_entropy_with_logits
    return supervised(Learner(model, logistic, sgd(0.05)), x, y[:, None].float(), seed, steps=250)


class HeadOnly(Learner):
    """The optimizer is given the head's parameters, and the circuit's were forgotten."""

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.Adam(self.model.head.parameters(), lr=0.005)


def forgotten(seed: int) -> Task:
    x, y = table("wine", 3, seed)
    model = Parts(nn.Identity(), circuit_of(3, seed, init="uniform"), nn.Linear(3, 3))
    return supervised(HeadOnly(model, nn.functional.cross_entropy, adam(0.0)), x, y, seed, steps=250)


class Unused(nn.Module):
    """It has a circuit, and `forward` does not call it."""

    def __init__(self, circuit: nn.Module, network: nn.Module) -> None:
        super().__init__()
        self.circuit, self.network = circuit, network

    def forward(self, x: Tensor) -> Tensor:
        return self.network(x)


def never_called(seed: int) -> Task:
    x, y = table("digits", 6, seed)
    model = Unused(circuit_of(6, seed), nn.Sequential(nn.Linear(6, 12), nn.ReLU(), nn.Linear(12, 10)))
    return supervised(Learner(model, nn.functional.cross_entropy, adam(0.005)), x, y, seed, steps=250)


def detached(seed: int) -> Task:
    """Features from a circuit whose output is detached, as targets and teachers are."""
    layer = circuit_of(3, seed, init="uniform")

    class Detached(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = layer

        def forward(self, x: Tensor) -> Tensor:
            return self.layer(x).detach()

    x = inputs(3, seed)
    y = x[:, :1].abs() - x[:, 1:2]
    model = Beside(nn.Identity(), Detached(), nn.Linear(6, 1))
    return supervised(Learner(model, nn.functional.smooth_l1_loss, sgd(0.05)), x, y, seed, steps=250)


def readout_creeps(seed: int) -> Task:
    """A readout whose zero creeps upwards, under a classifier that follows as long as it can."""
    device = Drifting(lambda values, clock: values + 0.004 * clock)
    layer = QuantumLayer(
        angle_encoding(3) + strongly_entangling(3, 1), local_z(3), backend=device, generator=generator(seed)
    )
    x, y = table("wine", 3, seed)
    sharp = lambda output, y: nn.functional.cross_entropy(2 * output, y)  # noqa: E731
    module = Learner(layer, sharp, adam(0.01))
    device.clock = module.clock
    return supervised(module, x, y, seed, steps=300)


def growing_crosstalk(seed: int) -> Task:
    """Each wire's reading takes on more and more of its neighbour's."""

    def mix(values: Tensor, clock: Tensor) -> Tensor:
        share = 1 - torch.exp(-0.004 * clock)
        return (1 - share) * values + share * values.roll(1, -1)

    device = Drifting(mix)
    layer = QuantumLayer(
        angle_encoding(4) + real_amplitudes(4, 2), local_z(4), backend=device, generator=generator(seed)
    )
    x = inputs(4, seed)
    module = Learner(layer, nn.functional.l1_loss, adam(0.01))
    device.clock = module.clock
    return supervised(module, x, 0.7 * torch.cos(2 * x), seed, steps=300)


SCENARIOS = (
    Scenario("last_turns", "diagonal gates", "dead_layer", last_turns),
    Scenario("closed_rectifier", "rectifier", "dead_layer", closed_rectifier),
    Scenario("forgotten", "optimizer", "not_trained", forgotten),
    Scenario("never_called", "not called", "not_trained", never_called),
    Scenario("detached", "detached", "not_trained", detached),
    Scenario("readout_creeps", "readout", "drifting", readout_creeps),
    Scenario("growing_crosstalk", "crosstalk", "drifting", growing_crosstalk),
)
