"""What an OpenQASM file may ask for before a parser sees it: no other files, no more bits than circuits have."""

from __future__ import annotations

import re
from pathlib import Path

from torchbp.errors import InputError

LIBRARIES = ("stdgates.inc", "qelib1.inc")
MOST_BITS = 4096

_COMMENTS = re.compile(r"//[^\n]*|/\*.*?\*/", re.DOTALL)
_INCLUDES = re.compile(r"\binclude\s*[\"']([^\"']*)[\"']")
_SIZES = re.compile(r"\b(?:qubit|bit|qreg|creg)\b[^;\[\"]*\[([^\]]*)\]")
_CONSTANTS = re.compile(r"\bconst\s+u?int(?:\[[^\]]*\])?\s+(\w+)\s*=\s*([^;]+);")


def check_source(path: Path, source: str) -> None:
    """Refuse what would have a parser read other files, or fill the memory.

    Raises:
        InputError: an include of anything but the standard libraries, or a register that is too large, or whose size is
            neither a number nor a constant.
    """
    text = _COMMENTS.sub(" ", source)
    for name in _INCLUDES.findall(text):
        if name not in LIBRARIES:
            raise InputError(
                f"{path} includes {name!r}, and only {' and '.join(LIBRARIES)} are read: put it into the file."
            )
    constants = dict(_CONSTANTS.findall(text))
    total = 0
    for size in _SIZES.findall(text):
        value = constants.get(size.strip(), size).strip()
        try:
            total += int(value, 0)
        except ValueError:
            raise InputError(
                f"{path} has a register of size {size.strip()!r}: write a number, or a constant that is one."
            ) from None
    if total > MOST_BITS:
        raise InputError(f"{path} declares {total:,} bits, and a circuit may have {MOST_BITS:,}: cut it down.")
