"""Molecular Hamiltonians small enough to write down."""

from __future__ import annotations

from torchbp.arguments import checked
from torchbp.circuits.observables import PauliSum


@checked()
def h2() -> PauliSum:
    """Electronic Hamiltonian of the hydrogen molecule at 0.7414 Å, on 4 wires, in hartree.

    STO-3G basis, Jordan-Wigner; nuclear repulsion is included. Wires 0 and 1 are the bonding orbital with
    spin up and down, wires 2 and 3 the antibonding one: |1100> is the Hartree-Fock state, with energy
    -1.1167, and the ground state has energy -1.1373 (exact in this basis, not that of the real molecule).

    Source: the coefficients are PennyLane 0.45's `qchem.molecular_hamiltonian(["H", "H"], ...)` in full
    precision.
    """
    repulsion = {"I": -0.0988639781020717}
    single = {
        "Z0": 0.1711977493030587,
        "Z1": 0.1711977493030587,
        "Z2": -0.22278592595686864,
        "Z3": -0.22278592595686864,
    }
    double = {
        "Z0 Z1": 0.16862219193616101,
        "Z0 Z2": 0.12054482194396572,
        "Z0 Z3": 0.16586702385294505,
        "Z1 Z2": 0.16586702385294505,
        "Z1 Z3": 0.12054482194396572,
        "Z2 Z3": 0.17434844106017833,
    }
    exchange = 0.04532220190897932
    hop = {
        "Y0 X1 X2 Y3": exchange,
        "X0 Y1 Y2 X3": exchange,
        "Y0 Y1 X2 X3": -exchange,
        "X0 X1 Y2 Y3": -exchange,
    }
    return PauliSum(repulsion | single | double | hop)
