"""`FusedBackend`: the default backend, in plain PyTorch on any device."""

from __future__ import annotations

import threading
from collections.abc import Callable, Hashable, Sequence
from dataclasses import replace
from weakref import WeakKeyDictionary

import torch
from torch import Tensor

from torchbp.arguments import checked
from torchbp.backends.angles import AngleMap
from torchbp.backends.base import initial_states, outside_of_traces
from torchbp.backends.fused.adjoint import evaluate, per_sample_gradients
from torchbp.backends.fused.plan import Plan
from torchbp.backends.fused.program import Program, feature_products
from torchbp.backends.fused.readout import Readout
from torchbp.circuits.circuit import Circuit
from torchbp.circuits.observables import PauliSum
from torchbp.circuits.parameters import Parameter

Observables = tuple[PauliSum, ...] | None


class FusedBackend:
    """Exact simulation of whole circuits in a few large operations, with adjoint gradients.

    Args:
        block_wires: largest number of wires of a dense block; chosen by the number of wires if left out.
        store_bytes: memory for states kept between forward and backward. Calls that would take more recompute them,
            in memory that does not grow with depth.
    """

    name = "fused"
    repeatable = True  # the same call, the same states
    traceable = True  # a call can be written down by torch.export

    @checked()
    def __init__(self, block_wires: int | None = None, store_bytes: int = 2**28) -> None:
        self.block_wires, self.store_bytes = block_wires, store_bytes
        self._known: WeakKeyDictionary[Circuit, _Known] = WeakKeyDictionary()
        self._lock = threading.Lock()

    def expectations(
        self,
        circuit: Circuit,
        observables: Sequence[PauliSum],
        x: Tensor,
        weights: Tensor,
        initial_state: Tensor | None = None,
    ) -> Tensor:
        """Expectation values (B, M), see `Backend`."""
        return self._evaluate(circuit, tuple(observables), x, weights, initial_state)

    def states(self, circuit: Circuit, x: Tensor, weights: Tensor, initial_state: Tensor | None = None) -> Tensor:
        """Final states (B, 2^n), see `Backend`."""
        return self._evaluate(circuit, None, x, weights, initial_state)

    def collecting_expectations(
        self,
        circuit: Circuit,
        observables: Sequence[PauliSum],
        x: Tensor,
        weights: Tensor,
        initial_state: Tensor | None,
        collect: Callable[[Tensor], None],
    ) -> Tensor:
        """`expectations` of shared weights (P,); backward hands `collect` the gradient of each sample (B, P)."""
        known = self._known_about(circuit)
        program = replace(known.program(circuit, tuple(observables)), collect=collect)
        return evaluate(program, weights, known.sources(x), initial_states(circuit, x, initial_state))

    def per_sample_gradients(
        self, circuit: Circuit, observables: Sequence[PauliSum], x: Tensor, weights: Tensor, cotangent: Tensor
    ) -> Tensor:
        """Gradients (B, P) of the shared weights (P,): row b is d(sum_m cotangent[b, m] y[b, m]) / d(weights)."""
        known = self._known_about(circuit)
        with torch.no_grad():
            start = initial_states(circuit, x, None)
            program = known.program(circuit, tuple(observables))
            return per_sample_gradients(program, cotangent, weights, known.sources(x), start)

    def __getstate__(self) -> dict[str, object]:
        return {"block_wires": self.block_wires, "store_bytes": self.store_bytes}

    def __setstate__(self, state: dict[str, int]) -> None:
        self.__init__(**state)  # type: ignore[misc]

    def _evaluate(
        self,
        circuit: Circuit,
        observables: Observables,
        x: Tensor,
        weights: Tensor,
        initial_state: Tensor | None,
    ) -> Tensor:
        known = self._known_about(circuit)
        program, start, own = (
            known.program(circuit, observables),
            initial_states(circuit, x, initial_state),
            known.sources(x),
        )
        if weights.ndim == 2:
            program = program.with_sampled_weights(own.shape[1])
            return evaluate(program, weights.new_empty(0), torch.cat([own, weights], 1), start)
        if start is None and known.same_for_all:
            return evaluate(program, weights, own[:1], None).expand(x.shape[0], -1)
        return evaluate(program, weights, own, start)

    def _known_about(self, circuit: Circuit) -> _Known:
        known = self._known.get(circuit)
        if known is None:
            with self._lock, outside_of_traces():
                known = self._known.setdefault(circuit, _Known(circuit, self))
        return known


class _Known:
    """What has been prepared for a circuit. It goes with the circuit: copies and pickles start anew."""

    def __init__(self, circuit: Circuit, backend: FusedBackend) -> None:
        products = feature_products(circuit)
        beyond = [indices for indices in products if len(indices) > 1]
        self.same_for_all = not any(s.angle is not None and s.angle.kind == "feature" for s in circuit.elementary)
        self._beyond = AngleMap([Parameter("feature", i) for i in beyond], circuit.n_features) if beyond else None
        plans: dict[Hashable, Plan] = {}
        self._shared = (products, backend.block_wires, backend.store_bytes, plans, threading.Lock())
        self._readouts: dict[Observables, dict[Hashable, Readout]] = {}
        self._latest: tuple[Observables, dict[Hashable, Readout]] | None = None

    def program(self, circuit: Circuit, observables: Observables) -> Program:
        """The program for these observables; those of the last call are found without hashing them."""
        latest = self._latest
        if latest is None or latest[0] is not observables:
            self._latest = latest = observables, self._readouts.setdefault(observables, {})
        return Program(circuit, observables, latest[1], *self._shared)

    def sources(self, x: Tensor) -> Tensor:
        """The features, and behind them the products of features that angles read: (B, F')."""
        return x if self._beyond is None else torch.cat([x, self._beyond(x)], 1)
