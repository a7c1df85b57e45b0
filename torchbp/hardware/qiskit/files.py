"""Circuits in files: QPY, which keeps everything, and OpenQASM with a second file for what it has no words for."""

from __future__ import annotations

import hashlib
import io
import json
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from torchbp.arguments import checked
from torchbp.arguments.kinds import a
from torchbp.circuits import Circuit, PauliSum, given
from torchbp.errors import InputError, TorchBPError, UnknownNameError
from torchbp.hardware.qiskit.export import to_qiskit
from torchbp.hardware.qiskit.qasm import check_source
from torchbp.layer import QuantumLayer
from torchbp.translation.packages import need
from torchbp.translation.qiskit.notes import FORMAT, METADATA, current_notes, fingerprint, foreign_notes
from torchbp.translation.qiskit.reading import circuit_of

FORMATS = {"qpy": ".qpy", "qasm3": ".qasm", "qasm2": ".qasm"}
"""Names of formats, and the suffixes their files usually have."""


@dataclass(frozen=True, eq=False)
class Loaded:
    """What a file holds: the circuit and, where torchbp wrote it, what was measured and trained.

    Attributes:
        circuit: the circuit.
        observables: one for each output column; empty where the file names none.
        weights: (P,) float64, or None.
    """

    circuit: Circuit
    observables: tuple[PauliSum, ...]
    weights: Tensor | None

    def layer(self, **options: Any) -> QuantumLayer:
        """A QuantumLayer with the circuit, observables and weights; `options` as for `QuantumLayer`."""
        if self.weights is not None:
            options.setdefault("init", self.weights.to(torch.get_default_dtype()))
        return QuantumLayer(self.circuit, self.observables or None, **options)


@checked(source=a(QuantumLayer, Circuit), observables=given.observables)
def export(
    source: QuantumLayer | Circuit,
    path: str | os.PathLike[str],
    format: str | None = None,
    *,
    observables: PauliSum | str | Iterable[PauliSum | str] | None = None,
    x: Tensor | None = None,
    prefix: str = "",
) -> Path:
    """Write a circuit, or a trained layer, to a file that Qiskit reads; `load` reads it back.

    * "qpy": Qiskit's own format, without loss. Observables and weights are in the circuit's metadata.
    * "qasm3": OpenQASM 3. Parameters become inputs x0, x1, ..., w0, w1, ...; a second file, of the same name with
      ".json" after it, keeps their order, the observables, the weights and the layers.
    * "qasm2": OpenQASM 2 has no parameters: the circuit of one sample `x` at the layer's weights; second file as above.

    Args:
        source, observables, prefix: as for `to_qiskit`.
        path: the file.
        format: "qpy", "qasm3" or "qasm2"; left out, ".qpy" is QPY and ".qasm" OpenQASM 3.
        x: for "qasm2", the features (F,) of the sample, where there are any.

    Returns:
        The path.

    Raises:
        UnknownNameError: no such format.
        InputError: features for a format that keeps them as parameters, or none for one that can't.
    """
    path = Path(path)
    if path.is_dir() or not path.absolute().parent.is_dir():
        raise InputError(f"{path} can't be written: give the name of a file in a folder that is there.")
    if format is None:
        format = {".qpy": "qpy", ".qasm": "qasm3", ".qasm3": "qasm3"}.get(path.suffix)
        if format is None:
            raise InputError(f"{path.name!r} does not tell the format: give format=, one of {', '.join(FORMATS)}.")
    if format not in FORMATS:
        raise UnknownNameError("format", format, FORMATS)
    if x is not None and format != "qasm2":
        raise InputError(f"{format} keeps features as parameters: leave x= out, or take format='qasm2' for one sample.")
    exported = to_qiskit(source, observables, prefix=prefix)
    notes = dict(exported.circuit.metadata[METADATA])
    if format == "qpy":
        with path.open("wb") as file:
            need("qiskit.qpy").dump(exported.circuit, file)
        return path
    if format == "qasm2":
        text = need("qiskit.qasm2").dumps(exported.bound(x))
        notes |= {"bound": {"x": None if x is None else x.flatten().tolist()}}
    else:
        new = need("qiskit.circuit").Parameter
        plain = {p: new(_plain(p.name)) for p in exported.circuit.parameters}
        text = need("qiskit.qasm3").dumps(exported.circuit.assign_parameters(plain))
        named = ("features", "weights", "preparation", "parameters")
        notes |= {key: [_plain(name) for name in notes[key]] for key in named}
    path.write_bytes(text.encode())
    notes["fingerprint"] = _digest(path)  # OpenQASM has other names for some gates
    sidecar(path).write_text(json.dumps({METADATA: notes}, indent=1) + "\n")
    return path


