"""How far a state moves when a weight does: the Fubini-Study metric of a circuit, block by block."""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import Tensor

from torchbp.arguments import checked
from torchbp.arguments.kinds import a, anything
from torchbp.backends.base import initial_states
from torchbp.backends.shots import Sampler
from torchbp.layer import QuantumLayer

_CHUNK = 2**22
"""Amplitudes simulated at once."""


@checked(layer=a(QuantumLayer), x=anything)
def fubini_study(layer: QuantumLayer, x: Tensor | None = None) -> dict[str, Tensor]:
    """The metric g_ij = Re[<d_i psi|d_j psi> - <d_i psi|psi><psi|d_j psi>] within each layer of the circuit.

    Block-diagonal as in Stokes 2020 (1909.02108), with the blocks of the circuit's own layers, within which it is the
    exact metric, whether their generators commute or not. From the exact states, noise left out.
    U(t) = A + cos(s t) B + sin(s t) C for every rotation, so d_t psi = s / 2 (psi(t + pi / 2s) - psi(t - pi / 2s)): two
    simulated circuits for each rotation that a weight turns, and sample.

    Args:
        layer: at its present weights.
        x: features (B, F), None for a circuit without; the metric is the mean over the samples.

    Returns:
        (k, k) float64 for each circuit layer of k weights, by its name.

    What it does not show: how the loss curves. A metric of zero along a weight means that the states do not notice it.
    """
    sampler = layer.sampler
    weights = layer.weights.detach()
    inputs = weights.new_empty(1, 0) if x is None else x.detach().to(weights)
    with torch.no_grad(), layer.noiseless():
        angles = sampler.angles(inputs, weights)
        start = initial_states(layer.circuit, inputs, None)
        here = _states(sampler, layer, angles, start)
        slopes = _slopes(sampler, layer, angles, start)  # (P, B, 2^n)
    tilted = torch.einsum("pbk,bk->pb", slopes, here.conj())
    found = {}
    for name, indices in layer.weight_groups.items():
        own, along = slopes[list(indices)], tilted[list(indices)]
        inner = torch.einsum("ibk,jbk->ij", own.conj(), own) - torch.einsum("ib,jb->ij", along.conj(), along)
        found[name] = inner.real.double() / len(inputs)
    return found


def natural(metric: Mapping[str, Tensor], layer: QuantumLayer, gradient: Tensor, damping: float) -> Tensor:
    """(P,) the natural gradient (g + damping I)^-1 gradient, block by block.

    The damping (Tikhonov) bounds what a direction along which the states hardly move may do: by at most 1 / damping
    times its gradient. A rotation of unit gap by itself has g = 1/4.
    """
    found = torch.zeros_like(gradient, dtype=torch.float64)
    for name, indices in layer.weight_groups.items():
        block = metric[name].to(found)
        ridge = damping * torch.eye(len(indices), dtype=block.dtype, device=block.device)
        found[list(indices)] = torch.linalg.solve(block + ridge, gradient.double()[list(indices)])
    return found.to(gradient)


def condition(metric: Mapping[str, Tensor], damping: float) -> float:
    """The worst block's ratio of the largest to the smallest eigenvalue, damping included; 1 where all alike matter."""
    worst = 1.0
    for block in metric.values():
        values = torch.linalg.eigvalsh(block).clamp_min(0.0) + damping
        worst = max(worst, float(values[-1] / values[0]))
    return worst


def _slopes(sampler: Sampler, layer: QuantumLayer, angles: Tensor, start: Tensor | None) -> Tensor:
    """(P, B, 2^n) derivatives of the states by the weights."""
    rotations = [step.gate.rotation(len(step.wires)) for step in layer.circuit.elementary if step.angle is not None]
    moved = [s for s, kind in enumerate(sampler.kinds) if kind == "weight"]
    batch, size = len(angles), 2**layer.n_wires
    at_once = max(1, _CHUNK // (2 * batch * size))
    found = None
    for first in range(0, len(moved), at_once):
        slots = moved[first : first + at_once]
        shifted = angles.repeat(2 * len(slots), 1, 1)
        for k, slot in enumerate(slots):
            shift = math.pi / (2 * rotations[slot].frequency)
            shifted[2 * k, :, slot] += shift
            shifted[2 * k + 1, :, slot] -= shift
        starts = None if start is None else start.repeat(2 * len(slots), 1)
        states = _states(sampler, layer, shifted.flatten(0, 1), starts).view(len(slots), 2, batch, size)
        if found is None:
            found = states.new_zeros(layer.circuit.n_weights, batch, size)
        rates = torch.tensor([rotations[s].frequency / 2 for s in slots]) * sampler.scales[slots]
        found.index_add_(
            0, sampler.weights[slots].to(found.device), (states[:, 0] - states[:, 1]) * rates[:, None, None]
        )
    return torch.zeros(layer.circuit.n_weights, batch, size) if found is None else found


def _states(sampler: Sampler, layer: QuantumLayer, angles: Tensor, start: Tensor | None) -> Tensor:
    return sampler.states(layer.backend, angles, start).reshape(len(angles), -1)
