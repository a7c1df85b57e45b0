"""Does acting on a verdict pay? Guarded against unguarded training under the same budget of shots.

    python benchmarks/recovery.py                 tune, then 20 seeds of every task and arm
    python benchmarks/recovery.py --task maxcut --seeds 5 --jobs 2

Every run has finite shots, Adam, and a budget in shots; it ends when it has converged (judged from exact values, at no
cost), when its arm stops it, or when the budget is spent. Probes of the monitor and the remedies count. The learning
rate is tuned for every arm of every task on seeds of their own, by converged runs per shot.

Tasks, none with its optimum at the initial point of any strategy. Those from `heisenberg6` on start at uniform random
weights of a circuit that knows nothing of the solution:
    tfim       ground state of a critical Ising chain, random product start, deep ansatz, uniform weights: a plateau
    maxcut     the same ansatz on MaxCut of a weighted graph: a plateau
    digits     two handwritten digits, linear encoder, deep ansatz, global observable: a plateau
    healthy    two handwritten digits, shallow circuit, local observables: learns within ten steps
    chain      ground state of a short Ising chain, shallow circuit, small start: half of the runs learn for a hundred
               steps, in which remedies could do harm, the others end in a trap
    heisenberg6, heisenberg8   ground state of an open Heisenberg chain
    state9     a random product state behind a random circuit, to be undone: a global projector
    cancer     breast cancer, nine principal components, deep circuit
    qaoa       MaxCut of a weighted graph by six layers of QAOA

Arms: unguarded Adam; the same with early stopping; `restarts`, what users do by hand: Adam, and when the mean loss of
an epoch has not improved in five, all weights drawn anew; one remedy alone; and the guard.

Results go to a JSON-lines file as they come, and a run that is there already is not done again.
"""

from __future__ import annotations

import argparse
import itertools
import json
import logging
import math
import multiprocessing
import os
import time
import warnings
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import lightning as L
import numpy as np
import torch
from lightning.pytorch.callbacks import EarlyStopping
from sklearn.datasets import load_breast_cancer, load_digits
from sklearn.decomposition import PCA
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from torchbp import QuantumLayer
from torchbp.callbacks import (
    GradientFreeFallback,
    GradientSNRMonitor,
    InitializationReset,
    PlateauDetector,
    PlateauGuard,
    ShotBudget,
)
from torchbp.circuits import (
    Circuit,
    PauliSum,
    angle_encoding,
    global_z,
    hardware_efficient,
    heisenberg,
    local_z,
    mirrored,
    tfim,
)
from torchbp.models import QAOA, VQE, HybridClassifier

TUNING_SEEDS = range(1000, 1004)
RATES = (0.003, 0.01, 0.03, 0.1, 0.3)
EVERY = 8


@dataclass(frozen=True)
class Task:
    """What is trained: `make(seed, learning_rate)` gives the model, its data if it has any, and `solved(model)`."""

    make: Callable[[int, float], tuple[L.LightningModule, DataLoader | None, Callable[[Any], bool]]]
    budget: int
    """Shots of one run."""
    loss: str
    """What the model logs as its loss."""


@dataclass(frozen=True)
class Result:
    """One run."""

    task: str
    arm: str
    rate: float
    seed: int
    converged: bool
    shots: int
    steps: int
    seconds: float
    stopped: bool
    """Called off by its arm, with shots left and nothing solved."""
    events: list[tuple[int, str]]


def generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def deep(n: int, seed: int) -> Circuit:
    """A random product state, then twelve layers whose second half undoes the first where the weights agree."""
    circuit, angles = Circuit(n), math.pi * (2 * torch.rand(n, generator=generator(seed)) - 1)
    for wire in range(n):
        circuit.append("ry", wire, float(angles[wire]))
    return circuit + mirrored(hardware_efficient(n, 6, ("ry",)))


def ising(seed: int, rate: float, ansatz: Circuit, shots: int, init: str, share: float) -> Any:
    """Down to a share of the ground energy of a critical chain."""
    model = VQE(
        tfim(ansatz.n_wires, field=1.0),
        ansatz,
        shots=shots,
        init=init,
        generator=generator(seed),
        learning_rate=rate,
        steps_per_epoch=20,
    )
    return model, None, lambda m: m.exact_energy() < share * m.ground_energy


def deep_ising(seed: int, rate: float) -> Any:
    return ising(seed, rate, deep(9, seed), shots=8, init="uniform", share=0.85)


