"""GradientFreeFallback: when it takes over and gives back, what it spends, how it resumes, what it leaves behind."""

from __future__ import annotations

import math
import os
import signal
import sys
from itertools import pairwise
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import numpy as np
import pytest
import torch
from fits import lightning_module, loader, plain_module, trainer_of
from processes import SEARCH, run_alone
from test_fallback_undisturbing import Still, measured
from test_plateau_detector import eager, simple
from test_plateau_detector import loader as plateau_loader
from torch import nn

from torchbp.callbacks import GradientFreeFallback, GradientSNRMonitor, PlateauDetector
from torchbp.callbacks.mechanics.shot_forecast import ShotForecast
from torchbp.callbacks.records.measurement import Measurement
from torchbp.circuits import tfim
from torchbp.diagnosis.verdicts import Verdict
from torchbp.errors import InputError, UnknownNameError
from torchbp.gradients.stats import LayerSummary
from torchbp.models import VQE


def quiet(every: int = 1000) -> PlateauDetector:
    return PlateauDetector(GradientSNRMonitor(every_n_steps=every))


def alone(**options: Any) -> GradientFreeFallback:
    """Takes over at step 0, without waiting for a verdict."""
    defaults = {"detector": quiet(), "method": "cma", "start_at": 0, "resume_when": None}
    return GradientFreeFallback(**{**defaults, **options})


def fit(callbacks: list[Any], module: Any = None, **options: Any) -> tuple[Any, Any]:
    module = lightning_module(pl, measured(), mixing=False) if module is None else module
    trainer = trainer_of(pl, callbacks, **{"max_epochs": 4, **options})
    trainer.fit(module, None if isinstance(module, VQE) else loader())
    return trainer, module


def kinds(fallback: GradientFreeFallback) -> list[str]:
    return [event.kind for event in fallback.events]


def energies(seed: int) -> tuple[VQE, GradientFreeFallback]:
    generator = torch.Generator().manual_seed(seed)
    return VQE(tfim(3), depth=2, shots=50, init="small_angle", generator=generator), alone(method="spsa", seed=seed)


def test_it_lowers_an_energy_under_shot_noise() -> None:
    """Oracle: the ground energy; training by gradient would cost 37 times the shots for each step."""
    model, fallback = energies(0)
    start = model.exact_energy()
    fit([fallback], model, max_steps=200, max_epochs=-1)
    ground = float(np.linalg.eigvalsh(tfim(3).matrix(3))[0])
    assert model.exact_energy() - ground < 0.5 * (start - ground)
    assert fallback.active
    assert kinds(fallback) == ["fallback"]
    training = 200 * 2 * 50  # steps, measurement groups, shots: the forward pass alone
    assert fallback.shots_spent == fallback.evaluations * 2 * 50
    assert model.quantum.shots_used - fallback.shots_spent - training < 30_000  # the detector's probes


def test_evaluations_are_budgeted_and_it_says_so() -> None:
    """12 of 13 evaluations, 4 a generation; then the optimizer has the weights again, and moves them."""
    fallback = alone(options={"population": 4}, max_evaluations=13)
    seen: list[torch.Tensor] = []

    class Watch(pl.Callback):
        def on_train_batch_end(self, trainer: Any, module: Any, *_: Any) -> None:
            seen.append(module.core.weights.detach().clone())

    fit([fallback, Watch()])
    assert fallback.evaluations == 12
    assert not fallback.available
    assert kinds(fallback) == ["fallback", "gradients"]
    data = fallback.events[1].data
    assert (data["reason"], data["evaluations"], data["shots"], data["since"]) == ("budget", 12, 0, 0)
    assert fallback.events[1].step == 3
    assert all(not torch.equal(a, b) for a, b in pairwise(seen))


def test_shots_are_budgeted_before_they_are_spent() -> None:
    """8 samples, 20 shots: 160 for an evaluation, so that 1000 shots allow 3 times 2 evaluations."""
    fallback = alone(method=Still, max_shots=1000)
    fit([fallback], lightning_module(pl, measured(shots=20), mixing=False))
    assert (fallback.evaluations, fallback.shots_spent) == (6, 960)
    assert fallback.events[-1].data["reason"] == "budget"


