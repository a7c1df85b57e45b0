"""IBM Quantum as a service for the job runner, through the Sampler of qiskit-ibm-runtime."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from datetime import datetime
from typing import Any

import numpy as np

from torchbp.arguments import checked
from torchbp.arguments.kinds import a, anything
from torchbp.errors import BackendError, InputError
from torchbp.hardware.calibration import Calibration
from torchbp.hardware.jobs.failures import classify
from torchbp.hardware.jobs.service import Usage
from torchbp.hardware.outcomes import Outcomes
from torchbp.hardware.program import Limit, Program, Pub
from torchbp.translation.packages import need

EXECUTIONS = 10_000_000
"""Shots of all circuits that one Sampler job may have (quantum.cloud.ibm.com/docs/guides/job-limits)."""

_STATUS = {
    "INITIALIZING": "queued",
    "QUEUED": "queued",
    "RUNNING": "running",
    "DONE": "done",
    "ERROR": "failed",
    "CANCELLED": "cancelled",
}


class IBMService:
    """A `Service` for a machine of IBM Quantum.

    Circuits must be transpiled for the machine. In a session the time between jobs is billed too, which no job reports:
    the ledger then shows less than the bill.

    Args:
        mode: the machine as `QiskitRuntimeService().backend(name)` gives it, a `Session` or a `Batch` on one, or its
            name, for which the account saved on this computer is used.
        options: of the Sampler, as it takes them: {"dynamical_decoupling": {"enable": True}}, ...
        job_tags: written to every job, beside the runner's own.
        limit: of one job.
        seconds_per_job: on the machine, beyond the shots; for estimates.
        seconds_per_shot: beyond the circuit's duration, for estimates; the machine's default repetition delay if left
            out, or 250 µs where it has none.

    Raises:
        MissingDependencyError: qiskit-ibm-runtime is not installed.
        BackendError: the account or the machine can't be reached; says why, without secrets.
    """

    @checked(mode=anything, limit=a(Limit))
    def __init__(
        self,
        mode: Any,
        *,
        options: Mapping[str, Any] | None = None,
        job_tags: Collection[str] = (),
        limit: Limit | None = None,
        seconds_per_job: float = 2.0,
        seconds_per_shot: float | None = None,
    ) -> None:
        self.mode = machine(mode) if isinstance(mode, str) else mode
        self.backend = getattr(self.mode, "_backend", None) or self.mode  # of a session or batch, or itself
        self.client = self.mode.service
        self.name: str = self.backend.name
        self.limit = limit or Limit(shots=EXECUTIONS)
        self.options, self.job_tags = dict(options or {}), list(job_tags)
        self.seconds_per_job = seconds_per_job
        delay = getattr(self.backend, "default_rep_delay", None) or 250e-6
        self.seconds_per_shot = delay if seconds_per_shot is None else seconds_per_shot
        self.secrets: Collection[str] = _secrets(self.client, self.backend)

    def submit(self, program: Program, tag: str) -> str:
        shots = {pub.shots for pub in program.pubs}
        if None in shots or len(shots) > 1:
            raise InputError(
                f"A job of IBM's Sampler runs all its circuits equally often; got shots {sorted(map(str, shots))}. "
                "Give all pubs of a program one number of shots."
            )
        sampler = need("qiskit_ibm_runtime.executor_sampler").Sampler(mode=self.mode, options=dict(self.options))
        sampler.options.environment.job_tags = [*sampler.options.environment.job_tags, *self.job_tags, tag]
        return str(sampler.run([part for pub in program.pubs for part in _sampler_pubs(pub)]).job_id())

    def find(self, tag: str) -> str | None:
        found = self.client.jobs(job_tags=[tag], limit=None, descending=False)
        return str(found[0].job_id()) if found else None

    def result(self, job_id: str, timeout: float) -> list[Outcomes]:
        return [_outcomes(pub) for pub in self.client.job(job_id).result(timeout=timeout)]

    def status(self, job_id: str) -> str:
        return _STATUS[str(self.client.job(job_id).status())]

    def usage(self, job_id: str) -> Usage:
        metrics = self.client.job(job_id).metrics()
        usage, times = metrics.get("usage") or {}, metrics.get("timestamps") or {}
        final = usage.get("status", "pending") != "pending"
        return Usage(
            usage.get("qpu_charge_time_seconds") if final else None,
            _seconds(times.get("running")),
            _seconds(times.get("finished")),
        )

    def estimate(self, program: Program) -> float | None:
        shots = sum(len(p) * (p.shots or 0) * (self.seconds_per_shot + self._duration(p)) for p in program.pubs)
        return self.seconds_per_job + shots

    def calibration(self) -> Calibration | None:
        return Calibration.of(self.backend)

    def _duration(self, pub: Pub) -> float:
        """Seconds that one shot takes; 0 where the machine doesn't tell how long its gates take."""
        try:
            return float(pub.circuit.estimate_duration(self.backend.target, unit="s"))
        except Exception:
            return 0.0


def machine(name: str) -> Any:
    """The `BackendV2` of this name, in the account saved on this computer.

    Raises:
        MissingDependencyError: qiskit-ibm-runtime is not installed.
        BackendError: it can't be reached; says why, without secrets.
    """
    runtime = need("qiskit_ibm_runtime")
    try:
        return runtime.QiskitRuntimeService().backend(name)
    except Exception as error:
        failure = classify(error, "find")
    raise BackendError(f"The machine {name!r} can't be reached: {failure.text}.")  # here nothing foreign is behind it


def _secrets(client: Any, backend: Any) -> list[str]:
    """All text of the account, to be known where it turns up; kept in memory only."""
    account = client.active_account() if hasattr(client, "active_account") else {}
    texts = list(_texts({k: v for k, v in (account or {}).items() if k in ("token", "instance", "proxies")}))
    instance = getattr(backend, "_instance", None)
    return texts + ([instance] if isinstance(instance, str) else [])


def _texts(value: Any) -> list[str]:
    if isinstance(value, Mapping):
        return [text for part in value.values() for text in _texts(part)]
    return [value] if isinstance(value, str) and value else []


def _sampler_pubs(pub: Pub) -> list[Any]:
    """The pub as the Sampler takes it; a circuit without parameters once for each time it is to be run.

    The Sampler runs such a circuit once, whatever the shape of its (missing) values.
    """
    if not pub.parameters:
        return [(pub.circuit, None, pub.shots)] * len(pub)
    bindings = need("qiskit.primitives.containers.bindings_array").BindingsArray
    return [(pub.circuit, bindings({pub.parameters: pub.values}), pub.shots)]


def _outcomes(result: Any) -> Outcomes:
    """Of one pub: its registers one after another, the first bit of each first."""
    registers = [array.to_bool_array(order="little") for array in result.data.values()]
    bits = np.concatenate(registers, axis=-1)
    return Outcomes.from_shots(bits.reshape(-1, *bits.shape[-2:]))


def _seconds(text: str | None) -> float | None:
    try:
        return datetime.fromisoformat((text or "").replace("Z", "+00:00")).timestamp()
    except ValueError:  # a bill must not depend on how a service writes times
        return None
