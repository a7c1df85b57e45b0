"""Layers, data and losses that scenarios are built from."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import lightning as L
import torch
from torch import Tensor, nn

from benchmarks.plateaubench.task import Task, generator
from torchbp import Circuit, PauliSum, QuantumLayer
from torchbp.backends.fused import FusedBackend
from torchbp.circuits import angle_encoding, global_z, hardware_efficient, local_z


def adam(rate: float, **options: Any) -> Callable[[Any], torch.optim.Optimizer]:
    return lambda parameters: torch.optim.Adam(parameters, lr=rate, **options)


def sgd(rate: float, **options: Any) -> Callable[[Any], torch.optim.Optimizer]:
    return lambda parameters: torch.optim.SGD(parameters, lr=rate, **options)


def mse(output: Tensor, target: Tensor) -> Tensor:
    return (output - target).square().mean()


def shallow(n: int, seed: int, depth: int = 2, **options: Any) -> QuantumLayer:
    """RY encoding, rotations and CZ gates, Z on every wire, small angles."""
    circuit = angle_encoding(n) + hardware_efficient(n, depth, gate="cz")
    return QuantumLayer(circuit, local_z(n), generator=generator(seed), **options)


def deep(n: int, seed: int, depth: int | None = None, **options: Any) -> QuantumLayer:
    """As many layers as wires, random angles, the parity of all wires."""
    circuit = angle_encoding(n) + hardware_efficient(n, depth or n)
    return QuantumLayer(circuit, global_z(n), init="uniform", generator=generator(seed), **options)


def inputs(n: int, seed: int, samples: int = 128) -> Tensor:
    return 2 * torch.rand(samples, n, generator=generator(seed)) - 1


def taught(layer: QuantumLayer, seed: int, distance: float, samples: int = 128) -> tuple[Tensor, Tensor]:
    """Inputs, and the outputs of the same circuit at weights `distance` away: a task that can be solved exactly."""
    x = inputs(layer.circuit.n_features, seed, samples)
    start = layer.weights.detach()
    moved = start + distance * torch.randn(start.shape, generator=generator(seed + 1))
    with torch.no_grad(), layer.exact(), layer.noiseless(), layer.weights_at(moved):
        return x, layer(x)


def table(name: str, n: int, seed: int, samples: int = 128) -> tuple[Tensor, Tensor]:
    """A data set of scikit-learn, such as "wine": n principal components in [-1, 1], and classes."""
    from sklearn import datasets

    x, y = getattr(datasets, f"load_{name}")(return_X_y=True)
    features = torch.as_tensor(x, dtype=torch.float64)
    features = (features - features.mean(0)) / features.std(0).clamp_min(1e-9)
    components = features @ torch.linalg.svd(features, full_matrices=False)[2][:n].T
    chosen = torch.randperm(len(components), generator=generator(seed))[:samples]
    scaled = components / components.abs().amax(0)
    return scaled[chosen].float(), torch.as_tensor(y)[chosen]


class Energy(nn.Module):
    """A circuit without features, once for the whole batch."""

    def __init__(self, layer: QuantumLayer) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, x: Tensor) -> Tensor:
        return self.layer().expand(len(x), -1)


def mean_output(output: Tensor, target: Tensor) -> Tensor:
    return output.mean()


def nothing(samples: int = 32) -> tuple[Tensor, Tensor]:
    """Data for a loss that needs none."""
    return torch.zeros(samples, 0), torch.zeros(samples, 1)


def variational(model: L.LightningModule, steps: int) -> Task:
    """A VQE or QAOA of torchbp.models, with the loader it brings."""
    return Task(model, model.train_dataloader(), None, steps, lambda module, batch: module())


class Parts(nn.Module):
    """encoder → quantum → head, by these names."""

    def __init__(self, encoder: nn.Module, quantum: nn.Module, head: nn.Module) -> None:
        super().__init__()
        self.encoder, self.quantum, self.head = encoder, quantum, head

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.quantum(self.encoder(x)))


class Beside(nn.Module):
    """Two modules on the same input, their outputs side by side, and a head over both."""

    def __init__(self, first: nn.Module, second: nn.Module, head: nn.Module) -> None:
        super().__init__()
        self.first, self.second, self.head = first, second, head

    def forward(self, x: Tensor) -> Tensor:
        return self.head(torch.cat([self.first(x), self.second(x)], dim=1))


class Reads(nn.Module):
    """A layer that reads the first columns only."""

    def __init__(self, layer: QuantumLayer) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, x: Tensor) -> Tensor:
        return self.layer(x[:, : self.layer.circuit.n_features])


class Drifting(FusedBackend):
    """A device that changes with the clock of the run, which it is given; `warp(values, steps)` says how."""

    def __init__(self, warp: Callable[[Tensor, Tensor], Tensor]) -> None:
        super().__init__()
        self.warp, self.clock = warp, torch.zeros((), dtype=torch.long)

    def __deepcopy__(self, memo: dict[int, Any]) -> Drifting:
        """The twin has the clock of the run that is copied with it."""
        twin = Drifting(self.warp)
        twin.clock = copy.deepcopy(self.clock, memo)
        return twin

    def expectations(self, *arguments: Any, **options: Any) -> Tensor:
        return self.warp(super().expectations(*arguments, **options), self.clock)


def settle(model: nn.Module, loss: Callable[[], Tensor], steps: int) -> float:
    """Train to rest, by Adam at a rate that decays; the loss then."""
    optimizer = torch.optim.Adam(model.parameters(), lr=0.05)
    for step in range(steps):
        optimizer.param_groups[0]["lr"] = 0.05 * 0.003 ** (step / steps)
        optimizer.zero_grad()
        loss().backward()
        optimizer.step()
    model.zero_grad()
    return float(loss().detach())


def solved(circuit: Circuit, energy: PauliSum, seed: int, starts: int = 20) -> Tensor:
    """Weights at the ground state, or the lowest that descents from some starts find."""
    ground, lowest, best = ground_energy(energy, circuit.n_wires), float("inf"), torch.zeros(circuit.n_weights)
    for attempt in range(starts):
        layer = QuantumLayer(circuit, energy, init="uniform", generator=generator(100 * seed + attempt))
        value = settle(layer, lambda layer=layer: layer().sum(), 400)
        if value < lowest:
            lowest, best = value, layer.weights.detach()
        if lowest < 0.9999 * ground:
            break
    return best


def bare(n: int, rotations: tuple[str, ...] = ("ry", "rz"), depth: int = 2) -> Circuit:
    """An ansatz without features."""
    return hardware_efficient(n, depth, rotations)


def ground_energy(hamiltonian: PauliSum, n: int) -> float:
    """The smallest eigenvalue, of the dense matrix."""
    return float(torch.linalg.eigvalsh(torch.as_tensor(hamiltonian.matrix(n)))[0])
