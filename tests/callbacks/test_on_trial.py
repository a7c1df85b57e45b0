"""What a remedy on trial may touch, what it is judged by, and how it goes back. Verdicts are scripted."""

from __future__ import annotations

import math
from typing import Any

import lightning.pytorch as L
import pytest
import torch
from scripted import Scripted, everything, fit, verdict
from torch import Tensor, nn

from torchbp import QuantumLayer
from torchbp.callbacks import GradientFreeFallback, InitializationReset, LayerwiseTraining
from torchbp.callbacks.mechanics.evaluation import losses_of
from torchbp.callbacks.mechanics.quantum_weights import QuantumWeights
from torchbp.callbacks.mechanics.trials.resolution import Resolution
from torchbp.callbacks.mechanics.trials.snapshot import Snapshot
from torchbp.circuits import angle_encoding, hardware_efficient

PLATEAU = "barren_plateau"


class Two(L.LightningModule):
    """Two quantum layers side by side, each of two circuit layers, and a third that no gradient comes back to."""

    def __init__(self, shots: int | None = None) -> None:
        super().__init__()
        circuit = angle_encoding(n_wires=2) + hardware_efficient(n_wires=2, depth=2)
        generator = torch.Generator().manual_seed(0)

        def layer() -> QuantumLayer:
            return QuantumLayer(circuit, shots=shots, init="uniform", generator=generator)

        self.trained, self.stuck, self.idle = layer(), layer(), layer()

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        x, y = batch
        with torch.no_grad():
            shift = self.idle(x)
        return nn.functional.mse_loss(self.trained(x) + self.stuck(x) + shift, y)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=1e-3)


def names(model: Any, *paths: str) -> tuple[str, ...]:
    return tuple(name for name in QuantumWeights.of(model).groups if name.split("/")[0] in paths)


def remedies(said: Any) -> dict[str, Any]:
    script, options = {3: said}, {"answers": [PLATEAU]}
    every = {"every_n_steps": 2}
    return {
        "reset": InitializationReset(Scripted(script, **every), "gaussian", candidates=2, trial=4, warmup=1, **options),
        "layerwise": LayerwiseTraining(Scripted(script, **every), schedule=1, **options),
        "search": GradientFreeFallback(Scripted(script, **every), "cma", max_evaluations=60, **options),
    }


class Changes(L.Callback):
    """Which quantum layers are not where the optimizer left them as a step begins; but for a way back, which is all."""

    def __init__(self, remedy: Any) -> None:
        self.remedy = remedy
        self.ends: dict[str, Tensor] = {}
        self.changed: set[str] = set()

    def on_train_batch_start(self, trainer: Any, pl_module: Any, *_: Any) -> None:
        for path, end in self.ends.items():
            back = any(event.kind == "rollback" for event in self.remedy.events)
            if not back and not torch.equal(end, pl_module.get_submodule(path).weights):
                self.changed.add(path)

    def on_train_batch_end(self, trainer: Any, pl_module: Any, *_: Any) -> None:
        self.ends = {p: pl_module.get_submodule(p).weights.detach().clone() for p in ("trained", "stuck", "idle")}


@pytest.mark.parametrize("kind", ["reset", "layerwise", "search"])
def test_it_touches_what_the_verdict_names(kind):
    """Oracle: the weights at the end of a step are those at the beginning of the next, but for the layer named."""
    model = Two()
    remedy = remedies(verdict(PLATEAU, names(model, "stuck")))[kind]
    changes = Changes(remedy)
    fit(model, [remedy, changes], max_epochs=4)
    assert changes.changed == {"stuck"}
    assert remedy.events


@pytest.mark.parametrize("kind", ["reset", "layerwise", "search"])
def test_it_never_touches_what_is_frozen_or_not_trained(kind):
    """A verdict on all layers. Oracle: bit for bit the weights of before; the last has no gradient, only a value."""
    model, remedy = Two(), remedies(PLATEAU)[kind]
    changes = Changes(remedy)
    model.trained.requires_grad_(False)
    before = {path: model.get_submodule(path).weights.detach().clone() for path in ("trained", "idle")}
    fit(model, [remedy, changes], max_epochs=4)
    assert changes.changed == {"stuck"}
    assert all(torch.equal(model.get_submodule(path).weights, old) for path, old in before.items())


@pytest.mark.parametrize("kind", ["reset", "layerwise", "search"])
def test_a_verdict_on_what_is_not_trained_is_not_answered(kind):
    """Oracle: nothing happens."""
    model = Two()
    model.stuck.requires_grad_(False)
    remedy = remedies(verdict(PLATEAU, names(model, "stuck", "idle")))[kind]
    fit(model, [remedy])
    assert remedy.events == []


def test_weights_that_no_optimizer_has():
    """Oracle: by hand."""
    model = Two()
    model.configure_optimizers = lambda: torch.optim.SGD(model.stuck.parameters(), lr=1e-3)  # type: ignore[method-assign]
    trainer = fit(model, [], max_steps=1)
    assert QuantumWeights.trained(trainer, model).groups == names(model, "stuck")


