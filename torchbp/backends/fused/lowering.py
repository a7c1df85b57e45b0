"""From a circuit to the gates that the engine knows: fixed unitaries, shared rotations, diagonal phases.

An angle is *shared* if one number serves the whole batch (a weight), and *per sample* otherwise (a feature, or a
weight given for each sample). A shared rotation is a matrix of its own. One matrix for each sample would be slow,
so a per-sample rotation exp(-i t G) is written as V exp(-i t D) V^dagger with D diagonal: two fixed gates, which
merge with their neighbours, and one multiplication by phases.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from functools import cached_property, lru_cache

import numpy as np

from torchbp.circuits.circuit import Circuit
from torchbp.circuits.operations import I2, Matrix, Rotation, gate, kron

_H, _S = gate("h").matrix(), gate("s").matrix()
# Columns are the eigenvectors of Z, X and Y, for the eigenvalues +1 and -1.
_EIGENBASES = (I2, _H, _S @ _H)

Change = tuple[tuple[int, ...], Matrix]  # a change of basis and the wires, of a gate's own, it acts on


@dataclass(frozen=True)
class Angle:
    """scale * source[column] + offset; the source is the weights if `shared`, else the sample's own numbers."""

    column: int
    scale: float
    offset: float
    shared: bool


@dataclass(frozen=True, eq=False)
class Op:
    """A gate of the engine: a fixed `matrix`, or a `rotation` by `angle`, which is diagonal unless shared."""

    wires: tuple[int, ...]
    matrix: Matrix | None = None
    rotation: Rotation | None = None
    angle: Angle | None = None

    @property
    def per_sample(self) -> bool:
        return self.angle is not None and not self.angle.shared

    @cached_property
    def diagonal(self) -> bool:
        matrix = self.matrix if self.rotation is None else self.rotation.generator
        return matrix is not None and _is_diagonal(matrix)

    @cached_property
    def permutation(self) -> np.ndarray | None:
        """Where each basis state goes, if the gate only permutes them."""
        if self.matrix is None or not np.isclose(self.matrix, 1, atol=1e-12).any(axis=0).all():
            return None
        return np.isclose(self.matrix, 1, atol=1e-12).argmax(axis=0)


def lower(circuit: Circuit, products: dict[tuple[int, ...], int], first_weight: int | None) -> list[Op]:
    """The circuit's gates as `Op`s.

    Args:
        products: the per-sample column of each product of features.
        first_weight: None if the weights are shared; else the per-sample column of the first of them.
    """
    ops: list[Op] = []
    for step in circuit.elementary:
        if step.angle is None:
            ops.append(Op(step.wires, matrix=step.matrix))
            continue
        rotation, parameter = step.gate.rotation(len(step.wires)), step.angle
        if parameter.kind == "constant":
            ops.append(Op(step.wires, matrix=rotation.matrix(parameter.offset)))
        elif parameter.kind == "weight" and first_weight is None:
            angle = Angle(parameter.indices[0], parameter.scale, parameter.offset, shared=True)
            ops.append(Op(step.wires, rotation=rotation, angle=angle))
        else:
            first = 0 if first_weight is None else first_weight
            column = products[parameter.indices] if parameter.kind == "feature" else first + parameter.indices[0]
            angle = Angle(column, parameter.scale, parameter.offset, shared=False)
            changes, diagonal = _diagonalize(rotation)
            on = [(tuple(step.wires[i] for i in local), matrix) for local, matrix in changes]
            ops += [Op(wires, matrix=matrix.conj().T) for wires, matrix in on]
            ops.append(Op(step.wires, rotation=diagonal, angle=angle))
            ops += [Op(wires, matrix=matrix) for wires, matrix in on]
    return ops


def z_strings(diagonal: np.ndarray, wires: tuple[int, ...]) -> dict[frozenset[int], float]:
    """A real diagonal as sum of c_S * (product of Z over S), by the Walsh-Hadamard transform."""
    k = len(wires)
    c = np.asarray(diagonal, dtype=float).reshape((2,) * k)
    for axis in range(k):
        zero, one = np.moveaxis(c, axis, 0)
        c = np.stack([zero + one, zero - one], axis=axis) / 2
    found = {frozenset(itertools.compress(wires, bits)): c[bits] for bits in itertools.product((0, 1), repeat=k)}
    return {string: float(value) for string, value in found.items() if abs(value) > 1e-14}


@lru_cache(maxsize=256)
def _diagonalize(rotation: Rotation) -> tuple[list[Change], Rotation]:
    """Basis changes (local wires, V) and the diagonal rotation between them.

    A product of one-wire bases is tried first, because one-wire gates fuse better.
    """
    generator = rotation.generator
    k = int(np.log2(len(generator)))
    if _is_diagonal(generator):
        return [], rotation
    for bases in itertools.product(_EIGENBASES, repeat=k) if k <= 4 else ():
        change = kron(*bases)
        turned = change.conj().T @ generator @ change
        if _is_diagonal(turned):
            changes = [((i,), basis) for i, basis in enumerate(bases) if basis is not I2]
            return list[Change](changes), Rotation.of(np.diag(np.diag(turned).real))
    values, change = np.linalg.eigh(generator)
    return [(tuple(range(k)), change)], Rotation.of(np.diag(values))


def _is_diagonal(matrix: Matrix) -> bool:
    return bool(np.abs(matrix - np.diag(np.diag(matrix))).max() < 1e-12)
