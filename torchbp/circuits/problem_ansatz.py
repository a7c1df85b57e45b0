"""Ansätze with the structure of a problem: a Hamiltonian, a particle number, a hierarchy of scales."""

from __future__ import annotations

from torchbp.arguments import checked, whole_number
from torchbp.arguments.kinds import whole
from torchbp.circuits import given
from torchbp.circuits.circuit import Circuit
from torchbp.circuits.layouts import bricks
from torchbp.circuits.observables import PauliString, PauliSum
from torchbp.circuits.parameters import Parameter, weight
from torchbp.errors import CircuitError

# Pauli strings and coefficients that share one weight.
Group = list[tuple[PauliString, float]]

_ROTATION_OF = {letters: f"r{letters.lower()}" for letters in ("X", "Y", "Z", "XX", "YY", "ZZ")}
_TO_Z = {"X": ("h", "h"), "Y": ("sx", "sxdg")}


@checked(hamiltonian=given.observable)
def hamiltonian_variational(hamiltonian: PauliSum, n_wires: int, depth: int) -> Circuit:
    """Layers prod_g exp(-i w_g H_g) with H = sum_g H_g, a weight for each group (Wecker 2015, 1507.08969).

    A group is a set of terms that commute, so its exponential is exact: every term joins the first group with
    which it commutes, in the order in which H lists them. A transverse-field Ising model has the groups ZZ
    and X, a Heisenberg chain its even and its odd bonds. The identity in H is a global phase and left out.

    The circuit starts from the state it is given; the paper starts from the ground state of one group. Put
    its preparation before (`start + hamiltonian_variational(...)`): a group of which the start is an
    eigenstate does nothing in the first layer.

    Args:
        hamiltonian: real sum of any Pauli strings.
        n_wires: number of wires.
        depth: number of layers; one weight per layer and group.

    Raises:
        CircuitError: the Hamiltonian is not a PauliSum, has only the identity, or acts on a wire that is not
            there.
    """
    _check_hamiltonian(hamiltonian, n_wires)
    return _evolve(Circuit(n_wires), commuting_groups(hamiltonian), depth)


@checked(cost=given.observable)
def qaoa(cost: PauliSum, n_wires: int, depth: int) -> Circuit:
    """H on every wire, then layers exp(-i beta sum_j X_j) exp(-i gamma C) (Farhi 2014, 1411.4028).

    Two weights for each layer, gamma and beta in this order; the gates turn by 2 coefficient gamma and
    2 beta. The first H belong to no layer. Minimizing <C> maximizes a cut for C = `maxcut(edges)`.

    Args:
        cost: sum of strings of Z, such as `maxcut(edges)`.
        n_wires: number of wires.
        depth: number of layers p.

    Raises:
        CircuitError: the cost is not a PauliSum, not diagonal, has only the identity, or acts on a wire that
            is not there.
    """
    _check_hamiltonian(cost, n_wires)
    if any(letter != "Z" for string, _ in cost.terms for _, letter in string):
        raise CircuitError(f"QAOA needs a diagonal cost, made of Z only: take hamiltonian_variational for {cost}.")
    circuit = Circuit(n_wires)
    for wire in range(n_wires):
        circuit.append("h", wire)
    mixer = PauliSum({f"X{wire}": 1.0 for wire in range(n_wires)})
    return _evolve(circuit, [*commuting_groups(cost), *commuting_groups(mixer)], depth)


