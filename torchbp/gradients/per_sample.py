"""The gradient of every sample of a batch, from one forward and backward: the source `per_sample`."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from torchbp.errors import PreconditionError
from torchbp.gradients.capture import Captured, capture
from torchbp.gradients.groups import WeightGroup
from torchbp.gradients.layer_rules import rule_for
from torchbp.gradients.microbatch import batch_norm, batch_size, split_batch
from torchbp.gradients.source import Loss, Measured
from torchbp.gradients.stats import GradientStatistics
from torchbp.layer import QuantumLayer

SOURCE = "per_sample"


@dataclass(frozen=True)
class PerSample:
    """The samples of a batch as samples of the gradient, see `per_sample_gradients`."""

    name: str = SOURCE

    def measure(
        self, model: nn.Module, loss: Loss, batch: Any, groups: Sequence[WeightGroup], scale: float = 1.0
    ) -> Measured:
        """See `GradientSource`."""
        samples, unmeasured = per_sample_gradients(model, loss, batch, groups, scale)
        return Measured(self.name, GradientStatistics.from_samples(samples), unmeasured)


def per_sample_gradients(
    model: nn.Module, loss: Loss, batch: Any, groups: Sequence[WeightGroup], scale: float = 1.0
) -> tuple[Tensor, dict[str, str]]:
    """The gradient of the loss of every sample in a batch of B; `.grad` is neither read nor written.

    For a loss L = (1/B) sum_b l_b, row b is dl_b/dw. It comes from x_b and dL/dy_b of every layer y = f(x; w), noted
    in one forward and backward of the whole model: row b = B (dL/dy_b) (df/dw)(x_b). Quantum layers differentiate
    themselves, linear ones are outer products, others go through torch.func, layer by layer. The mean over the rows
    is the gradient of the batch, whatever the loss, and a layer whose rows do not add up to it has no data: a weight
    used outside of its layer, a penalty on weights, a layer with noise of its own.

    The standard error of that mean is s / sqrt(B), as for a batch of independent samples. A loss that looks at several
    samples at once (contrastive, ranked) makes a difference that is not seen here.

    Args:
        model, loss, batch, groups, scale: see `GradientSource.measure`. The loss is evaluated once, on a copy.

    Returns:
        (B, P), float32 or as the weights, and for groups that can't be measured the reason. NaN is "no sample": for a
        frozen weight, for one that the loss does not depend on, for all that can't be measured, and in the whole row
        if any gradient in it is infinite or NaN.

    Raises:
        PreconditionError: the batch holds no tensor, or BatchNorm mixes its samples.
    """
    size = batch_size(batch)
    if not size:
        raise PreconditionError(f"there is no tensor of samples in a batch of type {type(batch).__name__}")
    mixing = batch_norm(model)
    if mixing is not None:
        raise PreconditionError(f"{type(mixing).__name__} mixes the samples of a batch")
    wanted = _wanted(groups)
    owners = _owners(model, wanted)
    watched = {module: None for modules in owners.values() for module, _ in modules}

    def scaled(batch: Any) -> Tensor | None:
        value = loss(batch)
        return None if value is None else value * scale

    way = capture(scaled, split_batch(batch, 1)[0], watched, wanted)
    rows, reasons = _rows(way, owners, wanted, size)
    samples, unmeasured = _assemble(groups, rows, reasons, size)
    samples = samples * (size / scale)
    broken = (samples.isinf() | (samples.isnan() & ~samples.isnan().all(0))).any(1, keepdim=True)
    return samples.masked_fill(broken, math.nan), unmeasured


def _wanted(groups: Sequence[WeightGroup]) -> dict[nn.Parameter, Tensor | None]:
    """Of every parameter the indices that any group has, one group after the other; None for all, once."""
    found: dict[nn.Parameter, list[Tensor | None]] = {}
    for group in groups:
        for parameter, indices in group.parts:
            found.setdefault(parameter, []).append(indices)
    return {
        p: None if parts == [None] else torch.cat([torch.arange(p.numel()) if i is None else i.cpu() for i in parts])
        for p, parts in found.items()
    }


def _owners(
    model: nn.Module, parameters: Mapping[nn.Parameter, Tensor | None]
) -> dict[nn.Parameter, list[tuple[nn.Module, str]]]:
    """The modules that hold each parameter, and its name there; a quantum layer holds all that its weights are of."""
    owners: dict[nn.Parameter, list[tuple[nn.Module, str]]] = {}
    for module in model.modules():
        for name, parameter in module.named_parameters(recurse=isinstance(module, QuantumLayer)):
            if parameter in parameters and parameter.requires_grad:
                owners.setdefault(parameter, []).append((module, name))
    return owners


def _rows(
    way: Captured,
    owners: Mapping[nn.Parameter, list[tuple[nn.Module, str]]],
    wanted: Mapping[nn.Parameter, Tensor | None],
    size: int,
) -> tuple[dict[nn.Parameter, Tensor], dict[nn.Parameter, str]]:
    """(B, wanted) for every parameter with a gradient, or the reason why not."""
    asked: dict[nn.Module, dict[str, nn.Parameter]] = {}
    for parameter in way.gradients:
        for module, name in owners.get(parameter, ()):
            asked.setdefault(module, {})[name] = parameter
    rows: dict[nn.Parameter, Tensor] = {}
    reasons: dict[nn.Parameter, str] = {}
    for module, names in asked.items():
        for call in way.calls.get(module, ()):
            if call.cotangent is None:
                continue
            try:
                found = rule_for(module)(module, call, size, {name: wanted[p] for name, p in names.items()})
            except PreconditionError as error:
                reasons |= dict.fromkeys(names.values(), f"{type(module).__name__}: {error}")
                break
            for name, parameter in names.items():
                rows[parameter] = rows[parameter] + found[name] if parameter in rows else found[name]
    for parameter in way.gradients:
        if parameter not in rows:
            reasons.setdefault(parameter, "its parameters are used without a call of the layer that holds them")
    known = {p: r for p, r in rows.items() if p not in reasons}
    reasons |= _misfits(known, way, owners, wanted)
    return {p: r for p, r in known.items() if p not in reasons}, reasons


def _misfits(
    rows: Mapping[nn.Parameter, Tensor],
    way: Captured,
    owners: Mapping[nn.Parameter, list[tuple[nn.Module, str]]],
    wanted: Mapping[nn.Parameter, Tensor | None],
) -> dict[nn.Parameter, str]:
    """The parameters whose gradient is not the sum of its rows, up to rounding; relative to what was added up."""
    if not rows:
        return {}
    sizes = [r.shape[1] for r in rows.values()]
    every = torch.cat(list(rows.values()), 1)
    gradient = torch.cat([_pick(way.gradients[p], wanted[p]) for p in rows])
    parts = torch.stack([every.sum(0) - gradient, every.abs().sum(0)]).double().cpu().split(sizes, 1)
    found = {}
    for parameter, part in zip(rows, parts, strict=True):
        missing, total = torch.linalg.vector_norm(part, dim=1).tolist()
        if missing > _rounding(parameter, total, owners[parameter], way):  # and not if NaN
            found[parameter] = "the gradients of its samples do not add up to its gradient"
    return found


def _rounding(parameter: nn.Parameter, total: float, owners: Sequence[tuple[nn.Module, str]], way: Captured) -> float:
    """The error that is allowed for in a sum of rows whose absolute values have the norm `total`."""
    slopes = [c.cotangent for module, _ in owners for c in way.calls.get(module, ()) if c.cotangent is not None]
    half = any(slope.dtype in (torch.half, torch.bfloat16) for slope in slopes)
    allowed = (0.05 if half else 1e-3) * total
    layer = next((module for module, _ in owners if isinstance(module, QuantumLayer)), None)
    if layer is not None and slopes:  # on a plateau its gradient is the small difference of large numbers
        scales = slopes[0].new_tensor([sum(abs(c) for string, c in o.terms if string) for o in layer.observables])
        slope = float(sum((s.abs() * scales).sum() for s in slopes))
        allowed += 100 * torch.finfo(parameter.dtype).eps * parameter.numel() ** 0.5 * slope
    return allowed


def _pick(values: Tensor, indices: Tensor | None) -> Tensor:
    flat = values.reshape(-1)
    return flat if indices is None else flat[indices.to(flat.device)]


def _assemble(
    groups: Sequence[WeightGroup],
    rows: Mapping[nn.Parameter, Tensor],
    reasons: Mapping[nn.Parameter, str],
    size: int,
) -> tuple[Tensor, dict[str, str]]:
    """The columns of all groups, and the groups without data of which the reason is known."""
    taken = dict.fromkeys(rows, 0)
    columns, unmeasured = [], {}
    for group in groups:
        for parameter, indices in group.parts:
            n = parameter.numel() if indices is None else len(indices)
            if parameter in rows:
                columns.append(rows[parameter].narrow(1, taken[parameter], n))
                taken[parameter] += n
            else:
                columns.append(torch.full((size, n), math.nan, dtype=parameter.dtype, device=parameter.device))
            if parameter in reasons:
                unmeasured[group.name] = reasons[parameter]
    return torch.cat(columns, 1) if columns else torch.empty(size, 0), unmeasured
