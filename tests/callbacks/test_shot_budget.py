"""ShotBudget and ShotForecast: predictions against the layers' own count, and budgets that are never overspent."""

from __future__ import annotations

from typing import Any

import lightning.pytorch as L
import pytest
import torch
from scripted import Model, data, equal, everything, fit
from torch import Tensor, nn

from torchbp import QuantumLayer
from torchbp.callbacks import GradientSNRMonitor, ShotBudget
from torchbp.callbacks.mechanics.shot_forecast import ShotForecast
from torchbp.circuits import PauliSum, angle_encoding, hardware_efficient
from torchbp.diagnosis.shot_cost import ShotCost
from torchbp.errors import InputError, UnknownNameError

STEP = 50 * 8 * (1 + 2 * 12 + 2 * 2)  # shots * samples * (forward + two shifts of each weight and feature)


class Two(L.LightningModule):
    """Two quantum layers, one of them called twice, once without gradient; XX and ZZ take two settings."""

    def __init__(self) -> None:
        super().__init__()
        circuit = angle_encoding(n_wires=2) + hardware_efficient(n_wires=2, depth=1)
        self.one = QuantumLayer(circuit, PauliSum({"X0 X1": 1.0, "Z0 Z1": 0.5}), shots=10)
        self.two = QuantumLayer(hardware_efficient(n_wires=2, depth=1), shots=7)
        self.head = nn.Linear(1, 1)

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        with torch.no_grad():
            offset = self.one(batch[0][:3]).mean()
        return self.head(self.one(batch[0])).mean() + self.two().mean() + offset

    def configure_optimizers(self) -> Any:
        return torch.optim.SGD(self.parameters(), lr=0.01)


class Positions(Two):
    """A layer at two positions, and for one sample without a batch."""

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        x = batch[0]
        return self.head(self.one(torch.stack([x, x * x], 1))).mean() + self.one(x[0]).mean()


def frozen() -> Model:
    model = Model(shots=50)
    model.core.requires_grad_(False)
    return model


@pytest.mark.parametrize(
    ("make", "options"),
    [
        (lambda: Model(shots=50), {}),
        (lambda: Model(shots=50, bare=True), {}),
        (frozen, {}),
        (lambda: Model("manual", shots=50), {}),
        (lambda: Model(shots=50), {"accumulate_grad_batches": 2, "precision": "bf16-mixed"}),
        (Two, {}),
        (Positions, {}),
    ],
)
def test_the_forecast_is_exact_and_free(make, options):
    """Oracle: what the layers count during the step."""
    seen: list[tuple[int, int]] = []

    class Compare(L.Callback):
        def on_fit_start(self, trainer: Any, module: Any) -> None:
            self.forecast = ShotForecast()

        def on_train_batch_start(self, trainer: Any, module: Any, batch: Any, batch_idx: int) -> None:
            layers = [m for m in module.modules() if isinstance(m, QuantumLayer)]
            before = sum(layer.shots_used for layer in layers)
            seen.append((self.forecast(trainer, module, batch, batch_idx), before))
            assert sum(layer.shots_used for layer in layers) == before

        def on_train_batch_end(self, trainer: Any, module: Any, *_: Any) -> None:
            layers = [m for m in module.modules() if isinstance(m, QuantumLayer)]
            planned, before = seen[-1]
            assert planned == sum(layer.shots_used for layer in layers) - before > 0

    runs = []
    for callbacks in ([Compare()], []):  # and it leaves no trace
        torch.manual_seed(0)
        model = make()
        trainer = fit(model, callbacks, data(28), **options)  # the last batch is smaller
        runs.append([*everything(model, trainer), torch.get_rng_state()])
    assert seen
    assert equal(*runs)


def test_cost_of_a_step_by_hand():
    """Oracle: the formula in the docstring."""
    cost = ShotCost.of(Model(shots=50).core)
    assert (cost.groups, cost.weight_terms, cost.feature_terms) == (1, 24, 4)
    assert cost.shots(8, 50, weights=True, features=True) == STEP
    assert cost.shots(8, 50) == 400


def test_nothing_to_count_without_shots():
    """Exact layers spend none. Oracle: the fit without a budget, bit for bit."""
    runs = []
    for callbacks in ([ShotBudget(1)], []):
        model = Model()
        trainer = fit(model, callbacks)
        runs.append(everything(model, trainer))
    assert equal(*runs)


@pytest.mark.filterwarnings("ignore:Detected call of `lr_scheduler.step")  # where there is no step
@pytest.mark.parametrize(("total", "steps"), [(5 * STEP, 5), (6 * STEP - 1, 5), (STEP - 1, 0)])
def test_the_run_ends_with_the_last_step_that_fits(total, steps):
    """Oracle: by hand, and the layer's own count."""
    model, budget = Model(shots=50), ShotBudget(total)
    trainer = fit(model, [budget])
    assert trainer.global_step == steps
    assert budget.used == model.core.shots_used == steps * STEP
    (event,) = budget.events
    assert (event.step, event.kind) == (steps, "budget")
    assert event.data["needed"] == STEP
    assert model.core.shots == 50
    assert "on_train_batch_start" not in vars(model)


