"""`accelerate`: the quantum modules of a model, whatever library they are of, replaced by fused layers."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from torchbp._torchquantum import tq
from torchbp.arguments import checked
from torchbp.arguments.kinds import a, anything
from torchbp.errors import CircuitError, InputError, TorchBPError
from torchbp.layer.drop_in import CircuitDropIn, DropIn
from torchbp.layer.quantum_layer import QuantumLayer
from torchbp.translation.adapters.table import adapter_of
from torchbp.translation.tracing import device_at

_COMPARED = 3
"""Samples that values and gradients are compared on."""
_CLOSE = 1e-4
"""Largest deviation, relative to the largest value (at least 1), that counts as equal in float32."""


@dataclass(frozen=True)
class Replacement:
    """What became of one quantum module.

    Attributes:
        path: of the module in the model.
        module: its class.
        layer: what stands there now; None if the module stays.
        reason: why it stays; empty if it does not.
        deviation: the largest difference of values and of gradients by its parameters, on the samples compared.
    """

    path: str
    module: str
    layer: QuantumLayer | None
    reason: str = ""
    deviation: float = math.nan

    def __str__(self) -> str:
        name = f"{self.path or '(the model)'}: {self.module}"
        if self.layer is None:
            return f"{name} stays: {self.reason}"
        return f"{name} became {self.layer}; largest deviation {self.deviation:.1e}"


@dataclass
class Acceleration:
    """What `accelerate` did, one row a module.

    Attributes:
        model: the model; not the one given only if that was itself replaced.
    """

    model: nn.Module
    rows: list[Replacement] = field(default_factory=list)

    @property
    def replaced(self) -> list[Replacement]:
        """The modules that became layers."""
        return [row for row in self.rows if row.layer is not None]

    def __repr__(self) -> str:
        return "\n".join(map(str, self.rows)) or "There is no quantum module of another library in this model."


@checked(model=a(nn.Module), example=anything)
def accelerate(model: nn.Module, example: Any = None) -> Acceleration:
    """Replace the quantum modules of other libraries in a model by fused layers, in place, and say what was done.

    Each module of PennyLane (`TorchLayer`), Qiskit Machine Learning (`TorchConnector`), DeepQuantum (`QubitCircuit`)
    and TorchQuantum (one whose `forward` takes features and returns expectation values) is translated. The layer has
    the module's own parameters under their own names, so that optimizers made before and checkpoints go on fitting. A
    layer is kept only if its values and gradients are those of the module on a few samples; where the module measures
    with finite shots, if its values are within their noise. What can't be translated stays, and the report says why.

    Args:
        model: any module; a LightningModule too.
        example: input of the model, (B, F) or whatever it is called with; a tuple for several arguments; or a function
            of the model that calls it. The number of features of each module is read off it. Left out:
            `model.example_input_array`, where there is one.

    Raises:
        InputError: the model can't be called with the example.

    Returns:
        A report to print. Its `model` is the one to go on with where `model` itself was replaced.

    Example:
        >>> print(torchbp.accelerate(model, example=next(iter(loader))[0]))
    """
    if example is None:
        example = getattr(model, "example_input_array", None)
    with torch.random.fork_rng():
        return _accelerate(model, example)


def _accelerate(model: nn.Module, example: Any) -> Acceleration:
    found = dict(_candidates(model))
    seen = {} if example is None else _inputs(model, example, found)
    report = Acceleration(model)
    for module, path in found.items():
        try:
            layer, deviation = _replacement(module, seen.get(module), example is not None)
            row = Replacement(path, type(module).__name__, layer, deviation=deviation)
        except TorchBPError as error:
            row = Replacement(path, type(module).__name__, None, str(error))
        except Exception as error:  # the library's own
            row = Replacement(path, type(module).__name__, None, f"{type(error).__name__}: {error}")
        if row.layer is not None:
            report.model = _put(report.model, module, row.layer)
        report.rows.append(row)
    return report


def _candidates(model: nn.Module) -> Iterator[tuple[nn.Module, str]]:
    """The outermost quantum modules of other libraries, with their paths."""
    inside: set[nn.Module] = set()
    for path, module in model.named_modules():
        if module in inside:
            continue
        quantum = isinstance(module, tq.QuantumModule) and _all_quantum(module)
        if isinstance(module, QuantumLayer) or quantum or adapter_of(module) is not None:
            inside |= set(module.modules())
            if not isinstance(module, QuantumLayer):
                yield module, path


def _all_quantum(module: nn.Module) -> bool:
    """Whether all that a TorchQuantum module trains is TorchQuantum's."""
    holders = [part for part in module.modules() if next(part.parameters(recurse=False), None) is not None]
    return bool(holders) and all(isinstance(part, tq.QuantumModule) for part in holders)


def _replacement(module: nn.Module, x: Tensor | None, reached: bool) -> tuple[QuantumLayer, float]:
    """The layer for a module, and how far its values and gradients are from the module's."""
    adapter = adapter_of(module)
    library = "torchquantum" if adapter is None else adapter.library
    if library not in _TRANSLATORS:
        what = "a module that was marked as quantum" if not library else f"a module of {library}"
        raise CircuitError(f"torchbp can't read the circuit of {what}.")
    if x is None and reached:
        raise InputError("the example does not reach it, as a tensor and its first argument.")
    layer = _TRANSLATORS[library](module, x)
    layer.train(module.training)
    inputs = None if x is None else x.detach()[:_COMPARED] if x.ndim > 1 else x.detach()
    if inputs is None and layer._n_features:
        inputs = torch.rand(_COMPARED, layer._n_features, generator=torch.Generator().manual_seed(0))
    return layer, _compared(module, layer, inputs)


