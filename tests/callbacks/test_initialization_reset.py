"""InitializationReset in fits whose verdicts are scripted: what it takes, what it changes, and how it goes back."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from lightning.pytorch.callbacks import EMAWeightAveraging, StochasticWeightAveraging
from scripted import Model, Scripted, Tape, data, equal, everything, fit, verdict
from torch import Tensor
from torch.utils.data import DataLoader, TensorDataset

from torchbp.callbacks import InitializationReset, ShotBudget
from torchbp.callbacks.mechanics.quantum_weights import QuantumWeights
from torchbp.callbacks.mechanics.trials.candidates import Score, best, slope
from torchbp.circuits import angle_encoding, initialize
from torchbp.errors import CircuitError, InputError, UnknownNameError

PLATEAU = "barren_plateau"


def zeros(circuit: Any, generator: Any) -> Tensor:
    return torch.zeros(circuit.n_weights)


def reset(script: Any = None, strategy: Any = zeros, **options: Any) -> InitializationReset:
    detector = Scripted({3: PLATEAU} if script is None else script)
    return InitializationReset(detector, strategy, **{"candidates": 1, "warmup": 0, "trial": 100, **options})


def kinds(remedy: InitializationReset) -> list[tuple[int, str]]:
    return [(event.step, event.kind) for event in remedy.events]


def test_it_acts_at_the_step_after_the_verdict():
    """Oracle: the weights at the beginning of each step."""
    remedy, tape = reset(), Tape()
    fit(Model(), [remedy, tape])
    assert [step for step, start in enumerate(tape.starts) if not start.any()] == [4]
    assert kinds(remedy)[0] == (4, "reset")


@pytest.mark.parametrize("shots", [None, 200])
def test_it_takes_the_candidate_with_the_lowest_promise(shots):
    """Oracle: loss and gradient of every candidate on both halves of the batch, by autograd on a copy of the model."""
    remedy = reset(strategy=["uniform", "gaussian"], candidates=5, seed=7)
    model, tape = Model(bare=True, shots=shots), Tape()
    fit(model, [remedy, tape])
    numbers = remedy.events[0].data
    assert len(numbers["losses"]) == 5
    generator = torch.Generator().manual_seed(7 + 1_000_003)
    points = [initialize(["uniform", "gaussian"][k % 2], model.core.circuit, generator) for k in range(5)]
    promises = [loss - steep for loss, steep in zip(numbers["losses"], numbers["slopes"], strict=True)]
    assert numbers["chosen"] == promises.index(min(promises))
    assert torch.equal(tape.starts[4], points[numbers["chosen"]])
    batch = next(iter(data()))
    for k, point in enumerate(points):
        losses, gradients = [], []
        for half in ([t[:4] for t in batch], [t[4:] for t in batch]):
            twin = Model(bare=True)
            twin.core.weights.data = point
            loss = twin.loss(half)
            (gradient,) = torch.autograd.grad(loss, twin.core.weights)
            losses.append(loss.item()), gradients.append(gradient)
        wanted = math.sqrt(max(0.0, float(gradients[0] @ gradients[1])))
        rel = 1e-5 if shots is None else 0.5  # shot noise; the loss is then larger by its variance, at most 1/200
        assert numbers["losses"][k] == pytest.approx(sum(losses) / 2, rel=1e-5, abs=0 if shots is None else 0.1)
        assert numbers["slopes"][k] == pytest.approx(wanted, rel=rel, abs=1e-6 if shots is None else 0.3)


def test_choosing_leaves_no_trace():
    """Three equal candidates are evaluated, or one is not. Oracle: both fits are the same, bit for bit."""
    runs = []
    for candidates in (1, 3):
        model, remedy = Model(), reset(candidates=candidates, warmup=2, trial=5)
        trainer = fit(model, [remedy])
        runs.append([*everything(model, trainer), torch.get_rng_state()])
    assert equal(*runs)


@pytest.mark.parametrize(
    ("kind", "options"),
    [
        ("adam", {}),
        ("adam", {"accumulate_grad_batches": 2}),
        ("adam", {"gradient_clip_val": 0.1}),
        ("adam", {"precision": "bf16-mixed"}),
        ("manual", {}),
        ("two", {}),
        ("lbfgs", {}),
    ],
)
def test_what_changes_is_the_quantum_weights_and_their_memory(kind, options):
    """Looked at right before and after. Oracle: everything else is what it was, bit for bit."""
    model, seen = Model(kind), []
    remedy = reset({1: PLATEAU}, candidates=2)

    def look(trainer: Any) -> dict[str, Any]:
        others = {name: t.clone() for name, t in model.state_dict().items() if name != "core.weights"}
        memory = {}
        for k, optimizer in enumerate(trainer.strategy.optimizers):
            memory |= {(k, p): dict(s) for p, s in optimizer.state.items() if p is not model.core.weights}
        rates = [group["lr"] for o in trainer.strategy.optimizers for group in o.param_groups]
        return {"others": others, "memory": memory, "rates": rates, "grad": model.core.weights.grad}

    real = remedy.act

    def act(trainer: Any, *arguments: Any) -> None:
        seen.append(look(trainer))
        assert model.core.weights.any()
        real(trainer, *arguments)
        assert not model.core.weights.any()
        assert not any(model.core.weights in o.state for o in trainer.strategy.optimizers)
        seen.append(look(trainer))

    remedy.act = act  # type: ignore[method-assign]
    fit(model, [remedy], **options)
    before, after = seen
    assert equal(list(before["others"].values()), list(after["others"].values()))
    assert before["rates"] == after["rates"]
    if kind != "lbfgs":  # whose memory is of all parameters together
        assert before["memory"] == after["memory"]


def test_the_layers_of_the_verdict_or_all():
    """Oracle: by hand; a verdict that names no layer is about all."""
    name, first = next(iter(Model().core.weight_groups.items()))
    every = tuple(range(12))
    for scope, named, wanted in [("plateau", True, first), ("all", True, every), ("plateau", False, every)]:
        tape = Tape()
        remedy = reset({3: verdict(PLATEAU, (f"core/{name}",) if named else ())}, scope=scope)
        fit(Model(), [remedy, tape])
        assert tuple(torch.nonzero(tape.starts[4] == 0).flatten().tolist()) == wanted


def test_warm_up_by_hand():
    """Plain gradient descent. Oracle: each step is lr * gradient times (k + 1) / (W + 1), then the whole of it."""
    model, tape, remedy = Model("sgd", bare=True), Tape(), reset(warmup=3)
    fit(model, [remedy, tape])
    for k, share in enumerate([0.25, 0.5, 0.75, 1.0, 1.0]):
        moved = tape.ends[4 + k] - tape.starts[4 + k]
        torch.testing.assert_close(moved, -0.05 * share * tape.gradients[4 + k], rtol=1e-4, atol=1e-7)


def test_warm_up_leaves_the_classical_weights_alone():
    """Oracle: the first step after the reset is the same with and without for all others, momentum and decay too."""
    heads = []
    for warmup in (0, 3):
        model = Model()
        fit(model, [reset(warmup=warmup)], max_steps=5)
        heads.append([model.head.weight.detach(), model.encoder[0].weight.detach()])
    assert equal(*heads)


def test_it_goes_back_if_it_is_no_better():
    """A start at the solution, and a strategy that leads away from it. Oracle: model and optimizer before the reset."""
    model, seen = Model(bare=True, lr=1e-4), []
    target = model.core(next(iter(data()))[0]).detach()
    loader = DataLoader(TensorDataset(next(iter(data()))[0], target + 0.01), batch_size=8)
    remedy = reset(trial=6, warmup=2)
    real_act, real_judge = remedy.act, remedy._judge

    def act(trainer: Any, *arguments: Any) -> None:
        seen.append([t.clone() for t in everything(model, trainer)])
        real_act(trainer, *arguments)

    def judge(trainer: Any, *arguments: Any) -> None:
        real_judge(trainer, *arguments)
        seen.append([t.clone() for t in everything(model, trainer)])

    remedy.act, remedy._judge = act, judge  # type: ignore[method-assign]
    trainer = fit(model, [remedy], loader, max_epochs=14)
    assert [kind for _, kind in kinds(remedy)] == ["reset", "rollback"]
    assert 4 + 3 <= remedy.events[1].step <= 4 + 6  # between half of the trial, where it may be called off, and its end
    assert equal(*seen)
    assert remedy.events[1].data["loss_after"] > remedy.events[1].data["loss_before"]
    assert not trainer.strategy.optimizers[0]._optimizer_step_post_hooks


def test_it_stays_if_it_is_better():
    """A bad start and a strategy that knows the solution. Oracle: the loss falls to zero and stays there."""
    solution = Model(bare=True).core.weights.detach()
    x = next(iter(data()))[0]
    loader = DataLoader(TensorDataset(x, Model(bare=True).core(x).detach()), batch_size=8)
    model = Model(bare=True, lr=1e-3)
    with torch.no_grad():
        model.core.weights.add_(1.0)
    remedy = reset(strategy=lambda circuit, generator: solution, trial=5)
    fit(model, [remedy], loader, max_epochs=12)
    assert kinds(remedy) == [(4, "reset"), (9, "kept")]
    assert model.loss([x, Model(bare=True).core(x)]).item() < 1e-3


@pytest.mark.parametrize("how", ["end", "stop"])
def test_a_trial_is_judged_as_the_fit_ends(how):
    """Oracle: the weights right before the reset, which was to nowhere."""
    model, tape = Model(bare=True, lr=1e-4), Tape()
    x = next(iter(data()))[0]
    loader = DataLoader(TensorDataset(x, Model(bare=True).core(x).detach()), batch_size=8)
    remedy = reset()
    if how == "stop":
        tape.on_train_epoch_end = lambda trainer, module: setattr(  # type: ignore[method-assign]
            trainer, "should_stop", trainer.current_epoch == 7
        )
    fit(model, [remedy, tape], loader, max_epochs=8 if how == "end" else 20)
    assert kinds(remedy)[-1] == (7, "rollback")
    assert torch.equal(model.core.weights, tape.ends[3])


def test_averaged_copies_get_the_new_weights():
    """Oracle: the weights of the copy right after the reset, and those of the model."""
    for average in (EMAWeightAveraging(decay=0.99), StochasticWeightAveraging(swa_lrs=0.01, swa_epoch_start=1)):
        model, remedy, seen = Model("sgd"), reset({5: PLATEAU}), []
        real = remedy.act

        def act(trainer: Any, *arguments: Any, real: Any = real, average: Any = average, seen: Any = seen) -> None:
            others = average._average_model.state_dict()
            real(trainer, *arguments)
            for name, value in average._average_model.state_dict().items():
                quantum = name.endswith("core.weights")
                seen.append(not value.any() if quantum else torch.equal(value, others[name]))

        remedy.act = act  # type: ignore[method-assign]
        fit(model, [remedy, average])
        assert seen
        assert all(seen)


def test_shots_of_the_choice_are_limited():
    """A candidate costs as much as a step. Oracle: by hand: 8 samples, 12 weights and 2 features of two shifts each."""
    step = 50 * 8 * (1 + 2 * 12 + 2 * 2)
    for limit, evaluated in [(10 * step, 5), (3 * step, 3), (2 * step - 1, 1)]:
        model, remedy = Model(shots=50), reset(candidates=5, max_shots=limit)
        fit(model, [remedy])
        numbers = remedy.events[0].data
        assert numbers["candidates"] == evaluated
        assert numbers["shots"] == (evaluated * step if evaluated > 1 else 0)


def test_a_shot_budget_limits_the_choice():
    """Oracle: by hand: the budget of 9 steps has paid for four, and the monitor's one."""
    step = 50 * 8 * (1 + 2 * 12 + 2 * 2)
    remedy = reset(candidates=20)
    budget = ShotBudget(9 * step)
    fit(Model(shots=50), [budget, remedy])
    assert remedy.events[0].data["candidates"] <= 4
    assert budget.used <= 9 * step


