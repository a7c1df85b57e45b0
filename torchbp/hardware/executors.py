"""Executors in this process: Qiskit Aer, and any `BackendV2` that runs circuits when it is asked to."""

from __future__ import annotations

from typing import Any

import numpy as np

from torchbp.errors import BackendError
from torchbp.hardware.outcomes import Outcomes
from torchbp.hardware.program import Program, Pub
from torchbp.translation.packages import need
from torchbp.translation.qiskit.gates import BOUND_BY_AER


class BackendExecutor:
    """Runs programs by `backend.run`, one call for each pub.

    Args:
        backend: a `BackendV2`: a fake backend, a simulator, or a provider's.
        seed: of what is sampled, where the backend takes a seed; each call draws a new one from it, as one seed gives
            the same noise to circuits of the same shape, and two shifts would cancel theirs.
    """

    exact = False

    def __init__(self, backend: Any, seed: int | None = None) -> None:
        self.backend = backend
        self.name = str(getattr(backend, "name", type(backend).__name__))
        self._seeds = np.random.default_rng(seed)

    def reseed(self, seed: int) -> None:
        """Begin the random numbers anew."""
        self._seeds = np.random.default_rng(seed)

    def run(self, program: Program) -> list[Outcomes]:
        """Run every circuit of the program.

        Raises:
            BackendError: exact values of a backend that has none, or a run that failed.
        """
        return [self._run(pub) for pub in program.pubs]

    def _run(self, pub: Pub) -> Outcomes:
        if pub.shots is None:
            raise BackendError(
                f"{self.name!r} returns outcomes of shots, not exact values: give shots=, or take an Aer simulator."
            )
        if not len(pub):
            return Outcomes.empty(pub.n_bits, pub.shots)
        result = self.backend.run(pub.bind(), shots=pub.shots, **self._options()).result()
        return self._outcomes(result, pub)

    def _options(self) -> dict[str, Any]:
        """What the backend understands of: a new seed, and one thread, as small circuits gain nothing from more."""
        known = getattr(self.backend, "options", None)
        wanted = {"seed_simulator": int(self._seeds.integers(2**31)), "max_parallel_threads": 1}
        return {name: value for name, value in wanted.items() if hasattr(known, name)}

    def _outcomes(self, result: Any, pub: Pub) -> Outcomes:
        if not getattr(result, "success", True):
            raise BackendError(f"{self.name!r} failed: {getattr(result, 'status', 'no reason given')}")
        found = result.get_counts()
        counts = found if isinstance(found, list) else [found]
        return Outcomes.from_counts(
            ({text.replace(" ", "")[::-1]: n for text, n in c.items()} for c in counts), pub.n_bits, pub.shots
        )


class AerExecutor(BackendExecutor):
    """Runs programs on a `qiskit_aer.AerSimulator`, whatever its noise model: all values of a pub in one call.

    Without shots it gives the exact probabilities of what is read.
    """

    exact = True

    @property
    def ideal(self) -> bool:
        """Whether there is no noise model."""
        return self.backend.options.get("noise_model") is None

    def _run(self, pub: Pub) -> Outcomes:
        if not len(pub):
            return Outcomes.empty(pub.n_bits, pub.shots)
        if pub.shots is None:
            return self._exact(pub)
        return self._outcomes(self._result(pub, pub.circuit, shots=pub.shots), pub)

    def _result(self, pub: Pub, circuit: Any, **options: Any) -> Any:
        """Of a circuit, which may read other things than the pub's, at all values of the pub."""
        pub = Pub(circuit, pub.parameters, pub.values, pub.shots)
        parametric = {i.operation.name for i in circuit.data if any(hasattr(p, "bind") for p in i.operation.params)}
        by_aer = parametric and parametric <= BOUND_BY_AER
        circuits = [circuit] if by_aer else pub.bind()
        binds = {"parameter_binds": [_binds(pub)]} if by_aer else {}
        result = self.backend.run(circuits, **binds, **options, **self._options()).result()
        if not result.success or len(result.results) != len(pub):
            raise BackendError(f"{self.name!r} failed: {result.status} ({len(result.results)} of {len(pub)} circuits).")
        return result

    def _exact(self, pub: Pub) -> Outcomes:
        qubits = [0] * pub.n_bits
        bare = pub.circuit.copy_empty_like()
        for item in pub.circuit.data:
            if item.operation.name == "measure":
                qubits[pub.circuit.find_bit(item.clbits[0]).index] = pub.circuit.find_bit(item.qubits[0]).index
            else:
                bare.append(item)
        need("qiskit_aer")  # gives circuits this method
        bare.save_probabilities(qubits[::-1], label="read")
        result = self._result(pub, bare)
        table = np.stack([np.asarray(result.data(i)["read"]) for i in range(len(pub))])
        return Outcomes.from_probabilities(self._misread(table, qubits))

    def _misread(self, table: np.ndarray, qubits: list[int]) -> np.ndarray:
        """(N, 2^m) probabilities as the noise model's readout errors make them appear."""
        if self.ideal:
            return table
        out = table.reshape(len(table), *[2] * len(qubits))
        for error in self.backend.options.noise_model.to_dict(serializable=True)["errors"]:
            if error["type"] != "roerror":
                continue
            on = error.get("gate_qubits", [(qubit,) for qubit in qubits])
            if any(len(together) > 1 for together in on):
                raise BackendError("Exact values under readout errors of several qubits together: give shots=.")
            confusion = np.array(error["probabilities"])
            for bit, qubit in enumerate(qubits):
                if [qubit] in map(list, on):
                    out = np.moveaxis(np.tensordot(out, confusion, axes=([bit + 1], [0])), -1, bit + 1)
        return out.reshape(table.shape)


def _binds(pub: Pub) -> dict[Any, list[float]]:
    by_name = {p.name: p for p in pub.circuit.parameters}
    return {by_name[name]: column.tolist() for name, column in zip(pub.parameters, pub.values.T, strict=True)}
