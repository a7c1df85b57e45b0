"""Experiments from a step of a recorded run, exact and with as much time as they take: what a detector can't afford."""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator
from contextlib import nullcontext
from functools import cached_property
from typing import Any

import torch
from torch import Tensor, nn

from benchmarks.plateaubench.record import Record, Snapshot, exact, goal, record
from benchmarks.plateaubench.task import Scenario, Task, generator

ROUNDS = 8
"""Of twenty iterations each, at most."""
RANDOM, SMALL = 3, 1


class Lab:
    """A recorded run and what can be found out from its states.

    Everything is deterministic in the scenario and the seed.
    """

    def __init__(self, scenario: Scenario, seed: int) -> None:
        self.scenario, self.seed = scenario, seed
        self._fresh = scenario.task(seed)
        task, run = record(scenario, seed)
        self.task: Task = task
        self.run: Record = run
        self._continued: dict[Any, float] = {}

    # ---- states

    def at(self, snapshot: Snapshot | None = None) -> Task:
        """A new run, at a snapshot, in its own precision."""
        task = copy.deepcopy(self._fresh)
        torch.manual_seed(self.seed + 1)
        if snapshot is not None:
            known = task.module.state_dict()  # TorchQuantum keeps the last batch's states among the buffers
            task.module.load_state_dict({key: value for key, value in snapshot.state.items() if key in known})
        return task

    def precise(self, snapshot: Snapshot | None = None) -> Task:
        """The same in double precision, which TorchQuantum does not have."""
        task = self.at(snapshot)
        if task.quantum:
            return task
        task.module.double()
        task.whole = as_double(task.whole)
        return task

    def restarted(self, number: int) -> Task:
        """All trainable parts drawn anew: angles over the circle, or, for the last SMALL of them, near zero."""
        task, draw = self.precise(), generator(31 * self.seed + number)
        quantum = {id(p) for layer in task.layers().values() for p in layer.parameters()}
        for module in task.module.modules():
            if hasattr(module, "reset_parameters") and all(p.requires_grad for p in module.parameters()):
                module.reset_parameters()
        with torch.no_grad():
            for parameter in task.module.parameters():
                if id(parameter) in quantum and parameter.requires_grad:
                    noise = torch.rand(parameter.shape, generator=draw, dtype=torch.float64)
                    angles = 2 * math.pi * noise - math.pi if number < RANDOM else 0.2 * noise - 0.1
                    parameter.copy_(angles)
        return task

    # ---- descents

    def descend(self, task: Task, *, noiseless: bool = False) -> float:
        """The lowest exact objective that a descent finds from here: L-BFGS, whose line search tunes every step.

        It ends where twenty iterations gain less than a thousandth of what the task has to give. A hundred of them do
        what first-order steps at the best of rates do in thousands (on a smooth function; there are kinks in few).
        """
        parameters = [p for p in task.module.parameters() if p.requires_grad]
        if not parameters:
            return goal(task)
        optimizer = torch.optim.LBFGS(
            parameters,
            max_iter=20,
            max_eval=30,
            tolerance_grad=1e-12,
            tolerance_change=0.0,
            history_size=20,
            line_search_fn="strong_wolfe",
        )
        reached = marked = math.inf

        def closure() -> Tensor:
            nonlocal reached
            optimizer.zero_grad()
            value = task.goal(task.module, task.whole)
            if value.requires_grad:
                value.backward()
            found = float(value.detach())
            reached = min(reached, found) if math.isfinite(found) else reached
            return value

        with exact(task.module, noiseless=noiseless):
            for _ in range(ROUNDS):
                optimizer.step(closure)
                if not marked - reached >= 1e-3 * self.rough_scale:
                    break
                marked = reached
        return reached

    @cached_property
    def rough_scale(self) -> float:
        """How far the objective varies between the run's own values and random starts."""
        values = [value for _, value in self.run.curve if math.isfinite(value)]
        values += [goal(self.restarted(number)) for number in range(RANDOM)]
        return max(values) - min(values) or 1.0

    @cached_property
    def restarts(self) -> list[tuple[float, float]]:
        """(objective at a new start, lowest found from there)."""
        found = []
        for number in range(RANDOM + SMALL):
            task = self.restarted(number)
            found.append((goal(task), self.descend(task)))
        return found

    @cached_property
    def lowest(self) -> float:
        """The lowest objective that the run, the restarts, or a descent from the run's last state came to."""
        ends = [value for _, value in self.run.curve] + [end for _, end in self.restarts]
        finite = [s for s in self.run.snapshots if self.run.ended_at is None or s.step < self.run.ended_at - 1]
        return min(value for value in [*ends, self.bottom(finite[-1])] if math.isfinite(value))

    def bottom(self, snapshot: Snapshot, *, noiseless: bool = False) -> float:
        """The lowest objective that a tuned, exact, long descent finds from a snapshot."""
        return self.descend(self.precise(snapshot), noiseless=noiseless)

    # ---- the run, continued otherwise

    def continued(self, snapshot: Snapshot, steps: int, **how: Any) -> float:
        """The exact objective after `steps` more steps of the run's own optimizers, averaged over the last quarter."""
        key = snapshot.step, steps, *sorted(how.items())
        if key not in self._continued:
            self._continued[key] = self._continue(snapshot, steps, **how)
        return self._continued[key]

    def _continue(
        self,
        snapshot: Snapshot,
        steps: int,
        *,
        rate: float = 1.0,
        without_shots: bool = False,
        noiseless: bool = False,
        frozen: str | None = None,
    ) -> float:
        task = self.at(snapshot)
        module = task.module
        still = list(module.get_submodule(frozen).parameters()) if frozen is not None else []
        held = [p.detach().clone() for p in still]
        optimizers = optimizers_of(module)
        for optimizer, state in zip(optimizers, snapshot.optimizers, strict=True):
            optimizer.load_state_dict(copy.deepcopy(state))
            for group in optimizer.param_groups:
                group["lr"] = rate * max(group["lr"], 0.0)
        values, every = [], max(1, steps // 40)
        torch.manual_seed(self.seed + 17)
        for step, batch in zip(range(steps), cycle(task), strict=False):
            with exact(module, noiseless=noiseless) if without_shots or noiseless else nullcontext():
                for optimizer in optimizers:
                    optimizer.zero_grad()
                loss = task.loss(module, batch)
                loss.backward()
                for optimizer in optimizers:
                    optimizer.step()
            with torch.no_grad():
                for parameter, value in zip(still, held, strict=True):
                    parameter.copy_(value)
            if (step >= 3 * steps // 4 and step % every == 0) or step == steps - 1:
                values.append(self._goal(task, noiseless))
        return sum(values) / len(values)

    def _goal(self, task: Task, noiseless: bool) -> float:
        with exact(task.module, noiseless=noiseless):
            return goal(task)


def optimizers_of(module: Any) -> list[torch.optim.Optimizer]:
    """What `configure_optimizers` makes, in all the forms that it may have here."""
    made = module.configure_optimizers()
    made = made if isinstance(made, list | tuple) else [made]
    made = made[0] if made and isinstance(made[0], list) else made
    return [item["optimizer"] if isinstance(item, dict) else item for item in made]


def cycle(task: Task) -> Iterator[Any]:
    while True:
        yield from task.loader


def as_double(data: Any) -> Any:
    if isinstance(data, Tensor):
        return data.double() if data.is_floating_point() else data
    if isinstance(data, tuple | list):
        return tuple(as_double(item) for item in data)
    return data


def call_of(task: Task, layer: nn.Module, samples: int = 16) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """The arguments that the objective calls a layer with, of the first samples."""
    caught: list[tuple[tuple[Any, ...], dict[str, Any]]] = []
    handle = layer.register_forward_pre_hook(lambda _, given, named: caught.append((given, named)), with_kwargs=True)
    try:
        goal(task)
    finally:
        handle.remove()
    given, named = caught[0]
    first = lambda item: item[:samples].detach() if isinstance(item, Tensor) else item  # noqa: E731
    return tuple(first(item) for item in given), {key: first(item) for key, item in named.items()}
