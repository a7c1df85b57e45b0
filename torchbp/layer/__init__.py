"""`QuantumLayer`, and what takes the place of other libraries' modules in a model."""

from torchbp.layer.quantum_layer import QuantumLayer

__all__ = ["QuantumLayer"]
