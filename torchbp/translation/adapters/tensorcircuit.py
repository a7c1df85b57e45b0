"""TensorCircuit's `QuantumNet`, and `HardwareNet` derived from it: a function of inputs and tensors of weights.

The function tells neither its wires nor its shots.
"""

from torchbp.translation.adapters.adapter import Adapter

TENSORCIRCUIT = Adapter("tensorcircuit", ("QuantumNet",))
