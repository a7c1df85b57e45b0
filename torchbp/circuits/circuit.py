"""`Circuit`: a list of gates on numbered wires, with named layers of trainable weights. Data, no simulation."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from torchbp.arguments import checked
from torchbp.arguments.kinds import at_most
from torchbp.circuits.operations import Gate, Matrix, gate
from torchbp.circuits.parameters import Parameter, as_parameter
from torchbp.errors import CircuitError


@dataclass(frozen=True, eq=False)
class Operation:
    """A gate on wires, with its parameters; `layer` is the index of the circuit layer it belongs to, if any."""

    gate: Gate
    wires: tuple[int, ...]
    parameters: tuple[Parameter, ...] = ()
    inverse: bool = False
    layer: int | None = None
    unitary: Matrix | None = None

    def expand(self) -> tuple[Elementary, ...]:
        """The operation as elementary gates: a composite gate's factors, an inverse worked in."""
        row = self.gate
        if row.generator is not None:
            return (Elementary(row, self.wires, -self.parameters[0] if self.inverse else self.parameters[0]),)
        if row.factors is None:
            matrix = row.matrix(n_wires=len(self.wires)) if self.unitary is None else self.unitary
            return (Elementary(row, self.wires, matrix=matrix.conj().T if self.inverse else matrix),)
        steps = []
        for name, local, offset, coefficients in row.factors:
            angle = _combine(offset, coefficients, self.parameters)
            steps.append(Elementary(gate(name), tuple(self.wires[i] for i in local), -angle if self.inverse else angle))
        return tuple(steps[::-1] if self.inverse else steps)

    def __str__(self) -> str:
        angles = f"({', '.join(map(str, self.parameters))})" if self.parameters else ""
        return f"{self.gate.name}{angles}{'^-1' if self.inverse else ''} on {list(self.wires)}"


@dataclass(frozen=True, eq=False)
class Elementary:
    """What a backend executes: a fixed unitary (`angle` is None), or a rotation by `angle`.

    An inverse has been worked in already: the matrix is the adjoint, the angle has its sign.
    """

    gate: Gate
    wires: tuple[int, ...]
    angle: Parameter | None = None
    matrix: Matrix | None = None


@dataclass(frozen=True)
class Layer:
    """A named group of weights: their indices into the flat weight vector."""

    name: str
    weights: tuple[int, ...]


@dataclass(frozen=True)
class WeightUse:
    """One gate that a weight turns, and the layer it stands in (None outside of all layers)."""

    gate: str
    wires: tuple[int, ...]
    layer: int | None


