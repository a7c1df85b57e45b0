"""IBM's service on a stub of its API client: real Sampler, jobs and exceptions of qiskit-ibm-runtime, no network.

Nothing here has run against the real service.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import qiskit_ibm_runtime
import torch
from ibm_stub import CRN, TOKEN, StubClient, machine_on
from qiskit import ClassicalRegister, QuantumCircuit, transpile
from qiskit.circuit import Parameter
from qiskit_ibm_runtime import Batch
from qiskit_ibm_runtime.api.exceptions import RequestsApiError
from qiskit_ibm_runtime.exceptions import IBMNotAuthorizedError

from torchbp import QuantumLayer
from torchbp.circuits import angle_encoding, hardware_efficient
from torchbp.errors import BackendError, InputError, JobError, JobPendingError
from torchbp.hardware import Backoff, Budget, Calibration, JobRunner, Ledger, Price, QiskitBackend, Usage
from torchbp.hardware.jobs.ibm import IBMService
from torchbp.hardware.jobs.redaction import chain
from torchbp.hardware.program import Program, Pub


def program(machine: Any, shots: int | None = 400) -> Program:
    """Qubit 1 turned by "a" and qubit 0 by "b", which turns qubit 2 along: 000, 010 and 101, nearly."""
    circuit = QuantumCircuit(3, 3)
    circuit.ry(Parameter("b"), 0)
    circuit.ry(Parameter("a"), 1)
    circuit.cx(0, 2)
    circuit.measure(range(3), range(3))
    circuit = transpile(circuit, machine, optimization_level=1, seed_transpiler=0)
    return Program((Pub(circuit, ("a", "b"), np.array([[0.0, 0.0], [np.pi, 0.0], [0.0, np.pi]]), shots),))


def likeliest(outcomes: Any) -> list[str]:
    return [max(counts, key=lambda key: counts[key]) for counts in outcomes.counts()]


def runner(folder: Path, service: IBMService, **options: Any) -> JobRunner:
    budget = options.pop("budget", Budget(prices={"fake_*": Price(per_second=1.6)}))
    settings = {"run": "r", "budget": budget, "backoff": Backoff(0.0, 0.0), "poll": 0.05, "timeout": 0.2}
    return JobRunner(service, folder / "ledger.jsonl", **settings | options)


def once(call: str, when: str, error: Callable[[], BaseException]) -> Callable[[str, str], None]:
    """Raise at the first such moment."""
    left = [1]

    def on(name: str, moment: str) -> None:
        if (name, moment) == (call, when) and left:
            left.pop()
            raise error()

    return on


def test_a_job(tmp_path: Path) -> None:
    """Oracle: an asymmetric circuit's outcomes, and what the stub charges."""
    client = StubClient()
    service = IBMService(machine_on(client), job_tags=["mine"])
    run = runner(tmp_path, service)
    (found,) = run.run(program(service.backend))
    assert likeliest(found) == ["000", "010", "101"]
    assert [sum(c.values()) for c in found.counts()] == [400] * 3
    (attempt,) = Ledger(run.ledger.path).attempts
    (job,) = client.jobs.values()
    assert job["job_tags"] == ["mine", attempt.tag]
    assert attempt.billed is not None
    assert (attempt.billed.quantum_seconds, attempt.billed.money) == (3, pytest.approx(4.8))
    assert (attempt.ended or 0) - (attempt.started or 0) == 3.5
    assert attempt.estimate.quantum_seconds == pytest.approx(2 + 1200 * 250e-6, rel=0.1)
    (note,) = run.ledger.notes("calibration", "r")
    assert Calibration.from_dict(note["data"]).t1 == Calibration.of(client.machine).t1


def test_registers_and_circuits_without_parameters(tmp_path: Path) -> None:
    """Oracle: classical bit 0 is the first bit, over registers too."""
    client = StubClient()
    service = IBMService(machine_on(client))
    circuit = QuantumCircuit(3)
    for name, qubits in (("one", [0]), ("two", [1, 2])):
        register = ClassicalRegister(len(qubits), name)
        circuit.add_register(register)
        circuit.x(qubits[-1])
        circuit.measure(qubits, register)
    pub = Pub(transpile(circuit, service.backend, optimization_level=1), (), np.empty((2, 0)), 300)
    (found,) = runner(tmp_path, service).run(Program((pub,)))
    assert likeliest(found) == ["101", "101"]
    (job,) = client.jobs.values()
    assert service.status(service.find(job["job_tags"][0]) or "") == "done"
    assert service.find("another") is None


@pytest.mark.parametrize(
    ("on", "states", "jobs"),
    [
        (once("program_run", "before", lambda: RequestsApiError("Connection refused")), ["lost", "done"], 1),
        (once("program_run", "after", lambda: RequestsApiError("Read timed out")), ["done"], 1),
        (once("program_run", "before", lambda: RequestsApiError("429", 429)), ["rejected", "done"], 1),
        (once("program_run", "after", lambda: RequestsApiError("504", 504)), ["done"], 1),
        (once("job_get", "before", lambda: RequestsApiError("503 Server Error")), ["done"], 1),
        (once("job_results", "before", lambda: RequestsApiError("reset")), ["done"], 1),
        (once("job_metadata", "before", lambda: RequestsApiError("reset")), ["done"], 1),
    ],
    ids=["lost", "silent", "busy", "gateway", "outage", "reset", "no bill"],
)
def test_faults_that_pass(tmp_path: Path, on: Callable[[str, str], None], states: list[str], jobs: int) -> None:
    """Oracle: the jobs at the stub: one, whatever happened on the way."""
    client = StubClient(on)
    run = runner(tmp_path, IBMService(machine_on(client)))
    assert likeliest(run.run(program(run.service.backend))[0]) == ["000", "010", "101"]
    assert [a.state for a in run.ledger.attempts] == states
    assert len(client.jobs) == jobs
    run.settle()
    assert run.account.quantum_seconds == 3


