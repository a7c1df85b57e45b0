"""A treated run on two processes: the same decisions and the same weights on both, and nobody waits for ever."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch
from processes import SEARCH, run_alone

SCRIPT = """
import sys, warnings
import lightning.pytorch as L
import torch
from torch.utils.data import DataLoader, DistributedSampler
from scripted import Model, Scripted, data
from torchbp.callbacks import *

warnings.filterwarnings("ignore")
folder, trouble = sys.argv[1], sys.argv[2]

class Shared(Model):
    def loss(self, batch):
        probed = "log" in vars(self)  # in a probe, logging goes nowhere
        if trouble and probed and self.trainer.global_rank == 1:
            if trouble == "raise":
                raise ValueError("trouble on one process")
            return super().loss(batch) * torch.nan
        return super().loss(batch)
    def train_dataloader(self):
        rank = self.trainer.global_rank
        return DataLoader(self.data, batch_size=8, sampler=DistributedSampler(self.data, 2, rank, shuffle=False))

def run():
    torch.set_num_threads(1)
    torch.manual_seed(0)
    model = Shared(shots=20, lr=1e-3)
    model.encoder[2].p = 0.0
    model.data = data(64).dataset
    ladder = [
        AdaptiveShots(max_shots=40),
        InitializationReset(candidates=4, trial=4, warmup=2),
        LayerwiseTraining(schedule=1, trial=4),
        GradientFreeFallback(method="cma", max_evaluations=40),
        PlateauStopping(),
    ]
    detector = Scripted({0: "shot_limited"} | dict.fromkeys(range(2, 60), "barren_plateau"), every_n_steps=4)
    watch = PlateauGuard(detector, ladder, budget=ShotBudget(10_000_000))
    class Save(L.Callback):
        def on_train_end(self, trainer, module):
            events = [(e.step, e.kind, e.message) for e in watch.events]
            torch.save((events, module.state_dict(), watch.budget.used), f"{folder}/rank{trainer.global_rank}.pt")
    trainer = L.Trainer(max_epochs=12, accelerator="cpu", devices=2, strategy="ddp_fork", logger=False,
        use_distributed_sampler=False, callbacks=[watch, Save()], enable_progress_bar=False,
        enable_model_summary=False, enable_checkpointing=False)
    trainer.fit(model)

run()
"""


@pytest.mark.parametrize("trouble", ["", "nan", "raise"])
def test_two_processes_decide_alike(tmp_path: Path, trouble: str) -> None:
    """Two gloo ranks with batches of their own; in probes one of them may get NaN, or raise.

    Oracle: the other rank: events, with all their numbers, and weights are equal, and both have gone through the
    whole ladder; a candidate that failed on one of them has no loss on either.
    """
    script = tmp_path / "run.py"
    script.write_text(SCRIPT)
    environment = {"PYTHONPATH": SEARCH, "PATH": ""}
    command = [sys.executable, str(script), str(tmp_path), trouble]
    done = run_alone(command, env=environment)
    assert done.returncode == 0, done.stderr[-3000:]
    (events, weights, used), (others, twins, same) = (torch.load(tmp_path / f"rank{rank}.pt") for rank in range(2))
    assert events == others
    assert used == same > 0
    parameters = [name for name in weights if "running" not in name]  # each process normalizes its own batches
    assert all(torch.equal(weights[name], twins[name]) for name in parameters)
    kinds = {kind for _, kind, _ in events}
    assert {"shots", "reset", "layerwise", "fallback", "gradients", "stop"} <= kinds
