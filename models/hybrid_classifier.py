"""`HybridClassifier`: classes from features, through a quantum layer."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn
from torchmetrics import Metric
from torchmetrics.classification import MulticlassAccuracy

from torchbp.arguments import whole_number
from torchbp.models.hybrid import HybridModule


class HybridClassifier(HybridModule):
    """Encoder → quantum layer → head, trained with cross-entropy on batches of (x, class index).

    Logs `train_loss`, `train_accuracy` (the share of samples that is right), and the same for `val` and `test`.

    Args:
        n_classes: at least 2; the head has one output (a logit) for each.
        n_features, n_wires, depth, parts: see `HybridModule`.

    Example:
        >>> model = HybridClassifier(n_features=64, n_classes=10, n_wires=8, depth=4)
        >>> L.Trainer(max_epochs=20, callbacks=[GradientSNRMonitor()]).fit(model, train_loader)
    """

    def __init__(self, n_features: int, n_classes: int, n_wires: int = 4, depth: int = 2, **parts: Any) -> None:
        super().__init__(n_features, whole_number("n_classes", n_classes, 2), n_wires, depth, **parts)
        self.save_hyperparameters(ignore=["encoder", "quantum", "head"])

    def loss(self, output: Tensor, target: Tensor) -> Tensor:
        return nn.functional.cross_entropy(output, target)

    def make_metrics(self) -> dict[str, Metric]:
        return {"accuracy": MulticlassAccuracy(self.n_outputs, average="micro")}
