"""The source `training`: what backward passes with finite shots tell by themselves."""

from __future__ import annotations

import logging

import lightning.pytorch as L
import pytest
import torch
from torch import nn

from torchbp import QuantumLayer
from torchbp.callbacks import GradientSNRMonitor
from torchbp.circuits import Circuit, angle_encoding, hardware_efficient, tfim, weight
from torchbp.gradients.groups import find_groups
from torchbp.gradients.shot_noise import shot_noise
from torchbp.gradients.training import ShiftListener
from torchbp.models import VQE


def layer(shots: int = 20, features: bool = False) -> QuantumLayer:
    """Two measurement groups, a weight that turns two gates, and one at double speed."""
    circuit = angle_encoding(n_wires=2) if features else Circuit(2)
    w = weight()
    circuit.append("ry", 0, w).append("rx", 1, w).append("rz", 0, 2 * weight()).append("rxx", (0, 1), weight())
    generator = torch.Generator().manual_seed(0)
    return QuantumLayer(circuit, ["Z0 Z1", "X0"], shots=shots, init="uniform", generator=generator)


def heard(quantum: QuantumLayer, cotangent: torch.Tensor, x: torch.Tensor | None = None) -> ShiftListener:
    listener = ShiftListener({"": quantum})
    listener.listen()
    quantum.weights.grad = None
    (quantum(x) * cotangent).sum().backward()
    listener.stop()
    listener.end_batch(len(cotangent))
    return listener


@pytest.mark.parametrize("batch", [1, 6])
def test_the_mean_is_the_gradient(batch):
    """Oracle: what backward has added to the weights; the same numbers, in another order."""
    quantum = layer(features=batch > 1)
    x = torch.rand(batch, 2, generator=torch.Generator().manual_seed(1)) if batch > 1 else None
    found = heard(quantum, torch.ones(batch, 2) / batch, x).measured(find_groups(quantum))
    torch.testing.assert_close(found.statistics.mean.float(), quantum.weights.grad, rtol=1e-5, atol=1e-6)
    assert found.source == "training"
    assert int(found.statistics.count.max()) == (batch if batch > 1 else 20)


def test_the_variance_of_the_shots():
    """Of 600 backward passes. Oracle: the exact one in closed form, from the outcome distributions (`shot_noise`).

    The mean of 600 unbiased estimates has a standard error below 2%, which is asserted: 10% off would be five of them
    or more, less than once in 1e6 runs. The spread of the 600 gradients has a
    relative standard error of sqrt(1 / 1200) = 2.9%: 16% off is once in 3e7.
    """
    quantum, cotangent = layer(), torch.tensor([[0.7, -0.4]])
    exact = shot_noise(quantum, None, cotangent).single_shot_variance / 20
    variances, gradients = [], []
    for _ in range(600):
        statistics = heard(quantum, cotangent).measured(find_groups(quantum)).statistics
        variances.append(statistics.standard_error.square())
        gradients.append(statistics.mean)
    estimates = torch.stack(variances)
    relative_error = float((estimates.std(0) / len(estimates) ** 0.5 / exact).max())
    assert relative_error < 0.02
    torch.testing.assert_close(estimates.mean(0), exact, rtol=0.1, atol=0)
    torch.testing.assert_close(torch.stack(gradients).var(0), exact, rtol=0.16, atol=0)


def test_samples_and_shots_together():
    """A batch of 64 whose samples differ. Oracle: the exact variance: of the samples, and of the shots of each.

    The spread of 64 samples has a relative error of 18% (kurtosis 3); the mean over 50 passes has the shots' part of it
    averaged, and the samples' part is exact in the oracle, as it is over these very samples: 20% off is beyond 5 sigma.
    """
    quantum, batch = layer(shots=10, features=True), 64
    x = 3 * torch.rand(batch, 2, generator=torch.Generator().manual_seed(1))
    one = torch.ones(1, 2) / batch
    parts = [shot_noise(quantum, x[b : b + 1], one) for b in range(batch)]
    means = torch.stack([p.gradient for p in parts])
    wanted = (batch * means).var(0) / batch + torch.stack([p.single_shot_variance for p in parts]).sum(0) / 10
    found = []
    for _ in range(50):
        statistics = heard(quantum, torch.ones(batch, 2) / batch, x).measured(find_groups(quantum)).statistics
        found.append(statistics.standard_error.square())
    torch.testing.assert_close(torch.stack(found).mean(0), wanted, rtol=0.2, atol=0)


def test_a_single_shot_has_no_spread():
    """Oracle: by hand."""
    found = heard(layer(shots=1), torch.ones(1, 2)).measured(find_groups(layer())).statistics
    assert bool(found.standard_error.isnan().all())


def test_a_layer_that_is_called_twice():
    """Recurrent: the shares of each sample are added. Oracle: the gradient that backward has added."""
    quantum = layer(features=True)
    x = torch.rand(5, 2, generator=torch.Generator().manual_seed(1))
    listener = ShiftListener({"": quantum})
    listener.listen()
    quantum(quantum(x)).mean().backward()
    listener.end_batch(5)
    found = listener.measured(find_groups(quantum)).statistics
    torch.testing.assert_close(found.mean.float(), quantum.weights.grad, rtol=1e-5, atol=1e-6)
    assert int(found.count.max()) == 5