def shallow_ising(seed: int, rate: float) -> Any:
    return ising(seed, rate, hardware_efficient(6, 4, ("ry",)), shots=64, init="small_angle", share=0.96)


def graph(n: int, seed: int) -> list[tuple[int, int, float]]:
    """Three edges a node on average, weights in [0.5, 1.5]."""
    rng = np.random.default_rng(seed)
    edges = {(i, (i + 1) % n) for i in range(n)} | {(i, (i + 3) % n) for i in range(0, n, 2)}
    return [(a, b, float(rng.uniform(0.5, 1.5))) for a, b in sorted(edges)]


def cut(seed: int, rate: float) -> Any:
    model = QAOA(
        graph(9, seed),
        ansatz=deep(9, seed),
        shots=8,
        init="uniform",
        generator=generator(seed),
        learning_rate=rate,
        steps_per_epoch=20,
    )
    return model, None, lambda m: m.approximation_ratio() > 0.9


def heisenberg_chain(n: int, depth: int) -> Callable[[int, float], Any]:
    def make(seed: int, rate: float) -> Any:
        model = VQE(
            heisenberg(n),
            hardware_efficient(n, depth, ("ry", "rz"), gate="cz"),
            shots=32,
            init="uniform",
            generator=generator(seed),
            learning_rate=rate,
            steps_per_epoch=20,
        )
        return model, None, lambda m: m.exact_energy() < 0.9 * m.ground_energy

    return make


def state(seed: int, rate: float) -> Any:
    """Weights that undo a random circuit: the energy is minus the probability of finding all wires in 0."""
    n = 9
    hidden = math.pi * (2 * torch.rand(n, generator=generator(seed)) - 1)
    circuit = Circuit(n)
    for wire in range(n):
        circuit.append("ry", wire, float(hidden[wire]))
    for wire in range(n):
        circuit.append("cnot", (wire, (wire + 1) % n))
    circuit = circuit + hardware_efficient(n, 4, ("ry",))
    strings = itertools.product((False, True), repeat=n)
    terms = {" ".join(f"Z{w}" for w in range(n) if on[w]) or "I": -(2.0**-n) for on in strings}
    model = VQE(
        PauliSum(terms),
        circuit,
        shots=64,
        init="uniform",
        generator=generator(seed),
        learning_rate=rate,
        steps_per_epoch=20,
    )
    return model, None, lambda m: m.exact_energy() < -0.9


def weighted_qaoa(seed: int, rate: float) -> Any:
    model = QAOA(
        graph(8, seed),
        depth=6,
        shots=32,
        init="uniform",
        generator=generator(seed),
        learning_rate=rate,
        steps_per_epoch=20,
    )
    return model, None, lambda m: m.approximation_ratio() > 0.9


def digits(seed: int, components: int, classes: tuple[int, int] = (3, 8)) -> tuple[torch.Tensor, torch.Tensor]:
    x, y = load_digits(return_X_y=True)
    chosen = np.isin(y, classes)
    x, y = PCA(components, random_state=0).fit_transform(x[chosen] / 16), (y[chosen] == classes[1]).astype(int)
    order = np.random.default_rng(seed).permutation(len(x))
    x = x / x.std(0)
    return torch.tensor(x[order], dtype=torch.float32), torch.tensor(y[order])


def cancer(seed: int, components: int) -> tuple[torch.Tensor, torch.Tensor]:
    x, y = load_breast_cancer(return_X_y=True)
    x = PCA(components, random_state=0, whiten=True).fit_transform((x - x.mean(0)) / x.std(0))
    order = np.random.default_rng(seed).permutation(len(x))
    return torch.tensor(x[order], dtype=torch.float32), torch.tensor(y[order])


def classifier(seed: int, rate: float, quantum: QuantumLayer, batch: int, data: Any = digits) -> Any:
    x, y = data(seed, quantum.circuit.n_features)
    torch.manual_seed(seed)
    model = HybridClassifier(x.shape[1], 2, encoder=nn.Tanh(), quantum=quantum, learning_rate=rate)
    loader = DataLoader(TensorDataset(x[:256], y[:256]), batch, shuffle=True, generator=generator(seed), drop_last=True)

    @torch.no_grad()
    def solved(m: Any) -> bool:
        """As a machine would run it: outputs so small that 100 shots do not show them are worth nothing."""
        spread = generator(0)
        with m.quantum.exact():
            output = m.quantum(m.encoder(x[256:]))
        measured = output + ((1 - output.square()) / 100).sqrt() * torch.randn(output.shape, generator=spread)
        return float((m.head(measured).argmax(1) == y[256:]).float().mean()) > 0.85

    return model, loader, solved


