"""Programs and outcomes as data, and the executors that turn one into the other."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from qiskit import QuantumCircuit
from qiskit.circuit import ParameterVector
from qiskit.quantum_info import Statevector
from qiskit_aer import AerSimulator
from qiskit_aer.noise import NoiseModel, ReadoutError

from torchbp import PauliSum
from torchbp.circuits import GATES
from torchbp.circuits.grouping import group_qubit_wise
from torchbp.errors import BackendError, InputError
from torchbp.hardware.estimation import misreadings, moments
from torchbp.hardware.executors import AerExecutor
from torchbp.hardware.outcomes import Outcomes
from torchbp.hardware.program import Limit, Program, Pub
from torchbp.translation.qiskit.gates import qiskit_steps


def circuit(n_parameters: int = 12, extra: float = 0.1) -> QuantumCircuit:
    t, out = ParameterVector("t", n_parameters), QuantumCircuit(3, 2)
    for i in range(n_parameters):
        out.rx(2 * t[i] + extra, i % 3)
    out.unitary(np.diag([1, 1j, 1, -1]), [0, 2])
    out.measure([2, 0], [0, 1])
    return out


def pub(n: int = 5, shots: int | None = 100, **options: float) -> Pub:
    made = circuit(**options)
    names = tuple(p.name for p in made.parameters)
    return Pub(made, names, np.arange(n * len(names), dtype=float).reshape(n, -1), shots)


def of_shots(n: int, shots: int, n_bits: int, seed: int = 0) -> tuple[Outcomes, np.ndarray]:
    bits = np.random.default_rng(seed).integers(0, 2, (n, shots, n_bits))
    return Outcomes.from_shots(bits), bits


# Programs


def test_the_hash_is_of_the_content() -> None:
    """Equal for the same content built twice, in any order of its columns; else other."""
    one = Program((pub(), pub(3)))
    assert Program((pub(), pub(3))).content == one.content
    reordered = Pub(one.pubs[0].circuit, one.pubs[0].parameters[::-1], one.pubs[0].values[:, ::-1], 100)
    assert Program((reordered, pub(3))).content == one.content
    for other in [(pub(3), pub()), (pub(), pub(3, 99)), (pub(), pub(3, extra=0.2)), (pub(), pub(4)), (pub(),)]:
        assert Program(other).content != one.content


def test_programs_in_files(tmp_path: Path) -> None:
    """Written and read, a program is what it was: exact shots, no shots, no parameters."""
    bare = QuantumCircuit(1, 1)
    bare.measure(0, 0)
    one = Program((pub(), pub(2, None), Pub(bare, (), np.empty((4, 0)), 7)))
    one.save(tmp_path / "program.npz")
    again = Program.load(tmp_path / "program.npz")
    assert (again.content, again.circuits, again.shots) == (one.content, 11, 5 * 100 + 4 * 7)
    with pytest.raises(InputError, match="This is no program of torchbp"):
        Program.from_bytes(b"nothing")


@pytest.mark.parametrize(
    ("limit", "sizes"),
    [
        (Limit(), [8]),
        (Limit(circuits=3), [3, 3, 2]),
        (Limit(shots=250), [2, 2, 2, 2]),
        (Limit(circuits=6, shots=500), [5, 3]),
    ],
)
def test_chunks_are_the_whole(limit: Limit, sizes: list[int]) -> None:
    """Nothing over the limit, nothing twice; the outcomes of the chunks join to those of the whole."""
    whole = Program((pub(), pub(3)))
    chunks = whole.chunks(limit)
    assert [chunk.circuits for chunk in chunks] == sizes
    assert sum(chunk.shots for chunk in chunks) == whole.shots

    def run(program: Program) -> list[Outcomes]:
        """Outcomes that tell which values they belong to."""
        return [Outcomes.from_counts([{f"{int(v) % 4:02b}": v} for v in p.values[:, 1]], 2, 100) for p in program.pubs]

    joined, direct = whole.join(chunks, map(run, chunks)), run(whole)
    assert [o.counts() for o in joined] == [o.counts() for o in direct]


def test_wrong_programs() -> None:
    made = circuit(2)
    with pytest.raises(InputError, match=r"parameters are \['t\[0\]', 't\[1\]'\], values were given for \['t\[0\]'\]"):
        Pub(made, ("t[0]",), np.zeros((1, 1)), 1)
    with pytest.raises(InputError, match=r"2 parameters need values of shape \(N, 2\), got \(1, 3\)"):
        Pub(made, ("t[0]", "t[1]"), np.zeros((1, 3)), 1)
    with pytest.raises(InputError, match="hold NaN or infinity: nothing was sent"):
        Pub(made, ("t[0]", "t[1]"), np.full((1, 2), np.nan), 1)
    with pytest.raises(InputError, match="shots >= 1, or None for exact values; got 0"):
        Pub(made, ("t[0]", "t[1]"), np.zeros((1, 2)), 0)
    with pytest.raises(InputError, match="run 100 times, and a job may have 50 shots"):
        Program((pub(),)).chunks(Limit(shots=50))


# Outcomes


@pytest.mark.parametrize("n_bits", [1, 3, 8, 70])
def test_outcomes_in_every_form(n_bits: int) -> None:
    """Oracle: counting by hand. Single shots, counts, arrays, parts put together; more bits than a byte or a word."""
    outcomes, bits = of_shots(4, 30, n_bits)
    counts = outcomes.counts()
    for i, row in enumerate(bits):
        texts = ["".join(map(str, shot)) for shot in row]
        assert counts[i] == {text: texts.count(text) for text in texts}
    again = Outcomes.from_arrays(Outcomes.from_counts(counts, n_bits, 30).arrays())
    assert again.counts() == counts
    both = Outcomes.concatenate([outcomes, Outcomes.empty(n_bits, 30), again])
    assert both.counts() == counts * 2
    assert both.owner().tolist() == np.repeat(np.arange(8), [len(c) for c in counts * 2]).tolist()
    with pytest.raises(InputError, match=f"An outcome of {n_bits} bits is expected, got '10101'"):
        Outcomes.from_counts([{"10101": 1}], n_bits, 1)


def test_means_and_covariances() -> None:
    """Oracle: numpy's mean and covariance of the values of single shots, with and without corrected readings."""
    observables = [PauliSum({"X0 X2": 0.5, "Z1": 2.0}), PauliSum({"X0": 1.0, "Z1": -1.0}), PauliSum("X2")]
    grouping = group_qubit_wise(observables)
    (group,), (coefficients,) = grouping.groups, grouping.coefficients
    outcomes, bits = of_shots(5, 40, 3)
    readout = np.array([[0.1, 0.2], [0.0, 0.0], [0.05, 0.3]])
    for correction in (None, readout):
        z = 1.0 - 2.0 * bits
        if correction is not None:
            z = (z - (correction[:, 1] - correction[:, 0])) / (1 - correction.sum(1))
        x0, z1, x2 = np.moveaxis(z, -1, 0)
        values = np.stack([0.5 * x0 * x2 + 2 * z1, x0 - z1, x2], axis=-1)
        mean, covariance = moments(outcomes, group, coefficients, correction)
        assert np.allclose(mean, values.mean(1))
        assert np.allclose(covariance, [np.cov(v.T) for v in values])


