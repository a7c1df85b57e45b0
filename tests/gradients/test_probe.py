"""`probe` on plain modules, without a trainer."""

import math
import subprocess
import sys

import pytest
import torch
from test_isolation import Restless, state
from torch import nn

import torchbp
from torchbp import QuantumLayer, probe
from torchbp._torchquantum import tq
from torchbp.circuits import angle_encoding, hardware_efficient
from torchbp.errors import InputError, PreconditionError, UnknownNameError
from torchbp.gradients.ensemble import Ensemble
from torchbp.gradients.groups import find_groups
from torchbp.gradients.microbatch import Microbatch
from torchbp.gradients.per_sample import PerSample


def quantum(**options) -> QuantumLayer:
    generator = torch.Generator().manual_seed(1)
    return QuantumLayer(
        angle_encoding(n_wires=2) + hardware_efficient(n_wires=2, depth=2), generator=generator, **options
    )


def hybrid(core=None) -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(3, 2), quantum() if core is None else core, nn.Linear(2, 1))


def batch_of(n=8):
    x = torch.randn(n, 3, generator=torch.Generator().manual_seed(0))
    return x, torch.sin(x.sum(1, keepdim=True))


def mse(model, batch):
    return nn.functional.mse_loss(model(batch[0]), batch[1])


@pytest.mark.parametrize(("name", "source"), [("per_sample", PerSample()), ("microbatch", Microbatch(4))])
def test_numbers(name, source):
    """Oracle: the source itself; by name, as an object, and by "auto" where it is the first that fits."""
    model, batch = hybrid(), batch_of()
    expected = source.measure(model, lambda b: mse(model, b), batch, find_groups(model)).summaries(find_groups(model))
    for given in (name, source, *(["auto"] if name == "per_sample" else [])):
        found = probe(model, batch, mse, source=given, n_microbatches=4)
        assert list(map(repr, found)) == list(map(repr, expected))
        assert (found.source, found.reason, found.unmeasured) == (name, "", {})
    assert [layer.name for layer in found] == ["0", "1/layer0", "1/layer1", "2"]


def test_default_loss():
    """The mean of the outputs, for a tensor or the first of a tuple. Oracle: that loss, written out."""
    model, batch = hybrid(), batch_of()
    expected = probe(model, batch, lambda model, batch: model(batch[0]).mean())
    assert list(map(repr, probe(model, batch))) == list(map(repr, probe(model, batch[0]))) == list(map(repr, expected))


@pytest.mark.parametrize("source", ["per_sample", "microbatch", Ensemble(4)], ids=str)
def test_leaves_no_trace(source):
    """Oracle: every attribute, tensor, container, generator and `.grad` before and after; the batch too."""
    torch.manual_seed(0)
    model = nn.Sequential(Restless(), quantum_of_three())
    model[0](torch.randn(4, 3))
    model[0].norm.eval()
    if source == "microbatch":
        model[0].norm.train()
    x = torch.randn(6, 3)
    before, kept = state(model), x.clone()

    def loss(model, batch):
        batch += 1
        return model[1](model[0].linear(batch)).mean() + 0 * torch.rand(1).sum() + model[0].calls

    probe(model, x, loss, source=source, n_microbatches=2)
    assert state(model) == before
    assert torch.equal(x, kept)


def quantum_of_three() -> QuantumLayer:
    return QuantumLayer(angle_encoding(n_wires=3) + hardware_efficient(n_wires=3, depth=1))


class Circuit(tq.QuantumModule):
    def __init__(self):
        super().__init__()
        self.rx, self.measure = tq.RX(has_params=True, trainable=True), tq.MeasureAll(tq.PauliZ)

    def forward(self, x):
        device = tq.QuantumDevice(n_wires=2, bsz=len(x))
        tq.functional.ry(device, wires=0, params=x[:, :1])
        self.rx(device, wires=0)
        return self.measure(device)


