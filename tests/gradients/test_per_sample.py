"""Per-sample gradients of whole models against one backward for each sample, and against many re-sampled batches."""

import pytest
import torch
from torch import nn

from torchbp import QuantumLayer
from torchbp._torchquantum import tq
from torchbp.backends import TorchQuantumBackend
from torchbp.backends.noise import NoiseModel
from torchbp.circuits import Circuit, angle_encoding, hardware_efficient, weight
from torchbp.errors import PreconditionError
from torchbp.gradients.groups import find_groups
from torchbp.gradients.microbatch import Microbatch, microbatch_gradients, split_batch
from torchbp.gradients.per_sample import PerSample, per_sample_gradients
from torchbp.gradients.stats import GradientStatistics, snr

B = 6


def quantum(n=2, depth=2, **options) -> QuantumLayer:
    generator = torch.Generator().manual_seed(1)
    return QuantumLayer(
        angle_encoding(n_wires=n) + hardware_efficient(n_wires=n, depth=depth), generator=generator, **options
    )


def data(n=B, shape=(3,), seed=0):
    x = torch.randn(n, *shape, generator=torch.Generator().manual_seed(seed))
    return x, torch.sin(x.flatten(1).sum(1, keepdim=True))


def loss_of(model):
    return lambda batch: nn.functional.mse_loss(model(batch[0]).flatten(1).sum(1, keepdim=True), batch[1])


def one_by_one(model, batch, groups):
    """The slow twin: a batch of each sample alone."""
    return microbatch_gradients(loss_of(model), groups, split_batch(batch, len(batch[0])))


class Twice(nn.Module):
    """One quantum layer called for two halves of the features."""

    def __init__(self):
        super().__init__()
        self.core = quantum()

    def forward(self, x):
        return self.core(x[:, :2]) + 0.5 * self.core(x[:, 1:]) ** 2


class Sequence(nn.Module):
    """One quantum layer at every position of a sequence."""

    def __init__(self):
        super().__init__()
        self.before, self.core = nn.Linear(1, 2), quantum()

    def forward(self, x):
        return self.core(self.before(x[..., None])) ** 2


class Tied(nn.Module):
    """Two layers with the same parameter."""

    def __init__(self):
        super().__init__()
        self.one, self.other = nn.Linear(3, 3), nn.Linear(3, 3)
        self.other.weight = self.one.weight

    def forward(self, x):
        return self.other(torch.tanh(self.one(x)))


class Scale(nn.Module):
    """A parameter in a layer that torch has no name for; called with a keyword, with a shared argument."""

    def __init__(self):
        super().__init__()
        self.scale = nn.Parameter(torch.tensor([0.5, 2.0]))

    def forward(self, factor, *, x):
        return factor * x * self.scale


class Calls(nn.Module):
    def __init__(self):
        super().__init__()
        self.inner, self.core = Scale(), quantum()

    def forward(self, x):
        return self.core(x=self.inner(torch.tensor(0.7), x=x[:, :2]))


class Existing(tq.QuantumModule):
    """A TorchQuantum module, to be translated; its parameters stay its own."""

    def __init__(self):
        super().__init__()
        self.n_wires = 2
        self.encoder = tq.GeneralEncoder([{"input_idx": [i], "func": "ry", "wires": [i]} for i in range(2)])
        self.late, self.early = (tq.Op1QAllLayer(op, 2, has_params=True, trainable=True) for op in (tq.RX, tq.RY))
        self.entangle, self.measure = tq.CNOT(wires=[0, 1]), tq.MeasureAll(tq.PauliZ)

    def forward(self, x):
        device = tq.QuantumDevice(2, bsz=len(x))
        self.encoder(device, x)
        for part in (self.early, self.entangle, self.late):
            part(device)
        return self.measure(device)


def translated() -> QuantumLayer:
    torch.manual_seed(3)
    return QuantumLayer.from_torchquantum(Existing(), "Z0 Z1", example=torch.zeros(1, 2))


