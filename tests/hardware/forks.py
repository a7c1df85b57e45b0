"""Programs that are killed and started again, in forks of one process that has imported what they need."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from processes import PATIENCE

HARNESS = """
import importlib, json, os, signal, sys, time, traceback
program, modules, ledger, kills, at_once = json.loads(sys.stdin.read())
for name in modules:
    importlib.import_module(name)

def start(number):
    child = os.fork()
    if child:
        return child
    try:
        exec(compile(program, "program", "exec"), {"number": number})
        sys.stdout.flush()
        os._exit(0)
    except BaseException:
        traceback.print_exc()
        os._exit(1)

def records():
    return open(ledger, "rb").read().count(b"\\n") if os.path.exists(ledger) else 0

for number, wanted in enumerate(kills):
    child = start(number)
    while records() < wanted and os.waitpid(child, os.WNOHANG) == (0, 0):
        time.sleep(0.002)
    os.kill(child, signal.SIGKILL)
    assert os.waitpid(child, 0)[1] == signal.SIGKILL
    sys.stdout.flush()
    print("KILLED", flush=True)
children = [start(len(kills) + i) for i in range(at_once)]
sys.exit(sum(os.waitpid(child, 0)[1] for child in children) != 0)
"""


def run(
    program: str, ledger: Path, modules: Sequence[str] = (), kills: Sequence[int] = (), at_once: int = 1
) -> list[list[str]]:
    """Run a program, killed (SIGKILL) as soon as its ledger has so many records, each time anew; then to its end.

    Args:
        program: Python code; knows as `number` how often it was started before.
        ledger: the file whose lines are counted.
        modules: imported before the first fork.
        kills: numbers of lines.
        at_once: how many of it run side by side in the end.

    Returns:
        The lines that each printed; those side by side together.
    """
    path = os.pathsep.join([str(Path(__file__).parent), *sys.path])
    done = subprocess.run(
        [sys.executable, "-c", HARNESS],
        input=json.dumps([program, ["torchbp.hardware", *modules], str(ledger), list(kills), at_once]),
        capture_output=True,
        text=True,
        env=os.environ | {"PYTHONPATH": path},
        timeout=PATIENCE,
    )
    assert done.returncode == 0, done.stderr
    return [part.split("\n")[:-1] for part in done.stdout.split("KILLED\n")]
