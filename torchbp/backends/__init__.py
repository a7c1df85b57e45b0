"""How a circuit is executed: one file for each backend, one line for each in `BACKENDS`."""

from collections.abc import Callable

from torchbp.backends.base import Backend
from torchbp.backends.density import DensityMatrixBackend
from torchbp.backends.fused import FusedBackend
from torchbp.backends.noise import NoiseModel
from torchbp.backends.torchquantum import TorchQuantumBackend
from torchbp.backends.trajectories import TrajectoryBackend
from torchbp.errors import BackendError, UnknownNameError

__all__ = [
    "BACKENDS",
    "Backend",
    "DensityMatrixBackend",
    "FusedBackend",
    "NoiseModel",
    "TorchQuantumBackend",
    "TrajectoryBackend",
    "resolve_backend",
]

BACKENDS: dict[str, Callable[[], Backend]] = {
    "density": DensityMatrixBackend,
    "fused": FusedBackend,
    "torchquantum": TorchQuantumBackend,
}


def resolve_backend(backend: str | Backend) -> Backend:
    """The backend with this name, or the given object if it is one.

    Raises:
        UnknownNameError: no backend has this name; lists those there are.
        BackendError: the object lacks what a backend needs.
    """
    if isinstance(backend, str):
        if backend not in BACKENDS:
            raise UnknownNameError("backend", backend, BACKENDS)
        return BACKENDS[backend]()
    if not isinstance(backend, Backend):
        raise BackendError(
            f"A backend is one of {', '.join(sorted(BACKENDS))}, or an object with the attribute `name` and the "
            f"methods `expectations` and `states`; got {backend!r}."
        )
    return backend
