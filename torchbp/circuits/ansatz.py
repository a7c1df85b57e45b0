"""Problem-agnostic ansätze, and `mirrored`. One more is one more plain function that returns a Circuit.

Every ansatz marks `depth` layers, so that gradients, initializers and remedies can tell them apart, and
starts from the state it is given. Those that know about the problem are in `problem_ansatz.py`.
"""

from __future__ import annotations

from collections.abc import Sequence

from torchbp.arguments import checked
from torchbp.arguments.kinds import whole
from torchbp.circuits import given
from torchbp.circuits.circuit import Circuit
from torchbp.circuits.layouts import bricks, line, pairs, rotation_names
from torchbp.circuits.parameters import weight
from torchbp.errors import UnknownNameError

ENTANGLING_GATES = ("cnot", "cz")


@checked()
def hardware_efficient(
    n_wires: int,
    depth: int,
    rotations: str | Sequence[str] = ("rx", "ry", "rz"),
    entangler: str = "ring",
    gate: str = "cnot",
) -> Circuit:
    """Layers of rotations on every wire and an entangler (after Kandala 2017, 1704.05018).

    A layer is the first rotation on wires 0 to n-1, then the second, ...; then `gate` on the entangler's
    pairs. Its weights come in the same order. Deep enough, it is a 2-design, with the barren plateau of
    McClean 2018 (1803.11173).

    Args:
        n_wires: number of wires n.
        depth: number of layers.
        rotations: one or more of "rx", "ry", "rz"; n * depth * len(rotations) weights.
        entangler: "ring" (i, i+1 mod n), "line" (i, i+1) or "all" (i < j). One wire has
            none, two have one pair.
        gate: "cnot" or "cz".

    Raises:
        UnknownNameError: another rotation, entangler or gate.
        InputError: `n_wires` or `depth` is not a whole number of at least 1.
    """
    circuit, names = Circuit(n_wires), rotation_names(rotations)
    bonds = pairs(circuit.n_wires, entangler)
    if gate not in ENTANGLING_GATES:
        raise UnknownNameError("entangling gate", gate, ENTANGLING_GATES)
    for _ in range(depth):
        circuit.start_layer()
        for name in names:
            _rotate_all(circuit, name)
        for bond in bonds:
            circuit.append(gate, bond)
    return circuit


@checked()
def strongly_entangling(n_wires: int, depth: int) -> Circuit:
    """Layers of Rot(a, b, c) and CNOT(i, i + r mod n) from every wire i (Schuld 2020, 1804.00633).

    The range r = 1, 2, ..., n-1, 1, ... changes from layer to layer: PennyLane's StronglyEntanglingLayers,
    whose weights (depth, n, 3) are these, flattened.

    Raises:
        InputError: `n_wires` or `depth` is not a whole number of at least 1.
    """
    circuit = Circuit(n_wires)
    n = circuit.n_wires
    for layer in range(depth):
        circuit.start_layer()
        for wire in range(n):
            circuit.append("rot", wire, weight(), weight(), weight())
        if n > 1:
            reach = layer % (n - 1) + 1
            for wire in range(n):
                circuit.append("cnot", (wire, (wire + reach) % n))
    return circuit


@checked()
def real_amplitudes(n_wires: int, depth: int) -> Circuit:
    """RY on every wire; then in each layer CNOT(i, i+1) for i = n-2 to 0, and RY on every wire.

    Qiskit's `real_amplitudes(n, reps=depth)`, with its default entanglement: all amplitudes stay real. The
    first rotations belong to the first layer; (depth + 1) * n weights.

    Raises:
        InputError: `n_wires` or `depth` is not a whole number of at least 1.
    """
    circuit = Circuit(n_wires)
    for layer in range(depth):
        circuit.start_layer()
        if layer == 0:
            _rotate_all(circuit, "ry")
        for bond in reversed(line(circuit.n_wires)):
            circuit.append("cnot", bond)
        _rotate_all(circuit, "ry")
    return circuit


@checked(n_wires=whole(2))
def alternating_layered(n_wires: int, depth: int) -> Circuit:
    """RY on every wire; then layers of CZ and two RY on pairs (0, 1), (2, 3), ..., and (1, 2), (3, 4), ...

    The alternating layered ansatz of Cerezo 2021 (2001.00550, figure 4), whose gradients with a local cost
    vanish only polynomially while depth is O(log n): PennyLane's SimplifiedTwoDesign. The first rotations
    belong to the first layer; n + 2 (n-1) depth weights.

    Raises:
        InputError: fewer than 2 wires, or `depth` is not a whole number of at least 1.
    """
    circuit = Circuit(n_wires)
    for layer in range(depth):
        circuit.start_layer()
        if layer == 0:
            _rotate_all(circuit, "ry")
        for a, b in bricks(range(circuit.n_wires)):
            circuit.append("cz", (a, b)).append("ry", a, weight()).append("ry", b, weight())
    return circuit


@checked(circuit=given.circuit)
def mirrored(circuit: Circuit) -> Circuit:
    """The circuit, then its inverse with weights of its own: where both halves' weights agree, the identity.

    The block of Grant 2019 (1903.05076): `mirrored(hardware_efficient(n, depth=2)) * 3` is three blocks, and
    the "identity_blocks" initializer starts each as the identity. With P weights in `circuit`, weight P + i
    undoes weight i.

    Raises:
        CircuitError: the circuit encodes amplitudes, which has no inverse.
    """
    return circuit + circuit.inverse()


def _rotate_all(circuit: Circuit, name: str) -> None:
    for wire in range(circuit.n_wires):
        circuit.append(name, wire, weight())
