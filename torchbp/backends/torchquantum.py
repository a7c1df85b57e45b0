"""The reference backend: TorchQuantum's own gates, applied one after another."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from torchbp._torchquantum import QuantumDevice, apply_unitary_bmm, func_name_dict
from torchbp.backends.base import initial_states
from torchbp.circuits import Circuit, Operation, Parameter, PauliSum
from torchbp.circuits.circuit import Elementary
from torchbp.circuits.operations import PAULIS
from torchbp.errors import BackendError

# Functions of TorchQuantum 0.1.8 that raise, or fail for a batch of angles. Their gates are applied as the elementary
# matrices of the gate table, through TorchQuantum's matrix product.
_BROKEN = frozenset(
    ("ch", "cp", "cu", "cu2", "cu3", "rc3x", "rccx", "singleexcitation", "toffoli", "u2", "xxminyy", "xxplusyy")
)


class TorchQuantumBackend:
    """Eager gate-by-gate simulation in complex64, TorchQuantum's only precision."""

    name = "torchquantum"

    def states(self, circuit: Circuit, x: Tensor, weights: Tensor, initial_state: Tensor | None = None) -> Tensor:
        """Final states (B, 2^n), see `Backend`."""
        if weights.dtype != torch.float32:
            raise BackendError(
                f"TorchQuantum computes in float32 only, and this layer is in {weights.dtype}: "
                'use backend="fused" for double precision, or layer.float().'
            )
        device = QuantumDevice(n_wires=circuit.n_wires, bsz=len(x), device=x.device)
        start = initial_states(circuit, x, initial_state)
        if start is not None:
            device.set_states(start)
        for operation in circuit.operations:
            _apply(device, operation, x, weights)
        return device.get_states_1d()

    def expectations(
        self,
        circuit: Circuit,
        observables: Sequence[PauliSum],
        x: Tensor,
        weights: Tensor,
        initial_state: Tensor | None = None,
    ) -> Tensor:
        """Expectation values (B, M), see `Backend`."""
        states = self.states(circuit, x, weights, initial_state)
        return expectations_of(states, circuit.n_wires, observables)


def expectations_of(states: Tensor, n_wires: int, observables: Sequence[PauliSum]) -> Tensor:
    """<psi|O|psi> of (B, 2^n) states, shape (B, M): each Pauli string applied letter by letter."""
    psi = states.reshape(-1, *[2] * n_wires)
    columns = []
    for observable in observables:
        total = states.real.new_zeros(len(states))
        for string, coefficient in observable.terms:
            image = psi
            for wire, letter in string:
                image = apply_unitary_bmm(image, torch.as_tensor(PAULIS[letter], device=states.device), [wire])
            total = total + coefficient * (psi.conj() * image).real.flatten(1).sum(1)
        columns.append(total)
    return torch.stack(columns, dim=1)


def _apply(device: QuantumDevice, operation: Operation, x: Tensor, weights: Tensor) -> None:
    wires = list(operation.wires)
    name = operation.gate.name
    if name in _BROKEN or name not in func_name_dict or operation.unitary is not None:
        for step in operation.expand():
            device.states = apply_unitary_bmm(device.states, _matrix(step, x, weights), list(step.wires))
        return
    angles = [_angle(p, x, weights) for p in operation.parameters]
    params = torch.stack(torch.broadcast_tensors(*angles), dim=-1) if angles else None
    count = {} if operation.gate.n_wires else {"n_wires": len(wires)}
    func_name_dict[name](device, wires=wires, params=params, inverse=operation.inverse, **count)


def _angle(parameter: Parameter, x: Tensor, weights: Tensor) -> Tensor:
    """The angle, shape (B,) where it differs by sample and (1,) where it is shared."""
    if parameter.kind == "constant":
        return weights.new_full((1,), parameter.offset)
    if parameter.kind == "weight":
        source = weights[..., parameter.indices[0]].reshape(-1)
    else:
        source = x[:, list(parameter.indices)].prod(dim=1)
    return source * parameter.scale + parameter.offset


def _matrix(step: Elementary, x: Tensor, weights: Tensor) -> Tensor:
    """The elementary gate's matrix, (2^k, 2^k) or (B, 2^k, 2^k)."""
    if step.angle is None:
        return torch.as_tensor(step.matrix, dtype=torch.complex64, device=x.device)
    form = step.gate.rotation(len(step.wires))
    constant, cosine, sine = (
        torch.as_tensor(m, dtype=torch.complex64, device=x.device) for m in (form.constant, form.cosine, form.sine)
    )
    phase = (_angle(step.angle, x, weights) * form.frequency)[:, None, None]
    matrix = constant + torch.cos(phase) * cosine + torch.sin(phase) * sine
    return matrix[0] if len(matrix) == 1 else matrix
