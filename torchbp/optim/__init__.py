"""Minimizing without gradients: searches that ask for losses, and torch optimizers around them; and natural gradients.

None of them escapes a barren plateau: differences of losses vanish there as gradients do, so that resolving them takes
exponentially many shots too (Arrasmith 2021, 2011.12245).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from torch import Tensor

from torchbp.arguments import checked
from torchbp.arguments.kinds import anything
from torchbp.errors import CallError, InputError, UnknownNameError
from torchbp.optim.ask_tell import AskTell, Maker
from torchbp.optim.cma import CMAProposer
from torchbp.optim.fubini_study import fubini_study
from torchbp.optim.natural_gradient import QuantumNaturalGradient
from torchbp.optim.optimizers import CMAES, SPSA, GradientFreeOptimizer, Rotosolve
from torchbp.optim.proposer import Proposer
from torchbp.optim.qnspsa import QNSPSA
from torchbp.optim.rotosolve import RotosolveProposer
from torchbp.optim.spsa import SPSAProposer

__all__ = [
    "CMAES",
    "PROPOSERS",
    "QNSPSA",
    "SPSA",
    "AskTell",
    "CMAProposer",
    "GradientFreeOptimizer",
    "Proposer",
    "QuantumNaturalGradient",
    "Rotosolve",
    "RotosolveProposer",
    "SPSAProposer",
    "fubini_study",
    "propose",
]

PROPOSERS: dict[str, Callable[..., Proposer]] = {
    "cma": CMAProposer,
    "rotosolve": lambda start, seed=0, **options: RotosolveProposer(start, **options),
    "spsa": SPSAProposer,
}
"""From a name to `(start, *, seed, **options) -> Proposer`; add your own."""


@checked(method=anything)
def propose(method: str | Maker, start: Tensor, seed: int = 0, options: Mapping[str, Any] | None = None) -> Proposer:
    """The search of this name from a point (P,).

    Args:
        method: a name in `PROPOSERS`, or a function `(start, seed)` that returns a `Proposer`, or an ask/tell
            optimizer of another library (see `AskTell`).
        start: where it starts.
        seed: of its random numbers.
        options: further keywords for the proposer; `batch` for a function.

    Raises:
        UnknownNameError: no such name.
        InputError: the method is neither, or an option is unknown or out of its range.
    """
    if not isinstance(method, str) and not callable(method):
        raise InputError(
            f"method is one of {', '.join(sorted(PROPOSERS))} or a function (start, seed) -> optimizer; got {method!r}."
        )
    if isinstance(method, str) and method not in PROPOSERS:
        raise UnknownNameError("gradient-free method", method, PROPOSERS)
    try:
        if isinstance(method, str):
            return PROPOSERS[method](start, seed=seed, **(options or {}))
        return AskTell.around(start, method, seed=seed, **(options or {}))
    except CallError as error:
        raise InputError(f"{method!r} takes no such option: {error}") from error
