"""`precheck` and what it is made of, against sampled shots, autograd, and circuits whose answer is known."""

from __future__ import annotations

import json
import math
from collections.abc import Callable

import pytest
import torch
from helpers import ReadsFirst
from torch import Tensor, nn

from torchbp import Circuit, PauliSum, QuantumLayer, weight
from torchbp.circuits import (
    angle_encoding,
    global_z,
    hamiltonian_variational,
    hardware_efficient,
    local_z,
    maxcut,
    qaoa,
    tfim,
)
from torchbp.diagnosis.verdicts import Verdict
from torchbp.errors import InputError, PreconditionError, UnknownNameError
from torchbp.gradients.shot_noise import shot_noise
from torchbp.models import HybridClassifier
from torchbp.trainability import precheck
from torchbp.trainability.prechecks.by_paths import PathCase
from torchbp.trainability.prechecks.signal import circuits_per_step, signal_of
from torchbp.trainability.prechecks.variations import first_layers, local_observables, n_layers


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def reuploading() -> Circuit:
    return (angle_encoding(3) + hardware_efficient(3, depth=1)) * 3


def test_signal_is_that_of_the_shot_noise() -> None:
    """Oracle: `shot_noise` and autograd, weight by weight."""
    layer = QuantumLayer(angle_encoding(3) + hardware_efficient(3, 2), local_z(3), generator=generator()).double()
    x, cotangent = torch.rand(4, 3, generator=generator()).double(), torch.rand(4, 3, generator=generator(1)).double()
    noise = shot_noise(layer, x, cotangent)
    alive = noise.gradient.abs() > 1e-12
    found = signal_of(layer, x, cotangent, layer.weights.detach()[None])
    ratio = (noise.gradient.abs() / noise.single_shot_variance.sqrt())[alive].median()
    assert found.ratio == pytest.approx(float(ratio), rel=1e-6)
    assert found.mean_square == pytest.approx(float(noise.gradient.square().mean()), rel=1e-6)
    layer.zero_grad()
    (layer(x) * cotangent).sum().backward()
    assert layer.weights.grad is not None
    assert found.mean_square == pytest.approx(float(layer.weights.grad.square().mean()), rel=1e-6)
    assert found.snr(found.shots_per_step) == pytest.approx(3)


@pytest.mark.parametrize("features_train", [False, True])
def test_circuits_are_those_that_are_paid_for(features_train: bool) -> None:
    """Oracle: the layer's own count of shots in a forward and backward pass."""
    layer = QuantumLayer(reuploading(), ["Z0", "X1"], shots=10, generator=generator())
    x = torch.rand(5, 3, requires_grad=features_train)
    layer(x).sum().backward()
    assert circuits_per_step(layer, 5, features_train) * 10 == layer.shots_used


@pytest.mark.parametrize("depth", [1, 2, 3])
def test_first_layers(depth: int) -> None:
    """Oracle: the circuit built with fewer layers; the weights kept are those of its layers."""
    cut, kept = first_layers(reuploading(), depth)
    short = (angle_encoding(3) + hardware_efficient(3, depth=1)) * depth
    if depth < 3:  # the encoding before the next layer belongs to the one before it
        short = short + angle_encoding(3)
    weights, x = torch.rand(len(kept), generator=generator()), torch.rand(2, 3, generator=generator())
    one, other = (QuantumLayer(c, init=weights)(x) for c in (cut, short))
    assert torch.allclose(one, other, atol=1e-6)
    assert kept == tuple(range(9 * depth))
    assert [layer.name for layer in cut.layers] == [f"layer{i}" for i in range(depth)]


def test_first_layers_keep_shared_weights_and_gates_before() -> None:
    """A weight that two layers share stays one; gates outside of the layers stay; the full depth changes nothing."""
    shared = weight()
    circuit = Circuit(2).append("h", 0).start_layer("a").append("rx", 0, 2 * shared + 0.1).append("ry", 1, weight())
    circuit.start_layer("b").append("rx", 1, shared).append("rz", 0, weight())
    cut, kept = first_layers(circuit, 2)
    assert (kept, cut.n_weights, n_layers(cut)) == ((0, 1, 2), 3, 2)
    weights = torch.tensor([0.3, 0.5, 0.7])
    assert torch.equal(QuantumLayer(cut, init=weights)(), QuantumLayer(circuit, init=weights)())
    assert str(first_layers(circuit, 1)[0].operations[0]) == "h on [0]"


def test_local_observables() -> None:
    """A string becomes the mean of its letters; single letters and the identity stay."""
    found = local_observables([PauliSum({"Z0 Z1": 2.0, "X2": 0.5, "I": -1.0}), global_z(4)])
    assert found[0] == PauliSum({"Z0": 1.0, "Z1": 1.0, "X2": 0.5, "I": -1.0})
    assert found[1] == PauliSum({f"Z{w}": 0.25 for w in range(4)})


# The verdict


