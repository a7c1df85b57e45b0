"""Where descents end: in a trap, at the goal, in a swing around it, or in infinity."""

import torch
from torch import Tensor, nn

from benchmarks.plateaubench.building import (
    Energy,
    Parts,
    adam,
    bare,
    inputs,
    mean_output,
    mse,
    nothing,
    settle,
    sgd,
    shallow,
    solved,
    taught,
    variational,
)
from benchmarks.plateaubench.task import Learner, Scenario, Task, between, generator, pick, supervised
from torchbp import Circuit, PauliSum, QuantumLayer, weight
from torchbp.circuits import tfim
from torchbp.models import VQE


def wrong_magnet(seed: int) -> Task:
    """Spins that all point against a weak field: each alone is held by its neighbours."""
    n = pick(seed, 3, 4, 5)
    energy = PauliSum({f"Z{i} Z{i + 1}": -1.0 for i in range(n - 1)} | {f"Z{i}": 0.3 for i in range(n)})
    circuit = Circuit(n)
    for wire in range(n):
        circuit.append("ry", wire, weight()).append("rx", wire, weight())
    start = 0.8 * torch.rand(2 * n, generator=generator(seed)) - 0.4
    layer = QuantumLayer(circuit, energy, init=start)
    return supervised(Learner(Energy(layer), mean_output, sgd(0.03)), *nothing(), seed, steps=300)


class Wells(nn.Module):
    """Two wells over one expectation value, the nearer one higher."""

    def __init__(self, layer: QuantumLayer) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, x: Tensor) -> Tensor:
        z = self.layer().mean(dim=1, keepdim=True)
        return ((z.square() - 0.49).square() + 0.15 * z).expand(len(x), -1)


def higher_well(seed: int) -> Task:
    circuit = Circuit(1)
    circuit.append("ry", 0, weight()).append("rx", 0, weight())
    start = 0.4 * torch.rand(2, generator=generator(seed))
    model = Wells(QuantumLayer(circuit, init=start))
    return supervised(Learner(model, mean_output, adam(0.01)), *nothing(), seed, steps=400)


def fitted(seed: int) -> Task:
    """All that can be learned is learned within a quarter of the run; what remains is noise of the labels."""
    layer = shallow(pick(seed, 2, 3, 4), seed)
    x, y = taught(layer, seed, 0.5)
    y = y + 0.1 * torch.randn(y.shape, generator=generator(seed + 2))
    return supervised(Learner(layer, mse, sgd(1.0)), x, y, seed, steps=400, batch=32)


def warm_start(seed: int) -> Task:
    """The weights of a finished run, trained on."""
    layer = shallow(3, seed)
    x, y = taught(layer, seed, 0.0)
    y = y + 0.2 * torch.randn(y.shape, generator=generator(seed + 2))
    settle(layer, lambda: mse(layer(x), y), 400)
    return supervised(Learner(layer, mse, adam(0.0003)), x, y, seed, steps=300, batch=32)


def ground_state(seed: int) -> Task:
    """An energy whose start is its ground state, found beforehand by a descent from the best of some starts."""
    circuit = bare(3, depth=3)
    start = solved(circuit, tfim(3), seed)
    return variational(VQE(tfim(3), circuit, learning_rate=1e-3, init=start), 400)


def too_large_a_step(seed: int) -> Task:
    layer = shallow(pick(seed, 3, 4), seed)
    x, y = taught(layer, seed, 0.5)
    return supervised(Learner(layer, mse, sgd(between(seed, 30, 50))), x, y, seed, steps=250, batch=32)


def rmsprop_swings(seed: int) -> Task:
    """RMSprop's step does not shrink with the gradient: an energy swings above its ground state."""
    n = 4
    layer = QuantumLayer(bare(n, depth=2), tfim(n), init="uniform", generator=generator(seed))
    rms = lambda parameters: torch.optim.RMSprop(parameters, lr=0.4)  # noqa: E731
    return supervised(Learner(Energy(layer), mean_output, rms), *nothing(), seed, steps=300)


def exploding_head(seed: int) -> Task:
    layer = shallow(3, seed)
    x, y = taught(layer, seed, 0.5)
    model = Parts(nn.Identity(), layer, nn.Linear(3, 3))
    return supervised(Learner(model, mse, sgd(between(seed, 3, 6))), x, y, seed, steps=250)


class Ratio(nn.Module):
    """Divides by a quantity that crosses zero a while into the training."""

    def __init__(self, layer: QuantumLayer) -> None:
        super().__init__()
        self.layer, self.width = layer, nn.Parameter(torch.tensor(0.4))

    def forward(self, x: Tensor) -> Tensor:
        return self.layer(x) / self.width.sqrt()


def square_root(seed: int) -> Task:
    """A square root whose argument shrinks by every step, and one day is negative: not a number, all at once."""
    x = inputs(3, seed)
    y = torch.sin(x)
    criterion = lambda output, y: -0.02 * output.square().mean() + 1e-3 * mse(output, y)  # noqa: E731
    model = Ratio(shallow(3, seed))
    return supervised(Learner(model, criterion, sgd(between(seed, 0.008, 0.03))), x, y, seed, steps=300)


SCENARIOS = (
    Scenario("wrong_magnet", "traps", "local_minimum", wrong_magnet),
    Scenario("higher_well", "traps", "local_minimum", higher_well),
    Scenario("fitted", "the goal", "converged", fitted),
    Scenario("warm_start", "the goal", "converged", warm_start),
    Scenario("ground_state", "energies", "converged", ground_state),
    Scenario("too_large_a_step", "oscillation", "oscillating", too_large_a_step),
    Scenario("rmsprop_swings", "oscillation", "oscillating", rmsprop_swings),
    Scenario("exploding_head", "divergence", "diverging", exploding_head),
    Scenario("square_root", "divergence", "diverging", square_root),
)
