"""Traps, goals, swings and explosions by other mechanisms than those of the development half."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from benchmarks.plateaubench.building import Energy, Parts, adam, inputs, mean_output, nothing, sgd, table, variational
from benchmarks.plateaubench.task import Learner, Scenario, Task, between, generator, pick, supervised
from torchbp import Circuit, PauliSum, QuantumLayer, weight
from torchbp.circuits import (
    alternating_layered,
    angle_encoding,
    hardware_efficient,
    local_z,
    real_amplitudes,
    strongly_entangling,
)
from torchbp.models import QAOA


def wrong_frequency(seed: int) -> Task:
    """A wave fitted by the encoder's one frequency, which begins in the basin of another."""
    circuit = Circuit(1)
    circuit.append("ry", 0, weight())
    layer = QuantumLayer(angle_encoding(1) + circuit, local_z(1), generator=generator(seed))
    encoder = nn.Linear(1, 1)
    with torch.no_grad():
        encoder.weight.fill_(1.2 + 0.5 * float(torch.rand((), generator=generator(seed))))
    x = torch.linspace(-math.pi, math.pi, 96)[:, None]
    y = torch.cos(6.0 * x + 0.4)
    return supervised(
        Learner(Parts(encoder, layer, nn.Identity()), nn.functional.mse_loss, adam(0.01)), x, y, seed, steps=450
    )


def held_pairs(seed: int) -> Task:
    """Pairs of spins that only turn together, coupled the wrong way round; entangling gates between them."""
    energy = PauliSum({"Z0 Z1": -2.0, "Z2 Z3": -2.0, "Z1 Z2": 1.2, "X0": -0.1, "X2": -0.1})
    circuit = Circuit(4)
    for wire in range(4):
        circuit.append("ry", wire, weight())
    circuit.append("rzz", (0, 1), weight()).append("rzz", (2, 3), weight())
    for wire in range(4):
        circuit.append("rx", wire, weight())
    start = 0.5 * torch.rand(circuit.n_weights, generator=generator(seed)) - 0.25
    layer = QuantumLayer(circuit, energy, init=start)
    falling = lambda optimizer: torch.optim.lr_scheduler.ExponentialLR(optimizer, 0.997)  # noqa: E731
    return supervised(Learner(Energy(layer), mean_output, adam(0.02), falling), *nothing(), seed, steps=350)


def annealed_to_the_end(seed: int) -> Task:
    """Regression of noisy values: done at half time, and the cosine takes the rate to nothing."""
    x = inputs(3, seed)
    y = torch.sin(1.5 * x[:, :1]) + 0.5 * torch.randn(128, 1, generator=generator(seed))
    layer = QuantumLayer(angle_encoding(3, "rx") + real_amplitudes(3, 1), local_z(3), generator=generator(seed))
    model = nn.Sequential(layer, nn.Linear(3, 1))
    cosine = lambda optimizer: torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 400)  # noqa: E731
    return supervised(Learner(model, nn.functional.mse_loss, adam(0.05), cosine), x, y, seed, steps=400, batch=64)


def at_the_bound(seed: int) -> Task:
    """Every wire is turned to |1>: expectation values have no more than that."""
    circuit = alternating_layered(3, 1)
    layer = QuantumLayer(circuit, PauliSum({"Z0": 1.0, "Z1": 1.0, "Z2": 1.0}), generator=generator(seed))
    return supervised(Learner(Energy(layer), mean_output, adam(0.05)), *nothing(), seed, steps=350)


def qaoa_of_depth_one(seed: int) -> Task:
    """Two angles, at their best after some fifty steps; the best cut is out of reach for them."""
    graph = [(0, 1), (1, 2), (2, 3), (3, 4), (4, 0), (0, 2)]
    start = torch.tensor([-0.3, 0.4]) + 0.1 * torch.randn(2, generator=generator(seed))
    return variational(QAOA(graph, depth=1, learning_rate=0.02, init=start), 350)


def heavy_ball(seed: int) -> Task:
    """Momentum of 0.995 at a large rate: past the minimum and back, for longer than the run."""
    layer = QuantumLayer(angle_encoding(3) + strongly_entangling(3, 2), local_z(3), generator=generator(seed))
    x = inputs(3, seed)
    y = 0.7 * torch.tanh(2 * x)
    module = Learner(layer, nn.functional.mse_loss, sgd(between(seed, 3.0, 5.0), momentum=0.98))
    return supervised(module, x, y, seed, steps=300, batch=32)


