"""The layers of a measurement as a table to read."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

from torchbp.gradients.stats import LayerSummary

_NAMES = ("layer", "kind", "weights", "samples", "SNR", "median abs(g)", "variance", "SNR > 3", "p (no gradient)")


def layer_table(layers: Iterable[LayerSummary]) -> str:
    """A Markdown table, quantum layers first, aligned so that it reads well in a terminal too."""
    rows = [
        (
            layer.name,
            layer.kind,
            str(layer.n_weights),
            str(layer.n_samples),
            f"{layer.snr:.3g}",
            f"{layer.median_abs:.2e}",
            f"{layer.variance:.2e}",
            "nan" if math.isnan(layer.resolved) else f"{layer.resolved:.0%}",
            f"{layer.p_value:.2g}",
        )
        for layer in sorted(layers, key=lambda layer: layer.kind != "quantum")
    ]
    return markdown(_NAMES, rows, text_columns=2)


def markdown(names: Sequence[str], rows: Sequence[Sequence[str]], text_columns: int) -> str:
    """A table whose first columns are text (left) and the others numbers (right)."""
    widths = [max(map(len, column)) for column in zip(names, *rows, strict=True)]
    sides = ["<" if i < text_columns else ">" for i in range(len(names))]
    rule = ["-" * w if side == "<" else "-" * (w - 1) + ":" for w, side in zip(widths, sides, strict=True)]
    padded = [[f"{c:{s}{w}}" for c, s, w in zip(row, sides, widths, strict=True)] for row in (names, *rows)]
    return "".join(f"| {' | '.join(cells)} |\n" for cells in (padded[0], rule, *padded[1:]))
