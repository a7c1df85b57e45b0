"""Whose modules are known: the table of libraries, and what other packages add to it."""

from __future__ import annotations

import sys
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from typing import cast

from torch import nn

from torchbp.translation.adapters.adapter import Adapter
from torchbp.translation.adapters.deepquantum import DEEPQUANTUM
from torchbp.translation.adapters.marking import marked
from torchbp.translation.adapters.pennylane import PENNYLANE
from torchbp.translation.adapters.qiskit_machine_learning import QISKIT_MACHINE_LEARNING
from torchbp.translation.adapters.tensorcircuit import TENSORCIRCUIT

ADAPTERS: list[Adapter] = [PENNYLANE, QISKIT_MACHINE_LEARNING, DEEPQUANTUM, TENSORCIRCUIT]
ENTRY_POINTS = "torchbp.quantum_modules"
"""Group of entry points by which a package adds its own `Adapter`; each is named after the library it is for."""


def adapter_of(module: nn.Module) -> Adapter | None:
    """Who knows this module, None if nobody does. Imports no library: of one that nobody has imported, there are none.

    A mark (`mark_quantum`) goes before the table, and the table before other packages' entry points.
    """
    if (found := marked(module)) is not None:
        return found
    roots = {kind.__module__.partition(".")[0] for kind in type(module).__mro__}
    if roots <= {"builtins", "torch", "torchbp"}:
        return None
    others = [_loaded(point) for point in _entry_points() if point.name in roots and point.name in sys.modules]
    return next((adapter for adapter in [*ADAPTERS, *others] if adapter.knows(module)), None)


@cache
def _entry_points() -> tuple[EntryPoint, ...]:
    return tuple(entry_points(group=ENTRY_POINTS))


@cache
def _loaded(point: EntryPoint) -> Adapter:
    return cast(Adapter, point.load())
