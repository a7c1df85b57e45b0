"""What is sent to a machine and what comes back: circuits with the values of their parameters, and outcomes.

A `Program` is data: it can be cut into chunks, written to a file, and known by its hash. Whatever runs one is an
`Executor`: a simulator here, a service far away, or a job runner with a ledger in front of either.
"""

from __future__ import annotations

import hashlib
import io
import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np

from torchbp.errors import InputError
from torchbp.hardware.outcomes import Outcomes
from torchbp.translation.packages import need

_FORMAT = 1


@dataclass(frozen=True, eq=False)
class Pub:
    """One measured circuit and the values its parameters take: N runs of `shots` shots each.

    The circuit is what the machine executes (transpiled for it already), with one classical bit for each wire that is
    read: the first bit of an outcome is classical bit 0.

    Args:
        circuit: a `qiskit.QuantumCircuit` with measurements.
        parameters: the S names of its parameters, in any order.
        values: (N, S) radians; column i belongs to `parameters[i]`.
        shots: for each of the N circuits; None asks a simulator for exact probabilities.

    Raises:
        InputError: names or shapes don't fit the circuit, or values or shots are not what can be run.
    """

    circuit: Any
    parameters: tuple[str, ...]
    values: np.ndarray
    shots: int | None
    _digest: list[bytes] = field(default_factory=list, repr=False)

    def __post_init__(self) -> None:
        names = {p.name for p in self.circuit.parameters}
        if names != set(self.parameters) or len(names) != len(self.parameters):
            raise InputError(
                f"The circuit's parameters are {sorted(names)}, values were given for {list(self.parameters)}."
            )
        if self.values.ndim != 2 or self.values.shape[1] != len(self.parameters):
            raise InputError(
                f"{len(self.parameters)} parameters need values of shape (N, {len(self.parameters)}), "
                f"got {self.values.shape}."
            )
        if not np.isfinite(self.values).all():
            raise InputError("The values of a circuit's parameters hold NaN or infinity: nothing was sent.")
        if self.shots is not None and self.shots < 1:
            raise InputError(f"A circuit is run at least once: shots >= 1, or None for exact values; got {self.shots}.")

    def __len__(self) -> int:
        return len(self.values)

    @property
    def n_bits(self) -> int:
        """Bits of an outcome."""
        return self.circuit.num_clbits

    def rows(self, start: int, stop: int) -> Pub:
        """The same circuit with some of the values."""
        return Pub(self.circuit, self.parameters, self.values[start:stop], self.shots, self._digest)

    def bind(self) -> list[Any]:
        """N circuits without parameters."""
        by_name = {p.name: p for p in self.circuit.parameters}
        order = [by_name[name] for name in self.parameters]
        return [
            self.circuit.assign_parameters(dict(zip(order, row, strict=True)), inplace=False)
            for row in self.values.tolist()
        ]

    def digest(self) -> bytes:
        """A hash of what is run, the same in every process: names of circuits and identities of parameters left out."""
        if not self._digest:
            self._digest.append(_circuit_digest(self.circuit))
        order = np.argsort(self.parameters)
        parts = [
            self._digest[0],
            repr(sorted(self.parameters)).encode(),
            np.ascontiguousarray(self.values[:, order], dtype="<f8").tobytes(),
            repr((len(self.values), self.shots)).encode(),
        ]
        return hashlib.sha256(b"\0".join(parts)).digest()


@dataclass(frozen=True)
class Limit:
    """The most that one job may hold; None for no limit."""

    circuits: int | None = None
    shots: int | None = None