@checked(n_wires=whole(2))
def number_preserving(n_wires: int, n_particles: int, depth: int) -> Circuit:
    """X on `n_particles` wires, then bricks of Givens rotations, which keep the number of ones.

    The X stand on wires floor(i n / k), spread evenly so that the first gates already move something, and
    belong to no layer. A layer has a Givens rotation exp(-i w (Y_a X_b - X_a Y_b) / 4) on each of the n-1
    neighbouring pairs (Anselmetti 2021, 2104.05695). Givens rotations of neighbours alone are free fermions:
    they reach Slater determinants only, and a classical computer simulates them efficiently.

    Args:
        n_wires: number of wires n, at least 2.
        n_particles: number of ones k, 1 to n-1.
        depth: number of layers; n-1 weights each.

    Raises:
        InputError: an argument out of range.
    """
    circuit = Circuit(n_wires)
    count = whole_number("n_particles", n_particles, 1, n_wires - 1)
    for i in range(count):
        circuit.append("x", i * n_wires // count)
    for _ in range(depth):
        circuit.start_layer()
        for bond in bricks(range(n_wires)):
            circuit.append("singleexcitation", bond, weight())
    return circuit


@checked(n_wires=whole(2))
def qcnn(n_wires: int) -> Circuit:
    """Quantum convolutional network: convolve and pool until only wire 0 is left (Cong 2019, 1810.03787).

    Measure wire 0, as in `PauliSum("Z0")`. A layer convolves neighbouring active wires, in bricks, with a
    general two-wire unitary (15 weights), then pools the wires in pairs: the second turns the first by a
    controlled RZ where it is 1 and a controlled RX where it is 0 (2 weights, Hur 2022, 2108.00661, figure 3)
    and becomes inactive. All gates of a layer share its 17 weights; there are ceil(log2 n) layers. Such a
    shallow tree has no barren plateau (Pesah 2021, 2011.02966).

    Raises:
        InputError: fewer than 2 wires.
    """
    circuit = Circuit(n_wires)
    active = list(range(n_wires))
    while len(active) > 1:
        circuit.start_layer()
        shared = [weight() for _ in range(15)]
        for a, b in bricks(active):
            _two_wire_unitary(circuit, a, b, shared)
        when_one, when_zero = weight(), weight()
        for kept, pooled in zip(active[::2], active[1::2], strict=False):
            circuit.append("crz", (pooled, kept), when_one)
            circuit.append("x", pooled).append("crx", (pooled, kept), when_zero)
        active = active[::2]
    return circuit


def commuting_groups(hamiltonian: PauliSum) -> list[Group]:
    """The terms but the identity in groups that commute; a term joins the first group it commutes with."""
    groups: list[Group] = []
    for string, coefficient in hamiltonian.terms:
        if not string or not coefficient:
            continue
        home = next((g for g in groups if all(_commute(string, other) for other, _ in g)), None)
        if home is None:
            groups.append(home := [])
        home.append((string, coefficient))
    return groups


def _commute(one: PauliString, other: PauliString) -> bool:
    """Two Pauli strings commute if they differ on an even number of the wires they share."""
    letters = dict(other)
    return sum(letters.get(wire, letter) != letter for wire, letter in one) % 2 == 0


def _check_hamiltonian(hamiltonian: PauliSum, n_wires: int) -> None:
    hamiltonian.check_fits(n_wires)
    if not commuting_groups(hamiltonian):
        raise CircuitError(f"{hamiltonian} is a multiple of the identity: its evolution is only a global phase.")


def _evolve(circuit: Circuit, groups: list[Group], depth: int) -> Circuit:
    for _ in range(depth):
        circuit.start_layer()
        for group in groups:
            time = weight()
            for string, coefficient in group:
                _rotate(circuit, string, 2 * coefficient * time)
    return circuit


def _rotate(circuit: Circuit, string: PauliString, angle: Parameter) -> None:
    """exp(-i angle P / 2): a gate of the table where there is one, else multirz in another basis."""
    wires, letters = [wire for wire, _ in string], "".join(letter for _, letter in string)
    if letters in _ROTATION_OF:
        circuit.append(_ROTATION_OF[letters], wires, angle)
        return
    turned = [(wire, *_TO_Z[letter]) for wire, letter in string if letter != "Z"]
    for wire, before, _ in turned:
        circuit.append(before, wire)
    circuit.append("multirz", wires, angle)
    for wire, _, after in turned:
        circuit.append(after, wire)


def _two_wire_unitary(circuit: Circuit, a: int, b: int, angles: list[Parameter]) -> None:
    """Any two-wire unitary up to a phase, in canonical form (Kraus 2001, quant-ph/0011050)."""
    circuit.append("rot", a, *angles[:3]).append("rot", b, *angles[3:6])
    for name, angle in zip(("rxx", "ryy", "rzz"), angles[6:9], strict=True):
        circuit.append(name, (a, b), angle)
    circuit.append("rot", a, *angles[9:12]).append("rot", b, *angles[12:15])
