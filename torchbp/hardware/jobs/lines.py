"""The lines of a ledger: JSON objects, each with a checksum of itself and of the line before it.

Hence a line that was altered, doubled, deleted or moved is found, wherever it stands; but lines missing at the end are
not: a shorter ledger is a ledger too.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

from torchbp.errors import InputError, LedgerError

_CHECK = re.compile(rb', "check": "([0-9a-f]{16})"\}$')


def written(records: Sequence[Mapping[str, Any]], last: str | None) -> bytes:
    """Records as lines.

    Args:
        records: as JSON can hold them.
        last: the checksum of the line before; "" at the beginning, None for a ledger without checksums.

    Raises:
        InputError: JSON can't hold them.
    """
    lines = []
    for record in records:
        try:
            body = json.dumps(record).encode()
        except (TypeError, ValueError, RecursionError) as error:
            raise InputError(
                f"The ledger holds what JSON can: numbers, texts, lists and dicts ({error}). Look at the labels and "
                "notes."
            ) from None
        if last is not None:
            last = _checksum(body[:-1], last)
            body = body[:-1] + f', "check": "{last}"}}'.encode()
        lines.append(body + b"\n")
    return b"".join(lines)


def read(line: bytes, last: str | None) -> tuple[dict[str, Any], str | None]:
    """The record in a line, and the line's checksum.

    Raises:
        ValueError, RecursionError: it is no JSON object.
        LedgerError: its checksum is not that of the line, coming after the one before.
    """
    record = json.loads(line)
    if not isinstance(record, dict):
        raise ValueError("no JSON object")
    found = _CHECK.search(line)
    if last is None or (not last and found is None):  # the first line of a ledger without checksums has none
        return record, None
    if found is None or found[1].decode() != _checksum(line[: found.start()], last):
        raise LedgerError("its checksum is wrong: it, or the line before it, was altered, doubled, deleted or moved")
    record.pop("check")
    return record, found[1].decode()


def _checksum(body: bytes, last: str) -> str:
    return hashlib.sha256(last.encode() + body).hexdigest()[:16]
