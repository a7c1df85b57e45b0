"""`HybridRegressor`: real numbers from features, through a quantum layer."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn
from torchmetrics import MeanAbsoluteError, MeanSquaredError, Metric

from torchbp.arguments import whole_number
from torchbp.errors import InputError
from torchbp.models.hybrid import HybridModule


class HybridRegressor(HybridModule):
    """Encoder → quantum layer → head, trained with the mean squared error on batches of (x, y).

    Logs `train_loss`, `train_mae`, `train_rmse`, and the same for `val` and `test`. Standardize the targets: the
    expectation values before the head lie within [-1, 1].

    Args:
        n_targets: columns of y; y may be (B,) where it is 1.
        n_features, n_wires, depth, parts: see `HybridModule`.
    """

    def __init__(self, n_features: int, n_targets: int = 1, n_wires: int = 4, depth: int = 2, **parts: Any) -> None:
        super().__init__(n_features, whole_number("n_targets", n_targets, 1), n_wires, depth, **parts)
        self.save_hyperparameters(ignore=["encoder", "quantum", "head"])

    def loss(self, output: Tensor, target: Tensor) -> Tensor:
        return nn.functional.mse_loss(output, target)

    def make_metrics(self) -> dict[str, Metric]:
        return {"mae": MeanAbsoluteError(), "rmse": MeanSquaredError(squared=False)}

    def _step(self, batch: tuple[Tensor, Tensor], stage: str) -> Tensor:
        x, target = batch
        target = target.to(x.dtype).reshape(len(x), -1)
        if target.shape[1] != self.n_outputs:
            raise InputError(f"The model predicts {self.n_outputs} targets, y has {target.shape[1]} columns.")
        return super()._step((x, target), stage)
