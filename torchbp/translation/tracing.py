"""Runs a TorchQuantum module without simulating it, and writes down the gates it applies and what it measures.

Every gate function of TorchQuantum ends in one function, `gate_wrapper`. While a module is recorded, a stand-in takes
its place and notes the gate, its wires and the tensor of its angles, which still knows by autograd what it was computed
from. In place of the state, the device then holds a marker: a tensor filled with the number of the state, so that
copies of a state (`clone_states`, `set_states`) are recognized, and states changed by anything but a gate too.
"""

from __future__ import annotations

import inspect
import threading
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor, nn

from torchbp._torchquantum import QuantumDevice, func_name_dict, tq, tqf
from torchbp.errors import CircuitError, TorchBPError

UNITARIES = {"qubitunitary", "qubitunitaryfast", "qubitunitarystrict"}
LETTERS = {"PauliX": "X", "PauliY": "Y", "PauliZ": "Z", "I": "I"}
LOCK = threading.RLock()
"""Whoever has put stand-ins in the place of TorchQuantum's functions."""


@dataclass(frozen=True, eq=False)
class TracedGate:
    """A gate as TorchQuantum was asked to apply it.

    Attributes:
        angles: (1, k) or (B, k), None for gates without angles.
        matrix: (2^k, 2^k), or with a batch before it; only for gates given by their matrix.
        path: of the operator or module that applied it, "" for the recorded module itself.
    """

    name: str
    wires: tuple[Any, ...]
    angles: Tensor | None
    matrix: Tensor | None
    inverse: bool
    path: str

    def __str__(self) -> str:
        return f"the gate {self.name!r} on {list(self.wires)}" + (f" in {self.path!r}" if self.path else "")


@dataclass(frozen=True, eq=False)
class Measurement:
    """Expectation values that were asked for: of `strings`, in `state`; `values` (B, n) stand for them."""

    state: int
    strings: tuple[str, ...]
    values: Tensor


@dataclass(frozen=True, eq=False)
class Trace:
    """What a module did: from `start` (1 or B, 2^n) through `gates` to where it was measured, and what it returned."""

    n_wires: int
    start: Tensor
    gates: tuple[TracedGate, ...]
    measurements: tuple[Measurement, ...]
    output: object


def record(module: nn.Module, x: Tensor | None, n_wires: int | None, seed: int) -> Trace:
    """Call `module` on the features `x`, on a device of its own or of `n_wires` wires, and record it.

    Expectation values come out as random numbers, made from `seed`. The module is not fit for use afterwards.

    Raises:
        CircuitError: the module can't be called or recorded, or applies what is no gate.
    """
    device, at = None, device_at(module)
    if at is not None:
        device = QuantumDevice(n_wires=_count_wires(module, n_wires), bsz=1 if x is None else len(x))
    given = [argument for argument in (device, x) if argument is not None]
    recorder = Recorder(1 if x is None else len(x), torch.Generator().manual_seed(seed))
    try:
        with LOCK, recorder.listening(module), torch.enable_grad():
            output = module(*(given[::-1] if at else given))
    except TorchBPError:
        raise
    except Exception as error:
        last = f", after {recorder.last}" if recorder.last else ""
        raise CircuitError(
            f"{type(module).__name__} can't be recorded{last}: its forward raised {type(error).__name__}: {error}\n"
            "If it does more than run a circuit on features, run the circuits in it as it is: "
            "model = QuantumLayer.within(module)."
        ) from error
    return recorder.trace(output, device, n_wires)


def takes_features(module: nn.Module) -> str | None:
    """The name of the argument of `forward` that takes the features, unless it has a default or there is none."""
    at = device_at(module)
    names = [p for i, p in enumerate(_arguments(module)) if i != at]
    return names[0].name if names and names[0].default is names[0].empty else None


@dataclass(frozen=True, eq=False)
class State:
    """State number i: the one before it and the gate between them, or a tensor to start from."""

    n_wires: int
    before: int | None = None
    gate: TracedGate | None = None
    start: Tensor | None = None


