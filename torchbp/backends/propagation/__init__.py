"""Pauli propagation: observables carried backwards through a circuit, on any number of wires."""

from torchbp.backends.propagation.backend import PropagationBackend
from torchbp.backends.propagation.truncation import Truncation, TruncationWarning

__all__ = ["PropagationBackend", "Truncation", "TruncationWarning"]
