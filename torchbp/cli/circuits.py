"""Circuits and observables on the command line, by name: `--ansatz hardware_efficient --wires 8 --depth 6`."""

from __future__ import annotations

import argparse
from collections.abc import Callable

import torchbp.circuits as circuits
from torchbp.circuits import Circuit, PauliSum
from torchbp.cli.options import whole
from torchbp.errors import InputError, UnknownNameError

Maker = Callable[[int, int], Circuit]

HAMILTONIANS: dict[str, Callable[[int], PauliSum]] = {
    "tfim": circuits.tfim,
    "heisenberg": circuits.heisenberg,
    "maxcut_ring": lambda n: circuits.maxcut([(w, (w + 1) % n) for w in range(n)] if n > 2 else [(0, 1)]),
}

OBSERVABLES: dict[str, Callable[[int], PauliSum]] = HAMILTONIANS | {
    "global_z": circuits.global_z,
    "mean_z": lambda n: PauliSum({f"Z{w}": 1 / n for w in range(n)}),
    "first_z": lambda n: PauliSum("Z0"),
}

ANSATZE = (
    "alternating_layered",
    "hamiltonian_variational",
    "hardware_efficient",
    "number_preserving",
    "qaoa",
    "qcnn",
    "real_amplitudes",
    "strongly_entangling",
)

ENCODINGS: dict[str, Callable[[int], Circuit] | None] = {
    "none": None,
    "angle": circuits.angle_encoding,
    "iqp": circuits.iqp_encoding,
}


def add_circuit_options(parser: argparse.ArgumentParser, sizes: bool = False) -> None:
    """`--ansatz`, `--wires` (one, or several), `--depth` and what goes with them, and `--observable`."""
    group = parser.add_argument_group("circuit")
    group.add_argument("--ansatz", default="hardware_efficient", metavar="NAME", help=f"one of {', '.join(ANSATZE)}")
    if sizes:
        group.add_argument(
            "--wires", type=whole(1), metavar="N", nargs="+", default=[2, 4, 6, 8], help="numbers of wires"
        )
    else:
        group.add_argument("--wires", type=whole(1), metavar="N", default=4, help="number of wires (default 4)")
    group.add_argument("--depth", type=whole(1), default=2, metavar="L", help="number of layers (default 2)")
    group.add_argument("--rotations", metavar="RX,RY", help="of hardware_efficient, such as rx,ry")
    group.add_argument("--entangler", metavar="NAME", help="of hardware_efficient: ring, line or all")
    group.add_argument("--gate", metavar="NAME", help="of hardware_efficient: cnot or cz")
    group.add_argument("--hamiltonian", metavar="NAME", help=f"of hamiltonian_variational: {', '.join(HAMILTONIANS)}")
    group.add_argument("--encoding", default="none", metavar="NAME", help=f"one of {', '.join(ENCODINGS)}")
    group.add_argument(
        "--observable",
        default="mean_z",
        metavar="NAME",
        help=f'one of {", ".join(OBSERVABLES)}, or a Pauli string such as "Z0 Z1"',
    )


def circuit_of(options: argparse.Namespace, n_wires: int, depth: int | None = None) -> Circuit:
    """The circuit that the options describe.

    Raises:
        UnknownNameError: a name that is not in the tables above.
        InputError: an option that does not belong to the ansatz.
        CircuitError: wires or depth that it can't have.
    """
    name, layers = options.ansatz, options.depth if depth is None else depth
    if name not in ANSATZE:
        raise UnknownNameError("ansatz", name, ANSATZE)
    of_hardware = {key: getattr(options, key) for key in ("rotations", "entangler", "gate") if getattr(options, key)}
    if of_hardware and name != "hardware_efficient":
        raise InputError(f"--{next(iter(of_hardware))} belongs to hardware_efficient, not to {name}.")
    if options.hamiltonian and name not in ("hamiltonian_variational", "qaoa"):
        raise InputError(f"--hamiltonian belongs to hamiltonian_variational and qaoa, not to {name}.")
    if "rotations" in of_hardware:
        of_hardware["rotations"] = of_hardware["rotations"].split(",")
    if name == "hardware_efficient":
        ansatz = circuits.hardware_efficient(n_wires, layers, **of_hardware)
    elif name == "hamiltonian_variational":
        ansatz = circuits.hamiltonian_variational(_named(options.hamiltonian or "tfim")(n_wires), n_wires, layers)
    elif name == "qaoa":
        ansatz = circuits.qaoa(_named(options.hamiltonian or "maxcut_ring")(n_wires), n_wires, layers)
    elif name == "number_preserving":
        ansatz = circuits.number_preserving(n_wires, max(1, n_wires // 2), layers)
    elif name == "qcnn":
        ansatz = circuits.qcnn(n_wires)
    else:
        ansatz = getattr(circuits, name)(n_wires, layers)
    if options.encoding not in ENCODINGS:
        raise UnknownNameError("encoding", options.encoding, ENCODINGS)
    encoder = ENCODINGS[options.encoding]
    return ansatz if encoder is None else encoder(n_wires) + ansatz


def observable_of(options: argparse.Namespace, n_wires: int) -> PauliSum:
    """What is measured.

    Raises:
        UnknownNameError: neither a name in the table nor a Pauli string.
    """
    name = options.observable
    if name in OBSERVABLES:
        return OBSERVABLES[name](n_wires)
    if not any(character.isdigit() for character in name):
        raise UnknownNameError("observable", name, OBSERVABLES)
    return PauliSum(name)


def _named(name: str) -> Callable[[int], PauliSum]:
    if name not in HAMILTONIANS:
        raise UnknownNameError("Hamiltonian", name, HAMILTONIANS)
    return HAMILTONIANS[name]
