"""Micro-batch gradients against one backward for each part, and against many re-sampled batches."""

import dataclasses
from collections import namedtuple

import numpy as np
import pytest
import torch
from torch import nn

from torchbp import QuantumLayer
from torchbp.circuits import angle_encoding, hardware_efficient
from torchbp.errors import InputError
from torchbp.gradients.groups import find_groups
from torchbp.gradients.microbatch import batch_size, microbatch_gradients, split_batch
from torchbp.gradients.stats import GradientStatistics, snr


@pytest.fixture
def model() -> nn.Sequential:
    torch.manual_seed(0)
    quantum = QuantumLayer(angle_encoding(n_wires=2) + hardware_efficient(n_wires=2, depth=2))
    return nn.Sequential(nn.Linear(3, 2), quantum, nn.Linear(2, 1))


def data(n: int, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    x = torch.randn(n, 3, generator=torch.Generator().manual_seed(seed))
    return x, torch.sin(x.sum(1, keepdim=True))


def loss_of(model):
    return lambda batch: nn.functional.mse_loss(model(batch[0]), batch[1])


def test_rows_are_backward_of_each_part(model):
    """Oracle: `.backward()` on each part; `.grad` stays as it was."""
    batch, groups, loss = data(12), find_groups(model), loss_of(model)
    found = microbatch_gradients(loss, groups, split_batch(batch, 4), scale=64.0)
    assert found.shape == (4, sum(map(len, groups)))
    assert all(p.grad is None for p in model.parameters())
    for k in range(4):
        model.zero_grad()
        loss((batch[0][3 * k : 3 * k + 3], batch[1][3 * k : 3 * k + 3])).backward()
        expected = torch.cat([g.pick({p: p.grad for p in model.parameters()}) for g in groups])
        torch.testing.assert_close(found[k], expected)


def test_against_many_batches(model):
    """SNR and SE of single batches against brute force: the mean and spread of 200 batches' gradients."""
    groups, loss = find_groups(model)[1:3], loss_of(model)
    x, y = data(200 * 32, seed=1)
    batches = list(zip(x.split(32), y.split(32), strict=True))
    gradients = microbatch_gradients(loss, groups, batches).double()
    probes = [
        GradientStatistics.from_samples(microbatch_gradients(loss, groups, split_batch(batch, 8)))
        for batch in batches[:40]
    ]
    true_se, found_se = (
        gradients.std(0),
        torch.stack([p.standard_error.square() for p in probes]).mean(0).sqrt(),
    )
    live = true_se > 1e-6 * true_se.max()  # no observable sees the last rotations about Z
    assert int(live.sum()) >= 6
    torch.testing.assert_close(found_se[live], true_se[live], rtol=0.25, atol=0)
    true_snr = (gradients.mean(0).abs() / true_se)[live]
    typical = torch.stack([snr(p)[live] for p in probes]).median(0).values
    clear = true_snr > 1.5  # below that, the SNR of one probe is mostly that of its noise
    assert clear.any()
    torch.testing.assert_close(typical[clear], true_snr[clear], rtol=0.4, atol=0)


def test_no_data_is_not_zero(model):
    """Frozen and unused weights are NaN, a weight with a zero gradient is zero. Oracle: the construction."""
    model[0].weight.requires_grad_(False)
    groups = [*find_groups(model), *find_groups(nn.Linear(2, 2))]
    found = microbatch_gradients(loss_of(model), groups, split_batch(data(8), 2))
    parts = dict(zip([g.name for g in groups], found.split([len(g) for g in groups], dim=1), strict=True))
    assert parts["0"][:, :6].isnan().all()  # the frozen weight
    assert parts["0"][:, 6:].isfinite().all()  # the bias beside it
    assert parts["Linear"].isnan().all()
    zero = microbatch_gradients(lambda b: 0 * loss_of(model)(b), groups[:2], split_batch(data(8), 2))
    assert (zero[:, 6:] == 0).all()


def test_rows_without_a_gradient(model):
    """A loss that is NaN, None or constant is no sample at all. Oracle: the construction."""
    groups, loss = find_groups(model), loss_of(model)
    outcomes = iter([loss(data(4)), loss(data(4)) * torch.nan, None, torch.tensor(1.0)])
    found = microbatch_gradients(lambda _: next(outcomes), groups, range(4))
    assert found[0].isfinite().all()
    assert found[1:].isnan().all()
    assert microbatch_gradients(loss, groups, []).shape == (0, found.shape[1])


Pair = namedtuple("Pair", "x y")


@dataclasses.dataclass
class Sample:
    x: torch.Tensor
    tag: str = "kept"


@pytest.mark.parametrize(
    ("batch", "expected"),
    [
        (torch.arange(5), torch.tensor([2, 3, 4])),
        ([torch.arange(2), torch.arange(2)], [torch.tensor([1]), torch.tensor([1])]),
        (
            {"x": torch.arange(5), "n": 7, "w": torch.ones(3)},
            {"x": torch.tensor([2, 3, 4]), "n": 7, "w": torch.ones(3)},
        ),
        ((torch.arange(3), ["a", "b", "c"]), (torch.tensor([1, 2]), ["b", "c"])),
        (Pair(torch.arange(4), torch.tensor(2.0)), Pair(torch.tensor([2, 3]), torch.tensor(2.0))),
        (Sample(torch.arange(4)), Sample(torch.tensor([2, 3]))),
        ([np.arange(4), None], [np.array([2, 3]), None]),
        (({"a": [torch.arange(6)]},), ({"a": [torch.tensor([3, 4, 5])]},)),
    ],
)
def test_split(batch, expected):
    """The second of two parts of every kind of batch. Oracle: written out."""
    found = split_batch(batch, 2)
    assert len(found) == 2
    assert type(found[1]) is type(expected)
    pairs = zip(flat(found[1]), flat(expected), strict=True)
    assert all(type(a) is type(b) and np.array_equal(a, b) if hasattr(a, "shape") else a == b for a, b in pairs)


def flat(value):
    if dataclasses.is_dataclass(value):
        return flat(list(vars(value).values()))
    if isinstance(value, dict):
        return flat(list(value.values()))
    return [leaf for item in value for leaf in flat(item)] if isinstance(value, list | tuple) else [value]


def test_split_copies_and_covers():
    """Changing a part leaves the batch alone; together the parts are the batch. Oracle: torch.cat."""
    batch = torch.arange(11.0)
    parts = split_batch((batch,), 4)
    assert sorted(len(p[0]) for p in parts) == [2, 3, 3, 3]
    assert torch.equal(torch.cat([p[0] for p in parts]), batch)
    parts[0][0].zero_()
    assert batch[1] == 1


def test_errors():
    assert batch_size({"name": "x", "x": torch.zeros(3, 2)}) == 3
    assert batch_size("text") is None
    with pytest.raises(InputError, match="no tensor to split in this batch of type str"):
        split_batch("text", 2)
    with pytest.raises(InputError, match="A batch of 3 can't be split into 4 parts"):
        split_batch(torch.zeros(3), 4)
