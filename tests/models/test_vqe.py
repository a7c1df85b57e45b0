"""VQE: reaches known ground energies, with and without shots, is watched by the callbacks, loads back."""

from __future__ import annotations

import math
from pathlib import Path

import lightning.pytorch as pl
import numpy as np
import pytest
import torch
from fits import trainer_of

from torchbp import Circuit, PauliSum, feature, weight
from torchbp.backends.noise import NoiseModel
from torchbp.callbacks import GradientSNRMonitor, PlateauDetector
from torchbp.circuits import h2, hamiltonian_variational, heisenberg, real_amplitudes, tfim
from torchbp.errors import CapacityError, CircuitError, InputError, UnknownNameError
from torchbp.models import VQE
from torchbp.models.vqe import ground_energy


def seeded(number: int) -> torch.Generator:
    return torch.Generator().manual_seed(number)


def fit(model: VQE, steps: int, *callbacks: pl.Callback) -> pl.Trainer:
    trainer = trainer_of(pl, list(callbacks), max_steps=steps, max_epochs=-1)
    trainer.fit(model)
    return trainer


@pytest.mark.parametrize("n_wires", [2, 3, 5])
def test_ground_energy(n_wires: int) -> None:
    """Oracle: the dense matrix, of a Hamiltonian with X, Y and Z in it and nothing symmetric."""
    energy = heisenberg(n_wires, (1.0, 0.7, -0.3), field=0.2) + tfim(n_wires, 0.4) + PauliSum({"X0 Y1": 0.3, "I": -2.0})
    assert math.isclose(ground_energy(energy, n_wires), np.linalg.eigvalsh(energy.matrix(n_wires))[0], rel_tol=1e-10)


def test_hydrogen_within_chemical_accuracy() -> None:
    """Oracle: exact diagonalization; 1.6 mHa is what chemists ask for."""
    model = VQE(h2(), real_amplitudes, depth=3, generator=seeded(1), reference=True, learning_rate=0.1)
    trainer = fit(model, 100)
    assert 0 <= model.exact_energy() - ground_energy(h2(), 4) < 1.6e-3
    assert {"energy", "energy_error"} <= set(trainer.callback_metrics)
    assert trainer.global_step == 100


def test_shots_noise_and_another_optimizer() -> None:
    """The ground energy of three spins (oracle: diagonalization) to a tenth; `exact_energy` is free of both."""
    energy = tfim(3)
    start = Circuit(3).append("h", 0).append("h", 1).append("h", 2)
    model = VQE(
        energy,
        start + hamiltonian_variational(energy, 3, 3),
        shots=200,
        noise=NoiseModel(depolarizing_1q=0.001, depolarizing_2q=0.002),
        init="small_angle",
        generator=seeded(1),
        optimizer=torch.optim.SGD,
        learning_rate=0.01,
    )
    fit(model, 60)
    spent = model.quantum.shots_used
    assert spent > 0
    assert model.exact_energy() < 0.95 * ground_energy(energy, 3)
    assert model.quantum.shots_used == spent


def test_the_callbacks_see_the_shot_noise_of_a_step() -> None:
    """From parts of a batch, which take parts of the shots, for what a step costs; from the training for nothing."""
    alone = VQE(tfim(3), depth=1, shots=80, generator=seeded(0))
    fit(alone, 10)
    for source, samples, cost in (("microbatch", 8, 11), ("auto", 80, 10)):
        watched, monitor = VQE(tfim(3), depth=1, shots=80, generator=seeded(0)), GradientSNRMonitor(10, source=source)
        fit(watched, 10, monitor)
        assert watched.quantum.shots_used == alone.quantum.shots_used * cost // 10  # one measurement in ten steps
        assert all(layer.n_samples == samples and math.isfinite(layer.snr) for layer in monitor.latest)
        assert torch.equal(alone.quantum.weights, watched.quantum.weights)


def test_a_verdict_on_a_vqe() -> None:
    """The detector finds its way through a training step that evaluates the energy twice."""
    model = VQE(tfim(3), depth=1, shots=500, reference=True, learning_rate=0.1, generator=seeded(0))
    detector = PlateauDetector(GradientSNRMonitor(every_n_steps=4), patience=2, samples=4)
    fit(model, 80, detector)
    assert detector.events


def test_loads_back(tmp_path: Path) -> None:
    """Everything but objects comes from the checkpoint, which holds tensors and primitives."""
    model = VQE(tfim(3), depth=2, shots=50, steps_per_epoch=7, generator=seeded(0))
    trainer = fit(model, 3)
    assert trainer.num_training_batches == 7
    trainer.save_checkpoint(tmp_path / "vqe.ckpt")
    twin = VQE.load_from_checkpoint(tmp_path / "vqe.ckpt", weights_only=True)
    assert (twin.quantum.shots, twin.steps_per_epoch, twin.hamiltonian) == (50, 7, tfim(3))
    assert twin.exact_energy() == model.exact_energy()


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: VQE(tfim(2), "hardware"), CircuitError, r"a function \(n_wires, depth\) -> Circuit, got str"),
        (lambda: VQE(tfim(2), lambda n, depth: None), CircuitError, "-> Circuit, got NoneType"),
        (lambda: VQE(tfim(2), Circuit(2).append("rx", 0, feature(0))), CircuitError, "has no features, this one reads"),
        (lambda: VQE(tfim(3), Circuit(2).append("rx", 0, weight())), CircuitError, "acts on wire 2"),
        (lambda: VQE("X0", Circuit(2).append("rx", 0, weight()), n_wires=3), CircuitError, "has 2 wires, n_wires=3"),
        (lambda: VQE(PauliSum("I")), InputError, "n_wires is a whole number of at least 1, got None"),
        (lambda: VQE(tfim(2), learning_rate=0), InputError, "learning_rate is a positive finite number, got 0"),
        (lambda: VQE(tfim(2), steps_per_epoch=0), InputError, "steps_per_epoch is a whole number of at least 1, got 0"),
        (lambda: VQE(tfim(2), init="gausian"), UnknownNameError, "Did you mean 'gaussian'"),
        (lambda: VQE(tfim(17), depth=1, reference=True), CapacityError, "at most 16 wires, got 17"),
    ],
)
def test_messages(make: object, error: type, message: str) -> None:
    with pytest.raises(error, match=message):
        make()  # type: ignore[operator]
