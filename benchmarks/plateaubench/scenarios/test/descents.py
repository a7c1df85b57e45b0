"""Runs that learn, by other tasks, losses, circuits and optimizers than those of the development half."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from benchmarks.plateaubench.building import Parts, adam, inputs, sgd, table, variational
from benchmarks.plateaubench.task import Learner, Scenario, Task, between, generator, pick, supervised
from torchbp import QuantumLayer, torchquantum
from torchbp.circuits import (
    alternating_layered,
    angle_encoding,
    hardware_efficient,
    heisenberg,
    iqp_encoding,
    local_z,
    real_amplitudes,
    strongly_entangling,
    tfim,
)
from torchbp.models import QAOA, VQE

GRAPH = [(0, 1, 0.8), (1, 2, 1.2), (2, 3, 0.5), (3, 0, 1.0), (0, 2, 0.7), (3, 4, 0.9)]


def annealed(seed: int) -> Task:
    """Strongly entangling layers, a Huber loss, AdamW and a cosine that is still high at the end of the run."""
    n = pick(seed, 3, 4)
    circuit = iqp_encoding(n) + strongly_entangling(n, 2)
    layer = QuantumLayer(circuit, local_z(n), init="small_angle", generator=generator(seed))
    x = inputs(n, seed)
    y = torch.tanh(x.roll(1, 1) * 2)
    model = nn.Sequential(layer, nn.Linear(n, n))
    cosine = lambda optimizer: torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 500)  # noqa: E731
    decayed = lambda parameters: torch.optim.AdamW(parameters, lr=0.002, weight_decay=0.01)  # noqa: E731
    return supervised(Learner(model, nn.functional.huber_loss, decayed, cosine), x, y, seed, steps=250)


def tumours(seed: int) -> Task:
    """Breast cancer in two classes, momentum, a linear encoder and a logit."""
    x, y = table("breast_cancer", 6, seed, 160)
    layer = QuantumLayer(
        angle_encoding(3, "rx") + alternating_layered(3, 2), local_z(3), init="uniform", generator=generator(seed)
    )
    model = Parts(nn.Linear(6, 3), layer, nn.Linear(3, 1))
    logistic = nn.functional.binary_cross_entropy_with_logits
    module = Learner(model, logistic, sgd(between(seed, 0.05, 0.1), momentum=0.9))
    return supervised(module, x, y[:, None].float(), seed, steps=200, batch=8)


def reuploaded(seed: int) -> Task:
    """A classifier of digits that reads its features in every layer, four samples a batch."""
    x, y = table("digits", 3, seed, 160)
    block = lambda: angle_encoding(3, scale=2.0) + hardware_efficient(3, 1, ("ry", "rz"))  # noqa: E731
    layer = QuantumLayer(block() + block() + block(), local_z(3), generator=generator(seed))
    model = nn.Sequential(layer, nn.Linear(3, 10))
    return supervised(Learner(model, nn.functional.cross_entropy, adam(0.004)), x, y, seed, steps=350, batch=4)


def vqe_of_a_magnet(seed: int) -> Task:
    circuit = hardware_efficient(4, 3, ("ry", "rz"))
    return variational(VQE(heisenberg(4), circuit, learning_rate=8e-4, init="uniform", generator=generator(seed)), 900)


def vqe_by_gradient_descent(seed: int) -> Task:
    circuit = hardware_efficient(4, 2, ("ry", "rz"))
    model = VQE(
        tfim(4),
        circuit,
        learning_rate=2e-3,
        optimizer=torch.optim.SGD,
        init="uniform",
        generator=generator(seed),
    )
    return variational(model, 900)


def slow_qaoa(seed: int) -> Task:
    model = QAOA(GRAPH, depth=3, learning_rate=8e-4, init="small_angle", generator=generator(seed))
    return variational(model, 700)


def one_cycle(seed: int) -> Task:
    """The rate rises and falls: the loss falls fastest in the middle."""
    layer = QuantumLayer(angle_encoding(3) + real_amplitudes(3, 2), local_z(3), generator=generator(seed))
    x = inputs(3, seed)
    y = 0.8 * torch.sin(2.5 * x)
    cycle = lambda optimizer: torch.optim.lr_scheduler.OneCycleLR(optimizer, 0.01, total_steps=401)  # noqa: E731
    model = nn.Sequential(nn.Linear(3, 3), layer)
    return supervised(Learner(model, nn.functional.smooth_l1_loss, adam(0.01), cycle), x, y, seed, steps=400, batch=8)


def huge_loss(seed: int) -> Task:
    """Units that make the loss a million."""
    layer = QuantumLayer(angle_encoding(4) + real_amplitudes(4, 2), local_z(4), generator=generator(seed))
    x = inputs(4, seed)
    y = x[:, :1] * x[:, 1:2]
    dear = lambda output, y: 1e6 * nn.functional.l1_loss(output, y)  # noqa: E731
    model = nn.Sequential(layer, nn.Linear(4, 1))
    return supervised(Learner(model, dear, adam(0.002)), x, y, seed, steps=300)


def far_below_zero(seed: int) -> Task:
    """A log likelihood with a constant of -1000 that nobody took out."""
    layer = QuantumLayer(angle_encoding(3) + strongly_entangling(3, 2), local_z(3), generator=generator(seed))
    x = inputs(3, seed)
    y = (x.sum(1) > 0).long()
    lowered = lambda output, y: nn.functional.cross_entropy(4 * output[:, :2], y) - 1e3  # noqa: E731
    return supervised(Learner(layer, lowered, adam(0.004)), x, y, seed, steps=250)


class TwoOptimizers(Learner):
    """The classical part by one optimizer, the quantum part by another, both stepped by hand."""

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.automatic_optimization = False

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        loss = self.loss(batch)
        first, second = self.optimizers()
        first.zero_grad()
        second.zero_grad()
        self.manual_backward(loss)
        first.step()
        second.step()
        return loss.detach()

    def configure_optimizers(self) -> Any:
        quantum = list(self.model.quantum.parameters())
        others = [*self.model.encoder.parameters(), *self.model.head.parameters()]
        return [torch.optim.SGD(others, lr=0.02), torch.optim.Adam(quantum, lr=0.005)]


def two_optimizers(seed: int) -> Task:
    layer = QuantumLayer(angle_encoding(3) + real_amplitudes(3, 2), local_z(3), generator=generator(seed))
    x = inputs(4, seed)
    y = torch.sin(2 * x[:, :1]) - x[:, 1:2]
    model = Parts(nn.Linear(4, 3), layer, nn.Linear(3, 1))
    return supervised(TwoOptimizers(model, nn.functional.mse_loss, adam(0.0)), x, y, seed, steps=500)


def excited_state(seed: int) -> Task:
    """Near |0000>, an eigenstate at the top of the spectrum: away from it at an exponential pace."""
    layer = hardware_efficient(4, 2, ("ry", "rz"), gate="cz")
    start = 3e-3 * torch.randn(layer.n_weights, generator=generator(seed))
    model = VQE(heisenberg(4), layer, learning_rate=0.012, optimizer=torch.optim.SGD, init=start)
    return variational(model, 500)


class Untouched(nn.Module):
    """A TorchQuantum module as people write them."""

    def __init__(self) -> None:
        super().__init__()
        tq = torchquantum
        self.n_wires = 3
        self.encoder = tq.GeneralEncoder([{"input_idx": [i], "func": "ry", "wires": [i]} for i in range(self.n_wires)])
        self.layer = tq.layer.U3CU3Layer0({"n_wires": self.n_wires, "n_blocks": 2})
        self.measure = tq.MeasureAll(tq.PauliZ)

    def forward(self, x: Tensor) -> Tensor:
        device = torchquantum.QuantumDevice(n_wires=self.n_wires, bsz=len(x), device=x.device)
        self.encoder(device, x)
        self.layer(device)
        return self.measure(device)


def torchquantum_module(seed: int) -> Task:
    x = inputs(3, seed, 64)
    y = torch.tanh(2 * x[:, :1] - x[:, 2:])
    model = Parts(nn.Linear(3, 3), Untouched(), nn.Linear(3, 1))
    module = Learner(model, nn.functional.mse_loss, adam(0.003))
    return supervised(module, x, y, seed, steps=150, quantum=("model.quantum",))


class ActorCritic(Learner):
    """A policy gradient with a learned baseline: two terms of which one always falls."""

    def loss(self, batch: tuple[Tensor, Tensor]) -> Tensor:
        x, best = batch
        output = self(x)
        log, value = torch.log_softmax(2 * output[:, :3], dim=1), output[:, 3]
        action = torch.distributions.Categorical(logits=log.detach()).sample()
        reward = 1.0 - (action - best).abs().float() + 0.5 * torch.randn(len(x))
        advantage = (reward - value).detach()
        actor = -(advantage * log[torch.arange(len(x)), action]).mean()
        return actor + 0.5 * (reward - value).square().mean()

    def expected(self, batch: tuple[Tensor, Tensor]) -> Tensor:
        x, best = batch
        chance = torch.softmax(2 * self(x)[:, :3], dim=1)
        reward = 1.0 - (torch.arange(3)[None] - best[:, None]).abs().to(chance)
        return -(chance * reward).sum(1).mean()


def actor_critic(seed: int) -> Task:
    layer = QuantumLayer(angle_encoding(3) + hardware_efficient(3, 2), local_z(3), generator=generator(seed))
    x = inputs(3, seed)
    y = (x[:, 0] * 1.49 + 1.5).long().clamp(0, 2)
    module = ActorCritic(nn.Sequential(layer, nn.Linear(3, 4)), nn.functional.mse_loss, adam(0.008))
    return supervised(module, x, y, seed, steps=350, batch=16, objective=lambda module, batch: module.expected(batch))


def flipped_labels(seed: int) -> Task:
    """Three labels of ten are wrong: the loss falls by little, and steadily."""
    x = inputs(4, seed, 192)
    y = (x[:, 0] + x[:, 1] * x[:, 2] > 0).long()
    wrong = torch.rand(len(y), generator=generator(seed)) < 0.3
    y = torch.where(wrong, 1 - y, y)
    layer = QuantumLayer(angle_encoding(4) + real_amplitudes(4, 2), local_z(4), generator=generator(seed))
    model = nn.Sequential(layer, nn.Linear(4, 2))
    return supervised(Learner(model, nn.functional.cross_entropy, adam(0.003)), x, y, seed, steps=250, batch=24)


class Ordinary(nn.Module):
    """A convolution and two layers: a network without anything quantum."""

    def __init__(self) -> None:
        super().__init__()
        self.convolution = nn.Conv1d(1, 4, 3)
        self.rest = nn.Sequential(nn.ReLU(), nn.Flatten(), nn.Linear(4 * 14, 10))

    def forward(self, x: Tensor) -> Tensor:
        return self.rest(self.convolution(x[:, None, :]))


def convolution(seed: int) -> Task:
    x, y = table("digits", 16, seed, 192)
    module = Learner(Ordinary(), nn.functional.cross_entropy, sgd(0.05, momentum=0.5))
    return supervised(module, x, y, seed, steps=200)


SCENARIOS = (
    Scenario("annealed", "schedules", "healthy", annealed),
    Scenario("one_cycle", "schedules", "healthy", one_cycle),
    Scenario("tumours", "classification", "healthy", tumours),
    Scenario("reuploaded", "small batches", "healthy", reuploaded),
    Scenario("vqe_of_a_magnet", "energies", "healthy", vqe_of_a_magnet),
    Scenario("vqe_by_gradient_descent", "energies", "healthy", vqe_by_gradient_descent),
    Scenario("slow_qaoa", "energies", "healthy", slow_qaoa),
    Scenario("huge_loss", "scales", "healthy", huge_loss),
    Scenario("far_below_zero", "scales", "healthy", far_below_zero),
    Scenario("two_optimizers", "loops", "healthy", two_optimizers),
    Scenario("excited_state", "slow starts", "healthy", excited_state),
    Scenario("torchquantum_module", "TorchQuantum", "healthy", torchquantum_module),
    Scenario("actor_critic", "returns", "healthy", actor_critic),
    Scenario("flipped_labels", "label noise", "healthy", flipped_labels),
    Scenario("convolution", "no quantum layer", "healthy", convolution),
)
