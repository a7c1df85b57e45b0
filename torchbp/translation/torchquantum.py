"""From a TorchQuantum module to a Circuit: what each angle is, and what is measured.

The module is recorded twice (`torchbp.translation.tracing`), with parameters and features of distinct values from 8 to
56, all positive and then all negative, and each angle and each returned number is traced back to what it was made of
(`torchbp.translation.provenance`). What depends on the values in any other way than a circuit can differs between the
two recordings, or between the two samples of one.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor, nn

from torchbp.circuits import Circuit, Parameter, PauliSum
from torchbp.errors import CircuitError, InputError
from torchbp.translation.provenance import CLOSE, NOT_MEASURED, SAMPLES, Sources, alike, not_linear, observable
from torchbp.translation.registered import check_registered
from torchbp.translation.tracing import UNITARIES, TracedGate, place_of, record, takes_features

_NO_ANGLE = (
    "The matrix of {gate} depends on parameters or features: only angles may. QuantumLayer.within(module) runs the "
    "module as it is, such gates in TorchQuantum."
)


@dataclass(frozen=True)
class Translation:
    """A module as data.

    Attributes:
        observables: one for each column of what the module returns; None if it measures nothing.
        sources: of each weight of the circuit, the name of the parameter and the index into its flattened values.
        n_features: columns of the module's input.
    """

    circuit: Circuit
    observables: list[PauliSum] | None
    sources: tuple[tuple[str, int], ...]
    n_features: int


def translate(module: nn.Module, n_wires: int | None, example: Tensor | None, measure: bool) -> Translation:
    """The circuit that a TorchQuantum module runs; see `QuantumLayer.from_torchquantum`.

    Args:
        measure: whether to find out what the module measures.

    Raises:
        CircuitError: something has no translation; names it.
        InputError: the module needs an example of its input, or another one.
    """
    _refuse_modes(module)
    argument = takes_features(module)
    if argument is not None and example is None:
        raise InputError(
            f"{type(module).__name__}.forward needs {argument!r}: pass example=, a batch of features (B, F). If these "
            "are no features, or there are further inputs, run the circuits in the module as it is: "
            "model = QuantumLayer.within(module)."
        )
    if example is not None and (example.ndim != 2 or example.is_complex()):
        got = tuple(example.shape)
        raise InputError(
            f"The example must be a batch of real features (B, F), got {got}. For a module that takes images, "
            "sequences or complex states there is model = QuantumLayer.within(module), called as the module is."
        )
    n_features = 0 if example is None else example.shape[1]
    first, second = (_Reading(module, n_wires, n_features, measure, sign) for sign in (1, -1))
    first.check_same(second)
    return Translation(first.circuit(), first.observables, tuple(first.order), n_features)


def _refuse_modes(module: nn.Module) -> None:
    for path, part in module.named_modules():
        place = f"{path!r}" if path else type(module).__name__
        if getattr(part, "static_mode", False):
            raise CircuitError(f"{place} is in TorchQuantum's static mode: call static_off() on the module first.")
        if getattr(part, "noise_model_tq", None) is not None:
            raise CircuitError(
                f"{place} has a TorchQuantum noise model, which can't be translated: remove it with "
                "set_noise_model_tq(None), and give the layer noise=NoiseModel(...)."
            )
        if getattr(part, "qiskit_processor", None) is not None:
            raise CircuitError(
                f"{place} has a Qiskit processor: remove it with set_qiskit_processor(None), and give the layer a "
                "backend that runs on hardware."
            )
        if getattr(part, "clifford_quantization", False):
            raise CircuitError(f"{place} rounds its angles to Clifford gates, which can't be translated.")


class _Reading:
    """One recording of a copy of the module, read back into parameters and observables."""

    def __init__(self, module: nn.Module, n_wires: int | None, n_features: int, measure: bool, sign: int) -> None:
        self.name = type(module).__name__
        self.modules = dict(module.named_modules(remove_duplicate=False))
        twin = _copy(module)
        self.sources = Sources(twin, n_features, sign)
        with torch.random.fork_rng([]):
            self.trace = record(twin, self.sources.x, n_wires, seed=2 + sign)
        check_registered(twin, self.trace.gates, self.sources)
        self.n_amplitudes = self._amplitudes()
        self.angles = [self._angles(gate) for gate in self.trace.gates]
        self.matrices = [self._matrix(gate) for gate in self.trace.gates]
        used = [cast(tuple[str, int], p.token) for row in self.angles for p in row if p.kind == "weight"]
        self.order = list(dict.fromkeys(used))
        self.observables = self._observables() if measure else None

    def circuit(self) -> Circuit:
        """The circuit; a layer for each stretch of trainable gates of one submodule, named after it."""
        circuit, runs, current = Circuit(self.trace.n_wires), dict[str, int](), None
        if self.n_amplitudes:
            circuit.encode_amplitudes(self.n_amplitudes)
        for gate, angles, matrix in zip(self.trace.gates, self.angles, self.matrices, strict=True):
            if gate.name == "globalphase":  # changes no expectation value
                continue
            unit = self._unit(gate.path)
            if any(p.kind == "weight" for p in angles) and unit != current:
                current, runs[unit] = unit, runs.get(unit, 0) + 1
                circuit.start_layer(unit if runs[unit] == 1 else f"{unit}/{runs[unit]}")
            unitary = None if matrix is None else matrix.numpy()
            name = gate.name if matrix is None else "qubitunitary"
            circuit.append(name, gate.wires, *angles, inverse=gate.inverse, unitary=unitary)
        return circuit

    def check_same(self, other: _Reading) -> None:
        """Raise CircuitError if anything was different with other values of the parameters and features."""
        gates, others = self.trace.gates, other.trace.gates
        shapes, other_shapes = ([(g.name, g.wires, g.inverse) for g in gates] for gates in (gates, others))
        if shapes != other_shapes or self.n_amplitudes != other.n_amplitudes:
            raise CircuitError(f"Which gates {self.name} applies depends on the values of its parameters or features.")
        for gate, mine, theirs in zip(gates, self.angles, other.angles, strict=True):
            for p, q in zip(mine, theirs, strict=True):
                if not alike(p, q):
                    raise CircuitError(not_linear(gate))
        for gate, u, v in zip(gates, self.matrices, other.matrices, strict=True):
            if u is not None and v is not None and not torch.allclose(u, v, atol=CLOSE):
                raise CircuitError(_NO_ANGLE.format(gate=gate))
        for one, two in zip(self.observables or (), other.observables or (), strict=True):
            if any(abs(c) > CLOSE for _, c in (one - two).terms):
                raise CircuitError(NOT_MEASURED)

    def _angles(self, gate: TracedGate) -> list[Parameter]:
        if gate.angles is None or gate.name == "globalphase":
            return []
        if gate.angles.shape[0] not in (1, SAMPLES) or gate.angles.ndim != 2:
            raise CircuitError(
                f"The angles of {gate} must have shape (1 or batch, number of angles), got {tuple(gate.angles.shape)} "
                f"for a batch of {SAMPLES}."
            )
        return [self.sources.angle(gate, column) for column in gate.angles.unbind(1)]

    def _matrix(self, gate: TracedGate) -> Tensor | None:
        if gate.name not in UNITARIES:
            return None
        matrix = gate.matrix
        assert matrix is not None
        if matrix.requires_grad:
            raise CircuitError(_NO_ANGLE.format(gate=gate))
        rows = matrix.reshape(-1, *matrix.shape[-2:])
        if not (rows == rows[0]).all():
            raise CircuitError(f"The matrix of {gate} differs between samples, which can't be translated.")
        return rows[0].detach().to(torch.complex128)

    def _amplitudes(self) -> int:
        """How many features are the amplitudes that the state starts from."""
        start, x = self.trace.start.detach().to(torch.complex128), self.sources.x
        if torch.equal(start, torch.eye(1, start.shape[1]).to(start).expand_as(start)):
            return 0
        count = int(start.abs().amax(0).nonzero().max()) + 1
        if x is not None and len(start) == SAMPLES and count <= x.shape[1]:
            features = nn.functional.normalize(x.detach()[:, :count])
            if torch.allclose(start[:, :count], features.to(start), atol=CLOSE):
                return count
        raise CircuitError(
            f"{self.name} sets the state of its QuantumDevice to something that is neither |0...0> nor its first "
            "features, normalized: by tq.reset, which is not unitary, by StateEncoder of something else than the "
            "features, by reset_all_eq_states, by hand. A layer can be given its first state: layer(x, initial_state)."
        )

    def _observables(self) -> list[PauliSum] | None:
        """What each column of the output measures, if it is a weighted sum of expectation values."""
        output, measured = self.trace.output, self.trace.measurements
        if not isinstance(output, Tensor) and not measured:
            return None
        if not isinstance(output, Tensor) or not measured or not output.requires_grad:
            raise CircuitError(NOT_MEASURED)
        columns = output[:, None] if output.ndim == 1 else output
        if output.ndim == 1 and len(measured[0].values) == 1:  # several values of the only sample
            columns = output[None]
        batch = len(measured[0].values)
        if columns.ndim != 2 or len(columns) != batch:
            raise CircuitError(
                f"{self.name} returns shape {tuple(output.shape)} for a batch of {batch}, which is not one row for "
                "each sample: pass observables= for what is measured."
            )
        return [observable(column, measured) for column in columns.unbind(1)]

    def _unit(self, path: str) -> str:
        return place_of(self.modules, path) or self.name


def _copy(module: nn.Module) -> Any:
    """A copy on the CPU in double precision, with the tensors that modules keep outside of their parameters."""
    kept = [v for m in module.modules() for v in (*vars(m).values(), *m._buffers.values()) if isinstance(v, Tensor)]
    # Results of earlier calls among them could not be copied with their graphs.
    memo = {}
    for v in kept:
        memo[id(v)] = v.detach().to("cpu", torch.float64 if v.is_floating_point() else v.dtype, copy=True)
        memo[id(v)].requires_grad_(v.requires_grad and v.is_leaf)
    return copy.deepcopy(module, cast(dict[int, Any], memo)).cpu().double()
