"""What a variance scan found: rows, laws, a table and a verdict. Values only."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np

from torchbp.errors import InputError, UnknownNameError
from torchbp.trainability.scans.moments import VarianceEstimate
from torchbp.trainability.scans.scaling import ScalingFit, Verdict, fit_scaling

Quantity = Literal["gradient", "cost", "signal"]


@dataclass(frozen=True)
class ScanRow:
    """The variances of one circuit.

    Attributes:
        n_wires, depth: its size; depth is None where the scan has none.
        series: rows of the same name differ in their wires: a law is fitted to each series.
        n_weights, n_live: weights, and those in the light cone of an observable.
        cost: Var[C].
        gradient: Var[dC/dw], mean over the live weights.
        layers: the same for each layer of the circuit that has live weights.
        two_design: Var[C] over Haar-random states, sum_k c_k^2 / (2^n + 1): where depth ends.
        seconds: it took.
        signal: E[(dC/dw)^2], mean over the live weights: the variance and the square of the mean. Verdicts are about
            it; None in files of before.
        method: "simulate", or "paths".
    """

    n_wires: int
    depth: int | None
    series: str
    n_weights: int
    n_live: int
    cost: VarianceEstimate
    gradient: VarianceEstimate
    layers: dict[str, VarianceEstimate]
    two_design: float
    seconds: float = field(compare=False)
    signal: VarianceEstimate | None = None
    method: str = "simulate"

    def to_dict(self) -> dict[str, Any]:
        """As primitives for JSON."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> ScanRow:
        """The way back."""
        layers = {name: VarianceEstimate(**v) for name, v in values["layers"].items()}
        estimates = {
            name: VarianceEstimate(**values[name]) for name in ("cost", "gradient", "signal") if values.get(name)
        }
        return cls(**{**values, **estimates, "layers": layers})


@dataclass(frozen=True)
class VarianceScan:
    """The rows of a scan and what follows from them.

    Attributes:
        rows: by wires, then by depth.
        settings: the arguments they were measured with.
    """

    rows: tuple[ScanRow, ...]
    settings: dict[str, Any]

    @property
    def series(self) -> tuple[str, ...]:
        """Names of the series, in their order."""
        return tuple(dict.fromkeys(row.series for row in self.rows))

    def fits(self, quantity: Quantity = "gradient", layer: str | None = None) -> dict[str, ScalingFit]:
        """The laws in the number of wires, for each series.

        Args:
            quantity: "gradient" or "cost", of which the variance is meant, or "signal", the gradient's mean square.
            layer: a circuit layer's name, for its gradient alone; sizes without it are not used.

        Raises:
            UnknownNameError: another quantity, or a layer that no row has.
        """
        of = "mean square of the gradient" if quantity == "signal" else "variance"
        return {
            name: fit_scaling(*_points([r for r in self.rows if r.series == name], "n_wires", quantity, layer), of=of)
            for name in self.series
        }

    def depth_fits(self, quantity: Quantity = "gradient") -> dict[int, ScalingFit]:
        """The laws in the number of layers, for each number of wires with more than one depth.

        A decay towards the 2-design's value comes to an end there; only one that goes on, as unital noise makes it
        (Wang 2021, 2007.14384), is an exponential in depth.
        """
        sizes = dict.fromkeys(row.n_wires for row in self.rows)
        groups = {n: [r for r in self.rows if r.n_wires == n and r.depth is not None] for n in sizes}
        return {
            n: fit_scaling(*_points(rows, "depth", quantity, None), variable="layers")
            for n, rows in groups.items()
            if len(rows) > 1
        }

    @property
    def fit(self) -> ScalingFit:
        """The law of E[g^2] in the number of wires; that of the last (deepest) series of several.

        Over uniform weights the gradient's mean is zero, and this is the variance that a barren plateau is defined by.
        Other starts may give every draw the same large gradient: the variance falls then, and nothing is flat.
        """
        return list(self.fits("signal").values())[-1]

    @property
    def verdict(self) -> Verdict:
        """That law's verdict, see `ScalingFit`."""
        return self.fit.verdict

    @property
    def text(self) -> str:
        """The verdict of every series as a sentence, and which rows need more draws."""
        lines = [f"{name}: {fit.text}" if name else fit.text for name, fit in self.fits("signal").items()]
        if any(_mostly_mean(row) for row in self.rows):
            names = ", ".join(_label(row) for row in self.rows if _mostly_mean(row))
            lines.append(
                f"The gradient has a mean over the draws, at {names} most of its square: all starts slope alike, and "
                "the variance says nothing of a plateau."
            )
        weak = [row for row in self.rows if not row.gradient.trusted]
        if weak:
            names = ", ".join(_label(row) for row in weak)
            lines.append(f"Few draws carry the variance at {names}: their intervals are too narrow, take more samples.")
        return "\n".join(lines)

    def table(self) -> str:
        """Rows as text: variances with their intervals, the draws that a relative error of 10% takes, and run times.

        A star marks variances that few draws carry, whose intervals are not to be trusted. Draws are of weights, or, by
        the method "paths", paths of Pauli strings.
        """
        with_shots = any(row.gradient.floor for row in self.rows)
        with_paths = any(row.method == "paths" for row in self.rows)
        head = ["wires", "depth", "weights", "E[g^2]", "Var[gradient]", "interval", "Var[cost]", "interval", "2-design"]
        head += ["draws", "for 10%", "seconds", *(["shot floor"] if with_shots else [])]
        head += ["method"] if with_paths else []
        body = [[*_cells(row, with_shots), *([row.method] if with_paths else [])] for row in self.rows]
        if all(row.depth is None for row in self.rows):
            head.pop(1)
            for cells in body:
                cells.pop(1)
        widths = [max(map(len, column)) for column in zip(head, *body, strict=True)]
        return "\n".join("  ".join(c.rjust(w) for c, w in zip(cells, widths, strict=True)) for cells in [head, *body])

    def to_dict(self) -> dict[str, Any]:
        """As primitives for JSON, with fits and verdicts; `from_dict` is the way back."""
        return {
            "settings": self.settings,
            "rows": [row.to_dict() for row in self.rows],
            "verdict": self.verdict,
            "text": self.text,
            "fits": {name: fit.to_dict() for name, fit in self.fits().items()},
            "signal_fits": {name: fit.to_dict() for name, fit in self.fits("signal").items()},
        }

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> VarianceScan:
        """From what `to_dict` gave; the fits are computed anew."""
        return cls(tuple(ScanRow.from_dict(row) for row in values["rows"]), dict(values["settings"]))

    @classmethod
    def load(cls, file: str | Path) -> VarianceScan:
        """The finished rows in a scan's file, which may be one that was interrupted.

        Raises:
            InputError: it is not such a file, or no row is finished yet.
        """
        try:
            with np.load(file, allow_pickle=False) as data:
                content = json.loads(str(data["scan"]))
            rows = [ScanRow.from_dict(kept["row"]) for kept in content["rows"].values()]
        except (OSError, ValueError, KeyError, EOFError) as error:
            raise InputError(f"{file} is not the file of a variance scan.") from error
        if not rows:
            raise InputError(f"No row of the scan in {file} is finished yet: run it again to continue.")
        return cls(tuple(sorted(rows, key=lambda r: (r.n_wires, r.depth or 0))), content["settings"])


