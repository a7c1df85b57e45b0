"""Training runs that each show one verdict by their construction, for the tests of the detector."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import lightning as L
import torch
from torch import Tensor, nn

from benchmarks.plateaubench.building import Energy, inputs, mean_output, mse, shallow
from benchmarks.plateaubench.building import taught as taught_on
from benchmarks.plateaubench.scenarios.dev.untrained import beyond_the_light_cone
from benchmarks.plateaubench.task import generator
from torchbp import QuantumLayer
from torchbp.backends.fused import FusedBackend
from torchbp.backends.noise import NoiseModel
from torchbp.circuits import angle_encoding, global_z, hardware_efficient, local_z, tfim

SGD, ADAM = torch.optim.SGD, torch.optim.Adam


@dataclass
class Run:
    """What is trained on what, and how."""

    model: nn.Module
    x: Tensor
    y: Tensor
    loss: Callable[[Tensor, Tensor], Tensor]
    optimizer: Callable[..., torch.optim.Optimizer]
    learning_rate: float
    target: float | None = None
    batch_size: int = 32


class Trained(L.LightningModule):
    def __init__(self, run: Run) -> None:
        super().__init__()
        self.model, self.run = run.model, run

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        x, y = batch
        loss = self.run.loss(self.model(x), y)
        self.log("train_loss", loss, batch_size=len(x))
        return loss

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return self.run.optimizer(self.parameters(), lr=self.run.learning_rate)


def taught(layer: QuantumLayer, seed: int, distance: float) -> tuple[Tensor, Tensor]:
    return taught_on(layer, seed, distance, samples=256)


def healthy(seed: int, adam: bool) -> Run:
    layer = shallow(4 + 2 * (seed % 4), seed)
    x, y = taught(layer, seed, 1.0)
    return Run(layer, x, y, mse, ADAM if adam else SGD, 0.002 if adam else 0.05)


def barren_plateau(seed: int, adam: bool) -> Run:
    n = 10 + seed % 3
    circuit = angle_encoding(n) + hardware_efficient(n, n)
    layer = QuantumLayer(circuit, global_z(n), init="uniform", generator=generator(seed))
    x = inputs(n, seed, 64)
    y = x.prod(1, keepdim=True).sign() * 0.8
    return Run(layer, x, y, mse, ADAM if adam else SGD, 0.001 if adam else 0.05, batch_size=16)


def shot_limited(seed: int, adam: bool) -> Run:
    layer = shallow(4 + seed % 3, seed, shots=1)
    x, y = taught(layer, seed, 0.3)
    return Run(layer, x, y, mse, ADAM if adam else SGD, 0.0005 if adam else 0.01, batch_size=8)


def noise_induced(seed: int, adam: bool) -> Run:
    noise = NoiseModel(depolarizing_1q=0.03, depolarizing_2q=0.1)
    n = 4
    circuit = angle_encoding(n) + hardware_efficient(n, 8 + seed % 3, gate="cz")
    layer = QuantumLayer(circuit, local_z(n), noise=noise, init="uniform", generator=generator(seed))
    x, y = taught(layer, seed, 1.0)
    return Run(layer, x, y, mse, ADAM if adam else SGD, 0.003 if adam else 0.1, batch_size=16)


def local_minimum(seed: int, adam: bool) -> Run:
    """Plain gradient descent from random weights, until one start ends at rest above the ground state."""
    n = 4 + seed % 3
    energy = tfim(n, field=0.5)
    ground = float(torch.linalg.eigvalsh(torch.as_tensor(energy.matrix(n)))[0])
    for attempt in range(1000):
        circuit = hardware_efficient(n, 1, rotations=("ry",), gate="cz")
        layer = QuantumLayer(circuit, energy, init="uniform", generator=generator(1000 * seed + attempt))
        descent = SGD(layer.parameters(), lr=0.05)
        for _ in range(400):
            descent.zero_grad()
            value = layer().sum()
            value.backward()
            descent.step()
        if float(value.detach()) > 0.8 * ground and float(layer.weights.grad.norm()) < 1e-2:
            break
    x = torch.zeros(32, 0)
    goal = 0.95 * ground
    return Run(Energy(layer), x, x[:, :1], mean_output, ADAM if adam else SGD, 0.001 if adam else 0.01, goal)


def converged(seed: int, adam: bool) -> Run:
    layer = shallow(4 + 2 * (seed % 3), seed)
    x, y = taught(layer, seed, 0.5)
    noise = 0.02 * torch.randn(y.shape, generator=generator(seed + 2))
    target = 0.01 if seed % 2 else None
    return Run(layer, x, y + noise, mse, ADAM if adam else SGD, 0.05 if adam else 2.0, target)


def oscillating(seed: int, adam: bool) -> Run:
    layer = shallow(4 + seed % 3, seed)
    x, y = taught(layer, seed, 0.5)
    return Run(layer, x, y, mse, jumpy if adam else SGD, 1.0 if adam else 40.0)


def jumpy(parameters: Any, lr: float) -> torch.optim.Optimizer:
    """Adam without momentum: steps of about lr wherever it is, so that it never settles."""
    return ADAM(parameters, lr=lr, betas=(0.0, 0.9))


class Drifting(FusedBackend):
    """A device whose contrast fades with every evaluation."""

    def __init__(self) -> None:
        super().__init__()
        self.contrast = 1.0

    def expectations(self, *arguments: Any, **options: Any) -> Tensor:
        self.contrast *= 0.9997
        return self.contrast * super().expectations(*arguments, **options)


def drifting(seed: int, adam: bool) -> Run:
    layer = shallow(4 + seed % 3, seed, backend=Drifting())
    x, y = taught(layer, seed, 0.5)
    return Run(layer, x, y, mse, ADAM if adam else SGD, 0.01 if adam else 0.3)


def dead_layer(seed: int, adam: bool) -> Run:
    layer = beyond_the_light_cone(4 + seed % 3, seed)
    x, y = taught(layer, seed, 0.5)
    return Run(layer, x, y, mse, ADAM if adam else SGD, 0.01 if adam else 0.3)


def diverging(seed: int, adam: bool) -> Run:
    layer = shallow(4 + seed % 3, seed)
    x, y = taught(layer, seed, 0.5)
    torch.manual_seed(seed)
    model = nn.Sequential(layer, nn.Linear(layer.n_wires, layer.n_wires))
    return Run(model, x, y, mse, ADAM if adam else SGD, 30.0 if adam else 10.0)


RUNS: dict[str, Callable[[int, bool], Run]] = {
    "healthy": healthy,
    "barren_plateau": barren_plateau,
    "shot_limited": shot_limited,
    "noise_induced": noise_induced,
    "local_minimum": local_minimum,
    "converged": converged,
    "oscillating": oscillating,
    "drifting": drifting,
    "dead_layer": dead_layer,
    "diverging": diverging,
}
