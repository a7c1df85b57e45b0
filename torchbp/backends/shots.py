"""Finite shots on a simulator: sampled expectation values, and their parameter-shift gradients.

What hardware would return, at simulator speed. Every circuit, shifted or not, is simulated exactly and then measured
`shots` times in each measurement group, from the exact joint distribution of the group's wires, so that terms read in
the same shots are correlated as they are on a machine.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypeGuard, cast, runtime_checkable

import numpy as np
import torch
from torch import Tensor, nn

from torchbp.backends.alike import Alike
from torchbp.backends.angles import AngleMap
from torchbp.backends.base import Backend, initial_states
from torchbp.circuits import Circuit, PauliSum, constant
from torchbp.circuits.grouping import Grouping, MeasurementGroup, group_qubit_wise
from torchbp.errors import BackendError

# Numbers simulated at once: bounds the memory of the many circuits of a gradient.
_CHUNK = 2**22
# Probabilities that are kept.
_KEPT = 2**20


@dataclass
class ShotMeter:
    """Counts the shots that were spent: every sample, measurement group and shifted circuit."""

    used: int = 0


@dataclass(frozen=True, eq=False)
class ShiftRecord:
    """What a backward pass by the parameter-shift rule has measured, for B samples and S rotations.

    Attributes:
        gradient: (B, S) each sample's share of the derivative of the loss by the angle.
        variance: (B, S) of these by their shots, estimated from the outcomes: with R terms (c, d) of the shift rule
            sum_r c_r^2 s_r^2 / S, where s_r^2 is the unbiased variance of sum_m dL/dy_m O_m over the S shots of the
            shifted circuit. NaN for a single shot. The noise of the forward pass in dL/dy is not in it.
        shots: for each circuit and measurement group.
    """

    gradient: Tensor
    variance: Tensor
    shots: int


@dataclass(frozen=True)
class Shots:
    """How to measure: shots for each circuit and group, the source of the outcomes, who counts, and who listens.

    `number` is None for exact values of a `MeasuringBackend` that has them. The listener gets what every backward pass
    has measured.
    """

    number: int | None
    generator: torch.Generator
    meter: ShotMeter
    listener: Callable[[Sampler, ShiftRecord], None] | None = None


@runtime_checkable
class NoisyBackend(Protocol):
    """A backend without states, which knows the distribution of what is read instead."""

    def outcome_probabilities(
        self, circuit: Circuit, angles: Tensor, initial_state: Tensor | None, groups: Sequence[MeasurementGroup]
    ) -> list[Tensor]:
        """For each group (N, 2^m) float64, from the angles (N, S) of all rotations in `circuit.elementary`."""
        ...

    def numbers(self, n_wires: int) -> int:
        """How many numbers one circuit's simulation holds."""
        ...


@dataclass(frozen=True, eq=False)
class Estimates:
    """Expectation values as a machine measured them, for N circuits and M observables.

    Attributes:
        values: (N, M) float64.
        covariance: (N, M, M) float64, of one shot for each circuit and measurement setting: observables read in the
            same shots are correlated. That of the values is this / shots.
        shots: for each circuit and setting; None for exact values.
    """

    values: Tensor
    covariance: Tensor
    shots: int | None

    @property
    def standard_errors(self) -> Tensor:
        """(N, M): of the values; zero where they are exact."""
        if self.shots is None:
            return torch.zeros_like(self.values)
        return (self.covariance.diagonal(dim1=1, dim2=2).clamp_min(0.0) / self.shots).sqrt()


class MeasuringBackend(Protocol):
    """A backend that draws outcomes itself, as a machine does, and counts its shots."""

    shots: int | None
    shots_used: int

    def measure(
        self,
        circuit: Circuit,
        grouping: Grouping,
        angles: Tensor,
        initial_state: Tensor | None,
        shots: int | None,
    ) -> Estimates:
        """Estimates for the angles (N, S) of all rotations in `circuit.elementary`."""
        ...


def measures(backend: object) -> TypeGuard[MeasuringBackend]:
    """Whether it is a `MeasuringBackend`."""
    return hasattr(backend, "measure")


