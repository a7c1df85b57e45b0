"""`from_qiskit`: a Qiskit circuit as a torchbp circuit. Wire i is qubit i.

A gate that the gate table has becomes that gate. Any other is replaced by its definition, and one without a definition
or parameters by its matrix. Global phases, barriers and final measurements are left out: they change no expectation
value.
"""

from __future__ import annotations

import ast
import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from functools import reduce
from typing import Any, cast

import numpy as np

from torchbp.arguments import checked
from torchbp.arguments.kinds import anything
from torchbp.circuits import Circuit, Operation, Parameter, constant
from torchbp.circuits.circuit import QUBIT_UNITARY
from torchbp.circuits.operations import GATES, Gate
from torchbp.errors import CircuitError
from torchbp.translation.assembly import turned
from torchbp.translation.packages import need
from torchbp.translation.qiskit.gates import torchbp_names
from torchbp.translation.qiskit.notes import IGNORED, METADATA, current_notes, fingerprint, foreign_notes
from torchbp.translation.qiskit.placement import Placement

# A product of symbols, by their positions, sorted.
Monomial = tuple[int, ...]


@checked(circuit=anything, features=anything)
def from_qiskit(circuit: Any, features: Any = None) -> Circuit:
    """A Qiskit circuit as a torchbp circuit, which a QuantumLayer trains.

    Each angle may be a number, or a parameter times and plus a number, or so a product of features. A circuit that
    `to_qiskit` made becomes what it was, with its layers and the order of its parameters; barriers, measurements and
    numbers in place of parameters may have come since. If its gates were changed, features stay features, all weights
    are in one layer, and a warning says so. Of any other circuit, the parameters are in the order of
    `circuit.parameters` (sorted by name, vectors by index), all of them in one layer "weights".

    A transpiled circuit has a layout, which is applied: wire i is qubit i of the circuit before, at both ends.

    Args:
        circuit: a `qiskit.QuantumCircuit`.
        features: the parameters that are features, in order: Parameters, names, or a ParameterVector. All others are
            weights. Left out: what `to_qiskit` wrote down, or none.

    Raises:
        CircuitError: no QuantumCircuit, an instruction that is no gate (a reset, a gate under a condition), a gate in
            the middle that is measured before, an angle of another form, a feature the circuit does not have, a layout
            that does not fit, or gates that encode amplitudes and were changed.

    Example:
        >>> layer = QuantumLayer(from_qiskit(zz_feature_map.compose(ansatz), features=zz_feature_map.parameters))
    """
    if not hasattr(circuit, "data") or not hasattr(circuit, "num_qubits"):
        raise CircuitError(f"from_qiskit takes a qiskit.QuantumCircuit, got {type(circuit).__name__}.")
    notes = (getattr(circuit, "metadata", None) or {}).get(METADATA) if features is None else None
    if notes is None:
        return circuit_of(circuit, foreign_notes(circuit, _feature_names(circuit, features)))
    return circuit_of(circuit, current_notes(circuit, notes, notes.get("fingerprint") == fingerprint(circuit)))


def circuit_of(circuit: Any, notes: Mapping[str, Any]) -> Circuit:
    """The circuit, with parameters, layers and amplitude encoding as the notes say (see `current_notes`)."""
    names = {name: Parameter("feature", (i,)) for i, name in enumerate(notes["features"])}
    names |= {name: Parameter("weight", (i,)) for i, name in enumerate(notes["weights"])}
    skipped = notes["preparation_gates"]
    layer_of = [layer for layer, count in notes["gates_in_layers"] for _ in range(count)]
    placement = Placement.of(circuit)
    operations: list[Operation] = []
    measured: set[int] = set()
    k = 0  # gates so far
    for item in circuit.data:
        qubits = [circuit.find_bit(q).index for q in item.qubits]
        if item.operation.name == "measure":
            measured.update(qubits)
        if item.operation.name in IGNORED:
            continue
        if not measured.isdisjoint(qubits):
            raise CircuitError(
                f"{item.operation.name!r} acts on qubits {qubits} after a measurement: only final ones go."
            )
        if k >= skipped:
            layer = layer_of[k - skipped] if layer_of else None
            wires = [cast(int, placement.wires[q]) for q in qubits]
            operations += [replace(op, layer=layer) for op in _operations(item.operation, wires, names)]
        k += 1
    operations += [Operation(GATES["swap"], pair) for pair in placement.swaps]
    return Circuit.of(placement.n_wires, operations, notes["layers"], len(notes["weights"]), notes["n_amplitudes"])


def _feature_names(circuit: Any, features: Any) -> list[str]:
    given = [] if features is None else [features] if isinstance(features, str) else list(features)
    chosen = [f if isinstance(f, str) else getattr(f, "name", f) for f in given]
    known = [p.name for p in circuit.parameters]
    for name in chosen:
        if name not in known:
            raise CircuitError(
                f"features= names {name!r}, and the circuit's parameters are: {', '.join(known) or 'none'}."
            )
    return chosen


def _operations(operation: Any, wires: Sequence[int], names: Mapping[str, Parameter]) -> Iterator[Operation]:
    """The operation in gates of the gate table."""
    if operation.name in IGNORED:
        return
    name, definition = _name(operation), getattr(operation, "definition", None)
    if name is not None:
        order = tuple(reversed(wires)) if name == "qft" else tuple(wires)
        yield from _turned(GATES[name], order, [angle_terms(p, names) for p in operation.params])
    elif isinstance(operation, need("qiskit.circuit.library").UnitaryGate):
        yield _matrix(operation.params[0], wires)
    elif definition is not None and not definition.num_clbits:
        for item in definition.data:
            on = [wires[definition.find_bit(q).index] for q in item.qubits]
            yield from _operations(item.operation, on, names)
    elif hasattr(operation, "__array__"):
        yield _matrix(np.asarray(operation), wires)
    else:
        raise CircuitError(
            f"{operation.name!r} on qubits {list(wires)} is no gate: torchbp runs circuits of gates, without resets, "
            "delays and conditions."
        )


