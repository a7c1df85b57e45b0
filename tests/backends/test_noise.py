"""Noise: every channel against its definition, both noisy backends against dense matrices and against Qiskit Aer."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Iterator, Sequence
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from helpers import angle_of, dense_state, matrix_of, random_circuit, random_state

from torchbp import QuantumLayer
from torchbp.backends.base import Backend, per_sample_gradients
from torchbp.backends.channels import Channel, GateNoise, amplitude_damping, depolarizing, phase_damping
from torchbp.backends.density import DensityMatrixBackend
from torchbp.backends.noise import NoiseModel
from torchbp.backends.shots import Sampler
from torchbp.backends.trajectories import TrajectoryBackend
from torchbp.circuits import (
    GATES,
    Circuit,
    Operation,
    PauliSum,
    amplitude_encoding,
    angle_encoding,
    feature,
    global_z,
    hardware_efficient,
    local_z,
    weight,
)
from torchbp.circuits.grouping import group_qubit_wise
from torchbp.circuits.operations import I2, PAULIS, Matrix, embed, kron
from torchbp.errors import BackendError, CapacityError, CircuitError, InputError, UnknownNameError

NOISE = NoiseModel(
    depolarizing_1q=[0.02, 0.05, 0.01, 0.03],
    depolarizing_2q=0.07,
    amplitude_damping=[0.04, 0.0, 0.1, 0.02],
    phase_damping=0.06,
    readout=[(0.02, 0.07), (0.0, 0.1), (0.05, 0.05), (0.03, 0.01)],
    gates={
        3: GateNoise(0.1, 0.02, (0.01, 0.03, 0.05)),
        4: GateNoise(0.15, 0.01),
        "h": GateNoise(),
        "cx": GateNoise(0.04, (0.01, 0.2)),
        ("crx", (0, 1)): GateNoise(0.3, (0.3, 0.0), (0.0, 0.2)),
        (1, 2): GateNoise(0.0, 0.0, (0.4, 0.1)),
    },
)  # fmt: skip


@pytest.fixture(autouse=True, scope="module")
def one_thread() -> Iterator[None]:
    """On a busy machine several threads make circuits this small ten times slower."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def gate_noise(name: str, wires: tuple[int, ...]) -> tuple[float, np.ndarray, np.ndarray]:
    """NOISE after a gate, looked up by hand: the joint rate, amplitude and phase damping of each wire."""
    pair, table = set(wires), NOISE.gates
    found, turned = table.get(len(wires)), False
    if name == "crx" and pair == {0, 1}:
        found, turned = table["crx", (0, 1)], wires == (1, 0)
    elif name in ("h", "cnot"):
        found = table["h" if name == "h" else "cx"]
    elif pair == {1, 2}:
        found, turned = table[1, 2], wires == (2, 1)
    if found is None:
        joint = NOISE.depolarizing_1q[wires[0]] if len(wires) == 1 else NOISE.depolarizing_2q
        found = GateNoise(joint, [NOISE.amplitude_damping[w] for w in wires], NOISE.phase_damping)
    amplitude, phase = (np.broadcast_to(r, len(wires)) for r in (found.amplitude_damping, found.phase_damping))
    return found.depolarizing, amplitude[:: -1 if turned else 1], phase[:: -1 if turned else 1]


def dense_rho(circuit: Circuit, x: np.ndarray, weights: np.ndarray, initial: np.ndarray | None = None) -> Matrix:
    """rho under NOISE, from the definitions of its channels, one gate at a time."""
    n = circuit.n_wires
    psi = dense_state(Circuit(n), initial=initial)
    if circuit.n_amplitudes:
        psi = dense_state(amplitude_encoding(n, circuit.n_amplitudes), x)
    rho = np.outer(psi, psi.conj())

    def mapped(rho: Matrix, kraus: Sequence[Matrix], wires: tuple[int, ...]) -> Matrix:
        full = [embed(np.asarray(k, dtype=complex), wires, n) for k in kraus]
        return sum(k @ rho @ k.conj().T for k in full)

    for op in circuit.operations:
        rho = mapped(rho, [matrix_of(op, x, weights)], op.wires)
        joint, amplitude, phase = gate_noise(op.gate.name, op.wires)
        units = np.eye(2 ** len(op.wires))  # |a><b| / sqrt(d) for all a, b: the fully depolarizing channel
        mixed = mapped(rho, [np.outer(a, b) / np.sqrt(len(units)) for a in units for b in units], op.wires)
        rho = (1 - joint) * rho + joint * mixed
        for wire, a, p in zip(op.wires, amplitude, phase, strict=True):
            rho = mapped(rho, [[[1, 0], [0, np.sqrt(1 - a)]], [[0, np.sqrt(a)], [0, 0]]], (wire,))
            rho = mapped(rho, [[[1, 0], [0, np.sqrt(1 - p)]], [[0, 0], [0, np.sqrt(p)]]], (wire,))
    return rho


def read_letter(letter: str, wire: int) -> Matrix:
    """(1|0) and (0|1) errors of NOISE on the outcomes of one letter: P(read 0) - P(read 1) as an operator."""
    one, zero = NOISE.readout[wire]
    up, down = (I2 + PAULIS[letter]) / 2, (I2 - PAULIS[letter]) / 2
    return (1 - 2 * one) * up + (2 * zero - 1) * down


