"""What TensorBoard imports at every start. An error in here would keep it from starting, so there is nearly nothing."""

from __future__ import annotations

import logging
from typing import Any

from tensorboard.plugins import base_plugin  # type: ignore[import-untyped]

MEASUREMENTS = 10_000
"""Measurements of a run that TensorBoard keeps for the page; of an unknown plugin it keeps 10 or 100."""

_log = logging.getLogger(__name__)


class Loader(base_plugin.TBLoader):
    """Makes the plugin, or says why it can't."""

    def fix_flags(self, flags: Any) -> None:
        """Keep every measurement, unless the user has asked for another number (`--samples_per_plugin`)."""
        samples = getattr(flags, "samples_per_plugin", None)
        if isinstance(samples, dict):
            samples.setdefault("torchbp", MEASUREMENTS)

    def load(self, context: Any) -> Any:
        """The plugin; None, and TensorBoard goes without, where it can't be made."""
        try:
            from torchbp.tensorboard.plugin import PlateauPlugin

            return PlateauPlugin(context)
        except Exception as error:  # whatever it is, it is no reason to take TensorBoard away
            _log.warning("The page 'Barren plateaus' of torchbp is missing: %s: %s", type(error).__name__, error)
            return None
