"""`PropagationBackend`: expectation values and gradients on any number of wires, by Pauli propagation."""

from __future__ import annotations

import threading
import warnings
from collections.abc import Sequence
from weakref import WeakKeyDictionary

import torch
from torch import Tensor

from torchbp.arguments import checked
from torchbp.arguments.kinds import a, whole
from torchbp.backends.angles import AngleMap
from torchbp.backends.noise import NoiseModel
from torchbp.backends.propagation.evaluate import Task, evaluate, per_sample_slopes
from torchbp.backends.propagation.program import Program, compile_program
from torchbp.backends.propagation.truncation import Truncation, TruncationWarning
from torchbp.backends.propagation.walk import Limits
from torchbp.circuits import Circuit, PauliSum
from torchbp.errors import BackendError


class PropagationBackend:
    """Observables as sums of Pauli strings, carried backwards through the circuit (Heisenberg picture).

    A rotation exp(-i t G / 2) leaves a string P that commutes with G and makes cos(t) P + sin(t) i G P of one that does
    not; equal strings merge; at the end those without X and Y count (Rall 2019, 1901.09070; Begusic 2024,
    2308.05077). Clifford gates cost nothing. Strings with small coefficients are dropped, which makes circuits of a
    hundred wires possible whose angles are near multiples of a quarter turn, or that are shallow or noisy, and others
    not. Strings that can't have an expectation value any more go too, which changes nothing.

    The gradient is that of the truncated sum, from the same steps walked back. Memory: the strings at work, at most
    `max_terms` at 8 bytes for each 64 of 2n bits and one number for each sample, up to four times over; what a walk
    records for its gradient, up to `store_bytes`; beyond that, the strings once more for every further `store_bytes`.

    Args:
        min_abs: coefficients of the observable, and of the strings it becomes, below this are dropped. 0: drop none.
        max_terms: strings at which to give up.
        max_weight: strings on more wires than this are dropped; None: none is. It costs time in circuits with Clifford
            gates.
        store_bytes: memory for a gradient's records.
        noise: what goes wrong after each gate and at readout. Pauli noise damps strings, and makes this cheaper.

    Attributes:
        truncation: what the latest call dropped, see `Truncation`; a `TruncationWarning` is given where its estimate
            exceeds all values of an observable in the batch.

    Raises:
        InputError: an argument out of range.
    """

    name = "propagation"
    holds_states = False

    @checked(store_bytes=whole(1), noise=a(NoiseModel, write="NoiseModel(depolarizing_2q=0.01)"))
    def __init__(
        self,
        min_abs: float = 1e-4,
        max_terms: int = 2**20,
        max_weight: int | None = None,
        *,
        store_bytes: int = 2**29,
        noise: NoiseModel | None = None,
    ) -> None:
        self.min_abs, self.max_terms, self.max_weight = min_abs, max_terms, max_weight
        self.store_bytes, self.noise = store_bytes, noise
        self.truncation: Truncation | None = None
        self._known: WeakKeyDictionary[Circuit, dict[tuple[PauliSum, ...], _Prepared]] = WeakKeyDictionary()
        self._lock = threading.Lock()

    def expectations(
        self,
        circuit: Circuit,
        observables: Sequence[PauliSum],
        x: Tensor,
        weights: Tensor,
        initial_state: Tensor | None = None,
    ) -> Tensor:
        """Expectation values (B, M), see `Backend`; differentiable once.

        Raises:
            BackendError: an initial state or amplitudes, which have no strings.
            CapacityError: more than `max_terms` strings.
        """
        if initial_state is not None or circuit.n_amplitudes:
            raise BackendError(
                "Pauli propagation starts from |0...0>: it takes no initial_state and no amplitude encoding. Prepare "
                "the "
                'state with gates, or take backend="fused".'
            )
        if weights.is_meta:
            return weights.new_empty(len(x), len(observables))
        known = self._prepared(circuit, observables)
        alike = weights.ndim == 1 and not known.reads_features
        task = known.task(self, 1 if alike else len(x), weights.ndim == 2)
        values = evaluate(task, *known.angles(x[:1] if alike else x, weights))
        self._warn(values, observables)
        return values.expand(len(x), -1)

    def states(self, circuit: Circuit, x: Tensor, weights: Tensor, initial_state: Tensor | None = None) -> Tensor:
        """Not to be had.

        Raises:
            BackendError: always.
        """
        raise BackendError(
            "Pauli propagation has no states, and so nothing to sample shots from: it gives exact or truncated "
            "expectation "
            'values. For states and shots take backend="fused" on few wires, or a QiskitBackend on many.'
        )

    def per_sample_gradients(
        self, circuit: Circuit, observables: Sequence[PauliSum], x: Tensor, weights: Tensor, cotangent: Tensor
    ) -> Tensor:
        """Gradients (B, P) of the shared weights (P,): row b is d(sum_m cotangent[b, m] y[b, m]) / d(weights)."""
        known = self._prepared(circuit, observables)
        task = known.task(self, len(x), False)
        with torch.no_grad():
            slopes = per_sample_slopes(task, *known.angles(x, weights), cotangent)
        with torch.enable_grad():
            each = weights.detach().expand(len(x), -1).clone().requires_grad_()
            turned = known.weight_angles(each)
            if not turned.requires_grad:
                return torch.zeros_like(each)
            return torch.autograd.grad(turned, each, slopes[:, : turned.shape[1]])[0]

    def with_noise(self, noise: NoiseModel | None) -> PropagationBackend:
        """The same with this noise, or without any."""
        return PropagationBackend(**{**self._settings(), "noise": noise})  # type: ignore[arg-type]

    def __getstate__(self) -> dict[str, object]:
        return self._settings()

    def __setstate__(self, state: dict[str, object]) -> None:
        self.__init__(**state)  # type: ignore[misc]

    def _settings(self) -> dict[str, object]:
        names = ("min_abs", "max_terms", "max_weight", "store_bytes", "noise")
        return {name: getattr(self, name) for name in names}

    def _prepared(self, circuit: Circuit, observables: Sequence[PauliSum]) -> _Prepared:
        key = tuple(observables)
        with self._lock:
            known = self._known.setdefault(circuit, {})
            if key not in known:
                known[key] = _Prepared(compile_program(circuit, key, self.noise, self.max_weight is not None), circuit)
            return known[key]

    def _report(self, found: Truncation) -> None:
        self.truncation = found

    def _warn(self, values: Tensor, observables: Sequence[PauliSum]) -> None:
        found = self.truncation
        if found is None or found.exact:
            return
        signal = values.detach().abs().amax(0).to(found.estimate)
        rounding = 1e-6 * signal.new_tensor([observable.bound for observable in observables])
        worse = found.estimate.amax(0) > torch.maximum(signal, rounding)
        if bool(worse.any()):
            warnings.warn(
                f"Truncation may have changed the values of {int(worse.sum())} of {len(worse)} observables altogether "
                f"({found}): lower min_abs (now {self.min_abs:g}), or raise max_weight (now {self.max_weight}).",
                TruncationWarning,
                stacklevel=4,
            )


