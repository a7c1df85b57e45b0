"""One weight at a time: along it the loss of a Pauli rotation is a sinusoid, whose minimum three losses give."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from torch import Tensor

from torchbp.arguments import checked
from torchbp.optim.proposer import as_losses, saved_point, starting_point


class RotosolveProposer:
    """Sequential minimization in closed form (Ostaszewski 2019, 1905.09692; Nakanishi 2019, 1903.12166).

    Step k minimizes over weight i = k mod P: with C0, C+, C- the losses at w_i and w_i ± pi/2,
    w_i <- w_i - pi/2 - atan2(2 C0 - C+ - C-, C+ - C-), taken into (-pi, pi]. 3 evaluations.

    Exact where the loss is a + b cos(w_i) + c sin(w_i): a loss linear in expectation values, and a weight that turns
    one gate by itself times 1, such as RX, RY, RZ, RZZ. It is not exact for a weight shared by several gates (as in
    QAOA and the Hamiltonian variational ansatz), multiplied by a factor or a feature, or of a controlled rotation,
    nor for a loss that is not linear in what the layer returns (cross-entropy, squared errors): there it steps to the
    minimum of the sinusoid through three points, which may lie higher than where it was. Where shot noise exceeds the
    amplitude along a weight, the step is as good as random.

    Args:
        start: the point (P,) to start from, in radians.

    Raises:
        InputError: the start is not (P,) finite numbers.
    """

    @checked()
    def __init__(self, start: Tensor) -> None:
        self.point = starting_point(start)
        self.steps = 0
        self._asked = 0

    def ask(self) -> list[Tensor]:
        index = self.steps % len(self.point)
        points = [self.point.clone() for _ in range(3)]
        points[1][index] += math.pi / 2
        points[2][index] -= math.pi / 2
        self._asked = 3
        return points

    def tell(self, losses: Sequence[float]) -> Tensor:
        here, plus, minus = as_losses(losses, self._asked).tolist()
        self._asked = 0
        curve, slope = 2 * here - plus - minus, plus - minus
        if math.isfinite(curve) and math.isfinite(slope) and (curve or slope):  # else flat or unknown: stay
            index = self.steps % len(self.point)
            angle = float(self.point[index]) - math.pi / 2 - math.atan2(curve, slope)
            self.point[index] = math.pi - (math.pi - angle) % (2 * math.pi)
        self.steps += 1
        return self.point.clone()

    def state_dict(self) -> dict[str, Any]:
        return {"point": self.point.clone(), "steps": self.steps}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.point, self.steps = saved_point(state_dict["point"], self.point), state_dict["steps"]
