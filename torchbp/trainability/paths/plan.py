"""What paths of Pauli strings walk on: the circuit as steps on letters, and the strings to start from.

The cost is C = sum_k o_k <P_k>. Going backwards, a rotation by t about G leaves a string that commutes with G, and
makes cos(t) P + sin(t) iGP of one that does not. With t independent of all else and symmetric around zero,

    E[C^2] = sum_kl o_k o_l E[pair of paths from P_k and P_l],

where a pair keeps its product R = P Q: at a gate that R commutes with both members turn together, with probability
E[sin^2 t], or stay, with E[cos^2 t]; at one that R anticommutes with neither turns and the pair counts E[cos t] times
less. The pair counts at the end if both are diagonal. E[C]^2 is the same walk with E[cos t]^2 for every stay, so that
the variance is what is left: paths that turn count in full, others 1 - prod E[cos t]^2 / E[cos^2 t]. Nothing is
subtracted from a large number.

For a derivative by the angle of one gate, cos and sin change places there and the gate must anticommute: the same
paths, each gate weighed by E[sin^2]/E[cos^2] where the path stays and by the inverse where it turns.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from torchbp.backends.noise import NoiseModel
from torchbp.circuits import Circuit, PauliSum
from torchbp.circuits.initializers import Initializer
from torchbp.circuits.pauli.steps import Clifford, Rotation, Step, Table, pauli_rotation, pauli_steps
from torchbp.circuits.pauli.words import Frame, anticommute, letters, multiply, on_wires, split, swap, word_of
from torchbp.errors import CapacityError, PreconditionError
from torchbp.trainability.paths.starts import MeanCosine, box, mean_cosine

_ROUNDING = 1e-9
_ENTRIES = 2**26
"""Strings times rotations whose relations are tabulated at once."""
_PAIRS = 2**16


@dataclass(frozen=True, eq=False)
class Turn:
    """A random rotation about the letters of `word`, on k `wires`.

    Attributes:
        mean, square: E[cos t] and E[cos^2 t].
        weight: that it belongs to, or None for a feature.
        slope: d(angle)/d(weight).
    """

    wires: tuple[int, ...]
    word: int
    mean: float
    square: float
    weight: int | None
    slope: float


@dataclass(frozen=True, eq=False)
class Damping:
    """Pauli noise: the squared factor of each local string, (4^k,)."""

    wires: tuple[int, ...]
    factors: np.ndarray


PathStep = Clifford | Turn | Damping


@dataclass(frozen=True, eq=False)
class PathPlan:
    """Steps in the order in which paths meet them, from the observable to |0...0>, and where they start.

    Attributes:
        n_wires, n_weights: of the circuit.
        steps: only those that any path can meet.
        starts: words of strings.
        values: what each start is multiplied by: o_k^2, or 2 o_k o_l with all means and signs for a pair.
        held: (starts, turns) where a pair's product anticommutes with the turn, so that it may not turn; None: nowhere.
    """

    n_wires: int
    n_weights: int
    steps: tuple[PathStep, ...]
    starts: tuple[int, ...]
    values: np.ndarray
    held: np.ndarray | None


def plan_paths(
    circuit: Circuit,
    observables: Sequence[PauliSum],
    init: str | Initializer = "uniform",
    *,
    features: Sequence[float] | None = None,
    noise: NoiseModel | None = None,
) -> PathPlan:
    """Paths for the sum of the observables.

    Args:
        circuit: every weight in the observables' light cone turns one gate, about one Pauli string.
        init: where weights are drawn from, see `mean_cosine`.
        features: values of the features, multiples of a quarter turn. None: each is drawn from U(-pi, pi), too.
        noise: Pauli noise and symmetric readout errors.

    Raises:
        PreconditionError: a gate or a start that paths do not reach; says which, and what to do.
        CapacityError: a fixed gate on more than five wires, or too many strings.
    """
    n = circuit.n_wires
    spread = mean_cosine(init, circuit)
    channels = None if noise is None else lambda op: ((c.wires, c.kraus) for c in noise.channels(op))
    strings = _measured(observables, n, noise)
    live = _live(pauli_steps(circuit, channels), {w for word in strings for w, _, _ in letters(word, n)})
    steps: list[PathStep] = []
    used: dict[tuple[str, tuple[int, ...]], Rotation] = {}
    for step in live:
        if isinstance(step, Clifford):
            steps.append(step)
        elif isinstance(step, Table):
            steps.append(_damping(step))
        else:
            steps += _turn(step, spread, features, used, circuit)
    starts, values, held = _starts(strings, n, steps)
    return PathPlan(n, circuit.n_weights, tuple(steps[::-1]), starts, values, held)


def _measured(observables: Iterable[PauliSum], n: int, noise: NoiseModel | None) -> dict[int, float]:
    found: dict[int, float] = {}
    for observable in observables:
        for string, coefficient in observable.terms:
            factor = 1.0
            for wire, _ in string if noise is not None and not noise.reads_perfectly else ():
                (_, one), (zero, _) = noise.confusion(wire)  # type: ignore[union-attr]
                if one != zero:
                    raise PreconditionError(
                        f"Pauli paths take readout errors that are the same for 0 and 1; wire {wire} has {one:g} and "
                        f'{zero:g}: give their mean, or method="simulate".'
                    )
                factor *= 1 - one - zero
            if string:
                word = word_of(string, n)
                found[word] = found.get(word, 0.0) + coefficient * factor
    return {word: value for word, value in found.items() if value}


def _live(steps: Sequence[Step], wires: set[int]) -> list[Step]:
    """Those in the light cone, in the order of the circuit."""
    found = []
    for step in reversed(steps):
        if wires.intersection(step.wires):
            wires.update(step.wires)
            found.append(step)
    return found[::-1]


def _damping(step: Table) -> Damping:
    if not step.diagonal:
        raise PreconditionError(
            "Pauli paths take Clifford gates, rotations and Pauli noise; the gate or channel on wires "
            f"{list(step.wires)} is "
            'none of these (T gates, Toffolis and amplitude damping are not): method="simulate" takes all, on up to '
            "about "
            "20 wires."
        )
    return Damping(step.wires, np.diag(step.table) ** 2)


def _turn(
    step: Rotation,
    spread: MeanCosine,
    features: Sequence[float] | None,
    used: dict[tuple[str, tuple[int, ...]], Rotation],
    circuit: Circuit,
) -> list[PathStep]:
    angle = step.angle
    name = f"{circuit.elementary[step.place].gate.name} on wires {list(step.wires)}"
    if angle.kind == "feature" and features is not None:
        value = angle.scale * float(np.prod([features[i] for i in angle.indices])) + angle.offset
        return _quarter(step, value, f"The feature of {name}")
    if angle.kind == "constant":
        return _quarter(step, angle.offset, f"The constant angle of {name}")
    source = (angle.kind, angle.indices)
    if step.parts > 1 or len(angle.indices) > 1:
        what = "turns about several strings at once" if step.parts > 1 else "is a product of features"
        raise PreconditionError(
            f"Pauli paths need a gate of its own about one Pauli string for each angle; that of {name} {what}: write "
            "it "
            'with rx, ry, rz, rxx, ryy, rzz or rzx, or take method="simulate" on up to about 20 wires.'
        )
    if source in used:
        raise PreconditionError(
            f"Pauli paths need independent angles, but {angle.kind} {angle.indices[0]} turns several gates, {name} "
            "among "
            'them: give each gate a weight of its own, or take method="simulate" on up to about 20 wires.'
        )
    used[source] = step
    draws = box(np.pi) if angle.kind == "feature" else spread
    mean, twice = draws(angle.scale), draws(2 * angle.scale)
    mean = 0.0 if abs(mean) < _ROUNDING else mean
    random = not mean and abs(twice) < _ROUNDING
    before = [] if random or not angle.offset else _quarter(step, angle.offset, f"The angle added in {name}")
    square = 0.5 if random else (1 + twice) / 2
    weight = angle.indices[0] if angle.kind == "weight" else None
    return [*before, Turn(step.wires, step.word, mean, square, weight, angle.scale)]


def _quarter(step: Rotation, angle: float, what: str) -> list[PathStep]:
    turns = angle / (np.pi / 2)
    if abs(turns - round(turns)) > 1e-6:
        raise PreconditionError(
            f"{what} is {angle:.6g}, no multiple of a quarter turn, and not random: Pauli paths take only those. "
            "Draw it too, "
            'or take method="simulate" on up to about 20 wires.'
        )
    return [pauli_rotation(step.wires, step.word, round(turns))] if round(turns) % 4 else []


def _starts(
    strings: dict[int, float], n: int, steps: Sequence[PathStep]
) -> tuple[tuple[int, ...], np.ndarray, np.ndarray | None]:
    """Strings, and pairs of strings whose paths go together, in the frame of all Clifford gates."""
    frame, turns = Frame(n), []
    for step in steps:
        if isinstance(step, Clifford):
            frame.apply(step.wires, step.images)
        elif isinstance(step, Turn):
            turns.append((frame.image(step.wires, step.word)[1], step.mean))
    words, values = list(strings), np.array(list(strings.values()))
    if len(words) == 1:
        return tuple(words), values**2, None
    framed = [_framed(frame, word) for word in words]
    odd = _relations([image for _, image in framed], [g for g, _ in turns], n)
    mean = np.array([m for _, m in turns])
    random = mean == 0
    groups: dict[tuple[int, bytes], list[int]] = {}
    for k, (_, image) in enumerate(
        framed
    ):  # a pair needs the same X bits at the end, and R to commute with what has no mean
        groups.setdefault((split(image, n)[0], odd[k, random].tobytes()), []).append(k)
    if max(map(len, groups.values())) > 1 and any(isinstance(step, Damping) for step in steps):
        raise PreconditionError(
            "Under noise Pauli paths take observables whose strings go separate ways; here a product of two commutes "
            "with "
            'every random gate, or the start has a mean: measure one string at a time, take init="uniform", or leave '
            "the noise out."
        )
    if random.all():
        merged = {m[0]: sum(_sign(framed[m[0]], framed[k], n) * values[k] for k in m) ** 2 for m in groups.values()}
        return tuple(words[k] for k in merged), np.array(list(merged.values())), None
    near = _overlaps(words, n, steps)
    pairs = [(k, j) for m in groups.values() for i, k in enumerate(m) for j in m[i + 1 :] if near[k] >> j & 1]
    if len(pairs) > _PAIRS or len(pairs) * max(1, len(turns)) > _ENTRIES:
        raise CapacityError(
            f"{len(words)} strings have {len(pairs)} pairs that may go together at this start, too many: measure "
            "fewer at once, "
            'or take init="uniform", where pairs rarely do.'
        )
    held = np.zeros((len(words) + len(pairs), len(turns)), dtype=bool)
    products = []
    for place, (k, j) in enumerate(pairs, len(words)):
        held[place] = odd[k] ^ odd[j]
        sign = _sign(framed[k], framed[j], n)
        products.append(2 * sign * values[k] * values[j] * float(np.prod(mean[held[place]])))
    starts = (*words, *(words[k] for k, _ in pairs))
    return starts, np.array([*values**2, *products]), held


def _framed(frame: Frame, word: int) -> tuple[int, int]:
    wires = [w for w, _, _ in letters(word, frame.n_wires)]
    return frame.image(wires, on_wires(word, wires, frame.n_wires))


def _sign(one: tuple[int, int], other: tuple[int, int], n: int) -> int:
    """<P><Q> of two strings once both are diagonal; 0 if they anticommute, and never are."""
    if anticommute(one[1], other[1], n):
        return 0
    _, power = multiply(one[1], other[1], n)
    return one[0] * other[0] * (1 - power)


def _relations(words: Sequence[int], turns: Sequence[int], n: int) -> np.ndarray:
    """(K, G) bool: whether a string anticommutes with a turn, in the frame."""
    if len(words) * max(1, len(turns)) > _ENTRIES:
        raise CapacityError(
            f"{len(words)} strings on {len(turns)} rotations are too many to compare: measure fewer at once, such as "
            "a single one in the middle."
        )
    one, other = _bits(words, n), _bits([swap(g, n) for g in turns], n)
    return (one @ other.T).astype(np.int64) % 2 == 1


def _bits(words: Sequence[int], n: int) -> np.ndarray:
    size = (2 * n + 7) // 8
    raw = np.frombuffer(b"".join(w.to_bytes(size, "little") for w in words), dtype=np.uint8)
    return np.unpackbits(raw.reshape(len(words), size), axis=1).astype(np.float32)


def _overlaps(words: Sequence[int], n: int, steps: Sequence[PathStep]) -> list[int]:
    """For each string the others, as bits, whose light cones share a turn with its own."""
    cones = [0] * n
    for k, word in enumerate(words):
        for wire, _, _ in letters(word, n):
            cones[wire] |= 1 << k
    shared = set()
    for step in reversed(steps):
        together = 0
        for wire in step.wires:
            together |= cones[wire]
        if isinstance(step, Turn):
            shared.add(together)
        for wire in step.wires:
            cones[wire] = together
    near = [0] * len(words)
    for together in shared:
        left = together
        while left:
            k = left.bit_length() - 1
            left ^= 1 << k
            near[k] |= together
    return near