def test_plateau_of_a_global_cost() -> None:
    """One layer of RY and a global observable, 12 wires: (1/2)^12 of variance. A local cost has a gradient, which is
    found on the spot: known gain (1 / (2 n^2)) / ((1/2) (1/2)^(n-1)) within the scatter of 16 starts.
    """
    n = 12
    circuit = Circuit(n).start_layer()
    for w in range(n):
        circuit.append("ry", w, weight())
    found = precheck(circuit, observables=global_z(n), steps=100, budget=1e6, price_per_shot=0.001)
    assert found.verdict is Verdict.BARREN_PLATEAU
    assert not found.fine
    local = next(s for s in found.suggestions if s.what == "local cost")
    known = (1 / (2 * n**2)) / 0.5**n
    assert known / 5 < local.gain < known * 30  # 16 draws of a heavy-tailed square read low
    assert found.shots_per_run == found.start.shots_per_step * 100
    assert found.price == pytest.approx(found.shots_per_run * 0.001)
    assert "price of a run" in found.report()
    assert "local cost: gradient variance x" in found.report()


def test_trainable_within_the_budget_or_not() -> None:
    """The same shallow local circuit is fine where shots abound and limited by shots where they don't."""
    circuit = angle_encoding(3) + hardware_efficient(3, depth=2)
    rich = precheck(circuit, observables="Z1", steps=10, budget=1e9)
    assert (rich.verdict, rich.fine) == (Verdict.HEALTHY, True)
    assert rich.acceptable_depths == (1, 2)
    assert "Every depth has an SNR of 3 within the budget." in rich.report()
    poor = precheck(circuit, observables="Z1", steps=10, budget=1e3)
    assert poor.verdict is Verdict.SHOT_LIMITED
    assert "No depth has an SNR of 3 within the budget." in poor.report()
    assert [p.depth for p in poor.depths] == [1, 2]
    assert poor.depths[-1].snr == pytest.approx(3 * math.sqrt(100 / poor.start.shots_per_step))


def test_stationary_start() -> None:
    """|0...0> is an eigenstate of Z: the gradient is exactly zero, which is no plateau; any other start helps."""
    found = precheck(QuantumLayer(hardware_efficient(3, 2), init=torch.zeros(18)))
    assert found.verdict is Verdict.LOCAL_MINIMUM
    assert "stationary start" in found.report()
    assert "no number of shots is enough" in found.report()
    assert {s.gain for s in found.suggestions} == {math.inf}


def test_dead_circuit() -> None:
    """No weight reaches the measured wire."""
    found = precheck(Circuit(2).start_layer().append("rx", 0, weight()), observables="Z1")
    assert found.verdict is Verdict.DEAD_LAYER
    assert found.dead_weights == 1


def test_a_model_is_left_as_it_was() -> None:
    """Weights, gradients, random state and the training flag; and the loss is the model's own, with its data."""
    model = HybridClassifier(n_features=5, n_classes=3, n_wires=3, depth=2)
    batch = (torch.rand(6, 5), torch.tensor([0, 1, 2, 0, 1, 2]))
    before = [p.detach().clone() for p in model.parameters()]
    state = torch.get_rng_state()
    stages: list[str] = []
    found = precheck(model, [batch], progress=stages.append)
    assert all(torch.equal(a, b) for a, b in zip(before, model.parameters(), strict=True))
    assert all(p.grad is None for p in model.parameters())
    assert torch.equal(state, torch.get_rng_state())
    assert (found.layer, found.n_wires, found.n_layers) == ("quantum", 3, 2)
    assert stages[0] == "a batch through the model"
    assert found.start.circuits == circuits_per_step(model.quantum, 6, features_train=True)  # type: ignore[arg-type]
    model.loss(model(batch[0]), batch[1]).backward()
    assert model.quantum.weights.grad is not None
    expected = float(model.quantum.weights.grad.double().square().mean())
    assert found.start.mean_square == pytest.approx(expected, rel=0.2)  # dead weights are not counted


def test_a_module_that_takes_more_features_than_it_reads() -> None:
    """Oracle: the circuits of its weights alone."""
    layer = QuantumLayer.from_torchquantum(ReadsFirst(), example=torch.zeros(1, 3))
    found = precheck(nn.Sequential(layer), [(torch.rand(6, 3), torch.tensor([0, 1, 0, 1, 0, 1]))])
    assert found.start.circuits == circuits_per_step(layer, 6, features_train=False)


@pytest.mark.parametrize(
    ("circuit", "observables"),
    [
        (hardware_efficient(4, 4, rotations=("rz",), gate="cz"), "Z0"),
        (Circuit(4).append("rz", 0, weight()).append("ry", 1, weight()), "Z0"),
        (qaoa(maxcut([(0, 1), (1, 2)]), 3, depth=2), "Z0"),
    ],
)
def test_a_circuit_that_cannot_move_what_is_measured(circuit: Circuit, observables: str) -> None:
    """<Z0> is 1 at all weights, or 0 by symmetry: no plateau, and no number of shots or other start helps."""
    found = precheck(circuit, observables=observables, seconds=1)
    assert found.verdict is Verdict.DEAD_LAYER
    assert "can't move what is measured" in found.evidence[0]


