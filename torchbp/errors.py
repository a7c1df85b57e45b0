"""The errors torchbp raises: each says what was given, what is needed, and what to do."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class TorchBPError(Exception):
    """Base class of every error that torchbp raises on purpose."""


class CircuitError(TorchBPError, ValueError):
    """A circuit, gate, wire, parameter or observable that cannot be."""


class InputError(TorchBPError, ValueError):
    """A tensor whose shape, type or values do not fit the layer it was given to."""


class CallError(TorchBPError, TypeError):
    """A call with an argument that is not there, or without one that is needed."""


class PreconditionError(TorchBPError, ValueError):
    """A method whose conditions the model or its data do not meet."""


class UnknownNameError(TorchBPError, ValueError):
    """A string that names none of the known gates, backends, strategies, ..."""

    def __init__(self, kind: str, name: object, known: Iterable[str]) -> None:
        names = sorted(known)
        close = difflib.get_close_matches(str(name).lower(), names, n=1)
        hint = f" Did you mean {close[0]!r}?" if close else ""
        super().__init__(f"Unknown {kind} {name!r}.{hint} Known: {', '.join(names)}.")
        self.kind, self.name, self.known = kind, name, names

    def __reduce__(self) -> tuple[type, tuple[str, object, list[str]]]:
        return type(self), (self.kind, self.name, self.known)


class CapacityError(TorchBPError, MemoryError):
    """A simulation that does not fit into memory."""


class BackendError(TorchBPError, RuntimeError):
    """A backend that cannot do what was asked of it."""


class MissingDependencyError(TorchBPError, ImportError):
    """A package that this feature needs and that is not installed."""


class LedgerError(TorchBPError, RuntimeError):
    """A record of jobs that cannot be read, or a record that contradicts the ones before it."""


class BudgetExceededError(TorchBPError, RuntimeError):
    """Jobs that would cost more than is left; none of them was sent."""


class JobError(BackendError):
    """A job that failed, was cancelled, or could not be sent; what was paid for before is kept."""


class JobPendingError(BackendError):
    """A job that is still queued or running; asking for it again waits on, and sends nothing."""
