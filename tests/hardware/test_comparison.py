"""One layer on several backends; and on IBM's client code, whose API is a stub: nothing here reaches a real machine."""

from __future__ import annotations

import pytest
import torch
from ibm_stub import StubClient, machine_on
from qiskit_aer import AerSimulator
from qiskit_aer.noise import NoiseModel as AerNoise
from qiskit_aer.noise import ReadoutError
from qiskit_ibm_runtime import Batch

from torchbp import QuantumLayer
from torchbp.backends import NoiseModel
from torchbp.circuits import angle_encoding, hardware_efficient
from torchbp.errors import BackendError, InputError
from torchbp.hardware import Comparison, Measurement, QiskitBackend, compare


def layer_of(n_wires: int = 3, depth: int = 2) -> QuantumLayer:
    generator = torch.Generator().manual_seed(1)
    return QuantumLayer(angle_encoding(n_wires) + hardware_efficient(n_wires, depth), generator=generator)


def test_the_numbers_of_a_comparison() -> None:
    """Oracle: by hand. Error 0.5 of which 0.3 is shot noise leaves a bias of 0.4; and never less than none."""
    ideal = Measurement("ideal", torch.zeros(1, 2), torch.zeros(1, 2))
    noisy = Measurement("noisy", torch.tensor([[0.5, -0.5]]), torch.full((1, 2), 0.3), shots=1000)
    assert noisy.error(ideal.values) == pytest.approx(0.5)
    assert noisy.bias(ideal.values) == pytest.approx(0.4)
    assert Measurement("lucky", torch.zeros(1, 2), torch.ones(1, 2)).bias(ideal.values) == 0.0
    text = str(Comparison((ideal, noisy)))
    assert "| +0.5000 ± 0.3000 |" in text
    assert "| noisy   | 0.5000 |     0.3000 | 0.4000 |  0.5000 | 1,000 |     0.0 |" in text


def test_a_target_in_five_rows() -> None:
    """Oracle: the exact layer. Noise has a bias of many shot noises; each mitigation takes some; the layer stays."""
    layer, x = layer_of(), torch.rand(6, 3, generator=torch.Generator().manual_seed(0))
    found = compare(layer, "fake_manila", x, shots=4000, seed=0)
    assert [m.name for m in found.measurements] == ["ideal", "shots", "noisy", "readout", "zne", "readout+zne"]
    assert torch.allclose(found.ideal, layer(x).double(), atol=1e-6)
    bias = {m.name: m.bias(found.ideal) for m in found.measurements}
    assert bias["shots"] < 0.01
    assert bias["noisy"] > bias["readout"] > bias["readout+zne"]
    assert bias["noisy"] > bias["zne"]
    shots = {m.name: m.shots for m in found.measurements}
    assert shots == {
        "ideal": 0,
        "shots": 24_000,
        "noisy": 24_000,
        "readout": 44_000,
        "zne": 72_000,
        "readout+zne": 92_000,
    }
    assert (layer.backend.name, layer.shots) == ("fused", None)


def test_backends_by_name_and_models_of_noise() -> None:
    """Oracle: torchbp's own density matrices against Aer's with the same readout errors, both exact."""
    pairs = [(0.02, 0.1), (0.0, 0.2), (0.05, 0.01)]
    noise = AerNoise()
    for qubit, (one, zero) in enumerate(pairs):
        noise.add_readout_error(ReadoutError([[1 - one, one], [zero, 1 - zero]]), [qubit])
    aer = QiskitBackend(AerSimulator(noise_model=noise), shots=None, mitigation=None)
    found = compare(layer_of(), {"ours": NoiseModel(readout=pairs), "Aer's": aer, "aer": "aer"}, torch.rand(2, 3))
    assert torch.allclose(found["ours"].values, found["Aer's"].values, atol=1e-6)
    assert found["aer"].shots == 2 * 1024
    assert [m.name for m in compare(layer_of(), [aer], torch.rand(2, 3)).measurements] == ["ideal", "aer_simulator"]
    with pytest.raises(InputError, match="nothing to compare with: give at least one backend"):
        compare(layer_of(), [])


@pytest.mark.parametrize("batch", [False, True])
def test_a_layer_trains_through_ibms_client(tmp_path, batch: bool) -> None:
    """One program a pass, in jobs with both tags; values near the ideal of a machine with small errors; all counted."""
    client = StubClient()
    client.create_session = lambda *arguments: {"id": "a-session"}
    machine = machine_on(client)
    target = Batch(machine) if batch else machine
    backend = QiskitBackend(target, shots=400, ledger=tmp_path / "ledger.jsonl", run="a", job_tags=["mine"])
    layer = layer_of(depth=1).to_backend(backend)
    exact = layer_of(depth=1)
    x = torch.rand(2, 3)
    y = layer(x)
    assert (y - exact(x)).abs().max() < 0.25
    y.sum().backward()
    assert layer.weights.grad.abs().max() > 0.1
    assert len(client.jobs) == 3  # calibration, forward, backward
    tags = [job["job_tags"] for job in client.jobs.values()]
    assert all("mine" in t and any(tag.startswith("torchbp-") for tag in t) for t in tags)
    assert backend.shots_used == 20_000 + 2 * 400 + 2 * 9 * 2 * 400
    assert backend.executor.ledger.summary()["shots"] == backend.shots_used


def test_executors_as_targets() -> None:
    """An executor that is no BackendV2 needs one to transpile for; exact values only of those that have them."""

    class Nothing:
        name = "nothing"

        def run(self, program):
            raise NotImplementedError

    with pytest.raises(BackendError, match="machine= says which BackendV2 to transpile for"):
        QiskitBackend(Nothing())
    with pytest.raises(BackendError, match="'nothing' returns outcomes of shots, not exact values"):
        QiskitBackend(Nothing(), shots=None, machine=AerSimulator())
