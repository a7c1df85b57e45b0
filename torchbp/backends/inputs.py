"""What a layer is given: features and initial states that fit, or an error that says why not."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from torchbp.backends.base import COMPLEX, has_values
from torchbp.circuits import Circuit
from torchbp.errors import InputError

_NORM_TOLERANCE = 1e-4  # far above rounding in float32, far below what shows in a result


def check_features(x: Tensor | None, count: int, weights: Tensor) -> Tensor:
    """The features (..., count), real and finite, where the weights are.

    Raises:
        InputError: they are not.
    """
    if not isinstance(x, Tensor):
        got = "nothing" if x is None else type(x).__name__
        raise InputError(f"The circuit needs a tensor of features of shape (batch, {count}), got {got}.")
    if x.ndim == 0 or x.shape[-1] != count:
        raise InputError(
            f"The circuit reads {count} features: x must have shape (batch, {count}) or (..., {count}), got "
            f"{tuple(x.shape)}."
        )
    if x.is_complex():
        raise InputError("Features are angles or amplitudes in real numbers, got a complex tensor.")
    if x.device != weights.device:
        raise InputError(f"x is on {x.device}, the layer on {weights.device}: move one with .to().")
    # A finite sum is the cheap proof; large finite values may overflow it.
    if has_values(x) and not math.isfinite(x.detach().sum().item()) and not bool(torch.isfinite(x).all()):
        *sample, column = torch.nonzero(~torch.isfinite(x))[0].tolist()
        which = f"sample {', '.join(map(str, sample))}, " if sample else ""
        raise InputError(
            f"x holds NaN or infinity, first at {which}feature {column}: check the data and the layer "
            "before this one (a learning rate too high, a division by zero, a missing value)."
        )
    return x


def check_state(state: Tensor, circuit: Circuit, weights: Tensor) -> Tensor:
    """Amplitudes (..., 2^n), complex, to start the circuit from.

    Raises:
        InputError: another shape, or the circuit encodes amplitudes itself.
    """
    size = 2**circuit.n_wires
    if circuit.n_amplitudes:
        raise InputError("The circuit encodes amplitudes itself, so it can't start from a given initial_state.")
    if not isinstance(state, Tensor) or state.ndim == 0 or state.shape[-1] != size:
        got = tuple(state.shape) if isinstance(state, Tensor) else type(state).__name__
        raise InputError(f"initial_state must have shape (batch, {size}) or ({size},), got {got}.")
    return state.to(COMPLEX[weights.dtype])


def start_for_each(state: Tensor, leading: torch.Size) -> Tensor:
    """(B, 2^n), a state for each sample of a batch with these leading dimensions, from one for each or one for all.

    Raises:
        InputError: as many states as there are samples, or one, were needed, and all of norm 1.
    """
    count = state.shape[:-1].numel()
    if count != 1 and state.shape[:-1] != leading:
        raise InputError(
            f"initial_state holds {count} states of shape {tuple(state.shape[:-1])} for samples of shape "
            f"{tuple(leading)}: give one for each sample, or one for all."
        )
    if has_values(state):
        norms = torch.linalg.vector_norm(state.detach(), dim=-1).reshape(-1)
        wrong = torch.nonzero(~((norms - 1).abs() < _NORM_TOLERANCE))  # also where it is NaN
        if len(wrong):
            first = int(wrong[0])
            raise InputError(
                f"A state has norm 1, initial_state has norm {float(norms[first]):.4g}"
                f"{f' for sample {first}' if len(norms) > 1 else ''}: divide it by "
                "initial_state.norm(dim=-1, keepdim=True), and check it for zeros and NaN."
            )
    return state.reshape(count, state.shape[-1]).expand(leading.numel(), -1)
