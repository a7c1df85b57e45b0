"""What optimizers forget, and steps that are cut short, against new optimizers and by hand."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn, optim
from torch.optim import Optimizer

from torchbp.callbacks.mechanics.optimizer_state import forget, restore_state, state_of
from torchbp.callbacks.mechanics.step_hooks import StepHooks

Make = Callable[[list[nn.Parameter]], Optimizer]
OPTIMIZERS: dict[str, Make] = {
    "Adam": lambda p: optim.Adam(p, 0.1),
    "Adam foreach amsgrad": lambda p: optim.Adam(p, 0.1, amsgrad=True, foreach=True),
    "Adam fused": lambda p: optim.Adam(p, 0.1, fused=True),
    "AdamW": lambda p: optim.AdamW(p, 0.1, weight_decay=0.1),
    "Adamax": lambda p: optim.Adamax(p, 0.1),
    "NAdam": lambda p: optim.NAdam(p, 0.1),
    "RAdam": lambda p: optim.RAdam(p, 0.1),
    "RMSprop": lambda p: optim.RMSprop(p, 0.1, momentum=0.9, centered=True),
    "SGD": lambda p: optim.SGD(p, 0.1),
    "SGD dampening": lambda p: optim.SGD(p, 0.1, momentum=0.9, dampening=0.1),
    "SGD fused": lambda p: optim.SGD(p, 0.1, momentum=0.9, fused=True),
    "Adagrad": lambda p: optim.Adagrad(p, 0.1, initial_accumulator_value=0.2),
    "Adadelta": lambda p: optim.Adadelta(p, 0.1),
    "Rprop": lambda p: optim.Rprop(p, 0.1),
    "ASGD": lambda p: optim.ASGD(p, 0.1, t0=2),
    "Adafactor": lambda p: optim.Adafactor(p, 0.1),
}


def parameters() -> tuple[nn.Parameter, nn.Parameter]:
    generator = torch.Generator().manual_seed(0)
    return nn.Parameter(torch.randn(6, generator=generator)), nn.Parameter(torch.randn(6, generator=generator))


def gradients(step: int) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(step)
    return torch.randn(6, generator=generator), torch.randn(6, generator=generator)


def step(p: nn.Parameter, q: nn.Parameter, optimizers: list[Optimizer], k: int) -> None:
    p.grad, q.grad = gradients(k)
    for optimizer in optimizers:
        optimizer.step()


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_forgetting_a_parameter_is_a_new_optimizer_for_it(name):
    """Oracle: a new optimizer for it, and one of its own for the other that has never stopped."""
    make = OPTIMIZERS[name]
    p, q = parameters()
    together = make([p, q])
    p2, q2 = parameters()
    first, other = make([p2]), make([q2])
    for k in range(8):
        if k == 4:
            p.data = torch.ones(6)
            p2.data = torch.ones(6)
            forget(together, {p: torch.ones(6, dtype=torch.bool), nn.Parameter(torch.ones(2)): torch.ones(2).bool()})
            first = make([p2])
        step(p, q, [together], k)
        step(p2, q2, [first, other], k)
    assert torch.equal(p, p2)
    assert torch.equal(q, q2)


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_forgetting_a_part_leaves_the_other_elements_as_they_are(name):
    """Oracle: an optimizer that never forgot, for the other elements; a new one's state for these, counters aside."""
    make = OPTIMIZERS[name]
    p, q = parameters()
    p2, q2 = parameters()
    one, twin = make([p, q]), make([p2, q2])
    mask = torch.tensor([True, False, True, False, False, False])
    for k in range(8):
        if k == 4:
            forget(one, {p: mask})
            fresh_p, fresh_q = parameters()
            fresh = make([fresh_p, fresh_q])
            start = {k: v for k, v in fresh.state.get(fresh_p, {}).items()}
            for key, value in one.state.get(p, {}).items():
                if isinstance(value, Tensor) and value.shape == p.shape:
                    wanted = start.get(key, torch.full((6,), 0.1 if key == "step_size" else 0.0))
                    assert torch.equal(value[mask], wanted[mask])
                    assert torch.equal(value[~mask], twin.state[p2][key][~mask])
        step(p, q, [one], k)
        step(p2, q2, [twin], k)
    if name != "Adafactor":  # its step has the size of the whole parameter's update
        assert torch.equal(p[~mask], p2[~mask])
    assert torch.equal(q, q2)


