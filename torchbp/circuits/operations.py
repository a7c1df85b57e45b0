"""The gate table: every gate torchbp knows, as data.

A gate is one of three kinds, and the kind is all that a backend has to know:

* fixed: a unitary matrix;
* rotation: one angle t and a Hermitian generator G, U(t) = exp(-i t G);
* composite: several angles, defined as a product of gates of the other two kinds.

Every generator in the table satisfies G^3 = s^2 G (its eigenvalues are 0 and +-s), hence

    U(t) = (1 - Q) + cos(s t) Q - i sin(s t) G / s,    Q = G^2 / s^2,

a trigonometric polynomial of one frequency in t, from which the matrices, the derivatives and the
parameter-shift rule of every gate follow. Wire 0 is the most significant bit of a matrix index.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import reduce

import numpy as np

from torchbp.arguments import checked
from torchbp.arguments.kinds import anything
from torchbp.errors import CircuitError, UnknownNameError

Matrix = np.ndarray

I2 = np.eye(2, dtype=complex)
X = np.array([[0, 1], [1, 0]], dtype=complex)
Y = np.array([[0, -1j], [1j, 0]])
Z = np.diag([1, -1]).astype(complex)
PAULIS = {"I": I2, "X": X, "Y": Y, "Z": Z}


def kron(*factors: Matrix) -> Matrix:
    """Tensor product; the first factor acts on the most significant wire."""
    return reduce(np.kron, factors)


def controlled(matrix: Matrix, controls: int = 1) -> Matrix:
    """`matrix` on the last wires if all `controls` wires before them are 1."""
    size = matrix.shape[0]
    out = np.eye(size << controls, dtype=complex)
    out[-size:, -size:] = matrix
    return out


def _block(generator: Matrix, rows: Sequence[int], size: int = 4) -> Matrix:
    """`generator` on the basis states `rows`, zero elsewhere."""
    out = np.zeros((size, size), dtype=complex)
    out[np.ix_(rows, rows)] = generator
    return out


@dataclass(frozen=True, eq=False)
class Rotation:
    """The trigonometric form of U(t) = exp(-i t G): constant + cos(s t) * cosine + sin(s t) * sine.

    `frequency` is s, `levels` are the distinct eigenvalues of G.
    """

    generator: Matrix
    frequency: float
    constant: Matrix
    cosine: Matrix
    sine: Matrix
    levels: tuple[float, ...]

    @classmethod
    def of(cls, generator: Matrix) -> Rotation:
        levels = np.unique(np.linalg.eigvalsh(generator).round(12))
        frequency = float(np.abs(levels).max())
        projector = generator @ generator / frequency**2
        if not np.allclose(projector @ generator, generator):
            raise CircuitError(
                f"A generator must have eigenvalues 0 and +-s only, got {levels.tolist()}: "
                "write the gate as a product of gates that do."
            )
        constant = np.eye(len(generator)) - projector
        return cls(generator, frequency, constant, projector, -1j * generator / frequency, tuple(levels))

    def matrix(self, angle: float) -> Matrix:
        """U(angle), shape (2^k, 2^k)."""
        phase = self.frequency * angle
        return self.constant + np.cos(phase) * self.cosine + np.sin(phase) * self.sine

    @property
    def two_term(self) -> bool:
        """Whether two evaluations give the derivative: they do where the spectrum of G has a single gap."""
        return len(self.levels) == 2

    @property
    def shift_rule(self) -> tuple[tuple[float, float], ...]:
        """(coefficient c, shift d) pairs with d<O>/dt = sum c <O>(t + d), exact for every state and observable.

        Two terms for a single gap (Schuld 2019, 1811.11184, eq. 9), else four (Anselmetti 2021, 2104.05695, eq. 12).
        """
        if self.two_term:
            gap = self.levels[1] - self.levels[0]
            return (gap / 2, np.pi / (2 * gap)), (-gap / 2, -np.pi / (2 * gap))
        scale = 2 * self.frequency
        near, far = (np.sqrt(2) + 1) / (4 * np.sqrt(2)) * scale, (np.sqrt(2) - 1) / (4 * np.sqrt(2)) * scale
        d = np.pi / (2 * scale)
        return (near, d), (-near, -d), (-far, 3 * d), (far, -3 * d)


# A factor of a composite gate: gate name, local wires, and the angle as (constant, coefficients of the gate's angles).
Factor = tuple[str, tuple[int, ...], float, tuple[float, ...]]


@dataclass(frozen=True, eq=False)
class Gate:
    """One row of the gate table.

    Exactly one of `fixed`, `generator` and `factors` is set. `n_wires` is None where any number will do;
    `fixed` and `generator` then take that number. `factors` are in circuit order (first applied first).
    """

    name: str
    n_wires: int | None
    n_params: int = 0
    aliases: tuple[str, ...] = ()
    fixed: Callable[[int], Matrix] | None = None
    generator: Callable[[int], Matrix] | None = None
    factors: tuple[Factor, ...] | None = None
    _cache: dict[int, object] = field(default_factory=dict, repr=False)

    def rotation(self, n_wires: int) -> Rotation:
        """The trigonometric form of a rotation gate on `n_wires` wires."""
        if n_wires not in self._cache:
            assert self.generator is not None
            self._cache[n_wires] = Rotation.of(self.generator(n_wires))
        return self._cache[n_wires]  # type: ignore[return-value]

    def matrix(self, *angles: float, n_wires: int | None = None) -> Matrix:
        """The gate's unitary at `angles` (radians), shape (2^k, 2^k), complex128."""
        k = self.n_wires or n_wires
        if k is None:
            raise CircuitError(f"Gate {self.name!r} acts on any number of wires: say n_wires=.")
        if len(angles) != self.n_params:
            raise CircuitError(f"Gate {self.name!r} takes {self.n_params} angles, got {len(angles)}.")
        if self.fixed is not None:
            return self.fixed(k)
        if self.generator is not None:
            return self.rotation(k).matrix(angles[0])
        assert self.factors is not None
        out = np.eye(2**k, dtype=complex)
        for name, wires, constant, coefficients in self.factors:
            angle = constant + float(np.dot(coefficients, angles))
            gate = GATES[name]
            out = embed(gate.matrix(*[angle] * gate.n_params), wires, k) @ out
        return out


