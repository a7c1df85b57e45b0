"""Which weights can't change the output at all: those outside every observable's light cone."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from torchbp.arguments import checked
from torchbp.circuits import Circuit, PauliSum, given
from torchbp.gradients.stats import LayerSummary
from torchbp.layer.foreign import AnyLayer


@dataclass(frozen=True)
class LightCone:
    """What an observable can see of a circuit.

    Attributes:
        wires: those whose initial state can change it.
        weights: indices of those that can change it.
    """

    wires: tuple[int, ...]
    weights: tuple[int, ...]


@checked(circuit=given.circuit, observable=given.observable)
def light_cone(circuit: Circuit, observable: PauliSum) -> LightCone:
    """Go back from the wires an observable acts on: a gate matters if it touches a wire that matters.

    Then all its wires do. The cost depends on as many wires as the cone has, so it is the cone's width, not the
    circuit's, that a local observable's gradient can vanish with. What cancels for another reason (a phase before a
    measurement in Z, say) is not seen: the light cone is an upper bound on influence.

    Raises:
        CircuitError: the observable acts on a wire the circuit does not have.
    """
    observable.check_fits(circuit.n_wires)
    cone: set[int] = set(observable.wires)
    alive: set[int] = set()
    for op in reversed(circuit.operations):
        if cone.intersection(op.wires):
            cone.update(op.wires)
            alive.update(p.indices[0] for p in op.parameters if p.kind == "weight")
    return LightCone(tuple(sorted(cone)), tuple(sorted(alive)))


def dead_weights(circuit: Circuit, observables: Iterable[PauliSum]) -> tuple[int, ...]:
    """Indices of weights whose gradient is exactly zero for every input by structure: outside every light cone."""
    alive = {i for observable in observables for i in light_cone(circuit, observable).weights}
    return tuple(i for i in range(circuit.n_weights) if i not in alive)


def belongs_to(name: str, path: str) -> bool:
    """Whether a measured layer is part of the module at this path."""
    return name.startswith((f"{path}/", f"{path}."))


# A gradient this much smaller than the largest one of its circuit is what rounding leaves of zero in float32.
_ROUNDING = 1e-6


def dead_layers(path: str, layer: AnyLayer, measured: Sequence[LayerSummary]) -> tuple[str, ...]:
    """Names of the layers of one quantum module that have no gradient at all, by structure or as measured.

    Args:
        path: of the module in its model; its layers are named "<path>/<circuit layer>", those of a translated
            TorchQuantum module "<path>.<submodule>".
        layer: the module.
        measured: the layers at one measurement. Zero for every sample, but for rounding, counts as dead only while
            another layer of the same circuit is alive: a stationary point is something else. With finite shots zero
            is an estimate like any other (of a small probability, the usual one), and only structure counts.
    """
    cut_off = set() if layer.circuit is None else set(dead_weights(layer.circuit, layer.observables))
    own = [m for m in measured if belongs_to(m.name, path)]
    names = {m.name[len(path) + 1 :]: m.name for m in own}
    dead = {names.get(n, f"{path}/{n}") for n, weights in layer.weight_groups.items() if cut_off.issuperset(weights)}
    sizes = {m.name: m.variance + m.signal for m in own if m.n_samples > 1}
    largest = max(sizes.values(), default=0.0)
    if layer.shots is None and largest > 0:
        dead |= {name for name, size in sizes.items() if size <= _ROUNDING**2 * largest}
    return tuple(sorted(dead)) if len(dead) < len(layer.weight_groups) else ()
