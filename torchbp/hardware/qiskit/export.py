"""`to_qiskit`: a circuit, or a trained layer, as a Qiskit circuit with its observables and what it takes to bind it.

Qubit i is wire i. Qiskit writes qubit 0 rightmost in labels and takes it as the least significant bit of an index, so
its matrices and labels are those of torchbp with the wires reversed; the observables are built from qubit indices.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import groupby
from operator import itemgetter
from typing import Any

import numpy as np
import torch
from torch import Tensor

from torchbp.arguments import checked
from torchbp.arguments.kinds import anything
from torchbp.circuits import Circuit, Parameter, PauliSum, given
from torchbp.circuits.observables import as_observables
from torchbp.errors import CircuitError, InputError
from torchbp.layer import QuantumLayer
from torchbp.translation.packages import need
from torchbp.translation.qiskit.gates import BOUND_BY_AER, append
from torchbp.translation.qiskit.notes import FORMAT, METADATA, fingerprint
from torchbp.translation.qiskit.state_preparation import append_preparation, n_angles, n_gates, preparation_angles


@dataclass(frozen=True, eq=False)
class QiskitExport:
    """A circuit in Qiskit, and how its parameters are bound.

    A plain array of parameter values follows `circuit.parameters`, which is sorted by name: bind by name, as `pub`,
    `bindings` and `bound` do. Aer 0.18's own primitives leave out the parameters of controlled rotations in `circuit`
    and give wrong values; `pub` has a circuit for which they don't.

    Attributes:
        circuit: the `QuantumCircuit`, without measurements; its metadata holds all that follows, too.
        observables: a `SparsePauliOp` for each output column.
        features: `ParameterVector` (F,), named prefix + "x".
        weights: `ParameterVector` (P,), named prefix + "w".
        preparation: `ParameterVector` of the 2^n - 1 angles that prepare encoded amplitudes, named prefix + "a"; they
            are functions of the features, which `bindings` computes. Empty without amplitude encoding.
        n_amplitudes: features that are amplitudes.
        values: (P,) the layer's weights, or None for a bare circuit.
    """

    circuit: Any
    observables: list[Any]
    features: Any
    weights: Any
    preparation: Any
    n_amplitudes: int
    values: np.ndarray | None

    def pub(self, x: Tensor | None = None, weights: Tensor | None = None, circuit: Any = None) -> Any:
        """What any EstimatorV2 takes: (circuit, observables, parameter values), for values `evs` of shape (B, M).

        Controlled rotations are taken apart: Aer 0.18 leaves out their parameters when it binds them, silently.

        Args:
            x, weights: as in `bindings`.
            circuit: this circuit, transpiled: the observables follow its layout.

        Raises:
            InputError: shapes don't fit, there are no weights, or nothing is measured.
        """
        if not self.observables:
            raise InputError("There are no observables to estimate: give observables= to to_qiskit, or a layer.")
        target = self.circuit if circuit is None else circuit
        layout = getattr(target, "layout", None)
        measured = [o if layout is None else o.apply_layout(layout) for o in self.observables]
        while apart := {i.operation.name for i in target.data if i.operation.params and _left_out(i.operation)}:
            target = target.decompose(gates_to_decompose=list(apart))
        return target, measured, self.bindings(x, weights).reshape((-1, 1))

    def bindings(self, x: Tensor | None = None, weights: Tensor | None = None) -> Any:
        """Values for a batch as a `BindingsArray` of shape (B,), for a pub of a Sampler; of an Estimator, see `pub`.

        Args:
            x: features (B, F); may be left out where F is 0, and B is then 1.
            weights: (P,), the layer's if left out.

        Raises:
            InputError: shapes don't fit, or there are no weights.
        """
        named, count = self._named(x, weights)
        data = {tuple(named): np.stack(list(named.values()), axis=1)} if named else {}
        return need("qiskit.primitives.containers").BindingsArray(data, shape=(count,))

    def bound(self, x: Tensor | None = None, weights: Tensor | None = None) -> Any:
        """The circuit for one sample x (F,) or (1, F), with numbers in place of all parameters; as in `bindings`."""
        named, count = self._named(x if x is None else torch.atleast_2d(x), weights)
        if count != 1:
            raise InputError(
                f"A circuit without parameters is of one sample: x must have shape (F,), got {count} samples."
            )
        values = {p: float(named[p.name][0]) for p in self.circuit.parameters}
        return self.circuit.assign_parameters(values, inplace=False)

    def _named(self, x: Tensor | None, weights: Tensor | None) -> tuple[dict[str, np.ndarray], int]:
        """(B,) values of each parameter that the circuit has, and B."""
        rows = self._rows(x)
        values = self.values if weights is None else weights.detach().cpu().double().numpy()
        if values is None or values.shape != (len(self.weights),):
            got = "none" if values is None else f"weights of shape {values.shape}"
            raise InputError(f"The circuit has {len(self.weights)} weights, got {got}: give weights=.")
        named = dict(zip((p.name for p in self.features), rows.T, strict=True))
        named |= {p.name: np.full(len(rows), value) for p, value in zip(self.weights, values, strict=True)}
        if len(self.preparation):
            angles = preparation_angles(padded(rows[:, : self.n_amplitudes], self.circuit.num_qubits))
            named |= dict(zip((p.name for p in self.preparation), angles.T, strict=True))
        used = {p.name for p in self.circuit.parameters}
        return {name: column for name, column in named.items() if name in used}, len(rows)

    def _rows(self, x: Tensor | None) -> np.ndarray:
        count = len(self.features)
        if x is None and count == 0:
            return np.empty((1, 0))
        if not isinstance(x, Tensor) or x.ndim != 2 or x.shape[1] != count:
            got = "nothing" if x is None else str(tuple(x.shape)) if isinstance(x, Tensor) else type(x).__name__
            raise InputError(f"The circuit reads {count} features: x must have shape (batch, {count}), got {got}.")
        return x.detach().cpu().double().numpy()


@checked(source=anything, observables=given.observables)
def to_qiskit(
    source: QuantumLayer | Circuit,
    observables: PauliSum | str | Iterable[PauliSum | str] | None = None,
    *,
    prefix: str = "",
) -> QiskitExport:
    """A torchbp circuit in Qiskit: the same gates on the same wires, parameters for features and weights.

    Gates that Qiskit does not have become products of gates it has, equal up to a global phase. Amplitude encoding
    becomes 2^n - 1 rotations and 2^n - 2 CNOTs.

    Args:
        source: a layer, with its observables and weights, or a circuit.
        observables: of a circuit, as for `QuantumLayer`; none if left out.
        prefix: before the names of the parameter vectors "x" and "w", so that several layers fit into one program.

    Raises:
        CircuitError: neither a layer nor a circuit, or observables given for a layer or that don't fit.
        MissingDependencyError: Qiskit is not installed.

    Example:
        >>> values = StatevectorEstimator().run([to_qiskit(layer).pub(x)]).result()[0].data.evs  # (B, M)
    """
    values: np.ndarray | None = None
    if isinstance(source, QuantumLayer):
        if observables is not None:
            raise CircuitError("A layer has its own observables: leave observables= out, or give layer.circuit.")
        circuit, sums = source.circuit, source.observables
        values = source.weights.detach().cpu().double().numpy()
    elif isinstance(source, Circuit):
        circuit = source
        sums = () if observables is None else as_observables(observables, circuit.n_wires)
    else:
        raise CircuitError(f"to_qiskit takes a QuantumLayer or a Circuit, got {type(source).__name__}.")
    vector = need("qiskit.circuit").ParameterVector
    x, w = vector(f"{prefix}x", circuit.n_features), vector(f"{prefix}w", circuit.n_weights)
    a = vector(f"{prefix}a", n_angles(circuit.n_wires) if circuit.n_amplitudes else 0)
    out = need("qiskit").QuantumCircuit(circuit.n_wires, name=f"{prefix}torchbp")
    if circuit.n_amplitudes:
        append_preparation(out, a)
    lengths = []
    for operation in circuit.operations:
        before = len(out.data)
        append(out, operation, [_expression(p, x, w) for p in operation.parameters])
        lengths.append((operation.layer, len(out.data) - before))
    out.metadata = {
        METADATA: {
            "format": FORMAT,
            "fingerprint": fingerprint(out),
            "parameters": [p.name for p in out.parameters],
            "features": [p.name for p in x],
            "weights": [p.name for p in w],
            "preparation": [p.name for p in a],
            "preparation_gates": n_gates(circuit.n_wires) if circuit.n_amplitudes else 0,
            "n_amplitudes": circuit.n_amplitudes,
            "layers": _layer_names(circuit),
            "gates_in_layers": [[layer, sum(n for _, n in run)] for layer, run in groupby(lengths, itemgetter(0))],
            "observables": [{text(string): c for string, c in o.terms} for o in sums],
            "values": None if values is None else values.tolist(),
        }
    }
    return QiskitExport(out, [sparse_pauli_op(o, circuit.n_wires) for o in sums], x, w, a, circuit.n_amplitudes, values)


def sparse_pauli_op(observable: PauliSum, n_wires: int) -> Any:
    """The observable as a `SparsePauliOp` on n_wires qubits, qubit i for wire i."""
    terms = [
        ("".join(letter for _, letter in string), [wire for wire, _ in string], coefficient)
        for string, coefficient in observable.terms
    ]
    return need("qiskit.quantum_info").SparsePauliOp.from_sparse_list(terms, num_qubits=n_wires)


def text(string: Sequence[tuple[int, str]]) -> str:
    """A Pauli string as `PauliSum` reads it."""
    return " ".join(f"{letter}{wire}" for wire, letter in string) or "I"


def padded(amplitudes: np.ndarray, n_wires: int) -> np.ndarray:
    """(B, k) → (B, 2^n).

    Raises:
        InputError: a row is zero everywhere.
    """
    if not np.abs(amplitudes).max(axis=1, initial=0.0).all():
        raise InputError("Amplitude encoding can't encode a sample whose features are all zero: it has no direction.")
    return np.pad(amplitudes, ((0, 0), (0, 2**n_wires - amplitudes.shape[1])))


def _left_out(operation: Any) -> bool:
    """Whether it has parameters that Aer would not bind."""
    return operation.name not in BOUND_BY_AER and any(getattr(p, "parameters", ()) for p in operation.params)


def _layer_names(circuit: Circuit) -> list[str]:
    """Of the layers that have gates; `Operation.layer` is an index into them."""
    marked = 1 + max((op.layer for op in circuit.operations if op.layer is not None), default=-1)
    return [layer.name for layer in circuit.layers[:marked]]


def _expression(parameter: Parameter, x: Any, w: Any) -> Any:
    """An angle as a number or a ParameterExpression."""
    if parameter.kind == "constant":
        return parameter.offset
    vector = w if parameter.kind == "weight" else x
    product = vector[parameter.indices[0]]
    for i in parameter.indices[1:]:
        product = product * vector[i]
    if parameter.scale != 1:
        product = product * parameter.scale
    return product + parameter.offset if parameter.offset else product
