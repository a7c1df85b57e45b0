"""Optional packages, imported when they are used; one clear error where one is missing."""

from __future__ import annotations

from importlib import import_module
from typing import Any

from torchbp.errors import MissingDependencyError

_EXTRAS = {
    "pennylane": ("PennyLane", "pennylane"),
    "qiskit": ("Qiskit", "qiskit"),
    "qiskit_machine_learning": ("Qiskit Machine Learning", "qiskit-ml"),
    "qiskit_aer": ("Qiskit Aer", "qiskit"),
    "qiskit_qasm3_import": ("the OpenQASM 3 reader qiskit-qasm3-import", "qiskit"),
    "qiskit_ibm_runtime": ("the IBM Runtime client", "ibm"),
}


def need(module: str) -> Any:
    """The module of this name.

    Raises:
        MissingDependencyError: it can't be imported; says what to run.
    """
    package = module.partition(".")[0]
    try:
        return import_module(module)
    except ImportError as error:
        name, extra = _EXTRAS[package]
        raise MissingDependencyError(
            f"This needs {name}, which cannot be imported ({error}). Run: pip install 'torchbp[{extra}]'"
        ) from error
