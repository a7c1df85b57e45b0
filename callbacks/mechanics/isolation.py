"""Evaluate a LightningModule's training loss in the middle of a fit, as if it had never happened."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import Any

from torch import Tensor
from torch.optim import Optimizer

from torchbp.errors import InputError
from torchbp.gradients.isolation import undisturbed

LossFunction = Callable[[Any, Any], Tensor]


@contextmanager
def training_loss(
    trainer: Any, module: Any, batch_idx: int = 0, loss_fn: LossFunction | None = None
) -> Iterator[Callable[[Any], Tensor | None]]:
    """A function from a batch to its training loss, to be called inside the block and differentiated by autograd.

    It calls the module's own `training_step`, past a distributed wrapper (whose reducer stays unarmed), under the
    trainer's precision. Meanwhile logging goes nowhere, optimizers and schedulers do not step, and `manual_backward`
    only notes its loss; on leaving, everything else that the step touched is put back (see `undisturbed`).

    Args:
        trainer: of `lightning` or `pytorch_lightning`; no class of either is asked for.
        module: the LightningModule.
        batch_idx: handed to the training step.
        loss_fn: `(module, batch) -> loss` instead of the training step.

    The function returns None where the step does ("skip this batch"). It takes the loss handed to `manual_backward`
    where there was exactly one, else the one returned.

    Raises:
        InputError: the step fetches its own batches (`dataloader_iter`), or hands several losses to
            `manual_backward` and returns none.
    """
    step = module.training_step
    if loss_fn is None and "dataloader_iter" in inspect.signature(step).parameters:
        raise InputError(
            "training_step(dataloader_iter) fetches its own batches, so it can't be evaluated on a part of one: "
            "pass loss_fn=, a function (module, batch) -> loss."
        )
    noted: list[Tensor] = []

    def loss(batch: Any) -> Tensor | None:
        noted.clear()
        with trainer.precision_plugin.train_step_context():
            if loss_fn is not None:
                return loss_fn(module, batch)
            output = step_output(module, batch, batch_idx)
        return _loss_of(output, noted)

    with undisturbed(module), ExitStack() as undo:
        _silence(trainer, undo)
        vars(module).update(_stubs(module, noted))  # instance attributes hide the class's methods
        yield loss


def probing(module: Any) -> bool:
    """Whether `module` is called by `training_loss` at this moment, and not by the training itself."""
    return isinstance(vars(module).get("manual_backward"), _NotedBackward)


def _loss_of(output: Any, noted: list[Tensor]) -> Tensor | None:
    if len(noted) == 1:
        return noted[0]
    found = output.get("loss") if isinstance(output, Mapping) else output
    if found is None and noted:
        raise InputError(
            f"training_step handed {len(noted)} losses to manual_backward and returned none, so which one the "
            "gradient is of can't be told: return one, or pass loss_fn=, a function (module, batch) -> loss."
        )
    return found


def step_output(module: Any, batch: Any, batch_idx: int) -> Any:
    """What the module's own `training_step` returns, with as many arguments as it takes."""
    step = module.training_step
    return step(batch, batch_idx) if _takes_index(step) else step(batch)


def _takes_index(step: Callable[..., Any]) -> bool:
    parameters = inspect.signature(step).parameters
    return "batch_idx" in parameters or len(parameters) >= 2


def _silence(trainer: Any, undo: ExitStack) -> None:
    """Loggers that swallow everything, optimizers that do not move, and a stop that is not heard."""
    strategy = trainer.strategy
    for owner, name, stand_in in (
        (trainer, "loggers", [_Nothing() for _ in trainer.loggers]),
        (trainer, "should_stop", trainer.should_stop),
        (strategy, "_optimizers", [_StillOptimizer(o) for o in strategy._optimizers]),
        (
            strategy,
            "_lightning_optimizers",
            [_StillOptimizer(o.optimizer) for o in strategy._lightning_optimizers],
        ),
    ):
        undo.callback(setattr, owner, name, getattr(owner, name))
        setattr(owner, name, stand_in)


def _stubs(module: Any, noted: list[Tensor]) -> dict[str, Callable[..., Any]]:
    schedulers = module.lr_schedulers()
    if schedulers is not None:
        one = not isinstance(schedulers, list)
        schedulers = _StillScheduler(schedulers) if one else [_StillScheduler(s) for s in schedulers]
    quiet = ("log", "log_dict", "clip_gradients", "toggle_optimizer", "untoggle_optimizer")
    return {
        **dict.fromkeys(quiet, _nothing),
        "manual_backward": _NotedBackward(noted),
        "lr_schedulers": lambda: schedulers,
    }


def _nothing(*args: Any, **kwargs: Any) -> None:
    return None


class _NotedBackward:
    """A `manual_backward` that only notes its loss."""

    def __init__(self, noted: list[Tensor]) -> None:
        self._noted = noted

    def __call__(self, loss: Tensor, *args: Any, **kwargs: Any) -> None:
        self._noted.append(loss)


class _Nothing:
    """A logger, an experiment, or anything asked of them."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):  # what copy, pickle and inspect ask any object for
            raise AttributeError(name)
        return self

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self


class _StillOptimizer(Optimizer):
    """An optimizer that can be read but not moved; an Optimizer by class, because Lightning asks for one."""

    def __init__(self, real: Optimizer) -> None:
        hooked = ("step", "zero_grad")  # schedulers put a step of their own into the instance
        vars(self).update({key: value for key, value in vars(real).items() if key not in hooked})

    @property
    def optimizer(self) -> Optimizer:
        """What Lightning's wrapper around an optimizer has."""
        return self

    def step(self, closure: Any = None, *args: Any, **kwargs: Any) -> Any:
        return None if closure is None else closure()

    def zero_grad(self, *args: Any, **kwargs: Any) -> None:
        return None

    @contextmanager
    def toggle_model(self, *args: Any, **kwargs: Any) -> Iterator[None]:
        yield


class _StillScheduler:
    """A scheduler that can be read but not moved."""

    def __init__(self, real: Any) -> None:
        self._real = real

    def step(self, *args: Any, **kwargs: Any) -> None:
        return None

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return getattr(self._real, name)
