"""Reference circuits of a model's quantum modules, measured again and again."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from typing import Any

from torchbp.diagnosis.drift import Reference, can_drift
from torchbp.gradients.isolation import undisturbed
from torchbp.layer.foreign import AnyLayer


class References:
    """What the modules that may drift gave at first, by their path."""

    def __init__(self) -> None:
        self._of: dict[str, Reference] = {}

    def drift(self, module: Any, layers: Mapping[str, AnyLayer]) -> float | None:
        """The largest shift of any of them since, in standard errors; None where none can drift."""
        able = {path: layer for path, layer in layers.items() if can_drift(layer)}
        if not able:
            return None
        with undisturbed(module):
            for path, layer in able.items():
                if path not in self._of:
                    self._of[path] = Reference.of(layer)
            return max(self._of[path].shift(layer) for path, layer in able.items())

    def state_dict(self) -> dict[str, Any]:
        """Tensors only."""
        return {path: {f.name: getattr(r, f.name) for f in fields(r)} for path, r in self._of.items()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self._of = {path: Reference(**tensors) for path, tensors in state.items()}