def read_expectations(rho: Matrix, observables: Sequence[PauliSum], n: int) -> list[float]:
    """Expectation values of what is read."""
    out = []
    for observable in observables:
        total = 0.0
        for string, c in observable.terms:
            letters = dict(string)
            factors = [read_letter(letters[w], w) if w in letters else I2 for w in range(n)]
            total += c * np.trace(rho @ kron(*factors)).real
        out.append(total)
    return out


def observables_on(n: int) -> list[PauliSum]:
    mixed = " ".join(f"{'XYZ'[w % 3]}{w}" for w in range(n))
    return [
        PauliSum({"Z0": 1.0, "I": 0.3}),
        PauliSum({f"X{n - 1}": 0.5, mixed: -2.0}),
        PauliSum(f"Y{n // 2}"),
        global_z(n),
    ]


def case(seed: int, n: int, n_gates: int = 15) -> tuple[Circuit, torch.Tensor, torch.Tensor]:
    rng = np.random.default_rng(seed)
    circuit = random_circuit(rng, n, n_gates).freeze()
    return (
        circuit,
        torch.tensor(rng.normal(size=(3, circuit.n_features))),
        torch.tensor(rng.normal(size=circuit.n_weights)),
    )


# Channels


@pytest.mark.parametrize(
    "kraus",
    [
        *(depolarizing(rate, k) for k in (1, 2, 3) for rate in (0.0, 0.1, 1.0, 4**k / (4**k - 1))),
        *(channel(rate) for channel in (amplitude_damping, phase_damping) for rate in (0.0, 0.3, 1.0)),
    ],
)
def test_channels_are_completely_positive_and_preserve_the_trace(kraus: Matrix) -> None:
    """Oracle: the Choi matrix sum |K>><<K| is positive, and 1 after tracing out the output."""
    d = kraus.shape[1]
    choi = np.einsum("kab,kcd->abcd", kraus, kraus.conj())
    assert np.linalg.eigvalsh(choi.reshape(d * d, d * d)).min() > -1e-12
    assert np.allclose(np.einsum("abad->bd", choi), np.eye(d), atol=1e-12)


@pytest.mark.parametrize("k", [1, 2, 3])
def test_depolarizing_rate_and_gate_infidelity(k: int) -> None:
    """rho -> (1 - rate) rho + rate 1/d, and r = rate (1 - 1/d), which depolarizing has for every pure state."""
    rng, d, rate = np.random.default_rng(0), 2**k, 0.3
    kraus = depolarizing(rate, k)
    noise = rng.normal(size=(d, d)) + 1j * rng.normal(size=(d, d))
    rho = noise @ noise.conj().T / np.trace(noise @ noise.conj().T)
    assert np.allclose(sum(q @ rho @ q.conj().T for q in kraus), (1 - rate) * rho + rate * np.eye(d) / d)
    psi = random_state(rng, k)
    fidelity = sum(abs(psi.conj() @ q @ psi) ** 2 for q in kraus)
    assert 1 - fidelity == pytest.approx(rate * (1 - 1 / d))


def test_a_map_that_changes_the_trace_is_no_channel() -> None:
    with pytest.raises(CircuitError, match=r"differs from 1 by 1\.0e-01"):
        Channel((0,), np.sqrt(0.9) * I2[None])
    with pytest.raises(CircuitError, match=r"have shape \(K, 4, 4\), got \(1, 2, 2\)"):
        Channel((0, 1), I2[None])
    with pytest.raises(CircuitError, match="acts on 1 to 4 wires"):
        Channel((0, 1, 2, 3, 4), np.eye(32)[None])


# The density matrix, exactly


@pytest.mark.parametrize("seed", range(12))
def test_random_circuits_match_dense_kraus_sums(seed: int) -> None:
    """Oracle: numpy, from the channels' definitions, over the whole gate table; values, rho and weights (B, P)."""
    n = 1 + seed % 4
    circuit, x, weights = case(seed, n)
    backend, observables = DensityMatrixBackend(NOISE), observables_on(n)
    each = weights + 0.1 * torch.arange(3.0, dtype=torch.float64)[:, None]
    y, rho = (
        backend.expectations(circuit, observables, x, each),
        backend.density_matrices(circuit, x, weights),
    )
    for b in range(3):
        dense = dense_rho(circuit, x[b].numpy(), each[b].numpy())
        assert np.abs(y[b].numpy() - read_expectations(dense, observables, n)).max() < 1e-10
        assert np.abs(rho[b].numpy() - dense_rho(circuit, x[b].numpy(), weights.numpy())).max() < 1e-10


