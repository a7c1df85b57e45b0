"""From Qiskit Machine Learning's `EstimatorQNN` and `SamplerQNN`, or a `TorchConnector` around one, to a Circuit."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from torchbp.circuits import Circuit, PauliSum
from torchbp.errors import CircuitError, InputError
from torchbp.translation.adapters.qiskit_machine_learning import shots_of_network
from torchbp.translation.assembly import in_layers
from torchbp.translation.packages import need
from torchbp.translation.qiskit.reading import circuit_of
from torchbp.translation.torchquantum import Translation

Strings = dict[tuple[tuple[int, str], ...], float]
"""Pauli strings on qubits, with coefficients."""
_MOST = 2**18
"""Pauli strings times columns of a sampler."""


def translate(network: Any, weights: Tensor | None) -> tuple[Translation, nn.Module]:
    """The circuit of a network, and a module with its weights.

    Args:
        weights: of a network without a connector, (P,) what they start from; zeros if left out.

    Raises:
        CircuitError: something has no translation; names it.
        InputError: no such network, or weights of another shape.
    """
    inner = getattr(network, "neural_network", network)
    if not all(hasattr(inner, name) for name in ("circuit", "input_params", "weight_params")):
        raise InputError(
            "from_qiskit takes a TorchConnector, an EstimatorQNN or a SamplerQNN, got "
            f"{type(network).__name__}; a QuantumCircuit goes through torchbp.hardware.from_qiskit."
        )
    home = network if isinstance(network, nn.Module) else _home(inner, weights)
    features, trained = ([p.name for p in given or ()] for given in (inner.input_params, inner.weight_params))
    whole = circuit_of(
        inner.circuit,
        {"features": features, "weights": trained, "preparation_gates": 0, "n_amplitudes": 0, "layers": [],
         "gates_in_layers": []},
    )  # fmt: skip
    measured = _estimated(inner) if hasattr(inner, "estimator") else _sampled(inner)
    measured = [_laid_back(inner.circuit, strings) for strings in measured]
    circuit, observables = _on_used_wires(whole, measured)
    sources = tuple(("weight", i) for i in range(len(trained)))
    return Translation(circuit, observables, sources, len(features)), home


def shots_of(network: Any) -> int | None:
    """Shots of each circuit of a network, None for exact values."""
    return shots_of_network(getattr(network, "neural_network", network))


def _home(network: Any, weights: Tensor | None) -> nn.Module:
    start = torch.zeros(network.num_weights) if weights is None else torch.as_tensor(weights).detach().clone()
    if start.shape != (network.num_weights,):
        raise InputError(f"The network has {network.num_weights} weights, got weights of shape {tuple(start.shape)}.")
    home = nn.Module()
    home.register_parameter("weight", nn.Parameter(start))
    return home


def _laid_back(circuit: Any, strings: Strings) -> Strings:
    """Observables on a machine's qubits on those of the circuit before it was laid out, as `circuit_of` has it."""
    layout = getattr(circuit, "layout", None)
    if layout is None:
        return strings
    ends = list(layout.final_index_layout(filter_ancillas=True))
    if not {q for string in strings for q, _ in string} <= set(ends):
        raise CircuitError("The observables act on qubits of the machine that the circuit was not laid out on.")
    return {tuple(sorted((ends.index(q), letter) for q, letter in string)): c for string, c in strings.items()}


def _on_used_wires(circuit: Circuit, measured: list[Strings]) -> Any:
    """The circuit with its layers, without wires that nothing acts on, as a circuit laid out for a machine has them."""
    used = {w for op in circuit.operations for w in op.wires} | {w for m in measured for s in m for w, _ in s}
    index = {wire: i for i, wire in enumerate(sorted(used or {0}))}
    operations, layers = in_layers(circuit.operations)
    moved = [_moved(op, index) for op in operations]
    found = Circuit.of(len(index), moved, layers, circuit.n_weights)
    sums = [
        PauliSum({" ".join(f"{letter}{index[w]}" for w, letter in s): c for s, c in m.items()} or {"": 0.0})
        for m in measured
    ]
    return found, sums


def _moved(op: Any, index: Mapping[int, int]) -> Any:
    return replace(op, wires=tuple(index[w] for w in op.wires))


def _estimated(network: Any) -> list[Strings]:
    """The observables of an EstimatorQNN, as Pauli strings on qubits."""
    given = network.observables
    found = []
    for observable in given if isinstance(given, Iterable) and not hasattr(given, "num_qubits") else [given]:
        found.append(_strings(observable))
    return found


def _strings(observable: Any) -> Strings:
    operators = need("qiskit.quantum_info")
    try:
        operator = operators.SparsePauliOp(observable)
    except Exception as error:
        raise CircuitError(f"{type(observable).__name__} is no sum of Pauli strings: {error}") from error
    terms: Strings = {}
    for letters, qubits, coefficient in operator.to_sparse_list():
        if abs(complex(coefficient).imag) > 1e-9:
            raise CircuitError(f"The observable has a coefficient that is not real: {coefficient}.")
        string = tuple(sorted(zip(qubits, letters, strict=True)))
        terms[string] = terms.get(string, 0.0) + float(complex(coefficient).real)
    return {string: c for string, c in terms.items() if c}


def _sampled(network: Any) -> list[Strings]:
    """The columns of a SamplerQNN: the sum of the probabilities of all outcomes that `interpret` maps to each."""
    if network.sparse:
        raise CircuitError("The SamplerQNN is sparse: torchbp's layers return dense outputs.")
    if len(network.output_shape) != 1:
        raise CircuitError(
            f"The SamplerQNN's output has shape {network.output_shape}: torchbp's layers return columns."
        )
    qubits = _measured(network.circuit)
    n, columns = len(qubits), network.output_shape[0]
    if 2**n * columns > _MOST:
        raise CircuitError(
            f"The SamplerQNN measures {n} qubits into {columns} columns, 2^{n} Pauli strings each: too many to write "
            "down. An interpret function with few columns, or an EstimatorQNN, measures less."
        )
    interpret = network.interpret or (lambda outcome: outcome)
    indicator = np.zeros((columns, 2**n))
    for outcome in range(2**n):
        column = interpret(outcome)
        indicator[column if np.ndim(column) == 0 else tuple(column), outcome] += 1
    for bit in range(n):  # the Walsh-Hadamard transform: tr(Z_S D) / 2^n for every set S of qubits
        halves = indicator.reshape(columns, -1, 2, 2**bit)
        indicator = np.stack([halves.sum(2), halves[:, :, 0] - halves[:, :, 1]], 2).reshape(columns, -1) / 2
    return [
        {tuple((qubits[b], "Z") for b in range(n) if s >> b & 1): float(c) for s, c in enumerate(row) if abs(c) > 1e-12}
        for row in indicator
    ]


def _measured(circuit: Any) -> list[int]:
    """The qubit of each bit of an outcome."""
    layout = getattr(circuit, "layout", None)
    if layout is not None:
        return list(layout.final_index_layout(filter_ancillas=True))
    found = {}
    for item in circuit.data:
        if item.operation.name == "measure":
            found[circuit.find_bit(item.clbits[0]).index] = circuit.find_bit(item.qubits[0]).index
    if not circuit.clbits:
        return list(range(circuit.num_qubits))
    if sorted(found) != list(range(len(circuit.clbits))) or len(circuit.cregs) != 1:
        raise CircuitError("The SamplerQNN's circuit measures into some bits of a register, or into several registers.")
    return [found[i] for i in range(len(found))]