MODELS = {
    "hybrid": lambda: nn.Sequential(nn.Linear(3, 2), quantum(), nn.Linear(2, 1)),
    "torchquantum": lambda: nn.Sequential(nn.Linear(3, 2), quantum(backend=TorchQuantumBackend())),
    "noise": lambda: nn.Sequential(nn.Linear(3, 2), quantum(noise=NoiseModel(0.05, 0.05)), nn.Linear(2, 1)),
    "in place": lambda: nn.Sequential(nn.Linear(3, 4), nn.ReLU(inplace=True), nn.Linear(4, 2), quantum()),
    "norms": lambda: nn.Sequential(nn.Linear(3, 4), nn.LayerNorm(4), nn.GroupNorm(2, 4), nn.PReLU(), nn.Linear(4, 1)),
    "batch norm in eval mode": lambda: nn.Sequential(nn.Linear(3, 2), nn.BatchNorm1d(2).eval(), quantum()),
    "twice": Twice,
    "sequence": Sequence,
    "tied": Tied,
    "keywords": Calls,
    "two layers": lambda: nn.Sequential(nn.Linear(3, 2), quantum(), quantum(depth=1)),
    "translated": lambda: nn.Sequential(nn.Linear(3, 2), translated(), nn.Linear(1, 1)),
    "no bias": lambda: nn.Sequential(nn.Linear(3, 2, bias=False), quantum()),
}


@pytest.mark.parametrize("name", MODELS)
def test_rows_are_the_gradients_of_single_samples(name):
    """Oracle: one backward for each sample; `.grad` stays as it was."""
    torch.manual_seed(0)
    model = MODELS[name]()
    groups, batch = find_groups(model), data()
    found, unmeasured = per_sample_gradients(model, loss_of(model), batch, groups, scale=64.0)
    assert unmeasured == {}
    assert all(p.grad is None for p in model.parameters())
    torch.testing.assert_close(found, one_by_one(model, batch, groups), rtol=2e-4, atol=2e-6)


def test_convolution_and_positions():
    """Layers applied at many positions, the first too large to take whole. Oracle: one backward for each sample."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv1d(3, 4, 2), nn.Flatten(2), nn.Linear(5, 1200), nn.Linear(1200, 1))
    groups, batch = find_groups(model), data(shape=(3, 6))
    assert len(groups[1]) < groups[1].n_weights
    found, unmeasured = per_sample_gradients(model, loss_of(model), batch, groups)
    assert unmeasured == {}
    torch.testing.assert_close(found, one_by_one(model, batch, groups), rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_mixed_precision(dtype):
    """Oracle: the rows in full precision, up to half precision's rounding; the quantum layer keeps its own."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(3, 2), quantum(), nn.Linear(2, 1))
    groups, batch = find_groups(model), data(16)
    exact, _ = per_sample_gradients(model, loss_of(model), batch, groups)

    def loss(batch):
        with torch.autocast("cpu", dtype=dtype):
            return nn.functional.mse_loss(model(batch[0]).float(), batch[1])

    found, unmeasured = per_sample_gradients(model, loss, batch, groups, scale=1024.0)
    assert unmeasured == {}
    assert torch.linalg.vector_norm(found - exact) < 0.03 * torch.linalg.vector_norm(exact)


def test_tiny_gradients_keep_their_snr():
    """No absolute epsilon, on the way to the samples either: a loss of 1e-9 times the size. Oracle: the SNR before."""
    model = nn.Sequential(nn.Linear(3, 2), quantum())
    groups, batch = find_groups(model), data(16)
    usual = PerSample().measure(model, loss_of(model), batch, groups)
    tiny = PerSample().measure(model, lambda b: 2**-30 * loss_of(model)(b), batch, groups)  # exact in binary
    assert tiny.unmeasured == {}
    assert tiny.statistics.mean.abs().max() < 1e-8
    torch.testing.assert_close(snr(tiny.statistics), snr(usual.statistics), rtol=1e-6, atol=0, equal_nan=True)