@pytest.mark.parametrize("name", ["c4x", "multirz", "qft"])
def test_gates_on_many_wires(name: str) -> None:
    """Five wires, whose transfer matrix is never built. Oracle: dense matrices without noise, and damping by hand."""
    angles = [feature(0)] if name == "multirz" else []
    plain = Circuit(6).append("h", 1).append("ry", 4, weight()).append("x", 2).append("h", 0)
    c = (plain + Circuit(6).append(name, (4, 0, 2, 5, 1), *angles).append("rx", 1, 0.3)).freeze()
    x, w = torch.rand(2, c.n_features, dtype=torch.float64), torch.rand(1, dtype=torch.float64)
    rho = DensityMatrixBackend().density_matrices(c, x, w)
    for b in range(2):
        psi = dense_state(c, x[b].numpy(), w.numpy())
        assert np.abs(rho[b].numpy() - np.outer(psi, psi.conj())).max() < 1e-10
    damped = DensityMatrixBackend(NoiseModel(gates={5: GateNoise(0, 1.0), 1: GateNoise()}))
    z = damped.expectations(c, local_z(6), x, w)
    assert torch.allclose(z[:, [0, 2, 4, 5]], torch.ones(2, 4, dtype=torch.float64))  # all of |1> has decayed


def test_rotations_on_three_and_on_six_wires() -> None:
    """Both have 64-row matrices, of Pauli coefficients and of amplitudes. Oracle: dense matrices without noise."""
    c = Circuit(6)
    for w in range(6):
        c.append("h", w)
    c.append("multirz", (0, 1, 2), weight()).append("multirz", range(6), weight()).append("rx", 3, weight()).freeze()
    w = torch.rand(3, dtype=torch.float64)
    psi = dense_state(c, weights=w.numpy())
    rho = DensityMatrixBackend().density_matrices(c, torch.zeros(1, 0).double(), w)
    assert np.abs(rho[0].numpy() - np.outer(psi, psi.conj())).max() < 1e-10


def test_gradients_match_finite_differences_of_the_oracle() -> None:
    """With respect to weights, features and the initial state; central differences, h = 1e-5."""
    circuit, x, weights = case(25, 3, 8)
    rng = np.random.default_rng(1)
    start = torch.tensor(np.stack([random_state(rng, 3) for _ in range(3)]))
    observables, cotangent = observables_on(3), torch.tensor(rng.normal(size=(3, 4)))
    inputs = [t.clone().requires_grad_() for t in (x, weights, start)]
    y = DensityMatrixBackend(NOISE).expectations(circuit, observables, *inputs)
    got = torch.autograd.grad((y * cotangent).sum(), inputs)

    def total(x: np.ndarray, w: np.ndarray, s: np.ndarray) -> float:
        rows = [read_expectations(dense_rho(circuit, x[b], w, s[b]), observables, 3) for b in range(3)]
        return float((np.array(rows) * cotangent.numpy()).sum())

    h, given = 1e-5, [x.numpy(), weights.numpy(), start.numpy()]
    for which, gradient in enumerate(got):
        for index in list(np.ndindex(*gradient.shape))[:: 1 if which < 2 else 5]:
            for unit in (1.0, 1j) if which == 2 else (1.0,):
                moved = [[g.copy() for g in given] for _ in range(2)]
                moved[0][which][index] += h * unit
                moved[1][which][index] -= h * unit
                slope = (total(*moved[0]) - total(*moved[1])) / (2 * h)
                exact = gradient[index].item()
                assert slope == pytest.approx(exact.imag if unit == 1j else np.real(exact), abs=1e-8)


def test_second_derivatives_of_the_density_backend() -> None:
    """Oracle: torch's own gradgradcheck, by differences of the first derivatives."""
    circuit, x, weights = case(26, 2, 8)
    assert len(weights) > 2

    def loss(w: torch.Tensor) -> torch.Tensor:
        return DensityMatrixBackend(NOISE).expectations(circuit, observables_on(2), x[:1], w)

    assert torch.autograd.gradgradcheck(loss, (weights.requires_grad_(),))


def test_amplitude_encoding_starts_noiseless() -> None:
    c = amplitude_encoding(2, 3).append("ry", 0, weight()).append("cnot", (0, 1)).freeze()
    x, w = torch.tensor([[1.0, -2.0, 0.5]], dtype=torch.float64), torch.tensor([0.4], dtype=torch.float64)
    rho = DensityMatrixBackend(NOISE).density_matrices(c, x, w)
    assert np.abs(rho[0].numpy() - dense_rho(c, x[0].numpy(), w.numpy())).max() < 1e-10


def test_single_precision() -> None:
    circuit, x, weights = case(3, 4)
    backend, observables = DensityMatrixBackend(NOISE), observables_on(4)
    exact = backend.expectations(circuit, observables, x, weights)
    y = backend.expectations(circuit, observables, x.float(), weights.float())
    assert y.dtype == torch.float32
    assert (y - exact).abs().max() < 1e-5
    assert backend.density_matrices(circuit, x.float(), weights.float()).dtype == torch.complex64


# Closed forms


def test_depolarizing_attenuates_by_its_power() -> None:
    """(1 - rate)^depth on one wire; the joint rate of a two-qubit gate counts once for a string on both its wires."""
    t, rate = 0.7, 0.03
    for depth in (1, 5, 20):
        c = Circuit(1)
        for _ in range(depth):
            c.append("rx", 0, t / depth)
        y = DensityMatrixBackend(NoiseModel(rate)).expectations(
            c.freeze(), local_z(1), torch.zeros(1, 0).double(), torch.zeros(0).double()
        )
        assert y.item() == pytest.approx(np.cos(t) * (1 - rate) ** depth, abs=1e-12)
    pair = Circuit(2).append("rzz", (0, 1), 0.3).append("cz", (0, 1)).freeze()
    y = DensityMatrixBackend(NoiseModel(0.5, rate)).expectations(
        pair, [global_z(2)], torch.zeros(1, 0).double(), torch.zeros(0).double()
    )
    assert y.item() == pytest.approx((1 - rate) ** 2, abs=1e-12)