def test_loss_functions_and_initializers() -> None:
    """A loss of one's own is the one that is looked at; an initializer takes the place of the present weights."""
    layer = QuantumLayer(angle_encoding(2) + hardware_efficient(2, 1), local_z(2))
    x = torch.rand(4, 2)

    def loss(model: nn.Module, batch: Tensor) -> Tensor:
        return 10 * model(batch).mean()

    plain, scaled = precheck(layer, [x]), precheck(layer, [x], loss_fn=loss)
    assert scaled.start.mean_square == pytest.approx(100 * plain.start.mean_square)
    assert scaled.start.ratio == pytest.approx(plain.start.ratio)
    assert precheck(layer, [x], init="uniform").start != plain.start


def test_time_and_json() -> None:
    """What there is no time for is listed; the result goes into JSON."""
    found = precheck(hardware_efficient(3, 2), seconds=1e-9)
    assert "gaussian init" in found.skipped
    assert "1 of 2 layers" in found.skipped
    assert "No time for: gaussian init" in found.report()
    values = json.loads(json.dumps(found.to_dict()))
    assert values["verdict"] == found.verdict.value
    assert values["start"]["shots_per_step"] == found.start.shots_per_step


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: precheck(hardware_efficient(2, 1), steps=0), InputError, r"steps is a whole number .* got 0"),
        (lambda: precheck(hardware_efficient(2, 1), budget=-1), InputError, r"budget is a positive .* got -1"),
        (lambda: precheck(hardware_efficient(2, 1), price_per_shot=-1), InputError, r"price_per_shot is a finite .* 0"),
        (lambda: precheck("circuit"), InputError, "needs a Circuit, a QuantumLayer or a module with one, got str"),
        (lambda: precheck(nn.Linear(2, 2)), InputError, "There is no torchbp.QuantumLayer in Linear"),
        (lambda: precheck(hardware_efficient(2, 1), init="gausian"), UnknownNameError, "Did you mean 'gaussian'"),
        (lambda: precheck(QuantumLayer(angle_encoding(2) + hardware_efficient(2, 1))), InputError, "give a loader"),
        (lambda: precheck(QuantumLayer(hardware_efficient(2, 1)), observables="Z0"), InputError, "has its own"),
        (lambda: precheck(QuantumLayer(hardware_efficient(2, 1)), []), InputError, "The loader gives no batch"),
        (lambda: precheck(two(), [torch.rand(1, 2)]), InputError, "2 quantum layers: say which, layer= one of 0, 1"),
        (lambda: precheck(two(), [torch.rand(1, 2)], layer="2"), InputError, "no quantum layer '2' in the model"),
        (lambda: first_layers(hardware_efficient(2, 2), 3), InputError, "has 2 marked layers, so a depth is 1 to 2"),
    ],
)
def test_errors(call: Callable[[], object], error: type[Exception], message: str) -> None:
    """Each says what was given and what is needed."""
    with pytest.raises(error, match=message):
        call()


def two() -> nn.Module:
    circuit = angle_encoding(2) + hardware_efficient(2, 1)
    return nn.Sequential(QuantumLayer(circuit, local_z(2)), QuantumLayer(circuit, local_z(2)))


def test_beyond_the_simulator() -> None:
    """On 40 wires paths answer: a plateau for a global observable, a healthy local one, remedies that help."""
    circuit = hardware_efficient(40, 2, ("ry", "rz"), "line", "cz")
    bad = precheck(circuit, observables=global_z(40))
    assert (bad.method, bad.verdict) == ("paths", Verdict.BARREN_PLATEAU)
    assert "by Pauli paths" in bad.report()
    assert any(s.what == "local cost" and s.gain > 1e3 for s in bad.suggestions)
    assert [point.depth for point in bad.depths] == [1, 2]
    good = precheck(circuit, observables="Z20", budget=1e9)
    assert good.verdict is Verdict.HEALTHY


def test_methods_agree() -> None:
    """Oracle: the simulated gradient of the same circuit, within its draws' scatter."""
    layer = QuantumLayer(hardware_efficient(6, 2, ("ry", "rz"), "line", "cz"), "Z2").double()
    simulated = precheck(layer.circuit, observables="Z2", init="uniform")
    paths = PathCase.of(layer, "uniform", 0)
    assert 0.5 < paths.signal().mean_square / simulated.start.mean_square < 2
    assert 0.4 < paths.signal().ratio / simulated.start.ratio < 2.5
    assert paths.signal().circuits == simulated.start.circuits
    assert 0.5 < paths.concentration().far / simulated.concentration.far < 2


def test_what_paths_do_not_reach_is_named() -> None:
    with pytest.raises(PreconditionError, match="turns several gates"):
        precheck(hamiltonian_variational(tfim(30), 30, 2), observables=tfim(30))
