"""Can a run that is lost on a barren plateau be saved, for the shots it would have burned?

A circuit of 6 layers on 11 wires learns to prepare a given entangled state. The loss is 1 minus the fidelity with it, a
global cost, measured with 8 shots for each circuit; the start is random, where the fidelity is about 1/2048. Nearly
every shot says "not this state", and plain gradient descent has nothing to follow. With `PlateauGuard` the same run
gets a verdict and a reset on trial, and converges. Both may spend the same number of shots. Draws both to
`runs/rescue_a_plateau.png`.

The new start is near zero angles. That is not the solution (at zero the fidelity is 0.02), but close enough that a few
shots in a hundred show the way. This is what a reset needs: where a solution may lie anywhere, it does not help. And a
random start may get off the plateau by luck, given time: some do with Adam, whose steps don't shrink with the gradient.
"""

from __future__ import annotations

import argparse
import itertools
import logging
import warnings
from pathlib import Path

import lightning as L
import torch
from matplotlib import pyplot as plt

from torchbp.callbacks import GradientSNRMonitor, InitializationReset, PlateauDetector, PlateauGuard, ShotBudget
from torchbp.circuits import Circuit, PauliSum, hardware_efficient
from torchbp.models import VQE

N_WIRES, DEPTH, SHOTS = 11, 6, 8

warnings.filterwarnings("ignore", ".*LeafSpec.* is deprecated")
warnings.filterwarnings("ignore", ".*does not have many workers")
logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)
torch.set_num_threads(1)  # tensors this small gain nothing from more


def student() -> Circuit:
    """The circuit to train; behind it a preparation of the target backwards, so that the target becomes |0...0>."""
    backwards = Circuit(N_WIRES)
    for wire in range(N_WIRES):
        backwards.append("ry", wire, -0.4)
    for wire in range(N_WIRES):
        backwards.append("cz", (wire, (wire + 1) % N_WIRES))
    for wire in range(N_WIRES):
        backwards.append("ry", wire, -0.7)
    return hardware_efficient(N_WIRES, DEPTH, rotations=("ry",), gate="cz") + backwards


def infidelity() -> PauliSum:
    """1 - |0...0><0...0|, as strings of Z: they are all read in the same shots."""
    share = 2.0**-N_WIRES
    sets = [wires for k in range(1, N_WIRES + 1) for wires in itertools.combinations(range(N_WIRES), k)]
    return PauliSum({" ".join(f"Z{wire}" for wire in wires): -share for wires in sets} | {"I": 1 - share})


class Curve(L.Callback):
    """The true infidelity after every step, and the shots spent by then."""

    def __init__(self) -> None:
        self.shots: list[int] = []
        self.loss: list[float] = []

    def on_train_batch_end(self, trainer: L.Trainer, module: VQE, *_: object) -> None:
        self.shots.append(module.quantum.shots_used)
        with torch.no_grad():
            self.loss.append(1 - module.quantum.states()[0, 0].abs().square().item())


def run(guarded: bool, shots: int) -> tuple[Curve, PlateauGuard | None]:
    start = torch.Generator().manual_seed(0)
    options = {"shots": SHOTS, "init": "uniform", "generator": start}
    model = VQE(infidelity(), student(), optimizer=torch.optim.SGD, learning_rate=0.5, **options)
    curve, budget, guard = Curve(), ShotBudget(shots), None
    callbacks: list[L.Callback] = [curve, budget]
    if guarded:
        detector = PlateauDetector(GradientSNRMonitor(every_n_steps=10), window=20)
        guard = PlateauGuard(detector, [InitializationReset(candidates=4, trial=40)], budget=budget)
        callbacks = [curve, guard]
    quiet = {"enable_progress_bar": False, "enable_model_summary": False, "enable_checkpointing": False}
    L.Trainer(max_epochs=-1, callbacks=callbacks, logger=False, accelerator="cpu", **quiet).fit(model)
    return curve, guard


def main(shots: int = 200_000, folder: Path = Path("runs")) -> tuple[Curve, Curve, PlateauGuard]:
    doomed, _ = run(False, shots)
    saved, guard = run(True, shots)
    assert guard is not None
    print(guard.report())
    print(f"Infidelity after {shots:,} shots: {doomed.loss[-1]:.3f} unguarded, {saved.loss[-1]:.3f} guarded.")
    folder.mkdir(parents=True, exist_ok=True)
    draw(doomed, saved, guard, folder / "rescue_a_plateau.png")
    return doomed, saved, guard


def draw(doomed: Curve, saved: Curve, guard: PlateauGuard, path: Path) -> None:
    figure, axes = plt.subplots(figsize=(8, 4.2), layout="constrained")
    axes.plot([s / 1e3 for s in doomed.shots], doomed.loss, color="tab:gray", label="unguarded")
    axes.plot([s / 1e3 for s in saved.shots], saved.loss, color="tab:blue", label="with PlateauGuard")
    for event in guard.events:
        if event.step >= len(saved.shots) or event.kind not in ("verdict", "reset", "kept", "rollback"):
            continue
        x, y = saved.shots[event.step] / 1e3, saved.loss[event.step]
        name = str(event.data["verdict"]).replace("_", " ") if event.kind == "verdict" else event.kind
        axes.plot(x, y, "o", color="tab:red", markersize=4)
        below = event.kind != "verdict"
        axes.annotate(
            name,
            (x, y),
            (5, -14 if below else 8),
            textcoords="offset points",
            fontsize=8,
            ha="right" if below else "center",
        )
    axes.set(xlabel="shots spent, in thousands", ylabel="infidelity, exact", ylim=(-0.03, 1.08))
    axes.set_title(f"{N_WIRES} wires, {DEPTH} layers, {SHOTS} shots for each circuit, random start", fontsize=10)
    axes.legend(loc="lower left", frameon=False)
    axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, dpi=150)
    plt.close(figure)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--shots", type=int, default=200_000)
    parser.add_argument("--folder", type=Path, default=Path("runs"))
    arguments = parser.parse_args()
    main(arguments.shots, arguments.folder)
