"""What a layer is given: features and initial states that fit, or an error that says why not."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from torchbp.backends.base import COMPLEX, has_values
from torchbp.circuits import Circuit
from torchbp.errors import InputError


def check_features(x: Tensor | None, count: int, weights: Tensor) -> Tensor:
    """The features (B, count), real and finite, where the weights are.

    Raises:
        InputError: they are not.
    """
    if not isinstance(x, Tensor):
        got = "nothing" if x is None else type(x).__name__
        raise InputError(f"The circuit needs a tensor of features of shape (batch, {count}), got {got}.")
    if x.ndim != 2 or x.shape[1] != count:
        raise InputError(
            f"The circuit reads {count} features: x must have shape (batch, {count}), got {tuple(x.shape)}."
        )
    if x.is_complex():
        raise InputError("Features are angles or amplitudes in real numbers, got a complex tensor.")
    if x.device != weights.device:
        raise InputError(f"x is on {x.device}, the layer on {weights.device}: move one with .to().")
    # A finite sum is the cheap proof; large finite values may overflow it.
    if has_values(x) and not math.isfinite(x.detach().sum().item()) and not bool(torch.isfinite(x).all()):
        bad = torch.nonzero(~torch.isfinite(x))[0].tolist()
        raise InputError(
            f"x holds NaN or infinity, first at sample {bad[0]}, feature {bad[1]}: check the data and the layer "
            "before this one (a learning rate too high, a division by zero, a missing value)."
        )
    return x


def check_state(state: Tensor, circuit: Circuit, weights: Tensor) -> Tensor:
    """Amplitudes (B, 2^n), complex, to start the circuit from.

    Raises:
        InputError: another shape, or the circuit encodes amplitudes itself.
    """
    size = 2**circuit.n_wires
    if circuit.n_amplitudes:
        raise InputError("The circuit encodes amplitudes itself, so it can't start from a given initial_state.")
    if state.ndim not in (1, 2) or state.shape[-1] != size:
        raise InputError(f"initial_state must have shape (batch, {size}) or ({size},), got {tuple(state.shape)}.")
    return state.reshape(-1, size).to(COMPLEX[weights.dtype])
