"""CMA-ES in tensors: a population drawn from a Gaussian that learns the shape of the landscape from ranks alone."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from torchbp.arguments import checked, positive, whole_number
from torchbp.optim.proposer import as_losses, saved_point, starting_point

FULL_COVARIANCE = 256
"""Weights up to which the covariance matrix is full. A larger one is diagonal: P numbers instead of P^2."""


class CMAProposer:
    """Covariance matrix adaptation evolution strategy (Hansen 2016, 1604.00772, appendix A; its equations in brackets).

    Each step draws a population from N(m, sigma^2 C) and moves m, sigma and C by the ranks of their losses, so only
    the order of losses counts, not their scale. Beyond `FULL_COVARIANCE` weights C is diagonal and learns
    (P + 2) / 3 times as fast (Ros and Hansen 2008). The point is the mean m, which under shot noise is a better
    estimate than the best of the population, whose loss was partly luck.

    Args:
        start: m at the start, (P,).
        sigma: standard deviation of the first population, in radians; a third of the distance to the optimum is good.
        population: lambda, the evaluations of a step, at least 4; default 4 + floor(3 ln P) [48]. Larger ones stand
            more noise.
        diagonal: whether C is diagonal; default: beyond `FULL_COVARIANCE` weights.
        seed: of the draws.

    Raises:
        InputError: an argument out of its range.
    """

    @checked()
    def __init__(
        self,
        start: Tensor,
        *,
        sigma: float = 0.5,
        population: int | None = None,
        diagonal: bool | None = None,
        seed: int = 0,
    ) -> None:
        self.mean = starting_point(start)
        n = len(self.mean)
        self.sigma = positive("sigma", sigma)
        self.population = 4 + int(3 * math.log(n)) if population is None else whole_number("population", population, 4)
        self.diagonal = n > FULL_COVARIANCE if diagonal is None else diagonal
        self.generator = torch.Generator().manual_seed(seed)
        self.steps = 0
        self._set_rates(n)
        # A diagonal matrix is kept as its diagonal.
        self.covariance = torch.ones(n, dtype=torch.float64) if self.diagonal else torch.eye(n, dtype=torch.float64)
        self.path = torch.zeros(n, dtype=torch.float64)  # p_c
        self.sigma_path = torch.zeros(n, dtype=torch.float64)  # p_sigma
        self._basis: Tensor | None = None  # B, eigenvectors of C in columns; None for the identity
        self._scales = torch.ones(n, dtype=torch.float64)  # D, square roots of its eigenvalues
        self._draws = torch.empty(0, n, dtype=torch.float64)  # z, standard normal

    def ask(self) -> list[Tensor]:
        self._decompose()
        shape = self.population, len(self.mean)
        self._draws = torch.randn(shape, generator=self.generator, dtype=torch.float64)
        return list(self.mean + self.sigma * self._shaped(self._draws))  # [38-40]

    def tell(self, losses: Sequence[float]) -> Tensor:
        values = as_losses(losses, len(self._draws))
        z, self._draws = self._draws, self._draws[:0]
        if not bool(torch.isfinite(values).any()):  # nothing to learn from
            return self.mean.clone()
        z = z[torch.argsort(values.nan_to_num(math.inf, math.inf), stable=True)]
        y, n = self._shaped(z), len(self.mean)
        mu = self._n_parents
        move = self._weights[:mu] @ y[:mu]  # <y>_w [41]
        whitened = self._rotated(self._weights[:mu] @ z[:mu])  # C^(-1/2) <y>_w
        self.mean = self.mean + self.sigma * move  # [42]

        c = self._c_sigma
        self.sigma_path = (1 - c) * self.sigma_path + math.sqrt(c * (2 - c) * self._mu_eff) * whitened  # [43]
        length = float(self.sigma_path.norm()) / self._expected_length
        stalled = length / math.sqrt(1 - (1 - c) ** (2 * (self.steps + 1))) >= 1.4 + 2 / (n + 1)  # not h_sigma

        c = self._c_path
        self.path = (1 - c) * self.path + (0.0 if stalled else math.sqrt(c * (2 - c) * self._mu_eff)) * move  # [45]
        lost = c * (2 - c) if stalled else 0.0
        # Of a bad direction only as much is taken away as a draw of the usual length has [46].
        shrink = n / z.square().sum(1).clamp_min(1e-300)
        weights = torch.where(self._weights < 0, self._weights * shrink, self._weights)
        keep = 1 + self._c_1 * lost - self._c_1 - self._c_mu * float(self._weights.sum())
        if self.diagonal:
            rank_one, rank_mu = self.path.square(), weights @ y.square()
        else:
            rank_one, rank_mu = torch.outer(self.path, self.path), (y.T * weights) @ y
        self.covariance = keep * self.covariance + self._c_1 * rank_one + self._c_mu * rank_mu  # [47]
        self.sigma *= math.exp(min(1.0, self._c_sigma / self._damping * (length - 1)))  # [44]
        self.steps += 1
        return self.mean.clone()

    def state_dict(self) -> dict[str, Any]:
        tensors = {name: getattr(self, name).clone() for name in ("mean", "covariance", "path", "sigma_path")}
        return {**tensors, "sigma": self.sigma, "steps": self.steps, "generator": self.generator.get_state()}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        for name in ("mean", "covariance", "path", "sigma_path"):
            setattr(self, name, saved_point(state_dict[name], getattr(self, name)))
        self.sigma, self.steps = state_dict["sigma"], state_dict["steps"]
        self.generator.set_state(state_dict["generator"])

    def _set_rates(self, n: int) -> None:
        """Weights and learning rates, table 1 and [48-58]."""
        size = self.population
        raw = math.log((size + 1) / 2) - torch.arange(1, size + 1, dtype=torch.float64).log()
        self._n_parents = mu = size // 2
        good, bad = raw[:mu], raw[mu:]
        self._mu_eff = mu_eff = float(good.sum().square() / good.square().sum())
        mu_bad = float(bad.sum().square() / bad.square().sum())
        faster = (n + 2) / 3 if self.diagonal else 1.0
        c_1 = min(1.0, faster * 2 / ((n + 1.3) ** 2 + mu_eff))
        c_mu = min(1 - c_1, faster * 2 * (0.25 + mu_eff + 1 / mu_eff - 2) / ((n + 2) ** 2 + mu_eff))
        self._c_1, self._c_mu = c_1, c_mu
        limit = min(1 + c_1 / c_mu, 1 + 2 * mu_bad / (mu_eff + 2), (1 - c_1 - c_mu) / (n * c_mu))
        positive_part, negative_part = raw.clamp_min(0), raw.clamp_max(0)
        self._weights = positive_part / positive_part.sum() - limit * negative_part / negative_part.sum()
        self._c_sigma = (mu_eff + 2) / (n + mu_eff + 5)
        self._damping = 1 + 2 * max(0.0, math.sqrt((mu_eff - 1) / (n + 1)) - 1) + self._c_sigma
        self._c_path = (4 + mu_eff / n) / (n + 4 + 2 * mu_eff / n)
        self._expected_length = math.sqrt(n) * (1 - 1 / (4 * n) + 1 / (21 * n**2))

    def _decompose(self) -> None:
        if self.diagonal:
            self._scales = self.covariance.sqrt()
            return
        self.covariance = (self.covariance + self.covariance.T) / 2  # rounding leaves it a little off
        levels, self._basis = torch.linalg.eigh(self.covariance)
        self._scales = levels.clamp_min(levels[-1] * 1e-14).sqrt()

    def _rotated(self, z: Tensor) -> Tensor:
        """B z for the rows of z."""
        return z if self._basis is None else z @ self._basis.T

    def _shaped(self, z: Tensor) -> Tensor:
        """y = B D z, rows from N(0, C)."""
        return self._rotated(z * self._scales)
