"""DeepQuantum's `QubitCircuit`: a module whose gates own their angles."""

from __future__ import annotations

from typing import Any

import torch

from torchbp.circuits.repetitions import repetitions
from torchbp.translation.adapters.adapter import Adapter, Layers


def layers(circuit: Any) -> Layers:
    """The repetitions of its trainable gates: "layer0", "layer1", ..."""
    gates = list(circuit.operators)
    keys = [
        ((type(g).__name__, *map(tuple, (g.wires, getattr(g, "controls", ())))), tuple(g.parameters())) for g in gates
    ]
    return {
        f"layer{i}": [(p, torch.arange(p.numel())) for position in positions for p in keys[position][1]]
        for i, positions in enumerate(repetitions(keys))
    }


DEEPQUANTUM = Adapter("deepquantum", ("QubitCircuit",), layers, n_wires=lambda circuit: circuit.nqubit)
