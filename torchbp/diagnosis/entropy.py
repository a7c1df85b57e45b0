"""Entanglement of small subsystems against the Page value: the weak-barren-plateau criterion of Sack 2022."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from torchbp.errors import InputError


def renyi2_entropy(states: Tensor, wires: tuple[int, ...] | list[int]) -> Tensor:
    """Second Rényi entropy S2 = -ln Tr(rho_A^2) of a subsystem A, in nats.

    Args:
        states: pure states (B, 2^n), complex, normalized; wire 0 most significant.
        wires: the wires of A.

    Returns:
        (B,), between 0 (product state) and k ln 2 (maximally mixed).

    Raises:
        InputError: states that are not (B, 2^n), or wires that are not distinct wires of theirs.
    """
    n = states.shape[-1].bit_length() - 1
    if states.ndim != 2 or states.shape[1] != 2**n:
        raise InputError(f"States must have shape (batch, 2^n), got {tuple(states.shape)}.")
    if not wires or len(set(wires)) != len(wires) or not set(wires) <= set(range(n)):
        raise InputError(f"A subsystem is one or more distinct wires from 0 to {n - 1}, got {list(wires)}.")
    rest = [w for w in range(n) if w not in wires]
    order = [0, *(w + 1 for w in (*wires, *rest))]
    matrix = states.reshape(-1, *[2] * n).permute(order).reshape(len(states), 2 ** len(wires), -1)
    rho = matrix @ matrix.mH
    return -rho.abs().square().sum((1, 2)).log()


def page_renyi2(n_wires: int, k: int) -> float:
    """The Page value of S2: k wires of a Haar-random n-wire state, in nats.

    Minus the logarithm of the mean purity (d_A + d_B) / (d_A d_B + 1) (Lubkin 1978, eq. 14), which for k < n / 2 is
    close to k ln 2 - 2^(2k - n).
    """
    if not 1 <= k < n_wires:
        raise InputError(f"A subsystem has 1 to {n_wires - 1} wires, got {k}.")
    a, b = 2**k, 2 ** (n_wires - k)
    return -math.log((a + b) / (a * b + 1))


def entanglement_ratio(states: Tensor, k: int | None = None) -> float:
    """Mean S2 over contiguous subsystems of k wires and over the batch, divided by the Page value.

    Sack 2022 (2201.08194) warns of a weak barren plateau from a threshold on, 0.5 by default there; near 1 the states
    look random to every k-local observable. It says nothing of global observables, which have plateaus without
    entanglement.

    Args:
        states: (B, 2^n).
        k: wires in a subsystem; 2 if left out, 1 on fewer than four wires.
    """
    n = states.shape[-1].bit_length() - 1
    size = (2 if n >= 4 else 1) if k is None else k
    if n < 2:
        return 0.0
    entropies = torch.stack([renyi2_entropy(states, range_of(w, size, n)) for w in range(n)])
    return float(entropies.mean()) / page_renyi2(n, size)


def range_of(first: int, size: int, n_wires: int) -> list[int]:
    """`size` neighbouring wires from `first` on, around the ring."""
    return [(first + i) % n_wires for i in range(size)]
