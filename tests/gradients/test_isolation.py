"""A block that leaves no trace: whatever the model does in it, everything is as before."""

import random
from collections import OrderedDict, defaultdict, deque

import numpy as np
import pytest
import torch
import torchmetrics
from torch import nn

from torchbp._torchquantum import tq
from torchbp.gradients.isolation import undisturbed


class Restless(nn.Module):
    """Changes something of every kind each time it is called."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(3, 3)
        self.teacher = nn.Linear(3, 3).requires_grad_(False)
        self.norm = nn.BatchNorm1d(3)
        self.metric = torchmetrics.MeanMetric()
        self.listing = torchmetrics.CatMetric()
        self.device_ = tq.QuantumDevice(n_wires=2)
        self.register_buffer("tied", self.norm.running_mean)
        self.plain = torch.zeros(2)
        self.hidden = (torch.zeros(2), torch.zeros(2))
        self.calls, self.outputs, self.sums = 0, [], {"a": torch.zeros(1), "nested": [[1], {2}]}
        self.recent, self.kinds, self.counts = deque(maxlen=2), set(), defaultdict(int)
        self.ordered = OrderedDict(a=1, b=2)
        self.generators = [torch.Generator().manual_seed(1), np.random.default_rng(1), random.Random(1)]
        self.legacy = np.random.RandomState(1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = nn.functional.dropout(self.norm(self.linear(x)), 0.5)
        self.metric.update(y.detach().sum())
        self.listing.update(y.detach())
        self.device_.reset_states(len(x))
        self.plain += 1
        self.hidden[0].add_(1)
        self.calls += 1
        self.outputs.append(y)
        self.sums["a"] += y.detach().sum()
        self.sums["nested"][0].append(2)
        self.sums["nested"][1].add(3)
        self.recent.append(self.calls)
        self.kinds.add(self.calls)
        self.counts["calls"] += 1
        self.ordered.move_to_end("a")
        self.new = 1
        self.linear.extra = nn.Linear(1, 1)
        with torch.no_grad():
            self.teacher.weight.data.mul_(0.9)
        self.teacher.bias.requires_grad_(True)
        self.eval()
        self.train()
        self.norm.eval()
        random.random(), np.random.rand(), torch.rand(1)
        torch.rand(1, generator=self.generators[0]), self.generators[1].random(), self.generators[2].random()
        self.legacy.rand()
        y.sum().backward()
        return y


def freeze(value):
    """Anything as something that compares with ==, tensors bit by bit and with their identity."""
    if isinstance(value, torch.Tensor):
        return id(value), str(value.dtype), value.requires_grad, value.detach().numpy().tobytes()
    if isinstance(value, torch.Generator):
        return freeze_value(value.get_state())
    if isinstance(value, np.random.Generator):
        return repr(value.bit_generator.state)
    if isinstance(value, np.random.RandomState):
        return repr(value.get_state())
    if isinstance(value, random.Random):
        return value.getstate()
    if isinstance(value, dict):
        return id(value), [(key, freeze(item)) for key, item in value.items()]
    if isinstance(value, list | tuple | deque):
        return id(value), [freeze(item) for item in value]
    if isinstance(value, set):
        return id(value), sorted(value)
    return value if isinstance(value, int | float | str | bool | None) else id(value)


def freeze_value(tensor: torch.Tensor) -> bytes:
    return tensor.numpy().tobytes()


def state(model: nn.Module):
    """Everything there is to know, random generators and gradients included."""
    grads = [None if p.grad is None else freeze(p.grad) for p in model.parameters()]
    rng = random.getstate(), repr(np.random.get_state()), freeze_value(torch.get_rng_state())
    return [freeze(vars(module)) for module in model.modules()], grads, rng


@pytest.fixture
def model() -> Restless:
    torch.manual_seed(0)
    model = Restless()
    model(torch.randn(4, 3))  # so that there are gradients, outputs and metric states to lose
    return model


def test_nothing_is_left_behind(model):
    """Oracle: every attribute, tensor (bits and identity), container, generator and `.grad` before and after."""
    x = torch.randn(6, 3)
    before = state(model)
    with undisturbed(model):
        model(x)
        model(x)
        assert state(model) != before
        assert model.calls == 3
    assert state(model) == before


def test_after_an_error_too(model):
    """Oracle: as above; and the error comes through."""

    def fail() -> None:
        with undisturbed(model):
            model(torch.ones(5, 3))
            raise ZeroDivisionError

    before = state(model)
    with pytest.raises(ZeroDivisionError):
        fail()
    assert state(model) == before


def test_next_call_is_the_same():
    """What comes after is bit for bit what it would have been. Oracle: the same model without the block."""
    outcomes = []
    for probed in (False, True):
        torch.manual_seed(0)
        model = Restless()
        if probed:
            with undisturbed(model):
                model(torch.ones(5, 3))
        outcomes.append((model(torch.ones(5, 3)), model.linear.weight.grad, torch.rand(3)))
    assert all(torch.equal(one, other) for one, other in zip(*outcomes, strict=True))


def test_copies_share_what_was_shared(model):
    """A buffer that two modules share is one copy inside the block. Oracle: identity."""
    with undisturbed(model):
        assert model.tied is model.norm.running_mean
        model.norm.train()
        model.norm(torch.randn(4, 3))
        assert torch.equal(model.tied, model.norm.running_mean)


def test_unchanged_parameters_keep_their_version(model):
    """Graphs built before the block still run backward. Oracle: autograd's version check."""
    loss = (model.linear.weight**2).sum()
    with undisturbed(model):
        model.linear(torch.ones(1, 3))
    loss.backward()


def test_lazy_and_cyclic():
    """A module without a shape yet, and a list that contains itself. Oracle: no error, nothing changed."""
    model = nn.Sequential(nn.LazyLinear(2), nn.LazyBatchNorm1d())
    model.loop = []
    model.loop.append(model.loop)
    with undisturbed(model):
        model.loop.append(1)
    assert len(model.loop) == 1
    assert isinstance(model[0].weight, nn.UninitializedParameter)