class Sampler:
    """Sampled expectation values of one circuit's observables, differentiable by the parameter-shift rule.

    Plans once what the circuit's measurement takes; the backend, which simulates the states, comes with each call.
    """

    def __init__(self, circuit: Circuit, observables: Sequence[PauliSum]) -> None:
        self.circuit = circuit
        self.grouping = group_qubit_wise(observables)
        self._values: list[np.ndarray] | None = None  # tables of 2^m, which a machine has no use for
        self._alike = Alike(circuit)
        self._latest: list[tuple[Backend, Tensor, list[Tensor]]] = []
        rotations = [(step, step.angle) for step in circuit.elementary if step.angle is not None]
        self.rules = [step.gate.rotation(len(step.wires)).shift_rule for step, _ in rotations]
        self.kinds = [angle.kind for _, angle in rotations]
        # Of each rotation: its weight, and how fast that turns it; 0 and 0 where no weight does.
        by_weight = [angle.kind == "weight" for _, angle in rotations]
        self.weights = torch.tensor([a.indices[0] if w else 0 for (_, a), w in zip(rotations, by_weight, strict=True)])
        self.scales = torch.tensor([a.scale if w else 0.0 for (_, a), w in zip(rotations, by_weight, strict=True)])
        # Every angle is the sum of what it takes from the weights (or a constant) and what it takes from the features.
        self._of_weights = AngleMap([_ZERO if a.kind == "feature" else a for _, a in rotations], circuit.n_weights)
        self._of_features = AngleMap([a if a.kind == "feature" else _ZERO for _, a in rotations], circuit.n_features)

    def expectations(
        self, backend: Backend, x: Tensor, weights: Tensor, initial_state: Tensor | None, shots: Shots
    ) -> Tensor:
        """Estimates (B, M) of the expectation values; arguments as in `Backend.expectations`."""
        if (initial_state is not None and initial_state.requires_grad) or (
            self.circuit.n_amplitudes and x.requires_grad
        ):
            raise BackendError(
                "With finite shots gradients come from the parameter-shift rule, which differentiates angles, not the "
                "amplitudes of the initial state: use angle encoding, or exact expectation values (shots=None)."
            )
        start = initial_states(self.circuit, x, initial_state)
        moves = {"weight": weights.requires_grad, "feature": x.requires_grad, "constant": False}
        moving = tuple(moves[kind] for kind in self.kinds)
        estimates = _Sampled.apply(self.angles(x, weights), start, self, backend, shots, moving)  # type: ignore[no-untyped-call]
        return cast(Tensor, estimates)

    def angles(self, x: Tensor, weights: Tensor) -> Tensor:
        """(B, S): the angle of every rotation of the circuit."""
        return self._of_weights(weights) + self._of_features(x)

    def states(self, backend: Backend, angles: Tensor, start: Tensor | None) -> Tensor:
        """States of N circuits (N, 2^n) from the angles (N, S) of their rotations, exact."""
        return self._alike.states(backend, angles, start)

    def outcome_probabilities(self, backend: Backend, angles: Tensor, start: Tensor | None) -> Iterator[list[Tensor]]:
        """For chunks of N circuits, the distributions (n, 2^m) of each measurement group's outcomes, float64."""
        noisy = backend if isinstance(backend, NoisyBackend) else None
        step = max(1, _CHUNK // (noisy.numbers(self.circuit.n_wires) if noisy else 2**self.circuit.n_wires))
        for i in range(0, len(angles), step):
            chunk = angles[i : i + step]
            first = None if start is None else start[i : i + step]
            if noisy is not None:  # noise belongs to the gates as they were written, and may follow any of them
                yield noisy.outcome_probabilities(self.circuit, chunk, first, self.grouping.groups)
            else:
                yield self._distributions(backend, chunk, first)

    def _distributions(self, backend: Backend, angles: Tensor, start: Tensor | None) -> list[Tensor]:
        """(N, 2^m) for each group. The latest are kept: parts of a batch without features all ask for the same.

        Of backends whose own class says `repeatable = True`; a subclass of it may stand for a device that drifts.
        """
        repeatable = start is None and vars(type(backend)).get("repeatable", False)
        for kept, at, distributions in self._latest:
            alike = (at.shape, at.dtype, at.device) == (angles.shape, angles.dtype, angles.device)
            if repeatable and kept is backend and alike and torch.equal(at, angles):
                return distributions
        states = self.states(backend, angles, start)
        found = [_distribution(states, self.circuit.n_wires, group) for group in self.grouping.groups]
        if repeatable and sum(p.numel() for p in found) <= _KEPT:
            self._latest = [(backend, angles.clone(), found), *self._latest[:1]]  # of a forward and of a backward
        return found

    def __getstate__(self) -> dict[str, Any]:
        return vars(self) | {"_latest": []}

    def outcome_values(self, device: torch.device) -> list[Tensor]:
        """For each group (2^m, M): what an outcome contributes to each observable."""
        if self._values is None:
            groups = zip(self.grouping.groups, self.grouping.coefficients, strict=True)
            self._values = [_signs(group) @ coefficients.T for group, coefficients in groups]
        return [torch.as_tensor(values, device=device) for values in self._values]

    def sample(self, backend: Backend, angles: Tensor, start: Tensor | None, shots: Shots) -> Tensor:
        """(N, S) angles → (N, M) estimates."""
        return self.sample_with_variance(backend, angles, start, shots, None)[0]

    def sample_with_variance(
        self, backend: Backend, angles: Tensor, start: Tensor | None, shots: Shots, cotangent: Tensor | None
    ) -> tuple[Tensor, Tensor | None]:
        """Estimates (N, M), and the variance (N,) of sum_m cotangent[i, m] y[i, m] by the spread of the outcomes.

        Args:
            cotangent: (N, M); None: no variance is wanted.
        """
        constants = torch.as_tensor(self.grouping.constants, device=angles.device).to(angles.dtype)
        if not self.grouping.groups:  # nothing but the identity: nothing to measure
            exact = None if cotangent is None else angles.new_zeros(len(angles))
            return constants.repeat(len(angles), 1), exact
        if measures(backend):
            seen = backend.measure(self.circuit, self.grouping, angles, start, shots.number)
            return seen.values.to(angles), None
        assert shots.number is not None
        values = self.outcome_values(angles.device)
        parts, spreads, done = [], [], 0
        for distributions in self.outcome_probabilities(backend, angles, start):
            counts = [_multinomial(p, shots.number, shots.generator) for p in distributions]
            parts.append(torch.stack([c @ v for c, v in zip(counts, values, strict=True)]).sum(0) / shots.number)
            if cotangent is not None:
                own = cotangent[done : done + len(parts[-1])].double()
                each = [_variance(c, own @ v.T, shots.number) for c, v in zip(counts, values, strict=True)]
                spreads.append(torch.stack(each).sum(0))
            done += len(parts[-1])
        shots.meter.used += shots.number * len(angles) * len(self.grouping.groups)
        spread = None if cotangent is None else torch.cat(spreads).to(angles.dtype)
        return torch.cat(parts).to(angles.dtype) + constants, spread


class _Sampled(torch.autograd.Function):
    """Forward: one measurement of each sample. Backward: the parameter-shift rule, shifted circuits measured anew."""

    @staticmethod
    def forward(
        ctx: Any,
        angles: Tensor,
        start: Tensor | None,
        sampler: Sampler,
        backend: Backend,
        shots: Shots,
        moving: tuple[bool, ...],
    ) -> Tensor:
        ctx.save_for_backward(angles, start)
        ctx.sampler, ctx.backend, ctx.shots, ctx.moving = sampler, backend, shots, moving
        return sampler.sample(backend, angles, start, shots)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, cotangent: Tensor) -> tuple[Tensor | None, ...]:
        angles, start = ctx.saved_tensors
        shifted = ShiftedCircuits.of(ctx.sampler, angles, start, ctx.moving)
        if not len(shifted.slots):
            return torch.zeros_like(angles), None, None, None, None, None
        wanted = None if ctx.shots.listener is None else cotangent.repeat(len(shifted.slots), 1)
        values, spread = ctx.sampler.sample_with_variance(
            ctx.backend, shifted.angles, shifted.starts, ctx.shots, wanted
        )
        slopes = (values.view(len(shifted.slots), len(angles), -1) * cotangent).sum(2)
        of_slot = nn.functional.one_hot(shifted.slots, angles.shape[1]).to(slopes) * shifted.coefficients[:, None]
        gradient = slopes.T @ of_slot
        if ctx.shots.listener is not None and spread is not None:
            noise = (spread.view(slopes.shape) * shifted.coefficients[:, None].square()).T
            variance = torch.zeros_like(angles).index_add_(1, shifted.slots, noise)
            ctx.shots.listener(ctx.sampler, ShiftRecord(gradient.detach().clone(), variance, ctx.shots.number))
        return gradient, None, None, None, None, None


