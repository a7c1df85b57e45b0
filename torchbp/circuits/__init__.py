"""Circuits as data: gates, parameters, observables, and the functions that build them. No simulation."""

from torchbp.circuits.ansatz import (
    alternating_layered,
    hardware_efficient,
    mirrored,
    real_amplitudes,
    strongly_entangling,
)
from torchbp.circuits.circuit import Circuit, Operation
from torchbp.circuits.encoders import amplitude_encoding, angle_encoding, iqp_encoding
from torchbp.circuits.initializers import INITIALIZERS, initialize
from torchbp.circuits.molecules import h2
from torchbp.circuits.observables import PauliSum, global_z, heisenberg, local_z, maxcut, tfim
from torchbp.circuits.operations import GATES, gate
from torchbp.circuits.parameters import Parameter, constant, feature, weight
from torchbp.circuits.problem_ansatz import hamiltonian_variational, number_preserving, qaoa, qcnn

__all__ = [
    "GATES",
    "INITIALIZERS",
    "Circuit",
    "Operation",
    "Parameter",
    "PauliSum",
    "alternating_layered",
    "amplitude_encoding",
    "angle_encoding",
    "constant",
    "feature",
    "gate",
    "global_z",
    "h2",
    "hamiltonian_variational",
    "hardware_efficient",
    "heisenberg",
    "initialize",
    "iqp_encoding",
    "local_z",
    "maxcut",
    "mirrored",
    "number_preserving",
    "qaoa",
    "qcnn",
    "real_amplitudes",
    "strongly_entangling",
    "tfim",
    "weight",
]
