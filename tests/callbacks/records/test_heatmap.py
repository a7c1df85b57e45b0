"""The picture of a run, by its pixels and its data; and measurements saved and read back."""

import io
import math

import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch

from torchbp.callbacks.records.heatmap import snr_heatmap, snr_image
from torchbp.callbacks.records.measurement import History, Measurement
from torchbp.gradients.stats import LayerSummary


def layer(name: str, snr: float, kind: str = "quantum") -> LayerSummary:
    samples = 0 if math.isnan(snr) else 8
    return LayerSummary(name, kind, "microbatch", 12, samples, snr, 1e-3, 1e-6, 1e-7, 0.5, 0.01)


def run(*ratios: list[float], every: int = 25) -> list[Measurement]:
    """Measurements of quantum layers (rows) at steps (columns)."""
    return [
        Measurement(t * every, tuple(layer(f"quantum/layer{i}", row[t]) for i, row in enumerate(ratios)))
        for t in range(len(ratios[0]))
    ]


def colours(measurements: list[Measurement]) -> np.ndarray:
    """The (layers, steps, rgba) colours of the cells."""
    figure = snr_heatmap(measurements)
    (mesh,) = figure.axes[0].collections
    figure.canvas.draw()
    return mesh.to_rgba(mesh.get_array())


def test_colour_says_which_side_of_three():
    """Blue above 3, red below, pale at 3, nothing (the grey behind shows) where not measured. Oracle: rgb values."""
    red, pale, blue, nothing, infinite, zero = colours(run([0.5, 3.0, 20.0, math.nan, math.inf, 0.0]))[0]
    assert red[0] > red[2] + 0.3
    assert blue[2] > blue[0] + 0.3
    assert min(pale[:3]) > 0.95
    assert nothing[3] == 0
    assert infinite[2] > infinite[0] + 0.2
    assert zero[0] > zero[2] + 0.2


def test_no_two_sides_look_alike_without_red_or_green():
    """For a deuteranope, who sees red and green as one: the sides differ in the blue channel. Oracle: rgb values."""
    low, high = colours(run([0.6, 15.0]))[0]
    assert abs(low[2] - high[2]) > 0.3


def test_size_and_layout():
    """4.8 x 3.2 inches at 130 dpi; quantum layers on top, whatever the order. Oracle: by hand."""
    mixed = [Measurement(0, (layer("head", 2.0, "classical"), layer("quantum/layer0", 2.0)))]
    assert snr_image(mixed).shape == (416, 624, 3)
    axes = snr_heatmap(mixed).axes[0]
    assert [label.get_text() for label in axes.get_yticklabels()] == ["quantum/layer0", "head"]
    assert axes.yaxis_inverted()
    assert "microbatch" in axes.get_title()


def test_steps_are_to_scale():
    """Measurements at 0, 10 and 100, given in any order, get columns from 0 to 10 to 100. Oracle: by hand."""
    steps = [Measurement(step, (layer("q", 1.0),)) for step in (100, 0, 10)]
    (mesh,) = snr_heatmap(steps).axes[0].collections
    assert mesh.get_coordinates()[0, :, 0].tolist() == [0, 10, 100, 190]


@pytest.mark.parametrize("measurements", [[], run([2.0]), run(*[[1.0] * 3] * 130)])
def test_any_size_draws(measurements):
    """Nothing at all, one cell, more layers than labels fit. Oracle: something is drawn."""
    assert len(np.unique(snr_image(measurements))) > 1
    assert len(snr_heatmap(measurements).axes[0].get_yticks()) <= 24


def test_pyplot_is_not_touched(tmp_path):
    """Saves as PNG, and pyplot has no figure to close. Oracle: pyplot's own list."""
    before = plt.get_fignums()
    snr_heatmap(run([2.0])).savefig(tmp_path / "snr.png")
    assert plt.get_fignums() == before
    assert (tmp_path / "snr.png").read_bytes()[:4] == b"\x89PNG"


def test_history_survives_a_checkpoint():
    """Layers that come and go, NaN and inf. Oracle: the measurements themselves, through weights_only loading."""
    before = [
        Measurement(0, (layer("a", 2.0), layer("b", math.inf, "classical"))),
        Measurement(25, (layer("a", math.nan), layer("c", 0.0))),
    ]
    file = io.BytesIO()
    torch.save(History.of(before).state_dict(), file)
    file.seek(0)
    after = History.from_state_dict(torch.load(file, weights_only=True)).measurements()
    assert [m.step for m in after] == [0, 25]
    assert repr(sorted(map(repr, after[0].layers))) == repr(sorted(map(repr, before[0].layers)))
    assert repr(sorted(map(repr, after[1].layers))) == repr(sorted(map(repr, before[1].layers)))
    assert History.from_state_dict(History.of([]).state_dict()).measurements() == []


def test_metrics():
    """The source stands in every tag, NaN is left out, decibels on request. Oracle: by hand."""
    found = Measurement(
        3, (layer("q/0", 10.0), layer("q/1", 1.0), layer("q/2", math.nan), layer("h", 5.0, "classical"))
    )
    metrics = found.metrics()
    assert found.summary() == {f"torchbp/microbatch/snr_{k}": v for k, v in (("min", 1), ("median", 5.5), ("max", 10))}
    assert metrics["torchbp_snr/microbatch/q/0"] == 10
    assert found.metrics(decibel=True)["torchbp_snr_db/microbatch/q/0"] == 20
    assert "torchbp_snr/microbatch/q/2" not in metrics
    assert all("microbatch" in tag for tag in metrics)
    assert Measurement(0, (layer("h", 5.0, "classical"),)).summary() == {}


def test_report():
    """A Markdown table with aligned columns, quantum layers first. Oracle: by hand."""
    lines = Measurement(3, (layer("h", 5.0, "classical"), layer("q", 0.51))).report().splitlines()
    assert "Step 3, source `microbatch`" in lines[0]
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[2:]]
    assert cells[2] == ["q", "quantum", "12", "8", "0.51", "1.00e-03", "1.00e-06", "50%", "0.01"]
    assert cells[3][:2] == ["h", "classical"]
    assert len({len(line) for line in lines[2:]}) == 1
    assert len({len(row) for row in cells}) == 1
