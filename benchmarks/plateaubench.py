"""PlateauBench: does `PlateauDetector` name what ails a run? Real training runs whose label follows from construction.

    python benchmarks/plateaubench.py            the held-out seeds, the numbers that are reported
    python benchmarks/plateaubench.py --dev      the seeds that thresholds may be chosen by

A run's verdict is the first one other than "healthy", the one that somebody would act on. Runs end soon after it.
Prints a confusion matrix, macro-F1, false cancellations among healthy runs, and when the right verdict came; beside it
the usual rule (median |gradient| below 1e-3) and EarlyStopping, on the same runs. Writes JSON.
"""

from __future__ import annotations

import argparse
import json
import logging
import math
import platform
import time
import warnings
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

import lightning as L
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from torchbp import Circuit, QuantumLayer, weight
from torchbp.backends.fused import FusedBackend
from torchbp.backends.noise import NoiseModel
from torchbp.callbacks import GradientSNRMonitor, PlateauDetector
from torchbp.callbacks.records.events import Event
from torchbp.circuits import angle_encoding, global_z, hardware_efficient, local_z, tfim
from torchbp.diagnosis.verdicts import Verdict

EVERY, BUDGET, AT_LEAST = 4, 500, 120
SGD, ADAM = torch.optim.SGD, torch.optim.Adam


@dataclass
class Run:
    """A training run: what is trained on what, and how. The label is the list it comes from."""

    model: nn.Module
    x: Tensor
    y: Tensor
    loss: Callable[[Tensor, Tensor], Tensor]
    optimizer: Callable[..., torch.optim.Optimizer]
    learning_rate: float
    target: float | None = None
    batch_size: int = 32


class Trained(L.LightningModule):
    def __init__(self, run: Run) -> None:
        super().__init__()
        self.model, self.run = run.model, run

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        x, y = batch
        loss = self.run.loss(self.model(x), y)
        self.log("train_loss", loss, batch_size=len(x))
        return loss

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return self.run.optimizer(self.parameters(), lr=self.run.learning_rate)


def shallow(n: int, seed: int, depth: int = 2, **options: Any) -> QuantumLayer:
    circuit = angle_encoding(n) + hardware_efficient(n, depth, gate="cz")
    return QuantumLayer(circuit, local_z(n), generator=generator(seed), **options)


def generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def inputs(n: int, seed: int, samples: int = 256) -> Tensor:
    return 2 * torch.rand(samples, n, generator=generator(seed)) - 1


def mse(output: Tensor, target: Tensor) -> Tensor:
    return (output - target).square().mean()


def mean_output(output: Tensor, target: Tensor) -> Tensor:
    return output.mean()


def taught(layer: QuantumLayer, seed: int, distance: float) -> tuple[Tensor, Tensor]:
    """Inputs, and the outputs of the same circuit at weights `distance` away: a task that can be solved exactly."""
    x = inputs(layer.circuit.n_features, seed)
    start = layer.weights.detach().clone()
    with torch.no_grad(), layer.exact(), layer.noiseless():
        layer.weights += distance * torch.randn(start.shape, generator=generator(seed + 1))
        y = layer(x)
        layer.weights.copy_(start)
    return x, y


def healthy(seed: int, adam: bool) -> Run:
    layer = shallow(4 + 2 * (seed % 4), seed)
    x, y = taught(layer, seed, 1.0)
    return Run(layer, x, y, mse, ADAM if adam else SGD, 0.002 if adam else 0.05)


def barren_plateau(seed: int, adam: bool) -> Run:
    n = 10 + seed % 3
    circuit = angle_encoding(n) + hardware_efficient(n, n)
    layer = QuantumLayer(circuit, global_z(n), init="uniform", generator=generator(seed))
    x = inputs(n, seed, 64)
    y = x.prod(1, keepdim=True).sign() * 0.8
    return Run(layer, x, y, mse, ADAM if adam else SGD, 0.001 if adam else 0.05, batch_size=16)


def shot_limited(seed: int, adam: bool) -> Run:
    layer = shallow(4 + seed % 3, seed, shots=1)
    x, y = taught(layer, seed, 0.3)
    return Run(layer, x, y, mse, ADAM if adam else SGD, 0.0005 if adam else 0.01, batch_size=8)


