"""What a machine says about itself, and how far two days are apart."""

from __future__ import annotations

import json
import math
import statistics
from dataclasses import replace

import pytest
from qiskit_aer import AerSimulator
from qiskit_ibm_runtime.fake_provider import FakeManilaV2, FakeSherbrooke

from torchbp.errors import BackendError, InputError
from torchbp.hardware import Calibration, CalibrationDrift

DAY = Calibration(
    "m",
    "2026-01-01T00:00:00+00:00",
    t1={"0": 1e-4, "1": 2e-4, "2": 3e-4},
    t2={"0": 1e-4},
    readout={"0": 0.01, "1": 0.02},
    gates={"sx 0": 1e-4, "rz 0": 0.0, "cx 0 1": 0.01, "cx 1 2": 0.02},
)


def test_a_fake_backend() -> None:
    """Oracle: Qiskit's target, looked up number by number, and the date it was copied."""
    backend = FakeManilaV2()
    found = Calibration.of(backend)
    target = backend.target
    assert found.backend == "fake_manila"
    assert found.calibrated == "2024-05-27T18:27:23+00:00"
    assert found.t1 == {str(q): target.qubit_properties[q].t1 for q in range(5)}
    assert found.t2 == {str(q): target.qubit_properties[q].t2 for q in range(5)}
    assert found.readout == {str(q): target["measure"][(q,)].error for q in range(5)}
    assert found.gates["cx 0 1"] == target["cx"][(0, 1)].error
    assert found.values("error_2q") == {f"cx {a} {b}": p.error for (a, b), p in target["cx"].items()}
    assert found.medians()["t1"] == statistics.median(found.t1.values())
    assert all(not key.startswith("rz") for key in found.values("error_1q"))  # virtual
    assert Calibration.from_dict(json.loads(json.dumps(found.to_dict()))) == found


def test_only_the_qubits_that_matter() -> None:
    """Oracle: the snapshot of all qubits, filtered."""
    every, some = Calibration.of(FakeSherbrooke()), Calibration.of(FakeSherbrooke(), [0, 1])
    assert some.t1 == {q: every.t1[q] for q in ("0", "1")}
    assert some.gates == {k: e for k, e in every.gates.items() if set(k.split()[1:]) <= {"0", "1"}}
    assert all(math.isfinite(e) for e in every.gates.values())


def test_a_simulator_reports_nothing() -> None:
    """Aer has a target without numbers."""
    found = Calibration.of(AerSimulator())
    assert (found.t1, found.gates, found.medians()) == ({}, {}, {})


def test_a_drift() -> None:
    """Oracle: by hand; times that fall and errors that rise are both worse."""
    later = replace(
        DAY,
        taken="2026-01-02T00:00:00+00:00",
        t1={"0": 1e-4, "1": 1e-4, "2": 3e-4},
        gates={"sx 0": 1e-4, "cx 0 1": 0.04, "cx 1 2": 0.02, "cx 2 3": 0.9},
    )
    drift = CalibrationDrift.between(DAY, later)
    changes = {c.quantity: c for c in drift.changes}
    assert list(changes) == ["t1", "t2", "readout", "error_1q", "error_2q"]
    assert changes["t1"].factor == pytest.approx(2)
    assert (changes["t1"].worst, changes["t1"].worst_factor) == ("1", pytest.approx(2))
    assert (changes["error_2q"].worst, changes["error_2q"].worst_factor) == ("cx 0 1", pytest.approx(4))
    assert changes["error_2q"].factor == pytest.approx(2)  # 0.03 after 0.015; the new gate doesn't count
    assert changes["t2"].factor == pytest.approx(1)
    assert all(c.z is None for c in drift.changes)
    assert json.loads(json.dumps(drift.to_dict()))["changes"][0]["factor"] == pytest.approx(2)
    lines = drift.report().splitlines()
    assert lines[0].startswith("m, 2026-01-01T00:00:00+00:00 to 2026-01-02")
    assert len({len(line) for line in lines[2:]}) == 1


def test_a_drift_against_what_is_usual() -> None:
    """Oracle: the z-score of the logarithms, by the statistics module."""
    factors = [0.9, 1.0, 1.2, 1.05]
    baseline = [replace(DAY, t1={q: v * f for q, v in DAY.t1.items()}) for f in factors]
    (change, *others) = CalibrationDrift.between(
        baseline, replace(DAY, t1={q: v / 2 for q, v in DAY.t1.items()})
    ).changes
    logs = [math.log(f) for f in factors]
    assert change.z == pytest.approx((math.log(0.5) - statistics.mean(logs)) / statistics.stdev(logs))
    assert all(c.z is None for c in others)  # never changed: what is usual is not known


def test_errors() -> None:
    """Each says what was given and what is needed."""
    with pytest.raises(BackendError, match="needs a Qiskit BackendV2 with a target, got object"):
        Calibration.of(object())
    with pytest.raises(InputError, match="fake_manila has qubits 0 to 4, and no qubit 7"):
        Calibration.of(FakeManilaV2(), [0, 7])
    with pytest.raises(InputError, match="at least one earlier snapshot"):
        CalibrationDrift.between([], DAY)
    with pytest.raises(InputError, match="got snapshots of m and n"):
        CalibrationDrift.between(replace(DAY, backend="n"), DAY)
