"""What is evaluated, apart from the numbers: a circuit, its observables, and the plans made for them so far."""

from __future__ import annotations

import threading
from collections.abc import Callable, Hashable
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from torchbp.backends.base import COMPLEX, is_traced, outside_of_traces
from torchbp.backends.fused.heap import keep_freed_memory
from torchbp.backends.fused.lowering import lower
from torchbp.backends.fused.plan import Plan
from torchbp.backends.fused.readout import Expectations, Readout, States
from torchbp.circuits.circuit import Circuit
from torchbp.circuits.observables import PauliSum

BATCH_LAST_FROM = 16


@dataclass(eq=False)
class Program:
    """A circuit to be evaluated: expectation values of `observables`, or the states if None.

    `first_weight` is None if the weights are shared, else the per-sample column of the first of them. Plans serve all
    observables of a circuit. `collect`, if there is one, is handed every sample's gradient of shared weights (B, P) in
    backward.
    """

    circuit: Circuit
    observables: tuple[PauliSum, ...] | None
    readouts: dict[Hashable, Readout]
    products: dict[tuple[int, ...], int]
    block_wires: int | None
    store_bytes: int
    plans: dict[Hashable, Plan]
    lock: threading.Lock
    first_weight: int | None = None
    collect: Callable[[Tensor], None] | None = None

    def with_sampled_weights(self, first_weight: int) -> Program:
        """The same program with weights that differ by sample, in the per-sample columns from `first_weight` on."""
        return replace(self, first_weight=first_weight)

    def prepare(self, shared: Tensor, own: Tensor, start: Tensor | None) -> tuple[Plan, Readout]:
        """The plan and the readout for such tensors, made at the first call with their kind."""
        batch_last = not is_traced() and own.shape[0] >= BATCH_LAST_FROM
        key = (batch_last, start is None, own.dtype, own.device, self.first_weight)
        plan, readout = self.plans.get(key), self.readouts.get(key)
        if plan is None or readout is None:
            with self.lock, torch.no_grad(), outside_of_traces():
                if key not in self.plans:
                    self.plans[key] = self._plan(*key)
                    if own.device.type == "cpu":
                        keep_freed_memory()
                plan = self.plans[key]
                readout = self.readouts[key] = self._readout(plan)
        return plan, readout

    def stores(self, plan: Plan, batch: int) -> bool:
        """Whether the states that backward needs fit into the memory set aside for them."""
        states = sum(step.trainable for step in plan.steps)
        return states * batch * 2**self.circuit.n_wires * COMPLEX[plan.dtype].itemsize <= self.store_bytes

    def _plan(
        self,
        batch_last: bool,
        from_zero: bool,
        dtype: torch.dtype,
        device: torch.device,
        first_weight: int | None,
    ) -> Plan:
        n = self.circuit.n_wires
        size = self.block_wires or default_block_wires(n)
        ops = lower(self.circuit, self.products, first_weight)
        return Plan(ops, n, batch_last, min(size, n), from_zero, dtype, device)

    def _readout(self, plan: Plan) -> Readout:
        if self.observables is None:
            return States(plan)
        return Expectations(self.observables, plan)


def default_block_wires(n_wires: int) -> int:
    """Wires of a dense block: wider ones save passes over the state and cost more arithmetic.

    Three and four take about the same time for each wire; three, with smaller matrices, where no wire is left over.
    """
    return n_wires if n_wires <= 5 else 3 if n_wires % 3 == 0 else 4


def feature_products(circuit: Circuit) -> dict[tuple[int, ...], int]:
    """The per-sample column of each product of features that an angle reads: single features stand in front."""
    found: dict[tuple[int, ...], int] = {(i,): i for i in range(circuit.n_features)}
    for step in circuit.elementary:
        if step.angle is not None and step.angle.kind == "feature":
            found.setdefault(step.angle.indices, len(found))
    return found
