"""How many shots a quantum layer will spend, before it does: counted from measurement groups and shift rules."""

from __future__ import annotations

from dataclasses import dataclass

from torchbp.backends.shots import Sampler
from torchbp.layer import QuantumLayer


@dataclass(frozen=True)
class ShotCost:
    """What one sample takes.

    Attributes:
        groups: measurement settings of the observables: circuits of a forward pass.
        weight_terms: shifted circuits for the weights in backward, for each setting; two for each plain rotation.
        feature_terms: the same for the features, where they need a gradient (an encoder before the layer).
    """

    groups: int
    weight_terms: int
    feature_terms: int

    @classmethod
    def of(cls, layer: QuantumLayer) -> ShotCost:
        """Of a layer's circuit and observables."""
        sampler = Sampler(layer.circuit, layer.observables)
        terms = dict.fromkeys(("weight", "feature", "constant"), 0)
        for kind, rule in zip(sampler.kinds, sampler.rules, strict=True):
            terms[kind] += len(rule)
        return cls(len(sampler.grouping.groups), terms["weight"], terms["feature"])

    def shots(self, samples: int, shots: int, *, weights: bool = False, features: bool = False) -> int:
        """Shots of one forward pass, and of its backward for what needs a gradient.

        shots * samples * groups * (1 + weight_terms + feature_terms), as `QuantumLayer.shots_used` counts them.

        Args:
            samples: in the batch.
            shots: for each circuit and measurement group.
            weights, features: whether these need a gradient.
        """
        circuits = 1 + self.weight_terms * weights + self.feature_terms * features
        return shots * samples * self.groups * circuits
