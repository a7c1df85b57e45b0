"""`clifford_search`: the best angles among multiples of a quarter turn, exact at any number of wires."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from torchbp.arguments import whole_number
from torchbp.circuits.circuit import Circuit
from torchbp.circuits.observables import PauliSum, as_observables
from torchbp.circuits.parameters import Parameter
from torchbp.circuits.pauli.steps import Clifford, Rotation, Table, pauli_rotation, pauli_steps
from torchbp.circuits.pauli.tables import MAX_GATE
from torchbp.circuits.pauli.words import Frame, letters, word_of
from torchbp.errors import InputError, PreconditionError

_QUARTER = math.pi / 2
_ROUNDING = 1e-6


def clifford_search(
    circuit: Circuit,
    generator: torch.Generator | None = None,
    *,
    observable: PauliSum | Iterable[PauliSum] | None = None,
    sweeps: int = 2,
    restarts: int = 4,
    features: Sequence[float] | None = None,
) -> Tensor:
    """Weights that make every gate a Clifford gate, with the lowest <O> found among such (CAFQA, 2202.12924).

    At these angles an expectation value is exact at any number of wires. The search turns all weights of a layer's
    gates of one name together by one to three quarters, then each weight alone, and keeps what is lower; it starts
    from zero and from `restarts` - 1 random settings, a tenth of the weights turned. What it does not do: find the
    best of all 4^P, or a point that is not stationary; `pretrain` goes on from there.

    Args:
        circuit: each weight turns its gates by whole multiples of one smallest angle.
        generator: source of the random settings and of the order of the weights.
        observable: O, or several whose sum it is, to make as low as possible.
        sweeps: times that every weight is visited, at most.
        restarts: settings to start from.
        features: values of the features, multiples of a quarter turn.

    Returns:
        (P,) in radians.

    Raises:
        InputError: no observable, or a number below 1.
        PreconditionError: a gate that is none of the Clifford gates at any setting; it is named.

    Example:
        >>> QuantumLayer(circuit, tfim(50), init=partial(clifford_search, observable=tfim(50)))
    """
    if observable is None:
        raise InputError("clifford_search needs what to minimize: observable=, such as tfim(n_wires).")
    sweeps, restarts = whole_number("sweeps", sweeps, 1), whole_number("restarts", restarts, 1)
    energies = CliffordEnergies(circuit, as_observables(observable, circuit.n_wires), features)
    device = generator.device if generator is not None else None
    settings = torch.randint(4, (restarts, circuit.n_weights), generator=generator, device=device)
    turned = torch.rand(restarts, circuit.n_weights, generator=generator, device=device) < 0.1
    turned[0] = False
    best = (settings * turned).cpu().numpy()
    lowest = energies(best)
    for _ in range(sweeps):
        before = lowest.copy()
        order = torch.randperm(circuit.n_weights, generator=generator, device=device).tolist()
        for weights in [*_together(circuit), *([weight] for weight in order)]:
            tried = np.stack([best] * 4, axis=1)
            tried[..., weights] += np.arange(4)[:, None]
            found = energies((tried % 4).reshape(4 * restarts, -1)).reshape(restarts, 4)
            found[:, 0] -= _ROUNDING  # stay where nothing is better
            best = tried[np.arange(restarts), found.argmin(1)] % 4
        lowest = energies(best)
        if (lowest >= before - _ROUNDING).all():
            break
    return torch.from_numpy(best[int(lowest.argmin())] * energies.units).to(torch.get_default_dtype())


def _together(circuit: Circuit) -> list[list[int]]:
    """Weights of each layer's gates of one name, where there are several."""
    groups: dict[tuple[int | None, str, int], list[int]] = {}
    for operation in circuit.operations:
        for i, parameter in enumerate(operation.parameters):
            if parameter.kind == "weight":
                same = groups.setdefault((operation.layer, operation.gate.name, i), [])
                same += [w for w in parameter.indices if w not in same]
    return [group for group in groups.values() if len(group) > 1]


@dataclass(frozen=True, eq=False)
class _Move:
    """A step for each of its settings: local strings, (S, 4^k), become others, with a sign.

    `weight` and `times` say which setting counts: times * (the weight's), modulo 4; None for a fixed gate.
    """

    wires: tuple[int, ...]
    targets: np.ndarray
    negative: np.ndarray
    weight: int | None = None
    times: int = 0


