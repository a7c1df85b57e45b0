"""States of a circuit at random weights."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from torchbp.arguments import whole_number
from torchbp.backends import Backend
from torchbp.circuits import Circuit, initialize
from torchbp.circuits.initializers import Initializer
from torchbp.errors import InputError
from torchbp.layer import QuantumLayer

_AMPLITUDES = 2**22
"""Held at once."""


def drawn_states(
    circuit: Circuit,
    samples: int,
    *,
    init: str | Initializer = "uniform",
    x: Tensor | None = None,
    backend: str | Backend = "fused",
    generator: torch.Generator | None = None,
    copies: int = 1,
) -> Iterator[Tensor]:
    """States (copies, s, 2^n) in chunks, s adding up to `samples`; each copy at weights of its own.

    Draw number i takes the input number i mod B, the same for all copies.

    Raises:
        InputError: no samples, or inputs that do not fit.
    """
    whole_number("samples", samples, 2)
    start, own = torch.zeros(circuit.n_weights), torch.Generator()  # the global one is left alone
    layer = QuantumLayer(circuit, "Z0", backend=backend, init=start, generator=own)
    inputs = layer._check(x, None)[0].detach()
    if not len(inputs):
        raise InputError("States are prepared from at least one input: give one in x, or None for circuits without.")
    step = max(1, (_AMPLITUDES >> layer.n_wires) // copies)
    for first in range(0, samples, step):
        count = min(step, samples - first)
        draws = [initialize(init, circuit, generator) for _ in range(copies * count)]
        rows = inputs[torch.arange(first, first + count) % len(inputs)].repeat(copies, 1)
        with torch.no_grad():
            states = layer.backend.states(circuit, rows, torch.stack(draws).to(inputs))
        yield states.view(copies, count, -1)
