"""Where would classical shadows save shots over groups of commuting observables?

Random-Pauli shadows (Huang 2020, 2002.08953) measure every shot in a random basis: a string of weight k is seen in one
shot of 3^k, whatever else is asked. Groups measure each string always, but share the shots between G settings. For
states of a random circuit both variances are computed exactly, at the same total number of shots, and the first is also
sampled as a check of the formula. Above 1 groups need fewer shots, by this factor.

    OMP_NUM_THREADS=1 python benchmarks/shadows.py [--states 5] [--out shadows.json]
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from itertools import combinations, product
from pathlib import Path

import numpy as np
import torch

from torchbp import PauliSum, QuantumLayer
from torchbp.circuits import h2, hardware_efficient, heisenberg, local_z, tfim
from torchbp.circuits.grouping import group_qubit_wise
from torchbp.circuits.observables import PauliString


def every_string(n_wires: int, weight: int) -> list[PauliSum]:
    """Each Pauli string of this weight as an observable of its own: all correlations of so many wires."""
    return [
        PauliSum(" ".join(f"{letter}{wire}" for letter, wire in zip(letters, wires, strict=True)))
        for wires in combinations(range(n_wires), weight)
        for letters in product("XYZ", repeat=weight)
    ]


CASES = {
    "Z on each of 8 wires": (8, local_z(8)),
    "TFIM, 8 wires": (8, [tfim(8)]),
    "Heisenberg, 8 wires": (8, [heisenberg(8)]),
    "H2, 4 wires": (4, [h2()]),
    "all 1-wire strings, 8 wires": (8, every_string(8, 1)),
    "all 2-wire strings, 6 wires": (6, every_string(6, 2)),
    "all 2-wire strings, 10 wires": (10, every_string(10, 2)),
    "all 3-wire strings, 6 wires": (6, every_string(6, 3)),
    "all 3-wire strings, 8 wires": (8, every_string(8, 3)),
}


class State:
    """Expectation values of Pauli strings in one state, each computed once."""

    def __init__(self, n_wires: int, seed: int) -> None:
        self.n_wires = n_wires
        circuit = hardware_efficient(n_wires, depth=4)
        layer = QuantumLayer(circuit, init="uniform", generator=torch.Generator().manual_seed(seed)).double()
        self.psi = layer.states()[0].detach().numpy()
        self.known: dict[PauliString, float] = {(): 1.0}

    def mean(self, string: PauliString) -> float:
        if string not in self.known:
            psi, index = self.psi, np.arange(len(self.psi))
            flip = sum(1 << (self.n_wires - 1 - w) for w, p in string if p != "Z")
            phase = np.ones(len(psi), dtype=complex)
            for wire, letter in string:
                bit = (index >> (self.n_wires - 1 - wire)) & 1
                phase *= {"X": 1.0, "Y": 1j * (1 - 2 * bit), "Z": 1 - 2 * bit}[letter]
            self.known[string] = float((psi[index ^ flip].conj() * phase * psi).sum().real)
        return self.known[string]


def shadow_variance(state: State, observable: PauliSum) -> float:
    """Of one shot: sum_kl c_k c_l 3^(wires that both act on) <P_k P_l> over compatible pairs, less <O>^2 (eq. S50)."""
    second = 0.0
    for string, c in observable.terms:
        for other, d in observable.terms:
            one, two = dict(string), dict(other)
            shared = one.keys() & two.keys()
            if all(one[w] == two[w] for w in shared):
                rest = tuple(sorted((w, p) for w, p in (one | two).items() if w not in shared))
                second += c * d * 3 ** len(shared) * state.mean(rest)
    return second - sum(c * state.mean(string) for string, c in observable.terms) ** 2


def grouped_variances(state: State, observables: Sequence[PauliSum]) -> tuple[np.ndarray, int]:
    """(M,) times all shots: with shots shared evenly between G groups, G times the sum of the groups' variances."""
    grouping = group_qubit_wise(observables)
    total = np.zeros(len(observables))
    for group, coefficients in zip(grouping.groups, grouping.coefficients, strict=True):
        means = np.array([state.mean(s) for s in group.strings])
        products = np.array(
            [[state.mean(tuple(sorted(set(s) ^ set(t)))) for t in group.strings] for s in group.strings]
        )
        total += np.einsum("mt,tu,mu->m", coefficients, products - np.outer(means, means), coefficients)
    return total * len(grouping.groups), len(grouping.groups)


def sampled_shadow_variance(state: State, observable: PauliSum, shots: int, rng: np.random.Generator) -> float:
    """The same by drawing bases and outcomes."""
    n, values = state.n_wires, np.zeros(shots)
    bases = rng.integers(3, size=(shots, n))
    for basis in np.unique(bases, axis=0):
        rows = np.flatnonzero((bases == basis).all(1))
        psi = state.psi.reshape([2] * n)
        for wire, letter in enumerate(basis):
            change = np.array([[1, 1], [1, -1]]) if letter == 0 else np.array([[1, -1j], [1, 1j]])
            if letter < 2:
                psi = np.moveaxis(np.tensordot(psi, change / 2**0.5, axes=([wire], [1])), -1, wire)
        p = np.abs(psi.reshape(-1)) ** 2
        outcomes = rng.choice(len(p), size=len(rows), p=p / p.sum())
        signs = 1 - 2 * ((outcomes[:, None] >> np.arange(n - 1, -1, -1)) & 1)
        for string, c in observable.terms:
            if all("XYZ"[basis[w]] == letter for w, letter in string):
                values[rows] += c * 3 ** len(string) * signs[:, [w for w, _ in string]].prod(1)
    return float(values.var(ddof=1))


def main(states: int, out: Path | None) -> dict[str, dict[str, float]]:
    rng = np.random.default_rng(0)
    check = State(4, seed=0)
    exact, sampled = shadow_variance(check, h2()), sampled_shadow_variance(check, h2(), 40_000, rng)
    print(f"Variance of a shadow of H2: {exact:.4f} by the formula, {sampled:.4f} from 40,000 shots\n")
    rows = {}
    print("| observables | strings | groups | shadows : groups | of the worst observable |")
    print("| --- | ---: | ---: | ---: | ---: |")
    for name, (n_wires, observables) in CASES.items():
        mean, worst, groups = [], [], 0
        for seed in range(states):
            state = State(n_wires, seed)
            shadows = np.array([shadow_variance(state, o) for o in observables])
            grouped, groups = grouped_variances(state, observables)
            mean.append(shadows.mean() / grouped.mean())
            worst.append(shadows.max() / grouped.max())
        strings = len({s for o in observables for s, _ in o.terms if s})
        rows[name] = {
            "strings": strings,
            "groups": groups,
            "ratio": float(np.mean(mean)),
            "worst": float(np.mean(worst)),
        }
        print(f"| {name} | {strings} | {groups} | {np.mean(mean):.2f} | {np.mean(worst):.2f} |")
    if out is not None:
        out.write_text(json.dumps(rows, indent=1) + "\n")
    return rows


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--states", type=int, default=5)
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    main(arguments.states, arguments.out)
