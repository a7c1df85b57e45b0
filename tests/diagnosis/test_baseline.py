"""Baselines of comparable runs."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from torchbp.diagnosis.baseline import Baseline
from torchbp.errors import InputError
from torchbp.gradients.stats import LayerSummary


def layer(gradient: float, source: str = "microbatch", name: str = "q/layer0") -> LayerSummary:
    return LayerSummary(name, "quantum", source, 8, 8, 1.0, gradient, 1e-4, gradient**2, 0.5, 0.1)


RUNS = [[(0, [layer(1e-2)]), (50, [layer(g)])] for g in (1e-3, 1e-4, 1e-2)]


def test_z_scores() -> None:
    """Logarithms -3, -4, -2 have mean -3 and standard deviation 1; the nearest step counts."""
    baseline = Baseline.from_runs(RUNS)
    assert baseline.z_scores(60, [layer(1e-5)]) == pytest.approx({"q/layer0": -2.0})
    assert baseline.z_scores(3, [layer(1e-3)]) == {"q/layer0": -math.inf}
    assert baseline.z_scores(3, [layer(1e-2)]) == {"q/layer0": 0.0}


def test_what_is_not_comparable_has_no_score() -> None:
    baseline = Baseline.from_runs(RUNS)
    assert baseline.z_scores(50, [layer(1e-5, "shots"), layer(1e-5, name="q/layer9"), layer(0.0)]) == {}


def test_files(tmp_path: Path) -> None:
    baseline = Baseline.from_runs(RUNS)
    baseline.save(tmp_path / "b.json")
    assert Baseline.load(tmp_path / "b.json") == baseline


def test_messages(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="at least two runs, got 1"):
        Baseline.from_runs(RUNS[:1])
    with pytest.raises(InputError, match="one source, got microbatch, shots"):
        Baseline.from_runs([RUNS[0], [(0, [layer(1.0, "shots")])]])
    with pytest.raises(InputError, match=r"nothing\.json is no baseline file"):
        Baseline.load(tmp_path / "nothing.json")
    (tmp_path / "new.json").write_text('{"version": 9, "source": "", "values": {}}')
    with pytest.raises(InputError, match="of version 9, this torchbp reads version 1"):
        Baseline.load(tmp_path / "new.json")
