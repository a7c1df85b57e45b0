"""Gathers the evidence that costs evaluations: on the quantum layers of a LightningModule, in the middle of a fit."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import replace
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from torchbp.backends.propagation import TruncationWarning
from torchbp.callbacks.mechanics.isolation import LossFunction, training_loss
from torchbp.diagnosis.concentration import concentration
from torchbp.diagnosis.entropy import entanglement_ratio
from torchbp.diagnosis.evidence import Evidence
from torchbp.diagnosis.light_cone import belongs_to
from torchbp.diagnosis.probing import Passage, curvature, loss_landscape, passage, shot_signal, shots_to_resolve
from torchbp.errors import BackendError, CapacityError
from torchbp.gradients.microbatch import split_batch
from torchbp.gradients.stats import LayerSummary
from torchbp.layer import QuantumLayer

PROBED_INPUTS = 4


def quantum_layers(module: nn.Module) -> dict[str, QuantumLayer]:
    """The torchbp layers of a model, by their path: those whose circuit is known."""
    found = {name: m for name, m in module.named_modules() if isinstance(m, QuantumLayer)}
    # A compiled module goes by its author's name, as in `find_groups`.
    return {".".join(part for part in name.split(".") if part != "_orig_mod"): m for name, m in found.items()}


def weakest(paths: Iterable[str], measured: Iterable[LayerSummary]) -> str:
    """The module with the circuit layer that has the least signal; the first one where nothing is known."""
    signals = [(m.name, m.signal) for m in measured if not math.isnan(m.signal)]
    return min(paths, key=lambda path: min((s for n, s in signals if belongs_to(n, path)), default=math.inf))


def current_loss(trainer: Any, module: Any, batch: Any, batch_idx: int, loss_fn: LossFunction | None) -> Tensor | None:
    """The loss of this batch, for training steps that don't return theirs."""
    with training_loss(trainer, module, batch_idx, loss_fn) as loss:
        value = loss(_copy(batch))
    return None if value is None else value.detach()


def loss_scale(
    trainer: Any, module: Any, layer: QuantumLayer, batch: Any, batch_idx: int, loss_fn: LossFunction | None
) -> float:
    """What the loss could change by if all outputs of the quantum layer moved, see `Passage.scale`."""
    with training_loss(trainer, module, batch_idx, loss_fn) as loss:
        return passage(layer, lambda: loss(_copy(batch))).scale(layer)


def investigate(
    trainer: Any,
    module: Any,
    layer: QuantumLayer,
    batch: Any,
    batch_idx: int,
    evidence: Evidence,
    *,
    samples: int,
    seed: int,
    loss_fn: LossFunction | None = None,
) -> Evidence:
    """`evidence` with all that can be found out about `layer` on this batch, leaving no trace.

    Evaluations: of the layer 2 * samples on four inputs (as many again without its noise), of the loss
    samples + 34; with finite shots the exact distributions of two to four circuits for each weight and input.
    """
    generator = torch.Generator().manual_seed(seed)
    with training_loss(trainer, module, batch_idx, loss_fn) as batch_loss, torch.no_grad():

        def loss() -> Any:
            return batch_loss(_copy(batch))

        way: Passage = passage(layer, loss)
        inputs = None if way.x is None else way.x[:PROBED_INPUTS]
        found: dict[str, Any] = {
            "scale": max(evidence.scale, way.scale(layer))
        }  # it grows with a head that starts small
        questions: dict[str, Callable[[], Any]] = {
            "concentration": lambda: concentration(layer, inputs, samples=samples, generator=generator),
            "landscape": lambda: loss_landscape(layer, loss, samples=samples, generator=generator),
            "curvature": lambda: curvature(layer, loss, generator=generator),
        }
        for name, answer in questions.items():
            with (
                suppress(CapacityError),
                warnings.catch_warnings(),
            ):  # Pauli propagation doesn't reach far from its start
                warnings.simplefilter("ignore", TruncationWarning)
                found[name] = answer()
        noisy = layer.noise is not None
        with layer.noiseless():
            with suppress(BackendError):  # a backend that has noise of its own has no state vectors
                found["entanglement"] = entanglement_ratio(layer.states(inputs))
            if noisy:
                found["noiseless"] = concentration(layer, inputs, samples=samples, generator=generator)
        if layer.shots is not None:
            found["shots"] = shot_signal(layer, way, layer.shots)
    return replace(evidence, **found)


def needed_shots(
    trainer: Any, module: Any, batch: Any, batch_idx: int, loss_fn: LossFunction | None
) -> dict[str, float]:
    """Shots to resolve, by the names that `find_groups` gives, of all circuit layers that have finite shots now."""
    found: dict[str, float] = {}
    for path, layer in quantum_layers(module).items():
        if layer.shots is not None:
            with training_loss(trainer, module, batch_idx, loss_fn) as loss:
                needed = shots_to_resolve(layer, passage(layer, partial(loss, _copy(batch))))
            found |= {f"{path}/{name}" if path else name: shots for name, shots in needed.items()}
    return found


def _copy(batch: Any) -> Any:
    """What a training step may change in place."""
    return split_batch(batch, 1)[0]
