"""How the dimension of a circuit's Lie algebra grows with the number of wires: what decides on a plateau."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from torchbp.arguments import checked
from torchbp.arguments.kinds import each, function, whole
from torchbp.circuits import Circuit, PauliSum
from torchbp.errors import CapacityError, InputError
from torchbp.trainability.algebras.lie_algebra import MAX_DIMENSION, LieAlgebra, lie_algebra


@dataclass(frozen=True)
class LieGrowth:
    """How the dimension grows with the number of wires.

    Attributes:
        sizes: one result for each number of wires, rising.
        verdict: "polynomial", "exponential", or "open" where neither fits clearly better.
        exponent: a of n^a for a polynomial, b of 2^(b n) for an exponential; NaN if open.
        residuals: root mean square misfit of log2(dimension): of a power of n, of an exponential.
    """

    sizes: tuple[LieAlgebra, ...]
    verdict: str
    exponent: float
    residuals: tuple[float, float]

    def to_dict(self) -> dict[str, Any]:
        """The attributes, as JSON can hold them."""
        return asdict(self)

    def report(self) -> str:
        """A table of the sizes, and the verdict."""
        lines = ["| wires | dimension | simple ideals | centre | Var[C] |", "| ---: | ---: | ---: | ---: | ---: |"]
        for size in self.sizes:
            least = "" if size.complete else ">= "
            variance = "" if size.variance is None else f"{size.variance:.3g}"
            ideals = len(size.ideals) if size.complete else ""
            lines.append(f"| {size.n_wires} | {least}{size.dimension:,} | {ideals} | {size.centre} | {variance} |")
        law = {"polynomial": "about n^{:.2f}", "exponential": "about 2^({:.2f} n)"}.get(self.verdict, "")
        text = f"growth: {self.verdict}" + (f", {law.format(self.exponent)}" if law else "")
        return "\n".join([*lines, "", text])

    __str__ = report


@checked(n_wires=each(whole(1)), observable=function)
def lie_growth(
    make_circuit: Callable[[int], Circuit],
    n_wires: Iterable[int],
    observable: Callable[[int], PauliSum] | None = None,
    *,
    max_dimension: int = MAX_DIMENSION,
) -> LieGrowth:
    """The algebra for several numbers of wires, and the law its dimension follows.

    A polynomial dimension allows trainable circuits, if state and observable have their weight in the algebra; an
    exponential one means an exponentially small variance for deep circuits (Ragone 2024, 2309.09342). The law is read
    off finitely many sizes. Sizes are taken in rising order, up to the first whose closure does not end.

    Args:
        make_circuit: from a number of wires to the circuit, such as `lambda n: hardware_efficient(n, depth=2)`. One of
            few layers may not have all generators of a deep one.
        n_wires: three sizes at least.
        observable: from a number of wires to what is measured, such as `global_z`.
        max_dimension: see `lie_algebra`.

    Raises:
        InputError: fewer than three sizes.
        CircuitError, PreconditionError: see `lie_algebra`.
    """
    wanted = sorted(set(n_wires))
    if len(wanted) < 3:
        raise InputError(f"A law of growth takes three sizes at least, got n_wires={wanted}.")
    sizes: list[LieAlgebra] = []
    for n in wanted:
        try:
            sizes.append(lie_algebra(make_circuit(n), observable and observable(n), max_dimension=max_dimension))
        except CapacityError:
            break
        if not sizes[-1].complete:
            break
    return growth_of(sizes)


def growth_of(sizes: list[LieAlgebra]) -> LieGrowth:
    """The law that dimensions follow: a power of n or an exponential, whichever has the smaller misfit by a factor
    of two or more in log2(dimension). Three sizes at least; incomplete ones don't count.
    """
    whole = [s for s in sizes if s.complete]
    nothing = LieGrowth(tuple(sizes), "open", math.nan, (math.nan, math.nan))
    if len(whole) < 3:
        return nothing
    n = np.array([s.n_wires for s in whole], dtype=float)
    y = np.log2([s.dimension for s in whole])
    fits = [np.polyfit(axis, y, 1) for axis in (np.log2(n), n)]
    power, exponential = (
        float(np.sqrt(np.mean((y - np.polyval(fit, axis)) ** 2)))
        for fit, axis in zip(fits, (np.log2(n), n), strict=True)
    )
    if power <= exponential / 2 or np.ptp(y) == 0:
        return LieGrowth(tuple(sizes), "polynomial", float(fits[0][0]), (power, exponential))
    if exponential <= power / 2:
        return LieGrowth(tuple(sizes), "exponential", float(fits[1][0]), (power, exponential))
    return LieGrowth(tuple(sizes), "open", math.nan, (power, exponential))