def embed(matrix: Matrix, wires: Sequence[int], n_wires: int) -> Matrix:
    """The (2^n, 2^n) matrix of `matrix` acting on `wires` of an n-wire register."""
    k, rest = len(wires), [w for w in range(n_wires) if w not in wires]
    full = np.kron(matrix, np.eye(2 ** (n_wires - k))).reshape((2,) * (2 * n_wires))
    order = np.argsort([*wires, *rest])
    return full.transpose([*order, *(order + n_wires)]).reshape(2**n_wires, 2**n_wires)


def _qft(n_wires: int) -> Matrix:
    size = 2**n_wires
    return np.exp(2j * np.pi * np.outer(range(size), range(size)) / size) / np.sqrt(size)


def _x_on_zeros(n_wires: int) -> Matrix:
    out = np.eye(2**n_wires, dtype=complex)
    out[:2, :2] = X
    return out


def _relative_phase_c3x() -> Matrix:
    """The relative-phase triple-controlled X of Maslov 2016 (1508.03273), figure 4."""
    out = np.eye(16, dtype=complex)
    out[12:14, 12:14] = np.diag([1j, -1j])
    out[14:16, 14:16] = [[0, 1], [-1, 0]]
    return out


_PHASE = np.diag([0, -1]).astype(complex)  # exp(-i t G) = diag(1, e^{it})
_SX = np.array([[1 + 1j, 1 - 1j], [1 - 1j, 1 + 1j]]) / 2
_H = np.array([[1, 1], [1, -1]], dtype=complex) / np.sqrt(2)
_SWAP = np.eye(4, dtype=complex)[[0, 2, 1, 3]]
_DCX = np.eye(4, dtype=complex)[[0, 2, 3, 1]]
_SSWAP = np.eye(4, dtype=complex)
_SSWAP[1:3, 1:3] = _SX
_RCCX = np.eye(8, dtype=complex)
_RCCX[5, 5], _RCCX[6:8, 6:8] = -1, Y


def _fixed(name: str, matrix: Matrix, *aliases: str) -> Gate:
    return Gate(name, int(np.log2(len(matrix))), aliases=aliases, fixed=lambda _: matrix)


def _rotation(name: str, generator: Matrix, *aliases: str) -> Gate:
    return Gate(name, int(np.log2(len(generator))), 1, aliases, generator=lambda _: generator)


def _composite(name: str, n_wires: int, n_params: int, *factors: Factor, aliases: tuple[str, ...] = ()) -> Gate:
    return Gate(name, n_wires, n_params, aliases, factors=factors)