def breast_cancer(seed: int, rate: float) -> Any:
    circuit = angle_encoding(9, scale=math.pi / 2) + hardware_efficient(9, 6, ("ry", "rz"))
    quantum = QuantumLayer(circuit, global_z(9), shots=16, init="uniform", generator=generator(seed))
    return classifier(seed, rate, quantum, 8, cancer)


def global_digits(seed: int, rate: float) -> Any:
    circuit = angle_encoding(9, scale=math.pi / 4) + mirrored(hardware_efficient(9, 3, ("ry", "rz")))
    quantum = QuantumLayer(circuit, global_z(9), shots=4, init="uniform", generator=generator(seed))
    return classifier(seed, rate, quantum, 4)


def local_digits(seed: int, rate: float) -> Any:
    circuit = angle_encoding(4, scale=math.pi / 2) + hardware_efficient(4, 2, gate="cz")
    quantum = QuantumLayer(circuit, local_z(4), shots=64, generator=generator(seed))
    return classifier(seed, rate, quantum, 16)


TASKS = {
    "tfim": Task(deep_ising, 900_000, "energy"),
    "maxcut": Task(cut, 450_000, "energy"),
    "digits": Task(global_digits, 600_000, "train_loss"),
    "healthy": Task(local_digits, 2_000_000, "train_loss"),
    "chain": Task(shallow_ising, 3_000_000, "energy"),
    "heisenberg6": Task(heisenberg_chain(6, 4), 3_000_000, "energy"),
    "heisenberg8": Task(heisenberg_chain(8, 5), 6_000_000, "energy"),
    "state9": Task(state, 1_000_000, "energy"),
    "cancer": Task(breast_cancer, 3_000_000, "train_loss"),
    "qaoa": Task(weighted_qaoa, 600_000, "energy"),
}


def watching() -> PlateauDetector:
    return PlateauDetector(GradientSNRMonitor(every_n_steps=EVERY, heatmap=False), window=5, patience=1)


def unguarded(task: Task) -> list[L.Callback]:
    return [WouldStop(task.loss, patience=5, check_on_train_epoch_end=True)]


def restarts(task: Task) -> list[L.Callback]:
    return [Restarting(task, patience=5, check_on_train_epoch_end=True)]


def reset_only(task: Task) -> list[L.Callback]:
    return [InitializationReset(watching(), strategy="gaussian")]


def fallback_only(task: Task) -> list[L.Callback]:
    return [GradientFreeFallback(watching())]


def guarded(task: Task) -> list[L.Callback]:
    return [PlateauGuard(watching(), budget=ShotBudget(total=task.budget))]


ARMS: dict[str, Callable[[Task], list[L.Callback]]] = {
    "unguarded": unguarded,
    "restarts": restarts,
    "reset_only": reset_only,
    "fallback_only": fallback_only,
    "guarded": guarded,
}


SHOWN = ("unguarded", "early_stopping", "restarts", "reset_only", "fallback_only", "guarded")


class WouldStop(EarlyStopping):
    """EarlyStopping that only notes when it would have: the mean loss of an epoch has not improved in five."""

    shots: int | None = None
    steps = 0

    def on_train_batch_end(self, *_: Any) -> None:
        self.steps += self.shots is None

    def on_train_epoch_end(self, trainer: Any, pl_module: Any) -> None:
        before = trainer.should_stop
        super().on_train_epoch_end(trainer, pl_module)
        if trainer.should_stop and not before:
            self.shots = self.shots or pl_module.quantum.shots_used
            trainer.should_stop = False


class Restarting(EarlyStopping):
    """Where EarlyStopping would stop, weights are drawn anew and the optimizer forgets: the script run once more."""

    def __init__(self, task: Task, **options: Any) -> None:
        super().__init__(task.loss, **options)
        self.make, self.restarts = task.make, 0

    def on_train_epoch_end(self, trainer: Any, pl_module: Any) -> None:
        before = trainer.should_stop
        super().on_train_epoch_end(trainer, pl_module)
        if not trainer.should_stop or before:
            return
        trainer.should_stop = False
        self.restarts += 1
        with torch.random.fork_rng():
            fresh, _, _ = self.make(int(torch.randint(10_000, 2**30, ())) + self.restarts, 0.1)
        pl_module.load_state_dict(fresh.state_dict())
        trainer.strategy.optimizers[0].state.clear()
        self.wait_count, self.best_score = 0, torch.tensor(math.inf)