@dataclass(frozen=True)
class ShiftedCircuits:
    """All circuits of the parameter-shift rule for a batch: R terms for B samples, the terms outermost.

    Attributes:
        angles: (R * B, S).
        starts: (R * B, 2^n) initial states, or None.
        slots: (R,) the rotation each term shifts.
        coefficients: (R,) its factor in the derivative.
    """

    angles: Tensor
    starts: Tensor | None
    slots: Tensor
    coefficients: Tensor

    @classmethod
    def of(cls, sampler: Sampler, angles: Tensor, start: Tensor | None, moving: Sequence[bool]) -> ShiftedCircuits:
        """The circuits that shift each of the `moving` rotations."""
        terms = [(s, c, d) for s, moves in enumerate(moving) if moves for c, d in sampler.rules[s]]
        slots = torch.tensor([s for s, _, _ in terms], dtype=torch.long, device=angles.device)
        shifted = angles.repeat(len(terms), 1, 1)
        shifted[torch.arange(len(terms), device=angles.device), :, slots] += angles.new_tensor(
            [d for _, _, d in terms]
        )[:, None]
        starts = None if start is None else start.repeat(len(terms), 1)
        return cls(shifted.flatten(0, 1), starts, slots, angles.new_tensor([c for _, c, _ in terms]))