def test_amplitude_damping_decays_to_the_ground_state() -> None:
    """<Z> after k gates on |1> is 1 - 2 (1 - rate)^k: towards |0>, the fixed point."""
    for count in (1, 3, 200):
        c = Circuit(1).append("x", 0)
        for _ in range(count - 1):
            c.append("i", 0)
        y = DensityMatrixBackend(NoiseModel(amplitude_damping=0.1)).expectations(
            c.freeze(), local_z(1), torch.zeros(1, 0).double(), torch.zeros(0).double()
        )
        assert y.item() == pytest.approx(1 - 2 * 0.9**count, abs=1e-12)


def test_phase_damping_shrinks_coherence() -> None:
    c = Circuit(1).append("h", 0).freeze()
    y = DensityMatrixBackend(NoiseModel(phase_damping=0.19)).expectations(
        c, [PauliSum("X0"), PauliSum("Z0")], torch.zeros(1, 0).double(), torch.zeros(0).double()
    )
    assert y[0].tolist() == pytest.approx([0.9, 0.0], abs=1e-12)


@pytest.mark.parametrize("letter", ["X", "Y", "Z"])
def test_readout_error_acts_after_the_change_of_basis(letter: str) -> None:
    """(1 - 2p)^k for a symmetric error on k letters; asymmetric: a product state read as +1, or as -1, by hand."""
    rotate = {"X": ("ry", np.pi / 2), "Y": ("rx", -np.pi / 2), "Z": ("rz", 0.0)}[letter]
    plus, minus = Circuit(3), Circuit(3)
    for w in range(3):
        plus.append(rotate[0], w, rotate[1])
        minus.append("x", w).append(rotate[0], w, rotate[1])
    empty = torch.zeros(1, 0).double(), torch.zeros(0).double()
    string = [PauliSum(" ".join(f"{letter}{w}" for w in range(k))) for k in (1, 2, 3)]
    symmetric = DensityMatrixBackend(NoiseModel(readout=0.1)).expectations(plus.freeze(), string, *empty)
    assert symmetric[0].tolist() == pytest.approx([0.8, 0.8**2, 0.8**3])
    backend = DensityMatrixBackend(NoiseModel(readout=(0.1, 0.3)))
    assert backend.expectations(plus, string, *empty)[0].tolist() == pytest.approx([0.8, 0.8**2, 0.8**3])
    assert backend.expectations(minus.freeze(), string, *empty)[0].tolist() == pytest.approx([-0.4, 0.16, -0.064])


def test_noise_makes_a_plateau_that_is_not_there_without_it() -> None:
    """Wang 2021, 2007.14384: gradients under depolarizing noise fall at least as q^depth with q = 1 - rate.

    Random angles make Pauli paths orthogonal, so the mean square gradient falls by at least (q^2)^2 for each layer of
    two noisy gates a wire; 60 points, seed fixed. Without noise the gradient of the same circuits stays.
    """
    rate, rms = 0.05, {}
    for depth in (4, 8, 16):
        c = Circuit(3)
        for _ in range(depth):
            for w in range(3):
                c.append("ry", w, weight()).append("rx", w, weight())
            c.append("cz", (0, 1)).append("cz", (1, 2))
        generator = torch.Generator().manual_seed(depth)
        w = ((torch.rand(60, c.n_weights, generator=generator) * 2 - 1) * np.pi).double().requires_grad_()
        for noise in (0.0, rate):
            y = DensityMatrixBackend(NoiseModel(noise)).expectations(
                c.freeze(), [PauliSum("Z0 Z1")], torch.zeros(60, 0).double(), w
            )
            (g,) = torch.autograd.grad(y.sum(), w)
            rms[depth, noise] = g[:, 0].square().mean().sqrt().item()
    relative = {depth: rms[depth, rate] / rms[depth, 0.0] for depth in (4, 8, 16)}
    assert all(value < (1 - rate) ** (2 * depth) for depth, value in relative.items())
    slopes = np.log([relative[4] / relative[8], relative[8] / relative[16]]) / [4, 8]
    assert slopes[0] == pytest.approx(slopes[1], rel=0.25)  # exponential: the same loss for every layer
    assert rms[16, 0.0] > 0.3 * rms[4, 0.0]


# Outcomes


