"""`lie_algebra`: the dynamical Lie algebra of a circuit, and the variance of the loss that follows from it.

A circuit with enough layers explores the group that its generators generate (Ragone 2024, 2309.09342; Fontana 2024,
2309.07902). If that group's algebra is the sum of simple ideals g_i and the observable O lies in it, then

    Var[C] = sum_i P_i(rho) P_i(O) / dim g_i,    P_i(A) = sum_j |Tr(B_j A)|^2 over an orthonormal basis B_j of g_i,

and a gradient in the middle of the circuit, of a weight that turns by the generator H, has the variance
sum_i ||H||_i^2 P_i(rho) P_i(O) / dim(g_i)^2, with the Killing norm ||H||_i^2 = sum_j ||[H, B_j]||^2.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from torchbp.arguments import checked
from torchbp.backends import resolve_backend
from torchbp.backends.base import check_capacity
from torchbp.circuits import Circuit, PauliSum, given
from torchbp.circuits.pauli.strings import expectations, halves
from torchbp.errors import InputError
from torchbp.trainability.algebras.generators import Generators, distinct, find_generators
from torchbp.trainability.algebras.operator_algebra import OperatorAlgebra
from torchbp.trainability.algebras.pauli_algebra import PauliAlgebra

MAX_DIMENSION = 2**18


@dataclass(frozen=True)
class LieAlgebra:
    """The dynamical Lie algebra of a circuit, and what it says about the loss.

    Attributes:
        n_wires: wires of the circuit.
        dimension: of the algebra, identity not counted; a lower bound where `complete` is False.
        complete: whether the closure came to an end.
        n_generators: distinct generators.
        n_weights: of the circuit.
        ideals: dimensions of the simple ideals, falling; empty where the algebra was not split.
        centre: dimension of the centre.
        in_algebra: share of the observable's squared norm that lies in the algebra; None without an observable.
        variance: Var[C] over uniform weights of a circuit deep enough; None where the theorem does not apply.
        gradient_variance: the same for dC/dw, mean over the generators, in the middle of such a circuit.
        reason: why the theorem does not apply; empty where it does.
        caveats: what is assumed and can't be checked, or has been left out.
    """

    n_wires: int
    dimension: int
    complete: bool
    n_generators: int
    n_weights: int
    ideals: tuple[int, ...]
    centre: int
    in_algebra: float | None
    variance: float | None
    gradient_variance: float | None
    reason: str
    caveats: tuple[str, ...]

    def to_dict(self) -> dict[str, Any]:
        """The attributes, as JSON can hold them."""
        return asdict(self)

    def report(self) -> str:
        """What was found, in a few lines."""
        whole = 4**self.n_wires - 1
        least = "" if self.complete else "at least "
        lines = [
            f"{self.n_wires} wires, {self.n_weights} weights, {self.n_generators} distinct generators",
            f"dimension    {least}{self.dimension:,} of {whole:,} (all of su(2^n))",
        ]
        if self.complete and (self.ideals or self.centre):
            counts = Counter(self.ideals)
            parts = [f"{count} x {size:,}" if count > 1 else f"{size:,}" for size, count in counts.items()]
            lines.append(f"ideals       {' + '.join(parts) or 'none'}; centre {self.centre}")
        if self.variance is not None:
            lines.append(f"Var[C]       {self.variance:.4g}")
            lines.append(f"Var[dC/dw]   {self.gradient_variance:.4g}")
        elif self.reason:
            lines.append(f"Var[C]       no prediction: the theorem does not apply, because {self.reason}")
        return "\n".join([*lines, *(f"note         {text}" for text in self.caveats)])

    __str__ = report


@checked(circuit=given.circuit, observable=given.observable)
def lie_algebra(
    circuit: Circuit,
    observable: PauliSum | str | None = None,
    *,
    x: Tensor | None = None,
    max_dimension: int = MAX_DIMENSION,
) -> LieAlgebra:
    """The algebra that a circuit's generators generate, its ideals, and the variance it predicts.

    Every weight turns by one generator, a Pauli string or a sum of them; fixed gates are worked in. Single strings are
    closed by bit operations (a million in seconds), sums by linear algebra (some thousand dimensions). Gates that share
    a weight are one generator where they commute with each other and with all between them; otherwise each counts by
    itself, and `caveats` says so.

    Args:
        circuit: with at least one weight, on at most 32 wires.
        observable: what is measured, for the prediction.
        x: features (B, F) or (F,), for a circuit that encodes some; the prediction is the mean over samples.
        max_dimension: where to stop.

    Raises:
        CapacityError: too many wires, or sums of Pauli strings over too many of them.
        CircuitError: not a circuit, or an observable on a wire it does not have.
        InputError: features that don't fit, or `max_dimension` below 1.
        PreconditionError: no weights, or a dimension that rounding leaves open.

    What it does not show: how many layers are "enough" for the prediction. It is the limit of many; shallow circuits
    have larger variances. Nor anything about starts that are not uniformly random.
    """
    measured = PauliSum(observable) if isinstance(observable, str) else observable
    if measured is not None:
        measured.check_fits(circuit.n_wires)
    generators = find_generators(circuit, measured)
    algebra: PauliAlgebra | OperatorAlgebra
    if generators.single:
        words = np.concatenate([g.words for g in generators.all])
        algebra = PauliAlgebra(words, circuit.n_wires, max_dimension)
    else:
        algebra = OperatorAlgebra(generators.all, circuit.n_wires, max_dimension)
    ideals = algebra.ideals if algebra.complete else ()
    share = None if generators.observable is None else algebra.share(generators.observable)
    reason = _obstacle(generators, algebra.complete, share, x)
    variance = slope = None
    if not reason:
        variance, slope = _predict(generators, algebra, x)
    return LieAlgebra(
        n_wires=circuit.n_wires,
        dimension=algebra.dimension,
        complete=algebra.complete,
        n_generators=len(distinct(generators.all)),
        n_weights=circuit.n_weights,
        ideals=ideals,
        centre=algebra.dimension - sum(ideals) if algebra.complete else 0,
        in_algebra=share,
        variance=variance,
        gradient_variance=slope,
        reason=reason,
        caveats=_caveats(generators, variance is not None),
    )


def _obstacle(generators: Generators, complete: bool, share: float | None, x: Tensor | None) -> str:
    """Why nothing is predicted; empty if something is."""
    if share is None:
        return "no observable was given"
    if not complete:
        return "the closure was stopped before its end: raise max_dimension"
    if generators.data:
        return (
            "features turn gates between trainable ones: for fixed features these are no generators (the dimension "
            "counts them as if they were)"
        )
    if share < 1 - 1e-9:
        inside = f"only {share:.0%} of the observable lies in the algebra" if share > 1e-12 else (
            "the observable does not lie in the algebra"
        )  # fmt: skip
        return f"{inside}, and it holds for observables (or states) in it"
    if generators.prefix is not None and x is None:
        return "the circuit encodes features, on which the state depends: give some, x=(batch, features)"
    return ""


def _predict(generators: Generators, algebra: PauliAlgebra | OperatorAlgebra, x: Tensor | None) -> tuple[float, float]:
    assert generators.observable is not None
    state = _state(generators, algebra.words, x)
    variance, slopes = 0.0, np.zeros(len(generators.trainable))
    for ideal in algebra.numbers(generators.observable, state, generators.trainable):
        product = ideal.observable * float(ideal.state.mean())
        variance += product / ideal.dimension
        slopes += ideal.killing * product / ideal.dimension**2
    return variance, float(slopes.mean())


def _state(generators: Generators, words: np.ndarray, x: Tensor | None) -> np.ndarray:
    """<P> (B, N) of the state that the trainable gates start from."""
    n = generators.n_wires
    if generators.prefix is None:  # |0...0>, on which strings of Z alone are 1
        return (halves(words, n)[0] == 0).astype(float)[None]
    prefix = generators.prefix
    assert x is not None
    inputs = torch.atleast_2d(x.detach()).double().cpu()
    if inputs.ndim != 2 or inputs.shape[1] < prefix.n_features or not len(inputs):
        raise InputError(f"The circuit reads {prefix.n_features} features, got x of shape {tuple(x.shape)}.")
    check_capacity(n, len(inputs), inputs.dtype)
    states = resolve_backend("fused").states(prefix, inputs, inputs.new_empty(0))
    return expectations(states.numpy(), words, n)


def _caveats(generators: Generators, predicted: bool) -> tuple[str, ...]:
    found = []
    if generators.split:
        some = ", ".join(map(str, generators.split[:4])) + (", ..." if len(generators.split) > 4 else "")
        found.append(
            f"weights {some} turn gates that don't commute or stand apart; each gate counts as a generator of its own"
        )
    if predicted:
        found.append(
            "the variances are the limit of many layers and uniform angles; variance_scan measures this circuit"
        )
    return tuple(found)
