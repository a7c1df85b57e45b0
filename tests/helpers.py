"""The slow, obvious twin of every simulation: dense matrices, one gate and one sample at a time."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike
from torch import Tensor

from torchbp._torchquantum import tq, tqf
from torchbp.circuits import GATES, Circuit, Operation, Parameter, PauliSum, feature, weight
from torchbp.circuits.operations import Matrix, embed

NONE: tuple[float, ...] = ()


class ReadsFirst(tq.QuantumModule):
    """Takes any number of features and reads the first."""

    def __init__(self) -> None:
        super().__init__()
        self.turn = tq.Op1QAllLayer(tq.RX, 2, has_params=True, trainable=True)
        self.measure = tq.MeasureAll(tq.PauliZ)

    def forward(self, x: Tensor) -> Tensor:
        device = tq.QuantumDevice(n_wires=2, bsz=len(x))
        tqf.ry(device, wires=0, params=x[:, :1])
        self.turn(device)
        return self.measure(device)


def angle_of(parameter: Parameter, x_row: ArrayLike, weights: ArrayLike) -> float:
    """The angle in radians for one sample x_row (F,) and weights (P,)."""
    if parameter.kind == "constant":
        return parameter.offset
    source = np.asarray(x_row if parameter.kind == "feature" else weights, dtype=float)
    return parameter.scale * math.prod(source[i] for i in parameter.indices) + parameter.offset


def matrix_of(operation: Operation, x_row: ArrayLike = NONE, weights: ArrayLike = NONE) -> Matrix:
    """The (2^k, 2^k) matrix of one gate for one sample."""
    angles = [angle_of(p, x_row, weights) for p in operation.parameters]
    matrix = operation.unitary
    if matrix is None:
        matrix = operation.gate.matrix(*angles, n_wires=len(operation.wires))
    return matrix.conj().T if operation.inverse else matrix


def dense_unitary(circuit: Circuit, x_row: ArrayLike = NONE, weights: ArrayLike = NONE) -> Matrix:
    """The (2^n, 2^n) matrix of all gates for one sample."""
    out = np.eye(2**circuit.n_wires, dtype=complex)
    for operation in circuit.operations:
        out = embed(matrix_of(operation, x_row, weights), operation.wires, circuit.n_wires) @ out
    return out


def dense_state(
    circuit: Circuit, x_row: ArrayLike = NONE, weights: ArrayLike = NONE, initial: ArrayLike | None = None
) -> np.ndarray:
    """The final state (2^n,) for one sample, from `initial`, the encoded amplitudes or |0...0>."""
    start = np.zeros(2**circuit.n_wires, dtype=complex)
    start[0] = 1
    if initial is not None:
        start = np.asarray(initial, dtype=complex)
    elif circuit.n_amplitudes:
        amplitudes = np.asarray(x_row, dtype=float)[: circuit.n_amplitudes]
        start[: circuit.n_amplitudes] = amplitudes / np.linalg.norm(amplitudes)
    return dense_unitary(circuit, x_row, weights) @ start


def dense_expectations(
    circuit: Circuit,
    observables: Sequence[PauliSum],
    x: ArrayLike,
    weights: ArrayLike = NONE,
    initial: ArrayLike | None = None,
) -> np.ndarray:
    """Expectation values (B, M) for x (B, F) and weights (P,) or (B, P)."""
    samples = np.asarray(x, dtype=float)
    per_sample = np.broadcast_to(np.asarray(weights, dtype=float), (len(samples), circuit.n_weights))
    matrices = [observable.matrix(circuit.n_wires) for observable in observables]
    out = np.zeros((len(samples), len(matrices)))
    for b, row in enumerate(samples):
        state = dense_state(circuit, row, per_sample[b], initial)
        out[b] = [np.vdot(state, matrix @ state).real for matrix in matrices]
    return out


def expm(generator: Matrix, angle: float) -> Matrix:
    """exp(-i angle generator) of a Hermitian matrix, by its eigendecomposition."""
    levels, vectors = np.linalg.eigh(generator)
    return (vectors * np.exp(-1j * angle * levels)) @ vectors.conj().T


def equal_up_to_phase(one: np.ndarray, other: np.ndarray, atol: float = 1e-9) -> bool:
    """Whether two unitaries or normalized states differ by a global phase only."""
    overlap = np.vdot(one, other)
    return bool(np.allclose(one * overlap / abs(overlap), other, atol=atol))


def random_unitary(rng: np.random.Generator, n_wires: int) -> Matrix:
    """A Haar-random unitary (Mezzadri 2007, math-ph/0609050)."""
    size = 2**n_wires
    q, r = np.linalg.qr(rng.normal(size=(size, size)) + 1j * rng.normal(size=(size, size)))
    return q * (np.diag(r) / abs(np.diag(r)))


def random_state(rng: np.random.Generator, n_wires: int) -> np.ndarray:
    """A Haar-random state (2^n,)."""
    vector = rng.normal(size=2**n_wires) + 1j * rng.normal(size=2**n_wires)
    return vector / np.linalg.norm(vector)


def random_circuit(
    rng: np.random.Generator,
    n_wires: int,
    n_gates: int,
    n_features: int = 3,
    n_weights_shared: int = 2,
    gates: Sequence[str] | None = None,
) -> Circuit:
    """Gates from the whole table (or from `gates`) on random wires, some inverted, in random layers.

    Angles are constants, features, products of features, new weights, or one of `n_weights_shared` weights
    that are used again and again; all with random scales and offsets.
    """
    circuit = Circuit(n_wires)
    names = [*GATES, "qubitunitary"] if gates is None else list(gates)
    fitting = [name for name in names if name not in GATES or (GATES[name].n_wires or 1) <= n_wires]
    shared = [weight() for _ in range(n_weights_shared)]
    for _ in range(n_gates):
        if rng.random() < 0.15:
            circuit.start_layer()
        name = fitting[rng.integers(len(fitting))]
        row = GATES.get(name)
        size = row.n_wires if row is not None and row.n_wires else int(rng.integers(1, n_wires + 1))
        wires = [int(w) for w in rng.permutation(n_wires)[:size]]
        angles = [_random_angle(rng, n_features, shared) for _ in range(row.n_params if row else 0)]
        unitary = None if row else random_unitary(rng, size)
        circuit.append(name, wires, *angles, inverse=bool(rng.random() < 0.3), unitary=unitary)
    return circuit


def one_rotation_per_wire(n: int, gate: str = "ry") -> Circuit:
    """A rotation on each wire, no entanglement: the ansatz whose variances have closed forms (Cerezo 2021)."""
    circuit = Circuit(n)
    for wire in range(n):
        circuit.append(gate, wire, weight())
    return circuit


def global_cost(n: int) -> PauliSum:
    """1 - |0...0><0...0|, without the identity."""
    strings = (c for k in range(1, n + 1) for c in itertools.combinations(range(n), k))
    return PauliSum({" ".join(f"Z{w}" for w in c): -(2.0**-n) for c in strings})


def local_cost(n: int) -> PauliSum:
    """1 - mean_j |0><0|_j, without the identity."""
    return PauliSum({f"Z{w}": -0.5 / n for w in range(n)})


def _random_angle(rng: np.random.Generator, n_features: int, shared: Sequence[Parameter]) -> Parameter | float:
    kinds = ["constant", "weight"] + ["shared"] * bool(shared) + ["feature", "product"] * bool(n_features)
    kind = kinds[rng.integers(len(kinds))]
    if kind == "constant":
        return float(rng.uniform(-np.pi, np.pi))
    if kind in ("feature", "product"):
        parameter = feature(int(rng.integers(n_features)))
        if kind == "product":
            parameter = parameter * feature(int(rng.integers(n_features)))
    else:
        parameter = weight() if kind == "weight" else shared[int(rng.integers(len(shared)))]
    if rng.random() < 0.5:
        parameter = float(rng.uniform(-2, 2)) * parameter + float(rng.uniform(-1, 1))
    return parameter


def heavy_hex() -> tuple[int, list[tuple[int, int]]]:
    """The 127 wires and 144 bonds of a heavy-hexagonal machine: seven rows, and four wires between each two."""
    sizes, rows, bridges, wire = [14, 15, 15, 15, 15, 15, 14], [], [], 0
    for i, size in enumerate(sizes):
        rows.append(range(wire, wire + size))
        wire += size
        if i < 6:
            bridges.append(range(wire, wire + 4))
            wire += 4
    bonds = [(a, a + 1) for row in rows for a in row[:-1]]
    for i, between in enumerate(bridges):
        for j, bridge in enumerate(between):
            column = 4 * j + (0 if i % 2 == 0 else 2)
            # The last row begins one column to the right.
            bonds += [(rows[i][column], bridge), (bridge, rows[i + 1][column - (i == 5)])]
    return wire, sorted(tuple(sorted(bond)) for bond in bonds)  # type: ignore[misc]


def free_fermion_energy(circuit: Circuit, weights: ArrayLike) -> float:
    """Energy of the open TFIM chain with unit couplings, after a circuit of RZZ on neighbours, RX and Hadamards on all.

    The chain is turned by Hadamards, Z to X and X to Z, so that a Jordan-Wigner string of Z goes with
    a_2j = Z...Z X_j, a_2j+1 = Z...Z Y_j: Z_j = -i a_2j a_2j+1 and X_j X_j+1 = -i a_2j+1 a_2j+2. Both are rotations of a
    real covariance matrix, G_kl = <-i a_k a_l> for k < l.
    """
    n = circuit.n_wires
    covariance = np.zeros((2 * n, 2 * n))
    turned = 0
    for operation in circuit.operations:
        name, wires = operation.gate.name, operation.wires
        if name == "h":
            turned += 1
            if turned == n:  # |+...+>, which is |0...0> of the turned chain
                for j in range(n):
                    covariance[2 * j, 2 * j + 1], covariance[2 * j + 1, 2 * j] = 1, -1
            continue
        assert turned == n, "Hadamards come first"
        k = {"rx": 2 * wires[0], "rzz": 2 * min(wires) + 1}[name]
        angle = angle_of(operation.parameters[0], NONE, weights)
        rotation = np.eye(2 * n)
        rotation[k : k + 2, k : k + 2] = [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
        covariance = rotation @ covariance @ rotation.T
    return -float(sum(covariance[k, k + 1] for k in range(2 * n - 1)))