def _points(
    rows: list[ScanRow], variable: str, quantity: Quantity, layer: str | None
) -> tuple[list[int], list[VarianceEstimate]]:
    if quantity not in ("gradient", "cost", "signal"):
        raise UnknownNameError("quantity", quantity, ["gradient", "cost", "signal"])
    if layer is not None:
        known = {name for row in rows for name in row.layers}
        if layer not in known:
            raise UnknownNameError("layer", layer, known)
        rows = [row for row in rows if layer in row.layers]
    if layer is not None:
        estimates = [row.cost if quantity == "cost" else row.layers[layer] for row in rows]
    else:
        of = {"cost": lambda row: row.cost, "gradient": lambda row: row.gradient, "signal": _signal}[quantity]
        estimates = [of(row) for row in rows]
    return [getattr(row, variable) for row in rows], estimates


def _signal(row: ScanRow) -> VarianceEstimate:
    return row.gradient if row.signal is None else row.signal


def _mostly_mean(row: ScanRow) -> bool:
    """Whether the variance is less than half of the mean square, beyond the errors of both."""
    return row.signal is not None and row.gradient.high < 0.5 * row.signal.low


def _label(row: ScanRow) -> str:
    return f"{row.n_wires} wires" + ("" if row.depth is None else f", depth {row.depth}")


def _cells(row: ScanRow, with_shots: bool) -> list[str]:
    gradient, cost = row.gradient, row.cost
    star = "" if gradient.trusted else "*"
    needed = gradient.needed() if gradient.value > 0 else None
    return [
        str(row.n_wires),
        str(row.depth),
        f"{row.n_live}/{row.n_weights}",
        f"{_signal(row).value:.3e}",
        f"{gradient.value:.3e}{star}",
        f"{gradient.low:.2e} to {gradient.high:.2e}",
        f"{cost.value:.3e}",
        f"{cost.low:.2e} to {cost.high:.2e}",
        f"{row.two_design:.2e}",
        str(gradient.samples),
        "-" if needed is None else f"{needed:.0f}",
        f"{row.seconds:.1f}",
        *([f"{gradient.floor:.2e}"] if with_shots else []),
    ]
