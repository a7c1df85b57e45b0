"""`QiskitBackend`: a Backend that runs circuits on a machine, or on what stands in for one."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np
import torch
from torch import Tensor

from torchbp.arguments import checked
from torchbp.arguments.kinds import a, anything, either, or_none, path, text, whole
from torchbp.backends.shots import Estimates, Sampler, ShotMeter, Shots
from torchbp.circuits import Circuit, PauliSum
from torchbp.circuits.grouping import Grouping, MeasurementGroup
from torchbp.errors import BackendError, InputError
from torchbp.hardware.estimation import misreadings, moments
from torchbp.hardware.jobs.budget import CALIBRATION, Budget
from torchbp.hardware.jobs.ledger import Ledger
from torchbp.hardware.mitigation import Mitigation, as_mitigation
from torchbp.hardware.outcomes import Outcomes
from torchbp.hardware.program import Program, Pub
from torchbp.hardware.qiskit.isa import IsaCircuit, basis_states, measured_circuit, transpiled
from torchbp.hardware.targets import Machine, connect
from torchbp.translation.packages import need
from torchbp.translation.qiskit.state_preparation import preparation_angles

_CALIBRATION_SHOTS = 10_000


class QiskitBackend:
    """Expectation values measured on a machine, and their gradients by the parameter-shift rule.

    `QuantumLayer(..., backend=QiskitBackend("fake_manila"))` evaluates and trains there. Each forward pass is one
    program, all samples times measurement groups (times noise scales), and each backward pass another, with all shifts
    of all rotations: two or four shifts each, as the rotation's spectrum has it. The circuit is transpiled once, with
    its parameters. Observables are grouped by qubit-wise commutation.

    Args:
        target: "aer" (Qiskit Aer without noise), the name of a fake backend such as "fake_manila", "ibm:NAME" for a
            machine of IBM's; an `AerSimulator` with any noise model, or another `BackendV2`; a `Session` or `Batch` of
            IBM's; or an `Executor` or `Service` together with `machine=`.
        shots: for each circuit and measurement group; None for exact values, which only Aer has. A layer's `shots`
            shows and sets these.
        mitigation: "readout" (corrected; two calibration circuits, once), "zne" (extrapolated to zero noise),
            "readout+zne", "none", or a `Mitigation`. Aer without noise is never calibrated.
        calibration_shots: for each of the two circuits that measure readout errors, once, before the first program.
            Left out: 10,000, or `shots` if more. Whatever `shots` is, they are paid first.
        budget: refuses before it is exceeded.
        job_tags: kept by the service with every job, for your own bookkeeping.
        ledger: path of the ledger. A service has one always, "torchbp-jobs/ledger.jsonl" if left out; in this process
            there is none unless this or a budget is given.
        run: names what the jobs belong to in the ledger; who goes on with an interrupted run gives the same name. A
            new one if left out.
        optimization_level: of Qiskit's transpiler, 0 to 3.
        qubits: the machine's qubit for each wire; the transpiler chooses if left out.
        seed: of the transpiler's choices, and of the outcomes where the target is a simulator.
        machine: the `BackendV2` that circuits are transpiled for, where `target` is an Executor.

    Attributes:
        latest: the `Estimates` of the last program, with standard errors. They are those of the shots: errors of the
            readout calibration and what mitigation leaves of the noise are not in them.
        executor: what runs the programs: a `JobRunner` where there is a ledger.

    Raises:
        UnknownNameError: no such target or mitigation.
        MissingDependencyError: says what to install.
        InputError: shots or another argument that make no sense.
        BackendError: exact values of a target that has none.

    Example:
        >>> layer = QuantumLayer(circuit, local_z(4), backend=QiskitBackend("aer", shots=4000))
        >>> layer(x).sum().backward()
    """

    @checked(
        target=anything,
        shots=or_none(whole(1)),
        mitigation=or_none(either(text, a(Mitigation, write="Mitigation(readout=True)"))),
        budget=a(Budget, write="Budget(shots=1_000_000)"),
        ledger=either(path, a(Ledger)),
        optimization_level=whole(0, 3),
        machine=anything,
    )
    def __init__(
        self,
        target: Any,
        shots: int | None = 1024,
        *,
        mitigation: str | Mitigation | None = "readout",
        calibration_shots: int | None = None,
        budget: Budget | None = None,
        job_tags: Iterable[str] = (),
        ledger: Ledger | str | os.PathLike[str] | None = None,
        run: str | None = None,
        optimization_level: int = 2,
        qubits: Sequence[int] | None = None,
        seed: int | None = None,
        machine: Any = None,
    ) -> None:
        self._at: Machine = connect(target, machine, tuple(job_tags), budget, ledger, run, seed)
        self.mitigation = as_mitigation(mitigation)
        self.name, self.executor = self._at.name, self._at.executor
        self.qubits, self.latest = qubits, None
        self._level, self._seed = optimization_level, 0 if seed is None else seed
        self._spent = 0
        self._isa: WeakKeyDictionary[Circuit, dict[Any, list[IsaCircuit]]] = WeakKeyDictionary()
        self._samplers: WeakKeyDictionary[Circuit, dict[Any, Sampler]] = WeakKeyDictionary()
        self._misread: dict[int, np.ndarray] = {}
        self._calibration = calibration_shots
        self.shots = shots

    latest: Estimates | None

    @property
    def shots(self) -> int | None:
        """Shots for each circuit and measurement group; None for exact values."""
        return self._shots

    @shots.setter
    def shots(self, shots: int | None) -> None:
        if shots is not None and (isinstance(shots, bool) or not isinstance(shots, int) or shots < 1):
            raise InputError(f"shots is a whole number of at least 1, or None for exact values; got {shots!r}.")
        if shots is None and not self._at.exact:
            raise BackendError(
                f"{self.name!r} returns outcomes of shots, not exact values: set shots to a number, or move the layer "
                'to a simulator with to_backend("fused").'
            )
        self._shots = shots

    @property
    def shots_used(self) -> int:
        """All shots so far, calibrations and the circuits of mitigation included."""
        return self._spent

    @property
    def shots_before(self) -> int:
        """Shots that the next program takes before its own, for readout calibration; 0 where that is done or none."""
        if self.shots is None or not self.mitigation.readout or self._at.ideal or self._misread:
            return 0
        return 2 * self._calibration_shots(self.shots)

    @property
    def labels(self) -> dict[str, Any]:
        """What the ledger writes with each job: {"epoch": 3}, ..."""
        return getattr(self.executor, "labels", {})

    def expectations(
        self,
        circuit: Circuit,
        observables: Sequence[PauliSum],
        x: Tensor,
        weights: Tensor,
        initial_state: Tensor | None = None,
    ) -> Tensor:
        """Measured expectation values (B, M), see `Backend`; amplitudes to start from must be real.

        Raises:
            BudgetExceededError: it would cost more than is left; nothing was sent.
            JobError, JobPendingError: see `JobRunner.run`.
        """
        samplers = self._samplers.setdefault(circuit, {})
        key = tuple(observables)
        if key not in samplers:
            samplers[key] = Sampler(circuit, observables)
        unused = torch.Generator()
        return samplers[key].expectations(self, x, weights, initial_state, Shots(self.shots, unused, ShotMeter()))

    def states(self, circuit: Circuit, x: Tensor, weights: Tensor, initial_state: Tensor | None = None) -> Tensor:
        """Not to be had.

        Raises:
            BackendError: always.
        """
        raise BackendError(
            f'{self.name!r} measures outcomes and has no state vectors: copy.deepcopy(layer).to_backend("fused") does.'
        )

    def measure(
        self,
        circuit: Circuit,
        grouping: Grouping,
        angles: Tensor,
        initial_state: Tensor | None,
        shots: int | None,
    ) -> Estimates:
        """Estimates for the angles (N, S) of all rotations in `circuit.elementary`, see `MeasuringBackend`."""
        columns = angles.detach().cpu().double().numpy()
        if initial_state is not None:
            columns = np.concatenate([columns, _preparation(initial_state)], axis=1)
        isa = self._transpiled(circuit, grouping.groups, initial_state is not None)
        readout = self._calibrated(isa, shots)
        scales, factors = self.mitigation.scales, self.mitigation.factors
        pubs = [c.folded(scale).pub(columns, shots) for scale in scales for c in isa]
        outcomes = iter(self._run(pubs))
        values = np.tile(grouping.constants, (len(columns), 1))
        covariance = np.zeros((*values.shape, values.shape[1]))
        for factor in factors:
            for c, group, coefficients in zip(isa, grouping.groups, grouping.coefficients, strict=True):
                correction = None if readout is None else np.stack([readout[q] for q in c.qubits])
                mean, spread = moments(next(outcomes), group, coefficients, correction)
                values += factor * mean
                covariance += factor**2 * spread
        self.latest = Estimates(
            torch.as_tensor(values, device=angles.device), torch.as_tensor(covariance, device=angles.device), shots
        )
        return self.latest

    def transpile(self, circuit: Circuit, observables: Sequence[PauliSum]) -> list[Any]:
        """The circuits that the machine executes for these observables, one for each measurement group."""
        sampler = Sampler(circuit, observables)
        return [c.circuit for c in self._transpiled(circuit, sampler.grouping.groups, bool(circuit.n_amplitudes))]

    def calibrate(self) -> None:
        """Forget the readout errors: they are measured again with the next program."""
        self._misread.clear()

    def __deepcopy__(self, memo: dict[int, Any]) -> QiskitBackend:
        return self  # there is one machine, one ledger and one count of its shots

    def __getstate__(self) -> None:
        raise TypeError("A QiskitBackend is a connection and can't be pickled: save the layer's state_dict instead.")

    def __repr__(self) -> str:
        return f"QiskitBackend({self.name!r}, shots={self.shots}, mitigation={self.mitigation})"

    def _run(self, pubs: Sequence[Pub]) -> list[Outcomes]:
        program = Program(tuple(pubs))
        outcomes = self.executor.run(program)
        self._spent += program.shots
        return outcomes

    def _transpiled(self, circuit: Circuit, groups: tuple[MeasurementGroup, ...], prepared: bool) -> list[IsaCircuit]:
        kept = self._isa.setdefault(circuit, {})
        if (groups, prepared) not in kept:
            if self.qubits is not None and len(self.qubits) != circuit.n_wires:
                raise InputError(f"The circuit has {circuit.n_wires} wires, qubits= names {len(self.qubits)} qubits.")
            n_qubits = self._at.n_qubits
            if n_qubits is not None and n_qubits < circuit.n_wires:
                raise BackendError(f"{self.name!r} has {n_qubits} qubits, and the circuit has {circuit.n_wires} wires.")
            manager = self._passes(self._level, None if self.qubits is None else list(self.qubits))
            n_rotations = sum(step.angle is not None for step in circuit.elementary)
            kept[groups, prepared] = [
                transpiled(measured_circuit(circuit, group, prepared), manager, n_rotations) for group in groups
            ]
        return kept[groups, prepared]

    def _passes(self, level: int, layout: list[int] | None) -> Any:
        return need("qiskit.transpiler").generate_preset_pass_manager(
            optimization_level=level, backend=self._at.backend, initial_layout=layout, seed_transpiler=self._seed
        )

    def _calibrated(self, isa: Sequence[IsaCircuit], shots: int | None) -> dict[int, np.ndarray] | None:
        """(P(1|0), P(0|1)) of each qubit that is read, measured where they are not known; None for no correction."""
        if not self.mitigation.readout or self._at.ideal:
            return None
        missing = sorted({q for c in isa for q in c.qubits} - self._misread.keys())
        if missing:
            width = max(missing) + 1 if self._at.n_qubits is None else self._at.n_qubits
            circuits = basis_states(missing, width, self._passes(0, list(range(width))))
            number = None if shots is None else self._calibration_shots(shots)
            self.labels["purpose"] = CALIBRATION
            try:
                zeros, ones = self._run([Pub(c, (), np.empty((1, 0)), number) for c in circuits])
            finally:
                self.labels.pop("purpose", None)
            found = misreadings(zeros, ones)
            for qubit, errors in zip(missing, found, strict=True):
                if errors.sum() > 0.9:
                    raise BackendError(
                        f"Qubit {qubit} of {self.name!r} reads 1 in {errors[0]:.0%} of |0> and 0 in {errors[1]:.0%} of "
                        '|1>: take other qubits (qubits=), or mitigation="none".'
                    )
            self._misread |= dict(zip(missing, found, strict=True))
        return self._misread

    def _calibration_shots(self, shots: int) -> int:
        return max(shots, _CALIBRATION_SHOTS) if self._calibration is None else self._calibration


def _preparation(states: Tensor) -> np.ndarray:
    """(N, 2^n) real amplitudes → (N, A) angles."""
    if states.is_complex() and bool(states.imag.abs().max() > 1e-6):
        raise BackendError(
            "A machine prepares real amplitudes here: give complex initial states as gates of the circuit."
        )
    return preparation_angles(states.real.detach().cpu().double().numpy())
