"""Scans against closed forms, and what a long measurement needs: to be stopped, continued, and not mixed up."""

import itertools
import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers import global_cost, local_cost, one_rotation_per_wire

from torchbp import Circuit, PauliSum, weight
from torchbp.backends import NoiseModel
from torchbp.circuits import angle_encoding, global_z, hardware_efficient, local_z
from torchbp.errors import InputError, UnknownNameError
from torchbp.gradients.ensemble import ensemble_gradients
from torchbp.layer import QuantumLayer
from torchbp.trainability import Progress, VarianceScan, variance_scan
from torchbp.trainability.scans.moments import mean_square_of, variance_of

SURE = 1 - 1e-7
"""Confidence of intervals that a closed form is asked to lie in: the nominal rate of false failures is 1e-7 each."""


def test_global_cost_is_an_exponential() -> None:
    """Oracle: Var[g] = (1/8) (3/8)^(n-1), slope log2(3/8) = -1.415 (Cerezo 2021, 2001.00550)."""
    scan = variance_scan(one_rotation_per_wire, range(1, 7), global_cost, samples=4096, seed=1, confidence=SURE)
    assert scan.verdict == "exponential"
    assert scan.fit.law.low < math.log2(3 / 8) < scan.fit.law.high
    assert scan.fit.law.high - scan.fit.law.low < 0.25
    for row in scan.rows:
        assert row.gradient.low < (3 / 8) ** (row.n_wires - 1) / 8 < row.gradient.high


def test_local_cost_is_a_power_law() -> None:
    """Oracle: Var[g] = 1 / (8 n^2) and Var[C] = 1 / (8 n), slopes -2 and -1 (Cerezo 2021)."""
    scan = variance_scan(one_rotation_per_wire, range(2, 8), local_cost, samples=2048, seed=2, confidence=SURE)
    assert scan.verdict == "polynomial"
    assert scan.fit.law.low < -2 < scan.fit.law.high
    assert scan.fit.law.high - scan.fit.law.low < 0.25
    cost = scan.fits("cost")[""].power
    assert cost.low < -1 < cost.high
    for row in scan.rows:
        assert row.gradient.low < 1 / (8 * row.n_wires**2) < row.gradient.high
        assert row.cost.low < 1 / (8 * row.n_wires) < row.cost.high


def test_deep_circuits_have_the_haar_value_and_mccleans() -> None:
    """Oracle: Var[C] = 1/(d+1), and Var[g] = d^2 / (2 (d^2-1) (d+1)) for gates with random circuits on both sides.

    24 layers of three rotations approach the 2-design; the middle layer's gradient is taken.
    """
    scan = variance_scan(
        hardware_efficient, [2, 3, 4], "Z0 Z1", depth=24, samples=2048, seed=3, confidence=SURE, dtype=torch.float64
    )
    for row in scan.rows:
        d = 2**row.n_wires
        assert row.two_design == pytest.approx(1 / (d + 1))
        assert row.cost.low < row.two_design < row.cost.high
        middle = row.layers["layer12"]
        assert middle.low < d**2 / (2 * (d**2 - 1) * (d + 1)) < middle.high
        assert middle.high / middle.low < 1.6
    assert scan.fits(layer="layer12")["depth 24"].exponential.slope == pytest.approx(-0.9, abs=0.1)


def test_gradients_are_the_ensembles() -> None:
    """Oracle: `ensemble_gradients` of a layer with inputs, on the same draws; its inputs enter as a mean."""

    def circuit(n: int) -> Circuit:
        return angle_encoding(n) + hardware_efficient(n, 1)

    drawn: list[torch.Tensor] = []

    def init(circuit: Circuit, generator: torch.Generator) -> torch.Tensor:
        drawn.append(torch.rand(circuit.n_weights, generator=generator))
        return drawn[-1]

    x = torch.rand(5, 3, generator=torch.Generator().manual_seed(0))
    scan = variance_scan(circuit, [3], local_z, x=x, samples=40, init=init, seed=4)
    again = iter(drawn)
    layer = QuantumLayer(circuit(3), local_z(3))
    gradients = ensemble_gradients(layer, x, samples=40, init=lambda *_: next(again))
    assert scan.rows[0].gradient.value == pytest.approx(gradients.var(0).mean().item(), rel=1e-5)
    assert scan.rows[0].layers["layer0"].value == pytest.approx(scan.rows[0].gradient.value, rel=1e-12)