class Circuit:
    """A parameterized quantum circuit.

    Build it gate by gate with `append`, or take an ansatz; compose circuits with `+` and repeat one with `*`.
    Composition numbers weights anew (the operands share none), and shares features: feature 0 is x[:, 0] on
    both sides. A circuit that a layer uses is frozen and can't be changed any more.

    Args:
        n_wires: number of wires (qubits); wire 0 is the most significant.

    Raises:
        CircuitError: fewer than one wire.

    Example:
        >>> circuit = Circuit(n_wires=2)
        >>> circuit.append("ry", 0, feature(0)).append("rx", 0, weight()).append("cnot", (0, 1))
        Circuit(2 wires, 3 operations, 1 feature, 1 weight in 1 layer)
    """

    @checked(n_wires=at_most(10_000))
    def __init__(self, n_wires: int) -> None:
        if isinstance(n_wires, bool) or not isinstance(n_wires, int | np.integer) or n_wires < 1:
            raise CircuitError(f"A circuit needs a whole number of wires, at least 1; got n_wires={n_wires!r}.")
        self.n_wires = int(n_wires)
        self.n_weights = 0
        self.n_amplitudes = 0
        self._operations: list[Operation] = []
        self._layer_names: list[str] = []
        self._tokens: dict[object, int] = {}
        self._frozen = False

    @classmethod
    def of(
        cls,
        n_wires: int,
        operations: Iterable[Operation],
        layers: Sequence[str] = (),
        n_weights: int = 0,
        n_amplitudes: int = 0,
    ) -> Circuit:
        """A circuit of operations whose weights and layers have their indices already.

        Args:
            n_wires: number of wires.
            operations: in the order they are applied.
            layers: names, which the operations' `layer` is an index into.
            n_weights: number of weights, used or not.
            n_amplitudes: features that the initial state encodes, as in `encode_amplitudes`.

        Raises:
            CircuitError: wires, angles, weights or layers do not fit.
        """
        out = cls(n_wires)
        if n_amplitudes:
            out.encode_amplitudes(n_amplitudes)
        out.n_weights, out._layer_names = n_weights, list(layers)
        for op in operations:
            _check_counts(op.gate, out._check_wires(op.gate.name, op.wires), op.parameters)
            used = [p.indices[0] for p in op.parameters if p.kind == "weight"]
            if not all(0 <= i < n_weights for i in used) or (op.layer is not None and op.layer >= len(layers)):
                raise CircuitError(
                    f"{op} uses weights {used} and layer {op.layer}; the circuit has {n_weights} weights and "
                    f"{len(layers)} layers."
                )
            out._operations.append(op)
        return out

    def append(
        self,
        name: str,
        wires: int | Iterable[int],
        *parameters: Parameter | float,
        inverse: bool = False,
        unitary: Matrix | None = None,
    ) -> Circuit:
        """Append a gate of the gate table, or any `unitary` under the name "qubitunitary".

        Args:
            name: the gate's name, as in TorchQuantum ("rx", "cnot", "rzz", "u3", ...).
            wires: the wire or wires it acts on; controls first.
            parameters: its angles in radians: numbers, `feature(i)` or `weight()`.
            inverse: append the inverse gate.
            unitary: (2^k, 2^k) matrix for "qubitunitary".

        Returns:
            The circuit itself, so that calls chain.

        Raises:
            UnknownNameError: no such gate.
            CircuitError: the circuit is frozen, or wires, angles or the matrix do not fit.
        """
        self._check_open()
        row, on = _resolve(name, unitary), self._check_wires(name, wires)
        _check_counts(row, on, parameters)
        bound = [as_parameter(p) for p in parameters]
        matrix = None if unitary is None else _check_unitary(unitary, len(on))
        layer = len(self._layer_names) - 1 if self._layer_names else None
        angles = tuple(self._bind(p) for p in bound)
        self._operations.append(Operation(row, on, angles, bool(inverse), layer, matrix))
        self.__dict__.pop("elementary", None)
        return self

    def start_layer(self, name: str | None = None) -> Circuit:
        """Begin a new layer: the gates appended from here on belong to it."""
        self._check_open()
        self._layer_names.append(_next_name(name or "layer0", self._layer_names))
        return self

    def encode_amplitudes(self, n_features: int | None = None) -> Circuit:
        """Start from the state whose amplitudes are the first `n_features` features, normalized and zero-padded.

        Raises:
            CircuitError: gates stand before it, or there are more features than amplitudes (2^n).
        """
        self._check_open()
        size = 2**self.n_wires
        count = size if n_features is None else n_features
        if self._operations or self.n_amplitudes:
            raise CircuitError("Amplitude encoding sets the initial state: it must come before every gate.")
        if isinstance(count, bool) or not isinstance(count, int | np.integer) or not 1 <= count <= size:
            raise CircuitError(f"{self.n_wires} wires hold 1 to {size} amplitudes, got n_features={count!r}.")
        self.n_amplitudes = int(count)
        return self

    def freeze(self) -> Circuit:
        """Close the circuit against further changes."""
        self._frozen = True
        return self

    @property
    def operations(self) -> tuple[Operation, ...]:
        """The gates in the order they are applied."""
        return tuple(self._operations)

    @property
    def n_features(self) -> int:
        """Columns of x that the circuit reads: one more than the highest feature index."""
        used = [i for op in self._operations for p in op.parameters if p.kind == "feature" for i in p.indices]
        return max([self.n_amplitudes, *(i + 1 for i in used)])

    @property
    def layers(self) -> tuple[Layer, ...]:
        """The marked layers with the weights first used in each.

        Weights of gates outside all layers form one more group, "weights", so that every weight is in exactly one.
        """
        names = [*self._layer_names, _next_name("weights", self._layer_names)]
        groups: list[list[int]] = [[] for _ in names]
        seen: set[int] = set()
        for op in self._operations:
            for p in op.parameters:
                if p.kind == "weight" and p.indices[0] not in seen:
                    seen.add(p.indices[0])
                    groups[len(names) - 1 if op.layer is None else op.layer].append(p.indices[0])
        if not groups[-1]:
            names.pop(), groups.pop()
        return tuple(Layer(name, tuple(group)) for name, group in zip(names, groups, strict=True))

    def uses_of(self, weight: int) -> tuple[WeightUse, ...]:
        """The gates that the weight with this index turns."""
        if not 0 <= weight < self.n_weights:
            raise CircuitError(f"The circuit has weights 0 to {self.n_weights - 1}, got {weight}.")
        return tuple(
            WeightUse(op.gate.name, op.wires, op.layer)
            for op in self._operations
            if any(p.kind == "weight" and p.indices[0] == weight for p in op.parameters)
        )

    @cached_property
    def elementary(self) -> tuple[Elementary, ...]:
        """The circuit as fixed unitaries and one-angle rotations, composite gates expanded, inverses worked in."""
        return tuple(step for op in self._operations for step in op.expand())

    def inverse(self) -> Circuit:
        """The circuit that undoes this one, with the same weights in the same order."""
        if self.n_amplitudes:
            raise CircuitError("A circuit with amplitude encoding has no inverse: it sets the state.")
        out = self._copy()
        last = len(self._layer_names) - 1
        out._operations = [
            replace(op, inverse=not op.inverse, layer=None if op.layer is None else last - op.layer)
            for op in reversed(self._operations)
        ]
        out._layer_names = self._layer_names[::-1]
        return out

    def __add__(self, other: Circuit) -> Circuit:
        if not isinstance(other, Circuit):
            return NotImplemented
        if other.n_wires != self.n_wires:
            raise CircuitError(
                f"Circuits compose on the same wires, got {self.n_wires} and {other.n_wires} wires: "
                f"build both with the same n_wires."
            )
        if other.n_amplitudes:
            raise CircuitError("Amplitude encoding sets the initial state: it must be the first circuit of a sum.")
        out, shift, base = self._copy(), len(self._layer_names), self.n_weights
        for op in other._operations:
            moved = tuple(
                replace(p, indices=(p.indices[0] + base,)) if p.kind == "weight" else p for p in op.parameters
            )
            layer = None if op.layer is None else op.layer + shift
            out._operations.append(replace(op, parameters=moved, layer=layer))
        for name in other._layer_names:
            out._layer_names.append(_next_name(name, out._layer_names))
        out.n_weights += other.n_weights
        return out

    def __mul__(self, times: int) -> Circuit:
        if isinstance(times, bool) or not isinstance(times, int) or times < 1:
            raise CircuitError(f"A circuit is repeated a whole number of times, at least once; got {times!r}.")
        out = self._copy()
        for _ in range(times - 1):
            out = out + self
        return out

    def __len__(self) -> int:
        return len(self._operations)

    def __repr__(self) -> str:
        def count(number: int, noun: str) -> str:
            return f"{number} {noun}{'' if number == 1 else 's'}"

        parts = [
            count(self.n_wires, "wire"),
            count(len(self), "operation"),
            count(self.n_features, "feature"),
        ]
        parts.append(f"{count(self.n_weights, 'weight')} in {count(len(self.layers), 'layer')}")
        return f"Circuit({', '.join(parts)})"

    def __getstate__(self) -> dict[str, object]:
        state = {k: v for k, v in self.__dict__.items() if k != "elementary"}
        state["_operations"] = [
            replace(op, gate=op.gate.name, parameters=tuple(replace(p, token=None) for p in op.parameters))  # type: ignore[arg-type]
            for op in self._operations
        ]
        state["_tokens"] = {}
        return state

    def __setstate__(self, state: dict[str, object]) -> None:
        self.__dict__.update(state)
        self._operations = [replace(op, gate=_resolve(op.gate, op.unitary)) for op in self._operations]  # type: ignore[arg-type]

    def _copy(self) -> Circuit:
        """An open copy. It knows no weight objects any more: appending one again makes a new weight."""
        out = Circuit(self.n_wires)
        out.n_weights, out.n_amplitudes = self.n_weights, self.n_amplitudes
        out._operations, out._layer_names = list(self._operations), list(self._layer_names)
        return out

    def _bind(self, parameter: Parameter) -> Parameter:
        """Give a weight its index in this circuit."""
        if parameter.kind != "weight":
            return parameter
        if parameter.token not in self._tokens:
            self._tokens[parameter.token] = self.n_weights
            self.n_weights += 1
        return replace(parameter, indices=(self._tokens[parameter.token],))

    def _check_open(self) -> None:
        if self._frozen:
            raise CircuitError(
                "This circuit is frozen, since a layer uses it: build a new one (circuit + more gives a new circuit)."
            )

    def _check_wires(self, name: str, wires: int | Iterable[int]) -> tuple[int, ...]:
        on = tuple(wires) if isinstance(wires, Iterable) else (wires,)
        for wire in on:
            if isinstance(wire, bool) or not isinstance(wire, int | np.integer) or not 0 <= wire < self.n_wires:
                raise CircuitError(f"Gate {name!r} on wire {wire!r}: the circuit has wires 0 to {self.n_wires - 1}.")
        if not on or len(set(on)) != len(on):
            raise CircuitError(f"Gate {name!r} needs distinct wires, at least one; got {list(on)}.")
        return tuple(int(wire) for wire in on)