@pytest.mark.parametrize(
    ("model", "reason"),
    [
        (
            lambda: nn.Sequential(nn.Linear(3, 2), nn.BatchNorm1d(2), quantum(), nn.Linear(2, 1)),
            "BatchNorm1d mixes the samples",
        ),
        (lambda: hybrid(quantum(shots=50)), "a quantum layer measures with finite shots"),
        (lambda: hybrid(Circuit()), "1 has weights of its own, outside of a layer that torchbp knows"),
        (
            lambda: hybrid(nn.Sequential(Twofold(), quantum(), Halved())),
            "1.1/layer0 can't be measured sample by sample",
        ),
    ],
)
def test_auto_takes_micro_batches_and_says_why(model, reason):
    """Oracle: the reason, in the table too."""
    found = probe(model(), batch_of(), mse)
    assert found.source == "microbatch"
    assert reason in found.reason
    assert f"Source `microbatch` ({found.reason})" in repr(found)
    assert all(layer.n_samples in (4, 8) for layer in found)


class Twofold(nn.Module):
    def forward(self, x):
        return torch.cat([x, -x])


class Halved(nn.Module):
    def forward(self, y):
        return y[: len(y) // 2]


class Mixture(nn.Module):
    """A classical layer that can't be measured sample by sample, before a quantum one that can."""

    def __init__(self, core):
        super().__init__()
        self.weight, self.linear, self.core = nn.Parameter(torch.ones(3)), nn.Linear(3, 2), core

    def forward(self, x):
        return self.core(self.linear(x * self.weight)).sum(1, keepdim=True)


def test_a_classical_layer_alone_does_not_change_the_source():
    """It is listed with the reason; in a model without quantum layers it decides. Oracle: the construction."""
    found = probe(Mixture(quantum()), batch_of(), mse)
    assert found.source == "per_sample"
    assert found.unmeasured == {"Mixture": "Mixture: its parameters stand beside layers of its own"} or set(
        found.unmeasured
    ) == {"Mixture"}
    assert "`Mixture` is not measured: " in repr(found)
    assert math.isnan(found[0].snr)
    assert all(layer.n_samples == 8 for layer in found[1:])
    assert probe(Mixture(nn.Identity()), batch_of(), mse).source == "microbatch"


def test_report():
    """A Markdown table, quantum layers first. Oracle: by hand."""
    text = repr(probe(hybrid(), batch_of(), mse))
    lines = text.splitlines()
    assert lines[0] == "Source `per_sample`; an SNR of 3 or more is measurable."
    assert [line.split("|")[1].strip() for line in lines[4:]] == ["1/layer0", "1/layer1", "0", "2"]
    assert probe(hybrid(), batch_of(), mse)._repr_markdown_() == text


def test_errors():
    """Oracle: the messages."""
    model, batch = hybrid(), batch_of()
    with pytest.raises(InputError, match="n_microbatches is a whole number of at least 2, got 1"):
        probe(model, batch, mse, n_microbatches=1)
    with pytest.raises(InputError, match="two parts of at least 1 each, which a batch of 1 does not give"):
        probe(model, batch_of(1), mse)
    with pytest.raises(InputError, match="no tensor to split in a batch of type str"):
        probe(model, "text", mse)
    with pytest.raises(UnknownNameError, match=r"Unknown source 'microbach'\. Did you mean 'microbatch'"):
        probe(model, batch, mse, source="microbach")
    with pytest.raises(PreconditionError, match="BatchNorm1d mixes"):
        probe(nn.Sequential(nn.BatchNorm1d(3), model), batch, mse, source="per_sample")
    with pytest.raises(ZeroDivisionError):
        probe(model, batch, lambda model, batch: 1 / 0)


def test_needs_no_lightning():
    """Oracle: the modules that a fresh interpreter loads."""
    code = "import sys, torchbp; torchbp.probe; print(*(m for m in sys.modules if 'lightning' in m))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == []
    assert torchbp.probe is probe
