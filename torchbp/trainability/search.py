"""`search`: which of many circuits to train, by trainability and by their score on the task; successive halving."""

from __future__ import annotations

import hashlib
import itertools
import json
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor, nn

from torchbp.arguments import checked
from torchbp.arguments.kinds import batches, whole
from torchbp.circuits import Circuit, PauliSum, given
from torchbp.diagnosis.verdicts import Verdict
from torchbp.errors import InputError, UnknownNameError
from torchbp.layer import QuantumLayer
from torchbp.trainability.prechecks.cases import loss_of
from torchbp.trainability.prechecks.precheck import precheck
from torchbp.trainability.search_runners import RUNNERS, Runner, Store

Candidate = Circuit | Callable[[], nn.Module]
Evaluate = Callable[[nn.Module, int], float]

_HOPELESS = (Verdict.BARREN_PLATEAU, Verdict.DEAD_LAYER)


@dataclass(frozen=True)
class Standing:
    """How a candidate did in one rung.

    Attributes:
        name: of the candidate.
        rung: 0 is the check of trainability, training starts with 1.
        steps: it was trained for in this rung, from its start.
        score: lower is better; shots for an SNR of 3 in rung 0, the loss after that.
        verdict: what `precheck` says, in rung 0; empty after that.
    """

    name: str
    rung: int
    steps: int
    score: float
    verdict: str = ""


@dataclass(frozen=True)
class Search:
    """The ranking.

    Attributes:
        ranking: the last standing of every candidate, best first: who came further, then who scored lower.
        history: all standings, in order.
        spent: training steps in all.
        interrupted: whether somebody stopped it; the ranking is that of the rungs that were finished.
    """

    ranking: tuple[Standing, ...]
    history: tuple[Standing, ...]
    spent: int
    interrupted: bool = False

    @property
    def best(self) -> str:
        """Name of the winner."""
        return self.ranking[0].name

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {"best": self.best} | asdict(self)

    def report(self) -> str:
        """The ranking as a table."""
        lines = ["| candidate | came to rung | steps | score | precheck |", "| --- | ---: | ---: | ---: | --- |"]
        verdicts = {s.name: s.verdict for s in self.history if s.rung == 0}
        for s in self.ranking:
            score = f"{s.score:.3g} shots a step" if s.rung == 0 else f"{s.score:.4g}"
            lines.append(f"| {s.name} | {s.rung} | {s.steps} | {score} | {verdicts[s.name].replace('_', ' ')} |")
        stopped = " Stopped before the end." if self.interrupted else ""
        return "\n".join([*lines, "", f"best: {self.best}, after {self.spent} training steps in all.{stopped}"])

    __str__ = report


def _candidates(name: str, value: Any) -> Mapping[str, Candidate]:
    """Candidates by name; those of a list are named by their places."""
    given = {f"{name[:-1]} {i}": c for i, c in enumerate(value)} if isinstance(value, list | tuple) else value
    if not isinstance(given, Mapping) or not given:
        raise InputError(
            f"A search needs {name}: a dict of circuits, or of functions that make models; got {value!r:.80}."
        )
    for key, candidate in given.items():
        if not isinstance(candidate, Circuit) and not callable(candidate):
            raise InputError(
                f"{name}[{key!r}] is a Circuit or a function that makes a model, got {type(candidate).__name__}."
            )
    return given