class CliffordEnergies:
    """Expectation values at quarter turns of all gates, for many settings at once.

    Args:
        circuit, observables, features: as for `clifford_search`.

    Attributes:
        units: (P,) the angle, in radians, that a setting of a weight is a multiple of.
    """

    def __init__(
        self, circuit: Circuit, observables: Sequence[PauliSum], features: Sequence[float] | None = None
    ) -> None:
        self._n = circuit.n_wires
        steps = pauli_steps(circuit)
        self.units = _units(circuit, steps)
        self._moves = [self._move(circuit, step, features) for step in reversed(steps)]
        terms = [(word_of(string, self._n), c) for o in observables for string, c in o.terms]
        self._words, self._coefficients = [w for w, _ in terms], np.array([c for _, c in terms])

    def __call__(self, settings: np.ndarray) -> np.ndarray:
        """(B,) energies at settings (B, P)."""
        count, strings = len(settings), len(self._words)
        x, z = (np.zeros((self._n, strings), dtype=bool) for _ in range(2))
        for k, word in enumerate(self._words):
            for wire, has_x, has_z in letters(word, self._n):
                x[wire, k], z[wire, k] = has_x, has_z
        x, z = np.tile(x, count), np.tile(z, count)
        negative = np.zeros(count * strings, dtype=bool)
        present = [bool(rows.any()) for rows in x | z]
        for move in self._moves:
            wires = list(move.wires)
            if not any(present[wire] for wire in wires):
                continue
            local = np.zeros(count * strings, dtype=np.intp)
            for rows in (x, z):
                for wire in wires:
                    local = local << 1 | rows[wire]
            if move.weight is not None:
                chosen = settings[:, move.weight] * move.times % 4
                local += np.repeat(chosen * move.targets.shape[1], strings)
            negative ^= move.negative.take(local)
            target = move.targets.take(local)
            k = len(wires)
            for i, wire in enumerate(wires):
                x[wire], z[wire] = target >> (2 * k - 1 - i) & 1, target >> (k - 1 - i) & 1
                present[wire] = present[wire] or bool(x[wire].any() or z[wire].any())
        values = np.where(x.any(0), 0, np.where(negative, -1, 1)).reshape(count, strings)
        return values @ self._coefficients

    def _move(self, circuit: Circuit, step: Clifford | Rotation | Table, features: Sequence[float] | None) -> _Move:
        if isinstance(step, Clifford):
            return _moves([step])
        name = "a gate" if isinstance(step, Table) else circuit.elementary[step.place].gate.name
        if isinstance(step, Table) or len(step.wires) > MAX_GATE:
            raise PreconditionError(
                f"clifford_search needs gates that quarter turns make Clifford gates, on up to {MAX_GATE} wires; "
                f"{name} on wires {list(step.wires)} is not: write it with rotations."
            )
        angle = step.angle
        offset = angle.offset if angle.kind != "feature" else _value(angle, features, name)
        turns = offset / _QUARTER
        if abs(turns - round(turns)) > _ROUNDING:
            raise PreconditionError(
                f"clifford_search needs fixed angles that are multiples of a quarter turn; {name} on wires "
                f"{list(step.wires)} has {offset:.6g}: move it into the weight, or give such features."
            )
        if angle.kind != "weight":
            return _moves([pauli_rotation(step.wires, step.word, round(turns))])
        weight = angle.indices[0]
        times = round(angle.scale * self.units[weight] / _QUARTER)
        settings = [pauli_rotation(step.wires, step.word, round(turns) + k) for k in range(4)]
        return _moves(settings, weight, times)


def _moves(settings: Sequence[Clifford], weight: int | None = None, times: int = 0) -> _Move:
    wires = settings[0].wires
    k = len(wires)
    targets, negative = np.zeros((len(settings), 4**k), dtype=np.intp), np.zeros((len(settings), 4**k), dtype=bool)
    for row, setting in enumerate(settings):
        frame = Frame(k)
        frame.apply(range(k), setting.images)
        for word in range(4**k):
            sign, targets[row, word] = frame.image(range(k), word)
            negative[row, word] = sign < 0
    return _Move(wires, targets, negative, weight, times)


def _units(circuit: Circuit, steps: Iterable[object]) -> np.ndarray:
    """(P,) the angle that makes a weight's slowest rotation a quarter turn, and its others multiples of one."""
    scales: dict[int, list[float]] = {}
    for step in steps:
        if isinstance(step, Rotation) and step.angle.kind == "weight":
            scales.setdefault(step.angle.indices[0], []).append(abs(step.angle.scale))
    units = np.full(circuit.n_weights, _QUARTER)
    for weight, found in scales.items():
        ratios = np.array(found) / min(found)
        if abs(ratios - ratios.round()).max() > _ROUNDING:
            raise PreconditionError(
                f"clifford_search needs weights whose gates turn by whole multiples of one angle; weight {weight} "
                f"turns its gates {sorted(set(found))} times: give them weights of their own."
            )
        units[weight] = _QUARTER / min(found)
    return units


def _value(angle: Parameter, features: Sequence[float] | None, name: str) -> float:
    if features is None:
        raise PreconditionError(
            f"clifford_search needs the features that {name} reads, as multiples of a quarter turn: features=[0.0, "
            "...]."
        )
    return angle.scale * math.prod(features[i] for i in angle.indices) + angle.offset
