"""The shots of a model's quantum layers, and the source of their outcomes: restored after a fit, resumed with one."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from torchbp.callbacks.mechanics.investigation import quantum_layers

KEY = "torchbp_shots"


class ShotSettings:
    """What several callbacks may change in one fit, in any order, and all of them put back.

    Every one of them remembers the shots that the fit began with, so that it does not matter who restores them first.
    In a checkpoint they stand once, for all.
    """

    def __init__(self) -> None:
        self._original: dict[str, int | None] = {}
        self._loaded: dict[str, Any] = {}

    def begin(self, module: Any) -> None:
        """A fit begins: remember the shots."""
        self._original = {path: layer.shots for path, layer in quantum_layers(module).items()}

    def change(self, module: Any, rule: Callable[[str, int], int]) -> dict[str, int]:
        """Give every layer with finite shots `rule(path, shots)`; the new shots of those that change."""
        changed = {}
        for path, layer in quantum_layers(module).items():
            if layer.shots is not None and (wanted := rule(path, layer.shots)) != layer.shots:
                changed[path] = layer.shots = wanted
        return changed

    def restore(self, module: Any) -> None:
        """Give the layers the shots that the fit began with."""
        for path, layer in quantum_layers(module).items():
            if path in self._original:
                layer.shots = self._original[path]
        self._original = {}

    def save(self, module: Any, checkpoint: dict[str, Any]) -> None:
        """Into a checkpoint: the shots that differ from those of the beginning, and all generators of outcomes."""
        saved: dict[str, Any] = {}
        for path, layer in quantum_layers(module).items():
            original = self._original.get(path, layer.shots)
            saved[path] = {"original": original, "shots": layer.shots, "generator": layer.shot_generator.get_state()}
        checkpoint[KEY] = saved

    def load(self, checkpoint: dict[str, Any]) -> None:
        """From a checkpoint, to be resumed when the fit has begun."""
        self._loaded = checkpoint.get(KEY, {})

    def resume(self, module: Any) -> None:
        """Go on as in the checkpoint. A layer that the user has given other shots since keeps these."""
        for path, layer in quantum_layers(module).items():
            if (saved := self._loaded.get(path)) is not None:
                layer.resume_shots(saved["generator"].cpu())
                if self._original.get(path) == saved["original"]:
                    layer.shots = saved["shots"]
        self._loaded = {}


def in_words(shots: Mapping[str, int | None]) -> str:
    """The shots of each layer by its path, or the one number that all have."""
    if len(set(shots.values())) == 1:
        return str(next(iter(shots.values())))
    return ", ".join(f"{number} ({path or 'the layer'})" for path, number in shots.items())
