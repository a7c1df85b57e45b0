"""Pauli paths: against closed forms, sampled simulations and exact sums over small state spaces."""

from __future__ import annotations

import math
from functools import partial

import numpy as np
import pytest
import torch
from helpers import one_rotation_per_wire

from torchbp.backends import NoiseModel
from torchbp.circuits import (
    Circuit,
    PauliSum,
    alternating_layered,
    angle_encoding,
    feature,
    global_z,
    hamiltonian_variational,
    hardware_efficient,
    initialize,
    local_z,
    strongly_entangling,
    tfim,
    weight,
)
from torchbp.circuits.initializers import gaussian, reduced_domain, small_angle
from torchbp.errors import CapacityError, InputError, PreconditionError, UnknownNameError
from torchbp.layer import QuantumLayer
from torchbp.trainability import variance_scan
from torchbp.trainability.paths import path_variances, plan_paths
from torchbp.trainability.scans.moments import of_islands


def found(circuit, observables, init="uniform", paths=20_000, seed=0, **options):
    """Var[C] and the sums of all Var[dC/dw] and E[(dC/dw)^2], each with its standard error."""
    plan = plan_paths(circuit, observables, init, **options)
    got = path_variances(plan, np.zeros(circuit.n_weights, dtype=int), 1, paths=paths, seed=seed)
    return [(v.mean(), v.std(ddof=1) / math.sqrt(len(v))) for v in (got.cost, got.sums[:, 0], got.squares[:, 0])]


def sampled(circuit, observables, init="uniform", samples=8000, noise=None, x=None):
    """The same by simulation; features are drawn from U(-pi, pi) if x is None."""
    layer = QuantumLayer(circuit, observables, noise=noise).double()
    generator = torch.Generator().manual_seed(0)
    weights = torch.stack([initialize(init, circuit, generator) for _ in range(samples)]).double().requires_grad_()
    drawn = math.pi * (2 * torch.rand(samples, circuit.n_features, generator=generator, dtype=torch.float64) - 1)
    inputs = drawn if x is None else torch.tensor([x], dtype=torch.float64).expand(samples, -1)
    costs = layer.backend.expectations(layer.circuit, layer.observables, inputs, weights).sum(1)
    gradients = torch.autograd.grad(costs.sum(), weights)[0]
    errors = []
    costs = costs.detach()[:, None]
    for values in (costs - costs.mean(0), gradients - gradients.mean(0), gradients):
        squares = values.square().sum(1)
        errors.append((float(squares.mean()), float(squares.std()) / math.sqrt(samples)))
    return errors


@pytest.mark.parametrize("n", [1, 4, 40, 1000])
def test_rotations_alone_are_exact(n: int) -> None:
    """Closed form: Z on all wires behind one RY each. Var[C] = Var[dC/dw] = 2^-n, whatever is drawn."""
    (cost, _), (slopes, _), _ = found(one_rotation_per_wire(n), [global_z(n)], paths=64)
    assert cost == pytest.approx(2.0**-n, rel=1e-9)
    assert slopes == pytest.approx(n * 2.0**-n, rel=1e-9)


SCALED = Circuit(3)
for _wire in range(3):
    SCALED.append("ry", _wire, 2 * weight() + math.pi / 2).append("rx", _wire, -weight() + 0.3)
SCALED.append("rzz", (0, 1), 0.5 * weight()).append("cnot", (1, 2)).append("iswap", (0, 2)).append("ry", 2, weight())

CASES = {
    "local": (hardware_efficient(5, 3), [PauliSum("Z3")], "uniform"),
    "sum": (hardware_efficient(5, 2), [PauliSum({"Z3": 1.0, "X0 Z1": 0.5, "Z0": 2.0, "I": 3.0})], "uniform"),
    "two observables": (strongly_entangling(4, 2), [PauliSum("Z0 Z1"), PauliSum("Y2")], "uniform"),
    "energy": (alternating_layered(6, 2), [tfim(6)], "uniform"),
    "energy, gaussian": (alternating_layered(6, 2), [tfim(6)], "gaussian"),
    "mean of Z, small angles": (hardware_efficient(5, 2), [sum(local_z(5)[1:], local_z(5)[0])], "small_angle"),
    "mean of Z, reduced": (hardware_efficient(4, 3), [sum(local_z(4)[1:], local_z(4)[0])], "reduced_domain"),
    "features": (angle_encoding(4) + hardware_efficient(4, 2), [PauliSum("Z0 Z1")], "gaussian"),
    "two-wire rotations": (SCALED, [PauliSum("Z0 Z2"), PauliSum("X1")], "uniform"),
}


