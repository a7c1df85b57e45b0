"""Variances at any number of wires, from random walks of Pauli strings."""

from torchbp.trainability.paths.estimate import PathVariances, path_variances
from torchbp.trainability.paths.plan import PathPlan, plan_paths

__all__ = ["PathPlan", "PathVariances", "path_variances", "plan_paths"]
