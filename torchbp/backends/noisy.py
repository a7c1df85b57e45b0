"""What simulations under a noise model share: from the angles of a circuit to what is read on its wires."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import Any

from torch import Tensor

from torchbp.backends.base import initial_states
from torchbp.backends.noise import NoiseModel
from torchbp.backends.noisy_blocks import Plans, Step
from torchbp.circuits import Circuit
from torchbp.circuits.grouping import MeasurementGroup
from torchbp.circuits.operations import Matrix


class NoisyBackend(ABC):
    """A representation of noisy states, of whatever kind, that blocks of gates and channels act on.

    Args:
        noise: what happens after each gate and at readout.
        matrices: those of a step in this representation, see `noisy_blocks.amplitudes`.
        base: how many numbers a wire takes in it.
    """

    def __init__(self, noise: NoiseModel, matrices: Callable[[Step], Matrix], base: int) -> None:
        self.noise = noise
        self._plan = Plans(noise, matrices, base)

    def probabilities(
        self,
        circuit: Circuit,
        x: Tensor,
        weights: Tensor,
        initial_state: Tensor | None,
        group: MeasurementGroup,
    ) -> Tensor:
        """(B, 2^m) probabilities of what is read on the m wires of a measurement group, float64."""
        return self._outcomes(circuit, self._evolve(circuit, x, weights, initial_state), group).double()

    def outcome_probabilities(
        self,
        circuit: Circuit,
        angles: Tensor,
        initial_state: Tensor | None,
        groups: Sequence[MeasurementGroup],
    ) -> list[Tensor]:
        """`probabilities` for each group, from the angles (N, R) of the R rotations in `circuit.elementary`.

        Shifting single rotations, as the parameter-shift rule does, leaves the gates and so the noise as they are.
        """
        states = self._run(circuit, self._plan(circuit, angles).rows(angles), initial_state, len(angles), angles)
        return [self._outcomes(circuit, states, group).double() for group in groups]

    def _evolve(self, circuit: Circuit, x: Tensor, weights: Tensor, initial_state: Tensor | None) -> Any:
        """The final states."""
        start = initial_states(circuit, x, initial_state)
        return self._run(circuit, self._plan(circuit, weights).angles(x, weights), start, len(x), weights)

    @abstractmethod
    def _run(self, circuit: Circuit, angles: list[Tensor], start: Tensor | None, batch: int, like: Tensor) -> Tensor:
        """The final states, from the angles of each block."""

    @abstractmethod
    def _outcomes(self, circuit: Circuit, states: Tensor, group: MeasurementGroup) -> Tensor:
        """(B, 2^m) probabilities of what is read."""