@pytest.mark.parametrize("case", CASES)
def test_against_simulation(case: str) -> None:
    """Oracle: variances of 8000 simulated draws. Both have errors: 6 standard errors, a failure rate below 1e-6."""
    for (paths, one), (simulated, other) in zip(found(*CASES[case]), sampled(*CASES[case]), strict=True):
        assert abs(paths - simulated) < 6 * math.hypot(one, other)


def test_strings_that_rise_and_fall_together() -> None:
    """By hand: RYY(w) makes cos w of Z0 and of Z1. C = 2 cos w, whose variance is 2, not the sum of the strings' own,
    1."""
    circuit = Circuit(2).append("ryy", (0, 1), weight())
    (cost, _), (slope, _), _ = found(circuit, [PauliSum({"Z0": 1.0, "Z1": 1.0})])
    assert cost == pytest.approx(2.0)
    assert slope == pytest.approx(2.0)


def test_noise_and_fixed_features() -> None:
    """Oracle: sampled density matrices; features at quarter turns. 6 standard errors: failure rate below 1e-6."""
    circuit = angle_encoding(3) + hardware_efficient(3, 2, ("ry", "rz"), "line", "cz")
    noise = NoiseModel(depolarizing_1q=0.05, depolarizing_2q=0.1, phase_damping=0.1, readout=0.05)
    observables, x = [PauliSum("Z1 Z2")], [math.pi / 2, math.pi, 0.0]
    ours = found(circuit, observables, noise=noise, features=x)
    theirs = sampled(circuit, observables, samples=2000, noise=noise, x=x)
    for (paths, one), (simulated, other) in zip(ours, theirs, strict=True):
        assert abs(paths - simulated) < 6 * math.hypot(one, other)


def exact_variance(circuit: Circuit, observable: PauliSum) -> float:
    """Var[C] over uniform angles, by carrying the whole distribution over the 4^n strings."""
    plan = plan_paths(circuit, [observable])
    n = circuit.n_wires
    chances = np.zeros((4,) * n)  # letters I, Z, X, Y on each wire
    for word, value in zip(plan.starts, plan.values, strict=True):
        index = tuple(2 * (word >> (2 * n - 1 - w) & 1) + (word >> (n - 1 - w) & 1) for w in range(n))
        chances[index] += value
    for step in plan.steps:
        k = len(step.wires)
        local = np.moveaxis(chances, step.wires, range(k))
        shape = local.shape
        flat = local.reshape(4**k, -1)
        digits = [(i >> 2 * (k - 1 - j)) & 3 for i in range(4**k) for j in range(k)]
        words = [
            sum((digits[i * k + j] >> 1) << (2 * k - 1 - j) | (digits[i * k + j] & 1) << (k - 1 - j) for j in range(k))
            for i in range(4**k)
        ]
        place = {word: i for i, word in enumerate(words)}
        new = np.zeros_like(flat)
        for i, word in enumerate(words):
            if hasattr(step, "images"):
                out = 0
                for bit, (_, image) in enumerate(step.images):
                    out ^= image if word >> (2 * k - 1 - bit) & 1 else 0
                new[place[out]] += flat[i]
            else:
                x, z = word >> k, word & ((1 << k) - 1)
                gx, gz = step.word >> k, step.word & ((1 << k) - 1)
                if ((x & gz).bit_count() + (z & gx).bit_count()) % 2:
                    new[i] += flat[i] / 2
                    new[place[word ^ step.word]] += flat[i] / 2
                else:
                    new[i] += flat[i]
        chances = np.moveaxis(new.reshape(shape), range(k), step.wires)
    return float(chances[(slice(0, 2),) * n].sum())


