"""Flat landscapes by other causes: projectors, scrambled states, a change of the cost; other noise, other shots."""

from __future__ import annotations

import itertools
import math
from typing import Any

import torch
from torch import Tensor, nn

from benchmarks.plateaubench.building import Parts, adam, inputs, settle, sgd, table, variational
from benchmarks.plateaubench.task import Learner, Scenario, Task, generator, pick, supervised
from torchbp import Circuit, PauliSum, QuantumLayer
from torchbp.backends.noise import NoiseModel
from torchbp.circuits import (
    alternating_layered,
    angle_encoding,
    global_z,
    hardware_efficient,
    local_z,
    qaoa,
    real_amplitudes,
    strongly_entangling,
)
from torchbp.models import QAOA

GRAPH = [(0, 1), (1, 2), (2, 3), (3, 0), (0, 2)]


def projector(n: int) -> PauliSum:
    """|0...0><0...0| = prod (1 + Z_i) / 2."""
    terms = {}
    for chosen in itertools.product((False, True), repeat=n):
        name = " ".join(f"Z{i}" for i, one in enumerate(chosen) if one) or "I"
        terms[name] = 2.0**-n
    return PauliSum(terms)


def state_preparation(seed: int) -> Task:
    """The infidelity with |0...0> over inputs that stand for states to be undone: Cerezo's global cost."""
    n = 7
    circuit = angle_encoding(n, "rx", scale=2.0) + real_amplitudes(n, 6)
    layer = QuantumLayer(circuit, projector(n), init="uniform", generator=generator(seed))
    x = inputs(n, seed, 24)
    infidelity = lambda output, y: 1 - output.mean()  # noqa: E731
    return supervised(Learner(layer, infidelity, sgd(0.001, momentum=0.9)), x, x[:, :1], seed, steps=250, batch=8)


def scrambled(n: int, depth: int, seed: int) -> Circuit:
    """A random circuit with constant angles."""
    circuit, draw = Circuit(n), generator(seed)
    for _ in range(depth):
        for wire in range(n):
            for name in ("ry", "rz"):
                circuit.append(name, wire, 2 * math.pi * float(torch.rand((), generator=draw)))
        for wire in range(n):
            circuit.append("cz", (wire, (wire + 1) % n))
    return circuit


def scrambled_inputs(seed: int) -> Task:
    """A shallow trainable circuit behind a random one: what arrives there is the same for every input and weight."""
    n = 8
    circuit = angle_encoding(n) + scrambled(n, 10, seed) + alternating_layered(n, 1)
    layer = QuantumLayer(circuit, local_z(n)[:2], init="uniform", generator=generator(seed))
    x = inputs(n, seed, 32)
    y = (x[:, 0] * x[:, 1] > 0).long()
    sharp = lambda output, y: nn.functional.cross_entropy(3 * output, y)  # noqa: E731
    return supervised(Learner(layer, sharp, sgd(0.004)), x, y, seed, steps=250, batch=8)


class Heated(torch.optim.SGD):
    """Langevin dynamics that cools: noise on every step, less of it each time."""

    def __init__(self, parameters: Any, lr: float) -> None:
        super().__init__(parameters, lr)
        for group in self.param_groups:
            group["heat"] = 0.5

    @torch.no_grad()
    def step(self, closure: Any = None) -> Any:
        loss = super().step(closure)
        for group in self.param_groups:
            for parameter in group["params"]:
                parameter.add_(group["heat"] * torch.randn_like(parameter))
            group["heat"] *= 0.9
        return loss


def cooled_too_late(seed: int) -> Task:
    """A start near the identity, from which noise leads away before it has cooled, to where everything is flat."""
    n = 8
    circuit = angle_encoding(n, "rx") + strongly_entangling(n, 8)
    start = 0.02 * torch.randn(circuit.n_weights, generator=generator(seed))
    layer = QuantumLayer(circuit, PauliSum("X0 X1 X2 X3 X4 X5 X6 X7"), init=start)
    x = inputs(n, seed, 32)
    y = 0.9 * torch.sign(torch.randn(32, 1, generator=generator(seed)))
    cooling = lambda parameters: Heated(parameters, 0.002)  # noqa: E731
    return supervised(Learner(layer, nn.functional.smooth_l1_loss, cooling), x, y, seed, steps=300, batch=8)


class Residual(nn.Module):
    """One circuit after the other, and past the second."""

    def __init__(self, first: nn.Module, second: nn.Module, head: nn.Module) -> None:
        super().__init__()
        self.first, self.second, self.head = first, second, head

    def forward(self, x: Tensor) -> Tensor:
        between = self.first(x)
        return self.head(torch.cat([between, self.second(between)], dim=1))


def second_of_two(seed: int) -> Task:
    """A shallow circuit feeds a deep one, with a connection past it that does the learning."""
    n = 7
    first = QuantumLayer(angle_encoding(n) + real_amplitudes(n, 1), local_z(n), generator=generator(seed))
    second = QuantumLayer(
        angle_encoding(n) + strongly_entangling(n, 7), global_z(n), init="uniform", generator=generator(seed + 1)
    )
    x = 1.3 * inputs(n, seed, 32)
    with torch.no_grad(), second.weights_at(0.05 * torch.randn(second.weights.shape, generator=generator(seed))):
        extra = second(first(x))
    y = x[:, :1] + 2 * (extra - extra.mean()) / extra.std()
    model = Residual(first, second, nn.Linear(n + 1, 1))
    return supervised(Learner(model, nn.functional.smooth_l1_loss, sgd(0.01)), x, y, seed, steps=300, batch=8)