@checked(candidates=_candidates, budget=whole(0), loader=batches, observables=given.observables, eta=whole(2))
def search(
    candidates: Mapping[str, Candidate],
    budget: int,
    loader: Iterable[Any] | None = None,
    *,
    loss_fn: Callable[[Any, Any], Tensor] | None = None,
    observables: PauliSum | str | Iterable[PauliSum | str] | None = None,
    score: Evaluate | None = None,
    learning_rate: float = 0.05,
    eta: int = 3,
    seed: int = 0,
    runner: str | Runner = "local",
    storage: str | None = None,
    study: str = "torchbp",
    progress: Callable[[str], None] | None = None,
) -> Search:
    """Rank candidates by successive halving (Jamieson & Talwalkar 2016, 1502.07943).

    Rung 0 is `precheck`: candidates on a barren plateau, or with no weight that reaches an observable, go (unless all
    do). Those that are left share the budget: each rung takes an equal part of it, and the better 1/eta of a rung come
    to the next, where each has eta times the steps. Every rung trains from the start, so that a rung can be computed
    anywhere, in any order, and be found again.

    Args:
        candidates: by name, a circuit or a function that makes a model with a quantum layer.
        budget: training steps in all; 0 ranks by trainability alone.
        loader: batches for the precheck and for training, taken in turn.
        loss_fn: as for `precheck`.
        observables: of the circuits; Z on every wire if left out.
        score: `(model, steps) -> number`, lower is better; left out, the mean loss over the last quarter of `steps`
            steps of Adam.
        learning_rate: of Adam.
        eta: how many times fewer candidates the next rung has, at least 2.
        seed: of initial weights; every candidate starts from the same.
        runner: "local", one after another; "ray", by Ray Tune (`pip install 'torchbp[ray]'`), on a cluster if Ray is
            connected to one; or a function `(evaluate, tasks) -> outcomes`.
        storage: an Optuna storage URL ("sqlite:///search.db"; `pip install 'torchbp[optuna]'`) that keeps every
            outcome: a search that is run again with the same arguments continues there. Circuits, observables and
            batches are told apart by what is in them, functions not: take another `study` for other ones.
        study: name in the storage.
        progress: called with a phrase at every rung.

    Raises:
        InputError: no candidates, or an argument out of range.
        UnknownNameError: no such runner.
        MissingDependencyError: Ray or Optuna is not installed.

    What it does not show: how the winner does with more steps than it had, nor how far chance decided: candidates
    whose scores differ by less than those of different seeds are equal.
    """
    if isinstance(runner, str) and runner not in RUNNERS:
        raise UnknownNameError("runner", runner, RUNNERS)
    run = RUNNERS[runner] if isinstance(runner, str) else runner
    say = progress or (lambda _: None)
    batches = None if loader is None else list(itertools.islice(loader, 256))
    settings = [seed, learning_rate, *sorted((name, _described(c)) for name, c in candidates.items())]
    store = Store(storage, study, json.dumps([*settings, repr(observables), _content(batches)]), Standing)

    def made(name: str) -> nn.Module:
        candidate = candidates[name]
        torch.manual_seed(seed)
        return QuantumLayer(candidate, observables) if isinstance(candidate, Circuit) else candidate()

    def evaluate(task: tuple[str, int, int]) -> Standing:
        name, rung, steps = task
        with torch.random.fork_rng(devices=[]):
            model = made(name)
            if rung == 0:
                found = precheck(model, batches, loss_fn=loss_fn, seconds=1e-9, seed=seed)
                return Standing(name, 0, 0, found.start.shots_per_step, found.verdict.value)
            if score is not None:
                return Standing(name, rung, steps, float(score(model, steps)))
            return Standing(name, rung, steps, _trained(model, batches, loss_fn, steps, learning_rate))

    history: list[Standing] = []
    names, interrupted = list(candidates), False
    try:
        say(f"precheck of {len(names)} candidates")
        first = store.through(run, evaluate, [(name, 0, 0) for name in names])
        history += first
        alive = [s.name for s in first if Verdict(s.verdict) not in _HOPELESS] or names
        rungs = max(1, math.ceil(math.log(len(alive), eta) - 1e-9)) if budget else 0
        for rung in range(1, rungs + 1):
            steps = budget // (rungs * len(alive))
            if steps < 1:
                raise InputError(f"A budget of {budget} steps is too small for {len(alive)} candidates.")
            say(f"rung {rung} of {rungs}: {len(alive)} candidates, {steps} steps each")
            standings = store.through(run, evaluate, [(name, rung, steps) for name in alive])
            history += standings
            ranked = sorted(standings, key=lambda s: (math.isnan(s.score), s.score))
            alive = [s.name for s in ranked[: max(1, len(alive) // eta)]]
    except KeyboardInterrupt:
        if not history:
            raise
        interrupted = True
    last = {s.name: s for s in history}
    ranking = sorted(last.values(), key=lambda s: (-s.rung, s.verdict in _HOPELESS, math.isnan(s.score), s.score))
    return Search(tuple(ranking), tuple(history), sum(s.steps for s in history), interrupted)


def _described(candidate: Candidate) -> str:
    """A circuit by its operations."""
    if not isinstance(candidate, Circuit):
        return ""
    unitaries = [op.unitary.tobytes() for op in candidate.operations if op.unitary is not None]
    gates = [str(op) for op in candidate.operations]
    return _digest(json.dumps([candidate.n_wires, candidate.n_amplitudes, gates]).encode() + b"".join(unitaries))


def _content(batches: Sequence[Any] | None) -> str:
    """The tensors of all batches."""
    leaves, _ = torch.utils._pytree.tree_flatten(batches)
    return _digest(b"".join(x.detach().cpu().numpy().tobytes() for x in leaves if isinstance(x, Tensor)))


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:16]


def _trained(
    model: nn.Module,
    batches: Sequence[Any] | None,
    loss_fn: Callable[[Any, Any], Tensor] | None,
    steps: int,
    learning_rate: float,
) -> float:
    """Mean loss over the last quarter of the steps; NaN if it diverged."""
    optimizer = torch.optim.Adam(model.parameters(), lr=learning_rate)
    turns = itertools.cycle(batches or [None])
    losses = []
    for batch in itertools.islice(turns, steps):
        optimizer.zero_grad()
        loss = loss_of(model, batch, loss_fn)
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    last = losses[-max(1, steps // 4) :]
    return sum(last) / len(last)
