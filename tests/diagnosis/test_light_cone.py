"""Dead weights and dead layers, against gradients by autograd."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from helpers import random_circuit

from torchbp import Circuit, PauliSum, QuantumLayer, weight
from torchbp.circuits import alternating_layered, angle_encoding, global_z, hardware_efficient, local_z, tfim
from torchbp.diagnosis.light_cone import dead_layers, dead_weights, light_cone
from torchbp.errors import CircuitError
from torchbp.gradients.stats import GradientStatistics, LayerSummary, summarize


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def gradients(layer: QuantumLayer, seeds: int = 8) -> torch.Tensor:
    """(seeds * outputs, P): gradient of every output, each at random weights and inputs."""
    rows = []
    for seed in range(seeds):
        with torch.no_grad():
            layer.weights.copy_(2 * math.pi * torch.rand(layer.weights.shape, generator=generator(seed)))
        y = layer(torch.rand(1, layer.circuit.n_features, generator=generator(seed)))
        for value in y[0]:
            (row,) = torch.autograd.grad(value, layer.weights, retain_graph=True)
            rows.append(row)
    return torch.stack(rows)


def in_three_parts(n: int = 3) -> Circuit:
    """Three layers, of which the second turns and entangles only two spare wires."""
    circuit = Circuit(n + 2)
    for index, wires in enumerate((range(n), range(n, n + 2), range(n))):
        circuit.start_layer(f"layer{index}")
        for wire in wires:
            circuit.append("ry", wire, weight()).append("rx", wire, weight())
        for wire in list(wires)[:-1]:
            circuit.append("cnot", (wire, wire + 1))
    return angle_encoding(n + 2) + circuit


def loose_circuit(seed: int) -> Circuit:
    """Rotations on five wires, with few gates between them."""
    gates = ["rx", "ry", "rz", "u3", "rzz", "crx", "cnot", "swap"]
    return random_circuit(np.random.default_rng(seed), n_wires=5, n_gates=14, n_features=1, gates=gates)


@pytest.mark.parametrize(("depth", "width"), [(1, 4), (2, 8), (3, 12)])
def test_a_brick_wall_widens_by_two_wires_a_side_and_layer(depth: int, width: int) -> None:
    """Oracle: counting bricks. The weights in the cone are those whose gradient is not zero somewhere (autograd)."""
    circuit = alternating_layered(12, depth)
    cone = light_cone(circuit, PauliSum("Z5 Z6"))
    assert len(cone.wires) == width
    if depth == 1:
        layer = QuantumLayer(circuit, "Z5 Z6", generator=generator()).double()
        assert cone.weights == tuple(np.flatnonzero(gradients(layer).abs().amax(0).numpy() > 1e-9))


def test_cone_of_a_wire_that_is_not_there() -> None:
    """Oracle: the message."""
    with pytest.raises(CircuitError, match="acts on wire 5, but the circuit has wires 0 to 1"):
        light_cone(hardware_efficient(2, 1), PauliSum("Z5"))


@pytest.mark.parametrize("seed", range(12))
def test_random_circuits(seed: int) -> None:
    """Oracle: autograd at random weights; what is dead by structure has a gradient of rounding size everywhere."""
    circuit, observables = loose_circuit(seed), [PauliSum(f"Y{seed % 5}")]
    layer = QuantumLayer(circuit, observables, generator=generator()).double()
    found = gradients(layer).abs().amax(0)
    assert all(float(found[i]) < 1e-12 for i in dead_weights(circuit, observables))


def test_the_random_circuits_have_dead_and_live_weights() -> None:
    """Oracle: a count; else the test above would prove nothing."""
    dead = [len(dead_weights(loose_circuit(seed), [PauliSum(f"Y{seed % 5}")])) for seed in range(12)]
    every = [loose_circuit(seed).n_weights for seed in range(12)]
    assert 0.2 * sum(every) < sum(dead) < 0.8 * sum(every)


@pytest.mark.parametrize("observables", [local_z(4), [tfim(4)]])
def test_entangled_circuits_have_none(observables: list[PauliSum]) -> None:
    """Oracle: every weight of RY rotations under CNOTs has a gradient somewhere, by autograd."""
    circuit = hardware_efficient(4, 2, rotations=("ry",))
    layer = QuantumLayer(circuit, observables, generator=generator()).double()
    assert dead_weights(circuit, observables) == ()
    assert float(gradients(layer).abs().amax(0).min()) > 1e-6


def test_the_cone_is_an_upper_bound() -> None:
    """Oracle: autograd: pulled back through the ring of CNOTs, Z on all wires leaves some, which the cone keeps."""
    circuit, observables = hardware_efficient(4, 2, rotations=("ry",)), [global_z(4)]
    found = gradients(QuantumLayer(circuit, observables, generator=generator()).double()).abs().amax(0)
    assert int((found < 1e-12).sum()) == 2
    assert dead_weights(circuit, observables) == ()


def test_a_layer_on_spare_wires() -> None:
    """Oracle: by construction and by autograd: exactly the second layer's weights are dead."""
    circuit, observables = in_three_parts(), local_z(5)[:3]
    layer = QuantumLayer(circuit, observables, generator=generator()).double()
    dead = dead_weights(circuit, observables)
    assert dead == layer.weight_groups["layer1"]
    found = gradients(layer).abs().amax(0)
    assert {i for i, g in enumerate(found.tolist()) if g < 1e-12} == set(dead)
    assert dead_weights(circuit, local_z(5)) == ()


