"""Is every job paid once, whatever fails and whoever is killed?

A program sends jobs to a service where something happens to a fifth of them: submissions get lost on the way there or
back, jobs fail or are cancelled, the connection breaks, the token expires, the client's time-out passes. Three times
the program is killed (SIGKILL) at a random moment and started again. Then its ledger is held against the service's own
books, and its results against a replay.

    OMP_NUM_THREADS=1 python benchmarks/faults.py [--jobs 1000] [--rate 0.2] [--kills 3] [--out faults.json]
"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
from qiskit import QuantumCircuit
from qiskit.circuit import Parameter

from torchbp.errors import JobError
from torchbp.hardware import Attempt, Backoff, JobRunner, Ledger
from torchbp.hardware.jobs.rehearsal import RehearsalService
from torchbp.hardware.outcomes import Outcomes
from torchbp.hardware.program import Limit, Program, Pub

CIRCUITS, SHOTS = 4, 100  # of a program, each a job of its own; of a circuit


class Spins:
    """Executor of single qubits: a binomial draw for each circuit."""

    name = "spins"

    def reseed(self, seed: int) -> None:
        self.rng = np.random.default_rng(seed)

    def run(self, program: Program) -> list[Outcomes]:
        return [self.measure(pub) for pub in program.pubs]

    def measure(self, pub: Pub) -> Outcomes:
        ones = self.rng.binomial(SHOTS, np.sin(pub.values[:, 0] / 2) ** 2)
        return Outcomes.from_counts([{"0": float(SHOTS - k), "1": float(k)} for k in ones], 1, SHOTS)


def program(i: int) -> Program:
    circuit = QuantumCircuit(1, 1)
    circuit.ry(Parameter("angle"), 0)
    circuit.measure(0, 0)
    angles = np.linspace(0.001 * i, 3.0, CIRCUITS)[:, None]
    return Program((Pub(circuit, ("angle",), angles, SHOTS),))


def service(folder: Path, rate: float) -> RehearsalService:
    return RehearsalService(Spins(), folder / "service", rate=rate, limit=Limit(circuits=1))


def work(folder: Path, jobs: int, rate: float) -> None:
    """The program that is killed: runs all jobs, and writes what they gave."""
    runner = JobRunner(service(folder, rate), folder / "ledger.jsonl", run="faults", backoff=Backoff(0.0, 0.001))
    with (folder / "printed.txt").open("w") as file:
        for i in range(jobs // CIRCUITS):
            runner.labels["epoch"] = 10 * i * CIRCUITS // jobs
            while True:
                try:
                    (outcomes,) = runner.run(program(i))
                    break
                except JobError:  # fatal: somebody would mend it and start again
                    continue
            print(*(c["1"] for c in outcomes.counts()), file=file, flush=True)
    runner.settle()


def start(folder: Path, jobs: int, rate: float) -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, __file__, "--work", str(folder), "--jobs", str(jobs), "--rate", str(rate)])


def wait_for(process: subprocess.Popen[bytes], ledger: Path, lines: int) -> None:
    while process.poll() is None and (not ledger.exists() or ledger.read_bytes().count(b"\n") < lines):
        time.sleep(0.01)


def _rejected(attempt: Attempt) -> bool:
    """By the service; others were withdrawn because a job of the same program was refused."""
    return attempt.state == "rejected" and "not sent" not in str(attempt.error)


def check(folder: Path, jobs: int, rate: float) -> dict[str, tuple[Any, Any]]:
    """What there is, and what there must be."""
    ledger, remote = Ledger(folder / "ledger.jsonl"), service(folder, rate)
    books, account = remote.books(), ledger.summary()
    ended = {state: [b for b in books if b["state"] == state] for state in ("done", "failed")}
    key_of = {a.tag: a.key for a in ledger.attempts}
    done = Counter(a.key for a in ledger.attempts if a.state == "done")
    paid = Counter(key_of.get(b["tag"]) for b in ended["done"])
    printed = [[float(k) for k in line.split()] for line in (folder / "printed.txt").read_text().splitlines()]
    again = JobRunner(remote, ledger, run="faults")
    replayed = [[c["1"] for c in again.run(program(i))[0].counts()] for i in range(jobs // CIRCUITS)]
    return {
        "jobs with a result": (len(done), jobs),
        "jobs with two results": (sum(n > 1 for n in done.values()), 0),
        "jobs paid for": (len(paid), jobs),
        "jobs paid for twice": (sum(n > 1 for n in paid.values()), 0),
        "jobs the ledger doesn't know of": (sum(b["tag"] not in key_of for b in books), 0),
        "jobs still in flight": (sum(a.is_open for a in ledger.attempts), 0),
        "shots": (account["shots"], sum(b["shots"] for b in ended["done"])),
        "shots, as asked for": (account["shots"], jobs * SHOTS),
        "shots of failed jobs": (account["shots_lost"], sum(b["shots"] for b in ended["failed"])),
        "quantum seconds": (round(account["quantum_seconds"], 6), round(sum(b["seconds"] for b in books), 6)),
        "programs a replay gives otherwise": (sum(a != b for a, b in zip(replayed, printed, strict=True)), 0),
        "jobs that the replay ran": (len(remote.books()) - len(books), 0),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--jobs", type=int, default=1000, help=f"rounded down to a multiple of {CIRCUITS}")
    parser.add_argument("--rate", type=float, default=0.2)
    parser.add_argument("--kills", type=int, default=3)
    parser.add_argument("--seed", type=int, default=0, help="of the moments of the kills")
    parser.add_argument("--out", type=Path, default=Path("faults.json"))
    parser.add_argument("--work", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    jobs, rate = options.jobs - options.jobs % CIRCUITS, options.rate
    if options.work:
        work(options.work, jobs, rate)
        return
    rng, began = random.Random(options.seed), time.perf_counter()
    with tempfile.TemporaryDirectory() as name:
        folder, killed = Path(name), []
        moments = sorted(rng.randrange(50, 3 * jobs) for _ in range(options.kills))
        for lines in moments:
            process = start(folder, jobs, rate)
            wait_for(process, folder / "ledger.jsonl", lines)
            time.sleep(rng.uniform(0, 0.02))
            if process.poll() is None:
                os.kill(process.pid, signal.SIGKILL)
                killed.append(Ledger(folder / "ledger.jsonl").summary()["done"])
            process.wait()
        if start(folder, jobs, rate).wait():
            sys.exit("The program failed.")
        seconds = time.perf_counter() - began
        found, ledger = check(folder, jobs, rate), Ledger(folder / "ledger.jsonl")
        faults = Counter(b["fault"] for b in service(folder, rate).books() if b["fault"])
        faults |= Counter(f"{a.state} on the way" for a in ledger.attempts if a.state == "lost" or _rejected(a))
    print(ledger.table(by="epoch"))
    print(f"{jobs} jobs, {len(ledger.attempts)} attempts, {sum(faults.values())} of them with a fault; {seconds:.0f} s")
    print(", ".join(f"{name}: {number}" for name, number in sorted(faults.items())))
    print(f"{len(killed)} kills, with {', '.join(map(str, killed))} jobs done\n")
    for title, (here, there) in found.items():
        print(f"{title:<34} {here:>12,} {there:>12,} {'' if here == there else '  WRONG'}")
    right = all(here == there for here, there in found.values()) and len(killed) == options.kills
    report = {"date": date.today().isoformat(), "jobs": jobs, "rate": rate, "killed": killed, "faults": faults}
    options.out.write_text(json.dumps(report | {"found, wanted": found, "right": right}, indent=1) + "\n")
    print("The account is exact." if right else "THE ACCOUNT IS WRONG.")
    sys.exit(not right)


if __name__ == "__main__":
    main()