@pytest.mark.parametrize(
    ("circuit", "observable"),
    [
        (alternating_layered(7, 2), global_z(7)),
        (hardware_efficient(6, 4, ("ry", "rz"), "line", "cz"), PauliSum("Z2")),
        (hardware_efficient(6, 10, ("ry", "rz")), PauliSum("X0 X1 X2 X3 X4 X5")),
    ],
    ids=["global", "local", "deep"],
)
def test_intervals_cover(circuit: Circuit, observable: PauliSum) -> None:
    """Oracle: the exact sum. Of 200 nominal 95% intervals, of fixed seeds, at least 172 cover: at a true coverage of
    95% any other seeds would fail this in less than 1e-6."""
    truth = exact_variance(circuit, observable)
    plan = plan_paths(circuit, [observable])
    group, covered = np.zeros(circuit.n_weights, dtype=int), 0
    for seed in range(200):
        got = path_variances(plan, group, 1, paths=1280, seed=seed)
        interval = of_islands(got.cost, got.paths, got.bound)
        covered += interval.low <= truth <= interval.high
    assert covered >= 172


def test_rare_ends() -> None:
    """Closed form: alternating layers are a product of blocks where CZ stand apart. Var[C] of 14 pairs is that of one
    to the 14th power, 1e-12, with an error below 20%."""

    def pairs(count: int) -> Circuit:
        circuit = Circuit(2 * count)
        for layer in range(3):
            for pair in range(count):
                a, b = 2 * pair, 2 * pair + 1
                circuit.append("ry", a, weight()).append("ry", b, weight())
                if layer < 2:
                    circuit.append("cz", (a, b))
        return circuit

    one = exact_variance(pairs(1), PauliSum("Z0 Z1"))
    count = round(math.log(1e-12) / math.log(one))
    (cost, error), *_ = found(pairs(count), [global_z(2 * count)])
    assert error < 0.2 * cost
    assert abs(cost - one**count) < 6 * error


def test_nothing_found_is_bounded() -> None:
    """Where no path ends, the interval reaches from zero to what that allows: rule of three, ln(40) / paths at 95%."""
    estimate = of_islands(np.zeros(32), 20_000, 1 / 20_000)
    assert estimate.value == estimate.low == 0
    assert estimate.high == pytest.approx(math.log(40) / 20_000)


@pytest.mark.parametrize(
    ("circuit", "options", "message"),
    [
        (hamiltonian_variational(tfim(3), 3, 2), {}, "turns several gates, r(x|zz) on wires"),
        (Circuit(2).append("crx", (0, 1), weight()), {}, "crx on wires .0, 1. turns about several strings at once"),
        (Circuit(1).append("t", 0).append("rx", 0, weight()), {}, "T gates, Toffolis and amplitude damping are not"),
        (Circuit(1).append("rx", 0, 0.4).append("ry", 0, weight()), {}, "constant angle of rx on wires .0. is 0.4, no"),
        (Circuit(1).append("rx", 0, weight() + 0.4), {"init": "gaussian"}, "angle added in rx on wires .0. is 0.4"),
        (Circuit(1).append("rx", 0, feature(0)).append("ry", 0, weight()), {"features": [0.3]}, "feature of rx"),
        (
            Circuit(2).append("rx", 0, feature(0) * feature(1)).append("ry", 0, weight()),
            {},
            "is a product of features",
        ),
        (Circuit(1).append("ry", 0, weight()), {"init": "beta"}, "got 'beta': take one of these"),
        (
            Circuit(1).append("ry", 0, weight()),
            {"noise": NoiseModel(readout=(0.1, 0.2))},
            "readout errors that are the same for 0 and 1; wire 0 has 0.1 and 0.2",
        ),
    ],
)
def test_refusals(circuit: Circuit, options: dict, message: str) -> None:
    """What paths don't reach is named, with what to do."""
    with pytest.raises(PreconditionError, match=message):
        plan_paths(circuit, [PauliSum("Z0")], **{"init": "uniform", **options})


