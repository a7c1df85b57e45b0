"""What the tests' own processes promise: their output, their end, and that of all they have started."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

import pytest
from processes import run_alone, run_together

START = "import subprocess, sys; p = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(1e4)'])"


def gone(pid: int) -> bool:
    """Whether a process has ended; soon, and whoever inherits it may have it as a zombie for a while."""
    for _ in range(500):
        try:
            if Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z":
                return True
            os.kill(pid, 0)
        except (FileNotFoundError, ProcessLookupError):
            return True
        time.sleep(0.02)
    return False


def test_output_and_code() -> None:
    done = run_alone([sys.executable, "-c", "import sys; print('out'); print('err', file=sys.stderr); sys.exit(3)"])
    assert (done.stdout, done.stderr, done.returncode) == ("out\n", "err\n", 3)


def test_what_a_process_leaves_behind_ends_with_it() -> None:
    done = run_alone([sys.executable, "-c", f"{START}; print(p.pid)"])
    assert gone(int(done.stdout))


def test_nobody_waits_for_one_that_failed() -> None:
    waits = [sys.executable, "-c", "import time; time.sleep(1e4)"]
    fails = [sys.executable, "-c", "raise SystemExit(1)"]
    assert [done.returncode for done in run_together([waits, fails])] == [-9, 1]


def test_one_that_hangs_is_killed_and_named(tmp_path: Path) -> None:
    code = f"{START}; open({str(tmp_path / 'pid')!r}, 'w').write(str(p.pid)); p.wait()"
    with pytest.raises(AssertionError, match="Still running after 3 s"):
        run_alone([sys.executable, "-c", code], patience=3.0)
    written = tmp_path / "pid"
    assert not written.exists() or gone(int(written.read_text()))
