"""LightningModules around quantum layers."""

from torchbp.models.hybrid import HybridModule
from torchbp.models.hybrid_classifier import HybridClassifier
from torchbp.models.hybrid_regressor import HybridRegressor
from torchbp.models.qaoa import QAOA
from torchbp.models.vqe import VQE

__all__ = ["QAOA", "VQE", "HybridClassifier", "HybridModule", "HybridRegressor"]