@pytest.mark.parametrize(
    "backend", [DensityMatrixBackend(NOISE), TrajectoryBackend(NOISE, 3)], ids=["density", "trajectories"]
)
def test_outcome_probabilities_from_single_angles(backend: DensityMatrixBackend | TrajectoryBackend) -> None:
    """Distributions of the right shape; the density backend's match the oracle's and its own expectation values."""
    circuit, x, weights = case(5, 4)
    observables = observables_on(4)
    groups = group_qubit_wise(observables).groups
    rotations = [step.angle for step in circuit.elementary if step.angle is not None]
    values = [[angle_of(angle, row, weights.numpy()) for angle in rotations] for row in x.numpy()]
    from_angles = backend.outcome_probabilities(circuit, torch.tensor(values), None, groups)
    assert [p.shape for p in from_angles] == [(3, 2 ** len(group.wires)) for group in groups]
    assert all(p.dtype == torch.float64 and (p >= 0).all() for p in from_angles)
    if isinstance(backend, TrajectoryBackend):
        return
    for group, angled in zip(groups, from_angles, strict=True):
        p = backend.probabilities(circuit, x, weights, None, group)
        assert torch.allclose(p, angled, atol=1e-12)
        assert torch.allclose(p.sum(1), torch.ones(3, dtype=torch.float64))
        for string in group.strings:
            signs = [
                np.prod([1 - 2 * (o >> (len(group.wires) - 1 - group.wires.index(w)) & 1) for w, _ in string])
                for o in range(p.shape[1])
            ]
            observable = PauliSum(" ".join(f"{letter}{w}" for w, letter in string))
            rho = dense_rho(circuit, x[0].numpy(), weights.numpy())
            assert (p[0].numpy() @ signs) == pytest.approx(read_expectations(rho, [observable], 4)[0], abs=1e-10)


def test_outcomes_of_many_circuits_come_in_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    """A sampler that may hold two circuits at once gets what one gets that holds all five."""
    circuit = case(6, 3)[0]
    sampler = Sampler(circuit, observables_on(3))
    angles = torch.rand(5, len(sampler.kinds), dtype=torch.float64)
    start = torch.tensor(np.stack([random_state(np.random.default_rng(0), 3) for _ in range(5)]))
    backend = DensityMatrixBackend(NOISE)
    (whole,) = sampler.outcome_probabilities(backend, angles, start)
    monkeypatch.setattr("torchbp.backends.shots._CHUNK", 2 * 4**3)
    parts = list(sampler.outcome_probabilities(backend, angles, start))
    assert [len(part[0]) for part in parts] == [2, 2, 1]
    assert all(torch.allclose(a, torch.cat(b)) for a, b in zip(whole, zip(*parts, strict=True), strict=True))


# Trajectories


def test_trajectories_are_unbiased() -> None:
    """Oracle: the density backend, for values, gradients and probabilities, with damping. Each of 10,000 rows is one
    trajectory, so |z| < 6 for under 30 numbers: false failures under 1e-7."""
    circuit, x, weights = case(7, 3, 10)
    observables, rows = observables_on(3), 10000
    exact_w = weights.clone().requires_grad_()
    exact = DensityMatrixBackend(NOISE).expectations(circuit, observables, x[:1], exact_w)
    (slope,) = torch.autograd.grad(exact.sum(), exact_w)
    sampler = TrajectoryBackend(NOISE, 1, torch.Generator().manual_seed(0))
    each = weights.expand(rows, -1).clone().requires_grad_()
    many = x[:1].expand(rows, -1)
    y = sampler.expectations(circuit, observables, many, each)
    (g,) = torch.autograd.grad(y.sum(), each)
    group = group_qubit_wise(observables).groups[0]
    p = sampler.probabilities(circuit, many, weights, None, group)
    wanted = DensityMatrixBackend(NOISE).probabilities(circuit, x[:1], weights, None, group)
    for samples, mean in ((y, exact[0]), (g, slope), (p, wanted[0])):
        error = samples.std(0) / rows**0.5
        assert ((samples.mean(0) - mean).abs() < 6 * error + 1e-9).all()


def test_more_trajectories_less_variance() -> None:
    """RX(t) and depolarizing noise: Var = (1 - (1 - rate)^2) cos^2 t / T, as <Z> is +-cos t; |z| < 6 for 2,000 rows."""
    c = Circuit(1).append("rx", 0, 0.4).freeze()
    rate, count, rows = 0.3, 10, 2000
    backend = TrajectoryBackend(NoiseModel(rate), count, torch.Generator().manual_seed(1))
    y = backend.expectations(c, local_z(1), torch.zeros(rows, 0), torch.zeros(0))
    variance = (1 - (1 - rate) ** 2) * np.cos(0.4) ** 2 / count
    assert y.var().item() == pytest.approx(variance, rel=6 * np.sqrt(2 / rows))
    assert y.dtype == torch.float32


def test_damping_spreads_the_norms_as_it_says() -> None:
    """A qubit in |1> reaches the bound: E[<psi|psi>^2] = (1 - rate/2)^-gates; |z| < 6 for 50,000 rows."""
    c = Circuit(1).append("x", 0).append("i", 0).append("i", 0).append("i", 0).freeze()
    backend = TrajectoryBackend(NoiseModel(amplitude_damping=0.3), 1, torch.Generator().manual_seed(3))
    (group,) = group_qubit_wise(local_z(1)).groups
    norms = backend.probabilities(c, torch.zeros(50000, 0), torch.zeros(0), None, group).sum(1)
    for power, mean in ((1, 1.0), (2, 0.85**-4)):
        samples = norms**power
        assert abs(samples.mean().item() - mean) < 6 * samples.std().item() / 50000**0.5