def test_the_cone_narrows_backwards() -> None:
    """Oracle: by hand: Z1 of a staircase of CNOTs sees the wires 0, 1 and what turns wire 2 before CNOT(2, 1) alone."""
    circuit = Circuit(3)
    circuit.append("rx", 2, weight()).append("cnot", (2, 1)).append("rx", 2, weight())
    circuit.append("cnot", (0, 1)).append("rx", 0, weight()).append("ry", 1, weight())
    assert dead_weights(circuit, [PauliSum("Z1")]) == (1, 2)
    assert dead_weights(circuit, [PauliSum("Z1"), PauliSum("X0")]) == (1,)
    assert dead_weights(circuit, [PauliSum({"Z1": 1.0, "X0": 0.5})]) == (1,)
    assert dead_weights(circuit, [PauliSum("I")]) == (0, 1, 2, 3)


def test_a_shared_weight_lives_if_one_of_its_gates_does() -> None:
    """Oracle: by hand."""
    shared = weight()
    circuit = Circuit(2).append("rx", 0, shared).append("rx", 1, 2 * shared)
    assert dead_weights(circuit, [PauliSum("Z1")]) == ()


def measured(layer: QuantumLayer, samples: torch.Tensor, path: str = "q") -> list[LayerSummary]:
    """What a monitor would say of gradient samples (S, P)."""
    return [
        summarize(GradientStatistics.from_samples(samples[:, list(indices)]), f"{path}/{name}", "quantum", "microbatch")
        for name, indices in layer.weight_groups.items()
    ]


@pytest.fixture
def healthy() -> QuantumLayer:
    return QuantumLayer(hardware_efficient(3, 3, rotations=("ry",)), generator=generator())


def test_one_layer_without_gradient_among_healthy_ones(healthy: QuantumLayer) -> None:
    """Oracle: by construction; a layer that is zero but for float32 rounding counts, a small one does not."""
    samples = torch.randn(8, 9, generator=generator(1))
    assert dead_layers("q", healthy, measured(healthy, samples)) == ()
    for size, dead in ((0.0, ("q/layer1",)), (1e-8, ("q/layer1",)), (1e-4, ())):
        scaled = samples.clone()
        scaled[:, 3:6] *= size
        assert dead_layers("q", healthy, measured(healthy, scaled)) == dead


def test_without_noise_in_the_data(healthy: QuantumLayer) -> None:
    """A VQE: all samples are equal, SNR inf, variance zero. Oracle: by construction."""
    samples = torch.tensor([[0.5, 0.1, -0.2, 0.3, 0.1, 0.1, 1e-3, 1e-3, 1e-3]]).expand(8, -1).clone()
    assert dead_layers("q", healthy, measured(healthy, samples)) == ()
    samples[:, 3:6] = 0.0
    assert dead_layers("q", healthy, measured(healthy, samples)) == ("q/layer1",)


def test_zero_counts_are_no_proof(healthy: QuantumLayer) -> None:
    """A handful of shots, none of which hit. Oracle: by construction."""
    samples = torch.randn(8, 9, generator=generator(3))
    samples[:, 3:6] = 0.0
    healthy.shots = 8
    assert dead_layers("q", healthy, measured(healthy, samples)) == ()


def test_mean_zero_is_not_dead(healthy: QuantumLayer) -> None:
    """Samples that cancel have a gradient each. Oracle: by construction."""
    samples = torch.randn(8, 9, generator=generator(2))
    samples[:, 3:6] = 0.01 * torch.tensor([1.0, -1.0] * 4)[:, None]
    assert dead_layers("q", healthy, measured(healthy, samples)) == ()


def test_a_stationary_point_is_something_else(healthy: QuantumLayer) -> None:
    """Oracle: by definition: where all gradients are zero, no layer is singled out, nor where nothing was measured."""
    assert dead_layers("q", healthy, measured(healthy, torch.zeros(8, 9))) == ()
    assert dead_layers("q", healthy, []) == ()
    assert dead_layers("q", healthy, measured(healthy, torch.full((8, 9), math.nan))) == ()


def test_structurally_dead_layers_are_named_even_with_noise() -> None:
    """Shot noise gives dead weights a gradient, of noise. Oracle: by construction."""
    layer = QuantumLayer(in_three_parts(), local_z(5)[:3], generator=generator())
    samples = torch.randn(8, layer.circuit.n_weights, generator=generator(3))
    assert dead_layers("net.q", layer, measured(layer, samples, "net.q")) == ("net.q/layer1",)


def test_other_modules_do_not_count(healthy: QuantumLayer) -> None:
    """A circuit is compared with itself only, and a frozen or hardly measured layer not at all. Oracle: by hand."""
    found = measured(healthy, torch.randn(8, 9, generator=generator(4)))
    small = replace(found[0], name="q2/layer0", variance=0.0, signal=0.0)
    frozen = replace(found[1], n_samples=0, variance=math.nan, signal=math.nan)
    single = replace(found[1], n_samples=1, variance=math.nan, signal=math.nan)
    assert dead_layers("q", healthy, [small, *found]) == ()
    assert dead_layers("q", healthy, [frozen, *found[1:]]) == ()
    assert dead_layers("q", healthy, [single, replace(found[2], variance=0.0, signal=0.0), found[0]]) == ("q/layer2",)
