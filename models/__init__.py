"""LightningModules around quantum layers."""

from torchbp.models.hybrid import HybridModule
from torchbp.models.hybrid_classifier import HybridClassifier
from torchbp.models.hybrid_regressor import HybridRegressor

__all__ = ["HybridClassifier", "HybridModule", "HybridRegressor"]