def test_trajectories_repeat_with_their_seed_and_without_noise_are_exact() -> None:
    circuit, x, weights = case(8, 3)
    observables, state = observables_on(3), torch.get_rng_state()
    first, second = (
        TrajectoryBackend(NOISE, 5, torch.Generator().manual_seed(2)).expectations(circuit, observables, x, weights)
        for _ in range(2)
    )
    assert torch.equal(first, second)
    assert torch.equal(torch.get_rng_state(), state)
    start = torch.tensor(random_state(np.random.default_rng(0), 3)).expand(3, -1)
    plain = TrajectoryBackend(NoiseModel(), 2).expectations(circuit, observables, x, weights, start)
    assert torch.allclose(plain, DensityMatrixBackend().expectations(circuit, observables, x, weights, start))


def test_other_noise_in_a_subclass() -> None:
    """Bit flips before the readout, and an over-rotation: a single unitary operator."""

    class Flips(NoiseModel):
        def channels(self, operation: Operation) -> tuple[Channel, ...]:
            over = GATES["ry"].matrix(0.1)[None]
            flip = np.stack([np.sqrt(0.9) * I2, np.sqrt(0.1) * PAULIS["X"]])
            return Channel(operation.wires, over), Channel(operation.wires, flip)

    c = Circuit(1).append("ry", 0, weight()).freeze()
    w = torch.full((20000, 1), 0.4)
    exact = DensityMatrixBackend(Flips()).expectations(c, local_z(1), torch.zeros(1, 0), w[0])
    assert exact.item() == pytest.approx(0.8 * np.cos(0.5))
    y = TrajectoryBackend(Flips(), 1, torch.Generator().manual_seed(4)).expectations(
        c, local_z(1), torch.zeros(20000, 0), w
    )
    assert abs((y.mean() - exact).item()) < 6 * y.std().item() / 20000**0.5


# In a layer


@pytest.mark.parametrize(
    "backend", [DensityMatrixBackend(NOISE), TrajectoryBackend(NOISE, 4)], ids=["density", "trajectories"]
)
def test_a_layer_on_a_noisy_backend(backend: Backend) -> None:
    """Trains, copies, pickles, and gives each sample's gradient."""
    layer = QuantumLayer(angle_encoding(4) + hardware_efficient(4, 2), backend=backend)
    x = torch.rand(5, 4)
    with torch.inference_mode():  # the validation that comes before training must not spoil it
        layer(x)
    layer(x).sum().backward()
    assert layer.weights.grad is not None
    assert layer.weights.grad.abs().max() > 0
    assert copy.deepcopy(layer)(x).shape == pickle.loads(pickle.dumps(layer))(x).shape == (5, 4)
    assert set(layer.state_dict()) == {"weights"}
    assert isinstance(backend, Backend)
    ones = torch.ones(5, 4)
    g = per_sample_gradients(backend, layer.circuit, layer.observables, x, layer.weights.detach(), ones)
    if backend.name == "density":
        assert torch.allclose(g.sum(0), layer.weights.grad, atol=1e-5)


# Qiskit


def fake_device(n: int, pairs: list[list[int]]) -> Any:
    """GenericBackendV2, made worse: its gate errors are those of the decay alone, here some are ten times that."""
    fake, transpiler = (pytest.importorskip(f"qiskit.{name}") for name in ("providers.fake_provider", "transpiler"))
    backend = fake.GenericBackendV2(n, coupling_map=pairs, seed=3)
    for name, on, error in (("cx", (2, 1), 0.05), ("x", (0,), 0.003), ("sx", (2,), 0.002)):
        duration = backend.target[name][on].duration
        properties = transpiler.InstructionProperties(duration=duration, error=error)
        backend.target.update_instruction_properties(name, on, properties)
    return backend


def test_rates_from_a_qiskit_backend() -> None:
    """By hand from GenericBackendV2's target: decay over the gate's duration, and the depolarizing rest."""
    backend = fake_device(4, [[0, 1], [1, 0], [1, 2], [2, 1], [2, 3], [3, 2]])
    model = NoiseModel.from_qiskit(backend, qubits=[2, 1])
    target, q = backend.target, backend.target.qubit_properties
    duration, error = target["cx"][(2, 1)].duration, target["cx"][(2, 1)].error
    noise = model.gates["cnot", (0, 1)]
    assert noise.amplitude_damping == pytest.approx([1 - np.exp(-duration / q[i].t1) for i in (2, 1)])
    coherence = [np.sqrt((1 - a) * (1 - p)) for a, p in zip(noise.amplitude_damping, noise.phase_damping, strict=True)]
    assert coherence == pytest.approx([np.exp(-duration / min(q[i].t2, 2 * q[i].t1)) for i in (2, 1)])
    kraus = np.eye(4)[None]
    for channel in noise.channels((0, 1)):
        full = np.stack([embed(k, channel.wires, 2) for k in channel.kraus])
        kraus = np.einsum("kab,lbc->klac", full, kraus).reshape(-1, 4, 4)
    fidelity = (np.abs(np.trace(kraus, axis1=1, axis2=2) ** 2).sum() / 4 + 1) / 5
    assert noise.depolarizing > 0.04
    assert 1 - fidelity == pytest.approx(error, rel=1e-6)
    assert model.confusion(0)[0, 1] == target["measure"][(2,)].error
    c = Circuit(2).append("rx", 0, 0.1).append("s", 0).append("cz", (1, 0))
    rx, s, cz = (model.channels(op) for op in c.operations)
    assert not s  # a virtual rz
    best = min("sx", "x", key=lambda name: target[name][(2,)].error)
    assert [k.kraus.tolist() for k in rx] == [k.kraus.tolist() for k in model.gates[best, (0,)].channels((0,))]
    assert len(cz) >= 4