_ZERO = constant(0.0)


def _distribution(states: Tensor, n_wires: int, group: MeasurementGroup) -> Tensor:
    """(N, 2^m) distribution of the m wires the group reads, each in its basis; float64."""
    psi = states.reshape(-1, *[2] * n_wires)
    for wire, letter in group.basis:
        if letter != "Z":
            change = torch.as_tensor(_TO_Z[letter], dtype=psi.dtype, device=psi.device)
            psi = torch.tensordot(psi, change, dims=([wire + 1], [1])).movedim(-1, wire + 1)
    probabilities = psi.real.double().square() + psi.imag.double().square()
    unread = [w + 1 for w in range(n_wires) if w not in group.wires]
    return (probabilities.sum(unread) if unread else probabilities).flatten(1)


_TO_Z = {
    "X": np.array([[1, 1], [1, -1]]) / np.sqrt(2),
    "Y": np.array([[1, -1j], [1, 1j]]) / np.sqrt(2),
}


def _signs(group: MeasurementGroup) -> np.ndarray:
    """(2^m, T): the eigenvalue +-1 of each string for each outcome."""
    position = {wire: k for k, wire in enumerate(group.wires)}
    m = len(position)
    bits = 1 - 2.0 * ((np.arange(2**m)[:, None] >> np.arange(m - 1, -1, -1)) & 1)
    return np.stack([bits[:, [position[w] for w, _ in s]].prod(1) for s in group.strings], axis=1)


def _variance(counts: Tensor, values: Tensor, shots: int) -> Tensor:
    """(N,) unbiased variance of the mean of `shots` outcomes, counted (N, K), of these values (N, K); NaN for one."""
    mean = (counts * values).sum(1, keepdim=True) / shots
    squares = (counts * (values - mean).square()).sum(1)
    return squares / (shots * (shots - 1)) if shots > 1 else torch.full_like(squares, torch.nan)


def _multinomial(probabilities: Tensor, shots: int, generator: torch.Generator) -> Tensor:
    """(N, K) distributions → (N, K) counts of `shots` draws each, K a power of 2; float64.

    Splits the shots in halves of the outcomes by binomial draws, down to single outcomes: exact, and its cost and
    memory don't grow with the number of shots.
    """
    device, probabilities = probabilities.device, probabilities.cpu()
    levels = [probabilities]
    while levels[-1].shape[1] > 1:
        levels.append(levels[-1].view(len(probabilities), -1, 2).sum(2))
    counts = probabilities.new_full((len(probabilities), 1), float(shots))
    for parent, child in zip(levels[:0:-1], levels[-2::-1], strict=True):
        share = torch.where(parent > 0, child[:, 0::2] / parent, 0.0).clamp_(0.0, 1.0)
        left = torch.binomial(counts, share, generator=generator)
        counts = torch.stack([left, counts - left], dim=2).flatten(1)
    return counts.to(device)