@pytest.mark.parametrize("said", ["shot_limited", "converged"])
def test_a_run_that_may_be_better_off_is_reset_on_a_promise_only(said, monkeypatch):
    """Oracle: by hand: promises below or above the present loss; asked once; nothing where shots aren't the trouble."""
    for promise, shots, resolve, wanted in [
        (-1.0, 20, 181, ["reset"]),  # 9 times 20 shots are an SNR of 1
        (9.0, 20, 181, ["declined"]),
        (math.nan, 20, 181, ["declined"]),
        (-1.0, 20, 179, []),
        (-1.0, 20, None, []),
        (-1.0, None, 181, []),
    ]:
        scores = [Score(10.0, 0.0), Score(promise, 0.0), Score(5.0, 9.0)]  # the last one is the present
        monkeypatch.setattr("torchbp.callbacks.initialization_reset.score", lambda *_, s=scores, **__: list(s))
        script = dict.fromkeys((3, 5), verdict(said, shots_to_resolve=resolve))
        remedy, tape = reset(script, candidates=2, answers=[said]), Tape()
        fit(Model(shots=shots), [remedy, tape], max_epochs=2)
        assert [event.kind for event in remedy.events if event.kind not in ("kept", "rollback")] == wanted
        assert any(not start.any() for start in tape.starts) == (wanted == ["reset"])
        assert remedy.resets == (wanted == ["reset"])
        assert remedy.state_dict()["declined"] == (wanted == ["declined"])


