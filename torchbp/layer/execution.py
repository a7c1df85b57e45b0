"""What a quantum layer runs on: its backend and noise, its shots, and the random numbers of their outcomes."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from torchbp.arguments import whole_number
from torchbp.backends import Backend, resolve_with_noise
from torchbp.backends.base import holds_states, is_traced
from torchbp.backends.noise import NoiseModel
from torchbp.backends.shots import Sampler, ShiftRecord, ShotMeter, Shots, measures
from torchbp.backends.streams import FIRST, birthplace, here, part
from torchbp.circuits import PauliSum
from torchbp.errors import BackendError, InputError
from torchbp.translation.translated import Translated

if TYPE_CHECKING:
    from typing_extensions import Self


class Execution(Translated):
    """A module with a circuit and observables, and how they are executed."""

    observables: Sequence[PauliSum]
    _shot_generator: torch.Generator

    def _run_on(self, backend: str | Backend, noise: NoiseModel | None) -> None:
        """Exactly, for a start."""
        self._pure, self.backend, self.noise = resolve_with_noise(backend, noise)
        # An attribute of the module, where those who restore random states look for generators.
        self._backend_generator = getattr(self.backend, "generator", None)
        self._drawn_at = birthplace()
        self._shots: int | None = None
        self._meter = ShotMeter()
        self._sampler: Sampler | None = None
        self.shift_listener: Callable[[Sampler, ShiftRecord], None] | None = None

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

    def to_backend(self, backend: str | Backend, *, shots: int | None = None) -> Self:
        """Run on another backend from here on, with the same weights and without the noise model of the one before.

        Returns the layer itself: `copy.deepcopy(layer).to_backend(...)` leaves this one as it is. Arguments as for
        `QuantumLayer`, such as `torchbp.hardware.QiskitBackend("fake_manila")`, which has its own shots.
        """
        before = self.shots_used
        self._pure, self.backend, self.noise = resolve_with_noise(backend, None)
        # What others have spent on it stays counted for them, and what was spent before for this layer.
        self._meter.used += before - self.shots_used
        self._backend_generator = getattr(self.backend, "generator", None)
        if shots is not None or not measures(self.backend):
            self.shots = shots
        return self

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
