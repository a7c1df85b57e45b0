"""What a number of a recorded module was made of: a parameter, features, or the expectation values it measured.

Parameters and features get distinct values, so that most angles tell by their value alone what they are. What has been
scaled or shifted tells by its derivatives, found by autograd.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn

from torchbp.circuits import Parameter, PauliSum, constant
from torchbp.errors import CircuitError
from torchbp.translation.tracing import Measurement, TracedGate

CLOSE = 1e-5
SAMPLES = 2
NOT_MEASURED = (
    "What the module returns is not a weighted sum of expectation values of tq.MeasureAll or tq.expval: pass "
    "observables= for what is measured, and put what is computed from it behind the layer. Or leave the module as it "
    "is, and run the circuits in it: model = QuantumLayer.within(module)."
)
_ONE_SAMPLE = "An angle of {gate} is the same for the whole batch, and made of one sample's features."
_RESOLUTION = 2**20

_Weight = tuple[str, int, float, float]
"""A parameter's name, the index into its values, the value, and the derivative by it."""
_Feature = tuple[int, float, float]
"""A column, its value, and the derivative by it."""


class Sources:
    """What angles may be made of: the trainable parameters of `module`, and features `x` (SAMPLES, F) or None.

    Fills the parameters with distinct numbers, all of the given sign, and makes such features.
    """

    def __init__(self, module: nn.Module, n_features: int, sign: int) -> None:
        trained = {n: p for n, p in module.named_parameters() if p.requires_grad and not p.is_complex()}
        sizes = [p.numel() for p in trained.values()]
        *parts, features = (sign * _distinct(sum(sizes) + SAMPLES * n_features)).split([*sizes, SAMPLES * n_features])
        for parameter, part in zip(trained.values(), parts, strict=True):
            parameter.data = part.view(parameter.shape)
        self.x = features.view(SAMPLES, n_features).requires_grad_() if n_features else None
        self._names, self.leaves = list(trained), list[Tensor](trained.values())
        self._weights = {v: (n, i) for n, part in zip(trained, parts, strict=True) for i, v in enumerate(part.tolist())}
        self._columns = {v: i for i, v in enumerate(features[:n_features].tolist())}

    def angle(self, gate: TracedGate, column: Tensor) -> Parameter:
        """What one angle of a gate, (1,) or (SAMPLES,), is made of; `Parameter.token` tells weights apart."""
        if (plain := self._plain(column)) is not None:
            return plain
        values = column.tolist()
        samples = [self._source(gate, column, b) for b in range(len(values))]
        if not all(alike(p, q) for p, q in pairwise(samples)) or not math.isfinite(values[0]):
            raise CircuitError(not_linear(gate))
        if samples[0].kind == "feature" and len(values) < SAMPLES:
            raise CircuitError(_ONE_SAMPLE.format(gate=gate))
        return samples[0]

    def terms(self, gate: object, angle: Tensor | float) -> list[Parameter]:
        """What one angle, a number or a tensor of one or SAMPLES values, is the sum of; at least one term.

        Raises:
            CircuitError: it is made in another way, or not finite.
        """
        column = torch.as_tensor(angle, dtype=torch.float64).reshape(-1)
        if (plain := self._plain(column)) is not None:
            return [plain]
        samples = [self._terms(gate, column, b) for b in range(len(column))]
        for one, other in pairwise(samples):
            if len(one) != len(other) or not all(map(alike, one, other)):
                raise CircuitError(not_linear(gate))
        if not bool(column.isfinite().all()):
            raise CircuitError(not_linear(gate))
        if len(column) < SAMPLES and any(p.kind == "feature" for p in samples[0]):
            raise CircuitError(_ONE_SAMPLE.format(gate=gate))
        return samples[0]

    def _plain(self, column: Tensor) -> Parameter | None:
        """An angle that is a weight or a feature as it stands, which its value alone tells."""
        values = column.tolist()
        if column.requires_grad and all(v == values[0] for v in values) and values[0] in self._weights:
            return Parameter("weight", token=self._weights[values[0]])
        if self.x is not None and column.requires_grad and len(values) == SAMPLES and values[0] in self._columns:
            index = self._columns[values[0]]
            if values == self.x[:, index].tolist():
                return Parameter("feature", (index,))
        return None

    def _terms(self, gate: object, column: Tensor, b: int) -> list[Parameter]:
        value = float(column[b].detach())
        weights, features = self._slopes(gate, column, b)
        if len(weights) + len(features) < 2 or (not weights and _is_product(value, features)):
            return [self._one(value, weights, features)]
        rest = value - sum(by * at for _, _, at, by in weights) - sum(by * at for _, at, by in features)
        found = [Parameter("weight", (), by, token=(name, index)) for name, index, _, by in weights]
        found += [Parameter("feature", (index,), by) for index, _, by in features]
        return [found[0] + _snap(rest), *found[1:]]

    def _source(self, gate: TracedGate, column: Tensor, b: int) -> Parameter:
        """One angle as a multiple of its source plus a number, by its derivatives."""
        value = float(column[b].detach())
        weights, features = self._slopes(gate, column, b)
        if len(weights) + len(features) > 1 and (weights or not _is_product(value, features)):
            of = [f"{n}[{i}]" for n, i, *_ in weights] + [f"feature {i}" for i, *_ in features]
            raise CircuitError(
                f"An angle of {gate} is made of {', '.join(of)}: it can be one parameter or one feature, times and "
                "plus a number, or a product of features. Compute it in the layer before, and make it a feature."
            )
        return self._one(value, weights, features)

    def _slopes(self, gate: object, column: Tensor, b: int) -> tuple[list[_Weight], list[_Feature]]:
        """The weights and the features that an angle depends on, each with its value and the angle's derivative."""
        weights: list[_Weight] = []
        features: list[_Feature] = []
        if column.requires_grad:
            leaves, width = (self.leaves, 0) if self.x is None else ([*self.leaves, self.x], self.x.shape[1])
            slopes = torch.autograd.grad(column[b], leaves, retain_graph=True, allow_unused=True)
            for k, (leaf, slope) in enumerate(zip(leaves, slopes, strict=True)):
                flat = torch.zeros(0) if slope is None else slope.reshape(-1)
                if not bool(flat.isfinite().all()):
                    raise CircuitError(not_linear(gate))
                for index in flat.nonzero()[:, 0].tolist():
                    at, by = float(leaf.detach().reshape(-1)[index]), float(flat[index])
                    if leaf is not self.x:
                        weights.append((self._names[k], index, at, by))
                    elif index // width == b:
                        features.append((index % width, at, by))
                    else:
                        raise CircuitError(f"An angle of {gate} is made of several samples of the batch.")
        return weights, features

    def _one(self, value: float, weights: list[_Weight], features: list[_Feature]) -> Parameter:
        """An angle of one weight, of one feature, of a product of features, or of nothing."""
        if weights:
            name, index, at, by = weights[0]
            return Parameter("weight", (), by, _snap(value - by * at), token=(name, index))
        if not features:
            return constant(value)
        if not _is_product(value, features):
            index, at, by = features[0]
            return Parameter("feature", (index,), by, _snap(value - by * at))
        factors = [(i, at) for i, at, by in features for _ in range(round(at * by / value))]
        return Parameter("feature", tuple(i for i, _ in factors), value / math.prod(at for _, at in factors))


