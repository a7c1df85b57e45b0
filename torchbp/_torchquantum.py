"""The one door to TorchQuantum: every other file takes its names from here.

At import, TorchQuantum 0.1.8 asks for packages that cannot be installed beside a current Qiskit, for parts
of it that torchbp does not use. Where it does not import as it is, stand-ins take the place of those packages
and parts while it is being imported, and are gone afterwards.
"""

from __future__ import annotations

import importlib
import importlib.abc
import importlib.util
import logging
import sys
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.machinery import ModuleSpec, PathFinder
from types import ModuleType
from typing import TYPE_CHECKING, Any, TypeAlias

from torchbp.errors import MissingDependencyError

__all__ = [
    "QuantumDevice",
    "QuantumModule",
    "apply_unitary_bmm",
    "func_name_dict",
    "mat_dict",
    "op_name_dict",
    "torchquantum",
    "tq",
    "tqf",
]

_INSTALL = "pip install --no-deps torchquantum==0.1.8"


class _Later:
    """A name that TorchQuantum imports and torchbp never uses: looked up for real by whoever does use it."""

    def __init__(self, name: str, module: str, package: str) -> None:
        self._name, self._module, self._package = name, module, package

    def _real(self) -> Any:
        try:
            return getattr(importlib.import_module(self._module), self._name)
        except (ImportError, AttributeError) as error:
            raise MissingDependencyError(
                f"This part of TorchQuantum uses {self._module}.{self._name}, which cannot be imported "
                f"({error}). torchbp works without it; to use it, run: pip install {self._package}"
            ) from error

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self._real()(*args, **kwargs)

    def __getattr__(self, attribute: str) -> Any:
        if attribute.startswith("__"):  # what copy, pickle and inspect ask any object for
            raise AttributeError(attribute)
        return getattr(self._real(), attribute)


# Only full names are needed: ``from a.b import c`` takes a.b from sys.modules without looking at a.
_STAND_INS: dict[str, dict[str, Any]] = {
    "torchquantum.dataset": {},
    "torchquantum.pulse": {},
    "torchquantum.plugin.qiskit": {"QISKIT_INCOMPATIBLE_FUNC_NAMES": ["rot", "multirz", "crot"]},
    "torchpack.utils.logging": {"logger": logging.getLogger("torchquantum")},
    "torchpack.utils.config": {"Config": _Later("Config", "torchpack.utils.config", "torchpack")},
    "qiskit_ibm_runtime": {
        "QiskitRuntimeService": _Later("QiskitRuntimeService", "qiskit_ibm_runtime", "qiskit-ibm-runtime")
    },
    "qiskit.providers.aer.noise": {"NoiseModel": _Later("NoiseModel", "qiskit_aer.noise", "qiskit-aer")},
    "qiskit.providers.aer.noise.device.parameters": {
        "gate_error_values": _Later("gate_error_values", "qiskit_aer.noise.device.parameters", "qiskit-aer")
    },
}


@contextmanager
def _stand_ins() -> Iterator[None]:
    placed: dict[str, ModuleType] = {}
    for name, content in _STAND_INS.items():
        if name not in sys.modules:
            sys.modules[name] = placed[name] = ModuleType(name)
            vars(placed[name]).update(content)
    try:
        yield
    finally:
        for name, module in placed.items():
            if sys.modules.get(name) is module:
                del sys.modules[name]


_INSTEAD = {
    "torchquantum.dataset": "It reads data sets with torchpack: torchvision.datasets has MNIST, CIFAR10 and others",
    "torchquantum.plugin.qiskit": "It is made for Qiskit before 1.0: torchbp.hardware has to_qiskit, from_qiskit and "
    "QiskitBackend",
    "torchquantum.pulse": "It needs qutip or Qiskit's pulses",
}


class _Explained(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Parts of TorchQuantum that fail to import in this surrounding: says what to use instead."""

    def find_spec(self, name: str, path: Sequence[str] | None, target: ModuleType | None = None) -> ModuleSpec | None:
        found = PathFinder.find_spec(name, path) if name in _INSTEAD else None
        if found is None or found.loader is None:
            return None
        self._loaders[name] = found.loader
        found.loader = self
        return found

    def __init__(self) -> None:
        self._loaders: dict[str, Any] = {}

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        return self._loaders[spec.name].create_module(spec)

    def exec_module(self, module: ModuleType) -> None:
        loader = self._loaders[module.__name__]
        try:
            loader.exec_module(module)
        except Exception as error:
            raise MissingDependencyError(
                f"{module.__name__} cannot be imported here ({type(error).__name__}: {error}). "
                f"{_INSTEAD[module.__name__]}. torchbp needs no part of it."
            ) from error


def _forget_half_import() -> None:
    for name in [name for name in sys.modules if name.partition(".")[0] == "torchquantum"]:
        del sys.modules[name]


def _load() -> Any:
    spec = importlib.util.find_spec("torchquantum")
    if spec is None or spec.origin is None:  # no origin: just a folder of that name on the path
        raise MissingDependencyError(f"torchbp needs TorchQuantum, which is not installed. Run: {_INSTALL}")
    with warnings.catch_warnings():
        for category in (DeprecationWarning, SyntaxWarning):  # the second from Python 3.12 on
            warnings.filterwarnings("ignore", "invalid escape sequence", category)
        try:
            return importlib.import_module("torchquantum")
        except Exception:  # its dependencies may fail in any way in a surrounding they don't know
            _forget_half_import()
        try:
            with _stand_ins():
                return importlib.import_module("torchquantum")
        except Exception as error:
            _forget_half_import()
            raise MissingDependencyError(
                f"TorchQuantum is installed ({spec.origin}) but cannot be imported: {type(error).__name__}: "
                f"{error}. Install what is missing, or the version torchbp is made for: {_INSTALL}"
            ) from error


torchquantum: Any = _load()
sys.meta_path.insert(0, _Explained())
tq = torchquantum
tqf: Any = tq.functional

if TYPE_CHECKING:
    from torch.nn import Module as QuantumModule

    QuantumDevice: TypeAlias = Any
else:
    QuantumModule = tq.QuantumModule
    QuantumDevice = tq.QuantumDevice

apply_unitary_bmm: Any = tqf.apply_unitary_bmm
func_name_dict: dict[str, Any] = tqf.func_name_dict
mat_dict: dict[str, Any] = tqf.mat_dict
op_name_dict: dict[str, Any] = tq.op_name_dict
