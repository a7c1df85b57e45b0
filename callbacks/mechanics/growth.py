"""In which order the layers of a circuit are trained when it grows: pure data, see Skolik 2021 (2006.14904)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from torchbp.gradients.stats import RESOLVED, LayerSummary


@dataclass(frozen=True)
class Stage:
    """A time in which the same circuit layers are trained.

    Attributes:
        grown: layers that the circuit has by then; those after them wait.
        first: the first layer that is trained; all from here to `grown` are.
        last: one behind the last layer that is trained.
    """

    grown: int
    first: int
    last: int

    def trains(self, layer: int) -> bool:
        """Whether the circuit's layer of this number is trained."""
        return self.first <= layer < self.last


def stages(n_layers: int, grow: int = 1, *, freeze: bool = True, partitions: int = 1) -> list[Stage]:
    """Skolik's two phases for a circuit of `n_layers`.

    First the circuit grows by `grow` layers at a time: the new ones are trained and, unless `freeze`, the earlier ones
    too. Then the whole circuit is there, and its `partitions` parts of consecutive layers are trained in turn, from the
    last stages of the list over and over; one part is all layers together.
    """
    found = []
    if n_layers <= grow:  # there is nothing to grow
        return [Stage(n_layers, 0, n_layers)]
    for grown in range(grow, n_layers + grow, grow):
        there = min(grown, n_layers)
        found.append(Stage(there, grown - grow if freeze else 0, there))
    bounds = [n_layers * k // partitions for k in range(partitions + 1)]
    return found + [Stage(n_layers, a, b) for a, b in pairwise(bounds) if b > a]


def allows(waiting: Sequence[LayerSummary], training: Sequence[LayerSummary]) -> bool:
    """Whether the gradient says that it is the next layers' turn.

    It is when each of them has a gradient that can be followed, SNR 3 or more, and the mean square of their gradients
    (free of noise) is no smaller than that of the layers in training: there is more to gain from them.
    """
    if not waiting or not all(layer.snr >= RESOLVED for layer in waiting):
        return False
    return max(layer.signal for layer in waiting) >= max((layer.signal for layer in training), default=0.0)