def test_weights_outside_the_light_cone_are_left_out() -> None:
    """Only one of the n rotations can move Z0: its variance is 1/2, whatever n is (not 1 / (2 n))."""
    scan = variance_scan(one_rotation_per_wire, [2, 4, 6], "Z0", samples=512, seed=5, confidence=SURE)
    assert [row.n_live for row in scan.rows] == [1, 1, 1]
    assert all(row.gradient.low < 0.5 < row.gradient.high for row in scan.rows)
    assert scan.verdict == "constant"


def test_a_cost_that_nothing_moves() -> None:
    """RZ on |0> is a phase: all is zero, and so says the verdict, not that it falls like rounding does."""

    def circuit(n: int) -> Circuit:
        return hardware_efficient(n, 2, "rz")

    scan = variance_scan(circuit, [2, 3, 4], "Z0", samples=32, seed=0)
    assert scan.verdict == "zero"
    assert [row.gradient.value for row in scan.rows] == [0, 0, 0]
    assert "-" in scan.table()


def test_shot_noise_is_subtracted() -> None:
    """Oracle: the same draws without shots. Without the subtraction the floor hides the plateau's slope."""
    options = {"samples": 600, "seed": 6, "confidence": SURE}
    exact = variance_scan(one_rotation_per_wire, [2, 4, 6], global_z, **options)
    noisy = variance_scan(one_rotation_per_wire, [2, 4, 6], global_z, shots=20, **options)
    for a, b in zip(exact.rows, noisy.rows, strict=True):
        assert b.gradient.low < a.gradient.value < b.gradient.high
        assert b.cost.low < a.cost.value < b.cost.high
        # (2 - E+^2 - E-^2) / (4 S) with E+-^2 = 2^-n on average, here E+ = -E-; and (1 - E^2) / S.
        assert b.gradient.floor == pytest.approx((2 - 2 * 2.0**-b.n_wires) / 80, rel=0.05)
        assert b.cost.floor == pytest.approx((1 - 2.0**-b.n_wires) / 20, rel=0.05)
    assert noisy.rows[-1].gradient.floor > noisy.rows[-1].gradient.value
    assert "shot floor" in noisy.table()
    assert noisy.rows[0].gradient.value != exact.rows[0].gradient.value


def test_depolarizing_noise_is_an_exponential_in_depth() -> None:
    """Oracle: L rotations RX, each followed by a channel that shrinks Z by f: Var[C] = f^(2L) / 2, slope 2 log2 f.

    The library's depolarizing rate p is that of the maximally mixed state: f = 1 - p.
    """

    def circuit(n: int, depth: int) -> Circuit:
        return hardware_efficient(n, depth, "rx")

    noise = NoiseModel(depolarizing_1q=0.1)
    scan = variance_scan(circuit, [1], "Z0", depth=[2, 4, 8, 12], noise=noise, samples=512, seed=7, confidence=SURE)
    f = 1 - 0.1
    fit = scan.depth_fits("cost")[1]
    assert fit.verdict == "exponential"
    assert fit.law.low < 2 * math.log2(f) < fit.law.high
    assert fit.law.high - fit.law.low < 0.1
    assert scan.verdict == "too_few_sizes"


class Killed(BaseException):
    """What no handler expects."""


