"""QAOA on MaxCut: known ratios on rings, brute force on weighted graphs, sampling."""

from __future__ import annotations

import itertools
import math
from pathlib import Path

import lightning.pytorch as pl
import numpy as np
import pytest
import torch
from fits import trainer_of
from helpers import dense_state

from torchbp import Circuit, weight
from torchbp.backends.noise import NoiseModel
from torchbp.circuits import hardware_efficient
from torchbp.errors import CapacityError, InputError
from torchbp.models import QAOA
from torchbp.models.qaoa import best_cut, linear_ramp

WEIGHTED = [(0, 1, 1.5), (1, 2, 0.5), (2, 3, 2.0), (3, 4, 1.0), (4, 0, 0.7), (0, 2, -0.4), (1, 3)]


def fit(model: QAOA, steps: int) -> QAOA:
    trainer_of(pl, [], max_steps=steps, max_epochs=-1).fit(model)
    return model


def brute_force(edges: list, n: int) -> float:
    return max(
        sum(w for a, b, w in ((*e, 1.0)[:3] for e in edges) if s[a] != s[b])
        for s in itertools.product((0, 1), repeat=n)
    )


@pytest.mark.parametrize("depth", [1, 2])
def test_ratio_on_a_ring(depth: int) -> None:
    """Farhi 2014, section IV: the optimum of depth p on a ring of more than 2p + 1 nodes cuts (2p + 1) / (2p + 2)."""
    ring = [(i, (i + 1) % 8) for i in range(8)]
    model = fit(QAOA(ring, depth, learning_rate=0.05), 120)
    assert math.isclose(model.approximation_ratio(), (2 * depth + 1) / (2 * depth + 2), rel_tol=1e-3)


def test_linear_ramp_anneals() -> None:
    """A slow ramp of many steps nears the best cut, with the cost's sign flipped the worst (adiabatic theorem)."""
    ring = [(i, (i + 1) % 6) for i in range(6)]
    assert QAOA(ring, 40).approximation_ratio() > 0.98
    flipped = QAOA(ring, 40, init=lambda c, _: linear_ramp(c) * torch.tensor([-1.0, 1.0]).repeat(40))
    assert flipped.approximation_ratio() < 0.02


def test_weighted_graph() -> None:
    """Oracles: all 32 cuts one by one; the cost as a dense matrix; the state gate by gate."""
    model = QAOA(WEIGHTED, 2, shots=100, generator=torch.Generator().manual_seed(0))
    assert math.isclose(model.optimum.weight, brute_force(WEIGHTED, 5), rel_tol=1e-12)
    assert float(model.cut_weight(torch.tensor(model.optimum.sides))) == model.optimum.weight
    state = dense_state(model.quantum.circuit, (), model.quantum.weights.detach().numpy())
    energy = np.vdot(state, model.hamiltonian.matrix(5) @ state).real
    assert math.isclose(model.exact_energy(), energy, abs_tol=1e-5)
    assert math.isclose(-np.diag(model.hamiltonian.matrix(5)).real.min(), model.optimum.weight, abs_tol=1e-9)
    found = fit(model, 30).solution(512)
    assert found.weight == model.optimum.weight
    assert model.approximation_ratio() > 0.85


def test_matrix_and_edges_are_the_same_graph() -> None:
    matrix = torch.zeros(5, 5)
    for a, b, *w in WEIGHTED:
        matrix[a, b] = matrix[b, a] = w[0] if w else 1.0
    for graph in (matrix, matrix.numpy(), WEIGHTED[::-1]):
        assert math.isclose(QAOA(graph).optimum.weight, QAOA(WEIGHTED).optimum.weight, abs_tol=1e-6)
        assert math.isclose(QAOA(graph).exact_energy(), QAOA(WEIGHTED).exact_energy(), abs_tol=1e-5)


def test_samples_follow_the_state() -> None:
    """Mean cut of the samples against the exact expectation; 6 standard errors, false failures below 1e-8."""
    model = QAOA(WEIGHTED, 1, n_nodes=6)
    sides = model.sample(4000, torch.Generator().manual_seed(1))
    assert sides.shape == (4000, 6)
    assert set(sides.unique().tolist()) == {0, 1}
    cuts = model.cut_weight(sides)
    assert abs(float(cuts.mean()) + model.exact_energy()) < 6 * float(cuts.std()) / 4000**0.5
    assert model.quantum.shots_used == 4000


def test_samples_of_asymmetric_and_noisy_circuits() -> None:
    """X on node 1 gives 010; a readout that always errs gives its complement."""
    circuit = Circuit(3).append("x", 1).append("rz", 0, weight())
    assert QAOA([(0, 1), (1, 2)], ansatz=circuit).sample(5).tolist() == [[0, 1, 0]] * 5
    wrong = QAOA([(0, 1), (1, 2)], ansatz=circuit, noise=NoiseModel(readout=1.0))
    assert wrong.sample(5).tolist() == [[1, 0, 1]] * 5
    assert wrong.solution(1).weight == 2.0


def test_another_ansatz_and_loading_back(tmp_path: Path) -> None:
    model = QAOA([(0, 1), (1, 2)], ansatz=hardware_efficient(3, 1), shots=100, learning_rate=0.2)
    trainer = trainer_of(pl, [], max_steps=3)
    trainer.fit(model)
    trainer.save_checkpoint(tmp_path / "qaoa.ckpt")
    path = tmp_path / "qaoa.ckpt"
    twin = QAOA.load_from_checkpoint(path, weights_only=True, ansatz=hardware_efficient(3, 1))
    assert twin.exact_energy() == model.exact_energy()
    assert (twin.edges, twin.learning_rate, twin.quantum.shots) == (model.edges, 0.2, 100)


def test_best_cut_in_chunks() -> None:
    """Oracle: an even ring can be cut everywhere; 20 nodes take several chunks."""
    assert best_cut([(i, (i + 1) % 20, 1.0) for i in range(20)], 20).weight == 20.0


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: QAOA([]), InputError, "no edges"),
        (lambda: QAOA([(0, 0)]), InputError, r"different nodes counted from 0, got \(0, 0\)"),
        (lambda: QAOA([(0, -1)]), InputError, "different nodes"),
        (lambda: QAOA([(0, 1.5)]), InputError, r"got \(0, 1.5\)"),
        (lambda: QAOA([(0, 1, math.nan)]), InputError, "got"),
        (lambda: QAOA([3]), InputError, "An edge is .* got 3"),
        (lambda: QAOA(torch.eye(2)[:1]), InputError, r"symmetric, \(n, n\), finite; got shape \(1, 2\)"),
        (lambda: QAOA(torch.tensor([[0.0, 1.0], [0.0, 0.0]])), InputError, "symmetric"),
        (lambda: QAOA([(0, 3)], n_nodes=2), InputError, "n_nodes is a whole number of at least 4, got 2"),
        (lambda: QAOA([(0, 1)], ansatz=hardware_efficient(3, 1)), InputError, "a wire for each of 2 nodes"),
        (lambda: QAOA([(0, 1)], ansatz=hardware_efficient(2, 1), init=linear_ramp), InputError, 'init="gaussian"'),
        (lambda: QAOA([(0, 1)]).sample(0), InputError, "n_samples is a whole number of at least 1, got 0"),
        (lambda: QAOA([(0, 1, -1.0)]).approximation_ratio(), InputError, "No cut of this graph"),
        (lambda: QAOA([(0, 25)]).optimum, CapacityError, "at most 24 nodes, got 26"),
    ],
)
def test_messages(make: object, error: type, message: str) -> None:
    with pytest.raises(error, match=message):
        make()  # type: ignore[operator]
