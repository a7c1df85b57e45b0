"""How evenly a circuit's states fill the space of states: distance of its fidelities from those of Haar states."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from scipy.special import gammaln, xlogy
from torch import Tensor

from torchbp.arguments import checked, whole_number
from torchbp.backends import Backend
from torchbp.circuits import Circuit, given
from torchbp.circuits.initializers import Initializer
from torchbp.trainability.states import drawn_states


@dataclass(frozen=True)
class Expressibility:
    """What the fidelities F = |<psi(w)|psi(w')>|^2 of pairs of random weights say.

    Attributes:
        kl: KL divergence of their histogram from that of Haar-random states, in nats; small is expressive. At most
            (2^n - 1) ln(bins / (bins - 1)), for a circuit that always prepares one state.
        standard_error: of `kl`, from the histogram's counts.
        floor: expected value of `kl` for Haar-random states with as many pairs: what can't be told from zero.
        frame_potential: the second one, mean of F^2, with its standard error in `frame_error`.
        haar: its smallest value, 2 / (N (N + 1)) with N = 2^n, which only 2-designs reach.
        histogram, haar_histogram: shares of the bins on [0, 1].
        samples: pairs.
        n_wires: of the circuit.
    """

    kl: float
    standard_error: float
    floor: float
    frame_potential: float
    frame_error: float
    haar: float
    histogram: tuple[float, ...]
    haar_histogram: tuple[float, ...]
    samples: int
    n_wires: int

    def to_dict(self) -> dict[str, Any]:
        """As numbers for JSON."""
        return asdict(self)


@checked(circuit=given.circuit)
def expressibility(
    circuit: Circuit,
    *,
    samples: int = 5000,
    bins: int = 75,
    init: str | Initializer = "uniform",
    x: Tensor | None = None,
    backend: str | Backend = "fused",
    generator: torch.Generator | None = None,
) -> Expressibility:
    """Expr = D_KL(P(F) || P_Haar(F)), P_Haar(F) = (N - 1) (1 - F)^(N - 2) (Sim 2019, 1905.10876, eq. 9).

    An expressive circuit has small gradients (Holmes 2022, PRX Quantum 3:010313): this is no score to maximize. With
    many wires the histogram sees nothing, as all fidelities of Haar states fall into its first bin (from about 10 wires
    with 75 bins); the frame potential, next to its smallest value, still tells.

    Args:
        circuit: any circuit.
        samples: pairs of random weights.
        bins: of the histogram on [0, 1]; 75 in the paper, and values of different bins don't compare.
        init: where weights are drawn from.
        x: inputs (B, F) for a circuit with features; both states of a pair have the same.
        backend: gives the states.
        generator: source of the draws; torch's global one if left out.

    Raises:
        InputError: too few samples or bins, or inputs that do not fit.
    """
    whole_number("bins", bins, 2)
    drawn = drawn_states(circuit, samples, init=init, x=x, backend=backend, generator=generator, copies=2)
    overlaps = torch.cat([(one.conj() * other).sum(1).abs().square() for one, other in drawn])
    fidelities = overlaps.cpu().double().clamp(0, 1).numpy()
    size = 2.0**circuit.n_wires
    edges = np.linspace(0, 1, bins + 1)
    found = np.histogram(fidelities, edges)[0] / samples
    # exp and log1p keep the digits of bins in which a Haar state practically never is.
    with np.errstate(divide="ignore"):
        log_haar = (size - 1) * np.log1p(-edges[:-1]) + np.log1p(
            -np.exp((size - 1) * (np.log1p(-edges[1:]) - np.log1p(-edges[:-1])))
        )
    logs = np.where(found > 0, np.log(np.where(found > 0, found, 1)) - log_haar, 0.0)
    kl = float((found * logs).sum())
    spread = float((found * logs**2).sum()) - kl**2
    squares = np.square(fidelities)
    return Expressibility(
        kl=kl,
        standard_error=math.sqrt(max(0.0, spread) / samples),
        floor=_expected_kl(np.exp(log_haar), samples),
        frame_potential=float(squares.mean()),
        frame_error=float(squares.std(ddof=1)) / math.sqrt(samples),
        haar=2 / (size * (size + 1)),
        histogram=tuple(found.tolist()),
        haar_histogram=tuple(np.exp(log_haar).tolist()),
        samples=samples,
        n_wires=circuit.n_wires,
    )


def _expected_kl(p: np.ndarray, samples: int) -> float:
    """E[KL] of the histogram of `samples` draws from the distribution p itself: each count is binomial."""
    k = np.arange(1, samples + 1)
    choose = gammaln(samples + 1) - gammaln(k + 1) - gammaln(samples - k + 1)
    total = 0.0
    for q in p[p > 0]:
        log_weight = (
            choose + k * math.log(q) + (xlogy(samples - k, 1 - q) if q < 1 else np.where(k < samples, -np.inf, 0))
        )
        total += float((np.exp(log_weight) * (k / samples) * (np.log(k / samples) - math.log(q))).sum())
    return max(0.0, total)
