"""Encoders: circuits that write the features x (B, F) into a state.

An encoder has no weights and marks no layers. Data re-uploading (Pérez-Salinas 2020, 1907.02085) is
composition, as the features are shared and the weights are not:

    (angle_encoding(4) + hardware_efficient(4, depth=1)) * 3
"""

from __future__ import annotations

from collections.abc import Sequence

from torchbp.arguments import checked
from torchbp.circuits.circuit import Circuit
from torchbp.circuits.layouts import all_pairs, rotation_names
from torchbp.circuits.parameters import feature
from torchbp.errors import CircuitError


@checked()
def angle_encoding(
    n_wires: int, rotation: str | Sequence[str] = "ry", n_features: int | None = None, scale: float = 1.0
) -> Circuit:
    """One feature, one rotation angle: feature i turns wire i mod n by scale * x[:, i] radians.

    Several rotations hold several features on each wire (dense angle encoding, LaRose 2020, 2003.01695, eq.
    12): features 0 to n-1 turn by the first, n to 2n-1 by the second, ... With fewer features than that the
    last rotations are left out. Angles have period 2 pi (up to a sign of the state): scale the data to less
    than that. An "rz" on |0> is only a phase: put another rotation or a Hadamard before it.

    Args:
        n_wires: number of wires n.
        rotation: "rx", "ry" or "rz", or several of them in the order they are applied.
        n_features: number of features F, at most n times the number of rotations, which is the default.
        scale: radians for each unit of a feature.

    Raises:
        UnknownNameError: another rotation.
        CircuitError: more features than rotations to hold them.
        InputError: a number out of range.
    """
    circuit, names = Circuit(n_wires), rotation_names(rotation)
    room = circuit.n_wires * len(names)
    count = room if n_features is None else n_features
    if count > room:
        raise CircuitError(
            f"{circuit.n_wires} wires with {len(names)} rotation(s) each hold at most {room} features, got "
            f'n_features={count}: take more wires, or several rotations such as rotation=("ry", "rz").'
        )
    for i in range(count):
        circuit.append(names[i // circuit.n_wires], i % circuit.n_wires, scale * feature(i))
    return circuit


@checked()
def amplitude_encoding(n_wires: int, n_features: int | None = None) -> Circuit:
    """The features as amplitudes: |psi> = sum_i x[:, i] |i> / ||x||, zero for the amplitudes that remain.

    A sample that is zero everywhere has no direction and can't be encoded. The norm of a sample is lost. On
    hardware preparing such a state takes about 2^n gates (Möttönen 2005, quant-ph/0407010).

    Args:
        n_wires: number of wires n; wire 0 is the most significant bit of the amplitude's index.
        n_features: number of features, 1 to 2^n; 2^n if left out.

    Raises:
        CircuitError: more features than amplitudes.
    """
    return Circuit(n_wires).encode_amplitudes(n_features)


@checked()
def iqp_encoding(n_wires: int, depth: int = 1) -> Circuit:
    """Features and their products as phases (Havlíček 2019, 1804.11326).

    Depth 2 and more is believed to be hard to simulate classically. Each of the `depth` repetitions applies H
    to every wire, RZ(x_i) to wire i and RZZ(x_i x_j) to every pair i < j; n features. This is PennyLane's
    IQPEmbedding; the paper has (pi - x_i)(pi - x_j) in place of x_i x_j.

    Raises:
        InputError: `n_wires` or `depth` is not a whole number of at least 1.
    """
    circuit = Circuit(n_wires)
    for _ in range(depth):
        for wire in range(circuit.n_wires):
            circuit.append("h", wire)
        for wire in range(circuit.n_wires):
            circuit.append("rz", wire, feature(wire))
        for a, b in all_pairs(circuit.n_wires):
            circuit.append("rzz", (a, b), feature(a) * feature(b))
    return circuit