def noise_induced(seed: int, adam: bool) -> Run:
    noise = NoiseModel(depolarizing_1q=0.03, depolarizing_2q=0.1)
    n = 4
    circuit = angle_encoding(n) + hardware_efficient(n, 8 + seed % 3, gate="cz")
    layer = QuantumLayer(circuit, local_z(n), noise=noise, init="uniform", generator=generator(seed))
    x, y = taught(layer, seed, 1.0)
    return Run(layer, x, y, mse, ADAM if adam else SGD, 0.003 if adam else 0.1, batch_size=16)


def local_minimum(seed: int, adam: bool) -> Run:
    """Plain gradient descent from random weights, until one start ends at rest above the ground state."""
    n = 4 + seed % 3
    energy = tfim(n, field=0.5)
    ground = float(torch.linalg.eigvalsh(torch.as_tensor(energy.matrix(n)))[0])
    for attempt in range(1000):
        circuit = hardware_efficient(n, 1, rotations=("ry",), gate="cz")
        layer = QuantumLayer(circuit, energy, init="uniform", generator=generator(1000 * seed + attempt))
        descent = SGD(layer.parameters(), lr=0.05)
        for _ in range(400):
            descent.zero_grad()
            value = layer().sum()
            value.backward()
            descent.step()
        if float(value.detach()) > 0.8 * ground and float(layer.weights.grad.norm()) < 1e-2:
            break
    x = torch.zeros(32, 0)
    goal = 0.95 * ground
    return Run(Repeated(layer), x, x[:, :1], mean_output, ADAM if adam else SGD, 0.001 if adam else 0.01, goal)


class Repeated(nn.Module):
    """A circuit without features, once for the whole batch."""

    def __init__(self, layer: QuantumLayer) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, x: Tensor) -> Tensor:
        return self.layer().expand(len(x), -1)


def converged(seed: int, adam: bool) -> Run:
    layer = shallow(4 + 2 * (seed % 3), seed)
    x, y = taught(layer, seed, 0.5)
    noise = 0.02 * torch.randn(y.shape, generator=generator(seed + 2))
    target = 0.01 if seed % 2 else None
    return Run(layer, x, y + noise, mse, ADAM if adam else SGD, 0.05 if adam else 2.0, target)


def oscillating(seed: int, adam: bool) -> Run:
    layer = shallow(4 + seed % 3, seed)
    x, y = taught(layer, seed, 0.5)
    return Run(layer, x, y, mse, jumpy if adam else SGD, 1.0 if adam else 40.0)


def jumpy(parameters: Any, lr: float) -> torch.optim.Optimizer:
    """Adam without momentum: steps of about lr wherever it is, so that it never settles."""
    return ADAM(parameters, lr=lr, betas=(0.0, 0.9))


class Drifting(FusedBackend):
    """A device whose contrast fades with every evaluation."""

    def __init__(self) -> None:
        super().__init__()
        self.contrast = 1.0

    def expectations(self, *arguments: Any, **options: Any) -> Tensor:
        self.contrast *= 0.9997
        return self.contrast * super().expectations(*arguments, **options)


def drifting(seed: int, adam: bool) -> Run:
    layer = shallow(4 + seed % 3, seed, backend=Drifting())
    x, y = taught(layer, seed, 0.5)
    return Run(layer, x, y, mse, ADAM if adam else SGD, 0.01 if adam else 0.3)


def dead_layer(seed: int, adam: bool) -> Run:
    """The second of three layers turns wires that are neither measured nor entangled with those that are."""
    n = 4 + seed % 3
    circuit = Circuit(n + 2)
    for index, wires in enumerate((range(n), range(n, n + 2), range(n))):
        circuit.start_layer(f"layer{index}")
        for wire in wires:
            circuit.append("ry", wire, weight()).append("rx", wire, weight())
        for wire in list(wires)[:-1]:
            circuit.append("cnot", (wire, wire + 1))
    circuit = angle_encoding(n + 2) + circuit
    layer = QuantumLayer(circuit, local_z(n + 2)[:n], generator=generator(seed))
    x, y = taught(layer, seed, 0.5)
    return Run(layer, x, y, mse, ADAM if adam else SGD, 0.01 if adam else 0.3)