def _name(operation: Any) -> str | None:
    """The gate's name in the gate table, where it is the same gate; its class says so, as files may define any name."""
    state, controls = getattr(operation, "ctrl_state", 0), getattr(operation, "num_ctrl_qubits", 0)
    if state != 2**controls - 1:
        return None
    kind = getattr(operation, "base_class", type(operation))
    if kind is need("qiskit.circuit.library").QFTGate:
        return "qft"
    return "multicnot" if kind.__name__ == "MCXGate" else torchbp_names().get(kind)


def _turned(gate: Gate, wires: tuple[int, ...], angles: Sequence[Sequence[Parameter]]) -> Iterator[Operation]:
    """The gate, of one angle less where one that is constant makes it another gate of the table."""
    if gate.name in ("xxplusyy", "xxminyy") and angles[1][0].kind == "constant":
        single = _SINGLE.get((gate.name, angles[1][0].offset))
        gate, angles = (GATES[single], angles[:1]) if single else (gate, angles)
    return turned(gate, wires, angles)


_SINGLE = {
    ("xxplusyy", 0.0): "xy",
    ("xxplusyy", -math.pi / 2): "singleexcitation",
    ("xxminyy", 0.0): "xyminus",
}


def _matrix(matrix: Any, wires: Sequence[int]) -> Operation:
    unitary = np.array(matrix, dtype=complex)
    return Operation(QUBIT_UNITARY, tuple(reversed(wires)), unitary=unitary)


def angle_terms(value: Any, names: Mapping[str, Parameter]) -> list[Parameter]:
    """A number or an expression as a sum of at least one angle, each scale * source (+ offset).

    Raises:
        CircuitError: it is no such sum.
    """
    symbols = sorted(getattr(value, "parameters", ()), key=lambda p: p.name)
    if not symbols:
        return [constant(float(value))]
    known = [names.get(p.name) for p in symbols]
    try:
        polynomial = _expand(value, symbols)
        offset = polynomial.pop((), 0.0)
        point = [0.7 + 0.3 * i for i in range(len(symbols))]
        total = offset + sum(c * math.prod(point[i] for i in m) for m, c in polynomial.items())
        there = float(value.bind(dict(zip(symbols, point, strict=True))))
        fits = math.isclose(there, total, rel_tol=1e-9, abs_tol=1e-9)
    except ValueError:
        fits = False
    terms: list[Parameter] = []
    for monomial, scale in polynomial.items() if fits else ():
        sources = [known[i] for i in monomial]
        kinds = {source.kind if source else None for source in sources}
        fits = fits and (kinds == {"feature"} or (kinds == {"weight"} and len(monomial) == 1))
        if fits and sources[0] is not None:
            indices = tuple(i for source in sources if source for i in source.indices)
            terms.append(Parameter(sources[0].kind, indices, scale, offset if not terms else 0.0))
    if not fits:
        raise CircuitError(
            f"The angle {value} has no place in a torchbp circuit: it may be a sum of numbers, weights, features and "
            "products of features (features= says which parameters are features), each times a number."
        )
    return terms or [constant(offset)]  # terms may cancel


def _expand(expression: Any, symbols: Sequence[Any]) -> dict[Monomial, float]:
    """A ParameterExpression as a polynomial in its symbols. Its text is Python's, numbers in full."""
    plain = need("qiskit.circuit").Parameter
    renamed = expression.subs({symbol: plain(f"s{i}") for i, symbol in enumerate(symbols)})
    return {m: c for m, c in _polynomial(ast.parse(str(renamed), mode="eval").body).items() if c}


def _polynomial(node: ast.expr) -> dict[Monomial, float]:
    """The coefficient of each monomial.

    Raises:
        ValueError: anything but sums and products of numbers and symbols.
    """
    match node:
        case ast.Constant(value=int() | float() as number):
            return {(): float(number)}
        case ast.Name(id=name):
            return {(int(name[1:]),): 1.0}
        case ast.UnaryOp(op=ast.USub(), operand=operand):
            return _times(_polynomial(operand), {(): -1.0})
        case ast.BinOp(left=left, op=ast.Add() | ast.Sub() as op, right=right):
            total, sign = _polynomial(left), 1.0 if isinstance(op, ast.Add) else -1.0
            for monomial, c in _polynomial(right).items():
                total[monomial] = total.get(monomial, 0.0) + sign * c
            return total
        case ast.BinOp(left=left, op=ast.Mult(), right=right):
            return _times(_polynomial(left), _polynomial(right))
        case ast.BinOp(left=left, op=ast.Div(), right=ast.Constant(value=int() | float() as divisor)):
            return _times(_polynomial(left), {(): 1 / divisor})
        case ast.BinOp(left=left, op=ast.Pow(), right=ast.Constant(value=int() | float() as power)):
            if power in range(1, 9):
                return reduce(_times, [_polynomial(left)] * int(power))
    raise ValueError("not a polynomial")


def _times(one: Mapping[Monomial, float], other: Mapping[Monomial, float]) -> dict[Monomial, float]:
    product: dict[Monomial, float] = {}
    for (m, c), (k, d) in itertools.product(one.items(), other.items()):
        monomial = tuple(sorted((*m, *k)))
        product[monomial] = product.get(monomial, 0.0) + c * d
    return product