def test_rows_that_are_not_samples():
    """Patches of an image. Oracle: it is not measured, and says why."""
    quantum = layer(features=True)
    listener = ShiftListener({"": quantum})
    listener.listen()
    quantum(torch.rand(12, 2)).sum().backward()
    listener.end_batch(3)
    found = listener.measured(find_groups(quantum))
    assert listener.unfit == {"": "with 12 rows for a batch of 3"}
    assert not found.statistics.count.any()


class Hybrid(L.LightningModule):
    def __init__(self, shots: int = 20) -> None:
        super().__init__()
        torch.manual_seed(0)
        circuit = angle_encoding(n_wires=2) + hardware_efficient(n_wires=2, depth=1)
        self.quantum = QuantumLayer(circuit, shots=shots, generator=torch.Generator().manual_seed(0))
        self.head = nn.Linear(2, 1)

    def training_step(self, batch, batch_idx):
        return self.head(self.quantum(batch[0])).square().mean()

    def configure_optimizers(self):
        return torch.optim.Adam(self.parameters(), lr=0.05)


def fit(model, callbacks, **options):
    quiet = {"enable_progress_bar": False, "enable_model_summary": False, "enable_checkpointing": False}
    defaults = {"max_epochs": 2, "logger": False, "accelerator": "cpu", "devices": 1}
    trainer = L.Trainer(callbacks=callbacks, **quiet, **defaults | options)
    x = torch.rand(24, 2, generator=torch.Generator().manual_seed(1))
    data = None if isinstance(model, VQE) else torch.utils.data.DataLoader(torch.utils.data.TensorDataset(x), 4)
    trainer.fit(model, data)
    return trainer


@pytest.mark.parametrize("accumulate", [1, 2, 3])
def test_the_monitor_listens_by_itself(accumulate):
    """Every step. Oracle: the fit without it, bit for bit, and not a shot more; the gradient the optimizer got."""
    runs, gradients = [], []

    class Note(L.Callback):
        def on_before_optimizer_step(self, trainer, pl_module, optimizer):
            gradients.append(pl_module.quantum.weights.grad.clone())

    for monitor in (None, GradientSNRMonitor(every_n_steps=1)):
        model = Hybrid()
        fit(model, [monitor, Note()] if monitor else [], accumulate_grad_batches=accumulate)
        runs.append([model.quantum.weights.detach(), model.head.weight.detach(), model.quantum.shots_used])
    assert all(torch.equal(torch.as_tensor(a), torch.as_tensor(b)) for a, b in zip(*runs, strict=True))
    assert {layer.source for m in monitor.history for layer in m.layers} == {"training"}
    assert [m.step for m in monitor.history] == list(range(len(gradients)))
    last = torch.cat([monitor.statistics[g.name].mean for g in find_groups(model) if g.kind == "quantum"])
    torch.testing.assert_close(last.float(), gradients[-1], rtol=1e-4, atol=1e-6)
    assert model.quantum.shift_listener is None


def test_an_energy_has_the_spread_of_its_shots():
    """No data, a batch of one. Oracle: source, and samples: the shots."""
    monitor, model = GradientSNRMonitor(every_n_steps=1), VQE(tfim(3), depth=1, shots=30)
    fit(model, [monitor], max_steps=3, max_epochs=-1)
    quantum = [layer for m in monitor.history for layer in m.layers]
    assert {(layer.source, layer.n_samples) for layer in quantum} == {("training", 30)}
    assert all(0 < layer.snr < float("inf") for layer in quantum)


def test_where_it_can_not_listen_it_says_so(caplog):
    """Exact values, and the source asked for. Oracle: nothing is measured."""
    monitor = GradientSNRMonitor(every_n_steps=1, source="training")
    with caplog.at_level(logging.INFO):
        fit(Hybrid(shots=None), [monitor])
    assert monitor.history == []
    assert caplog.text.count("can't measure from the training at all steps") == 1


def test_nothing_is_left_after_an_exception():
    """In the middle of a step. Oracle: nobody listens."""
    model = Hybrid()
    model.on_before_optimizer_step = lambda optimizer: 1 / 0
    with pytest.raises(ZeroDivisionError):
        fit(model, [GradientSNRMonitor(every_n_steps=1)])
    assert model.quantum.shift_listener is None


@pytest.mark.filterwarnings("ignore:GradientSNRMonitor got no finite gradient")
def test_a_gradient_that_comes_by_another_way():
    """Through the weights themselves. Oracle: the monitor says so, and measures from micro-batches from then on."""
    model, monitor = Hybrid(), GradientSNRMonitor(every_n_steps=1, n_microbatches=2)
    model.training_step = lambda batch, batch_idx: model.quantum.weights.sum() + model.quantum(batch[0]).detach().sum()
    fit(model, [monitor], max_epochs=1)
    assert [m.step for m in monitor.history] == [1, 2, 3, 4, 5]
    assert {layer.source for m in monitor.history for layer in m.layers} == {"microbatch"}