def test_a_device_refuses_uncoupled_wires() -> None:
    backend = fake_device(3, [[0, 1], [2, 1]])
    model = NoiseModel.from_qiskit(backend)
    ring = Circuit(3).append("cnot", (1, 2)).append("cnot", (2, 0))
    assert model.channels(ring.operations[0])  # the other direction is known
    with pytest.raises(CircuitError, match=r"says nothing about cnot on \[2, 0\]: add it to gates="):
        model.channels(ring.operations[1])
    more = NoiseModel.from_qiskit(backend, gates={2: GateNoise(0.02)})
    assert len(more.channels(ring.operations[1])) == 1
    assert more.channels(ring.operations[0])[0].kraus.shape == model.channels(ring.operations[0])[0].kraus.shape


def test_a_target_that_reports_little() -> None:
    """No durations, no T1, separate readout errors, a gate with an error of 1."""
    gates = {
        "sx": {(0,): SimpleNamespace(error=1.0, duration=None)},
        "x": {(0,): None},
        "odd": {None: None},
        "measure": {(0,): SimpleNamespace(error=0.5, prob_meas1_prep0=0.1, prob_meas0_prep1=0.2)},
    }

    class Target(dict):
        operation_names = tuple(gates)
        num_qubits = 1
        qubit_properties = None

    model = NoiseModel.from_qiskit(Target(gates))
    assert model.gates["sx", (0,)] == GateNoise(4 / 3, (0.0,), (0.0,))
    assert model.confusion(0).tolist() == [[0.9, 0.1], [0.2, 0.8]]


def qiskit_circuit(circuit: Circuit) -> object:
    """The circuit's gates by Qiskit's names; wire 0 is Qiskit's last qubit, so that matrices compare as they are."""
    qiskit = pytest.importorskip("qiskit")
    out = qiskit.QuantumCircuit(circuit.n_wires)
    for op in circuit.operations:
        name = {"cnot": "cx", "i": "id"}.get(op.gate.name, op.gate.name)
        getattr(out, name)(*(p.offset for p in op.parameters), *(circuit.n_wires - 1 - w for w in op.wires))
    return out


def native_circuit(seed: int, n: int, pairs: Sequence[tuple[int, int]]) -> Circuit:
    rng, c = np.random.default_rng(seed), Circuit(n)
    for _ in range(30):
        name = ["sx", "x", "rz", "i", "cnot"][rng.integers(5)]
        if name == "cnot":
            c.append(name, pairs[rng.integers(len(pairs))])
        else:
            c.append(name, int(rng.integers(n)), *([float(rng.normal())] if name == "rz" else []))
    return c.freeze()


def aer_density(circuit: Circuit, noise: object) -> Matrix:
    aer = pytest.importorskip("qiskit_aer")
    program = qiskit_circuit(circuit)
    program.save_density_matrix()
    simulator = aer.AerSimulator(
        method="density_matrix", noise_model=noise, max_parallel_threads=1, fusion_enable=False
    )
    return np.asarray(simulator.run(program).result().data()["density_matrix"])


def test_aer_agrees_on_a_device() -> None:
    """Oracle: Aer's own NoiseModel.from_backend, on the device's own gates."""
    noise = pytest.importorskip("qiskit_aer.noise")
    backend = fake_device(3, [[0, 1], [1, 0], [1, 2], [2, 1]])
    model = NoiseModel.from_qiskit(backend, qubits=[2, 1, 0])
    c = native_circuit(0, 3, [(0, 1), (1, 0), (1, 2), (2, 1)])
    rho = DensityMatrixBackend(model).density_matrices(c, torch.zeros(1, 0).double(), torch.zeros(0).double())
    assert np.abs(rho[0].numpy() - aer_density(c, noise.NoiseModel.from_backend(backend))).max() < 1e-10


def test_aer_agrees_on_rates_and_readout() -> None:
    """Oracle: Aer's channels with the same rates; 200,000 shots against the probabilities, |z| < 6 for 8 outcomes."""
    noise, aer = pytest.importorskip("qiskit_aer.noise"), pytest.importorskip("qiskit_aer")
    rates = {
        "depolarizing_1q": 0.03,
        "depolarizing_2q": 0.1,
        "amplitude_damping": 0.05,
        "phase_damping": 0.08,
    }
    model = NoiseModel(**rates, readout=[(0.02, 0.1), (0.0, 0.2), (0.05, 0.01)])
    damping = noise.amplitude_damping_error(0.05).compose(noise.phase_damping_error(0.08))
    theirs = noise.NoiseModel()
    theirs.add_all_qubit_quantum_error(noise.depolarizing_error(0.03, 1).compose(damping), ["sx", "x", "rz", "id"])
    theirs.add_all_qubit_quantum_error(noise.depolarizing_error(0.1, 2).compose(damping.tensor(damping)), ["cx"])
    for wire in range(3):
        theirs.add_readout_error(noise.ReadoutError(model.confusion(wire)), [2 - wire])
    c, empty = (
        native_circuit(1, 3, [(0, 1), (2, 0), (1, 2)]),
        (torch.zeros(1, 0).double(), torch.zeros(0).double()),
    )
    rho = DensityMatrixBackend(model).density_matrices(c, *empty)
    assert np.abs(rho[0].numpy() - aer_density(c, theirs)).max() < 1e-10
    program, shots = qiskit_circuit(c), 200_000
    program.measure_all()
    simulator = aer.AerSimulator(method="density_matrix", noise_model=theirs, seed_simulator=1, max_parallel_threads=1)
    counts = simulator.run(program, shots=shots).result().get_counts()
    (group,) = group_qubit_wise(local_z(3)).groups
    p = DensityMatrixBackend(model).probabilities(c, *empty, None, group)[0].numpy()
    seen = np.array([counts.get(f"{outcome:03b}", 0) for outcome in range(8)]) / shots
    assert (np.abs(seen - p) < 6 * np.sqrt(p * (1 - p) / shots)).all()


