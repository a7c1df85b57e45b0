"""What a target is: by name or as an object, with what it takes to transpile for it, and whatever runs its programs."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from torchbp.errors import BackendError, UnknownNameError
from torchbp.hardware.executors import AerExecutor, BackendExecutor
from torchbp.hardware.jobs.budget import Budget
from torchbp.hardware.jobs.ibm import IBMService, machine
from torchbp.hardware.jobs.ledger import Ledger
from torchbp.hardware.jobs.runner import JobRunner
from torchbp.hardware.jobs.service import Service
from torchbp.hardware.program import Executor
from torchbp.translation.packages import need

DEFAULT_LEDGER = "torchbp-jobs/ledger.jsonl"


@dataclass(frozen=True, eq=False)
class Machine:
    """A target, connected.

    Attributes:
        name: of the machine.
        backend: the `BackendV2` to transpile for.
        executor: runs programs.
        exact: whether it has exact values.
        ideal: whether it is known to have no readout errors.
    """

    name: str
    backend: Any
    executor: Executor
    exact: bool
    ideal: bool

    @property
    def n_qubits(self) -> int | None:
        """Qubits of the machine; None where there are as many as a circuit has."""
        coupling = getattr(self.backend, "coupling_map", None)
        return None if coupling is None else int(coupling.size())


def connect(
    target: Any,
    transpile_for: Any = None,
    job_tags: Sequence[str] = (),
    budget: Budget | None = None,
    ledger: Ledger | str | os.PathLike[str] | None = None,
    run: str | None = None,
    seed: int | None = None,
) -> Machine:
    """The machine that a target means; arguments as for `QiskitBackend`.

    Raises:
        UnknownNameError: no such name.
        BackendError: an object that is no target.
        MissingDependencyError: says what to install.
    """
    backend = named(target) if isinstance(target, str) else target
    if not _is_machine(backend) and isinstance(backend, Service | Executor):
        executor: Any = backend
        backend = transpile_for if transpile_for is not None else getattr(executor, "backend", None)
        if backend is None:
            raise BackendError("With an Executor as the target, machine= says which BackendV2 to transpile for.")
    else:
        if not _is_machine(backend) and not _is_mode(backend):
            raise BackendError(
                'A target is a name such as "aer", "fake_manila" or "ibm:NAME", a BackendV2, or an Executor; '
                f"got {type(backend).__name__}."
            )
        executor = _executor(backend, seed, job_tags)
        backend = getattr(executor, "backend", backend)
    remote = isinstance(executor, Service)
    local = getattr(getattr(executor, "service", None), "executor", executor)  # behind a job runner
    if not isinstance(executor, JobRunner) and (remote or ledger is not None or budget is not None):
        name = run or f"{executor.name}-{time.strftime('%Y%m%d-%H%M%S')}-{os.urandom(3).hex()}"
        executor = JobRunner(executor, ledger or DEFAULT_LEDGER, run=name, budget=budget)
    return Machine(
        executor.name, backend, executor, bool(getattr(local, "exact", False)), bool(getattr(local, "ideal", False))
    )


def _executor(backend: Any, seed: int | None, job_tags: Sequence[str]) -> Executor | Service:
    """Whatever runs circuits on this BackendV2."""
    if _package(backend) == "qiskit_aer":
        return AerExecutor(backend, seed)
    if _is_mode(backend) or (_package(backend) == "qiskit_ibm_runtime" and hasattr(backend, "service")):
        return IBMService(backend, job_tags=job_tags)
    return BackendExecutor(backend, seed)


def _is_machine(target: Any) -> bool:
    return hasattr(target, "target") and hasattr(target, "run")


def _is_mode(target: Any) -> bool:
    """Whether it is a Session or a Batch of IBM's."""
    return _package(target) == "qiskit_ibm_runtime" and type(target).__name__ in ("Session", "Batch")


def _package(target: Any) -> str:
    return type(target).__module__.partition(".")[0]


def named(name: str) -> Any:
    """The `BackendV2` of this name; see `QiskitBackend`.

    Raises:
        UnknownNameError: no such name.
    """
    kind, _, rest = name.partition(":")
    if kind == "ibm" and rest:
        return machine(rest)
    if name == "aer":
        return need("qiskit_aer").AerSimulator()
    fakes = fake_backends() if name.startswith("fake") else {}
    if name not in fakes:
        raise UnknownNameError("target", name, [*(fakes or ["fake_manila"]), "aer", "ibm:NAME"])
    return fakes[name]()


def fake_backends() -> dict[str, Callable[[], Any]]:
    """IBM's snapshots of machines, from names such as "fake_manila" to what makes them."""
    provider = need("qiskit_ibm_runtime.fake_provider")
    classes = {name: getattr(provider, name) for name in dir(provider) if name.startswith("Fake")}
    return {
        "fake_" + name[4:].removesuffix("V2").lower(): found
        for name, found in classes.items()
        if isinstance(found, type) and name != "FakeProviderForBackendV2"
    }
