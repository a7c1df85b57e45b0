"""What a backend is, and what all simulating backends share."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor
from torch.utils._python_dispatch import _disable_current_modes

from torchbp.circuits import Circuit, PauliSum
from torchbp.errors import CapacityError, InputError


@runtime_checkable
class Backend(Protocol):
    """How a circuit is executed. Anything with these members is a backend.

    Both methods take a frozen `circuit`, features `x` (B, F) with F >= circuit.n_features, and `weights` (P,), or
    (B, P) with one set per sample; real tensors of one dtype and device. `initial_state` is None for |0...0>, or
    (B, 2^n) complex amplitudes.

    A backend whose attribute `holds_states` is False (it is True where there is none) never holds 2^n amplitudes, so it
    may have any number of wires.
    """

    name: str

    def expectations(
        self,
        circuit: Circuit,
        observables: Sequence[PauliSum],
        x: Tensor,
        weights: Tensor,
        initial_state: Tensor | None = None,
    ) -> Tensor:
        """<psi(x, weights)| O_m |psi(x, weights)>, shape (B, M), differentiable in x, weights and initial_state."""
        ...

    def states(self, circuit: Circuit, x: Tensor, weights: Tensor, initial_state: Tensor | None = None) -> Tensor:
        """The final state vectors, shape (B, 2^n), complex, wire 0 most significant; differentiable too."""
        ...


def per_sample_gradients(
    backend: Backend,
    circuit: Circuit,
    observables: Sequence[PauliSum],
    x: Tensor,
    weights: Tensor,
    cotangent: Tensor,
) -> Tensor:
    """Each sample's gradient of the shared weights (P,), shape (B, P).

    Row b is d(sum_m cotangent[b, m] y[b, m]) / d(weights). A backend that has a method of this name (the same
    arguments after itself) computes it; for any other, each sample gets weights of its own and one backward pass.
    """
    own = getattr(backend, "per_sample_gradients", None)
    if own is not None:
        return own(circuit, observables, x, weights, cotangent)
    with torch.enable_grad():
        each = weights.detach().expand(len(x), -1).clone().requires_grad_()
        y = backend.expectations(circuit, observables, x.detach(), each)
        if not y.requires_grad:
            return torch.zeros_like(each)
        return torch.autograd.grad(y, each, cotangent)[0]


COMPLEX = {torch.float32: torch.complex64, torch.float64: torch.complex128}


def holds_states(backend: object) -> bool:
    """Whether it simulates states of 2^n amplitudes, whose memory and measurement are to be thought of."""
    return bool(getattr(backend, "holds_states", True))


def has_values(tensor: Tensor) -> bool:
    """Whether Python code may look at the numbers: not while compiling, in torch.func, or on the meta device."""
    hidden = tensor.is_meta or torch._C._functorch.is_functorch_wrapped_tensor(tensor)
    return not hidden and not is_traced()


def is_traced() -> bool:
    """Whether the present call is being written down (torch.export, torch.jit.trace), for batches of any size."""
    return torch.compiler.is_compiling() or torch._C._get_tracing_state() is not None


@contextmanager
def outside_of_traces() -> Iterator[None]:
    """A block whose tensors are kept for later calls: real ones, fit for training, whoever traces the present call.

    torch.export and fake tensors are dispatch modes, which would have all that is made within them, and torch.jit.trace
    would write it down as part of the call.
    """
    jit: Any = torch._C
    traced = jit._get_tracing_state()
    jit._set_tracing_state(None)
    try:
        with torch.inference_mode(False), _disable_current_modes():
            yield
    finally:
        jit._set_tracing_state(traced)


def full_precision(device: torch.device) -> AbstractContextManager[object]:
    """Where mixed precision is on, a block without it."""
    if device.type != "meta" and torch.is_autocast_enabled(device.type):
        return torch.autocast(device.type, enabled=False)
    return nullcontext()


def initial_states(circuit: Circuit, x: Tensor, given: Tensor | None) -> Tensor | None:
    """The state the gates start from, (B, 2^n) complex, or None for |0...0>.

    Raises:
        InputError: an amplitude-encoded sample is the zero vector, which no state corresponds to.
    """
    if given is not None or not circuit.n_amplitudes:
        return given
    amplitudes = x[:, : circuit.n_amplitudes]
    norm = torch.linalg.vector_norm(amplitudes, dim=1, keepdim=True)
    if has_values(norm) and bool((norm == 0).any()):
        raise InputError(
            "Amplitude encoding can't encode a sample whose features are all zero: it has no direction. "
            "Add a constant feature, or drop such samples."
        )
    padding = 2**circuit.n_wires - circuit.n_amplitudes
    return torch.nn.functional.pad(amplitudes / norm, (0, padding)).to(COMPLEX[x.dtype])


def check_capacity(n_wires: int, batch: int, dtype: torch.dtype, copies: int = 4) -> None:
    """Refuse a simulation whose state vectors alone would not fit into this machine's memory.

    Args:
        n_wires, batch: B states of 2^n amplitudes.
        dtype: of the weights; an amplitude takes twice its size.
        copies: state-sized tensors alive at once.

    Raises:
        CapacityError: says how much memory it would take and how much there is.
    """
    need = copies * batch * 2**n_wires * 2 * torch.finfo(dtype).bits // 8
    have = _physical_memory()
    if have is not None and need > have:
        raise CapacityError(
            f"Simulating {n_wires} wires for a batch of {batch} takes about {_gib(need)} GiB, and this machine has "
            f"{_gib(have)} GiB: use fewer wires or a smaller batch."
        )


def _physical_memory() -> int | None:
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):
        return None


def _gib(size: int) -> str:
    return f"{size / 2**30:,.0f}" if size >= 10 * 2**30 else f"{size / 2**30:.1f}"