@pytest.mark.parametrize("shots", [None, 10])
def test_killed_and_continued_gives_the_same_numbers(tmp_path: Path, shots: int | None) -> None:
    """Oracle: the scan that was left alone. Killed after every number of rounds, with a finished row and without."""
    calls: list[Progress] = []

    def run(file: Path | None, hook) -> VarianceScan:
        return variance_scan(
            hardware_efficient, [2, 3], "Z0 Z1", depth=[1, 2], samples=70, seed=8, shots=shots, file=file, progress=hook
        )

    whole = run(None, calls.append)
    assert calls[-1].done == calls[-1].total == 280
    assert [c.samples for c in calls[:3]] == [32, 64, 70]

    for stop in (1, 2, 4, 8, 11):
        left = itertools.count(1)

        def hook(_: Progress, left=left, stop=stop) -> None:
            if next(left) == stop:
                raise Killed

        file = tmp_path / f"{stop}.npz"
        with pytest.raises(Killed):
            run(file, hook)
        assert run(file, None) == whole
        assert VarianceScan.load(file).rows == whole.rows


def test_an_interrupted_file_gives_what_is_finished(tmp_path: Path) -> None:
    """Rows of a scan that was stopped in its second one; and no row is an error, not an empty scan."""
    file = tmp_path / "scan.npz"

    def stop_at(done: int):
        def hook(progress: Progress) -> None:
            if progress.done == done:
                raise KeyboardInterrupt

        return hook

    with pytest.raises(KeyboardInterrupt):
        variance_scan(one_rotation_per_wire, [2, 3], "Z0", samples=64, seed=0, file=file, progress=stop_at(32))
    with pytest.raises(InputError, match=r"No row of the scan in .* is finished yet: run it again to continue"):
        VarianceScan.load(file)
    with pytest.raises(KeyboardInterrupt):
        variance_scan(one_rotation_per_wire, [2, 3], "Z0", samples=64, seed=0, file=file, progress=stop_at(96))
    assert [row.n_wires for row in VarianceScan.load(file).rows] == [2]
    (tmp_path / "other.npz").write_text("no")
    with pytest.raises(InputError, match="is not the file of a variance scan"):
        VarianceScan.load(tmp_path / "other.npz")


def test_a_file_keeps_its_scan(tmp_path: Path) -> None:
    """More sizes may be added; another question is refused. Without a seed the file's is taken."""
    file = tmp_path / "scan.npz"
    first = variance_scan(one_rotation_per_wire, [2], "Z0", samples=40, file=file)
    more = variance_scan(one_rotation_per_wire, [2, 3], "Z0", samples=40, file=file)
    assert more.rows[0] == first.rows[0]
    assert more.settings["seed"] == first.settings["seed"]
    with pytest.raises(InputError, match="holds a scan with samples=40, this one has 50"):
        variance_scan(one_rotation_per_wire, [2], "Z0", samples=50, file=file)
    with pytest.raises(InputError, match=r"holds a scan with seed=.*, this one has 1"):
        variance_scan(one_rotation_per_wire, [2], "Z0", samples=40, seed=1, file=file)
    with pytest.raises(InputError, match="holds another circuit, observable or input for 2 wires: give another file"):
        variance_scan(one_rotation_per_wire, [2], "Z1", samples=40, file=file)
    file.write_text("no")
    with pytest.raises(InputError, match="is not the file of a variance scan"):
        variance_scan(one_rotation_per_wire, [2], "Z0", samples=40, file=file)


def test_it_stops_when_tight_enough() -> None:
    """A row ends at the tolerance; one whose variance sits in few draws goes on to the end, and says so."""
    scan = variance_scan(one_rotation_per_wire, [1, 10], global_cost, samples=512, tolerance=0.1, seed=9)
    easy, hard = scan.rows
    assert easy.gradient.samples < 512
    assert easy.gradient.relative_error <= 0.1
    assert hard.gradient.samples == 512
    assert not hard.gradient.trusted
    assert "Few draws carry the variance at 10 wires" in scan.text
    assert f"{hard.gradient.value:.3e}*" in scan.table()


