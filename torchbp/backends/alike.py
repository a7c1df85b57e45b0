"""Final states of many circuits that are alike: the same gates, whose angles differ in few of the circuits.

The circuits of the parameter-shift rule are such: each turns one rotation by other than the rest. A gate whose angle
nearly all share is applied to all at once, as a matrix of its own, which a backend fuses with its neighbours; the few
that differ are then turned by the difference. A gate with an angle for each circuit, all as in features, would cost
several times as much.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from torchbp.backends.base import COMPLEX, Backend
from torchbp.circuits import Circuit, feature, weight
from torchbp.circuits.circuit import Elementary
from torchbp.circuits.operations import Rotation

MOST_WIRES = 4
"""Of a rotation that some circuits turn differently: they take a dense matrix each."""

SHARED = 4
"""An angle is shared if it differs in at most one circuit of so many."""


@dataclass(frozen=True)
class Segment:
    """Gates up to the next one that acts on a wire of a rotation that some circuits may turn differently.

    Such rotations commute with all that follows them in the segment, so the difference can be made up for at its end.

    Attributes:
        circuit: shared angles are its weights, the others its features.
        shared, own: the slots these are taken from, a slot being the number of a rotation among all.
        rotations: slot, rotation and wires of each shared angle.
    """

    circuit: Circuit
    shared: tuple[int, ...]
    own: tuple[int, ...]
    rotations: tuple[tuple[int, Rotation, tuple[int, ...]], ...]


class Alike:
    """Simulates many circuits with the gates of one; what depends on the gates alone is kept."""

    def __init__(self, circuit: Circuit) -> None:
        self.circuit = circuit
        self._plans: dict[tuple[tuple[bool, ...], bool], list[Segment]] = {}

    def states(self, backend: Backend, angles: Tensor, start: Tensor | None) -> Tensor:
        """(N, 2^n): the final states.

        Args:
            backend: applies the gates; needs `Backend.states`.
            angles: (N, S) of all rotations in the circuit.
            start: (N, 2^n) initial states, or None for |0...0>.
        """
        n, steps = self.circuit.n_wires, self.circuit.elementary
        common = angles.median(0).values  # one of the values that are there, and the one that most have
        differs = angles != common
        few = SHARED * differs.sum(0) <= len(angles)
        small = few.new_tensor([len(step.wires) <= MOST_WIRES for step in steps if step.angle is not None])
        shared = few & (small | ~differs.any(0))
        apart = bool((differs & shared).any())
        states = start
        for segment in self._plan(tuple(shared.tolist()), apart):
            states = backend.states(segment.circuit, angles[:, list(segment.own)], common[list(segment.shared)], states)
            states = states.contiguous()  # equal ones may be one in memory
            for slot, rotation, wires in segment.rotations if apart else ():
                rows = differs[:, slot].nonzero()[:, 0]
                if len(rows):
                    delta = angles[rows, slot] - common[slot]
                    states.index_copy_(0, rows, _turn(states[rows], rotation, delta, wires, n))
        if states is None:  # a circuit without gates
            states = torch.zeros(len(angles), 2**n, dtype=COMPLEX[angles.dtype], device=angles.device)
            states[:, 0] = 1
        return states

    def __reduce__(self) -> tuple[type, tuple[Circuit]]:
        return type(self), (self.circuit,)

    def _plan(self, shared: tuple[bool, ...], apart: bool) -> list[Segment]:
        if (shared, apart) not in self._plans:
            self._plans[shared, apart] = _segments(self.circuit.n_wires, self.circuit.elementary, shared, apart)
        return self._plans[shared, apart]


def _segments(n_wires: int, steps: Sequence[Elementary], shared: Sequence[bool], apart: bool) -> list[Segment]:
    parts: list[list[tuple[Elementary, int]]] = [[]]
    turned: set[int] = set()  # wires of the shared rotations in the present part
    slot = 0
    for step in steps:
        if apart and turned & set(step.wires):
            parts.append([])
            turned = set()
        parts[-1].append((step, slot))
        if step.angle is not None:
            turned |= set(step.wires) if shared[slot] else set()
            slot += 1
    return [_segment(n_wires, part, shared) for part in parts if part]


def _segment(n_wires: int, part: Sequence[tuple[Elementary, int]], shared: Sequence[bool]) -> Segment:
    circuit = Circuit(n_wires)
    together: list[int] = []
    own: list[int] = []
    rotations: list[tuple[int, Rotation, tuple[int, ...]]] = []
    for step, slot in part:
        if step.angle is None:
            circuit.append("qubitunitary", step.wires, unitary=step.matrix)
        elif shared[slot]:
            circuit.append(step.gate.name, step.wires, weight())
            together.append(slot)
            rotations.append((slot, step.gate.rotation(len(step.wires)), tuple(step.wires)))
        else:
            circuit.append(step.gate.name, step.wires, feature(len(own)))
            own.append(slot)
    return Segment(circuit.freeze(), tuple(together), tuple(own), tuple(rotations))


def _turn(states: Tensor, rotation: Rotation, angles: Tensor, wires: Sequence[int], n_wires: int) -> Tensor:
    """Each of the states (N, 2^n) turned by its own angle (N,)."""
    phases = (rotation.frequency * angles).to(states)[:, None, None]
    constant, cosine, sine = (
        torch.as_tensor(m, dtype=states.dtype, device=states.device)
        for m in (rotation.constant, rotation.cosine, rotation.sine)
    )
    matrices = constant + phases.cos() * cosine + phases.sin() * sine
    places, front = [wire + 1 for wire in wires], list(range(1, len(wires) + 1))
    psi = states.view(-1, *[2] * n_wires).movedim(places, front)
    shape = psi.shape
    return (matrices @ psi.reshape(len(states), 2 ** len(wires), -1)).view(shape).movedim(front, places).flatten(1)
