"""Natural gradient from shots: loss and metric both by simultaneous perturbation."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from torchbp.arguments import checked
from torchbp.arguments.kinds import a
from torchbp.backends.base import initial_states
from torchbp.backends.shots import measures
from torchbp.errors import InputError
from torchbp.layer import QuantumLayer
from torchbp.optim.natural_gradient import move


class QNSPSA(torch.optim.Optimizer):
    """w <- w - lr (G_k + damping I)^-1 s, slope and metric from six circuits a step (Gacon 2021, 2103.09232).

    With random signs d, d': the slope is s = (L(w + c d) - L(w - c d)) / (2 c) d, and one sample of the metric is
    -dF / (8 c^2) (d d'^T + d' d^T), dF = F(c d + c d') - F(c d) - F(-c d + c d') + F(-c d), where F(e) is the fidelity
    of the states at w and w + e, whose Hessian is -2 g. G_k is sqrt(G^2), which is positive, of the mean G of all
    samples so far and of 1/4 on the diagonal, that of rotations by themselves; the damping bounds its inverse.

    On a simulator the fidelity is that of exact states, read with as many shots as the layer has: a machine would run
    the circuit and the inverse of the shifted one, and count zeros. These shots are counted as the layer's.

    Args:
        layer: whose weights are trained; without features, or with those given to `step`.
        lr: learning rate.
        perturbation: c, in radians.
        damping: added to the metric's diagonal, whose entries are 1/4 for a rotation by itself.
        resamplings: samples of the metric in each step; each costs 4 circuits.
        seed: of the signs and of the fidelities' shots.

    Raises:
        InputError: a number that is not positive, a layer on a machine, or a step without a closure.

    What it does not cure: a barren plateau; differences of losses vanish there as gradients do.
    """

    @checked(layer=a(QuantumLayer))
    def __init__(
        self,
        layer: QuantumLayer,
        lr: float = 0.02,
        *,
        perturbation: float = 0.1,
        damping: float = 0.05,
        resamplings: int = 1,
        seed: int = 0,
    ) -> None:
        if measures(layer.backend):
            raise InputError("QNSPSA takes fidelities from a simulator's states, which a machine does not give.")
        parameters = [p for p in layer.parameters() if p.requires_grad]
        super().__init__(parameters, {"lr": lr, "damping": damping})
        self.layer, self.perturbation = layer, perturbation
        self.resamplings = resamplings
        self.generator = torch.Generator().manual_seed(seed)
        self.metric = torch.eye(layer.circuit.n_weights, dtype=torch.float64) / 4
        self.steps = 0

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None, x: Tensor | None = None) -> float:  # type: ignore[override]
        """One step; if the closure raises, all is as it was.

        Args:
            closure: `() -> loss`, without backward.
            x: features (B, F) that the metric is the mean over.

        Returns:
            The mean of the two losses.
        """
        if closure is None:
            raise InputError("QNSPSA evaluates the loss: step(closure), a function () -> loss.")
        state, c = self.generator.get_state(), self.perturbation
        direction, losses = self._signs(), []
        try:
            for sign in (1, -1):
                move(self.layer, sign * c * direction)
                try:
                    losses.append(float(closure()))
                finally:
                    move(self.layer, -sign * c * direction)
            samples = torch.stack([self._sample(x) for _ in range(self.resamplings)]).mean(0)
        except BaseException:
            self.generator.set_state(state)
            raise
        self.steps += 1
        self.metric = self.metric + (samples - self.metric) / (self.steps + 1)
        group = self.param_groups[0]
        ridge = group["damping"] * torch.eye(len(direction), dtype=torch.float64)
        slope = (losses[0] - losses[1]) / (2 * c) * direction
        move(self.layer, -group["lr"] * torch.linalg.solve(_positive(self.metric) + ridge, slope))
        return sum(losses) / 2

    def state_dict(self) -> dict[str, Any]:
        search = {"metric": self.metric.clone(), "steps": self.steps, "generator": self.generator.get_state()}
        return super().state_dict() | {"search": search}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        rest = dict(state_dict)  # by itself, since torch's own way casts tensors to the parameters' dtype
        search = rest.pop("search")
        super().load_state_dict(rest)
        self.metric, self.steps = search["metric"].clone(), search["steps"]
        self.generator.set_state(search["generator"])

    def _signs(self) -> Tensor:
        return 2.0 * torch.randint(0, 2, (self.layer.circuit.n_weights,), generator=self.generator).double() - 1

    def _sample(self, x: Tensor | None) -> Tensor:
        d, other = self.perturbation * self._signs(), self.perturbation * self._signs()
        f = self._fidelities(torch.stack([d + other, d, other - d, -d]), x)
        change = float(f[0] - f[1] - f[2] + f[3])
        outer = torch.outer(d, other) / self.perturbation**4
        return -change / 8 * (outer + outer.T)

    def _fidelities(self, shifts: Tensor, x: Tensor | None) -> Tensor:
        """(N,) of the states at the present weights and at those shifted (N, P), means over the samples."""
        layer = self.layer
        sampler = layer.sampler
        weights = layer.weights.detach()
        inputs = weights.new_empty(1, 0) if x is None else x.to(weights)
        start = initial_states(layer.circuit, inputs, None)
        with layer.noiseless():
            here = sampler.states(layer.backend, sampler.angles(inputs, weights), start)
            found = []
            for shift in shifts.to(weights):
                there = sampler.states(layer.backend, sampler.angles(inputs, weights + shift), start)
                found.append((here.conj() * there).sum(1).abs().square().double().clamp(0.0, 1.0).cpu())
        fidelities = torch.stack(found)
        if layer.shots is not None:
            counts = torch.full_like(fidelities, layer.shots)
            fidelities = torch.binomial(counts, fidelities, generator=self.generator) / layer.shots
            layer.count_shots(layer.shots * fidelities.numel())
        return fidelities.mean(1)


def _positive(metric: Tensor) -> Tensor:
    """sqrt(G^2): the eigenvalues' absolute values."""
    values, vectors = torch.linalg.eigh(metric)
    return (vectors * values.abs()) @ vectors.T
