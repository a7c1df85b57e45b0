"""What samples of a gradient say about it: mean, spread, and whether it can be told from noise.

One definition for every source of samples. Nothing here contains an epsilon: a gradient of 1e-9 with a spread of
1e-11 is as good a gradient as one of 1 with a spread of 0.01.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import numpy as np
import torch
from scipy.special import stdtr
from torch import Tensor

from torchbp.errors import InputError

RESOLVED = 3.0
"""The SNR from which on a gradient counts as measurable."""

Kind = Literal["quantum", "classical"]


@dataclass(frozen=True, eq=False)
class GradientStatistics:
    """Count, mean and sum of squared deviations of every weight's gradient: all that merging needs.

    Args:
        count: (P,) samples of each weight.
        mean: (P,) their mean, NaN where there are none.
        m2: (P,) sum over the samples of (g - mean)^2.

    All three are float64, whatever the samples were.
    """

    count: Tensor
    mean: Tensor
    m2: Tensor

    @classmethod
    def from_samples(cls, samples: Tensor) -> GradientStatistics:
        """Statistics of samples (S, P). What is not finite in them is no sample.

        Raises:
            InputError: `samples` is not a matrix.
        """
        if samples.ndim != 2:
            raise InputError(f"Gradient samples have shape (samples, weights), got {tuple(samples.shape)}.")
        samples = samples.detach().double()
        if not len(samples):
            samples = samples.new_full((1, samples.shape[1]), math.nan)
        valid = samples.isfinite()
        count = valid.sum(0).double()
        # Deviations from one of the samples instead of from zero: equal samples then have exactly zero variance.
        origin = samples.where(valid, samples.new_tensor(-math.inf)).amax(0)
        shifted = (samples - origin).where(valid, samples.new_zeros(()))
        offset = shifted.sum(0) / count
        m2 = (shifted - offset).where(valid, samples.new_zeros(())).square().sum(0)
        return cls(count, origin + offset, m2)

    def merge(self, other: GradientStatistics) -> GradientStatistics:
        """Statistics of both sets of samples together (Chan, Golub & LeVeque 1983, eq. 2.1)."""
        count = self.count + other.count
        own, delta = self._filled_mean(), other._filled_mean() - self._filled_mean()
        m2 = self.m2 + other.m2 + delta.square() * self.count * (other.count / count).nan_to_num(0.0)
        return GradientStatistics(count, own + delta * (other.count / count), m2)

    def reduce(self, all_sum: Callable[[Tensor], Tensor]) -> GradientStatistics:
        """Statistics of the samples of every process.

        Args:
            all_sum: returns the sum over all processes of a tensor; called twice, on every process alike. It may
                work in place.
        """
        total = all_sum(torch.stack([self.count, self.count * self._filled_mean()]))
        count, mean = total[0].clone(), total[1] / total[0]
        spread = self.m2 + self.count * (self._filled_mean() - mean).square().nan_to_num(0.0)
        return GradientStatistics(count, mean, all_sum(spread))

    def split(self, sizes: Sequence[int]) -> list[GradientStatistics]:
        """Consecutive groups of the weights, one of each size."""
        parts = zip(
            self.count.split(list(sizes)),
            self.mean.split(list(sizes)),
            self.m2.split(list(sizes)),
            strict=True,
        )
        return [GradientStatistics(*part) for part in parts]

    def cpu(self) -> GradientStatistics:
        """The same in main memory."""
        return GradientStatistics(self.count.cpu(), self.mean.cpu(), self.m2.cpu())

    @cached_property
    def variance(self) -> Tensor:
        """(P,) unbiased sample variance s^2 of one sample; NaN for weights with fewer than two."""
        return (self.m2 / (self.count - 1)).where(self.count > 1, self.m2.new_tensor(math.nan))

    @cached_property
    def standard_error(self) -> Tensor:
        """(P,) standard error of the mean, SE = s / sqrt(S)."""
        return (self.variance / self.count).sqrt()

    @cached_property
    def snr(self) -> Tensor:
        """(P,) see the function `snr`."""
        return self.mean.abs() / self.standard_error

    def _filled_mean(self) -> Tensor:
        return self.mean.where(self.count > 0, self.mean.new_zeros(()))


def snr(statistics: GradientStatistics) -> Tensor:
    """(P,) signal-to-noise ratio of every weight's mean gradient, |mean| / SE.

    With zero variance it is inf where the mean is not zero, and NaN where it is (0/0: a weight that nothing moves).
    Under pure Gaussian noise its median is about 0.7 (0.67 for many samples), never 0. It does not say how large a
    gradient is, nor that a small one is a plateau: a converged model has a low SNR too. And where the loss does not
    depend on the data, samples of it have no noise, and the SNR is infinite however small the gradient.
    """
    return statistics.snr


def layer_snr(statistics: GradientStatistics) -> float:
    """Median SNR of the weights that have one (NaN excluded); NaN if none has."""
    return _median(snr(statistics))


def median_magnitude(statistics: GradientStatistics) -> float:
    """Median |mean gradient| over the measured weights, in units of loss per radian (or per unit of weight).

    Noise included: with few samples a vanished gradient reads as its noise. `signal` is the estimate without it.
    """
    return _median(statistics.mean.abs())


def mean_variance(statistics: GradientStatistics) -> float:
    """Mean over the weights of the unbiased variance of one sample.

    For the source `ensemble` this is Var[dL/dw], the quantity that a barren plateau is defined by (McClean et al.
    2018). For all others it is the variance of the noise, which says nothing about plateaus by itself.
    """
    return _mean(statistics.variance)


def signal(statistics: GradientStatistics) -> float:
    """Noise-free mean square gradient, max(0, mean_i(mean_i^2 - SE_i^2)): unbiased before it is cut off at 0."""
    estimate = _mean(statistics.mean.square() - statistics.standard_error.square())
    return estimate if math.isnan(estimate) else max(0.0, estimate)


def resolved_share(statistics: GradientStatistics) -> float:
    """Share of the weights with at least two samples whose SNR is above 3; a weight that never moves counts as not."""
    measured = int((statistics.count > 1).sum())
    return float((snr(statistics) > RESOLVED).sum()) / measured if measured else math.nan


def p_no_gradient(statistics: GradientStatistics) -> float:
    """p-value of "this layer has no gradient at all": that the mean gradient of every weight is zero.

    Each weight's t-test, p_i = P(|t_(S-1)| > SNR_i), and the Cauchy combination of them (Liu & Xie 2020, J. Am. Stat.
    Assoc. 115:393, eq. 1): T = mean_i tan((1/2 - p_i) pi), p = 1/2 - arctan(T) / pi. It asks for two samples or
    more, for any number of weights, and finds one live weight among many dead ones.

    Rate of false alarms at 5%, measured with 4 to 16 samples and 1 to 96 weights: 5% for independent Gaussian noise
    (exact); 5 to 10% for correlated Gaussian noise, worst at an equal correlation of 0.5 to 0.7 between all weights,
    and back to 5% at 1; under 2.5% for heavy symmetric tails. At 1% it is 0.7 to 1.9%. Strongly skewed noise makes
    the t-test itself invalid: with few, small micro-batches take p < 0.01 as a hint, not as a proof. A large p-value
    does not show that the gradient is zero, only that these samples cannot tell.

    Returns:
        1.0 where every measured gradient is exactly zero; NaN where nothing was measured.
    """
    ratio = snr(statistics).cpu().numpy()
    tested = ~np.isnan(ratio)
    if not tested.any():
        return 1.0 if (statistics.count > 1).any() else math.nan
    p = 2 * stdtr(statistics.count.cpu().numpy()[tested] - 1, -ratio[tested])
    # cot(pi p) = tan((1/2 - p) pi), and atan2(1, T) = pi/2 - arctan(T): both keep the digits of a tiny p.
    with np.errstate(divide="ignore"):
        combined = float((1 / np.tan(math.pi * p)).mean())
    return math.atan2(1.0, combined) / math.pi


@dataclass(frozen=True)
class LayerSummary:
    """One layer's gradient at one moment, in numbers; NaN is "not measured".

    Args:
        name: the layer, as `find_groups` names it.
        kind: "quantum" or "classical".
        source: where the samples come from ("microbatch", ...). Numbers of different sources do not compare.
        n_weights: weights in the layer, measured or not.
        n_samples: samples per weight (of the weight that has most).
        snr: median over the weights, see `layer_snr`.
        median_abs: see `median_magnitude`.
        variance: see `mean_variance`.
        signal: see `signal`.
        resolved: share of weights with an SNR above 3, see `resolved_share`.
        p_value: see `p_no_gradient`.
    """

    name: str
    kind: Kind
    source: str
    n_weights: int
    n_samples: int
    snr: float
    median_abs: float
    variance: float
    signal: float
    resolved: float
    p_value: float

    @property
    def snr_db(self) -> float:
        """The SNR in decibels, 20 log10(SNR): 3 is 9.5 dB, 1 is 0 dB."""
        return 20 * math.log10(self.snr) if self.snr > 0 else -math.inf if self.snr == 0 else math.nan


def summarize(
    statistics: GradientStatistics, name: str, kind: Kind, source: str, n_weights: int | None = None
) -> LayerSummary:
    """All numbers of one layer; `n_weights` where not all of its weights are in the statistics."""
    count = statistics.count
    return LayerSummary(
        name=name,
        kind=kind,
        source=source,
        n_weights=len(count) if n_weights is None else n_weights,
        n_samples=int(count.max()) if len(count) else 0,
        snr=layer_snr(statistics),
        median_abs=median_magnitude(statistics),
        variance=mean_variance(statistics),
        signal=signal(statistics),
        resolved=resolved_share(statistics),
        p_value=p_no_gradient(statistics),
    )


def _median(values: Tensor) -> float:
    """Mean of the two middle values. Not torch's quantile, which makes NaN of two infinities."""
    known = np.sort(_known(values))
    return float(known[(len(known) - 1) // 2] + known[len(known) // 2]) / 2 if len(known) else math.nan


def _mean(values: Tensor) -> float:
    known = _known(values)
    return float(known.mean()) if len(known) else math.nan


def _known(values: Tensor) -> np.ndarray:
    """What is not NaN, in numpy: a layer is small, and torch takes longer for its many small steps."""
    array = values.cpu().numpy()
    return array[~np.isnan(array)]
