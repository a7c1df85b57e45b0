"""Evaluation with its adjoint gradient, as autograd functions that compose with every transform of torch.

Forward runs the steps of a plan. Backward carries kappa, the conjugate of d(loss)/d(psi), through the same steps in
reverse: behind a step U it becomes U^T kappa, so the numbers of the forward pass serve as they are. At each step with
parameters, psi and kappa give their gradients. The states psi are either stored on the way forward, one for each such
step, or recomputed by running the inverse steps too: four states of memory whatever the depth.

Two functions, so that gradients can be differentiated again: the backward of `Evaluate` is `Adjoint`, whose own
backward differentiates `plain`, the same steps as ordinary operations. Forward mode runs on `plain` alone. Mapping
over a batch (vmap) folds the mapped axis into the batch of samples.
"""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor
from torch._C._functorch import peek_interpreter_stack
from torch.autograd import Function, forward_ad

from torchbp.backends.base import full_precision, is_traced
from torchbp.backends.fused.dense import collect_angles
from torchbp.backends.fused.plan import Plan
from torchbp.backends.fused.program import Program
from torchbp.backends.fused.readout import Readout
from torchbp.backends.fused.steps import Gradients, Scratch, Values


def evaluate(program: Program, shared: Tensor, own: Tensor, start: Tensor | None) -> Tensor:
    """The program's result for each sample, differentiable in all tensors."""
    if forward_ad._current_level >= 0 or is_traced():  # both follow the operations themselves
        return plain(program, shared, own, start)
    tracked = torch.is_grad_enabled() and any(t is not None and t.requires_grad for t in (shared, own, start))
    return _evaluate(program, tracked, shared, own, start)[0]


def plain(program: Program, shared: Tensor, own: Tensor, start: Tensor | None) -> Tensor:
    """The same in ordinary differentiable operations."""
    plan, readout = program.prepare(shared, own, start)
    values = plan.values(plan.build(shared), shared, own)
    final = _forward(plan, readout, values, own, start, Scratch(enabled=False))[0]
    return readout.read(final, readout.images(final))


class Evaluate(Function):
    @staticmethod
    def forward(program: Program, tracked: bool, shared: Tensor, own: Tensor, start: Tensor | None) -> Any:
        """The result, and behind it what backward needs: matrices, the final states and their images, stored states."""
        plan, readout = program.prepare(shared, own, start)
        matrices = plan.build(shared)
        store = tracked and program.stores(plan, own.shape[0])
        final, stored = _forward(plan, readout, plan.values(matrices, shared, own), own, start, Scratch(), store)
        images = readout.images(final)
        result = readout.read(final, images)
        return (result, *matrices, final, *images, *stored) if tracked else (result,)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
        ctx.program, _, *tensors = inputs
        ctx.set_materialize_grads(False)
        ctx.mark_non_differentiable(*output[1:])
        ctx.save_for_backward(*tensors, *output[1:])

    @staticmethod
    def backward(ctx: Any, cotangent: Tensor | None, *_: None) -> tuple[Any, ...]:
        if cotangent is None:
            return (None,) * 5
        needs = tuple(ctx.needs_input_grad[2:])
        collect = ctx.program.collect if needs[0] else None
        if torch._C._functorch.is_legacy_batchedtensor(cotangent):
            return (None, None, *_of_each_lane(ctx.program, needs, cotangent, ctx.saved_tensors))
        plain_backward = not torch.is_grad_enabled() and peek_interpreter_stack() is None
        adjoint = Adjoint.forward if plain_backward else _adjoint  # nobody watches: a function that is only called
        found = list(adjoint(ctx.program, needs, collect is not None, cotangent, *ctx.saved_tensors))
        if collect is not None:
            collect(found[0])
            found[0] = found[0].sum(0)
        rest = iter(found)
        return (None, None, *(next(rest) if need else None for need in needs))

    @staticmethod
    def vmap(info: Any, in_dims: tuple[Any, ...], program: Program, tracked: bool, *inputs: Tensor | None) -> Any:
        folded, inner = _fold(program, info.batch_size, in_dims[2:], inputs)
        result = _evaluate(inner, False, *folded)[0]
        return (result.reshape(info.batch_size, -1, result.shape[1]),), (0,)