def test_the_first_steps_of_forgotten_moments():
    """After a million steps. Oracle: the bound in the docstring."""
    p, q = parameters()
    optimizer = optim.Adam([p, q], 0.1)
    for k in range(5):
        step(p, q, [optimizer], k)
    optimizer.state[p]["step"].fill_(1e6)
    forget(optimizer, {p: torch.tensor([True] + 5 * [False])})
    before = p.detach().clone()
    step(p, q, [optimizer], 5)
    assert abs((p[0] - before[0]).item()) == pytest.approx(0.1 * (1 - 0.9) / (1 - 0.999) ** 0.5, rel=1e-3)


def test_lbfgs_forgets_everything():
    """Its memory is of all parameters together."""
    p, q = parameters()
    optimizer = optim.LBFGS([p, q])

    def closure() -> Tensor:
        optimizer.zero_grad()
        loss = (p.square() + q.square()).sum()
        loss.backward()
        return loss

    optimizer.step(closure)  # type: ignore[arg-type]
    forget(optimizer, {q: torch.ones(6, dtype=torch.bool)})
    assert not optimizer.state


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_a_state_comes_back(name):
    """Oracle: an optimizer that stopped where the state was copied."""
    p, q = parameters()
    names = {p: "p", q: "q"}
    optimizer = OPTIMIZERS[name]([p, q])
    for k in range(3):
        step(p, q, [optimizer], k)
    saved, values = state_of(optimizer, names), (p.detach().clone(), q.detach().clone())
    runs = []
    for _ in range(2):
        p.data, q.data = values[0].clone(), values[1].clone()
        restore_state(optimizer, names, saved)
        for k in range(3, 6):
            step(p, q, [optimizer], k)
        runs.append((p.detach().clone(), q.detach().clone()))
    assert all(torch.equal(a, b) for a, b in zip(*runs, strict=True))


@pytest.mark.parametrize("share", [0.0, 0.25, 1.0])
@pytest.mark.parametrize("name", ["AdamW", "SGD dampening", "Adam fused"])
def test_steps_of_some_elements_are_cut_short(name, share):
    """Oracle: the same step without hooks, and p_old + share * (p_new - p_old)."""
    p, q = parameters()
    p2, q2 = parameters()
    one, twin = OPTIMIZERS[name]([p, q]), OPTIMIZERS[name]([p2, q2])
    mask = torch.tensor([True, False, True, False, False, False])
    hooks = StepHooks([one], {p: mask})
    hooks.share = share
    old = p.detach().clone()
    step(p, q, [one], 0)
    step(p2, q2, [twin], 0)
    assert torch.equal(q, q2)
    assert torch.equal(p[~mask], p2[~mask])
    torch.testing.assert_close(p[mask], old[mask] + share * (p2 - old)[mask])
    if share == 0:
        assert torch.equal(p[mask], old[mask])
    hooks.remove()
    assert not one._optimizer_step_pre_hooks
    assert not one._optimizer_step_post_hooks


def test_pinned_weights_survive_infinities():
    """A step to NaN. Oracle: the weights before."""
    p, q = parameters()
    optimizer = optim.SGD([p, q], 0.1)
    StepHooks([optimizer], {p: torch.ones(6, dtype=torch.bool)}).share = 0.0
    before = p.detach().clone()
    p.grad, q.grad = torch.full((6,), torch.nan), torch.zeros(6)
    optimizer.step()
    assert torch.equal(p, before)


def test_hooks_of_other_optimizers_are_left_alone():
    """Oracle: no hook on an optimizer that does not have the parameter."""
    p, q = parameters()
    optimizer: Any = optim.SGD([q], 0.1)
    StepHooks([optimizer], {p: torch.ones(6, dtype=torch.bool)})
    assert not optimizer._optimizer_step_pre_hooks