def test_seeds_and_generators() -> None:
    """The same seed gives the same numbers; a generator is asked once; the draws know their row."""

    def scan(**options) -> VarianceScan:
        return variance_scan(one_rotation_per_wire, [2, 3], "Z0", samples=10, **options)

    assert scan(seed=1) == scan(seed=1)
    assert scan(seed=1).rows != scan(seed=2).rows
    one, two = torch.Generator().manual_seed(1), torch.Generator().manual_seed(1)
    assert scan(generator=one) == scan(generator=two)
    assert torch.equal(one.get_state(), two.get_state())
    state = torch.get_rng_state()
    rows = scan(seed=1).rows
    assert torch.equal(torch.get_rng_state(), state)
    assert rows[0].cost.value != rows[1].cost.value  # the cost is the same function of one weight at both sizes


def test_series_and_round_trip() -> None:
    """One law for each depth; JSON and back."""
    scan = variance_scan(hardware_efficient, [2, 3, 4], "Z0 Z1", depth=[1, 3], samples=64, seed=0)
    assert scan.series == ("depth 1", "depth 3")
    assert scan.fit == scan.fits("signal")["depth 3"]
    assert list(scan.depth_fits()) == [2, 3, 4]
    assert VarianceScan.from_dict(json.loads(json.dumps(scan.to_dict()))) == scan
    assert scan.text.startswith("depth 1: ")
    grown = variance_scan(hardware_efficient, [2, 3], "Z0 Z1", depth=lambda n: 2 * n, samples=10, seed=0)
    assert [row.depth for row in grown.rows] == [4, 6]
    assert grown.series == ("depth(n)",)
    with pytest.raises(UnknownNameError, match=r"Unknown quantity 'costs'. Did you mean 'cost'"):
        scan.fits("costs")
    with pytest.raises(UnknownNameError, match="Unknown layer 'layer9'"):
        scan.fits(layer="layer9")


def test_table() -> None:
    """A line for each row, aligned, without a column for a depth that there is not."""
    lines = variance_scan(one_rotation_per_wire, [2, 10], "Z0", samples=10, seed=0).table().splitlines()
    assert len(lines) == 3
    assert len({len(line) for line in lines}) == 1
    assert "depth" not in lines[0]
    assert lines[2].split()[:2] == ["10", "1/10"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"n_wires": []}, r"n_wires are whole numbers .* that increase, such as \[2, 4, 6\]; got \[\]"),
        ({"n_wires": [4, 2]}, r"that increase, such as \[2, 4, 6\]; got \[4, 2\]"),
        ({"n_wires": 2.5}, r"n_wires is a whole number of at least 1, got 2.5"),
        ({"depth": [0, 1]}, r"depth are whole numbers of at least 1 .* got \[0, 1\]"),
        ({"samples": 2}, "samples is a whole number of at least 3, got 2"),
        ({"tolerance": 5}, "tolerance is a finite number above 0 and of at most 1, got 5"),
        ({"shots": 0}, "shots is a whole number of at least 1, got 0"),
        ({"confidence": 95}, "confidence is a finite number of at least 0 and of at most 1, got 95"),
        ({"seed": "one"}, "seed is a whole number of at least 0, got 'one'"),
        ({"seed": 1, "generator": torch.Generator()}, "a seed or a generator, not both"),
        ({"make_circuit": hardware_efficient(2, 1)}, "a function of the number of wires .* has no scaling"),
        ({"make_circuit": lambda n: "abc"}, "must return a Circuit, got str"),
        ({"make_circuit": lambda n: one_rotation_per_wire(n + 1)}, r"circuit of 3 wires: it must have n_wires=2"),
        ({"make_circuit": lambda n: Circuit(n).append("h", 0)}, "circuit for 2 wires has no weights to draw"),
        (
            {"make_circuit": lambda n: angle_encoding(n) + one_rotation_per_wire(n)},
            r"tensor of features of shape \(batch, 2\)",
        ),
        ({"x": torch.zeros(0, 0)}, "at least one in x"),
        ({"init": "unifrom"}, "Unknown initializer 'unifrom'. Did you mean 'uniform'"),
        ({"backend": "fussed"}, "Unknown backend 'fussed'. Did you mean 'fused'"),
    ],
)
def test_bad_arguments(options: dict, message: str) -> None:
    """Oracle: the messages."""
    arguments = {"make_circuit": one_rotation_per_wire, "n_wires": [2], "observable": "Z0", "samples": 8} | options
    with pytest.raises((InputError, UnknownNameError), match=message):
        variance_scan(**arguments)