def test_against_many_batches():
    """SNR and SE of single batches against brute force, 200 batches' gradients; micro-batches see the same.

    Oracle: mean and spread of the gradient over batches that are drawn anew.
    """
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(3, 2), quantum(), nn.Linear(2, 1))
    groups, loss = find_groups(model)[1:3], loss_of(model)
    x, y = data(200 * 32, seed=1)
    batches = list(zip(x.split(32), y.split(32), strict=True))
    gradients = microbatch_gradients(loss, groups, batches).double()
    true_se = gradients.std(0)
    live = true_se > 1e-6 * true_se.max()
    assert int(live.sum()) >= 6
    true_snr = (gradients.mean(0).abs() / true_se)[live]
    clear = true_snr > 1.5  # below that, the SNR of one probe is mostly that of its noise
    assert clear.any()
    for source in (PerSample(), Microbatch(8)):
        probes = [source.measure(model, loss, batch, groups).statistics for batch in batches[:40]]
        found_se = torch.stack([p.standard_error.square() for p in probes]).mean(0).sqrt()
        torch.testing.assert_close(found_se[live], true_se[live], rtol=0.25, atol=0)
        typical = torch.stack([snr(p)[live] for p in probes]).median(0).values
        torch.testing.assert_close(typical[clear], true_snr[clear], rtol=0.4, atol=0)


def test_no_data_is_not_zero():
    """Frozen and unused weights are NaN and no failure; the others are measured. Oracle: the construction."""
    model = nn.ModuleDict({"used": nn.Sequential(nn.Linear(3, 2), quantum()), "unused": nn.Linear(2, 2)})
    model["used"][0].weight.requires_grad_(False)
    groups = find_groups(model)
    found, unmeasured = per_sample_gradients(model, loss_of(model["used"]), data(), groups)
    parts = dict(zip([g.name for g in groups], found.split([len(g) for g in groups], dim=1), strict=True))
    assert unmeasured == {}
    assert parts["unused"].isnan().all()
    assert parts["used.0"][:, :6].isnan().all()
    assert parts["used.0"][:, 6:].isfinite().all()
    assert parts["used.1/layer0"].isfinite().all()
    model["used"][1].requires_grad_(False)
    found, _ = per_sample_gradients(model, loss_of(model["used"]), data(), groups)
    assert found.isfinite().any(0).tolist() == [6 <= i < 8 for i in range(found.shape[1])]


def test_samples_without_a_gradient():
    """A sample whose loss is infinite is none; a loss that is None, constant or NaN gives none. Oracle: by hand."""
    model = nn.Sequential(nn.Linear(3, 2), quantum())
    groups, batch = find_groups(model), data()
    batch[1][2] = torch.inf
    found, _ = per_sample_gradients(model, loss_of(model), batch, groups)
    assert found.isfinite().all(1).tolist() == [True, True, False, True, True, True]
    for loss in (lambda b: None, lambda b: torch.tensor(1.0), lambda b: loss_of(model)(b) * torch.nan):
        assert per_sample_gradients(model, loss, data(), groups)[0].isnan().all()


def test_shots_are_left_to_micro_batches():
    """An exact gradient would miss the shot noise. Oracle: the reason given."""
    model = nn.Sequential(nn.Linear(3, 2), quantum(shots=20))
    found, unmeasured = per_sample_gradients(model, loss_of(model), data(), find_groups(model))
    assert set(unmeasured) == {"1/layer0", "1/layer1"}
    assert all("finite shots, whose noise belongs to its gradient" in reason for reason in unmeasured.values())
    assert found[:, 8:].isnan().all()
    assert found[:, :8].isfinite().all()


def penalized(model):
    return lambda batch: loss_of(model)(batch) + model[1].weights.square().sum()


def folded(model):
    """Three patches of each sample go through as samples of their own."""
    return lambda batch: model(batch[0].reshape(-1, 1).expand(-1, 3)).square().mean()


def from_a_state(model):
    return lambda batch: model[1](model[0](batch[0]), torch.eye(4)[0]).mean()


def around_the_layer(model):
    return lambda batch: nn.functional.linear(batch[0], model[0].weight).square().mean()


