"""What optimizers remember of parameters, and how to make them forget: momentum of weights that are gone is harmful."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

_FRESH = {  # what per-element state starts from where that is not zero, by class and key
    ("Adagrad", "sum"): "initial_accumulator_value",
    ("Rprop", "step_size"): "lr",
}


def raw_optimizers(trainer: Any) -> list[Optimizer]:
    """The trainer's optimizers without Lightning's wrapper, whose state is another object's."""
    return [getattr(optimizer, "optimizer", optimizer) for optimizer in trainer.strategy.optimizers]


def forget(optimizer: Optimizer, elements: Mapping[nn.Parameter, Tensor]) -> None:
    """Clear what the optimizer knows of these elements of its parameters.

    A parameter that is meant as a whole loses its state: the next step is that of a new optimizer, with these
    exceptions: fused SGD can't begin anew, its momentum becomes zero; the state of LBFGS is that of all parameters
    together, and all of it is cleared.

    Where part of a parameter is meant, the moments of these elements alone become what they start from. The number of
    steps belongs to the whole parameter and stays: Adam then doesn't correct the bias of the new moments, so that its
    first steps are up to (1 - beta1) / sqrt(1 - beta2), with its defaults 3.2, times as large as a new Adam's.

    Args:
        optimizer: a torch optimizer, not Lightning's wrapper.
        elements: (numel,) bool for each parameter; those that are not the optimizer's are ignored.
    """
    for group in optimizer.param_groups:
        for parameter in group["params"]:
            mask = elements.get(parameter)
            if mask is None:
                continue
            if type(optimizer).__name__ == "LBFGS":
                optimizer.state.clear()
                return
            state = optimizer.state.get(parameter)
            if not state:
                continue
            if bool(mask.all()) and not (type(optimizer).__name__ == "SGD" and group.get("fused")):
                optimizer.state.pop(parameter)
            else:
                _clear(state, mask, parameter, type(optimizer).__name__, group)


def _clear(
    state: dict[str, Any], mask: Tensor, parameter: nn.Parameter, optimizer: str, group: Mapping[str, Any]
) -> None:
    for key, value in state.items():
        if isinstance(value, Tensor) and value.shape == parameter.shape:
            start = float(group.get(_FRESH.get((optimizer, key), ""), 0.0))
            chosen = mask.view_as(value).to(value.device)
            value.copy_(torch.where(chosen, value.new_tensor(start), value))


def state_of(optimizer: Optimizer, names: Mapping[nn.Parameter, str]) -> dict[str, dict[str, Any]]:
    """A copy of the optimizer's state, by the names of its parameters: tensors and primitives."""
    return {
        names[parameter]: {k: v.detach().clone() if isinstance(v, Tensor) else v for k, v in state.items()}
        for parameter, state in optimizer.state.items()
        if isinstance(parameter, nn.Parameter) and parameter in names
    }


def restore_state(optimizer: Optimizer, names: Mapping[nn.Parameter, str], saved: Mapping[str, Any]) -> None:
    """Give the optimizer the state that `state_of` copied; learning rates and schedulers are not touched."""
    for group in optimizer.param_groups:
        for parameter in group["params"]:
            optimizer.state.pop(parameter, None)
            if (state := saved.get(names.get(parameter, ""))) is not None:
                scalars_too = bool(group.get("capturable") or group.get("fused"))  # else counters stay on the CPU
                device = parameter.device
                optimizer.state[parameter] = {
                    k: v.to(device if v.ndim or scalars_too else v.device, copy=True) if isinstance(v, Tensor) else v
                    for k, v in state.items()
                }
