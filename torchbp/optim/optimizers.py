"""The searches as `torch.optim.Optimizer`s, for training loops of one's own."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils import parameters_to_vector

from torchbp.arguments import checked
from torchbp.errors import InputError
from torchbp.optim.cma import CMAProposer
from torchbp.optim.proposer import Proposer, transaction
from torchbp.optim.rotosolve import RotosolveProposer
from torchbp.optim.spsa import SPSAProposer

Parameters = Iterable[nn.Parameter]


class GradientFreeOptimizer(torch.optim.Optimizer):
    """Minimizes what a closure returns by a proposer's search over all parameters, without gradients.

    `step(closure)` evaluates the closure at every point that the proposer asks for, without gradients, and moves the
    parameters to the point it then names. `state_dict()` holds the search, in tensors and primitives, and loading it
    resumes bit for bit. The search remembers its own point: what others do to the parameters between steps is undone.
    A step is a transaction: where a closure raises, the parameters are what they were, and the next step asks for the
    same points again.

    Args:
        params: parameters, one group; all of them are searched over as one vector.
        make: from that vector (P,) to a proposer.

    Attributes:
        evaluations: closures evaluated so far.

    Raises:
        InputError: several parameter groups, or parameters that are not finite.

    In a `LightningModule`, whose closures differentiate, use `torchbp.callbacks.GradientFreeFallback` instead.
    """

    @checked()
    def __init__(self, params: Parameters, make: Callable[[Tensor], Proposer]) -> None:
        super().__init__(params, {})
        self.evaluations = 0
        self.proposer = make(self._vector())

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> float:  # type: ignore[override]
        """One step of the search.

        Args:
            closure: `() -> loss`, without backward.

        Returns:
            The mean loss over the points that were tried.

        Raises:
            InputError: no closure, or one that calls backward.
        """
        if closure is None:
            raise InputError("A gradient-free step evaluates the loss: step(closure), a function () -> loss.")
        before, losses = self._vector().clone(), []
        with transaction(self.proposer):
            try:
                for point in self.proposer.ask():
                    self._assign(point)
                    losses.append(_value(closure))
            except BaseException:
                self._assign(before)
                raise
            self._assign(self.proposer.tell(losses))
        self.evaluations += len(losses)
        return sum(losses) / len(losses)

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """One group only: the search is over one vector of fixed length.

        Raises:
            InputError: there is a group already.
        """
        if self.param_groups:
            raise InputError("A gradient-free search is over one group of parameters: give all of them in one list.")
        super().add_param_group(param_group)

    def state_dict(self) -> dict[str, Any]:
        search = {"proposer": self.proposer.state_dict(), "evaluations": self.evaluations}
        return super().state_dict() | {"search": search}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        # By itself, since torch's own way casts tensors to the parameters' dtype.
        rest = dict(state_dict)
        search = rest.pop("search")
        super().load_state_dict(rest)
        self.proposer.load_state_dict(search["proposer"])
        self.evaluations = search["evaluations"]

    def _vector(self) -> Tensor:
        return parameters_to_vector(self.param_groups[0]["params"]).detach()

    def _assign(self, point: Tensor) -> None:
        params = self.param_groups[0]["params"]
        start = 0
        for p in params:
            p.copy_(point[start : start + p.numel()].view_as(p))
            start += p.numel()


class SPSA(GradientFreeOptimizer):
    """Simultaneous perturbation: two evaluations a step; arguments as in `SPSAProposer`.

    Example:
        >>> optimizer = SPSA(layer.parameters(), first_step=0.1)
        >>> for _ in range(200):
        ...     optimizer.step(lambda: layer().sum())
    """

    @checked()
    def __init__(self, params: Parameters, **options: Any) -> None:
        super().__init__(params, lambda start: SPSAProposer(start, **options))


class Rotosolve(GradientFreeOptimizer):
    """One weight after the other to its minimum: three evaluations a step; exact when `RotosolveProposer` says."""

    @checked()
    def __init__(self, params: Parameters) -> None:
        super().__init__(params, RotosolveProposer)


class CMAES(GradientFreeOptimizer):
    """Covariance matrix adaptation: a population a step; arguments as in `CMAProposer`."""

    @checked()
    def __init__(self, params: Parameters, **options: Any) -> None:
        super().__init__(params, lambda start: CMAProposer(start, **options))


def _value(closure: Callable[[], Any]) -> float:
    try:
        return float(closure())
    except RuntimeError as error:
        if "does not require grad" not in str(error):
            raise
        raise InputError(
            "The closure of a gradient-free step returns the loss and does not call backward(): there are no gradients."
        ) from error
