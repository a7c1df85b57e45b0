"""How good a machine is said to be today, and how far that is from another day.

Qiskit is not imported: a `BackendV2` is read through the attributes of its `target`.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field
from datetime import datetime, timezone
from typing import Any

from torchbp.errors import BackendError, InputError
from torchbp.gradients.table import markdown

_NOT_GATES = {"measure", "reset", "delay", "barrier"}
QUANTITIES = ("t1", "t2", "readout", "error_1q", "error_2q")
_ENOUGH = 3  # snapshots that a spread can be told from


@dataclass(frozen=True)
class Calibration:
    """What a machine reports about itself.

    Attributes:
        backend: its name.
        taken: when the snapshot was made, ISO 8601, UTC.
        calibrated: when the machine was calibrated, as it says; None where it doesn't.
        t1, t2: seconds, by qubit ("0", "1", ...).
        readout: probability to misread, by qubit.
        gates: error of each gate, by gate and qubits ("cx 0 1").

    Numbers that the machine doesn't report, or that are no numbers, are left out.
    """

    backend: str
    taken: str
    calibrated: str | None = None
    t1: dict[str, float] = field(default_factory=dict)
    t2: dict[str, float] = field(default_factory=dict)
    readout: dict[str, float] = field(default_factory=dict)
    gates: dict[str, float] = field(default_factory=dict)

    @classmethod
    def of(cls, backend: Any, qubits: Iterable[int] | None = None) -> Calibration:
        """A snapshot of a Qiskit `BackendV2`.

        Args:
            backend: anything with a `target`.
            qubits: those that matter; all if left out.

        Raises:
            BackendError: it has no target.
            InputError: it has no such qubit.
        """
        target = getattr(backend, "target", None)
        if target is None:
            raise BackendError(f"A calibration needs a Qiskit BackendV2 with a target, got {type(backend).__name__}.")
        count = target.num_qubits or 0
        chosen = set(range(count)) if qubits is None else set(qubits)
        if missing := chosen - set(range(count)):
            raise InputError(f"{_name(backend)} has qubits 0 to {count - 1}, and no qubit {min(missing)}.")
        properties = target.qubit_properties or [None] * count
        times = {
            name: _numbers((str(q), getattr(properties[q], name, None)) for q in sorted(chosen))
            for name in ("t1", "t2")
        }
        errors: dict[str, dict[str, float]] = {}
        for name in target.operation_names:
            on = target[name] or {}
            reported = ((qs, getattr(p, "error", None)) for qs, p in on.items() if qs is not None and chosen >= set(qs))
            errors[name] = _numbers((" ".join(map(str, qs)), error) for qs, error in reported)
        gates = {f"{name} {qs}": e for name, own in errors.items() if name not in _NOT_GATES for qs, e in own.items()}
        return cls(
            _name(backend), _now(), _calibrated(backend), **times, readout=errors.get("measure", {}), gates=gates
        )

    def to_dict(self) -> dict[str, Any]:
        """As JSON can hold it."""
        return asdict(self)

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> Calibration:
        """What `to_dict` made."""
        return cls(**data)

    def values(self, quantity: str) -> dict[str, float]:
        """One of `QUANTITIES`, by qubit or by gate and qubits; gates that are virtual (error 0) are left out."""
        if quantity in ("t1", "t2", "readout"):
            return dict(getattr(self, quantity))
        width = {"error_1q": 1, "error_2q": 2}[quantity]
        return {gate: e for gate, e in self.gates.items() if len(gate.split()) == 1 + width and e > 0}

    def medians(self) -> dict[str, float]:
        """The median of each of `QUANTITIES` that is reported: what is worth a curve."""
        found = {q: list(self.values(q).values()) for q in QUANTITIES}
        return {q: statistics.median(v) for q, v in found.items() if v}


@dataclass(frozen=True)
class Change:
    """One quantity of a machine against its baseline.

    Attributes:
        quantity: one of `QUANTITIES`.
        before, now: medians over qubits or gates; before, that of the baseline.
        worst: the qubit or gate that got worse most.
        worst_factor: how many times worse it got: above 1 whether times fell or errors rose.
        z: of the median's logarithm, in standard deviations of the baseline's; None where fewer than three snapshots,
            or snapshots that are all alike, don't tell how much is usual.
    """

    quantity: str
    before: float
    now: float
    worst: str
    worst_factor: float
    z: float | None

    @property
    def factor(self) -> float:
        """How many times worse the median got: above 1 is worse, below 1 is better."""
        return _worse(self.quantity, self.before, self.now)


@dataclass(frozen=True)
class CalibrationDrift:
    """How a machine has changed; what it does not show is whether any circuit's values have changed with it."""

    backend: str
    since: str
    until: str
    changes: tuple[Change, ...]

    @classmethod
    def between(cls, baseline: Calibration | Sequence[Calibration], now: Calibration) -> CalibrationDrift:
        """Compare a snapshot with an earlier one, or with several.

        Only numbers that all snapshots report are compared.

        Raises:
            InputError: no baseline, or snapshots of different machines.
        """
        before = [baseline] if isinstance(baseline, Calibration) else list(baseline)
        if not before:
            raise InputError("A drift needs a baseline of at least one earlier snapshot, got none.")
        if others := {c.backend for c in before} - {now.backend}:
            raise InputError(f"A drift is that of one machine: got snapshots of {now.backend} and {min(others)}.")
        changes = [_change(q, [c.values(q) for c in before], now.values(q)) for q in QUANTITIES]
        return cls(now.backend, before[0].taken, now.taken, tuple(c for c in changes if c is not None))

    def to_dict(self) -> dict[str, Any]:
        """As JSON can hold it."""
        return asdict(self) | {"changes": [asdict(c) | {"factor": c.factor} for c in self.changes]}

    def report(self) -> str:
        """A Markdown table, aligned so that it reads well in a terminal too."""
        rows = [
            (
                c.quantity,
                c.worst,
                f"{c.worst_factor:.2f}",
                f"{c.before:.3g}",
                f"{c.now:.3g}",
                f"{c.factor:.2f}",
                "-" if c.z is None else f"{c.z:+.1f}",
            )
            for c in self.changes
        ]
        head = f"{self.backend}, {self.since} to {self.until}; a factor above 1 is worse."
        names = ("quantity", "worst of all", "its factor", "before", "now", "factor", "z-score")
        return f"{head}\n\n{markdown(names, rows, text_columns=2)}"