def test_misreadings_are_shares() -> None:
    zeros = Outcomes.from_counts([{"00": 90, "01": 10}], 2, 100)
    ones = Outcomes.from_counts([{"11": 75, "01": 25}], 2, 100)
    assert misreadings(zeros, ones).tolist() == [[0.0, 0.25], [0.1, 0.0]]


# Executors


@pytest.mark.parametrize("name", sorted(name for name, row in GATES.items() if row.n_params))
def test_aer_binds_every_gate(name: str) -> None:
    """Oracle: Qiskit's state vectors. Aer itself leaves out the parameters of some gates, and says nothing."""
    row = GATES[name]
    k, t = row.n_wires or 3, ParameterVector("t", row.n_params)
    made = QuantumCircuit(k, k)
    for wire in range(k):
        made.ry(0.3 + 0.5 * wire, wire)
        made.rz(0.7 * wire + 0.2, wire)
    for gate, on in qiskit_steps(name, [0.1 - p / 2 for p in t], k):
        made.append(gate, on)
    for wire in range(k):
        made.rx(0.4 + 0.5 * wire, wire)
    read = made.copy()
    read.measure(range(k), range(k))
    values = np.random.default_rng(0).uniform(-3, 3, (3, row.n_params))
    native = read.decompose("xx_plus_yy") if name in ("xy", "singleexcitation", "xxplusyy") else read
    native = native.decompose("xx_minus_yy") if name in ("xyminus", "xxminyy") else native
    run = AerExecutor(AerSimulator()).run(Program((Pub(native, tuple(p.name for p in t), values, None),)))
    for found, row_of_values in zip(run[0].weights.reshape(3, -1), values, strict=True):
        bound = made.assign_parameters(dict(zip(t, row_of_values, strict=True)))
        assert np.allclose(found, Statevector(bound.reverse_bits()).probabilities(), atol=1e-9)


def test_what_aer_cannot_tell() -> None:
    """Exact values under readout errors of two qubits together."""
    noise = NoiseModel()
    noise.add_readout_error(ReadoutError(np.full((4, 4), 0.25)), [0, 1])
    executor = AerExecutor(AerSimulator(noise_model=noise))
    with pytest.raises(BackendError, match="readout errors of several qubits together: give shots="):
        executor.run(Program((pub(1, None),)))