@pytest.mark.parametrize("shots", [20, None])
def test_measuring_takes_no_more_shots_than_searching(shots: int | None) -> None:
    """Oracle: by hand: two evaluations of one circuit, or 1 + 2 * 12 and 2 * 2 for the features: every 15th step.

    SPSA's first step, which finds the step size, takes 20 evaluations.
    """
    fallback = alone(detector=quiet(every=1), method="spsa")
    fit([fallback], lightning_module(pl, measured(shots=shots), mixing=False), max_epochs=10)
    steps = [m.step for m in fallback.detector.monitor.history]
    assert steps == (list(range(0, 40, 15)) if shots else list(range(40)))
    assert fallback.detector.monitor.spacing == 1  # again


def test_steps_cost_what_a_shot_budget_expects() -> None:
    """While the search has the weights, their gradient takes no shots. Oracle: the layer's own count."""
    fallback = alone(method=Still, max_evaluations=8)
    expected: list[int] = []
    spent: list[int] = []

    class Count(pl.Callback):
        def on_train_batch_start(self, trainer: Any, module: Any, batch: Any, batch_idx: int) -> None:
            expected.append(ShotForecast()(trainer, module, batch, batch_idx))
            spent.append(-module.core.shots_used)

        def on_train_batch_end(self, trainer: Any, module: Any, *_: Any) -> None:
            spent[-1] += module.core.shots_used

    fit([fallback, Count()], lightning_module(pl, measured(shots=20), mixing=False), max_epochs=2)
    one = 8 * 20  # samples, shots
    assert expected == 4 * [one * (1 + 2 * 2)] + 4 * [one * (1 + 2 * 2 + 2 * 12)]
    assert spent[1:] == expected[1:]  # in the first step the detector measures its reference circuit


def test_it_forgets_what_the_optimizer_knew() -> None:
    """Oracle: the state of a new Adam after one step."""
    fallback = alone(method=Still, start_at=4, max_evaluations=8)
    steps: list[float] = []

    class Watch(pl.Callback):
        def on_train_batch_end(self, trainer: Any, module: Any, *_: Any) -> None:
            state = trainer.optimizers[0].state
            steps.append(float(state[module.core.weights]["step"]) if module.core.weights in state else -1.0)

    fit([fallback, Watch()])
    assert steps[:4] == [1, 2, 3, 4]
    assert steps[4:8] == [4, 4, 4, 4]
    assert steps[8:] == [float(k) for k in range(1, 9)]


def reading(step: int, snr: float) -> Measurement:
    summary = LayerSummary("core/layer0", "quantum", "microbatch", 6, 8, snr, 0.1, 0.01, 0.1, 0.5, 0.5)
    return Measurement(step, (summary,))


@pytest.mark.parametrize(
    ("resume_when", "ratios", "back_at"),
    [
        (3.0, [1, 1, 4, 4, 4], 4),
        (3.0, [1, 4, 1, 4, 1], None),
        (3.0, [4, 4, 4, 4, 4], None),  # it was never lost
        (3.0, [math.nan, 4, 4, 4, 4], 3),
        (None, [1, 9, 9, 9, 9], None),
        (lambda measurement: measurement.layers[0].snr > 2, [1, 2.5, 2.5, 1, 1], 3),
    ],
)
def test_it_returns_when_the_gradient_is_back(resume_when: Any, ratios: list[float], back_at: int | None) -> None:
    """Stories: SNR before steps 1, 2, ..., and the step at which the optimizer has the weights again."""
    fallback = alone(method=Still, resume_when=resume_when, start_at=1)

    class Story(pl.Callback):
        def on_train_batch_start(self, trainer: Any, module: Any, batch: Any, batch_idx: int) -> None:
            step = trainer.global_step
            if 1 <= step <= len(ratios):
                fallback.detector.monitor.history.append(reading(step, ratios[step - 1]))

    fit([Story(), fallback], max_steps=8, max_epochs=-1)
    gradients = [event for event in fallback.events if event.kind == "gradients"]
    assert [event.step for event in gradients] == ([] if back_at is None else [back_at])
    assert all(event.data["reason"] == "resolved" for event in gradients)


def test_layers_that_the_user_froze_stay() -> None:
    """Two quantum layers, one of them frozen."""
    module = lightning_module(pl, nn.Sequential(measured(), measured()), mixing=False)
    module.core[0].requires_grad_(False)
    before = [layer.weights.detach().clone() for layer in module.core]
    fit([alone()], module, max_epochs=1)
    assert torch.equal(module.core[0].weights, before[0])
    assert not torch.equal(module.core[1].weights, before[1])
    assert not module.core[0].weights.requires_grad


