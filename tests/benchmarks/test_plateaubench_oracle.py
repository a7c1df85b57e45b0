"""PlateauBench's oracle, on runs whose answer is known otherwise: ground states, closed forms, a trap on one wire."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable

import pytest
import torch

from benchmarks.plateaubench.lab import Lab
from benchmarks.plateaubench.layers import dead_layers, strength, variance_over_weights
from benchmarks.plateaubench.oracle import label, roughness, smooth
from benchmarks.plateaubench.scenarios import HALVES, scenarios_of
from benchmarks.plateaubench.scenarios.dev.ends import ground_state, higher_well
from benchmarks.plateaubench.scenarios.dev.untrained import fading, frozen, light_cone
from benchmarks.plateaubench.task import Scenario, Task
from torchbp import Circuit, PauliSum, QuantumLayer, weight
from torchbp.circuits import global_z, strongly_entangling, tfim


def scenario(build: Callable[[int], Task], steps: int) -> Scenario:
    """A short run of it."""

    def shortened(seed: int) -> Task:
        task = build(seed)
        task.steps = steps
        return task

    return Scenario(build.__name__, "", "", shortened)


@pytest.mark.parametrize(
    ("build", "steps", "verdict"),
    [
        (ground_state, 60, "converged"),
        (higher_well, 240, "local_minimum"),
        (light_cone, 40, "dead_layer"),
        (frozen, 40, "not_trained"),
    ],
)
def test_runs_whose_answer_is_known(build: Callable[[int], Task], steps: int, verdict: str) -> None:
    """Oracle: they begin at the lowest eigenvalue, in the higher of two wells, outside of the light cone, frozen."""
    last = label(scenario(build, steps), 0).labels[-1][1]
    assert last[0] == verdict


def test_descents_find_the_ground_state() -> None:
    """Oracle: the smallest eigenvalue of the dense Hamiltonian."""
    lab = Lab(scenario(ground_state, 20), 1)
    ground = float(torch.linalg.eigvalsh(torch.as_tensor(tfim(3).matrix(3)))[0])
    assert lab.lowest == pytest.approx(ground, abs=2e-3)
    assert lab.lowest >= ground - 1e-9


def test_variance_of_one_rotation() -> None:
    """<Z> = cos w has variance 1/2 over the circle; 4,000 draws have a standard error of 0.0056; 0.056 is allowed."""
    circuit = Circuit(1)
    circuit.append("ry", 0, weight())
    layer = QuantumLayer(circuit, PauliSum("Z0")).double()
    assert variance_over_weights(layer, 0, draws=4000) == pytest.approx(0.5, abs=0.056)


def test_variance_of_a_random_circuit_is_that_of_a_2_design() -> None:
    """1/(2^n + 1) (McClean 2018) where Tr O = 0 and Tr O^2 = 2^n; 600 draws know it to 8%, 1.6 is allowed."""
    layer = QuantumLayer(strongly_entangling(5, 8), global_z(5)).double()
    found = variance_over_weights(layer, 1, draws=600)
    assert 1 / 1.6 < found * (2**5 + 1) < 1.6


def test_strength_is_the_trace() -> None:
    """Oracle: the dense matrix."""
    energy = tfim(3, field=0.7) + PauliSum({"I": 2.5})
    matrix = torch.as_tensor(energy.matrix(3)) - 2.5 * torch.eye(8)
    assert strength(energy) == pytest.approx(float(torch.trace(matrix @ matrix).real) / 8)


def test_dead_layers_are_named() -> None:
    """RZ before a measurement of Z does nothing, and RY does."""
    circuit = Circuit(2)
    for name, gate in (("turns", "ry"), ("phases", "rz")):
        circuit.start_layer(name)
        circuit.append(gate, 0, weight()).append(gate, 1, weight())
    layer = QuantumLayer(circuit).double()
    assert dead_layers(layer, 0) == ("phases",)


def test_smoothing_leaves_a_line_alone_and_takes_spikes() -> None:
    line = [(10 * i, 1.0 - 0.1 * i) for i in range(9)]
    assert [smooth(line, step) for step, _ in line] == pytest.approx([value for _, value in line])
    assert roughness(line) == pytest.approx(0.0)
    spiked = [(step, 5.0 if step == 40 else value) for step, value in line]
    assert smooth(spiked, 40) < 1.0


SCENARIOS = [(half, s) for half in HALVES for s in scenarios_of(half)]


def test_names_are_unique_and_every_verdict_is_in_both_halves() -> None:
    names = [s.name for _, s in SCENARIOS]
    assert len(names) == len(set(names))
    built = {half: {s.built for s in scenarios_of(half)} for half in ("dev", "test")}
    assert built["dev"] == built["test"]
    assert len(built["dev"]) == 11


def test_a_copied_run_has_a_device_with_its_own_clock() -> None:
    """Oracle: contrast exp(-0.003 t) of the copy at 100, while the original stands at 0."""
    task = fading(0)
    twin = copy.deepcopy(task)
    twin.module.get_buffer("clock").fill_(100)
    before, after = task.module(task.whole[0]), twin.module(task.whole[0])
    torch.testing.assert_close(after, before * math.exp(-0.3))