@pytest.mark.parametrize(
    ("state", "kept", "message"),
    [
        ({"status": "Failed", "reason": "bad luck"}, ["failed"] * 2, "was tried 2 times.*bad luck"),
        ({"status": "Failed", "reason": "too long", "reason_code": 1305}, ["failed"], "RuntimeJobMaxTimeoutError"),
        ({"status": "Cancelled"}, ["cancelled"], "was cancelled"),
        ({"status": "Running"}, ["running"], "is running on fake_manila"),
        ({"status": "Queued"}, ["submitted"], "is submitted on fake_manila"),
    ],
    ids=["failed", "too long", "cancelled", "running", "queued"],
)
def test_ends_that_are_not_good(tmp_path: Path, state: dict[str, Any], kept: list[str], message: str) -> None:
    """Oracle: the state of the stub's jobs; those that wait are found again by another process, and nothing is sent."""

    class Client(StubClient):
        def program_run(self, **job: Any) -> dict[str, Any]:
            found = super().program_run(**job)
            self.jobs[found["id"]]["state"] = state
            return found

    client = Client()
    run = runner(tmp_path, IBMService(machine_on(client)), retries=1)
    with pytest.raises((JobError, JobPendingError), match=message):
        run.run(program(run.service.backend))
    assert [a.state for a in run.ledger.attempts] == kept
    if kept[0] in ("running", "submitted"):
        client.jobs["d0000000000000000000"]["state"] = {"status": "Completed"}
        again = runner(tmp_path, IBMService(machine_on(client)))
        assert likeliest(again.run(program(again.service.backend))[0]) == ["000", "010", "101"]
        assert len(client.jobs) == 1


def test_secrets_of_the_account(tmp_path: Path) -> None:
    """Oracle: the planted token and instance in no message, nothing behind it, and no file."""

    def refuse(call: str, when: str) -> None:
        if call == "program_run":
            raise IBMNotAuthorizedError(f"401 Client Error for {CRN}: token {TOKEN} is not valid")

    service = IBMService(machine_on(StubClient(refuse)))
    assert {TOKEN, CRN} <= set(service.secrets)
    run = runner(tmp_path, service)
    with pytest.raises(JobError, match=r"did not take the job.*401") as found:
        run.run(program(service.backend))
    assert list(chain(found.value)) == [found.value]
    files = [path.read_text() for path in tmp_path.rglob("*") if path.is_file()]
    assert files
    for text in (str(found.value), repr(service), *files):
        assert TOKEN not in text
        assert CRN not in text


def test_a_name_that_can_not_be_reached(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the service says at log-in is freed of secrets; by name the saved account's machine is used."""

    def fail() -> None:
        raise IBMNotAuthorizedError(f"apikey={TOKEN} is not valid")

    monkeypatch.setattr(qiskit_ibm_runtime, "QiskitRuntimeService", fail)
    with pytest.raises(BackendError, match="The machine 'ibm_x' can't be reached: IBMNotAuthorizedError") as found:
        IBMService("ibm_x")
    assert TOKEN not in str(found.value)
    assert list(chain(found.value)) == [found.value]
    machine = machine_on(StubClient())
    monkeypatch.setattr(qiskit_ibm_runtime, "QiskitRuntimeService", lambda: SimpleNamespace(backend=lambda _: machine))
    assert IBMService("ibm_x").name == "fake_manila"


def test_a_batch_and_bills_that_are_not_final() -> None:
    """Oracle: the stub's answers; in a batch the machine is the batch's."""
    client = StubClient()
    batch = object.__new__(Batch)
    batch._backend = machine_on(client)
    batch._service = batch._backend.service
    service = IBMService(batch)
    assert service.name == "fake_manila"
    client.job_metadata = lambda job_id: {"usage": {"qpu_charge_time_seconds": 1, "status": "pending"}}
    client.jobs["x"] = {"program_id": "executor", "state": {"status": "Completed"}, "job_tags": []}
    assert service.usage("x") == Usage()


def test_a_layer_trains_through_it(tmp_path: Path) -> None:
    """Oracle: exact values and gradients within eight standard errors of the shots, and device noise of a tenth."""
    client = StubClient()
    run = runner(tmp_path, IBMService(machine_on(client)), timeout=None)
    circuit = angle_encoding(2) + hardware_efficient(2, 1)
    weights = torch.linspace(0.3, 1.2, circuit.n_weights)
    x = torch.tensor([[0.4, 0.9]])
    exact = QuantumLayer(circuit, init=weights)
    layer = QuantumLayer(circuit, init=weights, backend=QiskitBackend(run, shots=2000, machine=run.service.backend))
    for each in (exact, layer):
        each(x).sum().backward()
    assert (layer(x) - exact(x)).abs().max() < 8 / 2000**0.5 + 0.1
    assert (layer.weights.grad - exact.weights.grad).abs().max() < 8 / 2000**0.5 + 0.1
    assert run.account.shots == layer.shots_used
    assert {a.state for a in run.ledger.attempts} == {"done"}
    assert len(client.jobs) == run.account.jobs == 4  # readout, forward, backward, forward


def test_shots() -> None:
    """A Sampler's job has one number of shots."""
    service = IBMService(machine_on(StubClient()))
    with pytest.raises(InputError, match=r"runs all its circuits equally often; got shots \['None'\]"):
        service.submit(program(service.backend, None), "tag")
