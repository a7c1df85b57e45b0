"""Lightning runs on Pauli propagation: callbacks need no change; what is out of reach is left out of evidence."""

from __future__ import annotations

import lightning as L
import torch

from torchbp.backends import PropagationBackend
from torchbp.callbacks import GradientSNRMonitor, PlateauDetector, PlateauGuard
from torchbp.callbacks.mechanics.quantum_weights import QuantumWeights
from torchbp.callbacks.mechanics.trials.candidates import draw
from torchbp.circuits import hardware_efficient, tfim
from torchbp.models import VQE
from torchbp.models.energy import EnergyModule

QUIET = {"logger": False, "enable_checkpointing": False, "enable_progress_bar": False, "enable_model_summary": False}


def test_a_guarded_run_on_thirty_wires() -> None:
    """It learns, and logs what truncation may have changed."""
    torch.manual_seed(0)
    vqe = VQE(tfim(30), depth=1, backend=PropagationBackend(1e-3), init="small_angle")
    before = vqe.exact_energy()
    trainer = L.Trainer(max_steps=12, callbacks=[PlateauGuard()], **QUIET)
    trainer.fit(vqe)
    assert vqe.exact_energy() < before - 0.5
    assert 0 < trainer.callback_metrics["truncation"] < 1


def test_a_verdict_where_random_weights_are_out_of_reach() -> None:
    """The run makes no progress and is investigated: at random weights there are too many strings, so that no
    concentration is known; a verdict comes all the same."""
    torch.manual_seed(0)
    circuit = hardware_efficient(24, 2, ("ry", "rz"), "line", "cz")
    model = EnergyModule(
        circuit, tfim(24), backend=PropagationBackend(1e-3, max_terms=3000), init="small_angle", learning_rate=1e-12
    )
    detector = PlateauDetector(GradientSNRMonitor(every_n_steps=1), patience=1, window=8, samples=2)
    L.Trainer(max_steps=40, callbacks=[detector], **QUIET).fit(model)
    assert detector.diagnosis is not None


def test_a_search_as_a_candidate() -> None:
    """By its name it is told what to lower: the layer's observables."""
    model = VQE(tfim(4), depth=1)
    point = draw(QuantumWeights.of(model), ["clifford_search"], 1, torch.Generator().manual_seed(0))[0]
    with torch.no_grad():
        model.quantum.weights.copy_(point)
    assert model.exact_energy() <= -3 + 1e-5
