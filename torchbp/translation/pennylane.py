"""From a PennyLane QNode, or a `qml.qnn.TorchLayer`, to a Circuit.

The QNode's function is run twice, without being simulated, on parameters and features of distinct values
(`torchbp.translation.provenance`); each angle of each gate that it applies is traced back to what it was made of. What
depends on the values in another way than a circuit can differs between the two.
"""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Hashable, Iterable, Mapping, Sequence
from itertools import product
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from torchbp.circuits import PauliSum
from torchbp.errors import CircuitError, InputError, TorchBPError
from torchbp.translation.adapters.pennylane import shots_of_node
from torchbp.translation.assembly import Step, assemble, projector
from torchbp.translation.controls import Applied
from torchbp.translation.packages import need
from torchbp.translation.pennylane_gates import gates, pauli_strings, pauli_strings_of_matrix
from torchbp.translation.provenance import CLOSE, SAMPLES, Sources, alike, not_linear
from torchbp.translation.torchquantum import Translation

_MOST_PROBABILITIES = 8
"""Wires whose probabilities are columns: 2^k columns of 2^k Pauli strings each."""
_MOST_MATRIX = 8
"""Wires of an observable that is given by its matrix."""


def translate(layer: Any, weights: Mapping[str, Tensor], example: Tensor | None) -> tuple[Translation, nn.Module]:
    """The circuit of a TorchLayer or a QNode, and a module with its parameters.

    Args:
        weights: of a QNode, the values that its arguments but the features start from.

    Raises:
        CircuitError: something has no translation; names it.
        InputError: no such layer, or an example or weights are missing or don't fit.
    """
    node = getattr(layer, "qnode", layer)
    if not callable(getattr(node, "func", None)) or not hasattr(node, "device"):
        raise InputError(f"from_pennylane takes a qml.qnn.TorchLayer or a QNode, got {type(layer).__name__}.")
    argument = getattr(layer, "input_arg", "inputs")
    home = layer if node is not layer else _home(node, argument, weights)
    takes_features = argument in inspect.signature(node.func).parameters
    if takes_features and example is None:
        raise InputError(
            f"The QNode has an argument {argument!r}: pass example=, a batch of features (B, F), or one sample (F,) "
            "for a QNode that takes one at a time."
        )
    if example is not None and (example.ndim == 0 or example.is_complex()):
        raise InputError(f"The example must be real features (B, F) or (F,), got {tuple(example.shape)}.")
    n_features = example.shape[-1] if example is not None and takes_features else 0
    single = example is not None and example.ndim == 1
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of what PennyLane makes of tensors that are recorded
        first, second = (_Reading(node, home, argument, n_features, single, sign) for sign in (1, -1))
    first.check_same(second)
    circuit, sources = assemble(first.n_wires, first.steps, first.n_amplitudes)
    return Translation(circuit, first.observables, sources, n_features), home


def shots_of(layer: Any) -> int | None:
    """Shots of a TorchLayer's or a QNode's circuits, None for exact values."""
    return shots_of_node(getattr(layer, "qnode", layer))


def _home(node: Any, argument: str, weights: Mapping[str, Tensor]) -> nn.Module:
    """A module that holds the weights of a bare QNode as parameters."""
    home = nn.Module()
    for name, parameter in inspect.signature(node.func).parameters.items():
        if name != argument and name not in weights and parameter.default is parameter.empty:
            raise InputError(
                f"The QNode's argument {name!r} has no value: pass weights={{{name!r}: ...}}, what it starts from."
            )
    for name, value in weights.items():
        copied = nn.Parameter(torch.as_tensor(value).detach().clone())
        home.register_parameter(name, value if isinstance(value, nn.Parameter) else copied)
    return home


