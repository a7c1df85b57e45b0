"""Run a model without leaving a trace in it, or in any random number generator."""

from __future__ import annotations

import random
import sys
from collections import deque
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

_GENERATORS = (torch.Generator, np.random.Generator, np.random.RandomState, random.Random)
_SAVED = (dict, list, deque, set, *_GENERATORS)
_GONE = object()


@contextmanager
def undisturbed(module: nn.Module) -> Iterator[None]:
    """Put back, on leaving, everything that calling `module` in this block may have touched; after an error too.

    - The global random states of Python, numpy and torch (CPU, CUDA, MPS), and those of every generator that a
      submodule has as an attribute.
    - Every attribute of every submodule: train mode, counters, hooks, buffers, metric states; lists, dicts, sets and
      deques with their contents, nested ones too.
    - Every tensor among them: the block works on copies, so that what is changed in place is a copy.
    - Values, `requires_grad` and `.grad` of the parameters; `.grad` is None inside.
    - What torch.compile has compiled: the block runs eagerly, so that batches of another size compile nothing anew.

    What it cannot see: the inside of other objects (a logger, a closure's list), files, other processes. It costs a
    copy of all parameters and buffers.
    """
    with ExitStack() as undo:
        _save_global_random_states(undo)
        if "torch._dynamo" in sys.modules and hasattr(torch.compiler, "set_stance"):
            undo.enter_context(torch.compiler.set_stance("force_eager"))
        saver = _Saver(undo)
        for part in module.modules():
            saver.visit(vars(part))
        for parameter in module.parameters():
            undo.callback(_restore_parameter, parameter, *_parameter_state(parameter))
            parameter.grad = None
        yield


class _Saver:
    """Saves containers and generators, and swaps the tensors in them for copies, each object once."""

    def __init__(self, undo: ExitStack) -> None:
        self.undo = undo
        self.copies: dict[int, Tensor] = {}
        self.seen: dict[int, object] = {}  # keeps the objects, since only among the living is an id unique

    def visit(self, value: Any) -> Any:
        """What stands in for the value inside the block: a copy of a tensor, else the value itself."""
        if isinstance(value, Tensor):
            return self._copy(value)
        if type(value) is tuple:
            items = tuple(map(self.visit, value))
            return value if all(a is b for a, b in zip(items, value, strict=True)) else items
        if not isinstance(value, _SAVED) or id(value) in self.seen:
            return value
        self.seen[id(value)] = value
        if isinstance(value, dict):
            items_before = dict(value)
            self.undo.callback(_restore_dict, value, items_before)
            for key, item in items_before.items():
                if (stand_in := self.visit(item)) is not item:
                    value[key] = stand_in
        elif isinstance(value, list):
            self.undo.callback(value.__setitem__, slice(None), list(value))
            value[:] = map(self.visit, list(value))
        elif isinstance(value, deque):
            self.undo.callback(_restore_deque, value, list(value))
            items_now = list(map(self.visit, value))
            _restore_deque(value, items_now)
        elif isinstance(value, set):
            self.undo.callback(_restore_set, value, set(value))
        else:
            _save_generator(value, self.undo)
        return value

    def _copy(self, tensor: Tensor) -> Tensor:
        if isinstance(tensor, nn.Parameter) or nn.parameter.is_lazy(tensor):
            return tensor
        if id(tensor) not in self.copies:
            self.seen[id(tensor)] = tensor
            self.copies[id(tensor)] = tensor.detach().clone().requires_grad_(tensor.requires_grad)
        return self.copies[id(tensor)]


def _restore_dict(current: dict[Any, Any], before: dict[Any, Any]) -> None:
    if list(current) != list(before):
        current.clear()
    for key, item in before.items():
        if current.get(key, _GONE) is not item:
            current[key] = item


def _restore_deque(current: deque[Any], before: list[Any]) -> None:
    current.clear()
    current.extend(before)


def _restore_set(current: set[Any], before: set[Any]) -> None:
    current.clear()
    current.update(before)


def _parameter_state(parameter: nn.Parameter) -> tuple[Tensor | None, bool, Tensor | None]:
    values = None if nn.parameter.is_lazy(parameter) else parameter.detach().clone()
    return values, parameter.requires_grad, parameter.grad


@torch.no_grad()
def _restore_parameter(
    parameter: nn.Parameter, values: Tensor | None, requires_grad: bool, grad: Tensor | None
) -> None:
    if values is None:  # without a shape yet
        return
    if not torch.equal(parameter, values):  # unchanged ones keep their version
        parameter.copy_(values)
    parameter.requires_grad_(requires_grad)
    parameter.grad = grad


def _save_global_random_states(undo: ExitStack) -> None:
    undo.callback(random.setstate, random.getstate())
    undo.callback(np.random.set_state, np.random.get_state())
    undo.callback(torch.set_rng_state, torch.get_rng_state())
    if torch.cuda.is_available() and torch.cuda.is_initialized():
        undo.callback(torch.cuda.set_rng_state_all, torch.cuda.get_rng_state_all())
    if torch.backends.mps.is_available():
        undo.callback(torch.mps.set_rng_state, torch.mps.get_rng_state())


def _save_generator(generator: Any, undo: ExitStack) -> None:
    if isinstance(generator, np.random.Generator):
        undo.callback(setattr, generator.bit_generator, "state", generator.bit_generator.state)
    elif hasattr(generator, "set_state"):
        undo.callback(generator.set_state, generator.get_state())
    elif not isinstance(generator, random.SystemRandom):  # which has no state
        undo.callback(generator.setstate, generator.getstate())
