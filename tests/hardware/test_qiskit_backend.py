"""Circuits on Aer and on fake machines, against the fused engine, against Aer's own numbers, and against formulas."""

from __future__ import annotations

import copy
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers import random_circuit
from qiskit.providers.fake_provider import GenericBackendV2
from qiskit_aer import AerSimulator
from qiskit_aer.noise import NoiseModel as AerNoise
from qiskit_aer.noise import ReadoutError, depolarizing_error
from torch import Tensor

from torchbp import QuantumLayer
from torchbp.backends import NoiseModel
from torchbp.circuits import (
    Circuit,
    PauliSum,
    amplitude_encoding,
    angle_encoding,
    feature,
    hardware_efficient,
    weight,
)
from torchbp.errors import BackendError, BudgetExceededError, InputError, UnknownNameError
from torchbp.gradients.shot_noise import shot_noise
from torchbp.hardware import Budget, Ledger, Mitigation, QiskitBackend
from torchbp.hardware.outcomes import Outcomes
from torchbp.trainability import precheck

OBSERVABLES = [PauliSum("Z0"), PauliSum({"X0 X1": 1.0, "Z2": -0.5, "I": 0.25}), PauliSum({"Y0 Z2": 1.0, "Z0 Z1": 0.7})]


def rng_tensor(seed: int, *shape: int) -> Tensor:
    return torch.tensor(np.random.default_rng(seed).uniform(-2, 2, shape))


def twins(circuit: Circuit, backend: QiskitBackend, observables=OBSERVABLES) -> tuple[QuantumLayer, QuantumLayer]:
    """The layer on the machine, and the exact one."""
    weights = rng_tensor(0, circuit.n_weights)
    return tuple(QuantumLayer(circuit, observables, init=weights, backend=b).double() for b in (backend, "fused"))


def model_circuit(n_wires: int = 3, depth: int = 2) -> Circuit:
    return angle_encoding(n_wires) + hardware_efficient(n_wires, depth)


def readout_noise(pairs: list[tuple[float, float]]) -> AerNoise:
    noise = AerNoise(basis_gates=["rz", "sx", "x", "cx"])
    for qubit, (one, zero) in enumerate(pairs):
        noise.add_readout_error(ReadoutError([[1 - one, one], [zero, 1 - zero]]), [qubit])
    return noise


# Exact


@pytest.mark.parametrize("seed", range(4))
def test_exact_values_and_gradients(seed: int) -> None:
    """Oracle: the fused engine. All gates, two-term, four-term and composite, inverses, products, shared weights."""
    circuit = random_circuit(np.random.default_rng(seed), 3, 20)
    machine, exact = twins(circuit, QiskitBackend("aer", shots=None))
    x, factor = rng_tensor(seed, 2, circuit.n_features), rng_tensor(1, 2, 3)
    inputs = [x.clone().requires_grad_(), x.clone().requires_grad_()]
    values = [layer(i) for layer, i in zip((machine, exact), inputs, strict=True)]
    assert torch.allclose(*values, atol=1e-9)
    for y in values:
        (y * factor).sum().backward()
    assert torch.allclose(machine.weights.grad, exact.weights.grad, atol=1e-9)
    assert torch.allclose(inputs[0].grad, inputs[1].grad, atol=1e-9)
    assert machine.shots_used == 0


@pytest.mark.parametrize("coupling", [[[0, 1], [1, 2], [2, 3]], [[3, 1], [1, 0], [0, 2]]])
def test_wires_stay_apart_through_routing(coupling) -> None:
    """Oracle: the fused engine. Machines on which wires must be swapped, and qubits named by the user."""
    circuit = Circuit(4)
    for wire in range(4):
        circuit.append("ry", wire, 0.3 + 0.4 * wire)
    circuit.append("cnot", (0, 3)).append("crx", (2, 0), weight()).append("cz", (1, 3)).append("rzx", (3, 0), weight())
    simulator = AerSimulator(coupling_map=coupling, basis_gates=["rz", "sx", "x", "cx"])
    for qubits in (None, [2, 0, 3, 1]):
        backend = QiskitBackend(simulator, shots=None, qubits=qubits)
        machine, exact = twins(circuit, backend, [PauliSum(f"{p}{w}") for p in "XYZ" for w in range(4)])
        assert torch.allclose(machine(), exact(), atol=1e-9)


