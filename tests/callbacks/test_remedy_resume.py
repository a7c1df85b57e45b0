"""Killed at any step and resumed from the last checkpoint, a treated run ends as if nothing had happened."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from processes import SEARCH, run_alone

SCRIPT = """
import os, signal, sys, warnings
from pathlib import Path
import lightning.pytorch as L
import torch
from lightning.pytorch.callbacks import ModelCheckpoint
from scripted import Model, Scripted, data, everything, equal
from torchbp.callbacks import *
from torchbp.diagnosis.plateau import Thresholds

warnings.filterwarnings("ignore")
folder, kind, kills = Path(sys.argv[1]), sys.argv[2], [int(k) for k in sys.argv[3].split(",")]
BP = "barren_plateau"

class Steady(Model):  # batches by the step, whatever the loader does after a resume; no dropout
    def training_step(self, batch, batch_idx):
        x, y = self.data
        rows = (8 * self.trainer.global_step + torch.arange(len(batch[0]))) % len(x)
        return self.loss((x[rows], y[rows]))

def guard():
    if kind == "real":
        flat = Thresholds(concentrated=9.0, gorge=1e9)  # whatever has no progress is a plateau
        detector = PlateauDetector(GradientSNRMonitor(1, 2), patience=1, window=8, samples=4, thresholds=flat)
    else:
        detector = Scripted(dict.fromkeys(range(60), kind), every_n_steps=1)
    ladder = [
        AdaptiveShots(max_shots=40, target_snr=1.0),
        InitializationReset(candidates=2, trial=4, warmup=2),
        LayerwiseTraining(schedule=1, trial=4),
        GradientFreeFallback(method="spsa", max_evaluations=26),
        PlateauStopping(),
    ]
    return PlateauGuard(detector, ladder, budget=ShotBudget(10_000_000, policy="degrade"))

class Kill(L.Callback):
    def __init__(self, step, late):
        self.step, self.late = step, late
    def on_train_batch_start(self, trainer, module, batch, batch_idx):
        if trainer.global_step == self.step and not self.late:
            os.kill(os.getpid(), signal.SIGKILL)
    def on_after_backward(self, trainer, module):
        if trainer.global_step == self.step and self.late:
            os.kill(os.getpid(), signal.SIGKILL)

def run(where, kill=None, late=False, checkpoint=None):
    torch.manual_seed(0)
    model, watch = Steady(shots=20, lr=1e-4), guard()
    model.encoder[2].p = 0.0
    model.data = data().dataset.tensors
    saved = ModelCheckpoint(where, filename="{step}", every_n_train_steps=1, save_top_k=1, save_last=True)
    callbacks = [watch, saved] + ([] if kill is None else [Kill(kill, late)])
    trainer = L.Trainer(max_epochs=9, callbacks=callbacks, logger=False, accelerator="cpu",
        enable_progress_bar=False, enable_model_summary=False)
    trainer.fit(model, data(), ckpt_path=checkpoint, weights_only=True)
    events = [(e.step, e.kind, e.message) for e in watch.events]
    rest = [model.core.shots, watch.budget.used, trainer.global_step]
    return everything(model, trainer), events, rest

torch.set_num_threads(1)
whole = run(folder / "whole")
print("EVENTS", [event[:2] for event in whole[1] if event[1] != "verdict"], whole[2])
for k, kill in enumerate(kills):
    where = folder / str(kill)
    child = os.fork()
    if not child:
        run(where, kill, bool(k % 2))
        os._exit(0)
    assert os.WIFSIGNALED(os.waitpid(child, 0)[1]), "it was not killed"
    resumed = run(where, checkpoint=where / "last.ckpt")
    same = equal(whole[0], resumed[0]), whole[1] == resumed[1], whole[2] == resumed[2]
    print("RESUMED", kill, same)
    if not all(same):
        print(next(pair for pair in zip(whole[1], resumed[1]) if pair[0] != pair[1]), whole[2], resumed[2])
"""


@pytest.mark.parametrize(
    ("kind", "kills", "seen"),
    [
        ("barren_plateau", [3, 8, 13, 18], ["fallback", "layerwise", "reset", "stop"]),
        ("shot_limited", [2], ["shots"]),
        ("real", [9, 16], ["reset"]),
    ],
)
def test_a_killed_run_ends_as_the_undisturbed_one(tmp_path: Path, kind: str, kills: list[int], seen: list[str]) -> None:
    """SIGKILL in the middle of trials, warm-ups, stages and searches, and between them; before and after backward.

    Oracle: an undisturbed run: all weights, buffers and optimizer states bit for bit, and every event with its
    numbers. Checkpoints load with weights_only=True.
    """
    script = tmp_path / "run.py"
    script.write_text(SCRIPT)
    command = [sys.executable, str(script), str(tmp_path), kind, ",".join(map(str, kills))]
    environment = {"PYTHONPATH": SEARCH, "PATH": ""}
    done = run_alone(command, env=environment)
    assert done.returncode == 0, done.stderr[-3000:]
    lines = [line for line in done.stdout.splitlines() if line.startswith("RESUMED")]
    assert len(lines) == len(kills)
    assert all(line.endswith("(True, True, True)") for line in lines), done.stdout
    events = next(line for line in done.stdout.splitlines() if line.startswith("EVENTS"))
    assert all(kind in events for kind in seen), events
