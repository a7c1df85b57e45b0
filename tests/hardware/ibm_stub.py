"""IBM Quantum without a network: service, Sampler and jobs of qiskit-ibm-runtime as they are, its API client a stub."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

from qiskit_ibm_runtime import IBMBackend, QiskitRuntimeService
from qiskit_ibm_runtime.fake_provider import FakeManilaV2
from qiskit_ibm_runtime.fake_provider.executor.run_quantum_program import run_quantum_program
from qiskit_ibm_runtime.models import QasmBackendConfiguration
from qiskit_ibm_runtime.options_models.simulator import SimulatorOptions
from qiskit_ibm_runtime.quantum_program.params_converters import QUANTUM_PROGRAM_PARAMS_CONVERTERS

TOKEN = "Pl4nted-Token_that-n0body-may-see-0123456789"
CRN = "crn:v1:bluemix:public:quantum-computing:us-east:a/0123456789abcdef0123456789abcdef:1111-22::"


class StubClient:
    """Answers as IBM's API does; `on` may raise before a call is answered, or after what was asked for has happened.

    Args:
        on: gets the name of the call, and "before" or "after".
    """

    def __init__(self, on: Callable[[str, str], None] = lambda call, when: None) -> None:
        self._instance, self.jobs, self.on = CRN, {}, on
        self.machine = FakeManilaV2()

    def program_run(self, **job: Any) -> dict[str, Any]:
        self.on("program_run", "before")
        job_id = f"d{len(self.jobs):019d}"
        self.jobs[job_id] = job | {"state": {"status": "Completed"}}
        self.on("program_run", "after")
        return {"id": job_id, "backend": job["backend_name"]}

    def job_get(self, job_id: str, exclude_params: bool = True) -> dict[str, Any]:
        self.on("job_get", "before")
        return self._public(job_id)

    def jobs_get(self, job_tags: list[str] | None = None, limit: int = 20, skip: int = 0, **_: Any) -> dict[str, Any]:
        self.on("jobs_get", "before")
        found = [i for i, job in self.jobs.items() if set(job_tags or ()) <= set(job["job_tags"])]
        return {"jobs": [self._public(i) for i in found[skip : skip + limit]], "count": len(found)}

    def job_results(self, job_id: str) -> Any:
        """What the machine measured; the decoder of the wire format lets results pass."""
        self.on("job_results", "before")
        if self.jobs[job_id]["state"]["status"] == "Failed":
            return "the program's traceback"
        converter = QUANTUM_PROGRAM_PARAMS_CONVERTERS["v2.0"]
        program, _ = converter.decoder(converter.model.model_validate(self.jobs[job_id]["params"]))
        found = run_quantum_program(self.machine, program, SimulatorOptions(seed_simulator=7))
        found._semantic_role, found.passthrough_data = "sampler_v2", program.passthrough_data
        return found

    def job_metadata(self, job_id: str) -> dict[str, Any]:
        self.on("job_metadata", "before")
        times = {"running": "2026-01-01T00:00:10Z", "finished": "2026-01-01T00:00:13.500000Z"}
        return {"usage": {"qpu_charge_time_seconds": 3, "status": "complete"}, "timestamps": times}

    def cloud_usage(self) -> dict[str, Any]:
        return {}

    def backend_status(self, name: str) -> dict[str, Any]:
        return {
            "backend_name": name,
            "backend_version": "1.0.0",
            "status_msg": "active",
            "operational": True,
            "pending_jobs": 0,
        }

    def _public(self, job_id: str) -> dict[str, Any]:
        job = self.jobs[job_id]
        return {
            "id": job_id,
            "program": {"id": job["program_id"]},
            "state": job["state"],
            "tags": job["job_tags"],
            "backend": None,
        }


def machine_on(client: StubClient) -> IBMBackend:
    """A machine of the real service, logged in with this client: Manila's configuration and calibration."""
    service = object.__new__(QiskitRuntimeService)
    account = {"channel": "ibm_quantum_platform", "token": TOKEN, "instance": CRN}
    service._account = SimpleNamespace(to_saved_format=lambda: account)
    service._active_api_client, service._api_clients = client, {CRN: client}
    service._channel = account["channel"]
    configuration = QasmBackendConfiguration.from_dict(client.machine.configuration().to_dict())
    backend = IBMBackend(configuration, service, client, instance=CRN)
    backend._properties, backend._target = client.machine.properties(), client.machine.target
    service.backend = lambda name, **_: backend  # it has no other, and no network to look for one
    return backend