def test_amplitude_encoding() -> None:
    """Oracle: the fused engine. Real amplitudes of both signs; initial states that are complex are refused."""
    machine, exact = twins(amplitude_encoding(3, 7) + hardware_efficient(3, 1), QiskitBackend("aer", shots=None))
    x = rng_tensor(1, 4, 7)
    assert torch.allclose(machine(x), exact(x), atol=1e-9)
    machine, exact = twins(hardware_efficient(3, 1), QiskitBackend("aer", shots=None))
    start = torch.nn.functional.normalize(rng_tensor(2, 2, 8), dim=1)
    assert torch.allclose(machine(initial_state=start), exact(initial_state=start), atol=1e-9)
    with pytest.raises(BackendError, match="prepares real amplitudes"):
        machine(initial_state=torch.full((8,), 1j / 8**0.5))


def test_nothing_but_the_identity() -> None:
    """A constant costs no shots."""
    layer = QuantumLayer(hardware_efficient(2, 1), PauliSum({"I": 2.0}), backend=QiskitBackend("aer"))
    assert (layer().item(), layer.shots_used) == (2.0, 0)


# Shots


def test_sampled_values_have_honest_errors() -> None:
    """Oracle: exact values. 1200 numbers, |z| < 6; over 100 repetitions z^2 averages 1 within 6 sigma."""
    backend = QiskitBackend("aer", shots=500, seed=1)
    machine, exact = twins(model_circuit(), backend)
    x = rng_tensor(2, 4, 3).repeat(100, 1)
    z = (machine(x) - exact(x)).detach() / backend.latest.standard_errors
    assert z.abs().max() < 6
    assert abs(float(z.square().mean()) - 1) < 6 * (2 / 400) ** 0.5  # observables of a sample are not independent
    covariance = torch.cov((machine(x[:1].expand(400, -1)).detach() * 500**0.5).T)
    assert torch.allclose(covariance, backend.latest.covariance.mean(0), atol=6 * (2 / 400) ** 0.5 * 3)


def test_sampled_gradients_and_their_measured_snr() -> None:
    """Oracle: the exact gradient and its exact single-shot variance. |z| < 6 for 9 weights; variances within 10%."""
    backend = QiskitBackend("aer", shots=4000, seed=1)
    machine, exact = twins(model_circuit(depth=1), backend)
    x, cotangent = rng_tensor(2, 2, 3), rng_tensor(3, 2, 3)
    truth = shot_noise(exact, x, cotangent)
    (machine(x) * cotangent).sum().backward()
    error = (machine.weights.grad - truth.gradient) / (truth.single_shot_variance / 4000).sqrt()
    assert error.abs().max() < 6
    measured = shot_noise(machine, x, cotangent)
    assert ((measured.gradient - truth.gradient) / (truth.single_shot_variance / 4000).sqrt()).abs().max() < 6
    # The relative error of a variance is about sqrt(2 / 8000) at most here.
    assert torch.allclose(measured.single_shot_variance, truth.single_shot_variance, rtol=0.1)
    assert torch.allclose(measured.snr(4000), measured.gradient.abs() / (measured.single_shot_variance / 4000).sqrt())


def test_every_shot_is_counted() -> None:
    """Samples x groups x shots forward; backward two shifts for rotation, four for a controlled one; calibration."""
    circuit = Circuit(2).append("ry", 0, feature(0)).append("rx", 1, weight()).append("crx", (0, 1), weight())
    backend = QiskitBackend("aer", shots=100)
    layer = QuantumLayer(circuit, [PauliSum("Z0"), PauliSum("X1"), PauliSum("Z1")], backend=backend)
    y = layer(torch.zeros(5, 1))
    assert layer.shots_used == 5 * 2 * 100
    y.sum().backward()
    assert layer.shots_used == 5 * 2 * 100 * (1 + 2 + 4)
    layer.to_backend("fused")
    assert layer.shots_used == 5 * 2 * 100 * 7
    noisy = QiskitBackend(AerSimulator(noise_model=readout_noise([(0.1, 0.1)] * 2)), shots=100)
    layer.to_backend(noisy)(torch.zeros(5, 1))
    assert layer.shots_used == 5 * 2 * 100 * 8 + 2 * 10_000