class _Reading:
    """One run of the QNode's function, read back into parameters and observables."""

    def __init__(self, node: Any, home: nn.Module, argument: str, n_features: int, single: bool, sign: int) -> None:
        twin = nn.Module()
        for name, parameter in home.named_parameters():
            values = parameter.detach().to("cpu", torch.float64, copy=True)
            twin.register_parameter(name, nn.Parameter(values, parameter.requires_grad))
        self.sources = Sources(twin, n_features, sign)
        given = dict(twin.named_parameters())
        x = self.sources.x
        inputs = [{}] if x is None else [{argument: row} for row in (x.unbind(0) if single else [x])]
        tapes = [_tape(node, {**given, **one}) for one in inputs]
        amplitudes = [_amplitudes(tape) for tape in tapes]
        self.name = node.func.__name__
        order = _order(node, tapes[0], amplitudes[0])
        self.n_wires = len(order)
        index = {label: i for i, label in enumerate(order)}
        applied = [_applied(tape, skip=a is not None) for tape, a in zip(tapes, amplitudes, strict=True)]
        self.n_amplitudes = self._n_amplitudes(amplitudes)
        self.gates = _merged(applied)
        self.steps = [self._step(gate, index) for gate in self.gates]
        self.observables = [o for measured in tapes[0].measurements for o in _observables(measured, order, index)]

    def check_same(self, other: _Reading) -> None:
        """Raise CircuitError if anything was different with other values of the parameters and features."""
        shapes, others = ([(s.name, s.wires, s.inverse) for s in reading.steps] for reading in (self, other))
        if shapes != others or self.n_amplitudes != other.n_amplitudes:
            raise CircuitError(f"Which gates {self.name} applies depends on the values of its parameters or features.")
        for gate, one, two in zip(self.gates, self.steps, other.steps, strict=True):
            for mine, theirs in zip(one.angles, two.angles, strict=True):
                if len(mine) != len(theirs) or not all(map(alike, mine, theirs)):
                    raise CircuitError(not_linear(gate))
            u, v = one.matrix, two.matrix
            if u is not None and v is not None and not np.allclose(u, v, atol=CLOSE):
                raise CircuitError(f"The matrix of {gate} depends on parameters or features: only angles may.")
        if self.observables != other.observables:
            raise CircuitError(f"What {self.name} measures depends on the values of its parameters or features.")

    def _step(self, gate: Applied, index: Mapping[Hashable, int]) -> Step:
        angles = tuple(self.sources.terms(gate, angle) for angle in gate.angles)
        return Step(gate.name, tuple(index[w] for w in gate.wires), angles, gate.inverse, gate.matrix)

    def _n_amplitudes(self, given: Sequence[Any]) -> int:
        """How many features are the amplitudes that the state starts from."""
        if given[0] is None:
            return 0
        state = torch.cat([torch.as_tensor(op.parameters[0]).reshape(-1, 2 ** len(op.wires)) for op in given])
        x, state = self.sources.x, state.detach()
        count = int(state.abs().amax(0).nonzero().max()) + 1
        if x is not None and len(state) == SAMPLES and count <= x.shape[1]:
            features = nn.functional.normalize(x.detach()[:, :count])
            if torch.allclose(state[:, :count], features.to(state), atol=CLOSE):
                return count
        raise CircuitError(
            f"{given[0].name} starts from a state that is not the first features, normalized: a translation has these "
            "or |0...0>. A layer can be given its first state: layer(x, initial_state)."
        )


def _tape(node: Any, arguments: dict[str, Any]) -> Any:
    qml = need("pennylane")
    try:
        with torch.enable_grad():
            return qml.workflow.construct_tape(node, level="user")(**arguments)
    except TorchBPError:
        raise
    except Exception as error:
        raise CircuitError(f"{node.func.__name__} can't be recorded: {type(error).__name__}: {error}") from error


def _amplitudes(tape: Any) -> Any:
    """The operator that sets the state to features, if the tape begins with one."""
    operations = tape.operations
    first = operations[0] if operations else None
    if first is None or first.name not in ("AmplitudeEmbedding", "StatePrep"):
        return None
    value = first.parameters[0]
    return first if isinstance(value, Tensor) and value.requires_grad else None