_ALL_GATES = (
    _fixed("i", I2),
    _fixed("x", X, "paulix"),
    _fixed("y", Y, "pauliy"),
    _fixed("z", Z, "pauliz"),
    _fixed("h", _H, "hadamard"),
    _fixed("sh", Rotation.of(Y / 2).matrix(np.pi / 4), "shadamard"),
    _fixed("s", np.diag([1, 1j])),
    _fixed("sdg", np.diag([1, -1j])),
    _fixed("t", np.diag([1, np.exp(0.25j * np.pi)])),
    _fixed("tdg", np.diag([1, np.exp(-0.25j * np.pi)])),
    _fixed("sx", _SX),
    _fixed("sxdg", _SX.conj().T),
    _fixed("cnot", controlled(X), "cx"),
    _fixed("cy", controlled(Y)),
    _fixed("cz", controlled(Z)),
    _fixed("ch", controlled(_H), "chadamard"),
    _fixed("cs", controlled(np.diag([1, 1j]))),
    _fixed("csdg", controlled(np.diag([1, -1j]))),
    _fixed("csx", controlled(_SX)),
    _fixed("swap", _SWAP),
    _fixed("sswap", _SSWAP),
    _fixed("iswap", _block(1j * X, (1, 2)) + np.diag([1, 0, 0, 1])),
    _fixed("dcx", _DCX),
    _fixed("ecr", (kron(X, I2) - kron(Y, X)) / np.sqrt(2), "echoedcrossresonance"),
    _fixed("toffoli", controlled(X, 2), "ccx", "ccnot"),
    _fixed("ccz", controlled(Z, 2)),
    _fixed("cswap", controlled(_SWAP)),
    _fixed("rccx", _RCCX),
    _fixed("c3x", controlled(X, 3)),
    _fixed("rc3x", _relative_phase_c3x()),
    _fixed("c3sx", controlled(_SX, 3)),
    _fixed("c4x", controlled(X, 4)),
    Gate("multicnot", None, fixed=lambda k: controlled(X, k - 1)),
    Gate("multixcnot", None, fixed=_x_on_zeros),
    Gate("qft", None, fixed=_qft),
    _rotation("rx", X / 2),
    _rotation("ry", Y / 2),
    _rotation("rz", Z / 2),
    _rotation("p", _PHASE, "phaseshift", "u1"),
    _rotation("rxx", kron(X, X) / 2, "xx"),
    _rotation("ryy", kron(Y, Y) / 2, "yy"),
    _rotation("rzz", kron(Z, Z) / 2, "zz"),
    _rotation("rzx", kron(Z, X) / 2, "zx"),
    _rotation("crx", _block(X / 2, (2, 3))),
    _rotation("cry", _block(Y / 2, (2, 3))),
    _rotation("crz", _block(Z / 2, (2, 3))),
    _rotation("cp", _block(_PHASE, (2, 3)), "cu1", "cphase", "cr"),
    _rotation("xy", _block(X / 2, (1, 2))),
    _rotation("xyminus", _block(X / 2, (0, 3))),
    _rotation("singleexcitation", _block(Y / 2, (1, 2))),
    Gate("multirz", None, 1, generator=lambda k: kron(*[Z] * k) / 2),
    _composite("r", 1, 2, ("rz", (0,), 0, (0, -1)), ("rx", (0,), 0, (1, 0)), ("rz", (0,), 0, (0, 1))),
    _composite("rot", 1, 3, ("rz", (0,), 0, (1, 0, 0)), ("ry", (0,), 0, (0, 1, 0)), ("rz", (0,), 0, (0, 0, 1))),
    _composite(
        "crot",
        2,
        3,
        ("crz", (0, 1), 0, (1, 0, 0)),
        ("cry", (0, 1), 0, (0, 1, 0)),
        ("crz", (0, 1), 0, (0, 0, 1)),
    ),
    _composite("u2", 1, 2, ("p", (0,), 0, (0, 1)), ("ry", (0,), np.pi / 2, (0, 0)), ("p", (0,), 0, (1, 0))),
    _composite("cu2", 2, 2, ("cp", (0, 1), 0, (0, 1)), ("cry", (0, 1), np.pi / 2, (0, 0)), ("cp", (0, 1), 0, (1, 0))),
    _composite(
        "u3",
        1,
        3,
        ("p", (0,), 0, (0, 0, 1)),
        ("ry", (0,), 0, (1, 0, 0)),
        ("p", (0,), 0, (0, 1, 0)),
        aliases=("u",),
    ),
    _composite("cu3", 2, 3, ("cp", (0, 1), 0, (0, 0, 1)), ("cry", (0, 1), 0, (1, 0, 0)), ("cp", (0, 1), 0, (0, 1, 0))),
    _composite(
        "cu",
        2,
        4,
        ("p", (0,), 0, (0, 0, 0, 1)),
        ("cp", (0, 1), 0, (0, 0, 1, 0)),
        ("cry", (0, 1), 0, (1, 0, 0, 0)),
        ("cp", (0, 1), 0, (0, 1, 0, 0)),
    ),
    _composite("xxplusyy", 2, 2, ("p", (1,), 0, (0, -1)), ("xy", (0, 1), 0, (1, 0)), ("p", (1,), 0, (0, 1))),
    _composite("xxminyy", 2, 2, ("p", (1,), 0, (0, -1)), ("xyminus", (0, 1), 0, (1, 0)), ("p", (1,), 0, (0, 1))),
)

GATES: dict[str, Gate] = {gate.name: gate for gate in _ALL_GATES}
_BY_ANY_NAME = {name: gate for gate in _ALL_GATES for name in (gate.name, *gate.aliases)}


@checked(name=anything)
def gate(name: str) -> Gate:
    """The row of the gate table called `name`, which may be an alias ("cx", "hadamard", ...).

    Raises:
        UnknownNameError: no such gate; lists the known ones.
    """
    if not isinstance(name, str) or name.lower() not in _BY_ANY_NAME:
        raise UnknownNameError("gate", name, _BY_ANY_NAME)
    return _BY_ANY_NAME[name.lower()]