def test_the_shots_of_a_calibration_are_told(tmp_path: Path) -> None:
    """Oracle: two circuits, by hand; before the program in `shots_before`, after it in the ledger's sums."""
    noisy = AerSimulator(noise_model=readout_noise([(0.1, 0.1)] * 2))
    circuit = Circuit(2).append("ry", 0, weight())
    assert QiskitBackend(noisy, shots=64).shots_before == 20_000
    assert QiskitBackend(noisy, shots=64, mitigation="none").shots_before == 0
    found = precheck(QuantumLayer(circuit, "Z0", backend=QiskitBackend(noisy, shots=64)), steps=10, seconds=1e-9)
    assert found.calibration_shots == 20_000
    assert found.shots_per_run == 10 * found.start.shots_per_step + 20_000
    assert "calibration     20,000 shots before the first step, once" in found.report()
    backend = QiskitBackend(noisy, shots=64, calibration_shots=500, ledger=tmp_path / "l.jsonl", run="r")
    layer = QuantumLayer(circuit, "Z0", backend=backend)
    layer()
    assert backend.shots_before == 0
    sums = Ledger(tmp_path / "l.jsonl").summary()
    assert sums["shots_for_calibration"] == 1000
    assert sums["shots"] == layer.shots_used
    assert "| readout calibration |" in Ledger(tmp_path / "l.jsonl").table(by="purpose")


def test_a_budget_below_the_calibration(tmp_path: Path) -> None:
    """The advice names what asks for the shots: fewer shots for the circuits would not help."""
    noisy = AerSimulator(noise_model=readout_noise([(0.1, 0.1)] * 2))
    budget = Budget(shots=5000)
    backend = QiskitBackend(noisy, shots=64, budget=budget, ledger=tmp_path / "l.jsonl")
    layer = QuantumLayer(Circuit(2).append("ry", 0, weight()), "Z0", backend=backend)
    message = (
        r"would take 20,000 shots, and 5,000 of .* They measure the readout errors, once, .* calibration_shots= fewer"
    )
    with pytest.raises(BudgetExceededError, match=message) as found:
        layer()
    assert "smaller batch" not in str(found.value)
    with pytest.raises(InputError, match="calibration_shots is a whole number of at least 1, got 0"):
        QiskitBackend("aer", calibration_shots=0)


def test_seeds_give_the_same_run_and_calls_differ() -> None:
    """One seed, one sequence of outcomes; but two calls of a run never share their noise."""
    first, again = (twins(model_circuit(), QiskitBackend("aer", shots=50, seed=s))[0] for s in (3, 3))
    x = rng_tensor(0, 4, 3)
    one, two = first(x), first(x)
    assert torch.equal(again(x), one)
    assert not torch.equal(one, two)


def test_a_layer_trains() -> None:
    """A weight finds the minimum of <Z>, -1, from shots alone, which spread little there."""
    circuit = Circuit(2).append("ry", 0, weight()).append("cnot", (0, 1)).append("rz", 1, weight())
    layer = QuantumLayer(
        circuit, PauliSum({"Z0": 0.5, "Z1": 0.5}), backend=QiskitBackend("aer", shots=200, seed=0), init=torch.ones(2)
    )
    optimizer = torch.optim.Adam(layer.parameters(), lr=0.3)
    for _ in range(40):
        optimizer.zero_grad()
        layer().sum().backward()
        optimizer.step()
    with layer.exact():
        assert layer().item() < -0.95


# Noise and mitigation


def test_exact_readout_errors_are_shown_and_inverted() -> None:
    """Oracle: torchbp's density matrices with the same readout errors; and the ideal values once they are corrected."""
    pairs = [(0.02, 0.1), (0.0, 0.2), (0.05, 0.01)]
    simulator = AerSimulator(noise_model=readout_noise(pairs))
    circuit, x = model_circuit(), rng_tensor(1, 3, 3)
    raw, exact = twins(circuit, QiskitBackend(simulator, shots=None, mitigation=None))
    noisy = QuantumLayer(circuit, OBSERVABLES, noise=NoiseModel(readout=pairs), init=exact.weights.detach()).double()
    assert torch.allclose(raw(x), noisy(x), atol=1e-9)
    corrected = copy.deepcopy(raw).to_backend(QiskitBackend(simulator, shots=None, mitigation="readout"))
    assert torch.allclose(corrected(x), exact(x), atol=1e-9)


def test_corrected_readout_keeps_honest_errors() -> None:
    """Oracle: exact values. 1200 numbers, |z| < 6, and z^2 averages 1 within 6 sigma: calibration is exact here."""
    noise = readout_noise([(0.02, 0.1), (0.0, 0.2), (0.05, 0.01)])
    backend = QiskitBackend(AerSimulator(noise_model=noise), shots=None, seed=5)
    machine, exact = twins(model_circuit(), backend)
    x = rng_tensor(2, 4, 3).repeat(100, 1)
    machine(x[:1])  # calibrates without shots
    with machine.shots_at(300):
        z = (machine(x) - exact(x)).detach() / backend.latest.standard_errors
    assert z.abs().max() < 6
    assert abs(float(z.square().mean()) - 1) < 6 * (2 / 400) ** 0.5


