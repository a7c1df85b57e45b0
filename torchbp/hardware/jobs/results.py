"""Results on disk: each in a file of its own that is there whole or not at all."""

from __future__ import annotations

import io
import json
import os
import zipfile
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from torchbp.hardware.jobs.ledger import sync_folder
from torchbp.hardware.jobs.service import Usage
from torchbp.hardware.outcomes import Outcomes


class ResultStore:
    """What jobs gave, by the tag of the attempt, in .npz files without pickles.

    A file is written under another name, flushed to the disk, and renamed: under its own name it is whole, whatever was
    killed when.

    Args:
        folder: made when the first result is kept.
    """

    def __init__(self, folder: str | os.PathLike[str]) -> None:
        self.folder = Path(folder)

    def keep(self, tag: str, outcomes: Sequence[Outcomes], usage: Usage) -> None:
        """Write a result, and what it took."""
        self.folder.mkdir(parents=True, exist_ok=True)
        arrays: dict[str, Any] = {f"{name}{i}": a for i, o in enumerate(outcomes) for name, a in o.arrays().items()}
        arrays |= {"count": np.array(len(outcomes)), "usage": np.array(json.dumps(asdict(usage)))}
        buffer = io.BytesIO()
        np.savez_compressed(buffer, **arrays)
        draft = self.folder / f".{tag}.{os.getpid()}"
        with draft.open("wb") as file:
            file.write(buffer.getvalue())
            file.flush()
            os.fsync(file.fileno())
        draft.replace(self._path(tag))
        sync_folder(self.folder)

    def get(self, tag: str) -> tuple[list[Outcomes], Usage] | None:
        """A result and what it took; None where it was not kept, or its file was damaged since."""
        try:
            with np.load(io.BytesIO(self._path(tag).read_bytes()), allow_pickle=False) as file:
                arrays = dict(file)
            parts = [
                {name: arrays[f"{name}{i}"] for name in ("bits", "weights", "starts", "sizes")}
                for i in range(int(arrays["count"]))
            ]
            return [Outcomes.from_arrays(part) for part in parts], Usage(**json.loads(str(arrays["usage"])))
        except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
            return None

    def _path(self, tag: str) -> Path:
        return self.folder / f"{tag}.npz"
