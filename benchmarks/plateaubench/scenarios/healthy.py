"""Runs that learn, a different one for every seed: for the rate of false alarms, which takes a thousand to know.

Wires, depth, ansatz, encoding, observables, data, loss, optimizer, rate, schedule, batch size, shots and scale of the
loss are drawn from the seed. Whether a run did learn, until its end, `oracle.certify` decides.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from benchmarks.plateaubench.building import inputs, table, variational
from benchmarks.plateaubench.task import Learner, Scenario, Task, generator, supervised
from torchbp import Circuit, PauliSum, QuantumLayer
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

ANSATZE: dict[str, Callable[[int, int], Circuit]] = {
    "hardware_efficient": hardware_efficient,
    "with_cz": lambda n, depth: hardware_efficient(n, depth, ("ry", "rz"), gate="cz"),
    "strongly_entangling": strongly_entangling,
    "real_amplitudes": real_amplitudes,
    "alternating_layered": alternating_layered,
}
ENCODINGS: dict[str, Callable[[int], Circuit]] = {
    "ry": lambda n: angle_encoding(n, scale=1.5),
    "rx": lambda n: angle_encoding(n, "rx"),
    "iqp": iqp_encoding,
}
OPTIMIZERS: dict[str, tuple[Callable[..., torch.optim.Optimizer], float, float]] = {
    "sgd": (torch.optim.SGD, 0.02, 0.1),
    "momentum": (lambda p, lr: torch.optim.SGD(p, lr, momentum=0.9), 0.002, 0.01),
    "adam": (torch.optim.Adam, 0.001, 0.005),
    "adamw": (torch.optim.AdamW, 0.001, 0.005),
    "rmsprop": (torch.optim.RMSprop, 0.0005, 0.002),
    "nadam": (torch.optim.NAdam, 0.001, 0.004),
}
REGRESSIONS: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "mse": nn.functional.mse_loss,
    "l1": nn.functional.l1_loss,
    "huber": nn.functional.huber_loss,
}


def schedule_of(name: str, steps: int) -> Callable[[torch.optim.Optimizer], Any] | None:
    schedulers = torch.optim.lr_scheduler
    made: dict[str, Callable[[torch.optim.Optimizer], Any]] = {
        "warm_up": lambda o: schedulers.LambdaLR(o, lambda step: min(1.0, (step + 1) / (0.3 * steps))),
        "cosine": lambda o: schedulers.CosineAnnealingLR(o, 2 * steps),
        "exponential": lambda o: schedulers.ExponentialLR(o, 0.5 ** (1 / steps)),
    }
    return made.get(name)


def quantum(draw: random.Random, seed: int, n: int) -> QuantumLayer:
    circuit = draw.choice(list(ENCODINGS.values()))(n) + draw.choice(list(ANSATZE.values()))(n, draw.choice((1, 2, 3)))
    init = draw.choice(("gaussian", "uniform", "small_angle"))
    shots = draw.choice((None, None, None, None, None, None, None, 200))
    if shots and (n > 3 or circuit.n_weights > 20):
        shots = None
    return QuantumLayer(circuit, local_z(n), init=init, shots=shots, generator=generator(seed))


def learner(
    model: nn.Module, criterion: Callable[[Tensor, Tensor], Tensor], draw: random.Random, steps: int
) -> Learner:
    make, low, high = draw.choice(list(OPTIMIZERS.values()))
    rate = low * (high / low) ** draw.random() * 250 / steps  # the rates are for 250 steps
    scale = draw.choice((1.0, 1.0, 1.0, 1e-4, 1e4))
    offset = draw.choice((0.0, 0.0, 0.0, 100.0)) * scale
    schedule = schedule_of(draw.choice(("none", "none", "warm_up", "cosine", "exponential")), steps)
    plain = make in (torch.optim.SGD,) or low == 0.002
    rate = rate / scale if plain else rate
    return Learner(model, lambda o, y: scale * criterion(o, y) + offset, lambda p: make(p, lr=rate), schedule)


def regression(draw: random.Random, seed: int, steps: int) -> Task:
    """A circuit, alone or behind and before linear maps, and a smooth function or another circuit's outputs."""
    n = draw.choice((2, 2, 3, 3, 4, 4, 5, 6))
    layer, x = quantum(draw, seed, n), inputs(n, seed, draw.choice((32, 64, 128)))
    if draw.random() < 0.5:
        moved = layer.weights.detach() + torch.randn(layer.weights.shape, generator=generator(seed + 1))
        with torch.no_grad(), layer.exact(), layer.weights_at(moved):
            y = layer(x)
        model: nn.Module = layer
    else:
        y = torch.sin(2 * x[:, :1]) * x[:, 1:2] + 0.1 * torch.randn(len(x), 1, generator=generator(seed))
        encoder = nn.Linear(n, n) if draw.random() < 0.5 else nn.Identity()
        model = nn.Sequential(encoder, layer, nn.Linear(n, 1))
    module = learner(model, draw.choice(list(REGRESSIONS.values())), draw, steps)
    return supervised(module, x, y, seed, steps=steps, batch=draw.choice((4, 8, 16, 32)))


def classification(draw: random.Random, seed: int, steps: int) -> Task:
    """Real data in two to ten classes."""
    n, name = draw.choice((2, 3, 4, 5)), draw.choice(("wine", "breast_cancer", "digits"))
    x, y = table(name, n, seed, draw.choice((64, 128, 170)))
    model = nn.Sequential(quantum(draw, seed, n), nn.Linear(n, {"wine": 3, "breast_cancer": 2, "digits": 10}[name]))
    module = learner(model, nn.functional.cross_entropy, draw, steps)
    return supervised(module, x, y, seed, steps=steps, batch=draw.choice((4, 8, 16, 32)))


def energy(draw: random.Random, seed: int, steps: int) -> Task:
    """VQE and QAOA without noise, at rates that take the whole budget."""
    n, random_start = draw.choice((2, 3, 4)), generator(seed)
    rate, init = draw.uniform(0.5, 1.5) / steps, draw.choice(("uniform", "uniform", "gaussian"))
    if draw.random() < 0.3:
        edges = [(i, (i + 1) % 4, draw.uniform(0.5, 1.5)) for i in range(4)] + [(0, 2, draw.uniform(0.2, 1.0))]
        return variational(QAOA(edges, depth=2, learning_rate=rate, init="uniform", generator=random_start), steps)
    hamiltonian: PauliSum = draw.choice((tfim(n, field=draw.uniform(0.5, 1.5)), heisenberg(n)))
    circuit = draw.choice(list(ANSATZE.values()))(n, draw.choice((2, 3)))
    return variational(VQE(hamiltonian, circuit, learning_rate=rate, init=init, generator=random_start), steps)


def drawn(seed: int) -> Task:
    draw = random.Random(seed)
    build = draw.choice((regression, regression, classification, classification, energy))
    return build(draw, seed, draw.choice((200, 300, 400, 600)))


SCENARIOS = (Scenario("drawn", "anything that learns", "healthy", drawn),)