@checked()
def load(path: str | os.PathLike[str]) -> Loaded:
    """Read a circuit from a QPY, OpenQASM 3 or OpenQASM 2 file; what kind it is, its first bytes say.

    Of a file that torchbp did not write, all parameters are weights, in the order of `from_qiskit`. Where the gates are
    no longer those that torchbp wrote, a warning says so, see `from_qiskit`.

    Raises:
        InputError: there is no such file, it is of another kind, or holds several circuits.
        MissingDependencyError: OpenQASM 3 is read by the package qiskit-qasm3-import.
    """
    path = Path(path)
    try:
        data = path.read_bytes()
    except OSError as error:
        raise InputError(f"{path} can't be read ({error.strerror}).") from error
    circuit = _read(path, data)
    notes, mark = (circuit.metadata or {}).get(METADATA), fingerprint(circuit)
    if notes is None and sidecar(path).exists():
        notes, mark = json.loads(sidecar(path).read_text()).get(METADATA), _digest(path)
    if notes is None:
        return Loaded(circuit_of(circuit, foreign_notes(circuit)), (), None)
    if notes["format"] > FORMAT:
        raise InputError(f"{path} has format {notes['format']}, and this torchbp reads up to {FORMAT}: update it.")
    notes = current_notes(circuit, notes, notes.get("fingerprint") == mark)
    values = notes["values"] if notes["weights"] else None
    return Loaded(
        circuit_of(circuit, notes),
        tuple(PauliSum(terms) for terms in notes["observables"]),
        None if values is None else torch.tensor(values, dtype=torch.float64),
    )


def sidecar(path: Path) -> Path:
    """The second file of an OpenQASM file."""
    return path.with_name(path.name + ".json")


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _plain(name: str) -> str:
    """x[3] as an identifier of OpenQASM."""
    return name.replace("[", "").replace("]", "")


@contextmanager
def _reading(path: Path) -> Iterator[None]:
    """Whatever a parser makes of a broken file, as one error."""
    try:
        yield
    except TorchBPError:
        raise
    except Exception as error:
        raise InputError(f"{path} can't be read ({type(error).__name__}: {error}): write it anew.") from error


def _read(path: Path, data: bytes) -> Any:
    if data.startswith(b"QISKIT"):
        with _reading(path):
            circuits = need("qiskit.qpy").load(io.BytesIO(data))
        if len(circuits) != 1:
            raise InputError(f"{path} holds {len(circuits)} circuits: write each to a file of its own.")
        return circuits[0]
    try:
        source = data.decode()
    except UnicodeDecodeError:
        source = ""
    check_source(path, source)
    if "OPENQASM 3" in source:
        need("qiskit_qasm3_import")
        with _reading(path):
            return need("qiskit.qasm3").loads(source)
    if "OPENQASM 2" in source:
        qasm2 = need("qiskit.qasm2")
        with _reading(path):
            return qasm2.loads(source, include_path=(), custom_instructions=qasm2.LEGACY_CUSTOM_INSTRUCTIONS)
    raise InputError(f"{path} is neither QPY nor OpenQASM 2 or 3: {data[:20]!r}...")
