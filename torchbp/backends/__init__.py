"""How a circuit is executed: one file for each backend, one line for each in `BACKENDS`."""

from collections.abc import Callable

from torchbp.arguments import checked
from torchbp.arguments.kinds import a, or_none
from torchbp.backends.base import Backend
from torchbp.backends.density import DensityMatrixBackend
from torchbp.backends.fused import FusedBackend
from torchbp.backends.noise import NoiseModel
from torchbp.backends.propagation import PropagationBackend
from torchbp.backends.shots import measures
from torchbp.backends.torchquantum import TorchQuantumBackend
from torchbp.backends.trajectories import TrajectoryBackend
from torchbp.errors import BackendError, UnknownNameError

__all__ = [
    "BACKENDS",
    "Backend",
    "DensityMatrixBackend",
    "FusedBackend",
    "NoiseModel",
    "PropagationBackend",
    "TorchQuantumBackend",
    "TrajectoryBackend",
    "resolve_backend",
    "resolve_with_noise",
]

BACKENDS: dict[str, Callable[[], Backend]] = {
    "density": DensityMatrixBackend,
    "fused": FusedBackend,
    "propagation": PropagationBackend,
    "torchquantum": TorchQuantumBackend,
}


@checked()
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


@checked(noise=or_none(a(NoiseModel, write="NoiseModel(depolarizing_2q=0.01)")))
def resolve_with_noise(backend: str | Backend, noise: NoiseModel | None) -> tuple[Backend, Backend, NoiseModel | None]:
    """The backend without noise, the one that runs, and the noise.

    Raises:
        BackendError: both the backend and `noise` have noise.
    """
    found = resolve_backend(backend)
    own = getattr(found, "noise", None)
    if noise is not None and (own is not None or measures(found)):
        raise BackendError(
            f"The backend {found.name!r} has a noise model of its own: give noise= or such a backend, not both."
        )
    if isinstance(found, PropagationBackend):
        return found.with_noise(None), found if noise is None else found.with_noise(noise), own or noise
    if own is None:
        return found, found if noise is None else DensityMatrixBackend(noise), noise
    return resolve_backend("fused"), found, own
