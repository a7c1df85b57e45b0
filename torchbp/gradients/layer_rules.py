"""The gradients of one layer's weights for every sample, from what went in and the loss's derivative by what came out.

One rule for each kind of layer: `(module, call, size, wanted) -> rows`. A rule raises `PreconditionError` with the
reason where it does not apply.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from torchbp.errors import PreconditionError
from torchbp.gradients.capture import Call
from torchbp.layer import QuantumLayer
from torchbp.translation.adapters.table import adapter_of

Wanted = Mapping[str, Tensor | None]
"""Names of the layer's own parameters, each with the indices into its flattened values (None: all)."""
Rule = Callable[[nn.Module, Call, int, Wanted], dict[str, Tensor]]

_CHUNK = 2**24
"""Numbers that torch.func may hold at once: samples times weights."""


def rule_for(module: nn.Module) -> Rule:
    """How to get the per-sample gradients of this layer."""
    adapter = adapter_of(module)
    others = by_vmap if adapter is None or adapter.per_sample is None else foreign
    return next((rule for kind, rule in RULES.items() if isinstance(module, kind)), others)


def quantum(module: nn.Module, call: Call, size: int, wanted: Wanted) -> dict[str, Tensor]:
    """From the backward that the fused backend has just gone through, or from `QuantumLayer.per_sample_gradients`."""
    assert isinstance(module, QuantumLayer)
    if module.shots is not None:
        raise PreconditionError("it measures with finite shots, whose noise belongs to its gradient")
    if "initial_state" in call.keywords or len(call.arguments) > 1:
        raise PreconditionError("it starts from a given initial_state")
    x = call.arguments[0] if call.arguments else call.keywords.get("x")
    if x is None:
        raise PreconditionError("it has no input: its output is the same for all samples")
    cotangent = _cotangent(call, x, size)
    if x.ndim < 2:
        raise PreconditionError("one sample without a batch goes into it")
    rows = call.rows[-1].detach() if call.rows else module.per_sample_gradients(x, cotangent)
    rows = rows.reshape(size, -1, rows.shape[-1]).sum(1)  # over the positions of a sequence
    found = {"weights": rows}
    if not isinstance(module.weights, nn.Parameter):  # they are put together from another library's parameters
        own = dict(module.named_parameters())
        parts = torch.autograd.grad(module.weights, [own[name] for name in wanted], rows, is_grads_batched=True)
        found = {name: part.flatten(1) for name, part in zip(wanted, parts, strict=True)}
    return {name: found[name] if i is None else found[name][:, i.to(rows.device)] for name, i in wanted.items()}


def foreign(module: nn.Module, call: Call, size: int, wanted: Wanted) -> dict[str, Tensor]:
    """The way of the library that the layer comes from."""
    adapter = adapter_of(module)
    assert adapter is not None
    assert adapter.per_sample is not None
    x = next((v for v in (*call.arguments, *call.keywords.values()) if isinstance(v, Tensor)), None)
    cotangent = _cotangent(call, x, size)
    assert x is not None
    try:
        rows = adapter.per_sample(module, x, cotangent)
    except PreconditionError:
        raise
    except Exception as error:
        raise PreconditionError(f"{adapter.library} can't take it sample by sample: {_first_line(error)}") from error
    own = dict(module.named_parameters())
    return {n: rows[own[n]] if i is None else rows[own[n]][:, i.to(x.device)] for n, i in wanted.items()}


def linear(module: nn.Module, call: Call, size: int, wanted: Wanted) -> dict[str, Tensor]:
    """dL/dW = sum over positions of (dL/dy) x^T, dL/db = the sum of dL/dy."""
    assert isinstance(module, nn.Linear)
    (x,) = call.arguments or call.keywords.values()
    dtype = module.weight.dtype
    slopes = _cotangent(call, x, size).to(dtype).reshape(size, -1, module.out_features)
    rows = {}
    for name, indices in wanted.items():
        if name == "bias":
            every = slopes.sum(1)
            rows[name] = every if indices is None else every[:, indices.to(every.device)]
            continue
        inputs = x.detach().to(dtype).reshape(size, -1, module.in_features)
        if indices is None:
            rows[name] = torch.einsum("bto,bti->boi", slopes, inputs).flatten(1)
        else:
            indices = indices.to(inputs.device)
            to, of = indices // module.in_features, indices % module.in_features
            rows[name] = torch.stack([(s[:, to] * i[:, of]).sum(0) for s, i in zip(slopes, inputs, strict=True)])
    return rows


def by_vmap(module: nn.Module, call: Call, size: int, wanted: Wanted) -> dict[str, Tensor]:
    """Any other layer, alone and one sample at a time, by torch.func."""
    if next(module.children(), None) is not None:
        raise PreconditionError("its parameters stand beside layers of its own")
    own = dict(module.named_parameters(recurse=False))
    weights = {name: own[name].detach() for name in wanted}
    dtype = next(iter(weights.values())).dtype
    names, values = list(call.keywords), [*call.arguments, *call.keywords.values()]
    values = [v.detach().to(dtype) if _floating(v) else v for v in values]
    batched = [isinstance(v, Tensor) and v.ndim > 0 and len(v) == size for v in values]
    cotangent = _cotangent(call, next((v for v, b in zip(values, batched, strict=True) if b), None), size)

    def output(weights: dict[str, Tensor], one: list[Any], slope: Tensor) -> Tensor:
        rows = iter(one)
        every = [next(rows)[None] if b else v for v, b in zip(values, batched, strict=True)]
        split = len(every) - len(names)
        keywords = dict(zip(names, every[split:], strict=True))
        y = torch.func.functional_call(module, weights, tuple(every[:split]), keywords)
        return (y[0] * slope.to(y.dtype)).sum()

    def row(one: list[Any], slope: Tensor) -> dict[str, Tensor]:
        found = torch.func.grad(output)(weights, one, slope)
        flat = {name: g.reshape(-1) for name, g in found.items()}
        return {n: g if (i := wanted[n]) is None else g[i.to(g.device)] for n, g in flat.items()}

    samples = [v for v, b in zip(values, batched, strict=True) if b]
    chunk = max(1, _CHUNK // sum(w.numel() for w in weights.values()))
    try:
        with warnings.catch_warnings(), torch.enable_grad():
            warnings.simplefilter("ignore")  # of batching rules that torch.func lacks
            return torch.func.vmap(row, chunk_size=chunk)(samples, cotangent)
    except Exception as error:
        raise PreconditionError(f"torch.func can't take it sample by sample: {_first_line(error)}") from error


RULES: dict[type[nn.Module], Rule] = {QuantumLayer: quantum, nn.Linear: linear}


def _cotangent(call: Call, x: Any, size: int) -> Tensor:
    assert call.cotangent is not None
    rows = len(x) if isinstance(x, Tensor) and x.ndim else None
    if rows != size or len(call.cotangent) != size:
        got = "no tensor of samples" if rows is None else f"{rows} rows"
        raise PreconditionError(f"a batch of {size} goes into it as {got}")
    return call.cotangent


def _floating(value: Any) -> bool:
    return isinstance(value, Tensor) and value.is_floating_point()


def _first_line(error: Exception) -> str:
    return str(error).strip().partition("\n")[0]
