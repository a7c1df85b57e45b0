"""Where a search computes its rungs, and where it keeps what it has computed."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import asdict
from importlib import import_module
from typing import Any

from torchbp.errors import InputError, MissingDependencyError

Task = tuple[str, int, int]
"""Name of the candidate, rung, training steps."""

Runner = Callable[[Callable[[Task], Any], Sequence[Task]], list[Any]]
"""`(evaluate, tasks) -> outcomes`, in the order of the tasks."""


def local(evaluate: Callable[[Task], Any], tasks: Sequence[Task]) -> list[Any]:
    """One after another, here."""
    return [evaluate(task) for task in tasks]


def ray(evaluate: Callable[[Task], Any], tasks: Sequence[Task]) -> list[Any]:
    """A trial of Ray Tune for each task, on as many processes or machines as Ray has."""
    tune = _need("ray.tune", "ray")

    def trial(config: dict[str, Any]) -> None:
        outcome = evaluate(tasks[config["index"]])
        tune.report({"outcome": asdict(outcome), "kind": type(outcome)})

    space = {"index": tune.grid_search(list(range(len(tasks))))}
    found = {result.config["index"]: result for result in tune.Tuner(trial, param_space=space).fit()}
    errors = [result.error for result in found.values() if result.error is not None]
    if errors:
        raise errors[0]
    return [found[i].metrics["kind"](**found[i].metrics["outcome"]) for i in range(len(tasks))]


RUNNERS: dict[str, Runner] = {"local": local, "ray": ray}


class Store:
    """Outcomes in an Optuna study, each a finished trial; without a storage nothing is kept.

    Args:
        storage: URL of an Optuna storage, or None.
        study: name of the study.
        settings: what outcomes depend on; those of other settings are not found.
        load: an outcome from its dictionary.

    Raises:
        InputError: the storage can't be opened.
    """

    def __init__(self, storage: str | None, study: str, settings: str, load: Callable[..., Any]) -> None:
        self.settings, self._load = settings, load
        self._study: Any = None
        if storage is not None:
            self._optuna = _need("optuna", "optuna")
            self._study = self._opened(storage, study)

    def _opened(self, storage: str, study: str) -> Any:
        try:
            return self._optuna.create_study(study_name=study, storage=storage, load_if_exists=True)
        except (
            Exception
        ) as error:  # of SQLAlchemy or a database's driver, with the address, and a password, in its text
            kind = type(error).__name__
        raise InputError(
            f"The storage {_without_password(storage)!r} can't be opened ({kind}): storage= takes an address such as "
            '"sqlite:///search.db", in a folder that is there.'
        )

    def through(self, run: Runner, evaluate: Callable[[Task], Any], tasks: Sequence[Task]) -> list[Any]:
        """Outcomes of the tasks: those kept, and new ones, which are kept from then on."""
        if self._study is None:
            return run(evaluate, tasks)
        kept = {
            tuple(t.user_attrs["task"]): t.user_attrs["outcome"]
            for t in self._study.get_trials(deepcopy=False)
            if t.user_attrs.get("settings") == self.settings
        }
        found = {task: self._load(**values) for task, values in kept.items() if task in tasks}
        if run is local:  # what is finished is kept at once, so that Ctrl-C loses one candidate, not a rung
            for task in tasks:
                if task not in found:
                    found[task] = evaluate(task)
                    self._keep(task, found[task])
        else:
            missing = [task for task in tasks if task not in found]
            for task, outcome in zip(missing, run(evaluate, missing) if missing else [], strict=True):
                found[task] = outcome
                self._keep(task, outcome)
        return [found[task] for task in tasks]

    def _keep(self, task: Task, outcome: Any) -> None:
        attributes = {"task": list(task), "outcome": asdict(outcome), "settings": self.settings}
        failed = self._optuna.trial.TrialState.FAIL
        done = {"value": outcome.score} if outcome.score == outcome.score else {"state": failed}
        self._study.add_trial(self._optuna.trial.create_trial(user_attrs=attributes, **done))


def _without_password(address: str) -> str:
    return re.sub(r"(?<=://)[^/@]*@", "", str(address))


def _need(module: str, extra: str) -> Any:
    try:
        return import_module(module)
    except ImportError as error:
        text = f"This search needs {module} ({error}). Run: pip install 'torchbp[{extra}]'"
        raise MissingDependencyError(text) from error
