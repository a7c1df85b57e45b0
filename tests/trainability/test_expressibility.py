"""Expressibility and entangling capability against closed forms, Sim 2019's values, PennyLane and Haar states."""

import math

import numpy as np
import pennylane as qml
import pytest
import torch

from torchbp import Circuit, QuantumLayer, weight
from torchbp.circuits import angle_encoding, hardware_efficient
from torchbp.diagnosis.entropy import page_renyi2
from torchbp.errors import InputError
from torchbp.trainability import entanglement_entropy, entangling_capability, expressibility
from torchbp.trainability.states import drawn_states


def seeded(number: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(number)


def ghz(n: int) -> Circuit:
    circuit = Circuit(n).append("h", 0)
    for wire in range(n - 1):
        circuit.append("cnot", (wire, wire + 1))
    return circuit


def test_one_state_is_as_inexpressive_as_can_be() -> None:
    """Oracle: all fidelities in the last bin, where Haar states of one wire are in 1/75: ln 75 = 4.32 (Sim: 4.30)."""
    found = expressibility(Circuit(1).append("h", 0), samples=10)
    assert found.kl == pytest.approx(math.log(75))
    assert found.frame_potential == pytest.approx(1, rel=1e-5)
    assert expressibility(Circuit(3).append("h", 0), samples=10).kl == pytest.approx(7 * math.log(75), rel=1e-6)


def test_a_great_circle() -> None:
    """H, RZ: F = cos^2(phi/2), whose distribution is the arcsine law, E[F^2] = 3/8. |z| < 6: under 1e-8.

    Oracle: the KL divergence of its binned distribution, 0.19; Sim 2019 (figure 1) prints 0.22.
    """
    found = expressibility(Circuit(1).append("h", 0).append("rz", 0, weight()), samples=20_000, generator=seeded())
    exact = np.diff(2 / np.pi * np.arcsin(np.sqrt(np.linspace(0, 1, 76))))
    kl = (exact * np.log(75 * exact)).sum()
    assert abs(found.kl - kl - found.floor) < 6 * found.standard_error
    assert abs(found.frame_potential - 3 / 8) < 6 * found.frame_error
    assert found.standard_error < 0.01


def test_two_rotations_are_more_expressive() -> None:
    """Oracle: Sim 2019, figure 1, prints 0.02 for H, RZ, RX."""
    circuit = Circuit(1).append("h", 0).append("rz", 0, weight()).append("rx", 0, weight())
    assert expressibility(circuit, generator=seeded()).kl == pytest.approx(0.02, abs=0.01)


def test_deep_circuits_look_random() -> None:
    """Oracle: a 2-design, with E[F^2] = 2 / (N (N + 1)), and a divergence that can't be told from none."""
    found = expressibility(hardware_efficient(3, 12), samples=4000, generator=seeded(1))
    assert abs(found.frame_potential - found.haar) < 6 * found.frame_error
    assert found.kl < 3 * found.floor
    assert sum(found.histogram) == pytest.approx(1)
    assert sum(found.haar_histogram) == pytest.approx(1)
    shallow = expressibility(hardware_efficient(3, 1), samples=4000, generator=seeded(1))
    assert shallow.kl > 10 * found.kl


def test_floor_is_what_random_states_have() -> None:
    """Oracle: the mean divergence of 4,000 multinomial histograms from the distribution itself; |z| < 6."""
    found = expressibility(Circuit(2).append("h", 0), samples=500)
    p, rng = np.array(found.haar_histogram), np.random.default_rng(0)
    counts = rng.multinomial(500, p / p.sum(), size=4000) / 500
    with np.errstate(divide="ignore", invalid="ignore"):
        each = np.where(counts > 0, counts * np.log(counts / p), 0).sum(1)
    assert abs(each.mean() - found.floor) < 6 * each.std() / math.sqrt(4000)


def test_meyer_wallach_of_known_states() -> None:
    """Oracle: 0 for products, 1 for GHZ states (and no spread), whatever the number of wires."""
    assert entangling_capability(ghz(4), samples=2).value == pytest.approx(1, abs=1e-5)
    product = entangling_capability(Circuit(3).append("ry", 0, weight()).append("h", 1), samples=2)
    assert product.value == pytest.approx(0, abs=1e-5)


def test_entangling_capability_is_pennylanes() -> None:
    """Oracle: purities by `qml.math.purity` at the same weights."""
    circuit = hardware_efficient(3, 1)
    found = entangling_capability(circuit, samples=20, generator=seeded(2))
    ((states,),) = drawn_states(circuit, 20, generator=seeded(2))
    purities = np.mean([qml.math.purity(qml.math.dm_from_state_vector(states.numpy()), [w]) for w in range(3)], 0)
    assert found.value == pytest.approx(float(np.mean(2 * (1 - purities))), abs=1e-5)


def test_random_states_have_the_haar_means() -> None:
    """Oracle: (2^n - 2) / (2^n + 1), and the Page value; |z| < 6 and the latter's Jensen gap."""
    found = entangling_capability(hardware_efficient(4, 10), samples=500, generator=seeded(3))
    assert found.haar == pytest.approx(14 / 17)
    assert abs(found.value - found.haar) < 6 * found.standard_error
    entropy = entanglement_entropy(hardware_efficient(4, 10), samples=500, generator=seeded(3))
    assert entropy.page == page_renyi2(4, 2)
    assert entropy.ratio == pytest.approx(1, abs=0.03)
    assert entropy.weak_plateau


def test_entropy_of_known_states() -> None:
    """Oracle: ln 2 for every cut of a GHZ state; nothing for products; small angles leave little."""
    found = entanglement_entropy(ghz(5), k=2, samples=2)
    assert found.value == pytest.approx(math.log(2), abs=1e-5)
    start = entanglement_entropy(hardware_efficient(4, 10, entangler="line", gate="cz"), init="gaussian", samples=50)
    assert not start.weak_plateau
    assert start.to_dict()["weak_plateau"] is False


def test_inputs_are_shared_by_a_pair() -> None:
    """A circuit of features alone prepares one state for each input: fidelity 1, as both of a pair have the same."""
    found = expressibility(angle_encoding(2), x=torch.rand(7, 2), samples=20)
    assert found.frame_potential == pytest.approx(1, rel=1e-5)
    ((states,),) = drawn_states(angle_encoding(2), 5, x=torch.tensor([[0.1, 0.2], [0.3, 0.4]]))
    layer = QuantumLayer(angle_encoding(2))
    torch.testing.assert_close(states[3], layer.states(torch.tensor([[0.3, 0.4]]))[0])


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: expressibility(ghz(2), samples=1), "samples is a whole number of at least 2, got 1"),
        (lambda: expressibility(ghz(2), bins=1), "bins is a whole number of at least 2, got 1"),
        (lambda: entangling_capability(Circuit(1).append("h", 0)), "at least 2 wires, the circuit has 1"),
        (lambda: entanglement_entropy(ghz(3), k=3), "1 to 2 wires, got 3"),
        (lambda: expressibility(angle_encoding(2)), r"features of shape \(batch, 2\), got nothing"),
        (lambda: expressibility(angle_encoding(2), x=torch.zeros(0, 2)), "at least one input"),
    ],
)
def test_bad_arguments(call, message: str) -> None:
    """Oracle: the messages."""
    with pytest.raises(InputError, match=message):
        call()
