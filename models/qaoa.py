"""`QAOA`: a partition of a weighted graph's nodes that cuts as much weight as possible."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch import Tensor

from torchbp.arguments import checked, whole_number
from torchbp.arguments.kinds import anything
from torchbp.backends.shots import Sampler
from torchbp.circuits import Circuit, global_z, maxcut, qaoa
from torchbp.errors import CapacityError, InputError
from torchbp.models.energy import EnergyModule

Edge = tuple[int, int, float]
Graph = Iterable[Sequence[float]] | Tensor | np.ndarray

_MOST_NODES = 24


@dataclass(frozen=True)
class Cut:
    """A partition of the nodes, and the weight of the edges between its two sides.

    Attributes:
        sides: 0 or 1 for each node.
        weight: sum of w_ij over edges whose ends lie on different sides.
    """

    sides: tuple[int, ...]
    weight: float


class QAOA(EnergyModule):
    """Quantum approximate optimization of MaxCut (Farhi 2014, 1411.4028): minimizes minus the expected cut.

    Logs `energy` (minus the expected weight of the cut). Then `solution()` measures the circuit and returns the best
    cut it saw. An expected cut near the optimum is more than is needed: one sample at the optimum is a solution.

    Args:
        graph: edges (i, j) or (i, j, weight), nodes counted from 0; or a symmetric matrix (n, n) of weights, as an
            array or tensor. Weights are finite reals.
        depth: layers p, with two weights each.
        n_nodes: if the graph has nodes beyond the last one with an edge.
        ansatz: a circuit of one's own in place of `circuits.qaoa`, with a wire for every node.
        init: as for `QuantumLayer`; default: `linear_ramp` for QAOA's own circuit, "gaussian" for another.
        options: `shots`, `noise`, `backend`, `generator`, `optimizer`, `learning_rate`, `steps_per_epoch`; see
            `EnergyModule`.

    Raises:
        InputError: the graph has no edges, an edge that is none, or a matrix that is not symmetric.
        CircuitError: the ansatz has another number of wires.
        InputError: a depth that is not a whole number.

    Example:
        >>> model = QAOA([(0, 1), (1, 2, 0.5), (2, 3), (3, 0), (0, 2)], depth=3, shots=500)
        >>> L.Trainer(max_steps=100).fit(model)
        >>> model.solution(), model.approximation_ratio()
    """

    @checked(graph=anything, ansatz=anything)
    def __init__(
        self,
        graph: Graph,
        depth: int = 2,
        *,
        n_nodes: int | None = None,
        ansatz: Circuit | None = None,
        init: Any = None,
        **options: Any,
    ) -> None:
        edges, n_wires = _edges(graph, n_nodes)
        cost = maxcut(edges)
        if ansatz is not None and (not isinstance(ansatz, Circuit) or ansatz.n_wires != n_wires or ansatz.n_features):
            raise InputError(
                f"The ansatz is a Circuit without features, with a wire for each of {n_wires} nodes; got {ansatz!r}."
            )
        circuit = qaoa(cost, n_wires, depth) if ansatz is None else ansatz
        if init is None:
            init = linear_ramp if ansatz is None else "gaussian"
        super().__init__(circuit, cost, init=init, **options)
        self.edges = edges
        self.n_nodes = n_wires
        self.remember(options, graph=[list(edge) for edge in edges], depth=depth, n_nodes=n_wires)

    def sample(self, n_samples: int = 1024, generator: torch.Generator | None = None) -> Tensor:
        """Measured sides (n_samples, n_nodes), 0 or 1, at the present weights; noise included, counted as shots.

        Args:
            n_samples: measurements, at least 1.
            generator: of the outcomes; the layer's own one if left out.

        Raises:
            InputError: n_samples is not a whole number of at least 1.
        """
        shots = whole_number("n_samples", n_samples, 1)
        layer, n = self.quantum, self.n_nodes
        sampler = Sampler(layer.circuit, [global_z(n)])
        with torch.no_grad():
            angles = sampler.angles(layer.weights.new_empty(1, 0), layer.weights)
            ((distribution,),) = sampler.outcome_probabilities(layer.backend, angles, None)
        draws = torch.multinomial(
            distribution[0].cpu(), shots, replacement=True, generator=generator or layer.shot_generator
        )
        layer._meter.used += shots
        return (draws[:, None] >> torch.arange(n - 1, -1, -1)) & 1

    def cut_weight(self, sides: Tensor) -> Tensor:
        """Weight of the edges cut, (...,) float64, for sides (..., n_nodes)."""
        return _cut_weights(sides, self.edges)

    def solution(self, n_samples: int = 1024, generator: torch.Generator | None = None) -> Cut:
        """The best cut among `n_samples` measurements; arguments as in `sample`."""
        sides = self.sample(n_samples, generator)
        weights = self.cut_weight(sides)
        best = int(weights.argmax())
        return Cut(tuple(sides[best].tolist()), float(weights[best]))

    @cached_property
    def optimum(self) -> Cut:
        """A cut of the greatest weight, by trying all of them.

        Raises:
            CapacityError: more than 24 nodes.
        """
        return best_cut(self.edges, self.n_nodes)

    def approximation_ratio(self) -> float:
        """Expected weight of the cut over the greatest, from the exact energy without noise; 1 is optimal.

        Raises:
            CapacityError: more than 24 nodes, for which the greatest is not known.
            InputError: no cut has a positive weight, so there is nothing to compare with.
        """
        if self.optimum.weight <= 0:
            raise InputError("No cut of this graph has a positive weight: the approximation ratio is not defined.")
        return -self.exact_energy() / self.optimum.weight


def linear_ramp(circuit: Circuit, generator: torch.Generator | None = None, *, dt: float = 0.75) -> Tensor:
    """Weights of `circuits.qaoa` that anneal in p steps: gamma_l = s dt, beta_l = -(1 - s) dt, s = (l + 1/2) / p.

    From Sack and Serbyn 2021 (2101.05742), who find dt near 0.75 good on unweighted 3-regular graphs. Takes no random
    numbers. The sign of beta belongs to minimizing the cost from |+>.

    Raises:
        InputError: the circuit has not two weights for each layer.
    """
    pairs = circuit.n_weights // 2
    if circuit.n_weights != 2 * len(circuit.layers) or not pairs:
        raise InputError(
            f"linear_ramp is for circuits.qaoa, with 2 weights for each layer; this circuit has {circuit.n_weights} "
            f'in {len(circuit.layers)} layers: take init="gaussian".'
        )
    s = (torch.arange(pairs) + 0.5) / pairs
    return torch.stack([s * dt, (s - 1) * dt], dim=1).flatten()


def best_cut(edges: Iterable[Edge], n_nodes: int) -> Cut:
    """A cut of the greatest weight, by trying all 2^(n-1); node 0 is on side 0.

    Raises:
        CapacityError: more than 24 nodes.
    """
    if n_nodes > _MOST_NODES:
        raise CapacityError(
            f"All cuts can be tried for at most {_MOST_NODES} nodes, got {n_nodes}: compare with a known optimum."
        )
    edges, best, chunk = list(edges), Cut((0,) * n_nodes, 0.0), 2**18
    for first in range(0, 2 ** (n_nodes - 1), chunk):
        numbers = torch.arange(first, min(first + chunk, 2 ** (n_nodes - 1)))
        sides = (numbers[:, None] >> torch.arange(n_nodes - 1, -1, -1)) & 1
        weights = _cut_weights(sides, edges)
        top = int(weights.argmax())
        if weights[top] > best.weight:
            best = Cut(tuple(sides[top].tolist()), float(weights[top]))
    return best


def _cut_weights(sides: Tensor, edges: Iterable[Edge]) -> Tensor:
    total = torch.zeros(sides.shape[:-1], dtype=torch.float64)
    for a, b, weight in edges:
        total += weight * (sides[..., a] != sides[..., b]).double()
    return total


def _edges(graph: Graph, n_nodes: int | None) -> tuple[list[Edge], int]:
    """The edges, and how many nodes there are."""
    if isinstance(graph, Tensor | np.ndarray):
        matrix = np.asarray(graph, dtype=float)
        if matrix.ndim != 2 or not np.array_equal(matrix, matrix.T) or not np.isfinite(matrix).all():
            raise InputError(
                f"A graph as a matrix is symmetric, (n, n), finite; got shape {matrix.shape}. Edges (i, j, weight) go "
                "in a list."
            )
        rows, columns = np.triu(matrix, 1).nonzero()
        edges = [(int(a), int(b), float(matrix[a, b])) for a, b in zip(rows, columns, strict=True)]
        least = len(matrix)
    else:
        try:
            given = list(graph)
        except TypeError:
            raise InputError(
                f"A graph is a list of edges (i, j) or (i, j, weight), or a matrix of weights; got {graph!r}."
            ) from None
        edges = [_edge(edge) for edge in given]
        least = max((max(a, b) + 1 for a, b, _ in edges), default=1)
    if not edges:
        raise InputError("The graph has no edges: nothing can be cut.")
    return edges, least if n_nodes is None else whole_number("n_nodes", n_nodes, least)


def _edge(edge: Any) -> Edge:
    try:
        a, b, weight = (*edge, 1.0) if len(edge) == 2 else edge
        ends, weight = (int(a), int(b)), float(weight)
    except (TypeError, ValueError):
        ends, weight = (0, 0), math.nan
    if ends[0] == ends[1] or min(ends) < 0 or ends != (edge[0], edge[1]) or not math.isfinite(weight):
        raise InputError(f"An edge is (i, j) or (i, j, weight) with different nodes counted from 0, got {edge!r}.")
    return *ends, weight