class Bypass(nn.Module):
    def __init__(self, classical: nn.Module, quantum: nn.Module) -> None:
        super().__init__()
        self.classical, self.quantum = classical, quantum

    def forward(self, x: Tensor) -> Tensor:
        return self.classical(x) + self.quantum(x)


def bypass(seed: int) -> Task:
    """Digits, told apart by a network beside the circuit: accuracy rises, the circuit has no part in it."""
    n = 8
    x, y = table("digits", n, seed, 64)
    circuit = angle_encoding(n, scale=1.5) + strongly_entangling(n, 8)
    observables = [global_z(n), *(PauliSum(f"X{i} Z{i + 1} Y{i + 2} X{i + 3}") for i in range(4))]
    layer = QuantumLayer(circuit, observables, init="uniform", generator=generator(seed))
    classical = nn.Sequential(nn.Linear(n, 16), nn.Tanh(), nn.Linear(16, 10))
    model = Bypass(classical, nn.Sequential(layer, nn.Linear(5, 10)))
    return supervised(Learner(model, nn.functional.cross_entropy, adam(0.001)), x, y, seed, steps=250)


def few_shots_in_a_classifier(seed: int) -> Task:
    """A trained classifier whose angles have slipped a little, trained on at two shots an expectation value."""
    circuit = angle_encoding(2) + strongly_entangling(2, 2)
    layer = QuantumLayer(circuit, local_z(2), shots=2, init="small_angle", generator=generator(seed))
    x = 1.4 * inputs(2, seed, 64)
    y = (x[:, 0] > 0).long()
    sharp = lambda output, y: nn.functional.cross_entropy(3 * output, y)  # noqa: E731
    with layer.exact():
        settle(layer, lambda: sharp(layer(x), y), 200)
    with torch.no_grad():
        layer.weights.add_(0.25 * torch.randn(layer.weights.shape, generator=generator(seed + 1)))
    return supervised(Learner(layer, sharp, adam(0.02)), x, y, seed, steps=250, batch=2)


def qaoa_at_few_shots(seed: int) -> Task:
    model = QAOA(GRAPH, depth=3, shots=8, learning_rate=0.15, init="small_angle", generator=generator(seed))
    return variational(model, 200)


def damped(seed: int) -> Task:
    """Amplitude damping: whatever the circuit does, the wires decay to |0>."""
    noise = NoiseModel(amplitude_damping=0.12, phase_damping=0.12)
    n = 3
    circuit = angle_encoding(n) + strongly_entangling(n, pick(seed, 8, 9))
    layer = QuantumLayer(circuit, local_z(n), noise=noise, init="uniform", generator=generator(seed))
    x = inputs(n, seed, 32)
    y = (x[:, 0] * x[:, 1] > 0).long()
    sharp = lambda output, y: nn.functional.cross_entropy(2 * output[:, :2], y)  # noqa: E731
    return supervised(Learner(layer, sharp, adam(0.003)), x, y, seed, steps=150, batch=8)


def dephased_qaoa(seed: int) -> Task:
    """Many layers of QAOA on wires that lose their phase."""
    noise = NoiseModel(phase_damping=0.25, depolarizing_2q=0.1)
    circuit = qaoa(PauliSum({"Z0 Z1": 1.0, "Z1 Z2": 1.0, "Z0 Z2": 0.5}), 3, 10)
    model = QAOA([(0, 1), (1, 2), (0, 2, 0.5)], ansatz=circuit, noise=noise, learning_rate=0.01, init="uniform")
    with torch.no_grad():
        model.quantum.weights.copy_(2 * torch.pi * torch.rand(20, generator=generator(seed)))
    return variational(model, 250)


def noise_and_shots(seed: int) -> Task:
    """Two causes: depolarized to a tenth, and measured with too few shots to see that."""
    noise = NoiseModel(depolarizing_1q=0.05, depolarizing_2q=0.15)
    circuit = angle_encoding(2) + hardware_efficient(2, 8)
    layer = QuantumLayer(circuit, local_z(2), noise=noise, shots=10, init="uniform", generator=generator(seed))
    x = inputs(2, seed, 32)
    model = Parts(nn.Identity(), layer, nn.Identity())
    return supervised(Learner(model, nn.functional.mse_loss, sgd(0.05)), x, 0.8 * x.sign(), seed, steps=100, batch=4)


SCENARIOS = (
    Scenario("state_preparation", "projector", "barren_plateau", state_preparation),
    Scenario("scrambled_inputs", "scrambled data", "barren_plateau", scrambled_inputs),
    Scenario("cooled_too_late", "noise that cools", "barren_plateau", cooled_too_late),
    Scenario("second_of_two", "layers in a row", "barren_plateau", second_of_two, ("model.second",)),
    Scenario("bypass", "learning bypass", "barren_plateau", bypass),
    Scenario("few_shots_in_a_classifier", "shots, classified", "shot_limited", few_shots_in_a_classifier),
    Scenario("qaoa_at_few_shots", "shots, QAOA", "shot_limited", qaoa_at_few_shots),
    Scenario("damped", "decay", "noise_induced", damped),
    Scenario("dephased_qaoa", "dephasing", "noise_induced", dephased_qaoa),
    Scenario("noise_and_shots", "two causes", "noise_induced", noise_and_shots),
)
