"""Detector and remedies on another library's module, by calling it; a stand-in that is fast takes a library's place."""

import lightning as L
import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from torchbp import QuantumLayer, mark_quantum
from torchbp.callbacks import (
    GradientFreeFallback,
    GradientSNRMonitor,
    InitializationReset,
    LayerwiseTraining,
    PlateauDetector,
    PlateauGuard,
)
from torchbp.callbacks.mechanics.quantum_weights import QuantumWeights
from torchbp.circuits import angle_encoding, global_z, hardware_efficient
from torchbp.diagnosis.plateau import Verdict

WIRES, DEPTH = 10, 3


class Circuit(nn.Module):
    """A circuit of one's own, of which torchbp sees its parameter and what it returns."""

    def __init__(self, start: float) -> None:
        super().__init__()
        circuit = angle_encoding(WIRES) + hardware_efficient(WIRES, DEPTH, rotations=("ry",), gate="cz")
        inner = QuantumLayer(circuit, global_z(WIRES))
        self.run = (inner.backend, circuit, inner.observables)  # no module, so nothing to be found
        generator = torch.Generator().manual_seed(1)
        self.theta = nn.Parameter(start * torch.rand(DEPTH, WIRES, generator=generator))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        backend, circuit, observables = self.run
        return backend.expectations(circuit, observables, x, self.theta.reshape(-1))


class Model(L.LightningModule):
    def __init__(self, start: float = 6.28) -> None:
        super().__init__()
        self.quantum = mark_quantum(Circuit(start), n_wires=WIRES)

    def training_step(self, batch, batch_idx):
        return (self.quantum(batch[0])[:, 0] - batch[1]).pow(2).mean()

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.1)


def fit(callback: L.Callback, steps: int) -> Model:
    model = Model()
    x = 0.5 * torch.rand(32, WIRES, generator=torch.Generator().manual_seed(0))
    data = DataLoader(TensorDataset(x, torch.cos(x).prod(1)), batch_size=8)
    quiet = {"enable_progress_bar": False, "enable_model_summary": False, "enable_checkpointing": False}
    L.Trainer(max_steps=steps, callbacks=[callback], logger=False, accelerator="cpu", **quiet).fit(model, data)
    return model


def detector() -> PlateauDetector:
    return PlateauDetector(GradientSNRMonitor(every_n_steps=10))


def test_the_verdict_is_that_of_the_circuit():
    """The plateau is found, its layers are named, and weights that are probed are put back. Oracle: SGD by hand."""
    probed = detector()
    model = fit(probed, 40)
    assert probed.diagnosis is not None
    assert probed.diagnosis.verdict is Verdict.BARREN_PLATEAU
    assert probed.diagnosis.layers == ("quantum/theta[0]", "quantum/theta[1]", "quantum/theta[2]")
    plain = fit(L.Callback(), 40)
    assert torch.equal(model.quantum.theta, plain.quantum.theta)


@pytest.mark.parametrize(
    ("ladder", "done"),
    [
        ([InitializationReset(strategy="small_angle", answers=tuple(Verdict))], "kept"),
        ([GradientFreeFallback(max_evaluations=60, answers=(Verdict.BARREN_PLATEAU,))], "fallback"),
        ([LayerwiseTraining(answers=(Verdict.BARREN_PLATEAU,))], "layerwise"),
    ],
)
def test_remedies_move_its_weights(ladder, done):
    """Each acts on the verdict, on weights it reads and writes through the module's parameters."""
    guard = PlateauGuard(detector(), ladder)
    fit(guard, 110)
    kinds = [event.kind for event in guard.events]
    assert kinds[0] == "verdict"
    assert done in kinds


def test_weights_of_a_model():
    """Groups by the monitor's names are the rows of the parameter. Oracle: the parameter."""
    model = Model()
    weights = QuantumWeights.of(model, ["quantum/theta[1]"])
    torch.testing.assert_close(weights.read(), model.quantum.theta.detach().double().reshape(-1))
    with weights.at(torch.zeros(DEPTH * WIRES, dtype=torch.float64)):
        assert not model.quantum.theta[1].any()
        assert model.quantum.theta[0].any()