def test_a_target_that_is_reached_is_left_alone():
    """Oracle: nothing happens."""
    remedy = reset({3: verdict("converged", shots_to_resolve=1e9)}, candidates=2, answers=["converged"])
    remedy.detector.target = 9.0
    fit(Model(shots=20), [remedy])
    assert remedy.events == []


def test_resets_are_bounded():
    """Oracle: by hand."""
    remedy = reset(dict.fromkeys(range(40), PLATEAU), max_resets=2, trial=2)
    fit(Model(), [remedy], max_epochs=5)
    assert [kind for _, kind in kinds(remedy)].count("reset") == 2
    assert not remedy.available


def test_nothing_is_left_after_an_exception():
    """In the middle of the warm-up. Oracle: no hooks on the optimizer."""
    model, remedy = Model(), reset(warmup=50)
    tape = Tape()
    trainers = []

    def broken(trainer: Any, module: Any, batch: Any, batch_idx: int) -> None:
        trainers.append(trainer)
        if len(trainers) == 7:
            assert trainer.strategy.optimizers[0]._optimizer_step_post_hooks
            raise KeyError("broken")

    tape.on_train_batch_start = broken  # type: ignore[method-assign]
    with pytest.raises(KeyError):
        fit(model, [remedy, tape])
    assert not trainers[0].strategy.optimizers[0]._optimizer_step_post_hooks
    assert not trainers[0].strategy.optimizers[0]._optimizer_step_pre_hooks


