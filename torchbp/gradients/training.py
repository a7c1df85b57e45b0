"""Gradient samples from the training itself: the source `training`, which costs no shots.

With finite shots a training step measures every sample's gradient on its own, by circuits that are shifted one by one,
each many times. That is a spread already, which backward passes otherwise throw away.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial

import torch
from torch import Tensor

from torchbp.backends.shots import Sampler, ShiftRecord, measures
from torchbp.gradients.groups import WeightGroup
from torchbp.gradients.source import Measured
from torchbp.gradients.stats import GradientStatistics
from torchbp.layer import QuantumLayer

SOURCE = "training"


class ShiftListener:
    """Listens to the backward passes of quantum layers with finite shots, and makes statistics of what it hears.

    A batch of two samples or more has the spread of its samples: sample b of weight p is B times that sample's share of
    the gradient, so that the mean is the gradient of the batch and its standard error that of the mean over the batch,
    shots and samples together, as for the source `microbatch` with single samples. A batch of one has the spread of
    its shots: SE^2 = sum over rotations s that p turns at rate r_s of r_s^2 Var_s, see `ShiftRecord`: an unbiased
    estimate of the exact variance (see `shot_noise`), from S - 1 degrees of freedom a circuit.

    Args:
        layers: by their path.
        ignore: whether a backward pass is none of the training, asked for each.

    Attributes:
        unfit: why a layer can't be measured, by its path.

    What it takes: one loss a step that is a mean over samples; a layer that is called with one row for each sample, in
    the order of the batch, as often as one likes.
    """

    def __init__(self, layers: Mapping[str, QuantumLayer], ignore: Callable[[], bool] = lambda: False) -> None:
        self.layers = dict(layers)
        self._ignore = ignore
        self._heard: dict[str, tuple[Tensor, Tensor, int]] = {}  # shares (B, P), their variance by shots, and shots
        self._statistics: dict[str, GradientStatistics] = {}
        self.unfit: dict[str, str] = {}

    def listen(self) -> None:
        """From here on."""
        self.forget()
        for path, layer in self.layers.items():
            layer.shift_listener = partial(self._hear, path)

    def stop(self) -> None:
        """Listen no more; what was heard is kept."""
        for layer in self.layers.values():
            layer.shift_listener = None

    def forget(self) -> None:
        """Begin anew."""
        self._heard, self._statistics, self.unfit = {}, {}, {}

    def end_batch(self, size: int | None, scale: float = 1.0) -> None:
        """A batch is done, whose passes belong together.

        Args:
            size: its number of samples, None where that is not known.
            scale: factor of the loss that is no part of it, as a gradient scaler's.
        """
        for path, layer in self.layers.items():
            if path not in self._heard and any(p.grad is not None for p in layer.parameters()):
                self.unfit[path] = "by other ways than its parameter-shift rule"
        for path, (shares, variance, shots) in self._heard.items():
            rows = len(shares)
            if rows > 1 and rows != size:
                self.unfit[path] = f"with {rows} rows for a batch of {size}"
                continue
            found = _of_samples(rows * shares) if rows > 1 else _of_shots(shares[0], variance[0], shots)
            found = GradientStatistics(found.count, found.mean / scale, found.m2 / scale**2)
            known = self._statistics.get(path)
            self._statistics[path] = found if known is None else known.merge(found)
        self._heard = {}

    def measured(self, groups: Sequence[WeightGroup]) -> Measured:
        """Statistics of the groups; NaN without samples for all that has not been heard."""
        columns, unmeasured = [], dict(self.unfit)
        for group in groups:
            places = _places(group, self.layers)
            path, indices = places if places is not None else ("", None)
            known = self._statistics.get(path)
            if known is None or indices is None or path in self.unfit:
                unmeasured.setdefault(group.name, "no backward pass with finite shots has gone through it")
                nothing = torch.full((1, len(group)), torch.nan, dtype=torch.float64)
                columns.append(GradientStatistics.from_samples(nothing))
            else:
                columns.append(GradientStatistics(known.count[indices], known.mean[indices], known.m2[indices]))
        joined = (torch.cat([getattr(c, name).cpu() for c in columns]) for name in ("count", "mean", "m2"))
        return Measured(SOURCE, GradientStatistics(*joined), unmeasured)

    def _hear(self, path: str, sampler: Sampler, record: ShiftRecord) -> None:
        if self._ignore():
            return
        rates, weights = sampler.scales.to(record.gradient).double(), sampler.weights.to(record.gradient.device)
        empty = record.gradient.new_zeros(len(record.gradient), sampler.circuit.n_weights, dtype=torch.float64)
        shares = empty.index_add(1, weights, record.gradient.double() * rates)
        variance = empty.index_add(1, weights, record.variance.double() * rates.square())
        before = self._heard.get(path)
        if before is not None and before[0].shape == shares.shape:
            shares, variance = shares + before[0], variance + before[1]
        elif before is not None:
            self.unfit[path] = f"with {len(before[0])} rows and with {len(shares)}"
        self._heard[path] = shares, variance, record.shots


def fits(layers: Mapping[str, QuantumLayer]) -> bool:
    """Whether they can be listened to: all that train have finite shots, whose outcomes a simulator draws."""
    trained = [layer for layer in layers.values() if any(p.requires_grad for p in layer.parameters())]
    return bool(trained) and all(layer.shots is not None and not measures(layer.backend) for layer in trained)


def _of_samples(samples: Tensor) -> GradientStatistics:
    return GradientStatistics.from_samples(samples)


def _of_shots(mean: Tensor, variance: Tensor, shots: int) -> GradientStatistics:
    """As if every shot were a sample: SE^2 = m2 / (S - 1) / S. A single shot is a sample without a spread."""
    count = torch.full_like(mean, shots)
    return GradientStatistics(count, mean, (variance * shots * (shots - 1)).nan_to_num(0.0))


def _places(group: WeightGroup, layers: Mapping[str, QuantumLayer]) -> tuple[str, Tensor] | None:
    """The layer that a group belongs to, and which of its weights it is."""
    for path, layer in layers.items():
        for name, indices in layer.weight_groups.items():
            if group.name == (f"{path}/{name}" if path else name) and len(indices) == len(group):
                return path, torch.tensor(indices)
    return None