def test_refusals_of_size_and_name() -> None:
    with pytest.raises(UnknownNameError, match="initializer 'gausian'"):
        plan_paths(hardware_efficient(2, 1), [PauliSum("Z0")], "gausian")
    with pytest.raises(CapacityError, match="fixed gate 'multicnot' on 7 wires is too wide"):
        plan_paths(Circuit(7).append("multicnot", range(7)).append("rx", 0, weight()), [PauliSum("Z6")])
    with pytest.raises(PreconditionError, match="strings go separate ways"):
        plan_paths(
            Circuit(2).append("ryy", (0, 1), weight()),
            [PauliSum({"Z0": 1.0, "Z1": 1.0})],
            noise=NoiseModel(depolarizing_2q=0.1),
        )


def test_starts_with_options() -> None:
    """A partial of an initializer counts its options; oracle: closed form for one RY, Var[cos w] of each start."""
    circuit = Circuit(1).append("ry", 0, weight())
    for init, mean, twice in (
        (partial(small_angle, sigma=0.5), math.exp(-0.125), math.exp(-0.5)),
        (partial(reduced_domain, a=0.5), 2 / math.pi, 0.0),
        (partial(gaussian, depth=4, locality=2), math.exp(-1 / 96), math.exp(-4 / 96)),
    ):
        (cost, _), (slope, _), _ = found(circuit, [PauliSum("Z0")], init)
        assert cost == pytest.approx((1 + twice) / 2 - mean**2, rel=0.05)
        assert slope == pytest.approx((1 - twice) / 2, rel=0.05)


def test_slopes_that_have_a_mean() -> None:
    """Closed form: RY(w + pi/2) makes C = -sin w. Near w = 0 all starts slope alike: E[cos^2 w] is near 1, and the
    variance of cos w is not."""
    circuit = Circuit(1).append("ry", 0, weight() + math.pi / 2)
    _, (variance, _), (square, _) = found(circuit, [PauliSum("Z0")], partial(small_angle, sigma=0.5))
    mean, twice = math.exp(-0.125), math.exp(-0.5)
    assert square == pytest.approx((1 + twice) / 2, rel=1e-9)
    assert variance == pytest.approx((1 + twice) / 2 - mean**2, rel=1e-9)


def test_scan_by_paths() -> None:
    """One scan goes from the simulator to paths; the methods stand in its rows, and agree where both go."""
    make = partial(hardware_efficient, rotations=("ry", "rz"), entangler="line", gate="cz")
    observable = lambda n: PauliSum(f"Z{n // 2}")  # noqa: E731
    scan = variance_scan(make, [4, 8, 50, 200], observable, depth=2, samples=256, paths=3200, seed=0)
    assert [row.method for row in scan.rows] == ["simulate", "simulate", "paths", "paths"]
    assert scan.table().splitlines()[-1].endswith("paths")
    both = variance_scan(make, [8], observable, depth=2, method="paths", seed=0).rows[0]
    for name in ("cost", "gradient"):
        one, other = getattr(scan.rows[1], name), getattr(both, name)
        assert abs(one.value - other.value) < 6 * math.hypot(one.standard_error, other.standard_error)
    assert scan.from_dict(scan.to_dict()) == scan


def test_scans_are_resumed_and_refused(tmp_path) -> None:
    """A finished row is read, not walked again; arguments that don't go with paths are named."""
    make = partial(hardware_efficient, rotations=("ry",), entangler="line", gate="cz")
    options = {"depth": 1, "paths": 640, "seed": 0, "file": tmp_path / "scan.npz"}
    first = variance_scan(make, [30], "Z0", **options)
    again = variance_scan(make, [30, 40], "Z0", **options)
    assert again.rows[0].seconds == first.rows[0].seconds
    assert [row.n_wires for row in again.rows] == [30, 40]
    with pytest.raises(UnknownNameError, match="method 'walk'"):
        variance_scan(make, [4], "Z0", depth=1, method="walk")
    with pytest.raises(InputError, match="without shot noise: leave out shots=10"):
        variance_scan(make, [30], "Z0", depth=1, shots=10)
    encoded = angle_encoding(3) + hardware_efficient(3, 1)
    with pytest.raises(InputError, match=r"Pauli paths take one input, .* got 2 inputs"):
        variance_scan(lambda n: encoded, [3], "Z0", method="paths", x=torch.zeros(2, 3))
    drawn = variance_scan(lambda n: encoded, [3], "Z0", method="paths", paths=640, seed=0)
    assert drawn.rows[0].cost.value > 0
