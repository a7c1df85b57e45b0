"""The gate table: every matrix against TorchQuantum, Qiskit and its own definition."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from helpers import expm, random_state, random_unitary
from qiskit.circuit import library
from qiskit.quantum_info import Operator

from torchbp._torchquantum import mat_dict
from torchbp.circuits import GATES, gate
from torchbp.circuits.operations import (
    _BY_ANY_NAME,
    PAULIS,
    Matrix,
    Rotation,
    X,
    Y,
    Z,
    controlled,
    embed,
    kron,
)
from torchbp.errors import CircuitError, UnknownNameError

SIZES = [(name, k) for name, row in GATES.items() for k in ([row.n_wires] if row.n_wires else [1, 2, 3])]
ROTATIONS = [(name, k) for name, k in SIZES if GATES[name].generator is not None]
COMPOSITES = [name for name, row in GATES.items() if row.factors is not None]

# cu2 lacks a factor 1/sqrt(2) in TorchQuantum 0.1.8, so it isn't unitary there.
TORCHQUANTUM = sorted(name for name in _BY_ANY_NAME if name in mat_dict and name != "cu2")

QISKIT: dict[str, Any] = {
    "i": library.IGate,
    "x": library.XGate,
    "y": library.YGate,
    "z": library.ZGate,
    "h": library.HGate,
    "s": library.SGate,
    "sdg": library.SdgGate,
    "t": library.TGate,
    "tdg": library.TdgGate,
    "sx": library.SXGate,
    "sxdg": library.SXdgGate,
    "cnot": library.CXGate,
    "cy": library.CYGate,
    "cz": library.CZGate,
    "ch": library.CHGate,
    "cs": library.CSGate,
    "csdg": library.CSdgGate,
    "csx": library.CSXGate,
    "swap": library.SwapGate,
    "iswap": library.iSwapGate,
    "dcx": library.DCXGate,
    "ecr": library.ECRGate,
    "toffoli": library.CCXGate,
    "ccz": library.CCZGate,
    "cswap": library.CSwapGate,
    "rccx": library.RCCXGate,
    "c3x": library.C3XGate,
    "rc3x": library.RC3XGate,
    "c3sx": library.C3SXGate,
    "c4x": library.C4XGate,
    "rx": library.RXGate,
    "ry": library.RYGate,
    "rz": library.RZGate,
    "p": library.PhaseGate,
    "rxx": library.RXXGate,
    "ryy": library.RYYGate,
    "rzz": library.RZZGate,
    "rzx": library.RZXGate,
    "crx": library.CRXGate,
    "cry": library.CRYGate,
    "crz": library.CRZGate,
    "cp": library.CPhaseGate,
    "r": library.RGate,
    "u2": library.U2Gate,
    "u3": library.U3Gate,
    "cu3": library.CU3Gate,
    "cu": library.CUGate,
    "xxplusyy": library.XXPlusYYGate,
    "xxminyy": library.XXMinusYYGate,
    "cu2": lambda a, b: library.U2Gate(a, b).control(1),
}


def angles_for(name: str, seed: int = 0) -> list[float]:
    return [float(a) for a in np.random.default_rng(seed).uniform(-3, 3, gate(name).n_params)]


def reversed_wires(matrix: Matrix) -> Matrix:
    """The same gate with its wires in reverse order."""
    k = int(np.log2(len(matrix)))
    axes = [*range(k - 1, -1, -1), *range(2 * k - 1, k - 1, -1)]
    return matrix.reshape((2,) * (2 * k)).transpose(axes).reshape(matrix.shape)


@pytest.mark.parametrize("name", TORCHQUANTUM)
def test_matrix_is_torchquantums(name: str) -> None:
    """Oracle: TorchQuantum's own matrix of the gate."""
    row, angles, theirs = gate(name), angles_for(name), mat_dict[name]
    for k in [row.n_wires] if row.n_wires else [2, 3, 4]:
        wanted = theirs
        if callable(theirs):
            arguments = [torch.tensor([angles])] if angles else []
            wanted = theirs(*arguments, *([] if row.n_wires else [k]))
        np.testing.assert_allclose(row.matrix(*angles, n_wires=k), wanted.reshape(2**k, 2**k), atol=1e-6)


def test_table_covers_torchquantum() -> None:
    """Oracle: TorchQuantum's gate names; left out are a global phase and variants of "qubitunitary"."""
    left_out = {"globalphase", "qubitunitary", "qubitunitaryfast", "qubitunitarystrict"}
    assert set(mat_dict) - set(_BY_ANY_NAME) == left_out


@pytest.mark.parametrize("name", QISKIT)
def test_matrix_is_qiskits(name: str) -> None:
    """Oracle: Qiskit's matrix, whose first qubit is the least significant."""
    angles = angles_for(name)
    theirs = Operator(QISKIT[name](*angles)).data
    np.testing.assert_allclose(GATES[name].matrix(*angles), reversed_wires(theirs), atol=1e-12)


@pytest.mark.parametrize("k", [1, 2, 3, 4])
def test_gates_on_any_number_of_wires(k: int) -> None:
    """Oracle: Qiskit for the Fourier transform and the controlled X, a dense exponential for multirz."""
    wanted = expm(kron(*[Z] * k) / 2, 0.7)
    np.testing.assert_allclose(GATES["multirz"].matrix(0.7, n_wires=k), wanted, atol=1e-12)
    # Both transform the number that the wires spell, each in its own order: nothing to reverse.
    np.testing.assert_allclose(GATES["qft"].matrix(n_wires=k), library.QFTGate(k).to_matrix(), atol=1e-12)
    if k > 1:
        theirs = Operator(library.XGate().control(k - 1)).data
        np.testing.assert_allclose(GATES["multicnot"].matrix(n_wires=k), reversed_wires(theirs), atol=1e-12)
        theirs = Operator(library.XGate().control(k - 1, ctrl_state=0)).data
        got = GATES["multixcnot"].matrix(n_wires=k)
        np.testing.assert_allclose(got, reversed_wires(theirs), atol=1e-12)