class Judge(L.Callback):
    """Ends a run that has converged or spent its budget; looks every ten steps, at exact values."""

    def __init__(self, solved: Callable[[Any], bool], budget: int) -> None:
        self.solved, self.budget, self.converged, self.steps = solved, budget, False, 0

    def on_train_batch_end(self, trainer: Any, module: Any, *_: Any) -> None:
        self.steps += 1
        if self.steps % 10 == 0:
            self.converged = self.solved(module)
        if self.converged or module.quantum.shots_used >= self.budget:
            trainer.should_stop = True


def execute(task: str, arm: str, rate: float, seed: int) -> list[Result]:
    """The run; an unguarded one is two, since early stopping changes nothing but its end."""
    torch.set_num_threads(1)
    warnings.filterwarnings("ignore")
    for name in ("lightning.pytorch", "lightning.fabric"):
        logging.getLogger(name).setLevel(logging.ERROR)
    model, data, solved = TASKS[task].make(seed, rate)
    judge, pieces = Judge(solved, TASKS[task].budget), ARMS[arm](TASKS[task])
    torch.manual_seed(seed)
    trainer = L.Trainer(
        max_epochs=-1,
        accelerator="cpu",
        callbacks=[*pieces, judge],
        logger=False,
        enable_progress_bar=False,
        enable_checkpointing=False,
        enable_model_summary=False,
    )
    start = time.perf_counter()
    trainer.fit(model, data)
    shots, seconds = model.quantum.shots_used, time.perf_counter() - start
    events = [(event.step, event.kind) for c in pieces for event in getattr(c, "events", [])]
    stopped = not judge.converged and any(kind == "stop" for _, kind in events)
    results = [Result(task, arm, rate, seed, judge.converged, shots, judge.steps, seconds, stopped, events)]
    for would in (piece for piece in pieces if isinstance(piece, WouldStop)):
        done = replace(results[0], arm="early_stopping")
        if would.shots is not None:
            share = would.steps / judge.steps
            done = replace(
                done, converged=False, stopped=True, shots=would.shots, steps=would.steps, seconds=share * seconds
            )
        results.append(done)
    return results


class Store:
    """Results on disk, one line each."""

    def __init__(self, path: Path) -> None:
        self.path = path
        lines = path.read_text().splitlines() if path.exists() else []
        self.results = [Result(**json.loads(line)) for line in lines]

    def find(self, task: str, arm: str, rate: float, seeds: Iterable[int]) -> list[Result]:
        return [r for r in self.results if (r.task, r.arm, r.rate) == (task, arm, rate) and r.seed in seeds]

    def complete(self, wanted: list[tuple[str, str, float, int]], jobs: int) -> None:
        """Do the runs that are missing."""
        there = {(r.task, r.arm, r.rate, r.seed) for r in self.results}
        missing = [run for run in wanted if run not in there and run[1] in ARMS]
        for result in itertools.chain.from_iterable(_each(missing, jobs)):
            self.results.append(result)
            with self.path.open("a") as file:
                file.write(json.dumps(asdict(result)) + "\n")
            state = "converged" if result.converged else "stopped" if result.stopped else "budget spent"
            print(
                f"{result.task:11} {result.arm:15} rate {result.rate:<5g} seed {result.seed:5d}: {state:13}"
                f"{result.shots / 1e6:7.2f} M shots {result.steps:5d} steps {result.seconds:6.1f} s",
                flush=True,
            )


def _each(runs: list[Any], jobs: int) -> Iterator[list[Result]]:
    if jobs == 1:
        yield from map(_spread, runs)
        return
    with multiprocessing.get_context("spawn").Pool(jobs) as pool:
        yield from pool.imap_unordered(_spread, runs)


def _spread(run: Any) -> list[Result]:
    return execute(*run)


def per_shot(results: list[Result]) -> float:
    """Converged runs per million shots."""
    return sum(r.converged for r in results) / sum(r.shots for r in results) * 1e6


def tuned(store: Store, task: str, arm: str) -> float:
    """The learning rate with the most converged runs per shot on the tuning seeds; of equals the one that is fastest
    for its fellows, else the middle one."""
    scores = [
        (per_shot(store.find(task, arm, rate, TUNING_SEEDS)), -abs(math.log(rate / 0.03)), rate) for rate in RATES
    ]
    return max(scores)[-1]


