"""Qiskit Machine Learning's `TorchConnector`: an `EstimatorQNN` or `SamplerQNN` with one vector of weights."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from torchbp.circuits.repetitions import repetitions
from torchbp.translation.adapters.adapter import Adapter, Layers


def layers(connector: Any) -> Layers:
    """The repetitions of the circuit's trainable gates; one that is all of a `ParameterVector` goes by its name."""
    network = connector.neural_network
    circuit = getattr(network, "circuit", None)
    parameters = list(getattr(network, "weight_params", None) or ())
    every = {"weight": list(range(network.num_weights))}
    found = _named(circuit, parameters) if circuit is not None and parameters else every
    return {name: [(connector.weight, torch.tensor(indices))] for name, indices in found.items()}


def n_wires(connector: Any) -> int | None:
    """Qubits of the network's circuit."""
    return getattr(getattr(connector.neural_network, "circuit", None), "num_qubits", None)


def shots_of_network(network: Any) -> int | None:
    """Of the network's primitive; an estimator's precision e is that of 1 / e^2 shots."""
    primitive = getattr(network, "estimator", None) or getattr(network, "sampler", None)
    if getattr(primitive, "_exact_mode", False):  # the library's own primitives, which ignore the network's precision
        return None
    if (precision := getattr(network, "default_precision", None)) is not None:
        return round(1 / precision**2) if precision > 0 else None
    options = getattr(primitive, "options", primitive)
    found = getattr(options, "default_shots", None) or getattr(primitive, "default_shots", None)
    return found if isinstance(found, int) else None


def per_sample(connector: Any, inputs: Tensor, cotangent: Tensor) -> Mapping[nn.Parameter, Tensor]:
    """From the Jacobian (B, M, P) that the network itself computes, by shifts of every weight."""
    flat = inputs.detach().cpu().reshape(len(inputs), -1)
    _, jacobian = connector.neural_network.backward(flat.numpy(), connector.weight.detach().cpu().numpy())
    if hasattr(jacobian, "todense"):
        jacobian = jacobian.todense()
    rows = torch.as_tensor(jacobian).to(cotangent).reshape(len(inputs), -1, connector.weight.numel())
    return {connector.weight: torch.einsum("bm,bmp->bp", cotangent.flatten(1), rows)}


def _named(circuit: Any, parameters: Sequence[Any]) -> dict[str, list[int]]:
    index = {parameter: i for i, parameter in enumerate(parameters)}
    gates = list(_trainable(circuit, index, range(circuit.num_qubits)))
    vectors: dict[str, set[int]] = {}
    for i, parameter in enumerate(parameters):
        vectors.setdefault(getattr(getattr(parameter, "vector", parameter), "name", ""), set()).add(i)
    found: dict[str, list[int]] = {}
    known: set[int] = set()
    for k, positions in enumerate(repetitions(gates)):
        used = dict.fromkeys(i for position in positions for i in gates[position][1] if i not in known)
        known |= set(used)
        name = next((name for name, whole in vectors.items() if whole == set(used)), f"layer{k}")
        found[name] = list(used)
    if left := [i for i in index.values() if i not in known]:
        found["unused"] = left
    return found


def _trainable(
    circuit: Any, index: Mapping[Any, int], qubits: Sequence[int]
) -> Iterator[tuple[tuple[str, tuple[int, ...]], list[int]]]:
    """Gates of Qiskit's standard library with the weights in their angles, from definitions within definitions."""
    for item in circuit.data:
        on = tuple(qubits[circuit.find_bit(q).index] for q in item.qubits)
        operation = item.operation
        standard = ".standard_gates" in getattr(operation, "base_class", type(operation)).__module__
        definition = None if standard else getattr(operation, "definition", None)
        if definition is not None:
            yield from _trainable(definition, index, on)
        else:
            used = [p for angle in operation.params for p in getattr(angle, "parameters", ())]
            yield (operation.name, on), [index[p] for p in used if p in index]


QISKIT_MACHINE_LEARNING = Adapter(
    "qiskit_machine_learning",
    ("TorchConnector",),
    layers,
    n_wires=n_wires,
    shots=lambda connector: shots_of_network(connector.neural_network),
    per_sample=per_sample,
)