QUBIT_UNITARY = Gate("qubitunitary", None)


def _check_counts(row: Gate, wires: Sequence[int], parameters: Sequence[object]) -> None:
    if row.n_wires is not None and len(wires) != row.n_wires:
        raise CircuitError(f"Gate {row.name!r} acts on {row.n_wires} wires, got {len(wires)}: {list(wires)}.")
    if len(parameters) != row.n_params:
        raise CircuitError(f"Gate {row.name!r} takes {row.n_params} angles, got {len(parameters)}.")


def _resolve(name: str, unitary: Matrix | None) -> Gate:
    if name != QUBIT_UNITARY.name:
        if unitary is not None:
            raise CircuitError(f'A matrix goes with the gate "qubitunitary", not with {name!r}.')
        return gate(name)
    if unitary is None:
        raise CircuitError('The gate "qubitunitary" needs its matrix: append("qubitunitary", wires, unitary=...).')
    return QUBIT_UNITARY


def _check_unitary(unitary: object, n_wires: int) -> Matrix:
    matrix, size = np.array(unitary, dtype=complex), 2**n_wires
    if matrix.shape != (size, size):
        raise CircuitError(f"A unitary on {n_wires} wires has shape {(size, size)}, got {matrix.shape}.")
    if not np.allclose(matrix @ matrix.conj().T, np.eye(size), atol=1e-6):
        raise CircuitError("The matrix given is not unitary: U U^dagger differs from 1 by more than 1e-6.")
    return matrix


def _combine(offset: float, coefficients: Sequence[float], parameters: Sequence[Parameter]) -> Parameter:
    """offset + coefficient * parameter; every factor in the gate table uses at most one of the gate's angles."""
    for coefficient, parameter in zip(coefficients, parameters, strict=True):
        if coefficient:
            return parameter * coefficient + offset
    return as_parameter(offset)


def _next_name(name: str, taken: list[str]) -> str:
    """`name`, or the next free one of its series: layer0, layer1, ...; a user's "block" gives block, block1, ..."""
    stem = name.rstrip("0123456789")
    series = (f"{stem}{i}" for i in range(1, len(taken) + 2))
    return name if name not in taken else next(n for n in series if n not in taken)