def alike(p: Parameter, q: Parameter) -> bool:
    """Whether two angles are made of the same in the same way, up to rounding."""
    same_source = (p.kind, p.indices, p.token) == (q.kind, q.indices, q.token)
    return same_source and math.isclose(p.scale, q.scale, rel_tol=CLOSE) and abs(p.offset - q.offset) < CLOSE


def observable(column: Tensor, measured: Sequence[Measurement]) -> PauliSum:
    """The weighted sum of expectation values that a column (B,) of what the module returned is.

    Raises:
        CircuitError: it is something else.
    """
    leaves = [m.values for m in measured]
    values = torch.cat(leaves, 1).detach()
    strings = [s for m in measured for s in m.strings]
    found = []
    for b in range(len(column)):
        slopes = torch.autograd.grad(column[b], leaves, retain_graph=True, materialize_grads=True)
        own = torch.cat([s[b] for s in slopes])
        if sum(int(s.count_nonzero()) for s in slopes) > own.count_nonzero():  # other samples' values count too
            raise CircuitError(NOT_MEASURED)
        terms = {"": _snap(float(column[b].detach() - own @ values[b]))}
        for string, coefficient in zip(strings, own.tolist(), strict=True):
            terms[string] = terms.get(string, 0.0) + coefficient
        found.append(PauliSum({s: c for s, c in terms.items() if c} or terms))
    if any(abs(c) > CLOSE for other in found for _, c in (other - found[0]).terms):
        raise CircuitError(NOT_MEASURED)
    return found[0]


def not_linear(gate: object) -> str:
    """The message for an angle that a circuit can't have."""
    return (
        f"An angle of {gate} is not one parameter or feature times and plus a number, nor a product of features: "
        "compute it in the layer before, and make it a feature, or take QuantumLayer.within(module), where it may be "
        "computed in any way."
    )


def _is_product(value: float, features: list[tuple[int, float, float]]) -> bool:
    """Whether a value is c * x_i^k * x_j^l * ...: each x_i * d(value)/dx_i is then k times the value."""
    degrees = [at * by / value for _, at, by in features] if value else [0.0]
    return all(abs(d - round(d)) < CLOSE and round(d) >= 1 for d in degrees)


def _snap(offset: float) -> float:
    return 0.0 if abs(offset) < CLOSE else offset


def _distinct(count: int) -> Tensor:
    """Different numbers between 8 and 56, exact in float32 too."""
    size = max(_RESOLUTION, count)
    generator = torch.Generator().manual_seed(0)
    return 8 + torch.randperm(size, generator=generator)[:count].double() * (48 / _RESOLUTION)
