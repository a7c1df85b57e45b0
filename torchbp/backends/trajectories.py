"""Noisy simulation by sampling: state vectors that suffer random errors, averaged.

In each trajectory one Kraus operator of each channel acts, K_k / sqrt(q_k) with probability q_k, and the mean of
<psi|O|psi> over trajectories estimates Tr(rho O). The q_k are fixed before anything is simulated. For mixtures of
unitaries, depolarizing and phase damping, they are the true probabilities and every state stays normalized. For
amplitude damping they are those of a maximally mixed qubit: the estimate is unbiased all the same, because the norm
of each state makes up for it (ostensible probabilities; Wiseman 1996, Quantum Semiclass. Opt. 8, 205), and since no
probability depends on an angle, so is its gradient.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from torchbp.arguments import checked, whole_number
from torchbp.arguments.kinds import a
from torchbp.backends.base import COMPLEX, check_capacity
from torchbp.backends.noise import NoiseModel
from torchbp.backends.noisy import NoisyBackend
from torchbp.backends.noisy_blocks import act, amplitudes, each_wire, permuted
from torchbp.circuits import Circuit, PauliSum
from torchbp.circuits.grouping import MeasurementGroup, group_qubit_wise
from torchbp.errors import BackendError

_TO_Z = {"X": np.array([[1, 1], [1, -1]]) / np.sqrt(2), "Y": np.array([[1, -1j], [1, 1j]]) / np.sqrt(2)}


class TrajectoryBackend(NoisyBackend):
    """Unbiased estimates of expectation values under a noise model, and of their gradients.

    Their variance falls as 1 / n_trajectories and is no measure of the noise itself. Amplitude damping raises it:
    the mean square of <psi|psi> reaches up to the product of 1 / (1 - rate / 2) over all gates and wires. With many
    strongly damped gates take `DensityMatrixBackend`, which is exact. Every call draws anew, the samples of a batch
    independently. Memory grows as n_trajectories times batch times 2^n, with gradients times the number of gates.

    Args:
        noise: what happens after each gate and at readout.
        n_trajectories: for each sample of the batch, at least 1.
        generator: source of the errors; torch's global one if left out.

    Raises:
        InputError: n_trajectories is no whole number from 1 on.
    """

    name = "trajectories"

    @checked(noise=a(NoiseModel, write="NoiseModel(depolarizing_2q=0.01)"))
    def __init__(self, noise: NoiseModel, n_trajectories: int = 100, generator: torch.Generator | None = None) -> None:
        whole_number("n_trajectories", n_trajectories, 1)
        super().__init__(noise, amplitudes, 2)
        self.n_trajectories, self.generator = n_trajectories, generator

    def expectations(
        self,
        circuit: Circuit,
        observables: Sequence[PauliSum],
        x: Tensor,
        weights: Tensor,
        initial_state: Tensor | None = None,
    ) -> Tensor:
        """Estimates of Tr(rho O_m) as the noisy readout shows it, (B, M), see `Backend`."""
        psi = self._evolve(circuit, x, weights, initial_state)
        grouping = group_qubit_wise(observables)
        total = weights.new_tensor(grouping.constants).expand(len(x), -1)
        walsh = weights.new_tensor([[1.0, 1.0], [1.0, -1.0]])
        for group, coefficients in zip(grouping.groups, grouping.coefficients, strict=True):
            means = each_wire(self._outcomes(circuit, psi, group), [walsh] * len(group.wires))
            place = {wire: 1 << i for i, wire in enumerate(reversed(group.wires))}
            index = torch.tensor([sum(place[w] for w, _ in string) for string in group.strings], device=x.device)
            total = total + means.index_select(1, index) @ weights.new_tensor(coefficients).T
        return total

    def states(self, circuit: Circuit, x: Tensor, weights: Tensor, initial_state: Tensor | None = None) -> Tensor:
        """Not to be had.

        Raises:
            BackendError: always.
        """
        raise BackendError(
            "Under noise there is no state vector, only a mixture of trajectories: "
            "DensityMatrixBackend.density_matrices gives rho for few wires, and a backend without noise "
            '("torchquantum") gives states.'
        )

    def numbers(self, n_wires: int) -> int:
        """How many numbers one circuit's simulation holds."""
        return self.n_trajectories << n_wires

    def _run(self, circuit: Circuit, angles: list[Tensor], start: Tensor | None, batch: int, like: Tensor) -> Tensor:
        n, plan, size = circuit.n_wires, self._plan(circuit, like), (self.n_trajectories, batch)
        kept = len(plan.blocks) if torch.is_grad_enabled() else 0
        check_capacity(n, self.n_trajectories * batch, like.dtype, copies=4 + kept)

        def draw(odds: Tensor, operators: Tensor) -> Tensor:
            source = odds if self.generator is None else odds.to(self.generator.device)
            index = torch.multinomial(source, size[0] * size[1], replacement=True, generator=self.generator)
            return operators.index_select(0, index.to(operators.device)).unflatten(0, size)

        wires_in_order = order = tuple(range(n))
        if start is None:
            start = torch.zeros(1, 2**n, dtype=COMPLEX[like.dtype], device=like.device)
            start[0, 0] = 1
        psi = start[None]
        for wires, matrix in plan.matrices(angles, draw):
            psi, order = act(psi, order, wires, matrix)
        return permuted(psi, order, wires_in_order).expand(*size, -1)

    def _outcomes(self, circuit: Circuit, psi: Tensor, group: MeasurementGroup) -> Tensor:
        """(B, 2^m) estimates in the dtype of the states; with amplitude damping they add up to 1 in the mean only."""
        order = tuple(range(circuit.n_wires))
        for wire, letter in group.basis:
            if letter != "Z":
                psi, order = act(psi, order, (wire,), psi.new_tensor(_TO_Z[letter]))
        unread = tuple(w for w in order if w not in group.wires)
        mean = permuted((psi.real.square() + psi.imag.square()).mean(0), order, (*group.wires, *unread))
        read = mean.unflatten(-1, (2 ** len(group.wires), -1)).sum(-1)
        if self.noise.reads_perfectly:
            return read
        return each_wire(read, [read.new_tensor(self.noise.confusion(wire).T) for wire in group.wires])
