"""The picture of a training run: gradient SNR, layer by layer, over the steps."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from torchbp.callbacks.records.measurement import History, Measurement
from torchbp.gradients.stats import RESOLVED

SPAN = 10.0
"""The colours reach from RESOLVED / SPAN to RESOLVED * SPAN."""
MAX_LABELS = 24
LABEL = 26


def snr_heatmap(measurements: Sequence[Measurement]) -> Figure:
    """Draw the SNR of every layer (rows, quantum layers on top) at every measured step (columns).

    The colour turns at SNR 3: blue is measurable, red is lost in the noise, grey was not measured, had too few
    samples or does not move at all. The colours are told apart with every common colour blindness. Without
    measurements the picture says so. 4.8 x 3.2 inches at 130 dpi: for a TensorBoard card; `savefig` writes a file.

    Returns:
        A matplotlib Figure that pyplot knows nothing of: nothing to close, no global state.
    """
    figure = Figure(figsize=(4.8, 3.2), dpi=130, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    if not measurements:
        axes.text(0.5, 0.5, "nothing measured", ha="center", va="center", fontsize=11)
        axes.set_axis_off()
        return figure
    history = History.of(measurements)
    order = np.argsort(history.steps.numpy(), kind="stable")
    steps = history.steps.numpy()[order]
    rows = sorted(range(len(history.layers)), key=lambda row: history.layers[row][1] != "quantum")
    # 0 and inf have colours of their own, NaN has none
    ratios = np.clip(history.column("snr").numpy()[order].T[rows], 1e-300, 1e300)
    n_quantum = sum(kind == "quantum" for _, kind, _ in history.layers)
    mesh = axes.pcolormesh(
        _edges(steps),
        np.arange(len(history.layers) + 1) - 0.5,
        np.ma.masked_invalid(ratios),
        norm=LogNorm(RESOLVED / SPAN, RESOLVED * SPAN),
        cmap="RdBu",
    )
    axes.set_facecolor("0.75")
    axes.invert_yaxis()
    _label_layers(axes, [history.layers[row][0] for row in rows], n_quantum)
    axes.set_xlabel("step", fontsize=11)
    axes.tick_params(axis="x", labelsize=10)
    axes.xaxis.set_major_locator(MaxNLocator(6, integer=True))
    axes.set_title(f"gradient SNR ({measurements[-1].source})", fontsize=12)
    bar = figure.colorbar(mesh, ax=axes, extend="both", ticks=[0.3, 1, 3, 10, 30], format="%g")
    bar.ax.minorticks_off()
    bar.ax.tick_params(labelsize=10)
    bar.ax.axhline(RESOLVED, color="black", linewidth=1)
    return figure


def snr_image(measurements: Sequence[Measurement]) -> np.ndarray:
    """The heatmap's pixels, (H, W, 3) uint8."""
    canvas: Any = FigureCanvasAgg(snr_heatmap(measurements))
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[..., :3].copy()


def _edges(steps: np.ndarray) -> np.ndarray:
    """Column borders: a measurement holds until the next; the last is as wide as the one before."""
    steps = np.unique(steps)
    width = steps[-1] - steps[-2] if len(steps) > 1 else 1
    return np.append(steps, steps[-1] + width)


def _label_layers(axes: Axes, names: list[str], n_quantum: int) -> None:
    every = -(-len(names) // MAX_LABELS)
    rows = range(0, len(names), every)
    size = 10 if len(rows) <= 12 else 7
    labels = [n if len(n) <= LABEL else f"{n[: LABEL // 2 - 1]}…{n[-LABEL // 2 :]}" for n in names]
    axes.set_yticks(rows, [labels[row] for row in rows], fontsize=size)
    if 0 < n_quantum < len(names):
        axes.axhline(n_quantum - 0.5, color="black", linewidth=1.2)
    for row, tick in zip(rows, axes.get_yticklabels(), strict=True):
        tick.set_color("black" if row < n_quantum else "0.45")