def test_numbers_of_numpy_are_numbers() -> None:
    """Sizes from np.arange work as others do."""
    scan = variance_scan(one_rotation_per_wire, np.arange(2, 4), "Z0", samples=8, seed=0)
    assert json.dumps(scan.to_dict())


def plus(n: int) -> Circuit:
    """|+...+>, then n layers of RY on every wire: <Z_w> is minus the sine of the sum of its angles."""
    circuit = Circuit(n)
    for wire in range(n):
        circuit.append("h", wire)
    for _ in range(n):
        circuit.start_layer()
        for wire in range(n):
            circuit.append("ry", wire, weight())
    return circuit


def every_z(n: int) -> PauliSum:
    return PauliSum({f"Z{wire}": 1.0 for wire in range(n)})


def shrinking(circuit: Circuit, generator: torch.Generator | None = None) -> torch.Tensor:
    return 0.5**circuit.n_wires * torch.randn(circuit.n_weights, generator=generator)


@pytest.mark.parametrize("init", [shrinking, "small_angle", lambda c, g=None: torch.zeros(c.n_weights)])
def test_a_mean_gradient_is_no_plateau(init) -> None:
    """Oracle: dC/dw = -cos of a small angle, so E[g^2] is near 1 at every size, though the variance falls or is 0."""
    scan = variance_scan(plus, [2, 4, 6], every_z, init=init, samples=64, seed=0, dtype=torch.float64)
    assert scan.verdict == "constant"
    assert "No decay is seen from 2 to 6 wires" in scan.text
    assert "most of its square: all starts slope alike" in scan.text
    for row in scan.rows:
        assert row.signal is not None
        assert 0.7 < row.signal.value <= 1
    assert VarianceScan.from_dict(json.loads(json.dumps(scan.to_dict()))) == scan


def test_mean_square_and_variance() -> None:
    """Oracle: E[g^2] = Var + mean^2 of the same draws; of a mean of 0 the two agree. With noise, less its variance."""
    values = torch.randn(400, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64) + 2
    noise = torch.full_like(values, 0.25)
    found, raw = mean_square_of(values, noise), values.square().mean()
    assert found.value == pytest.approx(float(raw) - 0.25)
    assert found.low < 5 - 0.25 < found.high
    assert mean_square_of(values - values.mean(0)).value == pytest.approx(variance_of(values).value, rel=0.01)


def test_nothing_depends_on_these_weights() -> None:
    scan = variance_scan(lambda n: one_rotation_per_wire(n, "rz"), [2, 3, 4], "Z0", samples=8, seed=0)
    assert scan.verdict == "zero"
    assert "zero at every size: nothing that is measured depends on these weights, or at these starts" in scan.text


def test_other_backends() -> None:
    """Oracle: the fused backend on the same draws."""
    options = {"samples": 16, "seed": 0}
    one = variance_scan(one_rotation_per_wire, [2, 3], global_z, **options)
    other = variance_scan(one_rotation_per_wire, [2, 3], global_z, backend="torchquantum", **options)
    for a, b in zip(one.rows, other.rows, strict=True):
        assert a.gradient.value == pytest.approx(b.gradient.value, rel=1e-4)
