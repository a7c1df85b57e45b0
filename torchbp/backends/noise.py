"""`NoiseModel`: what goes wrong after each gate and at the readout. Data; `density` and `trajectories` run it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property, partial
from itertools import permutations
from typing import Any

import numpy as np

from torchbp.arguments import checked
from torchbp.arguments.kinds import anything
from torchbp.backends.channels import (
    Channel,
    GateNoise,
    Rates,
    amplitude_damping,
    depolarizing,
    phase_damping,
    pick_rate,
    set_rates,
)
from torchbp.backends.device_noise import device_gates, device_readout
from torchbp.circuits import Operation, gate
from torchbp.circuits.circuit import QUBIT_UNITARY
from torchbp.circuits.operations import Matrix
from torchbp.errors import CircuitError, InputError

# A gate's name, and its wires or their number; None where any will do.
Key = tuple[str | None, tuple[int, ...] | int | None]


@checked(
    depolarizing_1q=anything,
    depolarizing_2q=anything,
    amplitude_damping=anything,
    phase_damping=anything,
    readout=anything,
    gates=anything,
)
@dataclass(frozen=True)
class NoiseModel:
    """Markovian noise after every gate, and readout errors. A wire that no gate acts on has no noise meanwhile.

    A gate of the circuit counts as one gate, whatever it compiles into: for the noise of a device, write the
    circuit in that device's own gates. Amplitude encoding and initial states are noiseless.

    Args:
        depolarizing_1q: rate after each one-qubit gate, one for all wires or one for each. None: refuse the
            one-qubit gates that `gates` says nothing about.
        depolarizing_2q: joint rate after each two-qubit gate; None as above. From these two follows nothing about
            larger gates: unless both are zero, those are refused too where `gates` says nothing about them.
        amplitude_damping, phase_damping: rate on each wire of each gate, one for all wires or one for each.
        readout: probability of reading the wrong value; or a pair (P(1|0), P(0|1)), to read 1 where there was 0
            and 0 where there was 1; or one such pair for each wire.
        gates: the noise of some gates, in place of all rates above. A key is (name, wires), a name, wires, or a
            number of wires, and the first of these that fits a gate counts. Wires fit in any order.

    For other noise, override `channels` in a subclass.

    Raises:
        CircuitError: a rate or probability out of its range, or a key that is none of the above.
        UnknownNameError: a key names no gate.

    Example:
        >>> model = NoiseModel(depolarizing_1q=0.001, depolarizing_2q=0.01, readout=(0.01, 0.03))
        >>> model.confusion(0).tolist()
        [[0.99, 0.01], [0.03, 0.97]]
    """

    depolarizing_1q: Rates | None = 0.0
    depolarizing_2q: float | None = 0.0
    amplitude_damping: Rates = 0.0
    phase_damping: Rates = 0.0
    readout: float | Sequence[float] | Sequence[Sequence[float]] = 0.0
    gates: Mapping[Any, GateNoise] = field(default_factory=dict)

    def __post_init__(self) -> None:
        set_rates(self, amplitude_damping=amplitude_damping, phase_damping=phase_damping)
        if self.depolarizing_1q is not None:
            set_rates(self, depolarizing_1q=depolarizing)
        if self.depolarizing_2q is not None:
            GateNoise(self.depolarizing_2q)
            set_rates(self, depolarizing_2q=partial(depolarizing, n_wires=2))
        object.__setattr__(self, "gates", dict(self.gates))
        _ = self._table, self._misread  # what is wrong with them is found here

    def channels(self, operation: Operation) -> tuple[Channel, ...]:
        """What happens after the operation, in order.

        Raises:
            CircuitError: the model says nothing about this gate, or has no rate for one of its wires.
        """
        name, wires = operation.gate.name, operation.wires
        for key in ((name, wires), (name, None), (None, wires), (None, len(wires))):
            if key in self._table:
                return tuple(self._table[key].channels(wires))
        joint = self._joint_rate(wires)
        if joint is None:
            raise CircuitError(
                f"The noise model says nothing about {operation}: add it to gates=, by name ({name!r}), "
                f"wires {wires} or number of wires ({len(wires)}), or write it as a product of known gates."
            )
        amplitude, phase = (
            tuple(pick_rate(label, rates, wire) for wire in wires)
            for label, rates in (
                ("amplitude_damping", self.amplitude_damping),
                ("phase_damping", self.phase_damping),
            )
        )
        return tuple(GateNoise(joint, amplitude, phase).channels(wires))

    def confusion(self, wire: int) -> Matrix:
        """(2, 2) probabilities of reading each value (columns) where each value was (rows), as in Qiskit.

        Raises:
            CircuitError: the model has readout errors for fewer wires.
        """
        if self._misread.ndim == 2 and wire >= len(self._misread):
            raise CircuitError(
                f"The noise model has readout errors for {len(self._misread)} wires, none for wire {wire}."
            )
        one, zero = self._misread[wire] if self._misread.ndim == 2 else self._misread
        return np.array([[1 - one, one], [zero, 1 - zero]])

    @property
    def reads_perfectly(self) -> bool:
        """Whether no wire has a readout error."""
        return not self._misread.any()

    @classmethod
    def from_qiskit(
        cls,
        backend: Any,
        qubits: Sequence[int] | None = None,
        gates: Mapping[Any, GateNoise] | None = None,
    ) -> NoiseModel:
        """The noise that a Qiskit backend reports for its gates and readout.

        Each reported gate decays for its duration t, amplitude_damping = 1 - exp(-t / T1) and
        phase_damping = 1 - exp(-2t / T2 + t / T1), with T2 cut at 2 T1; the depolarizing rate makes up for what is
        missing to the reported error, read as the average gate infidelity. The same model as Qiskit Aer's at
        temperature 0. A gate that the device does not have gets the noise of the best gate it has on these wires;
        virtual phase gates get that of its rz. Two-qubit gates on uncoupled qubits and larger gates are refused.

        Args:
            backend: a BackendV2, such as qiskit's GenericBackendV2 or IBM's, or its `target`.
            qubits: the device's qubit for each wire; wire i is qubit i if left out.
            gates: noise of further gates, as in the constructor; a key with wires also replaces what is reported.

        Raises:
            InputError: no BackendV2, or a qubit it does not have.
        """
        target = getattr(backend, "target", backend)
        if not hasattr(target, "operation_names") or not hasattr(target, "qubit_properties"):
            raise InputError(
                f"NoiseModel.from_qiskit reads a BackendV2 (or its target), got {type(backend).__name__}: "
                "for a simulator's own NoiseModel, give the rates to NoiseModel(...)."
            )
        count = target.num_qubits or 0
        chosen = list(range(count)) if qubits is None else list(qubits)
        if not chosen or len(set(chosen)) != len(chosen) or not set(chosen) <= set(range(count)):
            raise InputError(f"qubits= takes distinct qubits of 0 to {count - 1}, one for each wire; got {chosen}.")
        reported = device_gates(target, chosen) | dict(gates or {})
        return cls(None, None, readout=device_readout(target, chosen), gates=reported)

    @cached_property
    def _table(self) -> dict[Key, GateNoise]:
        """`gates` with keys in one form, and entries for wires in every order."""
        table: dict[Key, GateNoise] = {}
        turned: dict[Key, GateNoise] = {}
        for key, noise in self.gates.items():
            if isinstance(key, tuple) and len(key) == 2 and isinstance(key[0], str):
                name, wires = key
            else:
                name, wires = (key, None) if isinstance(key, str) else (None, key)
            fits = isinstance(wires, int | tuple) or (name is not None and wires is None)
            if not isinstance(noise, GateNoise) or not fits:
                raise CircuitError(
                    "gates= maps a gate's name, its wires (a tuple), (name, wires) or a number of wires to a "
                    f"GateNoise, got {key!r}: {noise!r}."
                )
            if name is not None and name != QUBIT_UNITARY.name:
                name = gate(name).name
            table[name, wires] = noise
            if isinstance(wires, tuple):
                for order in permutations(range(len(wires))):
                    turned[name, tuple(wires[i] for i in order)] = noise.reordered(order)
        return turned | table

    @cached_property
    def _misread(self) -> Matrix:
        """(P(1|0), P(0|1)) of all wires, (2,), or of each, (n, 2)."""
        try:
            given = np.asarray(self.readout, dtype=float)
        except (TypeError, ValueError):
            given = np.empty(0)
        pairs = np.stack([given, given]) if given.ndim == 0 else given
        if pairs.ndim not in (1, 2) or pairs.shape[-1] != 2:
            raise CircuitError(
                "readout= is a probability, a pair (P(1|0), P(0|1)), or one such pair for each wire; "
                f"got {self.readout!r}."
            )
        if not ((pairs >= 0) & (pairs <= 1)).all():
            raise CircuitError(f"Readout errors are probabilities between 0 and 1, got {self.readout!r}.")
        if pairs.shape == (2, 2) and np.allclose(pairs.sum(1), 1) and not np.allclose(pairs, 0.5):
            raise CircuitError(
                f"readout={self.readout!r} looks like a confusion matrix: give the pair (P(1|0), P(0|1)), here "
                f"({pairs[0, 1]:.6g}, {pairs[1, 0]:.6g})."
            )
        return pairs

    def _joint_rate(self, wires: tuple[int, ...]) -> float | None:
        """The depolarizing rate of a gate that `gates` does not hold; None if there is none."""
        single, double = self.depolarizing_1q, self.depolarizing_2q
        if len(wires) == 1:
            return None if single is None else pick_rate("depolarizing_1q", single, wires[0])
        if len(wires) == 2:
            return double
        return 0.0 if single == 0 and double == 0 else None
