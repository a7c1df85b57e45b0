"""How often a run is drawn."""

from __future__ import annotations


def picture_due(epoch: int, max_epochs: int | None) -> bool:
    """Whether to draw after this epoch (1, 2, ...): about ten times a run; at powers of two where its end is open."""
    if max_epochs is None or max_epochs < 1:
        return epoch > 0 and epoch & (epoch - 1) == 0
    return epoch > 0 and (epoch % -(-max_epochs // 10) == 0 or epoch == max_epochs)