@dataclass(frozen=True, eq=False)
class Program:
    """Pubs that are run together; the result is one `Outcomes` for each, in their order.

    Attributes:
        pubs: at least one.
        places: in a chunk, which pub of the whole program each of `pubs` is a part of.
    """

    pubs: tuple[Pub, ...]
    places: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "places", self.places or tuple(range(len(self.pubs))))

    @property
    def circuits(self) -> int:
        """Circuits to run, every set of values counted."""
        return sum(map(len, self.pubs))

    @property
    def shots(self) -> int:
        """Shots of all circuits together."""
        return sum(len(pub) * (pub.shots or 0) for pub in self.pubs)

    @cached_property
    def content(self) -> str:
        """Hash (hex) of everything that decides what is run: circuits, values, shots, their order."""
        return hashlib.sha256(b"".join(pub.digest() for pub in self.pubs)).hexdigest()

    def chunks(self, limit: Limit | None = None) -> list[Program]:
        """The program as programs within the limit, all of them together equal to it.

        Raises:
            InputError: a single circuit has more shots than a job may have.
        """
        limit = limit or Limit()
        chunks: list[Program] = []
        pubs: list[Pub] = []
        places: list[int] = []
        circuits = shots = 0
        for place, pub in enumerate(self.pubs):
            if limit.shots is not None and (pub.shots or 0) > limit.shots:
                raise InputError(
                    f"One circuit is to be run {pub.shots} times, and a job may have {limit.shots} shots: "
                    "ask for fewer shots, and average over several calls."
                )
            start = 0
            while start < len(pub):
                room = _room(pub, limit, circuits, shots, len(pub) - start)
                if room == 0:
                    chunks.append(Program(tuple(pubs), tuple(places)))
                    pubs, places, circuits, shots = [], [], 0, 0
                    continue
                pubs.append(pub.rows(start, start + room))
                places.append(place)
                circuits, shots, start = circuits + room, shots + room * (pub.shots or 0), start + room
        return [*chunks, Program(tuple(pubs), tuple(places))] if pubs else chunks

    def join(self, chunks: Iterable[Program], results: Iterable[Sequence[Outcomes]]) -> list[Outcomes]:
        """The outcomes of the whole from those of its chunks, both in the order of `chunks`."""
        parts: list[list[Outcomes]] = [[] for _ in self.pubs]
        for chunk, result in zip(chunks, results, strict=True):
            for place, outcomes in zip(chunk.places, result, strict=True):
                parts[place].append(outcomes)
        return [
            Outcomes.concatenate(part) if part else Outcomes.empty(pub.n_bits, pub.shots)
            for pub, part in zip(self.pubs, parts, strict=True)
        ]

    def to_bytes(self) -> bytes:
        """The program as the bytes of an .npz file: circuits in QPY, no pickles."""
        qpy, buffer = need("qiskit.qpy"), io.BytesIO()
        arrays: dict[str, Any] = {"format": np.array(_FORMAT), "places": np.array(self.places)}
        for i, pub in enumerate(self.pubs):
            file = io.BytesIO()
            qpy.dump(pub.circuit, file)
            arrays |= {
                f"circuit{i}": np.frombuffer(file.getvalue(), np.uint8),
                f"parameters{i}": np.array(pub.parameters, dtype=str),
                f"values{i}": pub.values,
                f"shots{i}": np.array(-1 if pub.shots is None else pub.shots),
            }
        np.savez_compressed(buffer, **arrays)
        return buffer.getvalue()

    @classmethod
    def from_bytes(cls, data: bytes) -> Program:
        """The program that `to_bytes` wrote.

        Raises:
            InputError: the bytes are of another kind, or of a newer format.
        """
        qpy = need("qiskit.qpy")
        try:
            arrays = dict(np.load(io.BytesIO(data), allow_pickle=False))
            version = int(arrays["format"])
        except (ValueError, KeyError, OSError) as error:
            raise InputError(f"This is no program of torchbp ({type(error).__name__}).") from error
        if version > _FORMAT:
            raise InputError(f"The program has format {version}, and this torchbp reads up to {_FORMAT}: update it.")
        pubs = []
        for i in range(len(arrays["places"])):
            (circuit,) = qpy.load(io.BytesIO(arrays[f"circuit{i}"].tobytes()))
            shots = int(arrays[f"shots{i}"])
            names = tuple(str(name) for name in arrays[f"parameters{i}"])
            pubs.append(Pub(circuit, names, arrays[f"values{i}"], None if shots < 0 else shots))
        return cls(tuple(pubs), tuple(map(int, arrays["places"])))

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write `to_bytes` to a file."""
        Path(path).write_bytes(self.to_bytes())

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Program:
        """The program in a file that `save` wrote."""
        return cls.from_bytes(Path(path).read_bytes())


@runtime_checkable
class Executor(Protocol):
    """Whatever runs programs.

    `run` returns when all results are there, one `Outcomes` for each pub with as many circuits as the pub has values,
    or raises. It cuts the program into jobs itself where it must.
    """

    name: str

    def run(self, program: Program) -> list[Outcomes]:
        """Run every circuit of the program."""
        ...


def _room(pub: Pub, limit: Limit, circuits: int, shots: int, wanted: int) -> int:
    """How many more circuits of this pub fit into a job that holds this much."""
    room = wanted
    if limit.circuits is not None:
        room = min(room, limit.circuits - circuits)
    if limit.shots is not None and pub.shots:
        room = min(room, (limit.shots - shots) // pub.shots)
    return room


def _circuit_digest(circuit: Any) -> bytes:
    head = f"{circuit.num_qubits} {circuit.num_clbits}\n".encode()
    return hashlib.sha256(head + b"".join(_instructions(circuit))).digest()


def _instructions(circuit: Any) -> Iterator[bytes]:
    """Each instruction as bytes that depend on what it does and on nothing else."""
    for item in circuit.data:
        operation = item.operation
        on = [circuit.find_bit(bit).index for bit in (*item.qubits, *item.clbits)]
        yield f"{operation.name} {on} ".encode()
        for parameter in getattr(operation, "params", ()):
            if isinstance(parameter, np.ndarray):
                yield np.ascontiguousarray(parameter, dtype="<c16").tobytes()
            else:
                yield f"{parameter!s} ".encode()
        if not getattr(operation, "_standard_gate", None) and getattr(operation, "definition", None) is not None:
            yield from _instructions(operation.definition)
        yield b"\n"
