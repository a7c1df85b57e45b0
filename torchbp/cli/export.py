"""`torchbp export`."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

from torchbp.circuits import Circuit
from torchbp.cli.circuits import add_circuit_options, circuit_of, observable_of
from torchbp.cli.options import new_file
from torchbp.cli.output import add_json_option, show
from torchbp.errors import InputError, MissingDependencyError

if TYPE_CHECKING:
    from torch import Tensor

DESCRIPTION = """\
Writes a circuit to a file that Qiskit reads. Its weights are parameters; with --checkpoint, those of a quantum layer
that was trained, saved as a state_dict or as a Lightning checkpoint, go with it."""
EXAMPLE = "torchbp export circuit.qpy --ansatz hardware_efficient --wires 4 --depth 2"


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("file", type=new_file, help="to write: .qpy, or .qasm for OpenQASM 3")
    add_circuit_options(parser)
    parser.add_argument("--format", metavar="NAME", help="qpy, qasm3 or qasm2; by the file's name if left out")
    parser.add_argument("--checkpoint", metavar="FILE", help="weights: a state_dict or a Lightning checkpoint")
    parser.add_argument("--key", default="weights", help='of the weights in it (default: the only one in ".weights")')
    add_json_option(parser)


def run(arguments: argparse.Namespace) -> int:
    from torchbp.layer import QuantumLayer

    try:
        export = import_module("torchbp.hardware").export
    except (ImportError, AttributeError) as error:
        raise MissingDependencyError(f"This torchbp has no export to Qiskit ({error}): update torchbp.") from error
    circuit, observable = circuit_of(arguments, arguments.wires), observable_of(arguments, arguments.wires)
    source: Circuit | QuantumLayer = circuit
    options = {"observables": observable}
    if arguments.checkpoint:
        source = QuantumLayer(circuit, observable, init=_weights(arguments.checkpoint, arguments.key))
        options = {}  # a layer has its own
    path = export(source, arguments.file, arguments.format, **options)
    show(arguments, {"file": str(path), "circuit": repr(circuit)}, f"{path}: {circuit}")
    return 0


def _weights(file: str, key: str) -> Tensor:
    import torch

    if not Path(file).is_file():
        raise InputError(f"There is no checkpoint {file}.")
    try:
        state = torch.load(file, weights_only=True, map_location="cpu")
    except Exception as error:  # whatever a broken file makes of torch's and pickle's readers
        raise InputError(
            f"{file} is no checkpoint that can be read safely ({type(error).__name__}): give one of plain tensors, as "
            "torch.save(layer.state_dict(), file) writes it."
        ) from None
    if isinstance(state, Mapping):
        state = state.get("state_dict", state)
    if not isinstance(state, Mapping):
        raise InputError(f"{file} holds a {type(state).__name__}, not weights by name: give a state_dict.")
    found = [name for name in state if name == key or name.endswith(f".{key}")]
    if len(found) != 1:
        names = ", ".join(map(str, state)) or "nothing"
        raise InputError(f"{file} has {len(found)} entries that end in {key!r}: give --key, one of {names}.")
    weights = state[found[0]]
    if not isinstance(weights, torch.Tensor):
        raise InputError(f"{found[0]!r} in {file} is a {type(weights).__name__}, not a tensor: give another --key.")
    return weights