class _Prepared:
    """A program, and how features and weights become its angles."""

    def __init__(self, program: Program, circuit: Circuit) -> None:
        self.program = program
        sizes = {"weight": circuit.n_weights, "feature": circuit.n_features, "constant": 0}
        self._maps = {kind: AngleMap(parameters, sizes[kind]) for kind, parameters in program.angles.items()}
        self._counts = {kind: len(parameters) for kind, parameters in program.angles.items()}

    @property
    def reads_features(self) -> bool:
        return self._counts["feature"] > 0

    def weight_angles(self, weights: Tensor) -> Tensor:
        """(..., P) to (..., R)."""
        return self._maps["weight"](weights) if self._counts["weight"] else weights.new_empty(*weights.shape[:-1], 0)

    def angles(self, x: Tensor, weights: Tensor) -> tuple[Tensor, Tensor]:
        """Those that samples share, (S,), and those they don't, (B, S')."""
        constant, feature = (
            self._maps[kind](source) if self._counts[kind] else source.new_empty(*source.shape[:-1], 0)
            for kind, source in (("constant", weights.new_empty(0)), ("feature", x))
        )
        turned = self.weight_angles(weights)
        if weights.ndim == 2:
            return constant, torch.cat([feature, turned], 1)
        return torch.cat([turned, constant]), feature

    def task(self, backend: PropagationBackend, batch: int, each_has_weights: bool) -> Task:
        count = self._counts
        columns = {
            "weight": (each_has_weights, count["feature"] if each_has_weights else 0),
            "constant": (False, 0 if each_has_weights else count["weight"]),
            "feature": (True, 0),
        }
        limits = Limits(backend.min_abs, backend.max_terms, backend.max_weight)
        return Task(self.program, limits, columns, batch, backend.store_bytes, backend._report)