def _order(node: Any, tape: Any, amplitudes: Any) -> list[Hashable]:
    """The labels of the wires in their order, those that hold amplitudes last."""
    labels = list(node.device.wires or tape.wires) or list(tape.wires)
    labels += [label for label in tape.wires if label not in labels]
    last = [] if amplitudes is None else list(amplitudes.wires)
    return [label for label in labels if label not in last] + last


def _applied(tape: Any, skip: bool) -> list[Applied]:
    return [gate for operator in tape.operations[skip:] for gate in gates(operator)]


def _merged(recordings: Sequence[Sequence[Applied]]) -> list[Applied]:
    """One list of gates from those of single samples, each angle with one value a sample."""
    if len(recordings) == 1:
        return list(recordings[0])
    shapes = [[(g.name, g.wires, g.inverse) for g in recording] for recording in recordings]
    if any(shape != shapes[0] for shape in shapes):
        raise CircuitError("Which gates are applied depends on the values of the features.")
    found = []
    for gate, *others in zip(*recordings, strict=True):
        columns = [torch.stack([torch.as_tensor(a, dtype=torch.float64).reshape(()) for a in angles])
                   for angles in zip(gate.angles, *(o.angles for o in others), strict=True)]  # fmt: skip
        found.append(Applied(gate.name, gate.wires, tuple(columns), gate.inverse, gate.matrix, gate.path))
    return found


def _observables(measured: Any, order: Sequence[Hashable], index: Mapping[Hashable, int]) -> Iterable[PauliSum]:
    """The columns of one measurement."""
    kind = type(measured).__name__
    if getattr(measured, "mv", None) is not None:
        raise CircuitError(f"{measured} is of a measurement in the middle of the circuit, which torchbp's don't have.")
    if kind == "ExpectationMP":
        return [_pauli_sum(measured.obs, index)]
    if kind == "ProbabilityMP" and measured.obs is None:
        wires = [index[w] for w in (measured.wires or sorted(order, key=list(order).index))]
        if len(wires) > _MOST_PROBABILITIES:
            raise CircuitError(
                f"qml.probs of {len(wires)} wires has {2 ** len(wires)} columns: torchbp translates those of up to "
                f"{_MOST_PROBABILITIES} wires."
            )
        states = product((0, 1), repeat=len(wires))
        return [PauliSum(projector(dict(zip(wires, bits, strict=True)))) for bits in states]
    raise CircuitError(
        f"{measured} is neither an expectation value nor the probabilities of wires (qml.expval, qml.probs(wires=)): "
        "torchbp's layers return those."
    )


def _pauli_sum(observable: Any, index: Mapping[Hashable, int]) -> PauliSum:
    strings = pauli_strings(observable)
    if strings is None:
        wires = list(observable.wires)
        if len(wires) > _MOST_MATRIX:
            raise CircuitError(
                f"{observable.name} on {len(wires)} wires is no sum of Pauli strings, and too large for its matrix to "
                f"be made one: at most {_MOST_MATRIX} wires."
            )
        matrix = need("pennylane").matrix(observable, wire_order=wires)
        if isinstance(matrix, Tensor) and matrix.requires_grad:
            raise CircuitError(f"The observable {observable} is trained: only angles may be.")
        strings = pauli_strings_of_matrix(np.asarray(matrix), wires)
    if any(abs(c.imag) > CLOSE for c in strings.values()):
        raise CircuitError(f"The observable {observable} is not Hermitian.")
    terms: dict[str, float] = {}
    for string, coefficient in strings.items():
        name = " ".join(f"{letter}{index[wire]}" for wire, letter in string)
        terms[name] = terms.get(name, 0.0) + coefficient.real
    return PauliSum(terms or {"": 0.0})