class Adjoint(Function):
    @staticmethod
    def forward(
        program: Program,
        needs: tuple[bool, bool, bool],
        per_sample: bool,
        cotangent: Tensor,
        shared: Tensor,
        own: Tensor,
        start: Tensor | None,
        *kept: Tensor,
    ) -> tuple[Tensor, ...]:
        """Gradients of sum(cotangent * result) with respect to those of (shared, own, start) that are needed.

        With `per_sample`, that of the shared angles is (B, P). `kept` is what `Evaluate` left, if it did.
        """
        with full_precision(own.device):
            plan, readout = program.prepare(shared, own, start)
            count = 2 * len(plan.groups)
            matrices = kept[:count] if kept else plan.build(shared)
            values = plan.values(matrices, shared, own)
            if kept:
                final, *rest = kept[count:]
                images, stored = rest[: readout.n_images], rest[readout.n_images :]
            else:
                store = program.stores(plan, own.shape[0])
                final, stored = _forward(plan, readout, values, own, start, Scratch(), store)
                images = readout.images(final)
            gradients = Gradients.zeros(needs, per_sample, shared, own)
            kappa = readout.pull(final, images, cotangent)
            kappa = _backward(plan, readout, values, gradients, final, stored, kappa, needs[2])
            collect_angles(gradients, plan.groups, matrices[len(plan.groups) :])
        by_start = plan.entry.leave(kappa).conj().resolve_conj() if needs[2] else None
        found = (gradients.by_shared, gradients.own, by_start)
        return tuple(g for g, need in zip(found, needs, strict=True) if need and g is not None)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
        ctx.program, ctx.needs, ctx.per_sample, *tensors = inputs
        ctx.save_for_backward(*tensors[:4])

    @staticmethod
    def backward(ctx: Any, *cotangents: Tensor) -> tuple[Any, ...]:
        tensors = ctx.saved_tensors
        given = tuple(t for t in tensors if t is not None)
        pull = torch.func.vjp(lambda *t: _plain_gradients(ctx, *_refill(t, tensors)), *given)[1]
        grads = _refill(pull(tuple(cotangents)), tensors)
        return (None, None, None, *grads, *[None] * (len(ctx.needs_input_grad) - 7))

    @staticmethod
    def vmap(
        info: Any,
        in_dims: tuple[Any, ...],
        program: Program,
        needs: tuple[bool, bool, bool],
        per_sample: bool,
        cotangent: Tensor,
        *tensors: Tensor | None,
    ) -> Any:
        size, (shared, own, start) = info.batch_size, tensors[:3]
        dims = in_dims[4:7]
        folded, inner = _fold(program, size, dims, (shared, own, start))
        cotangents = _spread(cotangent, in_dims[3], size).flatten(0, 1)
        assert shared is not None
        assert own is not None
        if dims[0] is None:  # shared by the lanes too: each wants its own sum over its samples
            found = iter(_adjoint(inner, needs, True, cotangents, *folded))
            grads = [next(found) if need else None for need in needs]
        else:
            found = iter(_adjoint(inner, (False, needs[0] or needs[1], needs[2]), True, cotangents, *folded))
            both = next(found) if needs[0] or needs[1] else None
            width = own.shape[-1]
            grads = [None, None, next(found) if needs[2] else None]
            if both is not None:
                grads[:2] = [both[:, width:] if needs[0] else None, both[:, :width] if needs[1] else None]
        lanes = [None if g is None else g.reshape(size, -1, g.shape[-1]) for g in grads]
        if lanes[0] is not None and not per_sample:
            lanes[0] = lanes[0].sum(1)
        out = tuple(lane for lane in lanes if lane is not None)
        return out, (0,) * len(out)


def _of_each_lane(
    program: Program, needs: tuple[bool, bool, bool], cotangent: Tensor, saved: Sequence[Tensor]
) -> list[Tensor | None]:
    """The gradients for several cotangents at once, as `is_grads_batched` and `jacobian(vectorize=True)` ask for.

    Autograd then maps over its engine with a vmap of an older kind, which doesn't ask functions for their rule.
    """
    level = torch._C._vmapmode_increment_nesting() - 1
    torch._C._vmapmode_decrement_nesting()
    lanes = torch._remove_batch_dim(cotangent, level, 0, 0)
    shared, own, start, *_ = saved
    info = SimpleNamespace(batch_size=len(lanes))
    found, _ = Adjoint.vmap(info, (None, None, None, 0, *(None,) * 3), program, needs, False, lanes, shared, own, start)
    rest = iter(found)
    return [torch._add_batch_dim(next(rest), 0, level) if need else None for need in needs]


_evaluate: Any = Evaluate.apply
_adjoint: Any = Adjoint.apply

# Function.apply asks for the signature of `forward` at every call; reading it off the code takes 50 us each time.
_forwards: tuple[Any, ...] = (Evaluate.forward, Adjoint.forward)
for _function in _forwards:
    _function.__signature__ = inspect.signature(_function)


def per_sample_gradients(
    program: Program, cotangent: Tensor, shared: Tensor, own: Tensor, start: Tensor | None
) -> Tensor:
    """(B, P): row b is d(sum_m cotangent[b, m] result[b, m]) / d(shared)."""
    return _adjoint(program, (True, False, False), True, cotangent, shared, own, start)[0]