@dataclass(eq=False)
class Recorder:
    """What is asked of TorchQuantum's functions while its stand-ins take their place."""

    batch: int
    generator: torch.Generator
    states: list[State] = field(default_factory=list)
    measurements: list[Measurement] = field(default_factory=list)
    path: list[str] = field(default_factory=list)
    last: TracedGate | None = None
    _known: dict[int, tuple[Tensor, int, int]] = field(default_factory=dict)

    @contextmanager
    def listening(self, module: nn.Module) -> Iterator[None]:
        """Within the block TorchQuantum's functions write down here what this thread asks of them."""

        def leave(*_: object) -> None:
            self.path.pop()

        for path, part in module.named_modules():
            part.register_forward_pre_hook(lambda *_, path=path: self.path.append(path))
            part.register_forward_hook(leave, always_call=True)
        with self.standing_in(module):
            yield

    @contextmanager
    def standing_in(self, module: nn.Module) -> Iterator[None]:
        """Within the block TorchQuantum's functions are those of this recorder, for this thread."""
        gates = [f.__globals__ for f in func_name_dict.values()]
        users = [inspect.unwrap(type(part).forward).__globals__ for part in module.modules()]
        measuring = (*users, vars(tq), vars(tq.measurement), tq.MeasureAll.forward.__globals__)
        thread = threading.get_ident()
        with ExitStack() as stack:
            for spaces, original, ours in (
                ((*gates, *users), tqf.gate_wrapper, self.gate),
                (measuring, tq.expval, self.expval),
                (measuring, tq.measurement.expval_joint_analytical, self.joint),
            ):

                def stand_in(*args: Any, ours: Any = ours, original: Any = original, **kwargs: Any) -> Any:
                    return (ours if threading.get_ident() == thread else original)(*args, **kwargs)

                for space in {id(space): space for space in spaces}.values():
                    stack.enter_context(_replaced(space, original, stand_in))
            for space in gates:
                # Where TorchQuantum 0.1.8 forgot to import its matrices; recorded gates don't look at theirs.
                if "mat_dict" not in space:
                    space["mat_dict"] = defaultdict(lambda: None)
                    stack.callback(space.pop, "mat_dict")
            yield

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
        before = self.number(q_device)
        if isinstance(wires, int | np.integer):
            wires = [wires]
        matrix = None
        if name in UNITARIES:
            given = params if params is None or isinstance(params, Tensor) else torch.as_tensor(params)
            matrix, params = (mat(given) if callable(mat) else mat), None
        elif params is not None:
            params = params.clone() if isinstance(params, Tensor) else torch.tensor(params, dtype=torch.float64)
            params = params.reshape(-1, 1) if params.ndim < 2 else params
        path = self.path[-1] if self.path else ""
        if not isinstance(wires, Iterable):
            raise CircuitError(f"The gate {name!r} in {path!r} has no wires: give them to its constructor or its call.")
        self.last = TracedGate(name, tuple(wires), params, matrix, bool(inverse), path)
        self.states.append(State(q_device.n_wires, before, self.last))
        self._mark(q_device, len(self.states) - 1)

    def expval(self, qdev: Any, wires: Any, observables: Any) -> Tensor:
        """In place of TorchQuantum's `expval`, which leaves the state rotated: values (B, n)."""
        if isinstance(wires, int):
            wires, observables = [wires], [observables]
        names = [type(observable).__name__ for observable in observables]
        for name in names:
            if name not in LETTERS:
                raise CircuitError(f"The module measures {name}: only PauliX, PauliY, PauliZ and I can be translated.")
        values = self._measure(
            qdev, [f"{LETTERS[n]}{w}" if n != "I" else "" for n, w in zip(names, wires, strict=False)]
        )
        for wire, observable in zip(wires, observables, strict=False):
            for rotation in observable.diagonalizing_gates():
                rotation(qdev, wires=wire)
        return values

    def joint(self, qdev: Any, observable: str) -> Tensor:
        """In place of TorchQuantum's `expval_joint_analytical`: values (B,)."""
        letters = [f"{letter}{wire}" for wire, letter in enumerate(observable.upper()) if letter != "I"]
        return self._measure(qdev, [" ".join(letters)])[:, 0]

    def number(self, device: Any) -> int:
        """The number of the state a device holds; a new one if it is to be started from."""
        if getattr(device, "device_name", "") == "noisedevice":
            raise CircuitError(
                "A tq.NoiseDevice can't be translated: use a tq.QuantumDevice, and give the layer a noise=NoiseModel()."
            )
        states: Tensor = device._buffers["states"]
        known = self._known.get(id(device))
        if known is not None and states is known[0] and version(states) == known[1]:
            return known[2]
        flat = states.reshape(-1)
        number = int(flat[0].real) - 2
        if not (flat == flat[0]).all() or flat[0].imag != 0.5 or not 0 <= number < len(self.states):
            self.states.append(State(device.n_wires, start=states.reshape(len(states), -1)))
            number = len(self.states) - 1
        self._known[id(device)] = states, version(states), number
        return number

    def trace(self, output: object, device: Any, n_wires: int | None) -> Trace:
        """The way to the measured state; without a measurement, to the device's last one."""
        ends = {m.state for m in self.measurements}
        if len(ends) > 1:
            raise CircuitError(
                "The module measures different states (gates between measurements, or one in X or Y and then another: "
                "tq.expval leaves the state rotated): measure once, or nothing, and pass observables=."
            )
        end = self.number(device) if device is not None else len(self.states) - 1
        number: int | None = ends.pop() if ends else end
        if number is None or number < 0:
            raise CircuitError("The module applied no gate of TorchQuantum: there is nothing to translate.")
        count, gates = self.states[number].n_wires, []
        if n_wires is not None and n_wires != count:
            raise CircuitError(f"The module makes a QuantumDevice of {count} wires itself, got n_wires={n_wires}.")
        while (state := self.states[number]).gate is not None:
            gates.append(state.gate)
            number = cast(int, state.before)
        return Trace(count, cast(Tensor, state.start), tuple(gates[::-1]), tuple(self.measurements), output)

    def _measure(self, device: Any, strings: Sequence[str]) -> Tensor:
        shape = self.batch, len(strings)
        values = torch.rand(shape, generator=self.generator, dtype=torch.float64).requires_grad_()
        self.measurements.append(Measurement(self.number(device), tuple(strings), values))
        return values

    def _mark(self, device: Any, number: int) -> None:
        marker = torch.tensor(complex(number + 2, 0.5), dtype=torch.complex64).expand(device.states.shape)
        device.states = marker.clone() if device.n_wires <= 16 else marker
        self._known[id(device)] = device.states, version(device.states), number