def diverging(seed: int, adam: bool) -> Run:
    layer = shallow(4 + seed % 3, seed)
    x, y = taught(layer, seed, 0.5)
    torch.manual_seed(seed)
    model = nn.Sequential(layer, nn.Linear(layer.n_wires, layer.n_wires))
    return Run(model, x, y, mse, ADAM if adam else SGD, 30.0 if adam else 10.0)


SCENARIOS: dict[Verdict, Callable[[int, bool], Run]] = {
    Verdict.HEALTHY: healthy,
    Verdict.BARREN_PLATEAU: barren_plateau,
    Verdict.SHOT_LIMITED: shot_limited,
    Verdict.NOISE_INDUCED: noise_induced,
    Verdict.LOCAL_MINIMUM: local_minimum,
    Verdict.CONVERGED: converged,
    Verdict.OSCILLATING: oscillating,
    Verdict.DRIFTING: drifting,
    Verdict.DEAD_LAYER: dead_layer,
    Verdict.DIVERGING: diverging,
}


class UsualRule(L.Callback):
    """What people do by hand: a plateau is a median |gradient| of the quantum layers below 1e-3 for 40 steps."""

    def __init__(self, monitor: GradientSNRMonitor) -> None:
        self.monitor, self.low, self.fired_at = monitor, 0, None

    def on_train_batch_end(self, trainer: Any, module: Any, *_: Any) -> None:
        magnitudes = [s.median_abs for s in self.monitor.latest if s.kind == "quantum"]
        small = bool(magnitudes) and float(torch.tensor(magnitudes).median()) < 1e-3
        self.low = self.low + 1 if small else 0
        if self.low >= 40 and self.fired_at is None:
            self.fired_at = trainer.global_step


class NoImprovement(L.Callback):
    """EarlyStopping on the training loss, patience 40, watching instead of stopping."""

    def __init__(self) -> None:
        self.best, self.since, self.fired_at = math.inf, 0, None

    def on_train_batch_end(self, trainer: Any, module: Any, outputs: Any, *_: Any) -> None:
        loss = float(outputs["loss"])
        self.best, self.since = (loss, 0) if loss < self.best else (self.best, self.since + 1)
        if self.since >= 40 and self.fired_at is None:
            self.fired_at = trainer.global_step


class EndOfInterest(L.Callback):
    """Ends a run once it has had its verdict and the other rules their chance."""

    def __init__(self, detector: PlateauDetector) -> None:
        self.detector = detector

    def on_train_batch_end(self, trainer: Any, module: Any, *_: Any) -> None:
        trainer.should_stop = trainer.global_step >= AT_LEAST and alarm(self.detector.events) is not None


def alarm(events: list[Event]) -> Event | None:
    """The first verdict other than healthy."""
    return next((event for event in events if event.data["verdict"] != Verdict.HEALTHY.value), None)


def execute(label: Verdict, seed: int, adam: bool) -> dict[str, Any]:
    """One run and what was said of it."""
    run = SCENARIOS[label](seed, adam)
    monitor = GradientSNRMonitor(every_n_steps=EVERY)
    detector = PlateauDetector(monitor, window=8, target=run.target)
    usual, stopping = UsualRule(monitor), NoImprovement()
    torch.manual_seed(seed)
    trainer = L.Trainer(
        max_steps=BUDGET,
        accelerator="cpu",
        callbacks=[monitor, detector, usual, stopping, EndOfInterest(detector)],
        min_steps=1,
        logger=False,
        enable_progress_bar=False,
        enable_checkpointing=False,
        enable_model_summary=False,
    )
    data = DataLoader(TensorDataset(run.x, run.y), run.batch_size, shuffle=True, generator=generator(seed))
    start = time.perf_counter()
    trainer.fit(Trained(run), data)
    verdicts = [(event.step, event.data["verdict"]) for event in detector.events]
    layers = [m for m in run.model.modules() if isinstance(m, QuantumLayer)]
    first = alarm(detector.events)
    return {
        "label": label.value,
        "seed": seed,
        "optimizer": "adam" if adam else "sgd",
        "verdict": Verdict.HEALTHY.value if first is None else first.data["verdict"],
        "verdicts": verdicts,
        "at": None if first is None else first.step,
        "usual_rule_at": usual.fired_at,
        "early_stopping_at": stopping.fired_at,
        "shots": sum(layer.shots_used for layer in layers),
        "seconds": time.perf_counter() - start,
        "because": "" if first is None else first.message,
    }