class TwoRates(Learner):
    """Adam, without momentum and hot for the circuit."""

    def configure_optimizers(self) -> torch.optim.Optimizer:
        hot = {"params": list(self.model.quantum.parameters()), "lr": 1.0, "betas": (0.0, 0.9)}
        return torch.optim.Adam([hot, {"params": list(self.model.head.parameters()), "lr": 0.01}])


def hot_adam(seed: int) -> Task:
    """Angles that turn by about a radian in each step, in front of a head that does its best."""
    x, y = table("wine", 3, seed, 160)
    layer = QuantumLayer(angle_encoding(3) + hardware_efficient(3, 3), local_z(3), generator=generator(seed))
    model = Parts(nn.Identity(), layer, nn.Linear(3, 3))
    return supervised(TwoRates(model, nn.functional.cross_entropy, adam(0.0)), x, y, seed, steps=250)


def likelihood_overflow(seed: int) -> Task:
    """Counts by an exponential link, whose gradient grows with the prediction."""
    x = inputs(3, seed)
    y = torch.poisson(torch.exp(1 + 2 * x[:, :1]), generator=generator(seed))
    layer = QuantumLayer(angle_encoding(3) + real_amplitudes(3, 2), local_z(3), generator=generator(seed))
    model = nn.Sequential(layer, nn.Linear(3, 1))
    likelihood = lambda output, y: (torch.exp(output) - y * output).mean()  # noqa: E731
    return supervised(Learner(model, likelihood, sgd(between(seed, 0.5, 0.9))), x, y, seed, steps=250)


def growing_rate(seed: int) -> Task:
    """A range test for the learning rate that goes on too long: well for a while, then out of bounds."""
    x, y = table("breast_cancer", 4, seed)
    layer = QuantumLayer(angle_encoding(4) + real_amplitudes(4, 1), local_z(4), generator=generator(seed))
    model = nn.Sequential(layer, nn.Linear(4, 1))
    growth = lambda optimizer: torch.optim.lr_scheduler.ExponentialLR(optimizer, pick(seed, 1.03, 1.04))  # noqa: E731
    squared = lambda output, y: (output - y).square().mean()  # noqa: E731
    module = Learner(model, squared, sgd(0.01), growth)
    return supervised(module, x, 2.0 * y[:, None] - 1, seed, steps=300)


class Logarithm(nn.Module):
    """log(1 - z^2), which is minus infinity where an expectation value reaches its bound."""

    def __init__(self, layer: QuantumLayer) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, x: Tensor) -> Tensor:
        return torch.log(1 - self.layer(x).square()).mean(dim=1, keepdim=True)


def steep_funnel(seed: int) -> Task:
    """Minus infinity is where the loss leads: the steeper the closer, and every step goes past it."""
    circuit = angle_encoding(2, scale=0.0) + real_amplitudes(2, 1)
    layer = QuantumLayer(circuit, local_z(2), init="uniform", generator=generator(seed))
    x = inputs(2, seed, 32)
    module = Learner(Logarithm(layer), mean_output, sgd(0.05))
    return supervised(module, x, x[:, :1], seed, steps=200, batch=8)


SCENARIOS = (
    Scenario("wrong_frequency", "frequencies", "local_minimum", wrong_frequency),
    Scenario("held_pairs", "held pairs", "local_minimum", held_pairs),
    Scenario("annealed_to_the_end", "floor of the noise", "converged", annealed_to_the_end),
    Scenario("at_the_bound", "bounds", "converged", at_the_bound),
    Scenario("qaoa_of_depth_one", "too few angles", "converged", qaoa_of_depth_one),
    Scenario("heavy_ball", "momentum", "oscillating", heavy_ball),
    Scenario("hot_adam", "one rate of two", "oscillating", hot_adam),
    Scenario("likelihood_overflow", "overflow", "diverging", likelihood_overflow),
    Scenario("growing_rate", "growing rate", "diverging", growing_rate),
    Scenario("steep_funnel", "singular loss", "oscillating", steep_funnel),
)