def test_a_verdict_starts_it() -> None:
    """On a model that is stuck, since it has a learning rate of 0; the search has none."""
    fallback = GradientFreeFallback(eager(), answers=list(Verdict), max_evaluations=200)
    trainer = trainer_of(pl, [fallback], max_epochs=16)
    module = simple(pl, lr=0.0)
    before = [p.detach().clone() for p in module.parameters()]
    trainer.fit(module, plateau_loader())
    assert kinds(fallback) == ["fallback", "gradients", "kept"]
    assert fallback.events[0].data["verdict"] is not None
    assert fallback.events[2].data["high"] < 0
    assert any(not torch.equal(a, b) for a, b in zip(before, module.parameters(), strict=True))


def test_a_dry_run_only_says_what_it_would_do() -> None:
    fallback = alone(dry_run=True)
    fit([fallback])
    assert kinds(fallback) == ["dry_run"]
    assert "Would train the quantum weights by cma, as asked for, at step 0." in fallback.events[0].message
    assert fallback.evaluations == 0


def test_a_loss_that_is_never_finite_ends_it() -> None:
    """The training itself goes on by gradient."""
    fallback = alone(
        detector=PlateauDetector(
            GradientSNRMonitor(every_n_steps=1000, loss_fn=lambda module, batch: batch[0].sum() * math.nan)
        )
    )
    with pytest.warns(UserWarning, match="can't probe|no finite gradient"):
        fit([fallback])
    assert kinds(fallback) == ["fallback", "gradients"]
    assert fallback.events[1].data["reason"] == "failed"
    assert not fallback.available


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
def test_after_an_exception_the_model_is_as_before(error: type[BaseException]) -> None:
    module = lightning_module(pl, measured(shots=20), mixing=False)
    fallback = alone(method="spsa")
    step = module.training_step

    def broken(batch: Any, batch_idx: int) -> Any:
        if module.trainer.global_step == 5 and fallback.active and fallback.evaluations > 25:
            raise error("broken")
        return step(batch, batch_idx)

    module.training_step = broken
    trainer = trainer_of(pl, [fallback], max_epochs=4)
    with pytest.raises((error, SystemExit)):
        trainer.fit(module, loader())
    assert module.core.weights.requires_grad
    assert not module.core._forward_hooks
    assert not module.core._forward_pre_hooks
    assert not trainer.optimizers[0]._optimizer_step_post_hooks
    assert module.core.shots == 20
    module.core(torch.zeros(1, 2)).sum().backward()
    assert bool(module.core.weights.grad.abs().sum() > 0)


class Kill(pl.Callback):
    def on_train_batch_start(self, trainer: Any, module: Any, batch: Any, batch_idx: int) -> None:
        if trainer.global_step == 10:
            os.kill(os.getpid(), signal.SIGKILL)


def run(folder: str | Path, kind: str) -> tuple[Any, ...]:
    """Four epochs of four steps; the search is at work from step 3 to step 11."""
    fallback = alone(start_at=3, max_evaluations=100)
    module = plain_module(pl, measured(shots=20))
    callbacks: list[pl.Callback] = [fallback]
    if kind == "killed":
        saving = pl.callbacks.ModelCheckpoint(folder, filename="{step}", every_n_train_steps=4, save_top_k=-1)
        callbacks += [Kill(), saving]
    trainer = trainer_of(pl, callbacks, max_epochs=4, enable_checkpointing=kind == "killed")
    path = f"{folder}/step=8.ckpt" if kind == "resumed" else None
    trainer.fit(module, loader(), ckpt_path=path, weights_only=True if path else None)
    events = [(event.step, event.kind, event.data) for event in fallback.events]
    return [value.clone() for value in module.state_dict().values()], fallback.evaluations, events


@pytest.mark.filterwarnings("ignore:Be aware that when using `ckpt_path`")
def test_killed_in_the_middle_and_resumed(tmp_path: Path) -> None:
    """SIGKILL while the search is at work. Oracle: the run that was left alone, bit for bit.

    From the end of an epoch: in the middle of one Lightning begins with its first batch again.
    """
    program = (
        f"import torch, test_gradient_free_fallback as t; torch.set_num_threads(1); t.run({str(tmp_path)!r}, 'killed')"
    )
    command = [sys.executable, "-W", "ignore", "-c", program]
    done = run_alone(command, cwd=Path(__file__).parent, env=os.environ | {"PYTHONPATH": SEARCH})
    assert done.returncode == -signal.SIGKILL, done.stderr
    (resumed, *same), (whole, *rest) = run(tmp_path, "resumed"), run(tmp_path, "whole")
    assert same == rest
    assert [(step, kind) for step, kind, _ in rest[1]] == [(3, "fallback"), (12, "gradients")]
    assert all(torch.equal(a, b) for a, b in zip(resumed, whole, strict=True))