def wilson(hits: int, total: int, z: float = 1.96) -> tuple[float, float]:
    """95% confidence interval of a proportion (Wilson 1927)."""
    share, spread = hits / total, z * z / total
    middle, half = share + spread / 2, z * math.sqrt(share * (1 - share) / total + spread / total / 4)
    return (middle - half) / (1 + spread), (middle + half) / (1 + spread)


def ratio(one: list[Result], other: list[Result], draws: int = 10_000) -> tuple[float, float, float]:
    """Converged runs per shot of one arm over another's, with a 95% bootstrap interval over seeds."""
    rng = np.random.default_rng(0)

    def resampled(results: list[Result]) -> np.ndarray:
        rows = np.array([(r.converged, r.shots) for r in results], dtype=float)
        sums = rows[rng.integers(len(rows), size=(draws, len(rows)))].sum(1)
        return sums[:, 0] / sums[:, 1]

    with np.errstate(divide="ignore", invalid="ignore"):
        drawn = np.nan_to_num(resampled(one) / resampled(other), nan=0.0, posinf=np.inf)
    low, high = np.quantile(drawn, [0.025, 0.975], method="inverted_cdf")
    return per_shot(one) / per_shot(other) if per_shot(other) else math.inf, float(low), float(high)


def compared(results: list[Result], base: list[Result]) -> str:
    """Where nothing has converged without a guard, what could have is bounded by its interval."""
    if any(r.converged for r in base):
        return "{:.2f} ({:.2f} to {:.3g})".format(*ratio(results, base))
    if not any(r.converged for r in results):
        return "none in either"
    most = wilson(0, len(base))[1] * len(base) / sum(r.shots for r in base) * 1e6
    return f"> {per_shot(results) / most:.1f}"


def report(store: Store, tasks: list[str], seeds: range, rates: dict[tuple[str, str], float]) -> None:
    for task in tasks:
        print(f"\n{task}: budget {TASKS[task].budget / 1e6:g} M shots a run, {len(seeds)} seeds, mean (95% interval)")
        print(
            f"{'arm':15}{'rate':>6}  {'converged':>20}  {'M shots per converged':>22}{'s a run':>9}{'stopped':>9}",
            end="",
        )
        print(f"  {'converged per shot : unguarded':>32}")
        base = store.find(task, "unguarded", rates[task, "unguarded"], seeds)
        for arm in (arm for arm in SHOWN if (task, arm) in rates):
            results = store.find(task, arm, rates[task, arm], seeds)
            if not results:
                continue
            hits = sum(r.converged for r in results)
            low, high = wilson(hits, len(results))
            cost = f"{1 / per_shot(results):.2f}" if hits else f"> {sum(r.shots for r in results) / 1e6:.1f}"
            times = "" if arm == "unguarded" else compared(results, base)
            print(
                f"{arm:15}{rates[task, arm]:6g}  {hits:3d}/{len(results)} ({low:.2f} to {high:.2f})  {cost:>22}"
                f"{np.mean([r.seconds for r in results]):9.1f}{sum(r.stopped for r in results):9d}  {times:>32}"
            )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--task", choices=list(TASKS), action="append", help="only this task; may be repeated")
    parser.add_argument("--arm", choices=SHOWN, action="append", help="only this one, and unguarded; repeatable")
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--results", type=Path, default=Path("recovery.jsonl"))
    arguments = parser.parse_args()
    tasks, arms = arguments.task or list(TASKS), list(dict.fromkeys(["unguarded", *(arguments.arm or SHOWN)]))
    store, seeds = Store(arguments.results), range(arguments.seeds)
    pairs = [(task, arm) for task in tasks for arm in arms]
    store.complete([(t, a, rate, seed) for t, a in pairs for rate in RATES for seed in TUNING_SEEDS], arguments.jobs)
    rates = {(t, a): tuned(store, t, a) for t, a in pairs}
    # Early stopping is told from the unguarded runs, at the rate that is best for it.
    wanted = [("unguarded" if a == "early_stopping" else a, rates[t, a], t) for t, a in pairs]
    store.complete([(t, a, rate, seed) for a, rate, t in dict.fromkeys(wanted) for seed in seeds], arguments.jobs)
    report(store, tasks, seeds, rates)


if __name__ == "__main__":
    main()
