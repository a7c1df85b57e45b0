"""Figures of what the core measures. The only file that draws; matplotlib is imported when something is drawn.

Every function draws into the axes it is given, or into a new figure that pyplot knows nothing of, and returns the axes:
`axes.figure.savefig("scan.png")`. Colours are Okabe and Ito's and matplotlib's cividis, told apart with every common
colour blindness; series differ in their markers, too.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from torchbp.errors import InputError
from torchbp.gradients.stats import RESOLVED
from torchbp.trainability.curvature import Curvatures
from torchbp.trainability.landscape import Landscape
from torchbp.trainability.scans.moments import VarianceEstimate
from torchbp.trainability.scans.result import Quantity, ScanRow, VarianceScan
from torchbp.trainability.scans.scaling import ScalingFit

if TYPE_CHECKING:
    from matplotlib.axes import Axes

COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
MARKERS = "osD^vP*"
_SYMBOLS: dict[str, str] = {"gradient": r"Var[$\partial C$]", "cost": "Var[$C$]"}


def variance_scaling(
    scan: VarianceScan,
    *,
    quantity: Quantity = "gradient",
    label: str | None = None,
    index: int = 0,
    logarithmic_wires: bool = False,
    axes: Axes | None = None,
) -> Axes:
    """Variance against wires with intervals and the fitted laws, as in McClean 2018 and Cerezo 2021.

    Hollow markers are variances that few draws carry. An exponential is a straight line; with `logarithmic_wires` a
    power law is.

    Args:
        scan: a line for each of its series.
        quantity: "gradient" or "cost".
        label: in the legend, before the names of the series where there are several.
        index: of the first colour, where several scans share the axes.
        logarithmic_wires: the horizontal axis, too.
        axes: to draw into.
    """
    axes = _axes(axes)
    fits = scan.fits(quantity)
    for i, (name, fit) in enumerate(fits.items(), index):
        rows = [row for row in scan.rows if row.series == name]
        own = name if len(fits) > 1 or not label else None
        text = ", ".join(filter(None, [label, own, _law_text(fit)]))
        _points(axes, [r.n_wires for r in rows], [_estimate(r, quantity) for r in rows], i, text)
        law = fit.law or (fit.exponential if fit.verdict == "undecided" else None)
        if law is not None:
            sizes = np.linspace(fit.sizes[0], fit.sizes[-1], 100)
            style = "-" if fit.law else ":"
            axes.plot(sizes, [law.predict(s) for s in sizes], style, color=_color(i), linewidth=1.2, zorder=1)
    axes.set_yscale("log", base=2)
    if logarithmic_wires:
        axes.set_xscale("log", base=2)
        axes.set_xticks(sorted({r.n_wires for r in scan.rows}), minor=False)
        axes.xaxis.set_major_formatter("{x:g}")
        axes.minorticks_off()
    else:
        _whole_numbers(axes)
    axes.set_xlabel("wires")
    axes.set_ylabel(_SYMBOLS[quantity])
    return _finish(axes)


def variance_depth(scan: VarianceScan, *, quantity: Quantity = "gradient", axes: Axes | None = None) -> Axes:
    """Variance against layers, a line for each number of wires; dotted where the 2-design's Var[C] lies.

    Raises:
        InputError: no row of the scan has a depth.
    """
    rows = [row for row in scan.rows if row.depth is not None]
    if not rows:
        raise InputError("The scan has no depths: give variance_scan(..., depth=[1, 2, 4, ...]).")
    axes = _axes(axes)
    for i, n in enumerate(dict.fromkeys(row.n_wires for row in rows)):
        mine = [row for row in rows if row.n_wires == n]
        _points(axes, [r.depth for r in mine], [_estimate(r, quantity) for r in mine], i, f"{n} wires", join=True)
        if quantity == "cost":
            axes.axhline(mine[0].two_design, color=_color(i), linestyle=":", linewidth=1)
    axes.set_yscale("log", base=2)
    _whole_numbers(axes)
    axes.set_xlabel("layers")
    axes.set_ylabel(_SYMBOLS[quantity])
    return _finish(axes)


def depth_snr(
    depths: Sequence[int],
    snr: Sequence[float],
    *,
    low: Sequence[float] | None = None,
    high: Sequence[float] | None = None,
    target: float = RESOLVED,
    chosen: int | None = None,
    shots: int | None = None,
    label: str | None = None,
    index: int = 0,
    axes: Axes | None = None,
) -> Axes:
    """Gradient SNR at a shot budget against depth, and the target it should reach.

    Args:
        depths, snr: of each circuit.
        low, high: ends of the SNR's interval.
        target: the SNR from which on a gradient counts as measurable.
        chosen: a depth to mark.
        shots: the budget, for the axis' label.
        label, index: of this curve, where several share the axes.

    Raises:
        InputError: lists of different lengths.
    """
    lists = [depths, snr, *(v for v in (low, high) if v is not None)]
    if len({len(v) for v in lists}) > 1:
        raise InputError(f"Depths, SNRs and their limits have one length, got {[len(v) for v in lists]}.")
    first = axes is None or not axes.get_ylabel()
    axes = _axes(axes)
    color = _color(index)
    if low is not None and high is not None:
        axes.fill_between(depths, low, high, color=color, alpha=0.2, linewidth=0)
    axes.plot(depths, snr, "-", marker=MARKERS[index % len(MARKERS)], color=color, label=label, markersize=5)
    if first:
        axes.axhline(target, color="0.35", linestyle="--", linewidth=1)
        axes.annotate(f"SNR {target:g}", (1, target), xycoords=("axes fraction", "data"), ha="right", va="bottom")
    if chosen is not None:
        axes.axvline(chosen, color=color, linestyle=":", linewidth=1.2)
        axes.annotate(f" depth {chosen}", (chosen, 1), xycoords=("data", "axes fraction"), va="top", color=color)
    axes.set_yscale("log")
    _whole_numbers(axes)
    axes.set_xlabel("layers")
    if first:
        axes.set_ylabel("gradient SNR" + (f" at {shots} shots" if shots else ""))
    return _finish(axes)


def landscape(found: Landscape, *, axes: Axes | None = None) -> Axes:
    """A slice: a curve in one dimension, a map with contours in two, with the training path if it is its plane."""
    axes = _axes(axes, (5.2, 4.2) if len(found.axes) == 2 else (5.6, 3.6))
    if len(found.axes) == 1:
        axes.plot(found.axes[0], found.values, color=COLORS[0])
        axes.plot([0], [found.at_center], marker="X", color=COLORS[1], markersize=8, linestyle="", label="center")
        axes.set_xlabel("along the direction (rad)")
        axes.set_ylabel("cost")
        return _finish(axes)
    x, y = (axis.numpy() for axis in found.axes)
    mesh = axes.pcolormesh(x, y, found.values.T.numpy(), cmap="cividis", shading="gouraud", rasterized=True)
    if found.spread > 0:
        axes.contour(
            x, y, found.values.T.numpy(), levels=12, colors="white", linewidths=0.5, linestyles="solid", alpha=0.6
        )
    axes.figure.colorbar(mesh, ax=axes, label="cost")
    names = ["first direction (rad)", "second direction (rad)"]
    if found.path is not None:
        way = found.path.coordinates.numpy()
        axes.plot(*way.T, color="white", linewidth=2.6, solid_capstyle="round")
        axes.plot(*way.T, color=COLORS[1], linewidth=1.4, solid_capstyle="round")
        axes.plot(
            *way[0], marker="o", color="white", markeredgecolor="black", markersize=7, linestyle="", label="start"
        )
        axes.plot(*way[-1], marker="X", color="white", markeredgecolor="black", markersize=9, linestyle="", label="end")
        names = [f"PC {k} (rad), {share:.0%} of the path" for k, share in enumerate(found.path.explained, 1)]
        axes.legend(fontsize=8, framealpha=0.9)
    axes.set_xlabel(names[0])
    axes.set_ylabel(names[1])
    return axes


def curvatures(found: Curvatures, *, axes: Axes | None = None) -> Axes:
    """Gradient against curvature, a point for each weight; its distance from the origin is the amplitude.

    A plateau is one heap at the origin, a minimum a row on the right, a saddle lies on both sides.
    """
    axes = _axes(axes, (4.6, 4.2))
    exact = found.exact.numpy()
    g, h = found.gradient.numpy(), found.curvature.numpy()
    for chosen, marker, name in ((exact, "o", "exact"), (~exact, "^", "average over a quarter turn")):
        if chosen.any():
            axes.plot(h[chosen], g[chosen], marker, color=COLORS[0], alpha=0.7, markersize=5, label=name)
    axes.axhline(0, color="0.6", linewidth=0.8, zorder=0)
    axes.axvline(0, color="0.6", linewidth=0.8, zorder=0)
    reach = 1.15 * max(float(np.abs(g).max()), float(np.abs(h).max()), 1e-12)
    axes.set_xlim(-reach, reach)
    axes.set_ylim(-reach, reach)
    axes.set_xlabel("curvature")
    axes.set_ylabel("gradient")
    return _finish(axes)


def _axes(axes: Axes | None, size: tuple[float, float] = (5.6, 3.9)) -> Axes:
    if axes is not None:
        return axes
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=size, dpi=150, layout="constrained")
    FigureCanvasAgg(figure)
    return figure.add_subplot()


def _points(
    axes: Axes, sizes: Sequence[Any], estimates: Sequence[VarianceEstimate], i: int, label: str, join: bool = False
) -> None:
    """Values with intervals; those that are not positive have no place on a logarithmic axis."""
    shown = [(s, e) for s, e in zip(sizes, estimates, strict=True) if e.value > 0]
    if not shown:
        return
    x = [s for s, _ in shown]
    y = np.array([e.value for _, e in shown])
    low = np.array([max(e.low, e.value / 1e3) for _, e in shown])
    high = np.array([e.high for _, e in shown])
    axes.errorbar(
        x,
        y,
        yerr=[y - low, high - y],
        fmt="-" if join else "none",
        color=_color(i),
        capsize=2,
        linewidth=1.2,
    )
    marker = MARKERS[i % len(MARKERS)]
    solid = [e.trusted for _, e in shown]
    for trusted in (True, False):
        some = [k for k, s in enumerate(solid) if s is trusted]
        if some:
            axes.plot(
                [x[k] for k in some],
                y[some],
                marker,
                color=_color(i),
                markerfacecolor=_color(i) if trusted else "white",
                markersize=5,
                label=label if trusted or not any(solid) else None,
            )


def _law_text(fit: ScalingFit) -> str:
    if fit.law is None:
        return fit.verdict.replace("_", " ")
    half = (fit.law.high - fit.law.low) / 2
    exponent = rf"({fit.law.slope:.2f} \pm {half:.2f})"
    return rf"$\propto 2^{{{exponent} n}}$" if fit.verdict == "exponential" else rf"$\propto n^{{{exponent}}}$"


def _estimate(row: ScanRow, quantity: Quantity) -> VarianceEstimate:
    return row.cost if quantity == "cost" else row.gradient


def _color(i: int) -> str:
    return COLORS[i % len(COLORS)]


def _whole_numbers(axes: Axes) -> None:
    from matplotlib.ticker import MaxNLocator

    axes.xaxis.set_major_locator(MaxNLocator(integer=True))


def _finish(axes: Axes) -> Axes:
    axes.spines[["top", "right"]].set_visible(False)
    if axes.get_legend_handles_labels()[1]:
        axes.legend(frameon=False, fontsize=8)
    return axes
