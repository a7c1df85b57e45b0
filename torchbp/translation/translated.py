"""Where the weights of a quantum layer live: in the layer, or in another library's module it was translated from."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any, TypedDict, cast

import torch
from torch import Tensor, nn

from torchbp._torchquantum import QuantumModule
from torchbp.arguments import checked
from torchbp.arguments.kinds import a, anything, mapping
from torchbp.arguments.tensors import real_tensor
from torchbp.backends import resolve_with_noise
from torchbp.circuits import Circuit, PauliSum, given
from torchbp.errors import InputError
from torchbp.translation import torchquantum
from torchbp.translation.sharing import SharedWeights, values_at
from torchbp.translation.torchquantum import Translation
from torchbp.translation.within import CircuitsWithin

if TYPE_CHECKING:
    from typing_extensions import Self, Unpack

    from torchbp.backends import Backend
    from torchbp.backends.noise import NoiseModel


class Options(TypedDict, total=False):
    """What else a `QuantumLayer` is made with."""

    backend: str | Backend
    shots: int | None
    noise: NoiseModel | None
    generator: torch.Generator | None


class Translated(QuantumModule):
    """A module with weights (P,) for a circuit: a parameter of its own, or elements of another module's parameters."""

    circuit: Circuit

    @classmethod
    @checked(module=a(nn.Module), observables=given.observables, noise=anything)
    def from_torchquantum(
        cls,
        module: nn.Module,
        observables: PauliSum | str | Iterable[PauliSum | str] | None = None,
        *,
        n_wires: int | None = None,
        example: Tensor | None = None,
        backend: str | Backend = "fused",
        shots: int | None = None,
        noise: NoiseModel | None = None,
        generator: torch.Generator | None = None,
    ) -> Self:
        """A layer that does what a TorchQuantum module does, with the module's own parameters.

        A copy of the module is run twice, and the gates it applies are written down: operators, layers, encoders,
        n-local circuits, functions such as `tqf.rx`, and modules of one's own that call them. The layer's parameters
        are the module's, under the same names: to train one is to train the other, an optimizer sees each once, and a
        checkpoint of the module fits the layer. `weights` puts those that the circuit reads together, in the order of
        the circuit. The circuit's layers are named after the submodules that apply trainable gates.

        An angle may be an element of a parameter or a column of the input, times and plus a number, or a product of
        columns. Parameters that require no gradient become constants; changing them later is an error.

        Args:
            module: its `forward` takes features (B, F), a `QuantumDevice` (known by its annotation, or by "dev" in the
                argument's name), the device and features, or nothing; further arguments have defaults.
            observables: one for each output column. Left out: the weighted sums of expectation values (`tq.MeasureAll`,
                `tq.expval`, `tq.expval_joint_analytical`) that the module returns, one value for each sample as (B, 1);
                Z on every wire for a module that returns none. Given: what the module returns is ignored.
            n_wires: of the `QuantumDevice`, where the module takes one and has no attribute of that name.
            example: features (B, F), where the module takes features; only their number F counts.
            backend, shots, noise, generator: as for `QuantumLayer`.

        Raises:
            CircuitError: the module, a gate, an angle or what is measured has no translation; it is named.
            InputError: an example is needed, or it is not a batch of features.

        Example:
            >>> layer = QuantumLayer.from_torchquantum(tq.layer.U3CU3Layer0({"n_wires": 4, "n_blocks": 2}))
            >>> layer().shape
            torch.Size([1, 4])
        """
        found = torchquantum.translate(module, n_wires, example, measure=observables is None)
        options: Options = {"backend": backend, "shots": shots, "noise": noise, "generator": generator}
        return cls._of(found, module, observables, options)

    @classmethod
    @checked(layer=anything, observables=given.observables, weights=mapping)
    def from_pennylane(
        cls,
        layer: Any,
        observables: PauliSum | str | Iterable[PauliSum | str] | None = None,
        *,
        example: Tensor | None = None,
        weights: Mapping[str, Tensor] | None = None,
        **options: Unpack[Options],
    ) -> Self:
        """A layer that does what a PennyLane `TorchLayer` or QNode does, with the layer's own parameters.

        The QNode's function is run twice, without being simulated, and each gate it applies is looked up in the gate
        table, or replaced by PennyLane's own decomposition of it: templates, `qml.adjoint`, `qml.ctrl` and `qml.pow`
        too. The parameters are the layer's, under the same names, see `from_torchquantum`; wires may have any labels.
        The circuit's layers are the repetitions of its trainable gates, see `torchbp.circuits.repetitions`.

        An angle may be a sum of parameters and features, each times a number, or a product of features. Features may be
        amplitudes too, where the circuit begins with them.

        Args:
            layer: a `qml.qnn.TorchLayer`, or a QNode whose features, if it has any, are its argument "inputs".
            observables: one for each output column. Left out: what the QNode returns, a column for each `qml.expval`,
                2^k columns for the probabilities of k wires (`qml.probs`).
            example: features (B, F) or, for a QNode that takes one sample at a time, (F,); only F counts.
            weights: of a QNode, what its arguments but "inputs" start from.
            options: backend, shots, noise and generator, as for `QuantumLayer`; shots left out are those of the QNode
                or its device.

        Raises:
            CircuitError: an operator, an angle or what is measured has no translation; it is named. Measurements in the
                middle of a circuit, channels and continuous variables have none.
            InputError: an example or weights are needed, or don't fit.

        Example:
            >>> layer = QuantumLayer.from_pennylane(torch_layer, example=torch.zeros(1, 4))
        """
        from torchbp.translation import pennylane

        found, home = pennylane.translate(layer, weights or {}, example)
        return cls._of(found, home, observables, {"shots": pennylane.shots_of(layer), **options})

    @classmethod
    @checked(network=anything, observables=given.observables, weights=real_tensor)
    def from_qiskit(
        cls,
        network: Any,
        observables: PauliSum | str | Iterable[PauliSum | str] | None = None,
        *,
        weights: Tensor | None = None,
        **options: Unpack[Options],
    ) -> Self:
        """A layer that does what a `TorchConnector`, an `EstimatorQNN` or a `SamplerQNN` does.

        Its weights are the connector's parameter, under the connector's names, see `from_torchquantum`; the circuit's
        layers are the repetitions of its trainable gates. The input's gradient is there whatever `input_gradients`
        says. Angles may be sums of numbers, weights, features and products of features, each times a number.

        Args:
            network: of Qiskit Machine Learning.
            observables: one for each output column. Left out: an estimator's observables, or a column for each index
                that a sampler's `interpret` gives.
            weights: (P,) to start from, of a network without a connector; zeros if left out.
            options: backend, shots, noise and generator, as for `QuantumLayer`; shots left out are those of the
                network's primitive. An estimator's precision e becomes 1 / e^2 shots, whose error is smaller where an
                expectation value is near the ends of its range.

        Raises:
            CircuitError: an instruction, an angle or what is measured has no translation; it is named.
            InputError: no such network, or weights that don't fit.

        Example:
            >>> layer = QuantumLayer.from_qiskit(TorchConnector(network))
        """
        from torchbp.translation.qiskit import networks

        found, home = networks.translate(network, weights)
        return cls._of(found, home, observables, {"shots": networks.shots_of(network), **options})

    @classmethod
    @checked(circuit=anything, observables=given.observables)
    def from_deepquantum(
        cls,
        circuit: Any,
        observables: PauliSum | str | Iterable[PauliSum | str] | None = None,
        *,
        example: Tensor | None = None,
        **options: Unpack[Options],
    ) -> Self:
        """A layer that returns the expectation values of a DeepQuantum `QubitCircuit`, with its own parameters.

        The parameters are those of the circuit's gates, under the same names, see `from_torchquantum`; the layers are
        the repetitions of its trainable gates.

        Args:
            circuit: a `deepquantum.QubitCircuit` of state vectors.
            observables: one for each output column. Left out: those of the circuit.
            example: data (B, F), where F is not the number of encoded columns.
            options: backend, shots, noise and generator, as for `QuantumLayer`.

        Raises:
            CircuitError: a gate has no translation; it is named.
            InputError: no such circuit, or an example is needed.

        Example:
            >>> layer = QuantumLayer.from_deepquantum(circuit)
        """
        from torchbp.translation import deepquantum

        found = deepquantum.translate(circuit, example)
        return cls._of(found, circuit, observables, options)

    @classmethod
    def _of(cls, found: Translation, module: nn.Module, observables: Any, options: Options) -> Self:
        """The layer that a translation describes, with the parameters of the module."""
        measured = found.observables if observables is None else observables
        start = torch.zeros(found.circuit.n_weights)
        layer = cast(Any, cls)(found.circuit, measured, init=start, **options)
        layer._borrow(module, found)
        return cast("Self", layer)

    @classmethod
    @checked(model=a(nn.Module), noise=anything)
    def within(
        cls,
        model: nn.Module,
        *,
        backend: str | Backend = "fused",
        shots: int | None = None,
        noise: NoiseModel | None = None,
        generator: torch.Generator | None = None,
    ) -> CircuitsWithin:
        """The model with each TorchQuantum circuit in it run as a layer, whatever it does before, between and behind.

        For models that take images, sequences or several inputs, do classical work, call circuits in loops: what
        `from_torchquantum` can't make one layer of. Called as the model is; see `CircuitsWithin`.

        Args:
            model: a module that uses TorchQuantum anywhere in its `forward`.
            backend, shots, noise, generator: as for `QuantumLayer`.

        Example:
            >>> model = QuantumLayer.within(QFCModel())
            >>> model(torch.rand(8, 1, 28, 28)).shape
            torch.Size([8, 2])
        """
        resolve_with_noise(backend, noise)  # what is wrong with them is said now, not when the model is called
        options = {"backend": backend, "shots": shots, "noise": noise, "generator": generator}
        return CircuitsWithin(model, partial(_untrained, cls, options))

    def _own(self, weights: Tensor) -> None:
        """Have these weights (P,) as a parameter."""
        self._n_features = self.circuit.n_features
        self._held: Tensor | None = None  # weights to have in place of computed ones
        self._shared: SharedWeights | None = None
        self.register_parameter("weights", nn.Parameter(weights))

    def _borrow(self, module: nn.Module, found: Translation) -> None:
        """Have the parameters of a module as weights, under their own names."""
        self._n_features = found.n_features  # it may take more than it reads
        del self._parameters["weights"]
        self._shared = SharedWeights(self, module, found.sources)

    def _read(self, x: Tensor) -> Tensor:
        """The columns of the features (B, F) that the circuit reads."""
        return x if self._n_features == self.circuit.n_features else x[:, : self.circuit.n_features]

    def _check_unchanged(self) -> None:
        """Raise InputError if a parameter that became a constant of the circuit has changed."""
        if self._shared is not None:
            self._shared.check()

    @property
    def weights(self) -> Tensor:
        """The trainable angles (P,), in radians: a parameter, or put together from those of another module."""
        if self._shared is not None:
            return self._shared()
        computed = vars(self).get("weights")
        return cast(Tensor, super().__getattr__("weights")) if computed is None else cast(Tensor, computed)

    @weights.setter
    def weights(self, computed: Tensor) -> None:
        """For torch.nn.utils.prune and weight_norm, which compute the weights from parameters of their own."""
        vars(self)["weights"] = computed

    @weights.deleter
    def weights(self) -> None:
        del vars(self)["weights"]

    @property
    def n_features(self) -> int:
        """The columns that `x` has; the circuit of a translated module may read fewer of them."""
        return self._n_features

    @contextmanager
    def weights_at(self, weights: Tensor) -> Iterator[None]:
        """Within the block the layer has these weights (P,); then its own again, as they were.

        Raises:
            InputError: the circuit has another number of weights.
        """
        present = self.weights
        if weights.shape != present.shape:
            raise InputError(
                f"The circuit has {self.circuit.n_weights} weights, got weights of shape {tuple(weights.shape)}."
            )
        if self._shared is None and "weights" not in self._parameters:  # computed from others at every call
            self._held = weights.to(present)
            try:
                yield
            finally:
                self._held = None
            return
        changed = {cast(nn.Parameter, present): weights} if self._shared is None else self._shared.split(weights)
        with values_at(changed):
            yield

    @property
    def weight_places(self) -> list[tuple[nn.Parameter, Tensor, Tensor]]:
        """Where the weights are: parameters, each with the elements it lends and their indices in `weights`."""
        if self._shared is not None:
            return self._shared.places()
        every = torch.arange(self.circuit.n_weights)
        # A pruned weight is its parameter's element, or zero; what else computes weights leaves them no place.
        parameter = self._parameters.get("weights", self._parameters.get("weights_orig"))
        return [] if parameter is None else [(parameter, every, every)]


def _untrained(cls: Any, options: dict[str, Any], circuit: Circuit, observables: Iterable[str]) -> Any:
    """A layer for weights that are not its own."""
    return cls(circuit, observables, init=torch.zeros(circuit.n_weights), **options)
