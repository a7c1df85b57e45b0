"""The fused engine: a circuit is planned once and then runs as a few large tensor operations.

Read in this order: `lowering` (circuit → three kinds of gates), `fusion` (gates → levels of blocks), `plan`
(blocks → steps on a state tensor), the steps `dense`, `phases` and `gather`, `readout`, and `adjoint`.
"""

from torchbp.backends.fused.backend import FusedBackend

__all__ = ["FusedBackend"]
