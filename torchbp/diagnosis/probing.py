"""Gathers what a verdict needs from one batch: what goes in and out of the quantum layer, and the loss around it.

Weights are changed while probing and put back; everything else that evaluating the loss may touch is the business of
`isolation`.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from torchbp.diagnosis.evidence import LossLandscape, ShotSignal
from torchbp.errors import InputError
from torchbp.gradients.shot_noise import ShotNoise, shot_noise
from torchbp.gradients.stats import RESOLVED
from torchbp.layer import QuantumLayer
from torchbp.layer.foreign import AnyLayer

Loss = Callable[[], Tensor | None]


@dataclass(frozen=True, eq=False)
class Passage:
    """One batch's way through a quantum layer.

    Attributes:
        x: (B, F) what went in, None for a circuit without features.
        cotangent: (B, M) dL/dy.
        loss: the loss.
    """

    x: Tensor | None
    cotangent: Tensor
    loss: float

    def scale(self, layer: AnyLayer) -> float:
        """What the loss could change by to first order: sum_bm |dL/dy_bm| * bound_m, bound the sum of |c_k|.

        What another library's module returns is taken for expectation values of single Pauli strings, with bound 1.
        """
        if layer.observables is None:
            return float(self.cotangent.abs().sum())
        bounds = self.cotangent.new_tensor([sum(abs(c) for s, c in o.terms if s) for o in layer.observables])
        return float((self.cotangent.abs() * bounds).sum())


def passage(layer: AnyLayer, loss: Loss) -> Passage:
    """Follow a batch through `layer`: its first call in an evaluation of `loss` with gradients.

    Raises:
        InputError: the loss does not use the layer, or can't be differentiated by its output.
    """
    seen: list[tuple[Tensor | None, Tensor]] = []

    def note(x: Tensor | None, output: Tensor) -> Tensor:
        if seen:
            return output
        rows = None if x is None else x.detach().reshape(-1, x.shape[-1])  # of sequences each position is a sample
        seen.append((rows, output.detach().requires_grad_()))
        return seen[0][1]

    with layer.noted(note), torch.enable_grad(), layer.exact():
        value = loss()
    if not seen or value is None or not value.requires_grad:
        raise InputError("The loss must come from the quantum layer's output, by a differentiable way.")
    x, y = seen[0]
    (cotangent,) = torch.autograd.grad(value, y, allow_unused=True)
    if cotangent is None:
        raise InputError("The loss must depend on the quantum layer's output.")
    return Passage(x, cotangent.detach().reshape(-1, y.shape[-1]), float(value.detach()))


def loss_landscape(
    layer: AnyLayer, loss: Loss, *, samples: int = 32, generator: torch.Generator | None = None
) -> LossLandscape:
    """The loss at uniform random weights of the quantum layer, all else as it is: `samples` + 1 evaluations."""
    with torch.no_grad(), layer.exact():
        here = _value(loss)
        values = []
        for _ in range(samples):
            draw = torch.rand(layer.n_weights, generator=generator, dtype=torch.float64)
            with layer.weights_at(math.pi * (2 * draw - 1)):
                values.append(_value(loss))
    drawn = torch.tensor(values, dtype=torch.float64)
    return LossLandscape(here, float(drawn.mean()), float(drawn.std()), float((drawn < here).double().mean()))


def shot_signal(layer: QuantumLayer, way: Passage, shots: int, *, max_circuits: int = 20_000) -> ShotSignal:
    """What `shots` shots leave of the gradient, from the exact outcome distributions, see `batch_shot_noise`.

    The SNR is the median over the weights.
    """
    middle = _median_snr(batch_shot_noise(layer, way, max_circuits).snr(shots))
    return ShotSignal(shots, middle, shots * (RESOLVED / middle) ** 2 if middle > 0 else math.inf)


def shots_to_resolve(layer: QuantumLayer, way: Passage, *, max_circuits: int = 2000) -> dict[str, float]:
    """The shots at which the SNR of each circuit layer, the median over its weights, would reach 3, by its name.

    With the noise of the whole batch's gradient; inf where half of the weights have no gradient at all.
    """
    single = batch_shot_noise(layer, way, max_circuits).snr(1)
    needed = {}
    for name, weights in layer.weight_groups.items():
        middle = _median_snr(single[list(weights)])
        needed[name] = (RESOLVED / middle) ** 2 if middle > 0 else math.inf if middle == 0 else math.nan
    return needed


def batch_shot_noise(layer: QuantumLayer, way: Passage, max_circuits: int) -> ShotNoise:
    """Gradient and shot noise of a batch's loss, two circuits or more for each weight and sample.

    At most about `max_circuits` are simulated: of a larger batch the first samples stand for all, with the noise of the
    mean over the whole batch scaled to its size.
    """
    batch = len(way.cotangent)
    kept = min(batch, max(1, max_circuits // max(1, 2 * layer.weights.numel())))
    share = kept / batch
    noise = shot_noise(layer, None if way.x is None else way.x[:kept], way.cotangent[:kept] / share)
    return ShotNoise(noise.gradient, noise.single_shot_variance * share)


def _median_snr(snr: Tensor) -> float:
    known = snr[~snr.isnan()]
    return float(known.median()) if len(known) else math.nan


def _value(loss: Loss) -> float:
    """With the same random numbers each time: dropout must not look like a landscape."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        value = loss()
    return math.nan if value is None else float(value)
