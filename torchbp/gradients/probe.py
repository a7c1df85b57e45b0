"""`probe`: the gradients of a model on one batch, layer by layer, without a trainer."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Literal, get_args

import torch
from torch import Tensor, nn

from torchbp.arguments import checked
from torchbp.arguments.kinds import a, anything, either, text
from torchbp.errors import InputError, PreconditionError, UnknownNameError
from torchbp.gradients.groups import WeightGroup, find_groups
from torchbp.gradients.isolation import undisturbed
from torchbp.gradients.microbatch import Microbatch, batch_size, n_parts, smallest_part
from torchbp.gradients.per_sample import PerSample
from torchbp.gradients.source import GradientSource, Loss, Measured
from torchbp.gradients.stats import RESOLVED, LayerSummary
from torchbp.gradients.table import layer_table
from torchbp.layer import QuantumLayer
from torchbp.translation.adapters.table import adapter_of

SourceName = Literal["auto", "per_sample", "microbatch"]
"""Of the two sources that a batch is enough for; "auto" is the first that fits."""


class ProbeReport(list[LayerSummary]):
    """One `LayerSummary` a layer, shown as a table.

    Attributes:
        source: where the samples come from.
        reason: why "auto" did not take the exact source; empty if it did.
        unmeasured: why a layer has no data, by its name, where its source can't measure it.
    """

    def __init__(self, measured: Measured, groups: Sequence[WeightGroup]) -> None:
        super().__init__(measured.summaries(groups))
        self.source, self.reason, self.unmeasured = measured.source, measured.reason, dict(measured.unmeasured)

    def __repr__(self) -> str:
        because = f" ({self.reason})" if self.reason else ""
        head = f"Source `{self.source}`{because}; an SNR of {RESOLVED:g} or more is measurable."
        missing = "".join(f"\n`{name}` is not measured: {why}." for name, why in self.unmeasured.items())
        return f"{head}\n\n{layer_table(self)}{missing}"

    _repr_markdown_ = __repr__


@checked(model=a(nn.Module), batch=anything, source=either(text, a(GradientSource)))
def probe(
    model: nn.Module,
    batch: Any,
    loss_fn: Callable[[Any, Any], Tensor] | None = None,
    *,
    source: SourceName | GradientSource = "auto",
    n_microbatches: int = 8,
    groups: Callable[[nn.Module], list[WeightGroup]] = find_groups,
) -> ProbeReport:
    """Gradient SNR, magnitude and variance of every layer on one batch, leaving no trace in the model.

    Args:
        model: as it is trained, in train or eval mode.
        batch: what `loss_fn` takes; nested tensors with the samples along their first dimension.
        loss_fn: `(model, batch) -> loss`, a mean over samples. Left out, it is the mean over the model's outputs for
            `batch`, or for the first thing in it if it is a tuple or a list.
        source: "per_sample" (exact, one forward and backward), "microbatch", "auto" (the first of them whose
            conditions hold, see `measure`), or any `GradientSource`.
        n_microbatches: parts that the source "microbatch" splits the batch into; at least 2.
        groups: which weights form a layer.

    Raises:
        InputError: `n_microbatches` below 2, or a batch of fewer than two samples (BatchNorm: four).
        PreconditionError: the model does not meet the conditions of the source asked for.
        UnknownNameError: no such source.

    What it does not show: a low SNR alone is no barren plateau, a converged model has one too; and it belongs to this
    batch size.
    """
    loss_of = _mean_output if loss_fn is None else loss_fn
    found = groups(model)
    with torch.enable_grad(), undisturbed(model):
        if not isinstance(source, str):
            return ProbeReport(source.measure(model, lambda part: loss_of(model, part), batch, found), found)
        size, smallest = batch_size(batch), smallest_part(model)
        if n_parts(size or 0, n_microbatches, smallest) < 2:
            raise InputError(unfit_batch(batch, smallest))
        measured = measure(model, lambda part: loss_of(model, part), batch, found, source, n_microbatches)
    return ProbeReport(measured, found)


def measure(
    model: nn.Module,
    loss: Loss,
    batch: Any,
    groups: Sequence[WeightGroup],
    source: SourceName,
    n_microbatches: int,
    scale: float = 1.0,
    agree: Callable[[int], int] = int,
) -> Measured:
    """By the source of this name; "auto" is `per_sample` wherever that measures what matters, else `microbatch`.

    What matters are the quantum layers; in a model without any, all layers. Finite shots are measured from
    micro-batches: their samples then contain the shot noise, and cost no more shots than the batch in one piece.

    Args:
        model, loss, batch, groups, scale: see `GradientSource.measure`.
        agree: the minimum of a number over all processes; each must come to the same choice.

    Raises:
        PreconditionError: the source "per_sample" was asked for, and the model does not meet its conditions.
        UnknownNameError: no such source.
    """
    check_source(source)
    if source == "per_sample":
        return PerSample().measure(model, loss, batch, groups, scale)
    reason = ""
    if source == "auto":
        found = None
        try:
            reason = _unfit_model(groups, model)
            if not reason:
                found = PerSample().measure(model, loss, batch, groups, scale)
                reason = _missing(found, groups)
        except PreconditionError as error:
            reason = str(error)
        except Exception as error:  # if it comes from the model, it comes again with the parts
            reason = f"{type(error).__name__}: {error}"
        if agree(int(not reason)) and found is not None:
            return found
    parts = Microbatch(agree(n_parts(batch_size(batch) or 0, n_microbatches, smallest_part(model))))
    measured = parts.measure(model, loss, batch, groups, scale)
    return Measured(measured.source, measured.statistics, reason=reason)


def check_source(source: str) -> None:
    """
    Raises:
        UnknownNameError: no source has this name.
    """
    if source not in get_args(SourceName):
        raise UnknownNameError("source", source, get_args(SourceName))


def unfit_batch(batch: Any, smallest: int) -> str:
    """What is wrong with a batch that gives fewer than two samples."""
    size = batch_size(batch)
    if size is None:
        return f"There is no tensor to split in a batch of type {type(batch).__name__}."
    return f"A spread takes two parts of at least {smallest} each, which a batch of {size} does not give."


def _unfit_model(groups: Sequence[WeightGroup], model: nn.Module) -> str:
    """Why there is no use in trying `per_sample`, without evaluating anything."""
    layers = [m for m in model.modules() if isinstance(m, QuantumLayer)]
    foreign = {m: adapter for m in model.modules() if (adapter := adapter_of(m)) is not None}
    shots = [layer.shots for layer in layers] + [adapter.shots(m) for m, adapter in foreign.items()]
    if any(count is not None for count in shots):
        return "a quantum layer measures with finite shots, whose noise belongs to its gradient"
    if (other := next((a for a in foreign.values() if a.library and a.per_sample is None), None)) is not None:
        return f"torchbp has no way to the gradient of a single sample in {other.library}"
    known = {p for layer in (*layers, *foreign) for p in layer.parameters()}
    for group in groups:
        if group.kind == "quantum" and any(p.requires_grad and p not in known for p, _ in group.parts):
            return f"{group.name} has weights of its own, outside of a layer that torchbp knows"
    return ""


def _missing(found: Measured, groups: Sequence[WeightGroup]) -> str:
    """The reason why a group that matters has not been measured."""
    quantum = [g.name for g in groups if g.kind == "quantum" and any(p.requires_grad for p, _ in g.parts)]
    name = next((name for name in found.unmeasured if not quantum or name in quantum), None)
    return "" if name is None else f"{name} can't be measured sample by sample: {found.unmeasured[name]}"


def _mean_output(model: Any, batch: Any) -> Tensor:
    inputs = batch[0] if isinstance(batch, list | tuple) else batch
    return model(inputs).mean()