@pytest.mark.parametrize(
    ("loss_of_model", "group", "reason"),
    [
        (penalized, "1/layer0", "the gradients of its samples do not add up to its gradient"),
        (folded, "1/layer0", "QuantumLayer: a batch of 6 goes into it as 18 rows"),
        (folded, "0", "Linear: a batch of 6 goes into it as 18 rows"),
        (from_a_state, "1/layer1", "QuantumLayer: it starts from a given initial_state"),
        (around_the_layer, "0", "its parameters are used without a call of the layer that holds them"),
    ],
)
def test_what_can_not_be_measured_says_why(loss_of_model, group, reason):
    """No numbers rather than wrong ones. Oracle: the reasons."""
    model = nn.Sequential(nn.Linear(3, 2), quantum())
    groups = find_groups(model)
    found, unmeasured = per_sample_gradients(model, loss_of_model(model), data(), groups)
    assert unmeasured[group] == reason
    columns = dict(zip([g.name for g in groups], found.split([len(g) for g in groups], 1), strict=True))
    assert columns[group].isnan().all()


class Dropping(nn.Module):
    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(3))

    def forward(self, x):
        return nn.functional.dropout(x * self.weight, 0.5)


class Outer(nn.Module):
    def __init__(self):
        super().__init__()
        self.weight, self.inner = nn.Parameter(torch.ones(3)), nn.Linear(3, 3)

    def forward(self, x):
        return self.inner(x * self.weight)


@pytest.mark.parametrize(
    ("layer", "group", "reason"),
    [
        (Dropping, "0", "Dropping: torch.func can't take it sample by sample: vmap: called random operation"),
        (Outer, "0", "Outer: its parameters stand beside layers of its own"),
    ],
)
def test_layers_that_torch_func_does_not_take(layer, group, reason):
    """The others are measured all the same. Oracle: the reasons."""
    model = nn.Sequential(layer(), nn.Linear(3, 1))
    found, unmeasured = per_sample_gradients(model, loss_of(model), data(), find_groups(model))
    assert list(unmeasured) == [group]
    assert unmeasured[group].startswith(reason)
    assert found[:, -4:].isfinite().all()


def test_a_gradient_inside_the_loss():
    """A penalty on the input's gradient: the rows can't be had, and what the penalty does is not mistaken for them."""
    model = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 1))

    def loss(batch):
        x = batch[0].requires_grad_()
        (slope,) = torch.autograd.grad(model(x).sum(), x, create_graph=True)
        return slope.square().mean()

    _, unmeasured = per_sample_gradients(model, loss, data(), find_groups(model))
    assert "0" in unmeasured


def test_mixed_samples_are_refused():
    """Oracle: the messages."""
    model = nn.Sequential(nn.Linear(3, 2), nn.BatchNorm1d(2), quantum())
    with pytest.raises(PreconditionError, match="BatchNorm1d mixes the samples of a batch"):
        per_sample_gradients(model, loss_of(model), data(), find_groups(model))
    with pytest.raises(PreconditionError, match="no tensor of samples in a batch of type str"):
        per_sample_gradients(model, loss_of(model), "text", find_groups(model))


def test_a_circuit_without_features():
    """Its output is the same for all samples, so no sample is more than another. Oracle: the reason."""
    layer = QuantumLayer(Circuit(1).append("rx", 0, weight()))
    _, unmeasured = per_sample_gradients(
        layer, lambda batch: layer().mean() * batch.mean(), torch.ones(3, 1), find_groups(layer)
    )
    assert unmeasured == {"weights": "QuantumLayer: it has no input: its output is the same for all samples"}


def test_mean_is_the_gradient_of_the_batch_whatever_the_loss():
    """A sum over samples instead of a mean. Oracle: backward of the batch."""
    model = nn.Sequential(nn.Linear(3, 2), quantum())
    groups, batch = find_groups(model), data()
    found = PerSample().measure(model, lambda b: B * loss_of(model)(b), batch, groups).statistics
    (B * loss_of(model)(batch)).backward()
    expected = torch.cat([g.pick({p: p.grad for p in model.parameters()}) for g in groups])
    torch.testing.assert_close(found.mean.float(), expected, rtol=1e-4, atol=1e-5)
    assert isinstance(found, GradientStatistics)
