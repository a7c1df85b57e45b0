"""How fast is the closure of a Lie algebra, next to PennyLane's lie_closure?

Three families: term by term, {RX, RY, RZZ}, which is all of su(2^n) (4^n - 1 strings); the open transverse-field Ising
model term by term (n (2n - 1) strings); and the same with one weight for all bonds and one for all fields, whose
generators are sums (n^2 dimensions). Each closure runs in turn with its peer, in one process, on one thread. A peer
that took more than a quarter of `--patience` seconds is not asked for more wires.

    OMP_NUM_THREADS=1 python benchmarks/lie_algebra.py [--quick] [--out lie_algebra.json]
"""

from __future__ import annotations

import argparse
import json
import platform
import time
from collections.abc import Callable
from datetime import date
from pathlib import Path
from typing import Any

import pennylane as qml

from torchbp import Circuit, weight
from torchbp.circuits import hamiltonian_variational, tfim
from torchbp.trainability import lie_algebra

Terms = list[dict[tuple[tuple[int, str], ...], float]]  # one dict of Pauli strings a generator


def universal(n: int) -> tuple[Circuit, Terms]:
    return _term_by_term(n, (("rx", "X"), ("ry", "Y"), ("rzz", "ZZ")))


def ising(n: int) -> tuple[Circuit, Terms]:
    return _term_by_term(n, (("rx", "X"), ("rzz", "ZZ")))


def ising_sums(n: int) -> tuple[Circuit, Terms]:
    bonds = {((w, "Z"), (w + 1, "Z")): 1.0 for w in range(n - 1)}
    return hamiltonian_variational(tfim(n), n, depth=1), [bonds, {((w, "X"),): 1.0 for w in range(n)}]


def _term_by_term(n: int, gates: tuple[tuple[str, str], ...]) -> tuple[Circuit, Terms]:
    circuit, terms = Circuit(n), []
    for name, letters in gates:
        for first in range(n - len(letters) + 1):
            wires = [first + i for i in range(len(letters))]
            circuit.append(name, wires, weight())
            terms.append({tuple(zip(wires, letters, strict=True)): 1.0})
    return circuit, terms


FAMILIES: dict[str, tuple[Callable[[int], tuple[Circuit, Terms]], list[int]]] = {
    "su(2^n), strings": (universal, [2, 3, 4, 5, 6, 7, 8, 9]),
    "open TFIM, strings": (ising, [4, 8, 16, 24, 32]),
    "open TFIM, sums": (ising_sums, [4, 6, 8, 10, 12, 16]),
}


def theirs(terms: Terms) -> int:
    sentences = [
        qml.pauli.PauliSentence({qml.pauli.PauliWord(dict(s)): c for s, c in generator.items()}) for generator in terms
    ]
    return len(qml.lie_closure(sentences, pauli=True, max_iterations=10**6))


def timed(call: Callable[[], int]) -> tuple[int, float]:
    start = time.perf_counter()
    return call(), time.perf_counter() - start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="three sizes a family")
    parser.add_argument("--patience", type=float, default=60.0, help="seconds to wait for a peer's largest size")
    parser.add_argument("--out", type=Path, default=Path("lie_algebra.json"))
    options = parser.parse_args()
    rows: list[dict[str, Any]] = []
    print("| family | wires | dimension | torchbp, s | PennyLane, s |")
    print("| --- | ---: | ---: | ---: | ---: |")
    for family, (make, sizes) in FAMILIES.items():
        patient = True
        for n in sizes[:3] if options.quick else sizes:
            circuit, terms = make(n)
            dimension, ours = timed(lambda circuit=circuit: lie_algebra(circuit).dimension)  # type: ignore[misc]
            peer = None
            if patient:
                found, peer = timed(lambda terms=terms: theirs(terms))  # type: ignore[misc]
                assert found == dimension
                patient = peer < options.patience / 4  # the next size takes many times as long
            rows.append({"family": family, "wires": n, "dimension": dimension, "torchbp": ours, "pennylane": peer})
            print(
                f"| {family} | {n} | {dimension:,} | {ours:.3f} | {'' if peer is None else f'{peer:.3f}'} |", flush=True
            )
    report = {
        "date": date.today().isoformat(),
        "machine": platform.machine(),
        "pennylane": qml.__version__,
        "rows": rows,
    }
    options.out.write_text(json.dumps(report, indent=1) + "\n")


if __name__ == "__main__":
    main()