def test_resuming_with_another_method(tmp_path: Path) -> None:
    """The arguments are the user's, whatever was saved: the search starts anew from the present weights."""
    first = alone(method="cma", max_evaluations=1000)
    trainer, _ = fit([first], max_epochs=1)
    trainer.save_checkpoint(tmp_path / "last.ckpt")
    second = alone(method="rotosolve", max_evaluations=first.evaluations + 6)
    module = lightning_module(pl, measured(), mixing=False)
    trainer = trainer_of(pl, [second], max_epochs=2)
    trainer.fit(module, loader(), ckpt_path=tmp_path / "last.ckpt", weights_only=True)
    assert second.evaluations == first.evaluations + 6
    assert second.budget.max_evaluations == first.evaluations + 6
    assert kinds(second) == ["fallback", "gradients"]


RANKS = """
import sys, torch, lightning.pytorch as pl
from torch.utils.data import DataLoader, DistributedSampler
from fits import loader, plain_loss, plain_module, trainer_of
from test_gradient_free_fallback import alone, measured

folder = sys.argv[1]

def run():
    torch.set_num_threads(1)
    fallback = alone(options={"population": 4}, max_evaluations=24)
    module = plain_module(pl, measured(shots=20))
    def training_step(batch, batch_idx):
        loss = plain_loss(module, batch)
        bad = module.trainer.global_rank == 1 and not torch.is_grad_enabled() and module.trainer.global_step == 2
        return loss * float("nan") if bad else loss
    def shard():
        data = loader().dataset
        return DataLoader(data, 4, sampler=DistributedSampler(data, 2, module.trainer.global_rank, shuffle=False))
    module.training_step, module.train_dataloader = training_step, shard
    class Save(pl.Callback):
        def on_train_end(self, trainer, module):
            events = [(event.step, event.kind, event.data) for event in fallback.events]
            spent = fallback.evaluations, fallback.shots_spent
            torch.save((list(module.state_dict().values()), events, spent), f"{folder}/{trainer.global_rank}.pt")
    trainer_of(
        pl, [fallback, Save()], max_epochs=3, devices=2, strategy="ddp_fork", use_distributed_sampler=False
    ).fit(module)

run()
"""


def test_two_processes_decide_alike(tmp_path: Path) -> None:
    """Each with its half of the data; once only one of them finds no finite loss. Nobody waits for ever."""
    script = tmp_path / "run.py"
    script.write_text(RANKS)
    environment = os.environ | {"PYTHONPATH": SEARCH}
    command = [sys.executable, "-W", "ignore", str(script), str(tmp_path)]
    done = run_alone(command, env=environment)
    assert done.returncode == 0, done.stderr
    (one, events, spent), (other, *same) = (torch.load(tmp_path / f"{rank}.pt") for rank in (0, 1))
    assert all(torch.equal(a, b) for a, b in zip(one, other, strict=True))
    assert same == [events, spent]
    assert spent == (24, 24 * 2 * 4 * 20)
    assert [kind for _, kind, _ in events] == ["fallback", "gradients"]


class Classical(pl.LightningModule):
    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Linear(3, 1)

    def training_step(self, batch: Any, batch_idx: int) -> torch.Tensor:
        return self.net(batch[0]).mean()

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), 0.1)


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: alone(method="cmaes"), UnknownNameError, "Did you mean 'cma'"),
        (lambda: alone(method=3), InputError, "or a function"),
        (lambda: alone(options={"sgima": 1}), InputError, "takes no such option"),
        (lambda: alone(max_evaluations=0), InputError, "max_evaluations is a whole number of at least 1, got 0"),
        (lambda: alone(max_shots=1.5), InputError, "max_shots is a whole number of at least 1, got 1.5"),
        (lambda: alone(start_at=-1), InputError, "start_at is a whole number of at least 0, got -1"),
        (lambda: alone(resume_when=0), InputError, r"resume_when is an SNR above 0, a function .* got 0"),
        (lambda: alone(resume_when="back"), InputError, "got 'back'"),
        (lambda: alone(answers=["barren"]), UnknownNameError, "verdict 'barren'"),
    ],
)
def test_messages(make: Any, error: type, message: str) -> None:
    with pytest.raises(error, match=message):
        make()


@pytest.mark.filterwarnings("ignore:GradientSNRMonitor found no quantum layer", "ignore:PlateauDetector found no")
def test_a_model_without_quantum_layers() -> None:
    with pytest.raises(InputError, match="Classical has none that train: wrap TorchQuantum modules"):
        fit([alone()], Classical())
