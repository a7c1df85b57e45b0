"""Circuits as a machine executes them: measured, transpiled once with their parameters, folded for more noise."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from torchbp.circuits import Circuit, Operation
from torchbp.circuits.grouping import MeasurementGroup
from torchbp.hardware.program import Pub
from torchbp.translation.packages import need
from torchbp.translation.qiskit.gates import append
from torchbp.translation.qiskit.state_preparation import append_preparation, n_angles


@dataclass(frozen=True, eq=False)
class IsaCircuit:
    """A transpiled circuit that reads one measurement group.

    Attributes:
        circuit: a `QuantumCircuit` in the machine's own gates, on its qubits.
        parameters: names of its parameters.
        columns: of each parameter, its column among all angles: those of the rotations, then of the preparation.
        qubits: the machine's qubit that each classical bit reads.
    """

    circuit: Any
    parameters: tuple[str, ...]
    columns: np.ndarray
    qubits: tuple[int, ...]

    def pub(self, angles: np.ndarray, shots: int | None) -> Pub:
        """The circuit at angles (N, S + A)."""
        return Pub(self.circuit, self.parameters, np.ascontiguousarray(angles[:, self.columns]), shots)

    def folded(self, scale: int) -> IsaCircuit:
        """Each two-qubit gate G becomes G (G^-1 G)^k with 2k + 1 = scale: the same unitary, `scale` times the noise.

        Local folding (Giurgica-Tiron 2020, 2005.10921), of the gates that make nearly all of the noise.
        """
        if scale == 1:
            return self
        out = self.circuit.copy_empty_like()
        for item in self.circuit.data:
            out.append(item)
            if len(item.qubits) == 2 and not item.clbits and hasattr(item.operation, "inverse"):
                if item.operation.name == "barrier":
                    continue
                for _ in range(scale // 2):
                    out.append(item.operation.inverse(), item.qubits)
                    out.append(item)
        return IsaCircuit(out, self.parameters, self.columns, self.qubits)


def measured_circuit(circuit: Circuit, group: MeasurementGroup, prepared: bool) -> Any:
    """The circuit with a parameter t[s] for each rotation that is no constant, read in the basis of the group.

    Args:
        circuit: its rotations are numbered as in `circuit.elementary`.
        group: its wires are the classical bits, in order.
        prepared: whether it starts from real amplitudes, with parameters a[k] for their preparation.
    """
    qiskit, vector = need("qiskit"), need("qiskit.circuit").ParameterVector
    n, library = circuit.n_wires, need("qiskit.circuit.library")
    out = qiskit.QuantumCircuit(
        qiskit.QuantumRegister(n, "q"), qiskit.ClassicalRegister(len(group.wires), "meas"), name="torchbp"
    )
    t = vector("t", sum(step.angle is not None for step in circuit.elementary))
    if prepared:
        append_preparation(out, vector("a", n_angles(n)))
    slots = iter(t)
    for operation in circuit.operations:
        if not operation.parameters:
            append(out, operation)
            continue
        for step in operation.expand():
            assert step.angle is not None
            slot = next(slots)
            angle = step.angle.offset if step.angle.kind == "constant" else slot
            append(out, Operation(step.gate, step.wires, (step.angle,)), [angle])
    for bit, (wire, letter) in enumerate(group.basis):
        if letter == "Y":
            out.append(library.SdgGate(), [wire])
        if letter != "Z":
            out.append(library.HGate(), [wire])
        out.measure(wire, bit)
    return out


def transpiled(circuit: Any, pass_manager: Any, n_rotations: int) -> IsaCircuit:
    """The circuit in the gates of the machine that the pass manager is for."""
    isa = pass_manager.run(circuit)
    parameters = list(isa.parameters)
    offset = {"t": 0, "a": n_rotations}
    columns = [offset[p.vector.name] + p.index for p in parameters]
    qubits = [0] * isa.num_clbits
    for item in isa.data:
        if item.operation.name == "measure":
            qubits[isa.find_bit(item.clbits[0]).index] = isa.find_bit(item.qubits[0]).index
    return IsaCircuit(isa, tuple(p.name for p in parameters), np.array(columns, dtype=np.int64), tuple(qubits))


def basis_states(qubits: Sequence[int], n_qubits: int, pass_manager: Any) -> list[Any]:
    """Two circuits for readout errors: |0...0> and |1...1> on these qubits of the machine, read in this order."""
    qiskit = need("qiskit")
    circuits = []
    for flip in (False, True):
        out = qiskit.QuantumCircuit(
            qiskit.QuantumRegister(n_qubits, "q"), qiskit.ClassicalRegister(len(qubits), "meas"), name="readout"
        )
        for bit, qubit in enumerate(qubits):
            if flip:
                out.x(qubit)
            out.measure(qubit, bit)
        circuits.append(pass_manager.run(out))
    return circuits
