"""Exact noisy simulation: the density matrix, as the vector of its Pauli coefficients.

r_P = Tr(P rho) for each of the 4^n Pauli strings P is a real vector, half the memory of rho. Gates and channels act on
it as real matrices, R_ij = Tr(P_i E(P_j)) / 2^k, the Pauli transfer matrices (Greenbaum 2015, 1509.02921), and the
expectation value of P is its entry at P.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor

from torchbp.arguments import checked
from torchbp.arguments.kinds import a
from torchbp.backends.base import COMPLEX, check_capacity
from torchbp.backends.channels import WIDEST, Channel
from torchbp.backends.noise import NoiseModel
from torchbp.backends.noisy import NoisyBackend
from torchbp.backends.noisy_blocks import Step, act, amplitudes, each_wire, permuted
from torchbp.circuits import Circuit, PauliSum
from torchbp.circuits.grouping import MeasurementGroup
from torchbp.circuits.observables import PauliString
from torchbp.circuits.operations import PAULIS, Matrix, kron
from torchbp.errors import BackendError, CapacityError

_LETTERS = "IXYZ"


class DensityMatrixBackend(NoisyBackend):
    """Exact expectation values under a noise model, differentiable in features, weights and initial states.

    Time and memory grow as 4^n, as for twice the wires without noise; `TrajectoryBackend` reaches further. In the
    precision of the weights, on their device.

    Args:
        noise: what happens after each gate and at readout; nothing if left out.
    """

    name = "density"

    @checked(noise=a(NoiseModel, write="NoiseModel(depolarizing_2q=0.01)"))
    def __init__(self, noise: NoiseModel | None = None) -> None:
        super().__init__(NoiseModel() if noise is None else noise, _transfer, 4)

    def expectations(
        self,
        circuit: Circuit,
        observables: Sequence[PauliSum],
        x: Tensor,
        weights: Tensor,
        initial_state: Tensor | None = None,
    ) -> Tensor:
        """Tr(rho O_m) as the noisy readout shows it, (B, M), see `Backend`.

        Misreading wire w turns each Pauli letter on it, X and Y too since it happens after the change of basis, into
        b P + a 1 with b = 1 - P(1|0) - P(0|1) and a = P(0|1) - P(1|0).
        """
        read = self._read(circuit, self._evolve(circuit, x, weights, initial_state))
        strings = list(dict.fromkeys(string for o in observables for string, _ in o.terms))
        index = torch.tensor([_index(string, circuit.n_wires) for string in strings], device=read.device)
        terms = [dict(o.terms) for o in observables]
        coefficients = read.new_tensor([[t.get(string, 0.0) for t in terms] for string in strings])
        return read.index_select(1, index) @ coefficients

    def states(self, circuit: Circuit, x: Tensor, weights: Tensor, initial_state: Tensor | None = None) -> Tensor:
        """Not to be had.

        Raises:
            BackendError: always.
        """
        raise BackendError(
            "Under noise there is no state vector: DensityMatrixBackend.density_matrices gives (B, 2^n, 2^n), and a "
            'backend without noise ("torchquantum") gives states.'
        )

    def density_matrices(
        self, circuit: Circuit, x: Tensor, weights: Tensor, initial_state: Tensor | None = None
    ) -> Tensor:
        """The final rho, before readout, (B, 2^n, 2^n) complex; arguments as in `expectations`."""
        return _to_density(self._evolve(circuit, x, weights, initial_state), circuit.n_wires)

    def numbers(self, n_wires: int) -> int:
        """How many numbers one circuit's simulation holds."""
        return 4**n_wires

    def _run(self, circuit: Circuit, angles: list[Tensor], start: Tensor | None, batch: int, like: Tensor) -> Tensor:
        n, plan = circuit.n_wires, self._plan(circuit, like)
        kept = len(plan.blocks) if torch.is_grad_enabled() else 0
        try:  # the coefficients are real, so half of what complex amplitudes take
            check_capacity(2 * n, batch, like.dtype, copies=2 + kept // 2)
        except CapacityError as error:
            raise CapacityError(
                f"A density matrix of {n} wires is as large as a state of {2 * n}. {error} TrajectoryBackend takes the "
                "memory of states."
            ) from error
        order = tuple(range(n))
        r = _ground(n, like) if start is None else _to_pauli(start[:, :, None] * start[:, None, :].conj(), n)
        for wires, matrix in plan.matrices(angles):
            if len(wires) <= WIDEST:
                r, order = act(r, order, wires, matrix)
            else:
                r, order = _conjugated(permuted(r, order, tuple(range(n))), n, wires, matrix), tuple(range(n))
        return permuted(r, order, tuple(range(n))).expand(batch, -1)

    def _read(self, circuit: Circuit, r: Tensor) -> Tensor:
        """Pauli coefficients as the misreading of every measured wire makes them appear."""
        if self.noise.reads_perfectly:
            return r
        maps = []
        for wire in range(circuit.n_wires):
            (_, one), (zero, _) = self.noise.confusion(wire)
            appears = np.diag([1.0, *[1 - one - zero] * 3])
            appears[1:, 0] = zero - one
            maps.append(r.new_tensor(appears))
        return each_wire(r, maps)

    def _outcomes(self, circuit: Circuit, r: Tensor, group: MeasurementGroup) -> Tensor:
        n, letters = circuit.n_wires, dict(group.basis)
        table = self._read(circuit, r).double().unflatten(-1, (4,) * n)
        for wire in range(n):
            kept = [0, _LETTERS.index(letters[wire])] if wire in letters else [0]
            table = table.index_select(wire + 1, torch.tensor(kept, device=r.device))
        halves = r.new_tensor([[0.5, 0.5], [0.5, -0.5]], dtype=torch.float64)
        return each_wire(table.flatten(1), [halves] * len(letters)).clamp(min=0)


@lru_cache(maxsize=WIDEST)
def _paulis(n_wires: int) -> Matrix:
    """(4^k, 4^k): row P holds the entries of P^* in row-major order, so that _paulis @ vec(rho) is Tr(P rho)."""
    one = np.stack([PAULIS[letter].conj().ravel() for letter in _LETTERS])
    if n_wires == 1:
        return one
    axes = kron(*[one] * n_wires).reshape(4**n_wires, *(2,) * (2 * n_wires))
    rows, columns = range(1, 2 * n_wires, 2), range(2, 2 * n_wires + 1, 2)
    return axes.transpose(0, *rows, *columns).reshape(4**n_wires, -1)


def _transfer(step: Step) -> Matrix:
    """The Pauli transfer matrices of a step, see `noisy_blocks.amplitudes`; five of a rotation."""
    paulis = _paulis(len(step.wires))

    def pair(left: Matrix, right: Matrix) -> Matrix:
        """rho -> sum_k (left_k rho right_k^dagger + right_k rho left_k^dagger) / 2 of (K, 2^k, 2^k) matrices."""
        one = np.einsum("kab,kcd->acbd", left, right.conj()).reshape(paulis.shape)
        transfer: Matrix = (paulis @ one @ paulis.conj().T).real / left.shape[1]  # the other half takes the real part
        return transfer

    matrices = step.kraus if isinstance(step, Channel) else amplitudes(step)
    if isinstance(step, Channel) or step.angle is None:
        return pair(matrices, matrices)[None]
    a, c, s = matrices[:, None]
    square = pair(s, s)  # sin^2 = 1 - cos^2
    return np.stack([pair(a, a) + square, 2 * pair(a, c), 2 * pair(a, s), pair(c, c) - square, 2 * pair(c, s)])


def _ground(n_wires: int, like: Tensor) -> Tensor:
    """|0...0>: 1 for each string of I and Z. (1, 4^n)."""
    one = like.new_tensor([1.0, 0.0, 0.0, 1.0])
    out = one
    for _ in range(n_wires - 1):
        out = torch.outer(out, one).flatten()
    return out[None]


def _to_pauli(rho: Tensor, n_wires: int) -> Tensor:
    """(B, 2^n, 2^n) density matrices → (B, 4^n) real Pauli coefficients."""
    pairs = [axis for wire in range(n_wires) for axis in (1 + wire, 1 + n_wires + wire)]
    entries = rho.flatten(1).unflatten(1, (2,) * (2 * n_wires)).permute(0, *pairs).flatten(1)
    change = torch.as_tensor(_paulis(1), device=rho.device).to(rho.dtype)
    return each_wire(entries, [change] * n_wires).real


def _to_density(r: Tensor, n_wires: int) -> Tensor:
    """(B, 4^n) → (B, 2^n, 2^n): rho = sum_P r_P P / 2^n."""
    dtype = COMPLEX[r.dtype]
    change = torch.as_tensor(_paulis(1).conj().T / 2, device=r.device).to(dtype)
    entries = each_wire(r.to(dtype), [change] * n_wires).unflatten(1, (2,) * (2 * n_wires))
    rows, columns = range(1, 2 * n_wires, 2), range(2, 2 * n_wires + 1, 2)
    return entries.permute(0, *rows, *columns).reshape(-1, 2**n_wires, 2**n_wires)


def _conjugated(r: Tensor, n_wires: int, wires: tuple[int, ...], unitary: Tensor) -> Tensor:
    """U rho U^dagger for a gate on many wires, whose transfer matrix would be too large."""
    both = tuple(range(2 * n_wires))
    rho, order = act(_to_density(r, n_wires).flatten(1), both, wires, unitary)
    rho, order = act(rho, order, tuple(w + n_wires for w in wires), unitary.conj())
    return _to_pauli(permuted(rho, order, both).unflatten(1, (2**n_wires, -1)), n_wires)


def _index(string: PauliString, n_wires: int) -> int:
    """The position of a Pauli string's coefficient."""
    return sum(_LETTERS.index(letter) * 4 ** (n_wires - 1 - wire) for wire, letter in string)