def test_cu2_is_the_controlled_u2() -> None:
    """Oracle: the block matrix of the table's own u2, which equals Qiskit's."""
    np.testing.assert_allclose(GATES["cu2"].matrix(0.3, -1.2), controlled(GATES["u2"].matrix(0.3, -1.2)), atol=1e-12)


@pytest.mark.parametrize(("name", "k"), SIZES)
def test_every_gate_is_unitary(name: str, k: int) -> None:
    """Oracle: U U^dagger = 1."""
    matrix = GATES[name].matrix(*angles_for(name), n_wires=k)
    assert matrix.shape == (2**k, 2**k)
    np.testing.assert_allclose(matrix @ matrix.conj().T, np.eye(2**k), atol=1e-12)


@pytest.mark.parametrize(("name", "k"), ROTATIONS)
def test_rotation_is_the_exponential_of_its_generator(name: str, k: int) -> None:
    """Oracle: exp(-i t G) by eigendecomposition."""
    generator = GATES[name].generator
    assert generator is not None
    for angle in (-4.0, 0.0, 0.3, 2.0, 7.0):
        np.testing.assert_allclose(GATES[name].matrix(angle, n_wires=k), expm(generator(k), angle), atol=1e-12)


@pytest.mark.parametrize(("name", "k"), ROTATIONS)
def test_two_term_says_whether_the_two_term_shift_rule_holds(name: str, k: int) -> None:
    """Oracle: the derivative from the generator; the rule evaluates E(t +- pi/2w), w the spectrum's width."""
    rng = np.random.default_rng(1)
    rotation, matrix = GATES[name].rotation(k), random_unitary(rng, k)
    observable = matrix @ np.diag(rng.normal(size=2**k)) @ matrix.conj().T
    state, width = random_state(rng, k), np.ptp(np.linalg.eigvalsh(rotation.generator))

    def energy(angle: float) -> float:
        turned = rotation.matrix(angle) @ state
        return float(np.vdot(turned, observable @ turned).real)

    turned = rotation.matrix(0.4) @ state
    exact = 2 * np.vdot(turned, observable @ (-1j * rotation.generator @ turned)).real
    shift = np.pi / (2 * width)
    two_term = width / 2 * (energy(0.4 + shift) - energy(0.4 - shift))
    assert rotation.two_term == bool(np.isclose(exact, two_term, atol=1e-9))


@pytest.mark.parametrize("name", COMPOSITES)
def test_composite_is_the_product_of_its_factors(name: str) -> None:
    """Oracle: the factors multiplied one by one, written as Kronecker products."""
    row, angles = GATES[name], angles_for(name, seed=2)
    assert row.factors is not None
    assert row.n_wires is not None
    out = np.eye(2**row.n_wires)
    for factor, wires, constant, coefficients in row.factors:
        angle = constant + sum(c * a for c, a in zip(coefficients, angles, strict=True))
        matrix = GATES[factor].matrix(angle)
        if len(wires) < row.n_wires:
            matrix = kron(*(matrix if w in wires else PAULIS["I"] for w in range(row.n_wires)))
        else:
            assert wires == tuple(range(row.n_wires))
        out = matrix @ out
        assert sum(c != 0 for c in coefficients) <= 1
    np.testing.assert_allclose(row.matrix(*angles), out, atol=1e-12)


@pytest.mark.parametrize("wires", [(0,), (2,), (0, 1), (2, 0), (1, 2, 0), (3, 1), (2, 3, 0, 1)])
def test_embed(wires: tuple[int, ...]) -> None:
    """Oracle: products of Pauli matrices written as a Kronecker product over all wires."""
    letters = "XYZX"[: len(wires)]
    embedded = embed(kron(*(PAULIS[letter] for letter in letters)), wires, 4)
    by_wire = dict(zip(wires, letters, strict=True))
    np.testing.assert_array_equal(embedded, kron(*(PAULIS[by_wire.get(w, "I")] for w in range(4))))


def test_names_and_aliases() -> None:
    """Oracle: the table itself."""
    assert gate("CX") is gate("cnot") is GATES["cnot"]
    assert gate("hadamard") is GATES["h"]
    assert len(_BY_ANY_NAME) == len(GATES) + sum(len(row.aliases) for row in GATES.values())


@pytest.mark.parametrize("name", ["cnott", "", None, 3])
def test_unknown_gate(name: Any) -> None:
    """The message names what was given and what there is."""
    with pytest.raises(UnknownNameError, match=r"Unknown gate .*Known: c3sx, c3x,"):
        gate(name)
    with pytest.raises(UnknownNameError, match="Did you mean 'cnot'"):
        gate("cnott")


def test_errors_of_matrix() -> None:
    """Messages say what the gate takes."""
    with pytest.raises(CircuitError, match="'rx' takes 1 angles, got 2"):
        GATES["rx"].matrix(0.1, 0.2)
    with pytest.raises(CircuitError, match="'multirz' acts on any number of wires: say n_wires="):
        GATES["multirz"].matrix(0.1)
    with pytest.raises(CircuitError, match=r"eigenvalues 0 and \+-s only, got .* product of gates"):
        Rotation.of(np.diag([1.0, 2.0]))


def test_paulis() -> None:
    """Oracle: the algebra XY = iZ."""
    np.testing.assert_array_equal(X @ Y, 1j * Z)