def macro_f1(runs: list[dict[str, Any]]) -> float:
    """Mean over the labels of 2 TP / (2 TP + FP + FN)."""
    scores = []
    for label in SCENARIOS:
        right = sum(r["label"] == r["verdict"] == label.value for r in runs)
        wrong = sum((r["label"] == label.value) != (r["verdict"] == label.value) for r in runs)
        scores.append(2 * right / (2 * right + wrong) if right or wrong else 0.0)
    return sum(scores) / len(scores)


def report(runs: list[dict[str, Any]]) -> None:
    names = [label.value for label in SCENARIOS]
    counts = Counter((r["label"], r["verdict"]) for r in runs)
    print(f"\nrows: label, columns: first verdict other than healthy within {BUDGET} steps")
    print(" " * 16 + "".join(f"{name[:9]:>10}" for name in names))
    for label in names:
        print(f"{label:16}" + "".join(f"{counts[label, verdict] or '.':>10}" for verdict in names))
    well = [r for r in runs if r["label"] == "healthy"]
    flat = [r for r in runs if r["label"] == "barren_plateau"]
    right = [r for r in runs if r["label"] == r["verdict"] and r["at"] is not None]
    found, on_plateau = (sorted(r["at"] for r in rows) for rows in (right, [r for r in right if r in flat]))
    print(
        f"\n{len(runs)} runs, macro-F1 {macro_f1(runs):.3f}, accuracy "
        f"{sum(r['label'] == r['verdict'] for r in runs) / len(runs):.3f}"
    )
    print(f"healthy runs with a false alarm: {sum(r['verdict'] != 'healthy' for r in well)} of {len(well)}")
    if found:
        print(f"right verdicts came at step {found[len(found) // 2]} (median), {found[-1]} (latest)")
    if on_plateau:
        print(
            f"plateaus named: {len(on_plateau)} of {len(flat)}, at step {on_plateau[len(on_plateau) // 2]} (median), "
            f"{on_plateau[-1]} (latest), of {BUDGET}"
        )
    for name, key in (
        ("median |g| < 1e-3 for 40 steps", "usual_rule_at"),
        ("EarlyStopping, patience 40", "early_stopping_at"),
    ):
        hits, others = (
            sum(r[key] is not None for r in flat),
            [r for r in runs if r["label"] not in ("barren_plateau", "healthy")],
        )
        print(
            f"{name}: fires on {hits} of {len(flat)} plateaus, {sum(r[key] is not None for r in well)} of {len(well)} "
            f"healthy runs, {sum(r[key] is not None for r in others)} of {len(others)} others"
        )
    wrong = [r for r in runs if r["label"] != r["verdict"]]
    if wrong:
        print("\nwrong:")
    for r in wrong:
        print(f"  {r['label']} seed {r['seed']} {r['optimizer']}: {r['verdicts']}\n    {r['because'][:300]}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dev", action="store_true", help="the development seeds")
    parser.add_argument("--seeds", type=int, default=3, help="seeds for each label and optimizer")
    parser.add_argument("--only", choices=[label.value for label in SCENARIOS], help="one label")
    parser.add_argument("--json", type=Path, default=Path("plateaubench.json"))
    arguments = parser.parse_args()
    warnings.filterwarnings("ignore")
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    first = 100 if arguments.dev else 0
    runs = []
    for label in SCENARIOS:
        if arguments.only in (None, label.value):
            for adam in (False, True):
                for seed in range(first, first + arguments.seeds):
                    runs.append(execute(label, seed, adam))
                    r = runs[-1]
                    print(
                        f"{r['label']:16} {r['optimizer']:5} {seed:4} -> {r['verdict']:16} {r['seconds']:6.1f} s",
                        flush=True,
                    )
    report(runs)
    machine = {"date": date.today().isoformat(), "torch": torch.__version__, "machine": platform.machine()}
    arguments.json.write_text(json.dumps({"machine": machine, "macro_f1": macro_f1(runs), "runs": runs}, indent=1))


if __name__ == "__main__":
    main()
