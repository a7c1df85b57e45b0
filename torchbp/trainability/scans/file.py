"""The file of a scan: finished rows and the draws of the one at work, so that it can be killed and continued."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import torch

from torchbp.errors import InputError
from torchbp.layer import QuantumLayer
from torchbp.trainability.scans.draws import Draws
from torchbp.trainability.scans.result import ScanRow

_FIELDS = ("costs", "gradients", "cost_noise", "gradient_noise")


class ScanFile:
    """What a scan has measured so far: JSON and arrays in one .npz file, or nothing where no path is given.

    Args:
        path: of the file, read if it is there; None keeps nothing.
        settings: what must be the same for rows to belong to one scan.
        seed: of the scan; None takes the file's, else a random one from torch's global generator.

    Raises:
        InputError: the file belongs to another scan, or is none.
    """

    def __init__(self, path: str | Path | None, settings: dict[str, Any], seed: int | None) -> None:
        self.path = None if path is None else Path(path)
        self._rows: dict[str, dict[str, Any]] = {}
        self._open: dict[str, Any] = {}
        self._arrays: dict[str, np.ndarray] = {}
        header = self._read()
        if seed is None:
            seed = header["seed"] if header else int(torch.randint(2**62, ()))
        self.seed: int = seed
        self._settings = {**settings, "seed": self.seed}
        if header:
            for name, wanted in self._settings.items():
                if header.get(name) != wanted:
                    raise InputError(
                        f"{self.path} holds a scan with {name}={header.get(name)!r}, this one has {wanted!r}: "
                        "give the same arguments to continue it, or another file."
                    )

    def finished(self, digest: str, n_wires: int, depth: int | None) -> ScanRow | None:
        """The row, if it was finished before; `digest` is that of its question.

        Raises:
            InputError: there is one of this size, but of another circuit, observable or input.
        """
        kept = self._rows.get(_key(n_wires, depth))
        if kept is None:
            return None
        self._check_same(kept, digest, n_wires)
        return ScanRow.from_dict(kept["row"])

    def unfinished(self, digest: str, n_wires: int, depth: int | None) -> tuple[list[Draws], float]:
        """The draws of a row that was begun before, and the seconds spent on it."""
        if self._open.get("key") != _key(n_wires, depth):
            return [], 0.0
        self._check_same(self._open, digest, n_wires)
        tensors = {name: torch.from_numpy(array) for name, array in self._arrays.items()}
        return ([Draws(**tensors)] if tensors else []), self._open["seconds"]

    def keep(self, digest: str, n_wires: int, depth: int | None, parts: list[Draws], seconds: float) -> None:
        """Save the draws of the row at work."""
        if self.path is None or not parts:
            return
        draws = Draws.join(parts)
        self._open = {"key": _key(n_wires, depth), "digest": digest, "seconds": seconds}
        tensors = {name: getattr(draws, name) for name in _FIELDS}
        self._arrays = {name: tensor.numpy() for name, tensor in tensors.items() if tensor is not None}
        self._write()

    def finish(self, digest: str, row: ScanRow) -> None:
        """Save a finished row; its draws are dropped."""
        self._rows[_key(row.n_wires, row.depth)] = {"digest": digest, "row": row.to_dict()}
        self._open, self._arrays = {}, {}
        self._write()

    def _check_same(self, kept: dict[str, Any], digest: str, n_wires: int) -> None:
        if kept["digest"] != digest:
            raise InputError(
                f"{self.path} holds another circuit, observable or input for {n_wires} wires: give another file."
            )

    def _read(self) -> dict[str, Any] | None:
        if self.path is None or not self.path.exists():
            return None
        try:
            with np.load(self.path, allow_pickle=False) as data:
                content = json.loads(str(data["scan"]))
                self._arrays = {name: data[name] for name in _FIELDS if name in data}
            self._rows, self._open = content["rows"], content["open"]
            return content["settings"]
        except (OSError, ValueError, KeyError, EOFError) as error:
            raise InputError(f"{self.path} is not the file of a variance scan: give another one.") from error

    def _write(self) -> None:
        if self.path is None:
            return
        content = json.dumps({"settings": self._settings, "rows": self._rows, "open": self._open})
        # Written aside and moved, so that a kill leaves the old file or the new one.
        aside = self.path.with_name(f"{self.path.name}.part")
        with aside.open("wb") as stream:
            np.savez(stream, allow_pickle=False, scan=np.array(content), **self._arrays)
        os.replace(aside, self.path)


def _key(n_wires: int, depth: int | None) -> str:
    return f"{n_wires}" if depth is None else f"{n_wires} x {depth}"


def digest_of(layer: QuantumLayer, inputs: torch.Tensor) -> str:
    """A fingerprint of the circuit, its observables and its inputs."""
    gates = [f"{op} {None if op.unitary is None else op.unitary.tolist()}" for op in layer.circuit.operations]
    return hashlib.sha256("\n".join([*gates, *map(repr, layer.observables), str(inputs.tolist())]).encode()).hexdigest()
