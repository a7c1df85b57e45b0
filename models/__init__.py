"""LightningModules around quantum layers.

They are those of the package `lightning`. The Trainer of `pytorch_lightning`, another package with classes of its own,
says that they are none: train them with `import lightning as L; L.Trainer()`.
"""

from torchbp.models.hybrid import HybridModule
from torchbp.models.hybrid_classifier import HybridClassifier
from torchbp.models.hybrid_regressor import HybridRegressor
from torchbp.models.qaoa import QAOA
from torchbp.models.vqe import VQE

__all__ = ["QAOA", "VQE", "HybridClassifier", "HybridModule", "HybridRegressor"]
