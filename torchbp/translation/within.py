"""A model whose TorchQuantum circuits run as quantum layers, and all else as it did.

The model's own `forward` runs. TorchQuantum's gate functions are replaced meanwhile, for this thread: a gate is noted
instead of applied, with its angles as they are, tensors with their graphs. What measures a device, or looks at its
states, is what runs the circuit that led to them: angles that are elements of the model's parameters become weights of
a layer, all other angles its features, whatever they were computed from. So images, sequences, recurrences and
classical work before, between and behind circuits are of no concern.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor, nn

from torchbp._torchquantum import QuantumDevice, tq, tqf
from torchbp.circuits import Circuit, Parameter
from torchbp.circuits.parameters import constant
from torchbp.errors import CircuitError
from torchbp.translation.sharing import SharedWeights
from torchbp.translation.tracing import LETTERS, LOCK, UNITARIES, Recorder, State, place_of, version

MOST_CIRCUITS = 256
LayerOf = Callable[[Circuit, Sequence[str]], Any]
# Of each angle: a parameter's name and the element, a number, or None for a feature.
Angle = tuple[str, int] | float | None
Step = tuple[str, tuple[int, ...], bool, tuple[Angle, ...], bytes | None]


class CircuitsWithin(nn.Module):
    """`model`, with every TorchQuantum circuit in it run by a `QuantumLayer`.

    Called as the model is, and returns what it returns, with the same gradients. Its parameters are the model's own,
    and `state_dict()` is the model's. Layers are made at the first call that needs them.

    An angle is a weight of a layer where the gate gets an element of a trainable parameter of the model; computed
    ones (2 * w, w[i] + x) are features of it, which changes no number and no gradient. What reads a device's states is
    given them, exact, without noise and shots. A gate whose matrix depends on trainable numbers (`OpHamilExp`) is
    applied by TorchQuantum, to states from the circuit before it.

    Args:
        model: a module that uses TorchQuantum anywhere in its `forward`.
        layer_of: makes the layer for a circuit and Pauli strings to measure.

    Attributes:
        model: the model.
        circuits: the layers so far.
    """

    circuits: nn.ModuleList

    def __init__(self, model: nn.Module, layer_of: LayerOf) -> None:
        super().__init__()
        self.model, self.circuits = model, nn.ModuleList()
        self._layer_of = layer_of
        self._numbers: dict[tuple[Any, ...], int] = {}
        hooks: Any = self
        hooks.register_state_dict_post_hook(_names_of_the_model)
        hooks.register_load_state_dict_pre_hook(_names_of_the_wrapper)

    @torch.compiler.disable  # type: ignore[untyped-decorator]
    def forward(self, *arguments: Any, **options: Any) -> Any:
        """What the model returns.

        Raises:
            CircuitError: a gate that a circuit can't have, or circuits that differ at every call.
        """
        with LOCK:
            if "states" in vars(QuantumDevice):  # a model around this one does it all
                return self.model(*arguments, **options)
            runner = _Runner(self)
            with runner.standing_in(self.model), runner.answering():
                return self.model(*arguments, **options)

    def layer(self, n_wires: int, steps: Sequence[Step], strings: Sequence[str]) -> Any:
        """The layer that runs these steps and measures these strings."""
        key = n_wires, tuple(steps), tuple(strings)
        if key not in self._numbers:
            if len(self.circuits) == MOST_CIRCUITS:
                raise CircuitError(
                    f"The circuits in {type(self.model).__name__} differ from call to call ({MOST_CIRCUITS} so far): "
                    "random gates, numbers that change, or TorchQuantum's noise model. Fix them, remove the noise with "
                    "set_noise_model_tq(None), or translate the part that stays the same."
                )
            self._numbers[key] = len(self.circuits)
            self.circuits.append(self._make(n_wires, steps, strings))
        return self.circuits[self._numbers[key]]

    def _make(self, n_wires: int, steps: Sequence[Step], strings: Sequence[str]) -> Any:
        circuit, runs, current, feature = Circuit(n_wires), dict[str, int](), "", 0
        modules = dict(self.model.named_modules(remove_duplicate=False))
        sources: dict[tuple[str, int], None] = {}
        for name, wires, inverse, angles, matrix in steps:
            parameters = []
            for angle in angles:
                if angle is None:
                    parameters.append(Parameter("feature", (feature,)))
                    feature += 1
                elif isinstance(angle, float):
                    parameters.append(constant(angle))
                else:
                    sources[angle] = None
                    parameters.append(Parameter("weight", token=angle))
                    unit = place_of(modules, angle[0].rpartition(".")[0]) or type(self.model).__name__
                    if unit != current:
                        current, runs[unit] = unit, runs.get(unit, 0) + 1
                        circuit.start_layer(unit if runs[unit] == 1 else f"{unit}/{runs[unit]}")
            unitary = None if matrix is None else np.frombuffer(matrix, complex).reshape(2 * (2 ** len(wires),))
            gate = "qubitunitary" if matrix is not None else name
            circuit.append(gate, wires, *parameters, inverse=inverse, unitary=unitary)
        if not steps:  # a state that was given is measured
            circuit.append("i", 0)
        layer = self._layer_of(circuit, strings)
        if sources:
            layer.of_model = nn.Module()
            used = {name for name, _ in sources}
            layer._shared = SharedWeights(layer, self.model, tuple(sources), used, under=layer.of_model)
            del layer._parameters["weights"]
        return layer.to(next(self.model.parameters(), torch.empty(0)).device)


class _Runner(Recorder):
    """Notes gates, and runs them when their result is asked for."""

    def __init__(self, within: CircuitsWithin) -> None:
        super().__init__(1, torch.Generator())
        self.within, self._thread = within, threading.get_ident()
        self.names = {p: name for name, p in within.model.named_parameters() if p.requires_grad}
        self.noted: dict[int, tuple[int, Step, list[Tensor]]] = {}
        self._busy = False  # running a layer, which may use TorchQuantum itself
        self._gate, self._expval, self._several = tqf.gate_wrapper, tq.expval, tq.MeasureMultipleTimes.forward

    @contextmanager
    def answering(self) -> Iterator[None]:
        """Within the block who reads the states of a device is given them."""

        def states(device: Any) -> Tensor:
            if "states" not in device._buffers:
                raise AttributeError("states")
            mine = threading.get_ident() == self._thread and not self._busy
            return self.read(device) if mine else device._buffers["states"]

        def several(part: Any, device: Any) -> Tensor:
            mine = threading.get_ident() == self._thread and part.v_c_reg_mapping is None
            return self.several(part, device) if mine else self._several(part, device)

        QuantumDevice.states, tq.MeasureMultipleTimes.forward = property(states), several
        try:
            yield
        finally:
            tq.MeasureMultipleTimes.forward = self._several
            del QuantumDevice.states

    def gate(
        self,
        name: str,
        mat: Any,
        method: str,
        q_device: Any,
        wires: Any,
        params: Any = None,
        n_wires: int | None = None,
        static: bool = False,
        parent_graph: Any = None,
        inverse: bool = False,
    ) -> None:
        """In place of TorchQuantum's `gate_wrapper`."""
        wires = [wires] if isinstance(wires, int | np.integer) else wires
        step = None
        if not static and not self._busy and q_device.device_name != "noisedevice":
            step = self._step(name, mat, wires, params, bool(inverse))
        if step is None:
            self._gate(name, mat, method, q_device, wires, params, n_wires, static, parent_graph, inverse)
            return
        before = self.number(q_device)
        if q_device.record_op:
            shown = None if params is None else torch.as_tensor(params).squeeze().detach().cpu().numpy().tolist()
            trained = isinstance(params, Tensor) and params.requires_grad
            on = np.array(wires).squeeze().tolist()
            kept = {"name": name, "wires": on, "params": shown, "inverse": inverse, "trainable": trained}
            q_device.op_history.append(kept)
        self.states.append(State(q_device.n_wires, before))
        self.noted[len(self.states) - 1] = before, *step
        self._mark(q_device, len(self.states) - 1)

    def expval(self, qdev: Any, wires: Any, observables: Any) -> Tensor:
        """In place of TorchQuantum's `expval`; observables that are no Pauli matrices are left to it."""
        given = [observables] if isinstance(wires, int) else observables
        ours = all(type(observable).__name__ in LETTERS for observable in given)
        return (
            super().expval(qdev, wires, observables)
            if ours and not self._busy
            else self._expval(qdev, wires, observables)
        )

    def several(self, part: Any, device: Any) -> Tensor:
        """In place of `tq.MeasureMultipleTimes.forward`."""
        found = []
        for asked in part.obs_list:
            of = dict(zip(asked["wires"], asked["observables"], strict=True))
            letters = {w: LETTERS[type(tq.op_name_dict[name]()).__name__] for w, name in of.items()}
            strings = [f"{letters[w]}{w}" if letters.get(w, "I") != "I" else "" for w in range(device.n_wires)]
            found.append(self._measure(device, strings))
        return torch.cat(found)

    def read(self, device: Any) -> Tensor:
        """The states of a device, in its shape."""
        number = self.number(device)
        if number not in self.noted:
            return device._buffers["states"]
        layer, x, start = self._call(number, [f"Z{wire}" for wire in range(device.n_wires)])
        with self._aside():
            return layer.states(x, start).reshape(-1, *[2] * device.n_wires)

    def _measure(self, device: Any, strings: Sequence[str]) -> Tensor:
        layer, x, start = self._call(self.number(device), strings)
        with self._aside():
            return layer(x, start)

    @contextmanager
    def _aside(self) -> Iterator[None]:
        """Within the block TorchQuantum does what it does."""
        self._busy = True
        try:
            yield
        finally:
            self._busy = False

    def _call(self, number: int, strings: Sequence[str]) -> tuple[Any, Tensor, Tensor | None]:
        """The layer for what leads to a state, and what it is called with."""
        steps: list[Step] = []
        lives: list[list[Tensor]] = []
        while number in self.noted:
            number, step, live = self.noted[number]
            steps.append(step)
            lives.append(live)
        start = cast(Tensor, self.states[number].start)
        columns = [column for live in reversed(lives) for column in live]
        batch = max([len(start), *(len(column) for column in columns)])
        layer = self.within.layer(self.states[number].n_wires, steps[::-1], strings)
        x = torch.empty(batch, 0, device=start.device)
        if columns:
            x = torch.stack([column.expand(batch) for column in columns], 1)
        zero = not start.requires_grad and torch.equal(start, torch.eye(1, start.shape[1]).to(start).expand_as(start))
        return layer, x, None if zero else start.expand(batch, -1)

    def _step(self, name: str, mat: Any, wires: Any, params: Any, inverse: bool) -> tuple[Step, list[Tensor]] | None:
        """A gate, and its angles that are features (1,) or (B,); None if its matrix is not fixed."""
        on = tuple(int(w) for w in wires)
        if name in UNITARIES:
            given = torch.as_tensor(params)
            if given.requires_grad or given.ndim > 2:
                return None
            matrix = (mat(given) if callable(mat) else mat).to("cpu", torch.complex128).contiguous().numpy()
            return (name, on, inverse, (), matrix.tobytes()), []
        if params is None:
            return (name, on, inverse, (), None), []
        if not isinstance(params, Tensor):
            angles = tuple(float(a) for a in np.ravel(params))
            return (name, on, inverse, angles, None), []
        columns = params.reshape(-1, 1) if params.ndim < 2 else params
        elements = self._elements(params)
        if elements is not None and len(elements) == columns.shape[1]:
            return (name, on, inverse, tuple(elements), None), []
        return (name, on, inverse, (None,) * columns.shape[1], None), list(columns.unbind(1))

    def _elements(self, params: Tensor) -> list[tuple[str, int]] | None:
        """The elements of a trainable parameter that a tensor is a view of, if it is one."""
        base = params if params in self.names else params._base
        name = None if base is None else self.names.get(cast(nn.Parameter, base))
        if name is None or base is None or not base.is_contiguous() or params.dtype != base.dtype:
            return None
        first = params.storage_offset() - base.storage_offset()
        places = torch.zeros(params.shape, dtype=torch.long)
        for dim, (size, stride) in enumerate(zip(params.shape, params.stride(), strict=True)):
            places += (torch.arange(size) * stride).reshape(-1, *[1] * (params.ndim - dim - 1))
        return [(name, first + place) for place in places.reshape(-1).tolist()]

    def _mark(self, device: Any, number: int) -> None:
        before = device._buffers["states"]
        marker = torch.tensor(complex(number + 2, 0.5), dtype=torch.complex64, device=before.device)
        device._buffers["states"] = marker = marker.expand(before.shape)  # no memory of its own
        self._known[id(device)] = marker, version(marker), number


def _names_of_the_model(within: nn.Module, state: dict[str, Any], prefix: str, _: object) -> None:
    """The names that the model's own state_dict has."""
    for key in [key for key in state if key.startswith((f"{prefix}model.", f"{prefix}circuits."))]:
        value, rest = state.pop(key), key.removeprefix(prefix)
        if rest.startswith("model."):
            state[prefix + rest.removeprefix("model.")] = value


def _names_of_the_wrapper(within: nn.Module, state: dict[str, Any], prefix: str, *_: object) -> None:
    """The names that loading looks for."""
    for key in [key for key in state if key.startswith(prefix)]:
        state[f"{prefix}model.{key.removeprefix(prefix)}"] = state.pop(key)
    for key, value in cast(nn.Module, within.circuits).state_dict().items():
        state[f"{prefix}circuits.{key}"] = state.get(f"{prefix}model.{key.partition('.of_model.')[2]}", value)
