"""A noisy circuit as few small blocks of gates and channels: what `density` and `trajectories` share.

The matrix of a block is a product of sums of fixed matrices: for a rotation they have trigonometric weights in its
angle, for a channel one of its operators is drawn. What is fixed in between is multiplied in when the plan is made.
What the matrices act on, amplitudes or the Pauli coefficients of a density matrix, is the representation's business.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import reduce
from itertools import islice
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np
import torch
from torch import Tensor

from torchbp.backends.angles import AngleMap
from torchbp.backends.base import COMPLEX
from torchbp.backends.channels import WIDEST, Channel
from torchbp.backends.noise import NoiseModel
from torchbp.circuits import Circuit
from torchbp.circuits.circuit import Elementary
from torchbp.circuits.operations import Matrix

Step = Elementary | Channel

MOST_OPERATORS = 256
"""Channels in a row make one as long as it has no more operators than this."""


@dataclass(eq=False)
class Block:
    """Steps on few wires, in order; `wires` are the axes of its matrix, the most significant first."""

    wires: tuple[int, ...]
    steps: list[Step]


def fuse(circuit: Circuit, noise: NoiseModel) -> list[Block]:
    """The circuit, with the noise after each gate, in blocks of two wires; larger gates make larger blocks.

    A step joins the block that all its wires were last touched by. Else it begins a new block, which takes in those
    blocks before it that fit, since nothing has happened on their wires in between.
    """
    blocks: list[Block] = []
    last: dict[int, Block] = {}
    elementary = iter(circuit.elementary)
    for operation in circuit.operations:
        steps: list[Step] = [*islice(elementary, len(operation.expand())), *noise.channels(operation)]
        for step in steps:
            before: list[Block] = list(dict.fromkeys(last[w] for w in step.wires if w in last))
            limit = WIDEST if isinstance(step, Channel) else 2
            if len(before) == 1 and set(step.wires) <= set(before[0].wires) and len(before[0].wires) <= limit:
                before[0].steps.append(step)
                continue
            new = Block(step.wires, [])
            for block in before:
                wires = tuple(dict.fromkeys((*new.wires, *block.wires)))
                if len(wires) <= 2 and all(last[w] is block for w in block.wires):
                    blocks.remove(block)
                    new = Block(wires, new.steps + block.steps)
            new.steps.append(step)
            blocks.append(new)
            last |= dict.fromkeys(new.wires, new)
    return blocks


def amplitudes(step: Step) -> Matrix:
    """A step's matrices on amplitudes, (K, 2^k, 2^k) complex.

    One if it is fixed; constant, cosine and sine of a rotation; the operators of a channel, each divided by the square
    root of the probability that it is drawn with (see `odds`).
    """
    if isinstance(step, Channel):
        return step.kraus / np.sqrt(odds(step))[:, None, None]
    if step.angle is None:
        assert step.matrix is not None
        return step.matrix[None]
    form = step.gate.rotation(len(step.wires))
    return np.stack([form.constant, form.cosine, form.sine])


def odds(channel: Channel) -> np.ndarray:
    """(K,) probabilities Tr(K_k^dagger K_k) / d: exact for mixtures of unitaries, else those of a mixed state."""
    return (np.abs(channel.kraus) ** 2).sum((1, 2)) / channel.kraus.shape[1]


class NoisyPlan:
    """The blocks of one circuit under one noise model, for one dtype and device.

    Args:
        circuit, noise: what is executed.
        represent: from a step to its matrices, as `amplitudes` does; a rotation may also have five, which go with
            1, cos, sin, cos^2 and cos sin. Blocks of more than four wires are on amplitudes always.
        base: size of a wire's axis in this representation, 2 for amplitudes.
        like: a real tensor of the dtype and device.
    """

    def __init__(
        self,
        circuit: Circuit,
        noise: NoiseModel,
        represent: Callable[[Step], Matrix],
        base: int,
        like: Tensor,
    ) -> None:
        row_of = {s: row for row, s in enumerate(s for s in circuit.elementary if s.angle is not None)}
        self.blocks: list[tuple[tuple[int, ...], range]] = []
        self._fixed: dict[int, Tensor] = {}
        self._drawn: dict[int, tuple[Tensor, Tensor]] = {}
        groups: dict[tuple[str, tuple[int, ...]], list[tuple[int, Elementary, Matrix]]] = {}
        slot = 0
        for block in fuse(circuit, noise):
            wide, first = len(block.wires) > WIDEST, slot
            for step, matrices, chances in _factors(block, amplitudes if wide else represent, 2 if wide else base):
                if len(matrices) == 1:
                    self._fixed[slot] = _tensor(matrices, like)
                elif isinstance(step, Channel):
                    self._drawn[slot] = torch.as_tensor(chances), _tensor(matrices, like)
                else:
                    assert step.angle is not None
                    groups.setdefault((step.angle.kind, matrices.shape), []).append((slot, step, matrices))
                slot += 1
            self.blocks.append((block.wires, range(first, slot)))
        sizes = {"weight": circuit.n_weights, "feature": circuit.n_features}
        self._rotations = [_Rotations(kind, sizes[kind], group, row_of, like) for (kind, _), group in groups.items()]

    def angles(self, x: Tensor, weights: Tensor) -> list[Tensor]:
        """Of the rotations of each group, (B, S) or (1, S)."""
        return [r.angles(weights if r.kind == "weight" else x) for r in self._rotations]

    def rows(self, angles: Tensor) -> list[Tensor]:
        """The same from the angles (N, R) of all rotations in `circuit.elementary`, constant ones too."""
        return [angles.index_select(1, r.rows) for r in self._rotations]

    def matrices(
        self, angles: list[Tensor], draw: Callable[[Tensor, Tensor], Tensor] | None = None
    ) -> Iterator[tuple[tuple[int, ...], Tensor]]:
        """Wires and matrix (..., D, D) of each block.

        Args:
            angles: as above.
            draw: from a channel's odds (K,) and operators (K, D, D) to those that happen, (T, B, D, D).
        """
        made = dict(self._fixed)
        for rotations, own in zip(self._rotations, angles, strict=True):
            made |= zip(rotations.slots, rotations.matrices(own).unbind(0), strict=True)
        for wires, slots in self.blocks:
            factors = []
            for slot in slots:
                if slot in self._drawn:
                    assert draw is not None
                    factors.append(draw(*self._drawn[slot]))
                else:
                    factors.append(made[slot])
            yield wires, reduce(lambda done, factor: factor @ done, factors)


class Plans:
    """Makes the plan of a circuit where it is first needed, and keeps it as long as the circuit lives."""

    def __init__(self, noise: NoiseModel, represent: Callable[[Step], Matrix], base: int) -> None:
        self._made_of = noise, represent, base
        self._plans: WeakKeyDictionary[Circuit, dict[Any, NoisyPlan]] = WeakKeyDictionary()

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), self._made_of

    def __call__(self, circuit: Circuit, like: Tensor) -> NoisyPlan:
        """The plan for the dtype and device of `like`."""
        plans = self._plans.setdefault(circuit, {})
        key = like.dtype, like.device
        if key not in plans:
            with torch.inference_mode(False):  # a plan made while validating serves training too
                plans[key] = NoisyPlan(circuit, *self._made_of, like)
        return plans[key]


class _Rotations:
    """Rotations that read the same source, with matrices of one size: built together."""

    def __init__(
        self,
        kind: str,
        size: int,
        members: Sequence[tuple[int, Elementary, Matrix]],
        row_of: dict[Elementary, int],
        like: Tensor,
    ) -> None:
        slots, steps, matrices = zip(*members, strict=True)
        self.kind, self.slots = kind, slots
        self.rows = torch.tensor([row_of[step] for step in steps], device=like.device)
        self.angles_of = AngleMap([step.angle for step in steps], size)
        self.angles_of(torch.zeros(size, dtype=like.dtype, device=like.device))  # moves its constants there
        scales = [step.gate.rotation(len(step.wires)).frequency for step in steps]
        self._frequencies = torch.tensor(scales, dtype=like.dtype, device=like.device)
        self._bases = _tensor(np.stack(matrices), like)

    def angles(self, source: Tensor) -> Tensor:
        """(P,), (B, P) or (B, F) → (1, S) or (B, S)."""
        return self.angles_of(source).reshape(-1, len(self.slots))

    def matrices(self, angles: Tensor) -> Tensor:
        """(b, S) angles → (S, b, D, D)."""
        phases = angles * self._frequencies
        c, s = torch.cos(phases), torch.sin(phases)
        terms = [torch.ones_like(c), c, s, c * c, c * s][: self._bases.shape[1]]
        weights = torch.stack(terms, dim=-1).transpose(0, 1).to(self._bases.dtype)
        return (weights @ self._bases.flatten(2)).unflatten(-1, self._bases.shape[2:])


def act(
    state: Tensor, order: tuple[int, ...], wires: tuple[int, ...], matrix: Tensor
) -> tuple[Tensor, tuple[int, ...]]:
    """Apply a matrix (..., D, D) to some wires of states (..., base^n) whose wires stand in `order`.

    Returns:
        The states, and the order of their wires now: moving them back each time would double the cost.
    """
    now = (*wires, *(w for w in order if w not in wires))
    front = permuted(state, order, now).unflatten(-1, (matrix.shape[-1], -1))
    return (matrix @ front).flatten(-2), now


def permuted(state: Tensor, order: tuple[int, ...], wanted: tuple[int, ...]) -> Tensor:
    """States (..., base^n) with their wires in another order."""
    if order == wanted:
        return state
    lead, n = state.ndim - 1, len(order)
    base = round(state.shape[-1] ** (1 / n))
    axes = [lead + order.index(w) for w in wanted]
    return state.unflatten(-1, (base,) * n).permute(*range(lead), *axes).flatten(lead)


def each_wire(states: Tensor, matrices: Sequence[Tensor]) -> Tensor:
    """Apply one matrix (D', D) to each wire of states (..., D^n), the first wire the most significant."""
    for matrix in matrices:
        states = (states.unflatten(-1, (matrix.shape[1], -1)).transpose(-1, -2) @ matrix.T).flatten(-2)
    return states


def _factors(block: Block, represent: Callable[[Step], Matrix], base: int) -> list[tuple[Step, Matrix, np.ndarray]]:
    """The block as a product, first factor first: step, matrices, and the odds of each where they are drawn.

    What is fixed is multiplied into the factor before or after it, and channels in a row make one.
    """
    factors: list[tuple[Step, Matrix, np.ndarray]] = []
    for step in block.steps:
        positions = [block.wires.index(w) for w in step.wires]
        matrices = _embedded(represent(_settled(step)), positions, len(block.wires), base)
        chances = odds(step) if isinstance(step, Channel) and len(matrices) > 1 else np.ones(1)
        if factors:
            before, earlier, first = factors[-1]
            drawn = isinstance(step, Channel) and isinstance(before, Channel)
            if 1 in (len(matrices), len(earlier)) or (drawn and len(matrices) * len(earlier) <= MOST_OPERATORS):
                factors.pop()
                step = before if len(matrices) == 1 else step
                matrices = (matrices[:, None] @ earlier).reshape(-1, *matrices.shape[1:])
                chances = np.outer(chances, first).ravel()
        factors.append((step, matrices, chances))
    return factors


def _settled(step: Step) -> Step:
    """A rotation by a constant angle is a fixed gate."""
    if isinstance(step, Channel) or step.angle is None or step.angle.kind != "constant":
        return step
    return Elementary(step.gate, step.wires, matrix=step.gate.rotation(len(step.wires)).matrix(step.angle.offset))


def _embedded(matrices: Matrix, positions: Sequence[int], n_wires: int, base: int) -> Matrix:
    """(K, base^k, base^k) matrices on some of n wires → (K, base^n, base^n)."""
    rest = [w for w in range(n_wires) if w not in positions]
    identity = np.eye(base ** len(rest), dtype=matrices.dtype)
    order = np.argsort([*positions, *rest])
    full = np.stack([np.kron(matrix, identity) for matrix in matrices]).reshape(-1, *(base,) * (2 * n_wires))
    return full.transpose(0, *(order + 1), *(order + n_wires + 1)).reshape(-1, base**n_wires, base**n_wires)


def _tensor(matrices: Matrix, like: Tensor) -> Tensor:
    dtype = COMPLEX[like.dtype] if np.iscomplexobj(matrices) else like.dtype
    return torch.as_tensor(np.ascontiguousarray(matrices), device=like.device).to(dtype)
