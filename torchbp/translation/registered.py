"""Trainable numbers that a module uses and does not tell of: nobody would train them, so nobody shall miss them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from torch import Tensor, nn

from torchbp.errors import CircuitError
from torchbp.translation.provenance import Sources
from torchbp.translation.tracing import TracedGate


def check_registered(module: nn.Module, gates: Iterable[TracedGate], sources: Sources) -> None:
    """Raise CircuitError if a gate depends on a trainable tensor that is no registered parameter of the module."""
    known = {id(leaf) for leaf in (*sources.leaves, sources.x) if leaf is not None}
    seen: set[Any] = set()
    for gate in gates:
        for given in (gate.angles, gate.matrix):
            for leaf in _leaves(given, seen) if given is not None else ():
                if id(leaf) not in known:
                    name = type(module).__name__
                    where = next((path for path, value in _held(module) if value is leaf), "")
                    found = f"{where!r}, " if where else ""
                    raise CircuitError(
                        f"T{str(gate)[1:]} depends on {found}a trainable tensor of shape {tuple(leaf.shape)} that is "
                        f"no registered parameter of {name}, so {name}.parameters() leaves it out and nobody would "
                        "train it: keep operators in an nn.ModuleList or nn.ModuleDict instead of a list or dict, and "
                        "tensors as nn.Parameter. (Or take QuantumLayer.within(module), and give the optimizer the "
                        "tensor.)"
                    )


def _leaves(tensor: Tensor, seen: set[Any]) -> Iterator[Tensor]:
    """The trainable tensors that a tensor was computed from, in parts of the graph not seen before."""
    if tensor.grad_fn is None:
        if tensor.requires_grad:
            yield tensor
        return
    waiting: list[Any] = [tensor.grad_fn]
    while waiting:
        node = waiting.pop()
        if node is None or node in seen:
            continue
        seen.add(node)
        if hasattr(node, "variable"):
            yield node.variable
        waiting += [before for before, _ in node.next_functions]


def _held(module: nn.Module) -> Iterator[tuple[str, object]]:
    """What a module and the lists, dicts and modules in it hold, with the expression for it."""
    waiting: list[tuple[str, object]] = [("", module)]
    seen: set[int] = set()
    while waiting:
        path, value = waiting.pop()
        if id(value) in seen:
            continue
        seen.add(id(value))
        yield path, value
        if isinstance(value, nn.Module):
            parts = {**vars(value), **value._parameters, **value._modules}
            waiting += [(f"{path}.{key}".lstrip("."), part) for key, part in parts.items() if key[0] != "_"]
        elif isinstance(value, dict):
            waiting += [(f"{path}[{key!r}]", part) for key, part in value.items()]
        elif isinstance(value, list | tuple):
            waiting += [(f"{path}[{i}]", part) for i, part in enumerate(value)]
