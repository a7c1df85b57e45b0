"""The noise that a Qiskit backend's `target` reports: gate errors, T1, T2, durations and readout errors.

Nothing here imports Qiskit: a target is read through its attributes.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from torchbp.backends.channels import WIDEST, GateNoise
from torchbp.circuits import gate
from torchbp.errors import UnknownNameError

_NOT_GATES = {"measure", "reset", "delay"}
_VIRTUAL = ("rz", "p", "z", "s", "sdg", "t", "tdg")  # one rz each on a device that has rz

# A gate's name (None for any gate) and its wires.
Key = tuple[str, tuple[int, ...]] | tuple[int, ...]


def device_gates(target: Any, qubits: Sequence[int]) -> dict[Key, GateNoise]:
    """The noise of every gate that the device has on `qubits`, by name and wires, and of the best one by wires."""
    wire_of = {qubit: wire for wire, qubit in enumerate(qubits)}
    reported: dict[Key, GateNoise] = {}
    virtual: dict[Key, GateNoise] = {}
    best: dict[tuple[int, ...], tuple[float, GateNoise]] = {}
    for name in target.operation_names:
        for on, properties in (target[name] or {}).items() if name not in _NOT_GATES else ():
            if on is None or properties is None or len(on) > WIDEST or not wire_of.keys() >= set(on):
                continue
            wires, noise = tuple(wire_of[q] for q in on), _gate_noise(target, on, properties)
            if known := _known(name):
                reported[known, wires] = noise
            if known == "rz":
                virtual |= {(other, wires): noise for other in _VIRTUAL}
            error = (properties.error or 0.0) if any(noise.channels(wires)) and known != "i" else math.inf
            best[wires] = min(best.get(wires, (math.inf, GateNoise())), (error, noise), key=lambda pair: pair[0])
    return virtual | reported | {wires: noise for wires, (_, noise) in best.items()}


def device_readout(target: Any, qubits: Sequence[int]) -> list[tuple[float, float]]:
    """(P(1|0), P(0|1)) of each qubit; zero where the device reports nothing."""
    measure = (target["measure"] if "measure" in target.operation_names else None) or {}
    return [_misread(measure.get((qubit,))) for qubit in qubits]


def _misread(properties: Any) -> tuple[float, float]:
    one, zero = (getattr(properties, f"prob_meas{read}_prep{was}", None) for read, was in ((1, 0), (0, 1)))
    if one is not None and zero is not None:
        return one, zero
    error = getattr(properties, "error", None) or 0.0
    return error, error


def _gate_noise(target: Any, on: tuple[int, ...], properties: Any) -> GateNoise:
    """Decay for the gate's duration, and the depolarizing rate that makes up the rest of the reported error.

    With F the average gate fidelity of the decay alone and d = 2^k, an error e (an average gate infidelity) leaves
    rate = d (e - (1 - F)) / (d F - 1), as the depolarized part of the state has fidelity 1/d. F follows from the
    process fidelity (Nielsen 2002, quant-ph/0205035).
    """
    duration, amplitude, phase, process = properties.duration or 0.0, [], [], 1.0
    for qubit in on:
        t1, t2 = _relaxation_times(target, qubit)
        population, coherence = math.exp(-duration / t1), math.exp(-duration / t2)
        amplitude.append(1 - population)
        phase.append(max(0.0, 1 - coherence**2 / population) if population else 0.0)
        process *= (1 + population + 2 * coherence) / 4
    size = 2 ** len(on)
    fidelity = (size * process + 1) / (size + 1)
    error = min(properties.error or 0.0, size / (size + 1))
    rate = size * (error - (1 - fidelity)) / (size * fidelity - 1)
    return GateNoise(min(max(rate, 0.0), size**2 / (size**2 - 1)), tuple(amplitude), tuple(phase))


def _relaxation_times(target: Any, qubit: int) -> tuple[float, float]:
    """T1 and T2 <= 2 T1 in seconds, infinite where nothing is reported."""
    properties = target.qubit_properties[qubit] if target.qubit_properties else None
    t1 = getattr(properties, "t1", None) or math.inf
    return t1, min(getattr(properties, "t2", None) or math.inf, 2 * t1)


def _known(name: str) -> str | None:
    try:
        return gate("i" if name == "id" else name).name
    except UnknownNameError:
        return None
