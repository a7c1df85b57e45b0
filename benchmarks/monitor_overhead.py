"""What does GradientSNRMonitor cost, at its default cadence, next to the same training without it?

One fit for each number of wires. Its steps go by in windows as long as the cadence, in turn without a monitor and with
one of each source, in random order; a window with a monitor holds one measurement, in its first step. An overhead is
the ratio of the time of such a window to that of the window without from the same turn, so that what else the machine
does hits all alike. The monitor disturbs nothing: all windows are stretches of one and the same training. The time of a
window is that of its first step and the median of the others, times their number; in processor time of the process,
which on one thread is what it takes alone on the machine.

    OMP_NUM_THREADS=1 python benchmarks/monitor_overhead.py [--quick] [--wires 4 8 12] [--out monitor_overhead.json]
"""

from __future__ import annotations

import argparse
import json
import logging
import platform
import random
import time
import warnings
from datetime import date
from pathlib import Path
from statistics import median, quantiles
from typing import Any

import lightning as L
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from torchbp import QuantumLayer
from torchbp.callbacks import GradientSNRMonitor
from torchbp.circuits import angle_encoding, hardware_efficient

BATCH, DEPTH, FEATURES = 32, 4, 16
SOURCES = ("per_sample", "microbatch")
CADENCE = GradientSNRMonitor().every_n_steps

warnings.filterwarnings("ignore", "The '.*_dataloader' does not have many workers")
logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)


class Hybrid(L.LightningModule):
    def __init__(self, n_wires: int) -> None:
        super().__init__()
        circuit = angle_encoding(n_wires) + hardware_efficient(n_wires, depth=DEPTH)
        self.net = nn.Sequential(nn.Linear(FEATURES, n_wires), QuantumLayer(circuit), nn.Linear(n_wires, 1))

    def training_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> Tensor:
        loss = nn.functional.mse_loss(self.net(batch[0]), batch[1])
        self.log("loss", loss)
        return loss

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.Adam(self.parameters(), lr=0.01)


class Turns(L.Callback):
    """Times windows of CADENCE steps, each with one of the monitors or none; the first turn warms up."""

    def __init__(self, turns: int) -> None:
        self.monitors: dict[str, GradientSNRMonitor | None] = {"none": None}
        self.monitors |= {source: GradientSNRMonitor(source=source) for source in SOURCES}  # type: ignore[arg-type]
        shuffle = random.Random(0)
        self.order = [
            name for _ in range(turns + 1) for name in shuffle.sample(list(self.monitors), len(self.monitors))
        ]
        self.seconds: dict[str, list[float]] = {name: [] for name in self.monitors}
        self._step, self._began = 0, 0.0
        self._window: list[float] = []

    def on_train_batch_start(self, trainer: Any, module: Any, batch: Any, batch_idx: int) -> None:
        now = time.process_time()  # a step lasts until the next one begins
        if self._step:
            self._window.append(now - self._began)
        if len(self._window) == CADENCE:
            first, *others = self._window
            self.seconds[self.order[self._step // CADENCE - 1]].append(first + median(others) * len(others))
            self._window.clear()
        self._began, window = now, self._step // CADENCE
        self._step += 1
        monitor = self.monitors[self.order[window]] if window < len(self.order) else None
        if monitor is not None:
            monitor.on_train_batch_start(trainer, module, batch, batch_idx)

    @property
    def steps(self) -> int:
        return CADENCE * len(self.order) + 1


def run(n_wires: int, turns: int) -> dict[str, Any]:
    """Milliseconds of a step without a monitor, and for each source the overhead in percent: quartiles over turns."""
    L.seed_everything(0, verbose=False)
    timer = Turns(turns)
    x = torch.randn(timer.steps * BATCH, FEATURES)
    data = DataLoader(TensorDataset(x, torch.sin(x.sum(1, keepdim=True))), batch_size=BATCH)
    quiet = {
        "logger": False,
        "enable_progress_bar": False,
        "enable_model_summary": False,
        "enable_checkpointing": False,
    }
    L.Trainer(max_epochs=1, accelerator="cpu", callbacks=[timer], **quiet).fit(Hybrid(n_wires), data)
    plain = timer.seconds["none"][1:]
    row: dict[str, Any] = {"step_ms": 1e3 * median(plain) / CADENCE, "turns": turns}
    for source in SOURCES:
        ratios = [t / base for t, base in zip(timer.seconds[source][1:], plain, strict=True)]
        low, middle, high = (100 * (q - 1) for q in quantiles(ratios, n=4))
        assert len(timer.monitors[source].history) == turns + 1  # type: ignore[union-attr]
        row[source] = {"low": low, "median": middle, "high": high, "steps_per_probe": middle * CADENCE / 100}
    return row


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--wires", type=int, nargs="+", default=[4, 8, 12])
    parser.add_argument("--turns", type=int, default=15)
    parser.add_argument("--quick", action="store_true", help="4 wires, 3 turns")
    parser.add_argument("--out", type=Path, default=Path("monitor_overhead.json"))
    options = parser.parse_args()
    wires, turns = ([4], 3) if options.quick else (options.wires, options.turns)
    report: dict[str, Any] = {
        "date": date.today().isoformat(), "machine": platform.processor() or platform.machine(),
        "threads": torch.get_num_threads(), "torch": torch.__version__, "cadence": CADENCE, "batch": BATCH,
        "depth": DEPTH, "rows": {},
    }  # fmt: skip
    print(f"Overhead of a measurement every {CADENCE} steps, batch {BATCH}, depth {DEPTH}: median (quartiles), percent")
    print("| wires | step, ms | " + " | ".join(f"{s} | steps a probe" for s in SOURCES) + " |")
    print("|" + " ---: |" * (2 + 2 * len(SOURCES)))
    for n in wires:
        row = report["rows"][n] = run(n, turns)
        cells = [f"{n}", f"{row['step_ms']:.2f}"]
        for source in SOURCES:
            r = row[source]
            cells += [f"{r['median']:.1f} ({r['low']:.1f}..{r['high']:.1f})", f"{r['steps_per_probe']:.1f}"]
        print(f"| {' | '.join(cells)} |", flush=True)
    options.out.write_text(json.dumps(report, indent=1) + "\n")


if __name__ == "__main__":
    main()
