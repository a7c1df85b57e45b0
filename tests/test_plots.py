"""Figures show what they are given, in labels and data; what they look like was looked at."""

import ast
from pathlib import Path

import numpy as np
import pytest
import torch
from matplotlib.figure import Figure

from torchbp import Circuit, QuantumLayer, plots, weight
from torchbp.circuits import hardware_efficient, local_z
from torchbp.errors import InputError
from torchbp.trainability import VarianceEstimate, VarianceScan, curvatures, landscape, variance_scan
from torchbp.trainability.scans.result import ScanRow


def scan_of(values: dict[tuple[int, int | None], float], dominance: float = 0.001) -> VarianceScan:
    rows = []
    for (n, depth), value in values.items():
        estimate = VarianceEstimate(value, 0.9 * value, 1.1 * value, 0.05 * value, 100, dominance)
        series = "" if depth is None else f"depth {depth}"
        rows.append(ScanRow(n, depth, series, 4, 4, estimate, estimate, {}, 1 / (2**n + 1), 0.1))
    return VarianceScan(tuple(rows), {})


def texts(axes) -> list[str]:
    legend = axes.get_legend()
    return [] if legend is None else [text.get_text() for text in legend.get_texts()]


def test_scaling_shows_points_and_the_chosen_law() -> None:
    """The line goes through an exact exponential, the legend says its slope, and a file can be written."""
    axes = plots.variance_scaling(scan_of({(n, None): 2.0**-n for n in (2, 4, 6)}), label="mine")
    assert axes.get_yscale() == "log"
    (text,) = texts(axes)
    assert text.startswith("mine, ")
    assert "-1.00" in text
    line = max(axes.get_lines(), key=lambda drawn: len(drawn.get_xdata()))
    np.testing.assert_allclose(line.get_ydata(), 2.0 ** -line.get_xdata())
    assert axes.get_xlabel() == "wires"


def test_series_have_their_own_marks_and_few_draws_are_hollow() -> None:
    """Colour is not the only difference, and what is not to be trusted shows."""
    values = {(n, d): 2.0**-n / d for n in (2, 4, 6) for d in (1, 2)}
    axes = plots.variance_scaling(scan_of(values, dominance=0.5), logarithmic_wires=True)
    marked = [line for line in axes.get_lines() if line.get_marker() not in ("None", "_", "|", "")]
    assert {line.get_marker() for line in marked} >= {"o", "s"}
    assert all(line.get_markerfacecolor() == "white" for line in marked if line.get_marker() in "os")
    assert [text.split(",")[0] for text in texts(axes)] == ["depth 1", "depth 2"]
    assert axes.get_xscale() == "log"


def test_one_size_has_no_line() -> None:
    """A single size gets its point and no law; nothing positive gets an empty axis, not an error."""
    axes = plots.variance_scaling(scan_of({(4, None): 0.1}))
    assert texts(axes) == ["too few sizes"]
    assert max(len(line.get_xdata()) for line in axes.get_lines()) == 1
    assert texts(plots.variance_scaling(scan_of({(4, None): 0.0}))) == []


def test_depth() -> None:
    """A line for each number of wires; the 2-design's value for costs only."""
    values = {(n, d): 2.0**-n / d for n in (2, 4) for d in (1, 2, 4)}
    axes = plots.variance_depth(scan_of(values), quantity="cost")
    assert texts(axes) == ["2 wires", "4 wires"]
    levels = [line.get_ydata()[0] for line in axes.get_lines() if line.get_linestyle() == ":"]
    assert levels == [1 / 5, 1 / 17]
    with pytest.raises(InputError, match=r"no depths: give variance_scan\(..., depth="):
        plots.variance_depth(scan_of({(2, None): 0.1}))


def test_depth_against_snr() -> None:
    """The target and the chosen depth stand in the picture, and a second curve shares it."""
    axes = plots.depth_snr([1, 2, 4], [9.0, 5.0, 2.0], low=[8, 4, 1], high=[10, 6, 3], chosen=2, shots=1000, label="a")
    plots.depth_snr([1, 2, 4], [3.0, 2.0, 1.0], label="b", index=1, axes=axes)
    assert {text.get_text().strip() for text in axes.texts} == {"SNR 3", "depth 2"}
    assert axes.get_ylabel() == "gradient SNR at 1000 shots"
    assert texts(axes) == ["a", "b"]
    with pytest.raises(InputError, match=r"have one length, got \[2, 1\]"):
        plots.depth_snr([1, 2], [1.0])


def test_landscapes_and_paths() -> None:
    """One dimension is a curve, two are a map; a path is drawn where it went."""
    layer = QuantumLayer(hardware_efficient(2, 1), local_z(2), generator=torch.Generator().manual_seed(0))
    curve = plots.landscape(landscape(layer, directions=1, points=5))
    assert curve.get_ylabel() == "cost"
    way = torch.cumsum(torch.rand(6, 6, generator=torch.Generator().manual_seed(1)), 0)
    found = landscape(layer, path=way, points=5)
    axes = plots.landscape(found)
    assert found.path is not None
    np.testing.assert_allclose(axes.get_lines()[1].get_xydata(), found.path.coordinates.numpy())
    assert texts(axes) == ["start", "end"]
    assert axes.get_xlabel().startswith("PC 1 (rad), ")
    flat = QuantumLayer(Circuit(1).append("rz", 0, weight()).append("rz", 0, weight()), "Z0")
    plots.landscape(landscape(flat, points=3)).figure.canvas.draw()


def test_curvatures() -> None:
    """Exact ones and averages have marks of their own."""
    shared = weight()
    circuit = Circuit(2).append("ry", 0, shared).append("ry", 1, shared).append("rx", 0, weight())
    axes = plots.curvatures(curvatures(QuantumLayer(circuit, local_z(2))))
    assert texts(axes) == ["exact", "average over a quarter turn"]
    low, high = axes.get_xlim()
    assert low == -high


def test_into_given_axes_and_files(tmp_path: Path) -> None:
    """Nothing of pyplot's is touched; the figure is the caller's."""
    figure = Figure()
    mine = figure.add_subplot()
    scan = variance_scan(hardware_efficient, [2, 3], "Z0 Z1", depth=[1, 2], samples=8, seed=0)
    assert plots.variance_depth(scan, axes=mine) is mine
    plots.variance_scaling(scan).figure.savefig(tmp_path / "scan.png")
    assert (tmp_path / "scan.png").stat().st_size > 10_000


def test_nothing_is_drawn_before_it_is_asked_for() -> None:
    """The file itself imports no matplotlib, and pyplot is nowhere in it. Oracle: its import statements."""
    source = Path(plots.__file__).read_text()
    top = [node for node in ast.parse(source).body if isinstance(node, ast.Import | ast.ImportFrom)]
    assert not any("matplotlib" in ast.unparse(node) for node in top)
    assert "matplotlib.pyplot" not in source
