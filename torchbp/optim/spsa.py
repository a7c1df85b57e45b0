"""Simultaneous perturbation: a slope along a random direction from two losses, whatever the number of weights."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from torchbp.arguments import checked, positive, whole_number
from torchbp.optim.proposer import as_losses, saved_point, starting_point

ALPHA, GAMMA = 0.602, 0.101
"""Decay of step and perturbation that Spall 1998 (section III.B) finds good in practice."""


class SPSAProposer:
    """Simultaneous perturbation stochastic approximation (Spall 1992; gains after Spall 1998).

    Step k = 0, 1, ...: x <- x - a_k g, with g = (L(x + c_k d) - L(x - c_k d)) / (2 c_k) d, d of random signs,
    c_k = c / (k+1)^0.101 and a_k = a ((A+1) / (A+k+1))^0.602. The step size a is calibrated: the first `calibration`
    pairs tell the mean |slope| at the start, and a is such that a step along one such direction moves each weight by
    `first_step`. These pairs make the first step together, so none is wasted. No step moves a weight by more than
    twice `first_step`: a step size calibrated on a flat stretch would throw the weights away where it gets steep.

    Args:
        start: the point (P,) to start from.
        first_step: how far a step at the start moves each weight, in radians. Large ones throw good starts away.
        perturbation: c, in radians. Larger ones drown less in shot noise, and see less of the detail.
        pairs: directions averaged in each step; each costs 2 evaluations.
        calibration: directions of the first step.
        stability: A; steps shrink slowly until about that many.
        seed: of the random signs.

    Raises:
        InputError: an argument out of its range.
    """

    @checked()
    def __init__(
        self,
        start: Tensor,
        *,
        first_step: float = 0.1,
        perturbation: float = 0.2,
        pairs: int = 1,
        calibration: int = 10,
        stability: float = 20.0,
        seed: int = 0,
    ) -> None:
        self.point = starting_point(start)
        self.first_step, self.perturbation = positive("first_step", first_step), positive("perturbation", perturbation)
        self.pairs, self.calibration = whole_number("pairs", pairs, 1), whole_number("calibration", calibration, 1)
        self.stability = positive("stability", stability)
        self.generator = torch.Generator().manual_seed(seed)
        self.steps = 0
        self.step_size: float | None = None
        self._directions = torch.empty(0, len(self.point))

    def ask(self) -> list[Tensor]:
        number = self.pairs if self.step_size else max(self.pairs, self.calibration)
        signs = torch.randint(0, 2, (number, len(self.point)), generator=self.generator)
        self._directions = 2.0 * signs.double() - 1
        width = self._width()
        return [self.point + sign * width * d for d in self._directions for sign in (1, -1)]

    def tell(self, losses: Sequence[float]) -> Tensor:
        values = as_losses(losses, 2 * len(self._directions)).view(-1, 2)
        slopes = (values[:, 0] - values[:, 1]) / (2 * self._width())
        known = torch.isfinite(slopes)
        slopes, directions = slopes[known], self._directions[known]
        self._directions = self._directions[:0]
        mean = float(slopes.abs().mean()) if len(slopes) else 0.0
        if not self.step_size and mean > 0:
            self.step_size = self.first_step / mean
        if mean > 0 and self.step_size:
            decay = ((self.stability + 1) / (self.stability + self.steps + 1)) ** ALPHA
            step = self.step_size * decay * (slopes[:, None] * directions).mean(0)
            self.point = self.point - step.clamp(-2 * self.first_step, 2 * self.first_step)
            self.steps += 1
        return self.point.clone()

    def state_dict(self) -> dict[str, Any]:
        return {
            "point": self.point.clone(),
            "steps": self.steps,
            "step_size": self.step_size,
            "generator": self.generator.get_state(),
        }

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.point = saved_point(state_dict["point"], self.point)
        self.steps, self.step_size = state_dict["steps"], state_dict["step_size"]
        self.generator.set_state(state_dict["generator"])

    def _width(self) -> float:
        return self.perturbation / (self.steps + 1) ** GAMMA
