"""Where landscapes are flat: at once, after a while, beside parts that learn, or below shots and noise."""

import torch
from torch import Tensor, nn

from benchmarks.plateaubench.building import (
    Beside,
    Reads,
    adam,
    bare,
    deep,
    inputs,
    mse,
    sgd,
    shallow,
    solved,
    taught,
    variational,
)
from benchmarks.plateaubench.task import Learner, Scenario, Task, between, generator, pick, supervised
from torchbp import QuantumLayer
from torchbp.backends.noise import NoiseModel
from torchbp.circuits import tfim
from torchbp.models import VQE


def parity(seed: int) -> Task:
    """Random deep circuit, global observable, gradient descent: the classic."""
    n = pick(seed, 8, 9)
    layer = deep(n, seed)
    x = inputs(n, seed, 32)
    y = 0.8 * x.prod(1, keepdim=True).sign()
    return supervised(Learner(layer, mse, sgd(between(seed, 0.0003, 0.001))), x, y, seed, steps=250)


def head_learns_on(seed: int) -> Task:
    """A path beside the circuit finds the trend; what the circuit could add near zero angles, it never does."""
    layer = deep(8, seed)
    x, extra = taught_near_zero(layer, seed)
    y = 2 + x[:, :1] + 2 * (extra - extra.mean()) / extra.std()
    model = Beside(nn.Linear(8, 2), layer, nn.Linear(3, 1))
    return supervised(Learner(model, mse, sgd(0.004)), x, y, seed, steps=300)


def taught_near_zero(layer: QuantumLayer, seed: int) -> tuple[Tensor, Tensor]:
    """Inputs, and what the circuit says to them at small angles."""
    x = 1.3 * inputs(layer.circuit.n_features, seed, 32)
    small = 0.05 * torch.randn(layer.circuit.n_weights, generator=generator(seed + 1))
    with torch.no_grad(), layer.weights_at(small):
        return x, layer(x)


def hot_phase(seed: int) -> Task:
    """A start near the identity, thrown far away by a large rate; the small rate that follows finds nothing."""
    n = 8
    layer = deep(n, seed)
    with torch.no_grad():
        layer.weights.mul_(0.02)
    x = inputs(n, seed, 32)
    y = 0.8 * torch.sign(torch.randn(32, 1, generator=generator(seed)))
    hot = lambda optimizer: torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 1.0 if step < 60 else 3e-5)  # noqa: E731
    return supervised(Learner(layer, mse, adam(0.5), hot), x, y, seed, steps=300, batch=8)


def one_of_two(seed: int) -> Task:
    """Two circuits side by side: a small one that learns, a deep one that can't."""
    small, large = shallow(2, seed), deep(8, seed)
    x, extra = taught_near_zero(large, seed)
    y = 1.5 * torch.sin(2 * x[:, :1]) + (extra - extra.mean()) / extra.std()
    model = Beside(Reads(small), large, nn.Linear(3, 1))
    return supervised(Learner(model, mse, sgd(0.01)), x, y, seed, steps=300)


def flat_and_few_shots(seed: int) -> Task:
    """Two causes: a plateau, and shots that would not see a gradient ten times its size."""
    n = 7
    layer = deep(n, seed, depth=5, shots=20)
    x = inputs(n, seed, 24)
    y = 0.8 * x.prod(1, keepdim=True).sign()
    return supervised(Learner(layer, mse, sgd(0.001)), x, y, seed, steps=120, batch=4)


def one_shot(seed: int) -> Task:
    """A fit that is as good as done, as far as a single shot can tell: and chance undoes as much as is learned."""
    layer = shallow(pick(seed, 2, 3), seed, shots=1)
    x, y = taught(layer, seed, 0.3, 64)
    return supervised(Learner(layer, mse, adam(0.02)), x, y, seed, steps=250, batch=2)


def shots_for_an_energy(seed: int) -> Task:
    """The last tenth of the way to a ground state, at eight shots a step."""
    circuit, energy = bare(3, depth=3), tfim(3)
    start = solved(circuit, energy, seed)
    start += 0.25 * torch.randn(start.shape, generator=generator(seed))
    return variational(VQE(energy, circuit, shots=8, learning_rate=0.03, init=start, generator=generator(seed)), 300)


def depolarized(seed: int) -> Task:
    """Every gate forgets: deep in the circuit all inputs look alike."""
    noise = NoiseModel(depolarizing_1q=0.03, depolarizing_2q=0.12)
    n = 3
    layer = shallow(n, seed, depth=pick(seed, 8, 10), noise=noise, init="uniform")
    x, y = taught(layer, seed, 1.0, 48)
    return supervised(Learner(layer, mse, sgd(0.1)), x, y, seed, steps=200)


def depolarized_energy(seed: int) -> Task:
    noise = NoiseModel(depolarizing_1q=0.04, depolarizing_2q=0.15)
    model = VQE(tfim(3), bare(3, depth=10), noise=noise, learning_rate=0.01, init="uniform", generator=generator(seed))
    return variational(model, 300)


SCENARIOS = (
    Scenario("parity", "concentration", "barren_plateau", parity),
    Scenario("head_learns_on", "learning head", "barren_plateau", head_learns_on),
    Scenario("hot_phase", "built up", "barren_plateau", hot_phase),
    Scenario("one_of_two", "two layers", "barren_plateau", one_of_two, ("model.second",)),
    Scenario("flat_and_few_shots", "two causes", "barren_plateau", flat_and_few_shots),
    Scenario("one_shot", "shots", "shot_limited", one_shot),
    Scenario("shots_for_an_energy", "shots", "shot_limited", shots_for_an_energy),
    Scenario("depolarized", "noise", "noise_induced", depolarized),
    Scenario("depolarized_energy", "noise", "noise_induced", depolarized_energy),
)
