"""Initial weights: plain functions `(circuit, generator) -> (P,)` in radians, and the table that names them.

What no initializer promises: that training succeeds, or that gradients stay large once it has left the start.
They are statements about the mean over random starts, made for particular circuits and observables. Starts
near the identity (`small_angle`, `reduced_domain`, `identity_blocks`, `gaussian`) leave the input state
nearly as it is: where that is an eigenstate of the observable, such as |0...0> for Z or for h2, the gradient
of an exact identity is exactly zero. That is a stationary point, not a plateau; another input state (an
encoding, Hadamards) or a `warm_start` can get off it. And small angles search a small region: the solution
may not lie in it.

Every function takes its randomness from `generator`, or from torch's global one if that is None.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from itertools import count

import numpy as np
import torch
from torch import Tensor

from torchbp.arguments import checked, not_negative
from torchbp.arguments.boundary import misfit
from torchbp.circuits import given
from torchbp.circuits.circuit import Circuit, Operation
from torchbp.circuits.clifford import clifford_search
from torchbp.circuits.growth import grown
from torchbp.errors import CircuitError, InputError, UnknownNameError

# (circuit, generator, **options) -> (P,) floating-point tensor
Initializer = Callable[..., Tensor]


def uniform(circuit: Circuit, generator: torch.Generator | None = None) -> Tensor:
    """U(-pi, pi): where deep circuits have their barren plateau (McClean 2018, 1803.11173)."""
    return math.pi * _symmetric(circuit.n_weights, generator)


def small_angle(circuit: Circuit, generator: torch.Generator | None = None, *, sigma: float = 0.1) -> Tensor:
    """N(0, sigma^2), sigma in radians: near the identity; a rule of thumb without a theorem."""
    return not_negative("sigma", sigma) * _normal(circuit.n_weights, generator)


def reduced_domain(circuit: Circuit, generator: torch.Generator | None = None, *, a: float | None = None) -> Tensor:
    """U(-a pi, a pi) (Wang 2023, 2302.06858).

    Args:
        a: share of the full range, 0 to 1; 1 / sqrt(L) if left out, with L the depth as in `gaussian`.
    """
    share = 1 / math.sqrt(max(1, depth_of(circuit))) if a is None else not_negative("a", a)
    return share * uniform(circuit, generator)


def gaussian(
    circuit: Circuit, generator: torch.Generator | None = None, *, locality: int = 1, depth: int | None = None
) -> Tensor:
    """N(0, 1 / (4 S (L + 2))) (Zhang 2022, 2203.09376, theorem 4.1).

    The gradient's norm then decays at most polynomially with L in the paper's circuit, which has one rotation
    on each wire in a layer. For layers with r of them `depth=r * L` is the cautious reading.

    Args:
        locality: S, wires that a term of the observable acts on (`PauliSum.locality`).
        depth: L; by default the number of layers with weights, or of trainable gates on the busiest wire
            where the circuit marks no layers.
    """
    layers = depth_of(circuit) if depth is None else not_negative("depth", depth)
    if locality < 1:
        raise InputError(f"locality counts the wires of an observable's term, at least 1; got {locality!r}.")
    return _normal(circuit.n_weights, generator) / math.sqrt(4 * locality * (layers + 2))


def beta(
    circuit: Circuit,
    generator: torch.Generator | None = None,
    *,
    a: float = 2.0,
    b: float = 2.0,
    noise: float = 0.0,
) -> Tensor:
    """Beta(a, b) on (0, 1) radians, plus N(0, noise^2) (BEINIT, Kulshrestha 2022, 2204.13751).

    The paper fits a and b to the data, and goes on adding noise, decaying, in training; here it is
    added once.
    """
    if not (a > 0 and b > 0):
        raise InputError(f"A Beta distribution needs a > 0 and b > 0, got a={a!r}, b={b!r}.")
    seed = torch.randint(2**62, (1,), generator=generator, device=_device(generator)).item()
    drawn = torch.from_numpy(np.random.default_rng(int(seed)).beta(a, b, circuit.n_weights))
    spread = not_negative("noise", noise) * _normal(circuit.n_weights, generator)
    return drawn.to(spread) + spread


def identity_blocks(circuit: Circuit, generator: torch.Generator | None = None) -> Tensor:
    """U(-pi, pi), and the same angles in the half of each block that inverts it (Grant 2019, 1903.05076).

    Each block is the identity at the start, while its gates stand at random angles. Encodings and fixed gates
    may stand between the blocks.

    Raises:
        CircuitError: some weight belongs to no block that was built by `mirrored`.
    """
    partner = _inverse_partners(circuit)
    return uniform(circuit, generator)[torch.tensor(partner, dtype=torch.long)]


def warm_start(
    circuit: Circuit,
    generator: torch.Generator | None = None,
    *,
    values: Tensor | Iterable[float] | None = None,
    width: float | None = None,
    source: Circuit | None = None,
) -> Tensor:
    """A known good point plus U(-width, width) (Puig 2025, 2404.10044).

    Args:
        values: the point, (P,), in radians.
        source: the circuit that the values belong to, smaller or shallower, of the same kind: each gate takes the angle
            of the one that stands where it does, and further layers begin at 0 (see `circuits.growth`).
        width: half the side of the region; 1 / sqrt(P) if left out, about where gradients are still
            guaranteed.

    Raises:
        InputError: no values, or not (P,) finite numbers.
    """
    if values is None:
        raise InputError(f"warm_start needs the point to start from: values= of shape ({circuit.n_weights},).")
    point = _checked(values, source or circuit, "The values of warm_start")
    if source is not None:
        point = torch.from_numpy(grown(source, point.double().numpy(), circuit)).to(point)
    side = 1 / math.sqrt(max(1, circuit.n_weights)) if width is None else not_negative("width", width)
    return point + (side * _symmetric(circuit.n_weights, generator)).to(point)


INITIALIZERS: dict[str, Initializer] = {
    "uniform": uniform,
    "small_angle": small_angle,
    "reduced_domain": reduced_domain,
    "gaussian": gaussian,
    "beta": beta,
    "identity_blocks": identity_blocks,
    "warm_start": warm_start,
    "clifford_search": clifford_search,
}


@checked(circuit=given.circuit)
def initialize(
    init: str | Initializer | Tensor | Iterable[float],
    circuit: Circuit,
    generator: torch.Generator | None = None,
    **options: object,
) -> Tensor:
    """Initial weights (P,) for a circuit, checked.

    Args:
        init: a name in `INITIALIZERS`, a function `(circuit, generator) -> (P,)`, or the weights themselves.
        circuit: the circuit with P weights.
        generator: source of the randomness.
        options: keywords for the initializer, such as `sigma=0.01`.

    Returns:
        A new tensor (P,), float32 or float64.

    Raises:
        UnknownNameError: no initializer has this name; lists those there are.
        InputError: the weights are not (P,) finite real numbers, or options go with given weights.
        CircuitError: the circuit does not have the structure that the initializer needs.
    """
    if isinstance(init, str) and init not in INITIALIZERS:
        raise UnknownNameError("initializer", init, INITIALIZERS)
    rule = INITIALIZERS[init] if isinstance(init, str) else init
    if callable(rule):
        name = init if isinstance(init, str) else getattr(init, "__name__", type(init).__name__)
        misfit(rule, f"The initializer {name!r}", circuit, generator, **options)
        return _checked(rule(circuit, generator, **options), circuit, f"The initializer {name!r}")
    if options:
        raise InputError(f"Weights given as numbers take no options, got {', '.join(options)}.")
    return _checked(init, circuit, "The initial weights")


def depth_of(circuit: Circuit) -> int:
    """Number of layers with weights; without marked layers, the most trainable gates on any one wire."""
    trainable = [op for op in circuit.operations if any(p.kind == "weight" for p in op.parameters)]
    layers = {op.layer for op in trainable if op.layer is not None}
    if layers:
        return len(layers)
    return max((sum(wire in op.wires for op in trainable) for wire in range(circuit.n_wires)), default=0)


def _inverse_partners(circuit: Circuit) -> list[int]:
    """For each weight the one whose value it takes, so that every gate with a weight is undone later.

    Gates cancel like letters of a word: each is pushed on a stack, unless it undoes the one on top.
    """
    stack: list[Operation] = []
    root = list(range(circuit.n_weights))

    def find(i: int) -> int:
        while root[i] != i:
            i = root[i]
        return i

    for op in circuit.operations:
        if stack and _letter(stack[-1], True) == _letter(op, False):
            for p, q in zip(stack.pop().parameters, op.parameters, strict=True):
                if p.kind == "weight":
                    low, high = sorted((find(p.indices[0]), find(q.indices[0])))
                    root[high] = low
        else:
            stack.append(op)
    left = next((op for op in stack if any(p.kind == "weight" for p in op.parameters)), None)
    if left is not None:
        raise CircuitError(
            f'"identity_blocks" needs blocks whose second half inverts the first, but nothing undoes {left}: '
            "build them with mirrored(), as in mirrored(hardware_efficient(n_wires, depth)) * blocks."
        )
    return [find(i) for i in range(circuit.n_weights)]


def _letter(op: Operation, inverted: bool) -> tuple[object, ...]:
    """An operation up to the numbers of its weights, or what undoes it."""
    angles = [(p.kind, p.indices if p.kind == "feature" else (), p.scale, p.offset) for p in op.parameters]
    unitary = None if op.unitary is None else op.unitary.tobytes()
    return op.gate.name, op.wires, op.inverse != inverted, tuple(angles), unitary


def _checked(values: object, circuit: Circuit, what: str) -> Tensor:
    try:
        tensor = torch.as_tensor(values)
    except (TypeError, ValueError, RuntimeError) as error:
        raise InputError(f"{what} must be a tensor of shape ({circuit.n_weights},): {error}.") from error
    if tensor.is_complex() or tensor.shape != (circuit.n_weights,):
        kind = "complex numbers" if tensor.is_complex() else "numbers"
        raise InputError(
            f"{what} must be {circuit.n_weights} real numbers, one for each weight of the circuit, shape "
            f"({circuit.n_weights},); got {kind} of shape {tuple(tensor.shape)}."
        )
    if not bool(torch.isfinite(tensor).all()):
        bad = next(i for i in count() if not math.isfinite(tensor[i]))
        raise InputError(f"{what} must be finite, got {tensor[bad].item()} for weight {bad}.")
    dtype = tensor.dtype if tensor.dtype in (torch.float32, torch.float64) else torch.get_default_dtype()
    return tensor.detach().to(dtype, copy=True)


def _normal(size: int, generator: torch.Generator | None) -> Tensor:
    return torch.randn(size, generator=generator, device=_device(generator))


def _symmetric(size: int, generator: torch.Generator | None) -> Tensor:
    """U(-1, 1)."""
    return 2 * torch.rand(size, generator=generator, device=_device(generator)) - 1


def _device(generator: torch.Generator | None) -> torch.device | None:
    return None if generator is None else generator.device
