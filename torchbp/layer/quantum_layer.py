"""`QuantumLayer`: a parameterized circuit as a torch module, from features to expectation values."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from torchbp.arguments import checked, whole_number
from torchbp.arguments.kinds import a, anything
from torchbp.backends import Backend, resolve_with_noise
from torchbp.backends.base import (
    COMPLEX,
    check_capacity,
    full_precision,
    holds_states,
    is_traced,
    per_sample_gradients,
)
from torchbp.backends.inputs import check_features, check_state, start_for_each
from torchbp.backends.noise import NoiseModel
from torchbp.backends.shots import Sampler, ShiftRecord, ShotMeter, Shots, measures
from torchbp.backends.streams import FIRST, birthplace, here, part
from torchbp.circuits import Circuit, PauliSum, given, initialize, local_z
from torchbp.circuits.initializers import Initializer
from torchbp.circuits.observables import as_observables
from torchbp.errors import BackendError, CircuitError, InputError
from torchbp.translation.translated import Translated

if TYPE_CHECKING:
    from torchbp._torchquantum import QuantumDevice


class QuantumLayer(Translated):
    """Expectation values of a circuit: y[b, m] = <psi(x_b, w)| O_m |psi(x_b, w)>.

    A `torch.nn.Module`, and a TorchQuantum module. The trainable angles are one flat parameter `weights` (P,), in
    radians; `circuit.layers` says which of them belong to which layer of the circuit. `state_dict()` holds the
    weights and nothing else.

    Args:
        circuit: the circuit; it is frozen from here on.
        observables: one for each output column; Z on every wire if left out.
        backend: a name in `torchbp.backends.BACKENDS`, or an object with the `Backend` protocol.
        shots: measure every circuit this many times in each measurement group, as a machine does, and take gradients
            by the parameter-shift rule from as many shots again (see `torchbp.backends.shots`); None: exact.
        noise: what goes wrong after each gate and at readout; simulated by density matrices, at the cost of twice the
            wires, whatever `backend` is but "propagation". For many wires pass `backend=TrajectoryBackend(noise)`.
        init: initial weights: a name in `torchbp.circuits.INITIALIZERS`, a function `(circuit, generator) -> (P,)`,
            or a tensor (P,).
        generator: source of the random initial weights, and of the seed of the shots' own generator; torch's global
            one if left out.

    Attributes:
        shots: may be set at any time; `with layer.exact():` and `with layer.shots_at(S):` set it for a while.
        shift_listener: hears what backward passes with finite shots have measured, see `torchbp.gradients.training`.

    Raises:
        CircuitError: the circuit has no gates, or an observable acts on a wire it does not have.
        InputError: initial weights of the wrong shape or not finite, or shots that are not a positive number.
        UnknownNameError: no such backend or initializer.

    Example:
        >>> circuit = angle_encoding(n_wires=4) + hardware_efficient(n_wires=4, depth=2)
        >>> layer = QuantumLayer(circuit, observables=local_z(4))
        >>> layer(torch.rand(32, 4)).shape
        torch.Size([32, 4])
    """

    @checked(
        circuit=anything, observables=given.observables, noise=a(NoiseModel, write="NoiseModel(depolarizing_2q=0.01)")
    )
    def __init__(
        self,
        circuit: Circuit,
        observables: PauliSum | str | Iterable[PauliSum | str] | None = None,
        *,
        backend: str | Backend = "fused",
        shots: int | None = None,
        noise: NoiseModel | None = None,
        init: str | Initializer | Tensor = "gaussian",
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__()
        if not isinstance(circuit, Circuit):
            raise CircuitError(f"QuantumLayer needs a torchbp Circuit, got {type(circuit).__name__}.")
        if not len(circuit) and not circuit.n_amplitudes:
            raise CircuitError(
                'The circuit has no gates: append some (circuit.append("rx", 0, weight())), or take an ansatz such as '
                "hardware_efficient(n_wires, depth)."
            )
        measured = local_z(circuit.n_wires) if observables is None else observables
        self.observables = as_observables(measured, circuit.n_wires)
        self._pure, self.backend, self.noise = resolve_with_noise(backend, noise)
        # An attribute of the module, where those who restore random states look for generators.
        self._backend_generator = getattr(self.backend, "generator", None)
        self._drawn_at = birthplace()
        if not measures(self.backend) and holds_states(self.backend):
            check_capacity(circuit.n_wires, 1, torch.get_default_dtype())
        weights = initialize(init, circuit, generator)
        self.circuit = circuit.freeze()
        self.n_wires = circuit.n_wires
        self._own(weights)
        self._shots: int | None = None
        if shots is not None or not measures(self.backend):
            self.shots = shots
        seed = torch.randint(2**62, (), generator=generator, device=generator.device if generator else "cpu")
        self._shot_generator = torch.Generator().manual_seed(int(seed))
        self._meter = ShotMeter()
        self.shift_listener: Callable[[Sampler, ShiftRecord], None] | None = None
        self._sampler: Sampler | None = None

    # One opaque call in a compiled model.
    @torch.compiler.disable  # type: ignore[untyped-decorator]
    def forward(self, x: Tensor | None = None, initial_state: Tensor | None = None) -> Tensor:
        """Expectation values of every observable for every sample.

        Args:
            x: features (..., F), with F the circuit's number of features: a batch (B, F), sequences (B, T, F), or one
                sample (F,). May be left out where F is 0, and the batch is then (1,). Real, finite; converted to the
                dtype of the weights.
            initial_state: amplitudes to start from instead of |0...0>, of norm 1: (..., 2^n) with the leading
                dimensions of `x`, or (2^n,) for all.

        Returns:
            (..., M) in the dtype of the weights, which mixed precision around the layer does not change.

        Raises:
            InputError: shape, type, device or values of an argument do not fit.
            CapacityError: the states of this batch would not fit into memory.
        """
        x, start, weights, leading = self._check(x, initial_state)
        with full_precision(x.device):
            if not is_traced() and x.shape[0] == 0:
                return _shaped(self._expectations(*_one_sample(x, start), weights)[:0], leading)
            return _shaped(self._expectations(x, start, weights), leading)

    @torch.compiler.disable  # type: ignore[untyped-decorator]
    def states(self, x: Tensor | None = None, initial_state: Tensor | None = None) -> Tensor:
        """Final state vectors (..., 2^n), complex, wire 0 most significant. Arguments as in `forward`."""
        x, start, weights, leading = self._check(x, initial_state)
        with full_precision(x.device):
            if not is_traced() and x.shape[0] == 0:
                return _shaped(self._states(*_one_sample(x, start), weights)[:0], leading)
            return _shaped(self._states(x, start, weights), leading)

    def per_sample_gradients(self, x: Tensor | None = None, cotangent: Tensor | None = None) -> Tensor:
        """The gradient of every weight for every sample, from exact expectation values, detached.

        Args:
            x: features, as in `forward`.
            cotangent: d(loss)/dy (..., M); ones if left out.

        Returns:
            (..., P): row b is d(sum_m cotangent[b, m] y[b, m]) / d(weights). Its sum over samples is what backward
            adds to `weights.grad`.

        Raises:
            InputError: x or the cotangent does not fit.
        """
        x, _, weights, leading = self._check(x, None)
        shape = *leading, len(self.observables)
        if cotangent is None:
            cotangent = x.new_ones(shape)
        if cotangent.shape != shape:
            raise InputError(f"The cotangent must have the output's shape {shape}, got {tuple(cotangent.shape)}.")
        if len(x) == 0:
            return x.new_empty(*leading, self.circuit.n_weights)
        with full_precision(x.device):
            rows = per_sample_gradients(
                self.backend,
                self.circuit,
                self.observables,
                x.detach(),
                weights.detach(),
                cotangent.detach().reshape(len(x), -1).to(weights),
            )
            return _shaped(rows, leading)

    def evolve(self, q_device: QuantumDevice, x: Tensor | None = None) -> None:
        """Run the circuit on the state of a `torchquantum.QuantumDevice` and leave the result there.

        The device may then be measured with TorchQuantum's own functions. Its batch size must be that of `x`, or 1.

        Raises:
            InputError: the device has another number of wires, or another batch size.
        """
        if q_device.n_wires != self.n_wires:
            raise InputError(f"The circuit has {self.n_wires} wires, the QuantumDevice {q_device.n_wires}.")
        start = q_device.get_states_1d()
        if x is not None and len(start) == 1:
            start = start[0]
        q_device.set_states(self.states(x, start).reshape(-1, 2**self.n_wires))

    @property
    def shots(self) -> int | None:
        """Shots for each circuit and measurement group; None for exact expectation values.

        A backend that measures by itself, as a machine does, has its own, which this shows and sets.
        """
        return self.backend.shots if measures(self.backend) else self._shots

    @shots.setter
    def shots(self, shots: int | None) -> None:
        if shots is not None:
            shots = whole_number("shots", shots, 1)
        if measures(self.backend):
            self.backend.shots = shots
        elif shots is not None and not holds_states(self.backend):
            raise InputError(
                f"The backend {self.backend.name!r} has no states to measure shots on, got shots={shots}: leave "
                "shots out, "
                'or take backend="fused" on few wires, a QiskitBackend on many.'
            )
        else:
            self._shots = shots

    @property
    def shots_used(self) -> int:
        """All shots spent so far: samples x circuits x measurement groups, forward and backward, probes included.

        Those of a machine are all that its backend has spent, for whichever layer.
        """
        return self._meter.used + int(getattr(self.backend, "shots_used", 0))

    @property
    def shot_generator(self) -> torch.Generator:
        """Source of the outcomes; on ranks of a distributed run and in forked workers a stream of their own."""
        self._part()
        return self._shot_generator

    @property
    def backend_generator(self) -> torch.Generator | None:
        """The backend's own source of random numbers, such as the errors of trajectories; None if it has none."""
        self._part()
        return self._backend_generator

    def resume_shots(self, state: Tensor) -> None:
        """Draw outcomes from a saved state on, that of rank 0; others get streams of their own from it."""
        self._shot_generator.set_state(state)
        self._drawn_at = here()
        if self._drawn_at not in (FIRST, birthplace()):
            part(self._shot_generator, self._drawn_at)

    def _part(self) -> None:
        if (place := here()) == self._drawn_at:
            return
        self._drawn_at = place
        for generator in (self._shot_generator, self._backend_generator):
            if generator is not None and place != FIRST:
                part(generator, place)

    @property
    def sampler(self) -> Sampler:
        """What measuring the circuit takes, planned once."""
        if self._sampler is None:
            self._sampler = Sampler(self.circuit, self.observables)
        return self._sampler

    def count_shots(self, shots: int) -> None:
        """These were spent on this layer's circuits by somebody else."""
        self._meter.used += shots

    @contextmanager
    def shots_at(self, shots: int | None) -> Iterator[None]:
        """Within the block the layer measures with this many shots."""
        before, self.shots = self.shots, shots
        try:
            yield
        finally:
            self.shots = before

    def exact(self) -> AbstractContextManager[None]:
        """Within the block the layer returns exact expectation values."""
        return self.shots_at(None)

    @contextmanager
    def noiseless(self) -> Iterator[None]:
        """Within the block the layer runs without its noise model."""
        noise, backend = self.noise, self.backend
        self.noise, self.backend = None, self._pure
        try:
            yield
        finally:
            self.noise, self.backend = noise, backend

    @contextmanager
    def backend_at(self, backend: Backend) -> Iterator[None]:
        """Within the block the layer runs on this backend, exactly, and without its own noise model."""
        before = self.backend, self._pure, self.noise, self._shots
        self.backend = self._pure = backend
        self.noise = self._shots = None
        try:
            yield
        finally:
            self.backend, self._pure, self.noise, self._shots = before

    def to_backend(self, backend: str | Backend, *, shots: int | None = None) -> QuantumLayer:
        """Run on another backend from here on, with the same weights and without the noise model of the one before.

        Returns the layer itself: `copy.deepcopy(layer).to_backend(...)` leaves this one as it is. Arguments as for
        `QuantumLayer`, such as `torchbp.hardware.QiskitBackend("fake_manila")`, which has its own shots.
        """
        before = self.shots_used
        self._pure, self.backend, self.noise = resolve_with_noise(backend, None)
        self._meter.used += (
            before - self.shots_used
        )  # what others spent stays counted, what this one did before does not
        self._backend_generator = getattr(self.backend, "generator", None)
        if shots is not None or not measures(self.backend):
            self.shots = shots
        return self

    @contextmanager
    def noted(self, note: Callable[[Tensor | None, Tensor], Tensor]) -> Iterator[None]:
        """Within the block what each call returns is replaced by `note(x, output)`, x the features."""

        def leave(_: nn.Module, arguments: tuple[Any, ...], named: dict[str, Any], output: Tensor) -> Tensor:
            return note(arguments[0] if arguments else named.get("x"), output)

        module: nn.Module = self
        handle = module.register_forward_hook(leave, with_kwargs=True)
        try:
            yield
        finally:
            handle.remove()

    @property
    def n_weights(self) -> int:
        """P, the number of weights."""
        return self.circuit.n_weights

    def draw(self, init: str | Initializer, generator: torch.Generator | None = None) -> Tensor:
        """Initial weights (P,) for the layer's circuit, which it is not given; see `torchbp.circuits.initialize`."""
        known = {"observable": self.observables} if init == "clifford_search" else {}  # a search knows what to lower
        return initialize(init, self.circuit, generator, **known)

    @torch.no_grad()
    def outputs(self, x: Tensor | None, weights: Tensor) -> Tensor:
        """(S, B, M) exact (noisy, if the layer has noise) expectation values for features x at weights (S, P)."""
        inputs = self._check(x, None)[0].detach()
        every = inputs.repeat_interleave(len(weights), 0)
        found = self.backend.expectations(self.circuit, self.observables, every, weights.repeat(len(inputs), 1))
        return found.view(len(inputs), len(weights), -1).transpose(0, 1)

    @property
    def weight_groups(self) -> dict[str, tuple[int, ...]]:
        """Indices into `weights` for each circuit layer that has any, by layer name."""
        return {layer.name: layer.weights for layer in self.circuit.layers if layer.weights}

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.extra_repr()})"

    def extra_repr(self) -> str:
        shots = f", shots={self.shots}" if self.shots else ""
        return f"{self.circuit}, observables={len(self.observables)}, backend={self.backend.name!r}{shots}"

    def _expectations(self, x: Tensor, start: Tensor | None, weights: Tensor) -> Tensor:
        if is_traced() and (self.shots is not None or not getattr(self.backend, "traceable", False)):
            raise BackendError(
                f"{'Finite shots' if self.shots is not None else f'The backend {self.backend.name!r}'} can't be "
                'exported or traced: export the exact layer, with backend="fused", within `with layer.noiseless(), '
                "layer.exact():`."
            )
        self._part()
        if self.shots is None or measures(self.backend):
            return self.backend.expectations(self.circuit, self.observables, x, weights, start)
        return self.sampler.expectations(
            self.backend,
            x,
            weights,
            start,
            Shots(self.shots, self.shot_generator, self._meter, self.shift_listener),
        )

    def _states(self, x: Tensor, start: Tensor | None, weights: Tensor) -> Tensor:
        return self.backend.states(self.circuit, x, weights, start)

    def _check(
        self, x: Tensor | None, initial_state: Tensor | None
    ) -> tuple[Tensor, Tensor | None, Tensor, torch.Size]:
        """The features (B, F), the states to start from, the weights, and the leading dimensions that B stands for."""
        weights, circuit = self.weights if self._held is None else self._held, self.circuit
        self._check_unchanged()
        if weights.dtype not in COMPLEX:
            raise InputError(
                f"A quantum layer computes in float32 or float64, its weights are {weights.dtype}: call .float() on "
                "it; mixed precision around it is fine."
            )
        if weights.shape != (circuit.n_weights,):
            raise InputError(
                f"The circuit has {circuit.n_weights} weights, got weights of shape {tuple(weights.shape)}."
            )
        start = None if initial_state is None else check_state(initial_state, circuit, weights)
        if x is None and self._n_features == 0:
            x = weights.new_empty(*(1,) if start is None or start.ndim == 1 else start.shape[:-1], 0)
        x = check_features(x, self._n_features, weights)
        leading = x.shape[:-1]
        if x.ndim != 2:
            x = x.reshape(leading.numel(), self._n_features)
        x = self._read(x).to(weights.dtype)
        if not measures(self.backend) and holds_states(self.backend) and not is_traced():
            check_capacity(circuit.n_wires, len(x), weights.dtype)
        if start is not None:
            start = start_for_each(start, leading)
        return x, start, weights, leading


def _shaped(rows: Tensor, leading: torch.Size) -> Tensor:
    """(B, ...) with the leading dimensions that B stands for."""
    return rows if len(leading) == 1 else rows.reshape(*leading, *rows.shape[1:])


def _one_sample(x: Tensor, start: Tensor | None) -> tuple[Tensor, Tensor | None]:
    """Stand-ins for an empty batch, so that its (empty) result stays part of the graph."""
    return x.new_ones(1, x.shape[1]), None if start is None else start.new_ones(1, start.shape[1])