def _change(quantity: str, before: Sequence[dict[str, float]], now: dict[str, float]) -> Change | None:
    common = sorted(set(now).intersection(*before))
    common = [key for key in common if now[key] > 0 and all(b[key] > 0 for b in before)]
    if not common:
        return None
    logs = [math.log(statistics.median(b[key] for key in common)) for b in before]
    middle, present = statistics.fmean(logs), statistics.median(now[key] for key in common)
    factors = {k: _worse(quantity, statistics.geometric_mean([b[k] for b in before]), now[k]) for k in common}
    worst = max(factors, key=lambda key: factors[key])
    spread = statistics.stdev(logs) if len(logs) >= _ENOUGH else 0.0
    z = (math.log(present) - middle) / spread if spread > 1e-12 else None
    return Change(quantity, math.exp(middle), present, worst, factors[worst], z)


def _worse(quantity: str, before: float, now: float) -> float:
    return before / now if quantity in ("t1", "t2") else now / before


def _numbers(pairs: Iterable[tuple[str, float | None]]) -> dict[str, float]:
    return {name: float(value) for name, value in pairs if value is not None and math.isfinite(value)}


def _name(backend: Any) -> str:
    name = getattr(backend, "name", None)
    return name if isinstance(name, str) else type(backend).__name__


def _calibrated(backend: Any) -> str | None:
    """When the machine was last calibrated; a fake backend says when it was copied."""
    properties = getattr(backend, "properties", None)
    found = properties() if callable(properties) else None
    date = getattr(found, "last_update_date", None)
    return date.astimezone(timezone.utc).isoformat(timespec="seconds") if isinstance(date, datetime) else None


def _now() -> str:
    return datetime.now(timezone.utc).isoformat(timespec="seconds")
