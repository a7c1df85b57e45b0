"""`compare`: one layer on several backends side by side, with error bars: what shots cost, and what noise."""

from __future__ import annotations

import copy
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from torchbp.arguments import checked
from torchbp.arguments.kinds import a
from torchbp.backends import Backend, NoiseModel
from torchbp.backends.density import DensityMatrixBackend
from torchbp.backends.shots import measures
from torchbp.errors import InputError
from torchbp.gradients.table import markdown
from torchbp.hardware.mitigation import MITIGATIONS
from torchbp.hardware.qiskit_backend import QiskitBackend
from torchbp.hardware.targets import named
from torchbp.layer import QuantumLayer

IDEAL = "ideal"


@dataclass(frozen=True, eq=False)
class Measurement:
    """A layer's output on one backend.

    Attributes:
        name: of the backend in the comparison.
        values: (B, M) float64.
        standard_errors: (B, M), of the shots; zero for exact values.
        shots: that it took, calibrations included.
        seconds: that it took, transpiling included.
    """

    name: str
    values: Tensor
    standard_errors: Tensor
    shots: int = 0
    seconds: float = 0.0

    def error(self, ideal: Tensor) -> float:
        """Root mean square of the distance to the ideal values, shot noise included."""
        return float((self.values - ideal).square().mean().sqrt())

    @property
    def shot_noise(self) -> float:
        """Root mean square of the standard errors: what the error would be if there were shot noise alone."""
        return float(self.standard_errors.square().mean().sqrt())

    def bias(self, ideal: Tensor) -> float:
        """What of the error more shots would not remove: sqrt(max(0, error^2 - shot_noise^2))."""
        return max(0.0, self.error(ideal) ** 2 - self.shot_noise**2) ** 0.5


@dataclass(frozen=True, eq=False)
class Comparison:
    """Measurements of one layer; the first one is the ideal. `print` it.

    Attributes:
        measurements: one for each backend.
    """

    measurements: tuple[Measurement, ...]

    @property
    def ideal(self) -> Tensor:
        """(B, M) exact values without noise."""
        return self.measurements[0].values

    def __getitem__(self, name: str) -> Measurement:
        return next(m for m in self.measurements if m.name == name)

    def summary(self) -> str:
        """A Markdown table: for each backend its error, and how much of it are shots and how much is bias."""
        rows = []
        for m in self.measurements[1:]:
            largest = float((m.values - self.ideal).abs().max())
            numbers = (m.error(self.ideal), m.shot_noise, m.bias(self.ideal), largest)
            rows.append([m.name, *(f"{v:.4f}" for v in numbers), f"{m.shots:,}", f"{m.seconds:.1f}"])
        return markdown(["backend", "error", "shot noise", "bias", "largest", "shots", "seconds"], rows, 1)

    def values(self, limit: int = 8) -> str:
        """A Markdown table of single values: a row for each of the first `limit` outputs, a column for each backend."""
        rows = []
        batch, outputs = self.ideal.shape
        for i in range(min(limit, batch * outputs)):
            b, m = divmod(i, outputs)
            cells = [_cell(float(r.values[b, m]), float(r.standard_errors[b, m])) for r in self.measurements]
            rows.append([str(b), str(m), *cells])
        return markdown(["sample", "output", *(m.name for m in self.measurements)], rows, 0)

    def __str__(self) -> str:
        hidden = self.ideal.numel() - 8
        more = f"({hidden} more outputs)\n" if hidden > 0 else ""
        return f"{self.values()}{more}\n{self.summary()}"


def _backends(name: str, value: Any) -> Any:
    """A check of arguments: a target, backends by name, or backends that have names."""
    if isinstance(value, str | Mapping):
        return value
    given = list(value) if isinstance(value, Iterable) else [value]
    if not all(hasattr(backend, "name") for backend in given):
        raise InputError(f'{name} is a target such as "aer", or backends, in a list or by name; got {value!r:.50}.')
    return given


@checked(layer=a(QuantumLayer, write="QuantumLayer(circuit, observables)"), backends=_backends)
def compare(
    layer: QuantumLayer,
    backends: str | Mapping[str, Backend | NoiseModel | str] | Iterable[Backend],
    x: Tensor | None = None,
    *,
    shots: int = 1024,
    seed: int | None = None,
) -> Comparison:
    """A layer's output on several backends, next to the exact values without noise.

    The layer stays as it is. Error bars are standard errors of the shots. The error counts every output with the same
    weight; a small one says that outputs are right, and nothing about states or other observables.

    Args:
        layer: trained or not.
        backends: by name, or a list of backends, which have names. Noise models are run by density matrices, strings
            are targets of `QiskitBackend`. A single string is such a target in five rows: "shots" (Aer without noise),
            the target as it is ("noisy"), and with each mitigation ("readout", "zne", "readout+zne").
        x: features (B, F), as for the layer.
        shots, seed: of the backends that strings stand for.

    Raises:
        InputError: no backends.
    """
    rows: dict[str, Backend | NoiseModel] = {}
    if isinstance(backends, str):
        rows["shots"] = QiskitBackend("aer", shots, seed=seed)
        machine = named(backends)
        names = {name: "noisy" if name == "none" else name for name in MITIGATIONS}
        rows |= {n: QiskitBackend(machine, shots, mitigation=m, seed=seed) for m, n in names.items()}
    elif isinstance(backends, Mapping):
        rows |= {k: QiskitBackend(b, shots, seed=seed) if isinstance(b, str) else b for k, b in backends.items()}
    else:
        rows |= {backend.name: backend for backend in backends}
    if not rows:
        raise InputError("There is nothing to compare with: give at least one backend, or the name of a target.")
    ideal: list[tuple[str, Backend | NoiseModel | str]] = [(IDEAL, "fused")]
    return Comparison(tuple(_measure(layer, name, backend, x) for name, backend in [*ideal, *rows.items()]))


def _measure(layer: QuantumLayer, name: str, backend: Backend | NoiseModel | str, x: Tensor | None) -> Measurement:
    begin = time.perf_counter()
    where = DensityMatrixBackend(backend) if isinstance(backend, NoiseModel) else backend
    moved = copy.deepcopy(layer).to_backend(where)
    before = moved.shots_used
    with torch.no_grad():
        values = moved(x).double().cpu()
    seen = getattr(moved.backend, "latest", None) if measures(moved.backend) else None
    errors = torch.zeros_like(values) if seen is None else seen.standard_errors.double().cpu()
    return Measurement(name, values, errors, moved.shots_used - before, time.perf_counter() - begin)


def _cell(value: float, error: float) -> str:
    return f"{value:+.4f} ± {error:.4f}" if error else f"{value:+.4f}"
