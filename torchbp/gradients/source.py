"""What a source of gradient samples is: where the numbers of a measurement come from, which is part of the number."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, runtime_checkable

from torch import Tensor, nn

from torchbp.gradients.groups import WeightGroup
from torchbp.gradients.stats import GradientStatistics, LayerSummary, summarize

Loss = Callable[[Any], Tensor | None]
"""From a batch to its loss, a scalar to differentiate; None is "no loss"."""


@dataclass(frozen=True, eq=False)
class Measured:
    """What a source found out about the gradients of some groups of weights.

    Args:
        source: the source's name.
        statistics: of all weights, P = sum of len(group) columns, one group after the other.
        unmeasured: why groups have no data, by the group's name, where the source can't measure them.
        reason: why it is this source and not a cheaper one; empty where that is no question.
    """

    source: str
    statistics: GradientStatistics
    unmeasured: Mapping[str, str] = field(default_factory=dict)
    reason: str = ""

    def summaries(self, groups: Sequence[WeightGroup]) -> list[LayerSummary]:
        """The numbers of each group; `groups` are those that were measured."""
        everything = self.statistics.cpu()
        parts = everything.split([len(group) for group in groups])
        return [summarize(s, g.name, g.kind, self.source, g.n_weights) for s, g in zip(parts, groups, strict=True)]


@runtime_checkable
class GradientSource(Protocol):
    """One way to get samples of the gradient: `PerSample`, `Microbatch`, `Ensemble`."""

    @property
    def name(self) -> str:
        """What stands in tags and tables. Numbers of different sources are never compared."""
        ...

    def measure(
        self, model: nn.Module, loss: Loss, batch: Any, groups: Sequence[WeightGroup], scale: float = 1.0
    ) -> Measured:
        """Samples of the gradient of `loss(batch)` for the weights in `groups`, as statistics.

        May change the model's buffers and random states (see `isolation`), but neither its weights nor `.grad`.

        Args:
            model: whose weights and layers these are.
            loss: evaluated on the batch, or on parts of it; the model is called inside.
            batch: nested tensors, samples along the first dimension.
            groups: see `find_groups`.
            scale: factor to multiply the loss by and divide the gradient by: a gradient scaler's, against underflow
                in half precision.

        Raises:
            PreconditionError: the model does not meet the source's conditions.
        """
        ...
