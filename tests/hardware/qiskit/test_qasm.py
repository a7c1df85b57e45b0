"""Files that ask a parser for other files or for too much are refused before it sees them."""

from __future__ import annotations

from pathlib import Path

import pytest

from torchbp.errors import InputError
from torchbp.hardware import load
from torchbp.hardware.qiskit.qasm import check_source

THREE, TWO = 'OPENQASM 3.0;\ninclude "stdgates.inc";\n', 'OPENQASM 2.0;\ninclude "qelib1.inc";\n'


@pytest.mark.parametrize(
    ("source", "message"),
    [
        (THREE + 'include "/etc/passwd";', "includes '/etc/passwd', and only stdgates.inc and qelib1.inc are read"),
        (TWO + 'include  "../gates.inc" ;', "includes '../gates.inc'"),
        (TWO + "include 'a.inc';", "includes 'a.inc'"),
        (THREE + "qubit[1000000000] q;", "declares 1,000,000,000 bits, and a circuit may have 4,096"),
        (THREE + "qubit [ 1_000_000 ] q;", "declares 1,000,000 bits"),
        (THREE + "const int n = 1000000000;\nqubit[n] q;", "declares 1,000,000,000 bits"),
        (THREE + "qubit[2 ** 30] q;", "a register of size '2 \\*\\* 30': write a number"),
        (TWO + "qreg q[1000000000];", "declares 1,000,000,000 bits"),
        (TWO + "qreg q[4000]; creg c[4000];", "declares 8,000 bits"),
        (THREE + "bit[1000000000] c;", "declares 1,000,000,000 bits"),
    ],
)
def test_refused(tmp_path: Path, source: str, message: str) -> None:
    """Each message says what is asked for, and what to do."""
    path = tmp_path / "a.qasm"
    path.write_text(source)
    with pytest.raises(InputError, match=message):
        load(path)


@pytest.mark.parametrize(
    "source",
    [
        THREE + "".join(f"input float[64] w{i};" for i in range(100)) + "qubit[2] q;",
        THREE + "input float[64] w0;\nqubit[2] q;\nry(w0) q[0];\ncx q[0], q[1];",
        THREE + "const int n = 3; qubit[n] q; // qubit[1000000000]",
        TWO + 'qreg q[2]; creg c[2]; h q[0]; /* include "x" */',
        THREE + "qubit q; bit c;",
    ],
)
def test_passed(source: str) -> None:
    """What circuits have is no concern of this check; comments neither."""
    check_source(Path("a.qasm"), source)


@pytest.mark.parametrize("data", [b"QISKIT", b"QISKIT" + b"\1" * 50, b"OPENQASM 3.0; nonsense", b"OPENQASM 2.0; qreg"])
def test_broken_files(tmp_path: Path, data: bytes) -> None:
    """One error, whatever the parser raised."""
    path = tmp_path / "a"
    path.write_bytes(data)
    with pytest.raises(InputError, match=r"a can't be read \(\w+"):
        load(path)
