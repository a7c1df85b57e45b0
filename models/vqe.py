"""`VQE`: the ground state of a Hamiltonian, by minimizing the energy of an ansatz."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cached_property
from typing import Any

import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.linalg import eigsh
from torch import Tensor

from torchbp.arguments import checked, whole_number
from torchbp.arguments.kinds import anything
from torchbp.circuits import Circuit, PauliSum, given, hardware_efficient
from torchbp.errors import CapacityError, CircuitError
from torchbp.models.energy import EnergyModule

Ansatz = Callable[[int, int], Circuit]

# A sparse Hamiltonian of this many wires diagonalizes within a minute.
_MOST_WIRES = 16


class VQE(EnergyModule):
    """Variational quantum eigensolver (Peruzzo 2014, 1304.3061): min over w of <psi(w)| H |psi(w)>.

    The minimum over an ansatz is an upper bound of the ground energy; how close it comes, `energy_error` says.

    Args:
        hamiltonian: any PauliSum, or the terms of one.
        ansatz: a circuit without features, or a function `(n_wires, depth) -> Circuit`.
        n_wires: those that the Hamiltonian acts on, unless given; not for a circuit, which has its own.
        depth: of the ansatz; not for a circuit.
        reference: log `energy_error` too, the exact energy above the exact ground energy, at every step. It costs a
            simulation per step, no shots, and a diagonalization at the start.
        options: `shots`, `noise`, `backend`, `init`, `generator`, `optimizer`, `learning_rate`, `steps_per_epoch`;
            see `EnergyModule`.

    Raises:
        CircuitError: the ansatz is no circuit, reads features, or does not fit the Hamiltonian.
        CapacityError: `reference` with more than 16 wires.

    Example:
        >>> model = VQE(tfim(6), depth=4, shots=1000, learning_rate=0.1)
        >>> L.Trainer(max_steps=300, callbacks=[GradientSNRMonitor()]).fit(model)
        >>> model.exact_energy(), model.ground_energy
    """

    @checked(hamiltonian=given.observable, ansatz=anything)
    def __init__(
        self,
        hamiltonian: PauliSum | Mapping[str, float] | str,
        ansatz: Circuit | Ansatz = hardware_efficient,
        n_wires: int | None = None,
        depth: int = 2,
        *,
        reference: bool = False,
        **options: Any,
    ) -> None:
        energy = hamiltonian if isinstance(hamiltonian, PauliSum) else PauliSum(hamiltonian)
        circuit = _circuit(ansatz, energy, n_wires, depth)
        super().__init__(circuit, energy, **options)
        self.reference = reference
        self.remember(options, hamiltonian=_terms(energy), n_wires=circuit.n_wires, depth=depth, reference=reference)
        if reference:
            self.ground_energy  # noqa: B018  computed here, so that too many wires fail here

    @cached_property
    def ground_energy(self) -> float:
        """The smallest eigenvalue of H on the circuit's wires, by sparse diagonalization.

        Raises:
            CapacityError: more than 16 wires.
        """
        return ground_energy(self.hamiltonian, self.quantum.n_wires)

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        energy = super().training_step(batch, batch_idx)
        if self.reference:
            self.log("energy_error", self.exact_energy() - self.ground_energy, prog_bar=True, batch_size=1)
        return energy


def _terms(hamiltonian: PauliSum) -> dict[str, float]:
    """What PauliSum is made from."""
    return {" ".join(f"{letter}{wire}" for wire, letter in string) or "I": c for string, c in hamiltonian.terms}


def ground_energy(hamiltonian: PauliSum, n_wires: int) -> float:
    """The smallest eigenvalue of a Hamiltonian on `n_wires` wires, at most 16.

    Raises:
        CircuitError: a term acts on a wire that is not there.
        CapacityError: more than 16 wires.
    """
    hamiltonian.check_fits(n_wires)
    if n_wires > _MOST_WIRES:
        raise CapacityError(
            f"The exact ground energy is for at most {_MOST_WIRES} wires, got {n_wires}: compare with a known value."
        )
    if n_wires < 3:  # too small for Lanczos
        return float(np.linalg.eigvalsh(hamiltonian.matrix(n_wires))[0])
    start = np.random.default_rng(0).normal(size=2**n_wires)
    return float(eigsh(_sparse(hamiltonian, n_wires), k=1, which="SA", v0=start, return_eigenvectors=False)[0])


def _sparse(hamiltonian: PauliSum, n_wires: int) -> coo_array:
    """A Pauli string is a permutation with phases: X and Y flip bits, Z and Y give signs."""
    columns = np.arange(2**n_wires)
    rows, values = [], []
    for string, coefficient in hamiltonian.terms:
        flips, phase = 0, np.full(2**n_wires, coefficient, dtype=complex)
        for wire, letter in string:
            sign = 1 - 2 * ((columns >> (n_wires - 1 - wire)) & 1)
            flips |= (letter != "Z") << (n_wires - 1 - wire)
            phase *= {"X": 1, "Y": 1j * sign, "Z": sign}[letter]
        rows.append(columns ^ flips)
        values.append(phase)
    shape = 2**n_wires, 2**n_wires
    return coo_array((np.concatenate(values), (np.concatenate(rows), np.tile(columns, len(rows)))), shape).tocsr()


def _circuit(ansatz: object, hamiltonian: PauliSum, n_wires: int | None, depth: int) -> Circuit:
    built = ansatz
    if isinstance(ansatz, Circuit):
        if n_wires not in (None, ansatz.n_wires):
            raise CircuitError(f"The ansatz has {ansatz.n_wires} wires, n_wires={n_wires} was given: leave it out.")
    elif callable(ansatz):
        size = hamiltonian.wires[-1] + 1 if n_wires is None and hamiltonian.wires else n_wires
        built = ansatz(whole_number("n_wires", size, 1), depth)
    if not isinstance(built, Circuit):
        raise CircuitError(
            f"The ansatz is a Circuit or a function (n_wires, depth) -> Circuit, got {type(built).__name__}."
        )
    if built.n_features:
        raise CircuitError(f"An ansatz has no features, this one reads {built.n_features}: take weights instead.")
    return built
