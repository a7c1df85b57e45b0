"""Shot noise in several processes: each has a stream of its own, and one process has what it always had."""

from __future__ import annotations

import copy
import multiprocessing
from typing import Any

import pytest
import torch

from torchbp import QuantumLayer
from torchbp.backends import streams
from torchbp.backends.noise import NoiseModel
from torchbp.backends.trajectories import TrajectoryBackend
from torchbp.circuits import hardware_efficient


def layer(**options: Any) -> QuantumLayer:
    generator = torch.Generator().manual_seed(0)
    return QuantumLayer(hardware_efficient(2, 1), generator=generator, **{"shots": 1000} | options)


def outcomes(measured: QuantumLayer) -> torch.Tensor:
    return torch.stack([measured().detach()[0] for _ in range(4)])


@pytest.fixture
def at(monkeypatch):
    """Pretends to be on a rank."""

    def place(rank: int) -> None:
        monkeypatch.setattr("torch.distributed.is_initialized", lambda: True)
        monkeypatch.setattr("torch.distributed.get_rank", lambda: rank)

    return place


def test_ranks_draw_their_own(at):
    """Layers made alike on three ranks. Oracle: rank 0 draws as without ranks, each rank always the same."""
    alone = outcomes(layer())
    found = []
    for rank in (0, 1, 2, 1):
        at(rank)
        found.append(outcomes(layer()))
    assert torch.equal(found[0], alone)
    assert torch.equal(found[1], found[3])
    assert not torch.equal(found[0], found[1])
    assert not torch.equal(found[1], found[2])


def test_ranks_are_independent(at):
    """The mean over two ranks. Oracle: its variance is half of one rank's; 4 sigma of 256 draws, 8 outputs, are 0.2.

    A ratio of variances of 2 x 512 normal numbers lies outside of 0.5 ± 0.25 once in 1e8 runs (F distribution).
    """
    draws = []
    for rank in (0, 1):
        at(rank)
        measured = layer(shots=10)
        draws.append(torch.stack([measured().detach()[0] for _ in range(512)]))
    share = (sum(draws) / 2).var(0).mean() / draws[0].var(0).mean()
    assert abs(float(share) - 0.5) < 0.25


def test_a_resumed_run(at):
    """From the state of rank 0. Oracle: rank 0 goes on with it, rank 1 has a stream of its own."""
    measured = layer()
    outcomes(measured)
    state = measured.shot_generator.get_state()
    wanted = outcomes(measured)
    found = []
    for rank in (0, 1):
        at(rank)
        twin = layer()
        twin.resume_shots(state)
        found.append(outcomes(twin))
    assert torch.equal(found[0], wanted)
    assert not torch.equal(found[1], wanted)


def test_seeded_outcomes_stay_seeded(at):
    """As remedies compare: both evaluations from one seed, the first draw of the process. Oracle: they are equal."""
    at(1)
    measured, found = layer(), []
    for _ in range(2):
        measured.shot_generator.manual_seed(5)
        found.append(outcomes(measured))
    assert torch.equal(*found)


def test_errors_of_trajectories_too(at):
    """Oracle: as above."""
    found = []
    for rank in (0, 1):
        at(rank)
        noisy = TrajectoryBackend(NoiseModel(0.2, 0.2), 10, torch.Generator().manual_seed(1))
        found.append(outcomes(layer(shots=None, backend=noisy)))
    assert not torch.equal(*found)


def test_copies_in_one_process_stay_copies():
    """Oracle: a copy draws what the original draws."""
    measured = layer()
    assert torch.equal(outcomes(copy.deepcopy(measured)), outcomes(measured))


def report(pipe: Any, measured: QuantumLayer) -> None:
    pipe.send(outcomes(measured).tolist())


@pytest.mark.skipif("fork" not in multiprocessing.get_all_start_methods(), reason="this system can't fork")
def test_forked_workers_draw_their_own():
    """Two workers with a copy of one layer. Oracle: they differ from each other and from their parent."""
    measured, found = layer(), []
    context = multiprocessing.get_context("fork")
    for _ in range(2):
        mine, theirs = context.Pipe()
        worker = context.Process(target=report, args=(theirs, measured))
        worker.start()
        found.append(torch.tensor(mine.recv()))
        worker.join()
    found.append(outcomes(measured))
    assert len({tuple(f.flatten().tolist()) for f in found}) == 3


def test_here():
    """Oracle: one process without ranks."""
    assert streams.here() == streams.birthplace() == multiprocessing.current_process().name