@pytest.mark.parametrize("said", ["worse", "alike"])
def test_a_search_goes_back(said):
    """To a place that is worse, or no better. Oracle: all tensors before it took over, classical ones too."""
    model, seen = Two(), []

    class Astray:
        """Asks for where it is, and goes half a radian away, or nowhere."""

        def __init__(self, start: Tensor, seed: int) -> None:
            self.point = start.clone()

        def ask(self) -> list[Tensor]:
            return [self.point, self.point]

        def tell(self, losses: Any) -> Tensor:
            self.point = self.point * 0 + (0.5 if said == "worse" else 0.0)
            return self.point

        def state_dict(self) -> dict[str, Any]:
            return {"point": self.point}

        def load_state_dict(self, state: dict[str, Any]) -> None:
            self.point = state["point"]

    remedy = GradientFreeFallback(Scripted({3: PLATEAU}), Astray, max_evaluations=100, answers=[PLATEAU])
    real = remedy.act
    model.training_step = lambda batch, batch_idx: (  # type: ignore[method-assign]
        (2 + model.stuck.weights.square().mean() + model.trained.weights.square().mean()) + 0 * model.idle.weights.sum()
    )
    with torch.no_grad():
        for layer in (model.trained, model.stuck, model.idle):
            layer.weights.zero_()

    def act(trainer: Any, *arguments: Any) -> None:
        seen.append([t.clone() for t in everything(model, trainer)])
        real(trainer, *arguments)

    remedy.act = act  # type: ignore[method-assign]
    trainer = fit(model, [remedy], max_epochs=20)
    assert [event.kind for event in remedy.events] == ["fallback", "gradients", "rollback"]
    assert remedy.events[1].data["reason"] == ("worse" if said == "worse" else "budget")
    assert remedy.events[2].data["decision"] == ("worse" if said == "worse" else "undecided")
    assert all(torch.equal(a, b) for a, b in zip(everything(model, trainer), seen[0], strict=True))


def test_a_loss_that_is_lost_is_taken_back_at_once():
    """A reset to where the loss is NaN. Oracle: the weights before it; a step later, in a trial of forty."""
    model = Two()
    remedy = InitializationReset(Scripted({3: PLATEAU}), candidates=1, trial=40, warmup=0, answers=[PLATEAU])
    remedy.strategies = [lambda circuit, generator: torch.full((circuit.n_weights,), 9.0)]
    ends: list[Tensor] = []

    class Tape(L.Callback):
        def on_train_batch_end(self, trainer: Any, pl_module: Any, *_: Any) -> None:
            ends.append(pl_module.stuck.weights.detach().clone())

    def step(batch: Any, batch_idx: int) -> Tensor:
        gone = torch.where(model.stuck.weights.detach().max() > 8, torch.nan, 1.0)
        return gone * (model.stuck.weights.square().mean() + model.trained.weights.square().mean())

    model.training_step = step  # type: ignore[method-assign]
    fit(model, [remedy, Tape()], max_epochs=2)
    kinds = [(event.step, event.kind) for event in remedy.events]
    assert kinds == [(4, "reset"), (5, "rollback")]
    torch.testing.assert_close(ends[5], ends[3] * (1 - 1e-3 * 2 / len(ends[3])))  # a step from where it was


def test_pairs_share_batch_and_random_numbers():
    """Finite shots, the same state twice. Oracle: losses are equal, bit for bit, and differ from batch to batch."""
    model, found = Two(shots=5), []

    class Look(L.Callback):
        def on_train_batch_start(self, trainer: Any, pl_module: Any, batch: Any, batch_idx: int) -> None:
            there = Snapshot.of(trainer, pl_module)
            states = [lambda: None, lambda: there.write(pl_module)]
            found.append(losses_of(trainer, pl_module, states, batch, batch_idx, seed=batch_idx))

    fit(model, [Look()], max_epochs=1)
    assert all(one == other for one, other in found)
    assert len({one for one, _ in found}) == len(found)


def test_a_search_that_could_show_nothing_does_not_start():
    """A loss of a thousandth of what a shot scatters. Oracle: evaluations needed by hand: 4 (3 noise / signal)^2."""
    model = Two(shots=1)
    remedy = remedies(PLATEAU)["search"]
    spent = []
    real = remedy.act

    def act(trainer: Any, *arguments: Any) -> None:
        spent.append(model.stuck.shots_used)
        real(trainer, *arguments)
        spent.append(model.stuck.shots_used)

    remedy.act = act  # type: ignore[method-assign]
    remedy.options = {"sigma": 1e-4}  # points so near each other that they differ by nothing
    fit(model, [remedy])
    assert [event.kind for event in remedy.events] == ["declined"]
    assert spent[0] == spent[1]
    data = remedy.events[0].data
    assert 4 * (3 * data["noise"] / data["signal"]) ** 2 > data["evaluations"] == 60
    assert remedy.events[0].message.startswith("No search: its points differ by ")
    assert not remedy.active


@pytest.mark.parametrize(
    ("signal", "noise", "evaluations", "sufficient"),
    [(1.0, 1.0, 36, True), (1.0, 1.0, 35, False), (0.0, 1.0, 10**9, False), (math.nan, 0.0, 1, True)],
)
def test_what_is_sufficient(signal, noise, evaluations, sufficient):
    """Oracle: by hand."""
    assert Resolution(signal, noise, evaluations).sufficient is sufficient