def _pennylane(module: nn.Module, x: Tensor | None) -> QuantumLayer:
    layer = DropIn.from_pennylane(module, example=x)
    if x is not None:
        with torch.no_grad():
            layer.columns = module(x[:1] if x.ndim > 1 else x).ndim == x.ndim
    return layer


def _deepquantum(module: nn.Module, x: Tensor | None) -> QuantumLayer:
    layer = CircuitDropIn.from_deepquantum(module, example=x)
    own = dict(module.named_parameters(remove_duplicate=False))
    layer.kept = {name: tensor for name, tensor in module.state_dict().items() if name not in own}
    return layer


def _torchquantum(module: nn.Module, x: Tensor | None) -> QuantumLayer:
    if device_at(module) is not None:
        raise CircuitError(
            "it acts on a QuantumDevice that its caller has: QuantumLayer.from_torchquantum(module, observables) makes "
            "a layer of it, to be called with features."
        )
    return DropIn.from_torchquantum(module, example=x)


_TRANSLATORS: Mapping[str, Callable[[Any, Tensor | None], QuantumLayer]] = {
    "pennylane": _pennylane,
    "qiskit_machine_learning": lambda module, x: DropIn.from_qiskit(module),
    "deepquantum": _deepquantum,
    "torchquantum": _torchquantum,
}


def _compared(module: nn.Module, layer: QuantumLayer, x: Tensor | None) -> float:
    """The largest deviation of values and gradients.

    Raises:
        CircuitError: it is larger than rounding, or than the noise of finite shots, explains.
    """
    theirs, ours = _evaluated(module, x), _evaluated(layer, x)
    if theirs.shape != ours.shape:
        raise CircuitError(
            f"it returns {tuple(theirs.shape)} for an input of {None if x is None else tuple(x.shape)}, and a layer "
            f"{tuple(ours.shape)}: return a list of expectation values, not a tuple."
        )
    pairs = [(theirs.detach(), ours.detach())]
    if layer.shots is not None:
        allowed = 8 * max(o.bound for o in layer.observables) / layer.shots**0.5
    else:
        parameters = [p for p in module.parameters() if p.requires_grad]
        slopes = torch.linspace(1, 2, theirs.numel()).view(theirs.shape)
        for one, other in zip(*(_gradients(y, slopes, parameters) for y in (theirs, ours)), strict=True):
            pairs.append((one, other))
        allowed = _CLOSE * max(1.0, *(float(t.abs().max()) for t, _ in pairs if t.numel()))
    found = max(float((a - b.to(a)).abs().max()) for a, b in pairs if a.numel())
    if not found <= allowed:
        what = "values" if pairs[0][0].sub(pairs[0][1]).abs().max() > allowed else "gradients"
        raise CircuitError(f"its {what} and those of the translation differ, by {found:.1e}.")
    return found


def _evaluated(module: Any, x: Tensor | None) -> Tensor:
    with torch.enable_grad():
        output = module() if x is None else module(x)
        return module.expectation() if hasattr(module, "expectation") else output


def _gradients(y: Tensor, slopes: Tensor, parameters: list[nn.Parameter]) -> list[Tensor]:
    if not parameters or not y.requires_grad:
        return [torch.zeros_like(p) for p in parameters]
    return list(torch.autograd.grad(y, parameters, slopes.to(y), materialize_grads=True))


def _inputs(model: nn.Module, example: Any, modules: Mapping[nn.Module, str]) -> dict[nn.Module, Tensor]:
    """What goes into each module first, as the model is called with the example in evaluation mode."""
    found: dict[nn.Module, Tensor] = {}

    def note(module: nn.Module, arguments: tuple[Any, ...], named: dict[str, Any]) -> None:
        tensors = [v for v in (*arguments, *named.values()) if isinstance(v, Tensor)]
        if tensors:
            found.setdefault(module, tensors[0].detach())

    handles = [module.register_forward_pre_hook(note, with_kwargs=True) for module in modules]
    try:
        with torch.no_grad(), _evaluating(model):
            if callable(example) and not isinstance(example, Tensor):
                example(model)
            else:
                model(*(example if isinstance(example, tuple) else (example,)))
    except Exception as error:
        raise InputError(
            f"The model can't be called with the example ({type(error).__name__}: {error}): pass its input, or a "
            "function that calls it, such as example=lambda model: model.training_step(batch, 0)."
        ) from error
    finally:
        for handle in handles:
            handle.remove()
    return found


@contextmanager
def _evaluating(model: nn.Module) -> Iterator[None]:
    """Within the block every module is in evaluation mode; then each in its own again."""
    before = {module: module.training for module in model.modules()}
    try:
        model.eval()
        yield
    finally:
        for module, training in before.items():
            module.training = training


def _put(model: nn.Module, module: nn.Module, layer: nn.Module) -> nn.Module:
    """Put the layer wherever the module stands; the model, or the layer if the module was all of it."""
    for parent in list(model.modules()):
        for key, child in parent._modules.items():
            if child is module:
                parent._modules[key] = layer
    return layer if model is module else model
