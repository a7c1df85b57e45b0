"""NaturalGradient: when it acts, what moves the weights then, and how it goes back."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from scripted import Model, Scripted, Tape, everything, fit, verdict

from torchbp.callbacks import NaturalGradient
from torchbp.errors import InputError
from torchbp.optim.fubini_study import fubini_study, natural

TRAP = "local_minimum"


def remedy(script: Any = None, **options: Any) -> NaturalGradient:
    """A trial of 14 steps."""
    return NaturalGradient(Scripted({3: TRAP} if script is None else script, every_n_steps=1), **options)


def kinds(found: NaturalGradient) -> list[tuple[int, str]]:
    return [(event.step, event.kind) for event in found.events]


@pytest.mark.parametrize("kind", ["adam", "sgd"])
def test_from_the_verdict_on_the_weights_go_by_natural_gradient(kind):
    """Oracle: by hand from the gradients of the steps; momentum and weight decay do nothing to them."""
    model, tape, found = Model(kind, bare=True), Tape(), remedy(ill_conditioned=1.0)
    x = torch.cat([batch[0] for batch in __import__("scripted").data()]).view(4, 8, 2)
    fit(model, [tape, found], max_epochs=3)
    assert kinds(found)[0] == (4, "natural_gradient")
    rate = found.events[0].data["rate"]
    for step in (4, 7):
        twin = Model(bare=True)
        twin.core.weights.data = tape.starts[step].clone()
        change = -rate * natural(fubini_study(twin.core, x[step % 4]), twin.core, tape.gradients[step], 0.01)
        after = tape.starts[step + 1]
        torch.testing.assert_close(after - tape.starts[step], change, rtol=1e-4, atol=1e-6)


def test_it_goes_back_if_it_is_no_better():
    """A gradient turned around after the rate was chosen. Oracle: model and optimizer before it took over."""
    model, seen, found = Model(bare=True, lr=1e-4), [], remedy(ill_conditioned=1.0)
    real = found.act

    def act(trainer: Any, *arguments: Any) -> None:
        seen.append([t.clone() for t in everything(model, trainer)])
        real(trainer, *arguments)
        model.core.weights.register_hook(lambda gradient: -gradient)

    conclude = found.conclude

    def back(trainer: Any, module: Any) -> None:
        conclude(trainer, module)
        seen.append([t.clone() for t in everything(model, trainer)])

    found.act, found.conclude = act, back  # type: ignore[method-assign]
    trainer = fit(model, [found], max_epochs=5, max_steps=18)
    assert [event.kind for event in found.events] == ["natural_gradient", "rollback"]
    assert 4 + 7 <= found.events[1].step < 18  # between half of the trial, where it may be called off, and its end
    assert all(torch.equal(a, b) for a, b in zip(seen[0], seen[1], strict=True))
    assert not trainer.strategy.optimizers[0]._optimizer_step_post_hooks
    assert not model.core._forward_pre_hooks


def test_where_it_does_not_act():
    """An even metric; finite shots; a layer that is frozen. Oracle: the event, or none, and the weights."""
    found = remedy(ill_conditioned=1e9)
    fit(Model(), [found])
    assert kinds(found) == [(4, "declined")]
    assert "the metric is even" in found.events[0].message
    found = remedy(ill_conditioned=1.0)
    fit(Model(shots=20), [found])
    assert kinds(found) == []
    model, found = Model(), remedy({3: verdict(TRAP)}, ill_conditioned=1.0)
    model.core.requires_grad_(False)
    fit(model, [found])
    assert kinds(found) == []


@pytest.mark.parametrize("name", ["ill_conditioned", "damping"])
def test_wrong_arguments(name):
    with pytest.raises(InputError, match=f"{name} is a finite number above 0 .*, got 0"):
        remedy(**{name: 0})