def test_probes_and_validation_count_and_are_kept_back():
    """Oracle: the layer's own count never exceeds the budget; without the probes there would be more steps."""
    for total in (20 * STEP, 21 * STEP + STEP // 2, 23 * STEP - 1):
        model = Model(shots=50)
        model.validation_step = lambda batch, batch_idx, model=model: model.loss(batch)  # type: ignore[method-assign]
        budget = ShotBudget(total)
        trainer = L.Trainer(
            max_epochs=20,
            callbacks=[GradientSNRMonitor(3, 2, source="microbatch"), budget],
            logger=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            enable_checkpointing=False,
            accelerator="cpu",
            num_sanity_val_steps=1,
        )
        trainer.fit(model, data(), data(8))
        assert budget.used == model.core.shots_used <= total
        assert 12 <= trainer.global_step <= 18


def test_every_epoch_has_its_budget():
    """Oracle: by hand: two of four steps in each epoch."""
    model, budget = Model(shots=50), ShotBudget(per_epoch=2 * STEP + 1)
    trainer = fit(model, [budget], max_epochs=3)
    assert trainer.global_step == 6
    assert trainer.current_epoch == 3
    assert [event.data["ends"] for event in budget.events] == ["epoch"] * 3


@pytest.mark.filterwarnings("ignore:Detected call of `lr_scheduler.step")  # Lightning's, of an epoch without steps
@pytest.mark.parametrize("policy", ["stop", "degrade"])
def test_a_run_ends_whose_epochs_pay_for_no_step(policy):
    """Oracle: by hand: nothing is spent, and the run ends, though it is asked for ten steps and not for epochs."""
    model, budget = Model(shots=50), ShotBudget(per_epoch=5, policy=policy)
    trainer = fit(model, [budget], max_epochs=-1, max_steps=10)
    assert trainer.global_step == 0
    assert model.core.shots_used == 0
    assert budget.events[-1].data["ends"] == "run"
    assert "no epoch would take one: raise per_epoch" in budget.events[-1].message


def test_an_accumulated_step_is_not_begun_if_it_can_not_be_finished():
    """Oracle: by hand: three batches' worth are one step of two."""
    trainer = fit(Model(shots=50), [ShotBudget(3 * STEP)], accumulate_grad_batches=2)
    assert trainer.global_step == 1


def test_degrading_halves_the_shots_and_lasts_longer():
    """Oracle: by hand: 12 steps at a budget of 6; the shots of the layer are what they were afterwards."""
    model, budget = Model(shots=48), ShotBudget(6 * STEP, policy="degrade", min_shots=3)
    trainer = fit(model, [budget])
    assert trainer.global_step == 12
    assert budget.used == model.core.shots_used <= 6 * STEP
    assert [event.data["shots"]["core"] for event in budget.events] == [24]
    assert model.core.shots == 48


def test_degrading_ends_at_the_least_shots():
    """Oracle: by hand."""
    model, budget = Model(shots=48), ShotBudget(2 * STEP, policy="degrade", min_shots=20)
    trainer = fit(model, [budget])
    step = STEP * 20 // 50
    assert trainer.global_step == 2 * STEP // step == 5
    assert [event.data.get("shots") for event in budget.events] == [{"core": 24}, {"core": 20}, None]


def test_an_epoch_that_degrades_does_not_spoil_the_next():
    """Oracle: by hand: 4 steps at 48, an epoch's budget of 2 of them."""
    model, budget = Model(shots=48), ShotBudget(per_epoch=2 * STEP, policy="degrade")
    trainer = fit(model, [budget], max_epochs=2)
    assert trainer.global_step == 8
    assert [event.data["shots"]["core"] for event in budget.events] == [24, 24]


def test_shots_are_put_back_after_an_exception():
    """Oracle: 48, as it was."""
    model = Model(shots=48)

    class Break(L.Callback):
        def on_train_batch_end(self, trainer: Any, module: Any, *_: Any) -> None:
            assert module.core.shots == 24
            raise KeyError("broken")

    with pytest.raises(KeyError):
        fit(model, [ShotBudget(6 * STEP, policy="degrade"), Break()])
    assert model.core.shots == 48


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({}, InputError, "A budget needs a number of shots"),
        ({"total": 0}, InputError, "total is a whole number of at least 1, got 0"),
        ({"total": float("nan")}, InputError, "total is a whole number of at least 1, got nan"),
        ({"per_epoch": -1}, InputError, "per_epoch is a whole number of at least 1, got -1"),
        ({"total": 1, "min_shots": 0}, InputError, "min_shots is a whole number of at least 1, got 0"),
        ({"total": 1, "policy": "degrad"}, UnknownNameError, "Unknown policy 'degrad'. Did you mean 'degrade'?"),
    ],
)
def test_wrong_arguments(options, error, message):
    """Said where they are given."""
    with pytest.raises(error, match=message):
        ShotBudget(**options)


def test_a_step_that_can_not_be_run_by_itself_goes_by_the_last_one():
    """The training step needs what the layer returns. Oracle: the budget holds all the same, and it is said once."""
    model = Model(shots=50)

    def training_step(batch: Any, batch_idx: int) -> Tensor:
        if not model.core(torch.zeros(1, 2)).any():
            raise ValueError("nothing measured")
        return model.loss(batch)

    model.training_step = training_step  # type: ignore[method-assign]
    budget = ShotBudget(10 * STEP)
    with pytest.warns(UserWarning, match="can't run the training step by itself to predict its shots"):
        trainer = fit(model, [budget])
    assert trainer.global_step == 9  # each takes a look at one sample more
    assert budget.used == model.core.shots_used <= 10 * STEP