@pytest.mark.parametrize(("scales", "degree"), [((1, 3, 5), None), ((1, 3), 1), ((1, 3, 5, 7), 2)])
def test_extrapolation_is_the_polynomial_of_folded_circuits(scales, degree) -> None:
    """Oracle: numpy's polynomial fit of the closed formula. A Bell pair's <ZZ> is (1 - p)^s with s times the gate."""
    noise, p = AerNoise(basis_gates=["rz", "sx", "x", "cx"]), 0.05
    noise.add_all_qubit_quantum_error(depolarizing_error(p, 2), ["cx"])
    circuit = Circuit(2).append("rx", 0, np.pi / 2).append("cnot", (0, 1))
    mitigation = Mitigation(scales=scales, degree=degree)
    layer = QuantumLayer(
        circuit, "Z0 Z1", backend=QiskitBackend(AerSimulator(noise_model=noise), shots=None, mitigation=mitigation)
    ).double()
    fit = np.polynomial.Polynomial.fit(scales, (1 - p) ** np.array(scales), degree or len(scales) - 1)
    assert layer().item() == pytest.approx(fit(0.0), abs=1e-10)
    assert abs(layer().item() - 1) < abs((1 - p) - 1)


def test_extrapolation_counts_its_shots_and_spread() -> None:
    """Three circuits in place of one; the standard error grows by the square root of the variance factor, 5.22 here."""
    assert Mitigation(scales=(1, 3, 5)).variance_factor == pytest.approx((15**2 + 10**2 + 3**2) / 64)
    circuit = Circuit(2).append("rx", 0, 1.0).append("cnot", (0, 1))
    backend = QiskitBackend("aer", shots=20_000, mitigation="zne", seed=0)
    QuantumLayer(circuit, "Z0", backend=backend)()
    assert backend.shots_used == 60_000
    single = np.sin(1.0) / 20_000**0.5
    assert backend.latest.standard_errors.item() == pytest.approx(single * 5.21875**0.5, rel=0.03)


def test_a_fake_machine() -> None:
    """Oracle: Aer's exact density matrix with that machine's noise. 12 numbers, |z| < 6; mitigation comes nearer."""
    pytest.importorskip("qiskit_ibm_runtime")
    raw = QiskitBackend("fake_manila", shots=4000, mitigation=None, seed=0)
    circuit, x = model_circuit(), rng_tensor(1, 4, 3)
    machine, exact = twins(circuit, raw)
    y = machine(x)
    fake = raw.executor.backend
    twin = AerSimulator(noise_model=fake.options.noise_model, coupling_map=fake.coupling_map)
    expected = copy.deepcopy(machine).to_backend(QiskitBackend(twin, shots=None, mitigation=None, seed=0))(x)
    assert ((y - expected) / raw.latest.standard_errors).abs().max() < 6
    corrected = copy.deepcopy(machine).to_backend(QiskitBackend("fake_manila", shots=4000, seed=0))
    assert (corrected(x) - exact(x)).abs().mean() < (y - exact(x)).abs().mean()


def test_any_backend_v2() -> None:
    """Qiskit's own generic backend, which says nothing of who made it. Oracle: ideal values within noise and shots."""
    backend = QiskitBackend(GenericBackendV2(4, seed=1), shots=2000, seed=0)
    machine, exact = twins(model_circuit(), backend)
    x = rng_tensor(1, 2, 3)
    assert (machine(x) - exact(x)).abs().max() < 0.3
    with pytest.raises(BackendError, match="outcomes of shots, not exact values"), machine.exact():
        pass


# As part of a layer


def test_shots_are_those_of_the_machine() -> None:
    """A layer shows and sets its machine's shots; for a while, too."""
    backend = QiskitBackend("aer", shots=300)
    layer = QuantumLayer(hardware_efficient(2, 1), backend=backend)
    assert (layer.shots, QuantumLayer(hardware_efficient(2, 1), backend=backend, shots=50).shots) == (300, 50)
    with layer.shots_at(7):
        assert backend.shots == 7
    assert (layer.shots, backend.shots) == (50, 50)
    assert layer.to_backend("fused").shots is None
    assert layer.to_backend(backend).shots == 50


