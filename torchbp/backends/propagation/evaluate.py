"""Values of a program with their gradients: the walk, recorded as far as memory allows, and walked back."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from torchbp.backends.propagation.program import Program
from torchbp.backends.propagation.truncation import Truncation
from torchbp.backends.propagation.walk import Angles, AngleSlopes, Limits, Record, Walk, back_through


@dataclass(frozen=True, eq=False)
class Task:
    """All that a propagation takes besides its angles.

    Attributes:
        columns: see `Angles`.
        store_bytes: memory for what a walk records. Beyond it only strings are kept, at the beginnings of stretches
            that would record so much each, and the stretches are walked again.
        report: is told what was dropped.
    """

    program: Program
    limits: Limits
    columns: dict[str, tuple[bool, int]]
    batch: int
    store_bytes: int
    report: Callable[[Truncation], None]


@dataclass(eq=False)
class _Stretch:
    """Steps from a walk's position on; `records` is None if they are to be walked again, to `end`."""

    begin: Walk
    records: list[Record] | None
    end: int = 0


def evaluate(task: Task, shared: Tensor, sampled: Tensor) -> Tensor:
    """(B, M) from the angles that samples share, (S,), and those they don't, (B, S'); differentiable once in both."""
    return _Evaluate.apply(shared, sampled, task)  # type: ignore[no-untyped-call]


def per_sample_slopes(task: Task, shared: Tensor, sampled: Tensor, cotangent: Tensor) -> Tensor:
    """(B, S): each sample's derivatives by the shared angles, for dL/dy (B, M)."""
    walk, stretches = _run(task, shared, sampled, record=True)
    slopes = AngleSlopes(shared.new_zeros(task.batch, shared.shape[0]), torch.zeros_like(sampled))
    _back(walk, stretches, cotangent, slopes)
    return slopes.shared


class _Evaluate(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, shared: Tensor, sampled: Tensor, task: Task) -> Tensor:
        walk, stretches = _run(task, shared, sampled, record=any(ctx.needs_input_grad))
        values, _, _ = walk.outputs()
        bound, squares = walk.dropped.transpose(1, 2)
        task.report(Truncation(bound, squares.sqrt(), walk.most))
        ctx.walked, ctx.task = (walk, stretches), task
        ctx.save_for_backward(shared, sampled)
        return values.T.expand(task.batch, -1).contiguous()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, cotangent: Tensor) -> tuple[Tensor, Tensor, None]:
        shared, sampled = ctx.saved_tensors
        slopes = AngleSlopes(torch.zeros_like(shared), torch.zeros_like(sampled))
        walk, stretches = ctx.walked
        _back(walk, stretches, cotangent, slopes)
        return slopes.shared, slopes.sampled, None


def _run(task: Task, shared: Tensor, sampled: Tensor, record: bool) -> tuple[Walk, list[_Stretch]]:
    walk = Walk(task.program, Angles(shared, sampled, task.columns), task.limits, task.batch, shared)
    stretches, size = [_Stretch(walk.copy(), [])] if record else [], 0
    while walk.at < len(task.program.steps):
        taken = walk.advance(record)
        if record:
            records = stretches[-1].records
            assert records is not None
            records += taken
            size += sum(r.size for r in taken)
            stretches[-1].end = walk.at
            if size > task.store_bytes:
                stretches[-1].records, size = None, 0
                stretches.append(_Stretch(walk.copy(), []))
    return walk, stretches


def _back(walk: Walk, stretches: list[_Stretch], cotangent: Tensor, slopes: AngleSlopes) -> None:
    """Collect dL/d(angles) for dL/dy (B, M)."""
    values, kept, owners = walk.outputs()
    by_observable = cotangent.T.to(values)
    if values.shape[1] == 1 and slopes.shared.ndim == 1:
        by_observable = by_observable.sum(1, keepdim=True)
    now = values.new_zeros(walk.strings.count, by_observable.shape[1])
    now.index_copy_(0, kept, by_observable.index_select(0, owners))
    for stretch in reversed(stretches):
        records = stretch.records
        if records is None:
            again, records = stretch.begin.copy(), []
            while again.at < stretch.end:
                records += again.advance(True)
        now = back_through(records, now, slopes)