def _forward(
    plan: Plan,
    readout: Readout,
    values: Values,
    own: Tensor,
    start: Tensor | None,
    scratch: Scratch,
    store: bool = False,
) -> tuple[Tensor, list[Tensor]]:
    """The final states and, if asked for, those behind each earlier step with parameters."""
    states = plan.start if start is None else plan.entry.enter(start)
    assert states is not None
    steps = [*plan.steps[plan.first :], *readout.closing]
    if start is None and not (steps and steps[0].uses_own):
        shape = (-1, own.shape[0]) if plan.entry.batch_last else (own.shape[0], -1)  # else the phases broadcast
        states = states.expand(shape).contiguous()
    stored: list[Tensor] = []
    held = states  # not ours to write to
    for step in steps:
        new = step.apply(states, values, scratch)
        if states is not held:
            scratch.give(states)
        states = new
        if store and step.trainable:
            stored.append(states)
            held = states
    return states, stored[:-1] if stored and stored[-1] is states else stored


def _backward(
    plan: Plan,
    readout: Readout,
    values: Values,
    gradients: Gradients,
    final: Tensor,
    stored: Sequence[Tensor],
    kappa: Tensor,
    to_start: bool,
) -> Tensor:
    """The adjoint sweep: collects the gradients, and returns kappa at the start of the circuit if asked for.

    Recomputes the states if none are stored. Writes to `kappa`, not to `final` and `stored`.
    """
    steps = [*plan.steps, *readout.closing]
    wanted = [gradients.wants(step) for step in steps]
    first = plan.first if to_start else wanted.index(True) if any(wanted) else len(wanted)
    scratch, remaining = Scratch(), list(stored)
    transposed, inverse = values.transpose(), None if stored else values.inverse()
    psi = final
    for number in range(len(steps) - 1, first - 1, -1):
        step = steps[number]
        if step.trainable and number + 1 < len(steps) and stored:
            psi = remaining.pop()
        if wanted[number]:
            step.collect(psi, kappa, gradients)
        if number > first or to_start:
            new = step.apply(kappa, transposed, scratch)
            scratch.give(kappa)
            kappa = new
        if number > first and inverse is not None:
            new = step.apply(psi, inverse, scratch)
            if psi is not final:
                scratch.give(psi)
            psi = new
    return kappa


def _plain_gradients(ctx: Any, cotangent: Tensor, shared: Tensor, own: Tensor, start: Tensor | None) -> Any:
    """What `Adjoint` computes, in ordinary differentiable operations."""
    rows = shared.expand(own.shape[0], -1) if ctx.per_sample else shared
    program = ctx.program.with_sampled_weights(own.shape[1]) if ctx.per_sample else ctx.program

    def run(*tensors: Tensor) -> Tensor:
        weights, samples, states = _refill(tensors, (shared, own, start))
        if ctx.per_sample:
            return plain(program, shared.new_empty(0), torch.cat([samples, weights], 1), states)
        return plain(program, weights, samples, states)

    given = tuple(t for t in (rows, own, start) if t is not None)
    pull = torch.func.vjp(run, *given)[1]
    found = pull(cotangent)
    return tuple(g for g, need in zip(found, ctx.needs, strict=False) if need)


def _refill(given: Sequence[Tensor], pattern: Sequence[Tensor | None]) -> list[Any]:
    """The given tensors in the places where the pattern has one."""
    rest = iter(given)
    return [None if place is None else next(rest) for place in pattern]


def _spread(tensor: Tensor, dim: int | None, size: int) -> Tensor:
    """The mapped axis first, made if there is none."""
    return tensor.expand(size, *tensor.shape) if dim is None else tensor.movedim(dim, 0)


def _fold(
    program: Program, size: int, dims: Sequence[int | None], inputs: Sequence[Tensor | None]
) -> tuple[tuple[Tensor, Tensor, Tensor | None], Program]:
    """One evaluation of size * B samples; mapped weights become each sample's own."""
    shared, own, start = inputs
    assert shared is not None
    assert own is not None
    batch = own.shape[0 if dims[1] != 0 else 1] if dims[1] is not None else len(own)
    flat = _spread(own, dims[1], size).flatten(0, 1)
    states = None if start is None else _spread(start, dims[2], size).flatten(0, 1)
    if dims[0] is None:
        return (shared, flat, states), program
    batch = len(flat) // size
    weights = _spread(shared, dims[0], size).repeat_interleave(batch, 0)
    return (shared.new_empty(0), torch.cat([flat, weights], 1), states), program.with_sampled_weights(own.shape[-1])