def test_more_wires_than_a_simulator_has() -> None:
    """A machine needs no memory for states: 60 wires are transpiled and sent, to something that counts them."""

    class Zeros:
        name, sent = "zeros", 0

        def run(self, program):
            self.sent += program.circuits
            return [Outcomes.from_counts([{"0" * p.n_bits: p.shots}] * len(p), p.n_bits, p.shots) for p in program.pubs]

    zeros = Zeros()
    backend = QiskitBackend(zeros, mitigation=None, machine=GenericBackendV2(60, coupling_map=None, seed=0))
    layer = QuantumLayer(angle_encoding(60), backend=backend)
    assert torch.equal(layer(torch.zeros(2, 60)), torch.ones(2, 60))
    assert zeros.sent == 2


def test_copies_share_the_machine() -> None:
    backend = QiskitBackend("aer")
    layer = QuantumLayer(hardware_efficient(2, 1), backend=backend)
    assert copy.deepcopy(layer).backend is backend
    with pytest.raises(TypeError, match="is a connection and can't be pickled"):
        pickle.dumps(layer)


def test_a_budget(tmp_path) -> None:
    """What would exceed it is not run; what was run stands in the ledger."""
    backend = QiskitBackend("aer", shots=100, budget=Budget(shots=500), ledger=tmp_path / "jobs.jsonl", run="a")
    layer = QuantumLayer(hardware_efficient(2, 1), backend=backend)
    backend.labels["epoch"] = 3
    layer()
    with pytest.raises(BudgetExceededError, match="Nothing was sent"):
        layer(None).sum().backward()
    assert backend.shots_used == 200
    assert backend.executor.ledger.summary()["shots"] == 200
    assert backend.executor.ledger.attempts[0].labels == {"epoch": 3}


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"target": "aeer"}, UnknownNameError, "Unknown target 'aeer'. Did you mean 'aer'"),
        ({"target": "fake_manilla"}, UnknownNameError, "Unknown target 'fake_manilla'. Did you mean 'fake_manila'"),
        ({"target": 3}, BackendError, 'A target is a name such as "aer".*got int'),
        ({"shots": 0}, InputError, "shots is a whole number of at least 1, got 0"),
        ({"mitigation": "znee"}, UnknownNameError, "Unknown mitigation 'znee'. Did you mean 'zne'"),
        ({"optimization_level": 4}, InputError, "optimization_level is at most 3, got 4"),
        ({"target": "fake_manila", "shots": None}, BackendError, "outcomes of shots, not exact values"),
    ],
)
def test_wrong_arguments(arguments, error, message) -> None:
    with pytest.raises(error, match=message):
        QiskitBackend(**({"target": "aer"} | arguments))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"scales": (1, 2)}, r"distinct odd whole numbers such as \(1, 3, 5\), got \(1, 2\)"),
        ({"scales": ()}, "distinct odd"),
        ({"scales": (1, 3), "degree": 2}, "A polynomial of degree 2 takes 3 scales or more, got 2"),
    ],
)
def test_wrong_mitigation(arguments, message) -> None:
    with pytest.raises(InputError, match=message):
        Mitigation(**arguments)


def test_circuits_that_do_not_fit() -> None:
    machine = AerSimulator(coupling_map=[[0, 1]], basis_gates=["rz", "sx", "cx"])
    with pytest.raises(BackendError, match="has 2 qubits, and the circuit has 3 wires"):
        QuantumLayer(hardware_efficient(3, 1), backend=QiskitBackend(machine))()
    with pytest.raises(InputError, match="The circuit has 3 wires, qubits= names 2 qubits"):
        QuantumLayer(hardware_efficient(3, 1), backend=QiskitBackend("aer", qubits=[0, 1]))()
    layer = QuantumLayer(hardware_efficient(2, 1), backend=QiskitBackend("aer"))
    with pytest.raises(BackendError, match="has no state vectors"):
        layer.states()
    with pytest.raises(BackendError, match="has a noise model of its own"):
        QuantumLayer(hardware_efficient(2, 1), backend=QiskitBackend("aer"), noise=NoiseModel(0.1))
    broken = AerSimulator(noise_model=readout_noise([(0.5, 0.48), (0.0, 0.0)]))
    with pytest.raises(BackendError, match=r"Qubit 0 of .* reads 1 in 5.% of \|0>.*take other qubits"):
        layer.to_backend(QiskitBackend(broken, seed=0))()
