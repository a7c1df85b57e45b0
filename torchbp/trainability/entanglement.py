"""How entangled a circuit's states are at random weights: Meyer-Wallach, and Rényi entropy against the Page value."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor

from torchbp.arguments import checked
from torchbp.backends import Backend
from torchbp.circuits import Circuit, given
from torchbp.circuits.initializers import Initializer
from torchbp.diagnosis.entropy import page_renyi2, range_of, renyi2_entropy
from torchbp.errors import InputError
from torchbp.trainability.states import drawn_states

WEAK_PLATEAU = 0.5
"""Share of the Page value from which on Sack 2022 warns of a weak barren plateau."""


@dataclass(frozen=True)
class EntanglingCapability:
    """Mean Meyer-Wallach entanglement over random weights.

    Attributes:
        value: 0 for product states, 1 where every wire alone is maximally mixed.
        standard_error: of the mean over draws.
        haar: mean over Haar-random states, (2^n - 2) / (2^n + 1).
        samples: draws.
    """

    value: float
    standard_error: float
    haar: float
    samples: int

    def to_dict(self) -> dict[str, Any]:
        """As numbers for JSON."""
        return asdict(self)


@checked(circuit=given.circuit)
def entangling_capability(
    circuit: Circuit,
    *,
    samples: int = 1000,
    init: str | Initializer = "uniform",
    x: Tensor | None = None,
    backend: str | Backend = "fused",
    generator: torch.Generator | None = None,
) -> EntanglingCapability:
    """Ent = mean over weights of Q = 2 (1 - mean_k Tr rho_k^2) (Sim 2019, 1905.10876, eq. 12).

    With rho_k the state of wire k alone: Brennen's form of the Meyer-Wallach measure (quant-ph/0305094). It does not
    tell a GHZ state from states with far more entanglement, as both have Q = 1.

    Args:
        circuit: two wires or more.
        samples: draws of the weights.
        init, x, backend, generator: as for `expressibility`.

    Raises:
        InputError: one wire, too few samples, or inputs that do not fit.
    """
    n = _several(circuit)
    values = []
    for (states,) in drawn_states(circuit, samples, init=init, x=x, backend=backend, generator=generator):
        purities = torch.stack([(-renyi2_entropy(states, (w,))).exp() for w in range(n)]).double()
        values.append(2 * (1 - purities.mean(0)))
    found = torch.cat(values)
    return EntanglingCapability(
        float(found.mean()), float(found.std()) / math.sqrt(samples), (2**n - 2) / (2**n + 1), samples
    )


@dataclass(frozen=True)
class EntanglementEntropy:
    """Mean second Rényi entropy of small subsystems over random weights, in nats.

    Attributes:
        value: mean over draws and over all subsystems of `k` neighbouring wires.
        standard_error: of the mean over draws.
        page: the Page value, that of Haar-random states.
        k: wires in a subsystem.
        samples: draws.
    """

    value: float
    standard_error: float
    page: float
    k: int
    samples: int

    @property
    def ratio(self) -> float:
        """Share of the Page value."""
        return self.value / self.page

    @property
    def weak_plateau(self) -> bool:
        """Whether the share is above 0.5, where Sack 2022 (2201.08194) warns of a weak barren plateau."""
        return self.ratio >= WEAK_PLATEAU

    def to_dict(self) -> dict[str, Any]:
        """As primitives for JSON."""
        return {**asdict(self), "ratio": self.ratio, "weak_plateau": self.weak_plateau}


@checked(circuit=given.circuit)
def entanglement_entropy(
    circuit: Circuit,
    *,
    k: int | None = None,
    samples: int = 256,
    init: str | Initializer = "uniform",
    x: Tensor | None = None,
    backend: str | Backend = "fused",
    generator: torch.Generator | None = None,
) -> EntanglementEntropy:
    """S2 = -ln Tr rho_A^2 of subsystems A at random weights, against the Page value: a warning before training.

    States whose small subsystems are as mixed as those of random states have vanishing gradients for local
    observables. It says nothing of global observables, which have plateaus without any entanglement, and a start with
    little entanglement may lead into much.

    Args:
        circuit: two wires or more.
        k: wires in a subsystem, 1 to n - 1; 2 if left out, 1 on fewer than four wires.
        samples: draws of the weights.
        init, x, backend, generator: as for `expressibility`.

    Raises:
        InputError: one wire, no such subsystem, too few samples, or inputs that do not fit.
    """
    n = _several(circuit)
    size = (2 if n >= 4 else 1) if k is None else k
    page = page_renyi2(n, size)
    values = []
    for (states,) in drawn_states(circuit, samples, init=init, x=x, backend=backend, generator=generator):
        values.append(torch.stack([renyi2_entropy(states, range_of(w, size, n)) for w in range(n)]).double().mean(0))
    found = torch.cat(values)
    return EntanglementEntropy(float(found.mean()), float(found.std()) / math.sqrt(samples), page, size, samples)


def _several(circuit: Circuit) -> int:
    if circuit.n_wires < 2:
        raise InputError("Entanglement needs at least 2 wires, the circuit has 1.")
    return circuit.n_wires