def place_of(modules: Mapping[str, nn.Module], path: str) -> str:
    """The submodule a gate belongs to: the list its operator stands in, unless the owner trains nothing else."""
    if isinstance(modules[path], tq.Operator):
        path = path.rpartition(".")[0]
    while isinstance(modules[path], nn.ModuleList | nn.ModuleDict | nn.Sequential) and path:
        owner = path.rpartition(".")[0]
        if len(list(modules[path].parameters())) < len(list(modules[owner].parameters())):
            break
        path = owner
    return path


def version(states: Tensor) -> int:
    """Counts what was written into a tensor; in inference mode nobody does."""
    return 0 if states.is_inference() else states._version


@contextmanager
def _replaced(space: dict[str, Any], original: object, stand_in: object) -> Iterator[None]:
    """Within the block every name of a namespace that means `original` means `stand_in`."""
    names = [name for name, value in space.items() if value is original]
    space.update(dict.fromkeys(names, stand_in))
    try:
        yield
    finally:
        space.update(dict.fromkeys(names, original))


def _arguments(module: nn.Module) -> list[inspect.Parameter]:
    parameters = inspect.signature(module.forward).parameters.values()
    return [p for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]


def device_at(module: nn.Module) -> int | None:
    """Whether the first argument or the second is the device; None if neither is."""
    first = enumerate(_arguments(module)[:2])
    return next((i for i, p in first if "dev" in p.name.lower() or "QuantumDevice" in str(p.annotation)), None)


def _count_wires(module: nn.Module, n_wires: int | None) -> int:
    wires = getattr(module, "wires", None)
    if n_wires is None and isinstance(module, tq.Operator) and wires is not None:
        n_wires = max(wires if isinstance(wires, Iterable) else [wires]) + 1
    count = getattr(module, "n_wires", None) if n_wires is None else n_wires
    if not isinstance(count, int):
        raise CircuitError(f"{type(module).__name__} does not say how many wires its QuantumDevice has: pass n_wires=.")
    return count