# What is refused


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"depolarizing_1q": -0.1}, "depolarizing rate lies between 0 and 1.33333, got -0.1"),
        ({"depolarizing_2q": 1.2}, "depolarizing rate lies between 0 and 1.06667, got 1.2"),
        ({"depolarizing_2q": [0.1, 0.2]}, r"one depolarizing rate for all its wires, got \[0.1, 0.2\]"),
        ({"amplitude_damping": [0.1, 1.1]}, "amplitude damping rate lies between 0 and 1, got 1.1"),
        ({"phase_damping": float("nan")}, "phase damping rate lies between 0 and 1, got nan"),
        ({"phase_damping": "0.1"}, "phase_damping takes numbers, got '0'"),
        ({"readout": 1.5}, "probabilities between 0 and 1, got 1.5"),
        ({"readout": [0.1, 0.1, 0.1]}, r"one such pair for each wire; got \[0.1, 0.1, 0.1\]"),
        ({"readout": "x"}, "is a probability, a pair"),
        ({"readout": [[0.98, 0.02], [0.03, 0.97]]}, r"looks like a confusion matrix.*here \(0.02, 0.03\)"),
        ({"gates": {"cx": 0.1}}, r"maps a gate's name, .* got 'cx': 0.1"),
        ({"gates": {None: GateNoise()}}, "maps a gate's name, .* got None"),
    ],
)  # fmt: skip
def test_impossible_noise(given: dict[str, object], message: str) -> None:
    with pytest.raises(CircuitError, match=message):
        NoiseModel(**given)


def test_an_unknown_gate_name() -> None:
    with pytest.raises(UnknownNameError, match=r"Unknown gate 'cnoot'\. Did you mean 'cnot'"):
        NoiseModel(gates={"cnoot": GateNoise()})


def test_noise_that_does_not_fit_the_circuit() -> None:
    c = Circuit(3).append("rx", 2, 0.1).append("toffoli", (0, 1, 2))
    rx, toffoli = c.operations
    with pytest.raises(CircuitError, match="depolarizing_1q has 2 rates, one for each wire, and none for wire 2"):
        NoiseModel([0.1, 0.2]).channels(rx)
    with pytest.raises(CircuitError, match=r"says nothing about toffoli on \[0, 1, 2\].*number of wires \(3\)"):
        NoiseModel(0.1).channels(toffoli)
    assert len(NoiseModel(amplitude_damping=0.1).channels(toffoli)) == 3
    with pytest.raises(CircuitError, match="readout errors for 2 wires, none for wire 2"):
        NoiseModel(readout=[(0.1, 0.2), (0.1, 0.3)]).confusion(2)
    with pytest.raises(CircuitError, match="acts on 1 to 4 wires"):
        tuple(NoiseModel(gates={5: GateNoise(0.1)}).channels(Circuit(5).append("c4x", range(5)).operations[0]))


def test_there_are_no_state_vectors() -> None:
    for backend in (DensityMatrixBackend(NOISE), TrajectoryBackend(NOISE)):
        with pytest.raises(BackendError, match=r"there is no state vector.*density_matrices"):
            backend.states(Circuit(1), torch.zeros(1, 0), torch.zeros(0))


def test_memory_is_checked_first() -> None:
    c = hardware_efficient(30, 1).freeze()
    with pytest.raises(CapacityError, match="A density matrix of 30 wires is as large as a state of 60"):
        DensityMatrixBackend(NoiseModel(0.1)).expectations(c, local_z(1), torch.zeros(1, 0), torch.zeros(c.n_weights))
    with pytest.raises(CapacityError, match="30 wires for a batch of 100"):
        TrajectoryBackend(NoiseModel(0.1)).expectations(c, local_z(1), torch.zeros(1, 0), torch.zeros(c.n_weights))


def test_what_is_no_backend_or_number() -> None:
    with pytest.raises(InputError, match="reads a BackendV2"):
        NoiseModel.from_qiskit(object())
    with pytest.raises(InputError, match="at least 1, got 0"):
        TrajectoryBackend(NOISE, 0)
    fake = pytest.importorskip("qiskit.providers.fake_provider")
    with pytest.raises(InputError, match=r"distinct qubits of 0 to 1, one for each wire; got \[0, 0\]"):
        NoiseModel.from_qiskit(fake.GenericBackendV2(2, seed=0), qubits=[0, 0])
