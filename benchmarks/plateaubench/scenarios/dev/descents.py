"""Runs that learn: supervised tasks of several kinds, and energies in slow, steady descent."""

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
    sgd,
    shallow,
    table,
    taught,
    variational,
)
from benchmarks.plateaubench.task import Learner, Scenario, Task, between, generator, pick, supervised
from torchbp import QuantumLayer
from torchbp.circuits import h2, hardware_efficient, tfim
from torchbp.models import VQE, HybridClassifier


def teacher(seed: int) -> Task:
    """A circuit learns the outputs of the same circuit elsewhere, by gradient descent."""
    layer = shallow(pick(seed, 2, 3, 4, 5), seed)
    x, y = taught(layer, seed, 1.0)
    return supervised(Learner(layer, mse, sgd(between(seed, 0.05, 0.2))), x, y, seed, steps=300, batch=32)


def wine(seed: int) -> Task:
    """torchbp's classifier on thirteen measurements of wine."""
    x, y = table("wine", 4, seed)
    model = HybridClassifier(4, 3, 4, 2, learning_rate=between(seed, 0.003, 0.01))
    loss = lambda module, batch: module.loss(module(batch[0]), batch[1])  # noqa: E731
    return supervised(model, x, y, seed, steps=200, loss=loss)


def vqe_of_a_molecule(seed: int) -> Task:
    circuit = VQE(h2(), depth=3, learning_rate=1e-3, init="uniform", generator=generator(seed))
    return variational(circuit, 1000)


def vqe_of_a_chain(seed: int) -> Task:
    model = VQE(tfim(4), bare(4, depth=3), learning_rate=2e-3, init="uniform", generator=generator(seed))
    return variational(model, 800)


def hinge(seed: int) -> Task:
    """Two classes and a margin: the loss is piecewise linear in the output."""
    x = inputs(3, seed)
    y = torch.sign(x[:, :1] + 0.3 * x[:, 1:2])
    model = Parts(nn.Identity(), shallow(3, seed), nn.Linear(3, 1))
    margin = lambda output, y: (1 - y * output).clamp_min(0).mean()  # noqa: E731
    return supervised(Learner(model, margin, adam(0.003)), x, y, seed, steps=250)


def warm_up(seed: int) -> Task:
    """The rate rises from nothing over the first half of the run."""
    layer = shallow(3, seed)
    x, y = taught(layer, seed, 1.0)
    rise = lambda optimizer: torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: min(1.0, (step + 1) / 200))  # noqa: E731
    return supervised(Learner(layer, mse, sgd(0.1), rise), x, y, seed, steps=400)


def batch_of_two(seed: int) -> Task:
    layer = shallow(3, seed)
    x, y = taught(layer, seed, 1.0)
    return supervised(Learner(layer, mse, sgd(0.02)), x, y, seed, steps=400, batch=2)


def batch_of_one(seed: int) -> Task:
    layer = shallow(2, seed)
    x, y = taught(layer, seed, 1.0)
    return supervised(Learner(layer, mse, sgd(0.02)), x, y, seed, steps=400, batch=1)


def tiny_loss(seed: int) -> Task:
    """The loss is in units that make it a millionth."""
    layer = shallow(3, seed)
    x, y = taught(layer, seed, 1.0)
    small = lambda output, y: 1e-6 * mse(output, y)  # noqa: E731
    return supervised(Learner(layer, small, adam(0.003)), x, y, seed, steps=300)


def large_offset(seed: int) -> Task:
    """What is to be learned is a thousandth of the loss."""
    layer = shallow(3, seed)
    x, y = taught(layer, seed, 1.0)
    lifted = lambda output, y: 1e3 + 10 * mse(output, y)  # noqa: E731
    return supervised(Learner(layer, lifted, sgd(0.01)), x, y, seed, steps=300)


def accumulated(seed: int) -> Task:
    """Four batches a step."""
    layer = shallow(4, seed)
    x, y = taught(layer, seed, 1.0)
    module = Learner(layer, mse, adam(0.005))
    return supervised(module, x, y, seed, steps=200, batch=4, trainer={"accumulate_grad_batches": 4})


class Product(nn.Module):
    def __init__(self, layer: QuantumLayer) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, x: Tensor) -> Tensor:
        return self.layer(x).prod(dim=1, keepdim=True)


def slow_start(seed: int) -> Task:
    """Beside a saddle: a product of outputs that are all near zero, until one of them has grown."""
    layer = shallow(3, seed, init=0.01 * torch.randn(18, generator=generator(seed)))
    x = torch.pi / 2 + 0.1 * inputs(3, seed)
    y = torch.full((len(x), 1), 0.8)
    return supervised(Learner(Product(layer), mse, adam(0.0015)), x, y, seed, steps=500)


class Bandit(Learner):
    """REINFORCE: the loss is minus the return of sampled actions times their log probability."""

    def loss(self, batch: tuple[Tensor, Tensor]) -> Tensor:
        x, best = batch
        log = torch.log_softmax(3 * self(x), dim=1)
        action = torch.distributions.Categorical(logits=log.detach()).sample()
        reward = (action == best).float() + 0.3 * torch.randn(len(x))
        return -(reward * log[torch.arange(len(x)), action]).mean()

    def expected(self, batch: tuple[Tensor, Tensor]) -> Tensor:
        x, best = batch
        return -torch.softmax(3 * self(x), dim=1)[torch.arange(len(x)), best].mean()


def returns(seed: int) -> Task:
    layer = shallow(3, seed)
    x, y = taught(layer, seed, 1.5)
    module = Bandit(layer, mse, adam(0.01))
    return supervised(
        module, x, y.argmax(1), seed, steps=400, batch=32, objective=lambda module, batch: module.expected(batch)
    )


def classical(seed: int) -> Task:
    """No quantum layer at all."""
    x = inputs(4, seed)
    y = torch.sin(2 * x[:, :1]) * x[:, 1:2]
    model = nn.Sequential(nn.Linear(4, 16), nn.Tanh(), nn.Linear(16, 1))
    return supervised(Learner(model, mse, adam(0.003)), x, y, seed, steps=300)


def dummy_loader(seed: int) -> Task:
    """An energy in a module of one's own, with a loader whose content nobody reads."""
    n = 3
    layer = QuantumLayer(hardware_efficient(n, 2, ("ry", "rz")), tfim(n), init="uniform", generator=generator(seed))
    return supervised(Learner(Energy(layer), mean_output, adam(0.002)), *nothing(), seed, steps=500, batch=8)


SCENARIOS = (
    Scenario("teacher", "supervised", "healthy", teacher),
    Scenario("wine", "supervised", "healthy", wine),
    Scenario("hinge", "losses", "healthy", hinge),
    Scenario("vqe_of_a_molecule", "energies", "healthy", vqe_of_a_molecule),
    Scenario("vqe_of_a_chain", "energies", "healthy", vqe_of_a_chain),
    Scenario("dummy_loader", "energies", "healthy", dummy_loader),
    Scenario("warm_up", "schedules", "healthy", warm_up),
    Scenario("batch_of_two", "small batches", "healthy", batch_of_two),
    Scenario("batch_of_one", "small batches", "healthy", batch_of_one),
    Scenario("tiny_loss", "scales", "healthy", tiny_loss),
    Scenario("large_offset", "scales", "healthy", large_offset),
    Scenario("accumulated", "loops", "healthy", accumulated),
    Scenario("slow_start", "slow starts", "healthy", slow_start),
    Scenario("returns", "returns", "healthy", returns),
    Scenario("classical", "no quantum layer", "healthy", classical),
)
