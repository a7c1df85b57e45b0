"""What `precheck` asks of a circuit, and the answers by simulation."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from torchbp.circuits import Circuit, PauliSum, initialize
from torchbp.circuits.initializers import Initializer
from torchbp.diagnosis.concentration import Concentration, concentration
from torchbp.diagnosis.probing import passage
from torchbp.layer import QuantumLayer
from torchbp.trainability.prechecks.signal import Signal, signal_of
from torchbp.trainability.prechecks.variations import first_layers

STARTS = (4, 16)
"""Random starts that an initializer is judged by: the more, the smaller the batch."""


class Case(Protocol):
    """What can be asked of a circuit that is to be trained, and of it with a change."""

    @property
    def circuit(self) -> Circuit: ...

    @property
    def observables(self) -> Sequence[PauliSum]: ...

    def signal(self) -> Signal:
        """The gradient at the start against its shot noise."""
        ...

    def concentration(self) -> Concentration:
        """Of the output, over all weights and around the start."""
        ...

    def starting(self, init: str | Initializer) -> Case:
        """The same from another start."""
        ...

    def measuring(self, observables: Sequence[PauliSum]) -> Case:
        """The same with other observables."""
        ...

    def shallower(self, depth: int) -> Case:
        """The same with the first layers alone."""
        ...


@dataclass(frozen=True, eq=False)
class Simulated:
    """A layer, what goes through it, and where it starts; each question is answered by simulation."""

    layer: QuantumLayer
    x: Tensor | None
    cotangent: Tensor
    starts: Tensor
    features_train: bool
    generator: torch.Generator

    @property
    def circuit(self) -> Circuit:
        return self.layer.circuit

    @property
    def observables(self) -> Sequence[PauliSum]:
        return self.layer.observables

    def signal(self) -> Signal:
        return signal_of(self.layer, self.x, self.cotangent, self.starts, self.features_train)

    def concentration(self) -> Concentration:
        with self.layer.weights_at(self.starts[0]):
            return concentration(self.layer, self.x, samples=64, generator=self.generator)

    def starting(self, init: str | Initializer) -> Simulated:
        count = min(STARTS[1], max(STARTS[0], 128 // len(self.cotangent)))
        draws = [initialize(init, self.circuit, self.generator) for _ in range(count)]
        return self.of(starts=torch.stack(draws).to(self.cotangent))

    def measuring(self, observables: Sequence[PauliSum]) -> Simulated:
        return self.of(observables=observables)

    def shallower(self, depth: int) -> Simulated:
        circuit, kept = first_layers(self.circuit, depth)
        return self.of(circuit, starts=self.starts[:, list(kept)])

    def of(
        self,
        circuit: Circuit | None = None,
        observables: Iterable[PauliSum] | None = None,
        starts: Tensor | None = None,
    ) -> Simulated:
        """The same with another circuit, other observables or another start."""
        new = QuantumLayer(
            self.layer.circuit if circuit is None else circuit,
            self.layer.observables if observables is None else observables,
            backend=self.layer.backend,
            init="uniform",
            generator=torch.Generator().manual_seed(0),
        ).to(self.cotangent)
        x = None if self.x is None else self.x[:, : new.circuit.n_features]
        begin = self.starts if starts is None else starts
        return Simulated(new, x, self.cotangent, begin, self.features_train, self.generator)


def simulated(
    model: nn.Module,
    layer: QuantumLayer,
    batch: Any,
    loss_fn: Callable[[Any, Any], Tensor] | None,
    generator: torch.Generator,
) -> Simulated:
    trained: list[bool] = []

    def note(_: nn.Module, inputs: tuple[Any, ...]) -> None:
        trained.append(bool(inputs) and isinstance(inputs[0], Tensor) and inputs[0].requires_grad)

    handle = layer.register_forward_pre_hook(note)
    try:
        way = passage(layer, lambda: loss_of(model, batch, loss_fn))
    finally:
        handle.remove()
    x = None if way.x is None else way.x.double()
    present = layer.weights.detach()[None].double()
    case = Simulated(layer, x, way.cotangent.double(), present, trained[0], generator)
    return case.of()  # a layer of its own, in double precision: a gradient of zero is then told from a small one


def loss_of(model: Any, batch: Any, loss_fn: Callable[[Any, Any], Tensor] | None) -> Tensor:
    """The loss that `precheck` looks at: given, or the model's own, or the mean of its outputs."""
    if loss_fn is not None:
        return loss_fn(model, batch)
    inputs = batch[0] if isinstance(batch, list | tuple) else batch
    output = model() if inputs is None else model(inputs)
    if isinstance(batch, list | tuple) and len(batch) == 2 and callable(getattr(model, "loss", None)):
        return model.loss(output, batch[1])
    return output.mean()