def test_best_and_slope():
    """Oracle: by hand."""
    nan = math.nan
    assert best([Score(1.0, 0.1), Score(1.0, 0.3), Score(0.8, 0.0)]) == 1
    assert best([Score(nan, 9.0), Score(1.0, 0.0)]) == 1
    assert best([Score(nan, nan), Score(nan, nan)]) == 0
    assert slope(torch.tensor([3.0, nan]), torch.tensor([3.0, nan])) == 3.0
    assert slope(torch.tensor([1.0]), torch.tensor([-1.0])) == 0.0


def test_quantum_weights_of_part_of_a_model():
    """Oracle: by hand."""
    model = Model()
    name = next(iter(model.core.weight_groups))
    weights = QuantumWeights.of(model, {f"core/{name}"})
    before = weights.read()
    weights.write(torch.zeros(len(before)))
    assert (weights.read() == 0).tolist() == weights.chosen.tolist()
    with weights.at(before):
        assert torch.equal(weights.read(), before)
    assert (weights.read() == 0).sum() == len(weights)


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"strategy": "gausian"}, UnknownNameError, "Unknown initializer 'gausian'. Did you mean 'gaussian'?"),
        ({"strategy": []}, InputError, "A reset needs a strategy"),
        ({"scope": "layer"}, UnknownNameError, "Unknown scope 'layer'"),
        ({"candidates": 0}, InputError, "candidates is a whole number of at least 1, got 0"),
        ({"max_resets": 0}, InputError, "max_resets is a whole number of at least 1, got 0"),
        ({"max_shots": 0}, InputError, "max_shots is a whole number of at least 1, got 0"),
        ({"warmup": -1}, InputError, "warmup is a whole number of at least 0, got -1"),
        ({"trial": 0}, InputError, "trial is a whole number of at least 1, got 0"),
    ],
)
def test_wrong_arguments(options, error, message):
    """Said where they are given."""
    with pytest.raises(error, match=message):
        reset(**options)


def test_a_strategy_that_does_not_fit_is_refused_as_the_fit_starts():
    """And not in the middle of the night."""
    assert angle_encoding(2)
    with pytest.raises(CircuitError, match="identity_blocks"):
        fit(Model(), [reset(strategy="identity_blocks")])


def test_dry_run():
    """Oracle: the fit without it, bit for bit."""
    runs = []
    for callbacks in ([], [reset(dry_run=True)]):
        model = Model()
        trainer = fit(model, callbacks)
        runs.append(everything(model, trainer))
    assert equal(*runs)
    (event,) = callbacks[0].events
    assert event.kind == "dry_run"
    assert event.message == "Would reset all layers to the best of 1 candidates (zeros)."
