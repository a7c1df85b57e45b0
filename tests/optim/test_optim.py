"""The gradient-free searches, all on one table; and what each promises by itself."""

from __future__ import annotations

import io
import math
import random
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from torchbp import Circuit, QuantumLayer, weight
from torchbp.circuits import hardware_efficient, maxcut, qaoa, tfim
from torchbp.errors import InputError, UnknownNameError
from torchbp.optim import (
    CMAES,
    PROPOSERS,
    SPSA,
    AskTell,
    CMAProposer,
    GradientFreeOptimizer,
    Rotosolve,
    RotosolveProposer,
    SPSAProposer,
    propose,
)


class OneAtATime:
    """A (1+1) evolution strategy that speaks as nevergrad does, and draws from numpy's global state."""

    class Candidate:
        def __init__(self, value: np.ndarray) -> None:
            self.value = value

    def __init__(self, start: Tensor, seed: int) -> None:
        self.best, self.lowest, self.sigma = start.numpy(), math.inf, 0.3

    def ask(self) -> OneAtATime.Candidate:
        return self.Candidate(self.best + self.sigma * np.random.randn(len(self.best)) * (self.lowest < math.inf))

    def tell(self, candidate: OneAtATime.Candidate, loss: float) -> None:
        better = loss <= self.lowest
        self.sigma *= 1.5 if better else 1.5**-0.25
        if better:
            self.best, self.lowest = candidate.value, loss

    def provide_recommendation(self) -> OneAtATime.Candidate:
        return self.Candidate(self.best)


def cma_library(start: Tensor, seed: int) -> Any:
    """Given a seed, it seeds numpy's global state; 0 would mean the clock."""
    cma = pytest.importorskip("cma")
    return cma.CMAEvolutionStrategy(start.numpy(), 0.3, {"verbose": -9, "seed": seed + 1})


METHODS: dict[str, str | Callable[..., Any]] = {
    "cma": "cma",
    "spsa": "spsa",
    "rotosolve": "rotosolve",
    "one at a time": OneAtATime,
    "cma's own": cma_library,
}
table = pytest.mark.parametrize("method", METHODS.values(), ids=METHODS.keys())


def minimize(search: Any, loss: Callable[[Tensor], float], steps: int) -> Tensor:
    for _ in range(steps):
        point = search.tell([loss(x) for x in search.ask()])
    return point


def sphere(x: Tensor) -> float:
    return float(x.square().sum())


def shifted_quadratic(x: Tensor) -> float:
    """Condition number 10, minimum 0 at 0.3."""
    scales = torch.logspace(0, 1, len(x), dtype=torch.float64)
    return float((scales * (x - 0.3).square()).sum())


def sinusoids(x: Tensor) -> float:
    """What rotosolve is for; minimum 0 at 0.3."""
    return float((1 - torch.cos(x - 0.3)).sum())


START = torch.linspace(-1, 1, 5, dtype=torch.float64)


@pytest.mark.parametrize(
    ("name", "loss"),
    [(name, loss) for name in METHODS for loss in (shifted_quadratic, sinusoids)],
)
def test_goes_downhill(name: str, loss: Callable[[Tensor], float]) -> None:
    """At most a hundredth is left of the loss; rotosolve finds the minimum of its sinusoids in one sweep."""
    method = METHODS[name]
    if name == "rotosolve":
        assert sinusoids(minimize(propose(method, START), sinusoids, len(START))) < 1e-20
        return
    options = {"first_step": 0.1, "stability": 100} if method == "spsa" else {}
    found = minimize(propose(method, START, seed=0, options=options), loss, 300)
    assert loss(found) < 0.01 * loss(START)


@pytest.mark.parametrize("method", list(PROPOSERS))
def test_a_small_vqe_with_shots(method: str) -> None:
    """Three spins, 100 shots: to within 15% of the ground energy (oracle: diagonalization)."""
    generator = torch.Generator().manual_seed(3)
    layer = QuantumLayer(hardware_efficient(3, 2), tfim(3), shots=100, init="small_angle", generator=generator)
    ground = float(np.linalg.eigvalsh(tfim(3).matrix(3))[0])
    search = propose(method, layer.weights, seed=1)

    @torch.no_grad()
    def energy(x: Tensor) -> float:
        with layer.weights_at(x.to(layer.weights)):
            return float(layer())

    while layer.shots_used < 2e5:
        point = minimize(search, energy, 1)
    with layer.exact():
        assert energy(point) < 0.85 * ground


@table
def test_resumes_bit_for_bit(method: Any) -> None:
    """Oracle: the run that was never interrupted; the state goes through a file, loaded with weights_only."""
    straight = propose(method, START, seed=5)
    expected = minimize(straight, shifted_quadratic, 12)
    first = propose(method, START, seed=5)
    minimize(first, shifted_quadratic, 7)
    file = io.BytesIO()
    torch.save(first.state_dict(), file)
    minimize(first, sphere, 3)  # what goes on after saving must not reach the state
    file.seek(0)
    second = propose(method, torch.zeros(5) if method in PROPOSERS else START, seed=5 if callable(method) else 99)
    second.load_state_dict(torch.load(file, weights_only=True))
    assert torch.equal(minimize(second, shifted_quadratic, 5), expected)


@table
def test_leaves_the_global_random_states_alone(method: Any) -> None:
    """And does not depend on them."""

    def states() -> tuple[Any, ...]:
        return random.getstate(), repr(np.random.get_state()), torch.get_rng_state().tolist()

    points = []
    for seed in (0, 1):
        random.seed(seed), np.random.seed(seed), torch.manual_seed(seed)
        before = states()
        points.append(minimize(propose(method, START, seed=2), sphere, 5))
        assert states() == before
    assert torch.equal(points[0], points[1])


@table
def test_losses_that_are_not_numbers(method: Any) -> None:
    """A NaN never moves the point to NaN; after it the search still finds the minimum."""
    search = propose(method, START, seed=0)
    for bad in (math.nan, math.inf):
        points = search.ask()
        assert torch.isfinite(search.tell([bad] * len(points))).all()
        points = search.ask()
        search.tell([bad] + [sinusoids(x) for x in points[1:]])
    assert sinusoids(minimize(search, sinusoids, 300)) < 0.05 * sinusoids(START)


@table
def test_the_number_of_losses(method: Any) -> None:
    search = propose(method, START)
    with pytest.raises(InputError, match=r"ask\(\) has not been called"):
        search.tell([1.0])
    asked = len(search.ask())
    with pytest.raises(InputError, match=f"gave {asked} points; got {asked + 1} losses"):
        search.tell([0.0] * (asked + 1))


@pytest.mark.parametrize("name", list(PROPOSERS))
def test_a_state_for_other_weights(name: str) -> None:
    state = propose(name, START).state_dict()
    with pytest.raises(InputError, match="The saved search has 5 weights, this one has 3"):
        propose(name, torch.zeros(3)).load_state_dict(state)


@pytest.mark.parametrize(
    ("optimizer", "steps"), [(SPSA, 150), (Rotosolve, 60), (CMAES, 60)], ids=["SPSA", "Rotosolve", "CMAES"]
)
def test_torch_optimizers(optimizer: Any, steps: int) -> None:
    """Train a layer and a second parameter of another shape; resume from a file; count evaluations."""

    def build() -> tuple[nn.Module, Any, Callable[[], Tensor]]:
        layer = QuantumLayer(hardware_efficient(2, 1), tfim(2), generator=torch.Generator().manual_seed(0))
        layer.extra = nn.Parameter(torch.full((2, 1), 0.5, dtype=torch.float64))
        return layer, optimizer(layer.parameters()), lambda: layer().sum() + 2 * (1 - layer.extra.cos()).sum()

    layer, search, closure = build()
    start = float(closure().detach())
    for step in range(steps):
        if step == 10:
            file = io.BytesIO()
            torch.save([search.state_dict(), layer.state_dict()], file)
            file.seek(0)
        assert isinstance(search.step(closure), float)
    ground = float(np.linalg.eigvalsh(tfim(2).matrix(2))[0])
    assert float(closure().detach()) - ground < 0.1 * (start - ground)
    twin, again, closure = build()
    saved, weights = torch.load(file, weights_only=True)
    again.load_state_dict(saved), twin.load_state_dict(weights)
    for _ in range(steps - 10):
        again.step(closure)
    assert all(torch.equal(a, b) for a, b in zip(layer.parameters(), twin.parameters(), strict=True))
    assert again.evaluations == search.evaluations


def rotosolve_start(circuit: Circuit, observable: Any) -> tuple[QuantumLayer, RotosolveProposer]:
    generator = torch.Generator().manual_seed(0)
    layer = QuantumLayer(circuit, observable, init="uniform", generator=generator).double()
    return layer, RotosolveProposer(layer.weights)


def gain(layer: QuantumLayer, search: RotosolveProposer) -> tuple[float, float]:
    """The loss after one step, and the least on a fine grid along the same weight."""

    @torch.no_grad()
    def at(x: Tensor) -> float:
        with layer.weights_at(x):
            return float(layer())

    index, point = search.steps % len(search.point), search.point.clone()
    grid = []
    for angle in torch.linspace(-math.pi, math.pi, 181, dtype=torch.float64):
        point[index] = angle
        grid.append(at(point))
    return at(search.tell([at(x) for x in search.ask()])), min(grid)


def test_rotosolve_is_exact_for_weights_of_one_gate() -> None:
    """Oracle: 181 points along the weight; their spacing misses the minimum of amplitude 5 by 8e-4 at most."""
    layer, search = rotosolve_start(hardware_efficient(3, 1), tfim(3))
    for _ in range(len(search.point)):
        stepped, least = gain(layer, search)
        assert least - 1e-3 < stepped < least + 1e-9
        assert -math.pi < float(search.point.min()) <= float(search.point.max()) <= math.pi


def test_rotosolve_is_not_exact_for_shared_weights() -> None:
    """Its docstring says so: a QAOA weight turns several gates, whose frequencies add up."""
    cost = maxcut([(0, 1), (1, 2), (2, 0), (2, 3)])
    layer, search = rotosolve_start(qaoa(cost, 4, 1), cost)
    missed = []
    for _ in range(4):
        stepped, least = gain(layer, search)
        missed.append(stepped - least)
    assert max(missed) > 0.05


def test_rotosolve_stays_where_it_is_flat() -> None:
    """atan2(0, 0) would turn the weight by a quarter."""
    search = RotosolveProposer(START)
    assert torch.equal(minimize(search, lambda x: 1.0, 5), START)


def test_spsa_first_step() -> None:
    """Calibrated: with one direction each weight moves by first_step, whatever the scale of the loss."""
    for scale in (1e-6, 1.0, 1e6):
        search = SPSAProposer(START, first_step=0.05, calibration=1)
        moved = (minimize(search, lambda x, s=scale: s * float(x.sum()), 1) - START).abs()
        torch.testing.assert_close(moved, torch.full_like(moved, 0.05))


def test_spsa_gains() -> None:
    """Oracle: Spall's formulas, on a linear loss, where every slope is known."""
    search = SPSAProposer(torch.zeros(1), first_step=0.1, calibration=1, stability=5.0)
    for k in range(4):
        plus, minus = search.ask()
        assert math.isclose(float((plus - minus).abs()) / 2, 0.2 / (k + 1) ** 0.101, rel_tol=1e-12)
        before = search.point.clone()
        moved = float(search.tell([float(plus), float(minus)]) - before)
        assert math.isclose(moved, -0.1 * (6 / (6 + k)) ** 0.602, rel_tol=1e-12)


def test_spsa_does_not_leap_off_a_flat_stretch() -> None:
    """A thousand times the slope of the calibration moves a weight by no more than twice the first step."""
    search = SPSAProposer(START, first_step=0.1)
    before = minimize(search, lambda x: float(x.sum()), 1)
    after = minimize(search, lambda x: 1000 * float(x.sum()), 1)
    assert float((after - before).abs().max()) <= 0.2 + 1e-12


@pytest.mark.parametrize("diagonal", [False, True])
def test_cma_converges_as_hansen_says(diagonal: bool) -> None:
    """1604.00772, appendix C and figure 5: the sphere falls log-linearly, 1e-9 in about 100 n evaluations at n = 10."""
    search = CMAProposer(torch.ones(10), sigma=0.5, diagonal=diagonal, seed=0)
    evaluations = 0
    while sphere(search.mean) > 1e-9:
        minimize(search, sphere, 1)
        evaluations += search.population
        assert evaluations < 3000
    assert evaluations > 500


def ellipsoid(x: Tensor) -> float:
    """Turned, condition number 1e6."""
    turn = torch.linalg.qr(torch.randn(8, 8, generator=torch.Generator().manual_seed(4), dtype=torch.float64))[0]
    return float((torch.logspace(0, 6, 8, dtype=torch.float64) * (turn @ x).square()).sum())


def test_cma_learns_the_covariance() -> None:
    """On a turned ellipsoid C becomes proportional to the inverse Hessian (Hansen, section 1.3): condition 1e6."""
    search = CMAProposer(torch.ones(8), sigma=0.5, seed=1)
    assert ellipsoid(minimize(search, ellipsoid, 700)) < 1e-9
    levels = torch.linalg.eigvalsh(search.covariance)
    assert 1e5 < float(levels[-1] / levels[0]) < 1e7


def test_cma_against_the_cma_package() -> None:
    """Evaluations to 1e-8 on the turned ellipsoid, median of 3 seeds: within a third of the reference's."""
    cma = pytest.importorskip("cma")
    ours, theirs = [], []
    for seed in range(1, 4):
        search = CMAProposer(torch.ones(8), sigma=0.5, seed=seed)
        while ellipsoid(search.mean) > 1e-8:
            minimize(search, ellipsoid, 1)
        ours.append(search.steps * search.population)
        randn = np.random.RandomState(seed).randn
        reference = cma.CMAEvolutionStrategy(8 * [1.0], 0.5, {"verbose": -9, "seed": math.nan, "randn": randn})
        while ellipsoid(torch.tensor(reference.mean)) > 1e-8:
            points = reference.ask()
            reference.tell(points, [ellipsoid(torch.tensor(x)) for x in points])
        theirs.append(reference.countevals)
    assert 0.67 < np.median(ours) / np.median(theirs) < 1.5


def test_cma_beyond_its_full_covariance() -> None:
    assert CMAProposer(torch.zeros(256)).covariance.shape == (256, 256)
    assert CMAProposer(torch.zeros(257)).covariance.shape == (257,)


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: propose("cmaes", START), UnknownNameError, "Did you mean 'cma'"),
        (lambda: propose(3, START), InputError, r"or a function \(start, seed\) -> optimizer; got 3"),
        (lambda: propose("cma", START, options={"sgima": 1}), InputError, "'cma' takes no such option.*sgima"),
        (lambda: propose("spsa", torch.zeros(2, 2)), InputError, r"shape \(P,\); got \(2, 2\)"),
        (lambda: propose("spsa", [0.0]), InputError, "got list"),
        (lambda: propose("cma", torch.tensor([math.nan])), InputError, "starts from finite numbers"),
        (lambda: SPSAProposer(START, first_step=0), InputError, "first_step is a positive finite number, got 0"),
        (lambda: SPSAProposer(START, pairs=0), InputError, "pairs is a whole number of at least 1, got 0"),
        (lambda: CMAProposer(START, sigma=-1), InputError, "sigma is a positive"),
        (lambda: CMAProposer(START, population=3), InputError, "population is a whole number of at least 4, got 3"),
        (lambda: AskTell(START, lambda start, seed: object()), InputError, "object has no ask and no tell"),
        (lambda: AskTell(START, OneAtATime, batch=0), InputError, "batch is a whole number of at least 1, got 0"),
        (lambda: AskTell(START, lambda start, seed: OneAtATime(start[:2], seed)).ask(), InputError, r"shape \(2,\)"),
        (lambda: SPSA([nn.Parameter(START)]).step(), InputError, r"step\(closure\), a function"),
        (lambda: SPSA([{"params": [nn.Parameter(START)]}, {"params": [nn.Parameter(START)]}]), InputError, "one group"),
    ],
)
def test_messages(make: Callable[[], Any], error: type, message: str) -> None:
    with pytest.raises(error, match=message):
        make()


def test_a_closure_that_differentiates() -> None:
    p = nn.Parameter(START)

    def closure() -> Tensor:
        loss = p.square().sum()
        loss.backward()
        return loss

    with pytest.raises(InputError, match=r"does not call backward\(\)"):
        CMAES([p]).step(closure)


def test_a_proposer_of_ones_own() -> None:
    """A function that returns a Proposer is taken as it is; an optimizer of another library is wrapped."""
    own = propose(lambda start, seed: SPSAProposer(start, seed=seed), START, seed=3)
    assert isinstance(own, SPSAProposer)
    assert isinstance(propose(OneAtATime, START), AskTell)
    p = nn.Parameter(torch.zeros(1))
    search = GradientFreeOptimizer([p], lambda start: AskTell(start, OneAtATime, batch=2))
    search.step(lambda: (p - 1).square())
    assert search.evaluations == 2


def test_the_gate_of_the_closed_form() -> None:
    """<Z> = cos(w) after RX(w): one step from anywhere ends at w = pi, where the energy is -1."""
    layer, search = rotosolve_start(Circuit(1).append("rx", 0, weight()), "Z0")
    stepped, _ = gain(layer, search)
    assert math.isclose(stepped, -1.0, abs_tol=1e-12)
    assert math.isclose(abs(float(search.point)), math.pi, abs_tol=1e-7)


@pytest.mark.parametrize("method", ["spsa", "cma", "rotosolve", OneAtATime])
@pytest.mark.parametrize("fails_at", [1, 2])
def test_a_step_is_a_transaction(method, fails_at):
    """The closure raises in the middle of the second step. Oracle: the points that an undisturbed twin evaluates."""
    runs = []
    for faulty in (False, True):
        weights, asked = nn.Parameter(torch.linspace(0.1, 0.5, 4)), []
        optimizer = GradientFreeOptimizer([weights], lambda start: propose(method, start, 3))

        def closure(weights: Any = weights, asked: Any = asked, fail: int = 0) -> Tensor:
            asked.append(weights.detach().clone())
            if fail and len(asked) == fail:
                raise TimeoutError
            return weights.square().sum()

        optimizer.step(closure)
        if faulty:
            done, before = len(asked), weights.detach().clone()
            with pytest.raises(TimeoutError):
                optimizer.step(lambda at=done + fails_at, closure=closure: closure(fail=at))
            assert torch.equal(weights, before)
            assert optimizer.evaluations == done
            del asked[done:]
        optimizer.step(closure)
        runs.append([*asked, weights.detach()])
    assert all(torch.equal(a, b) for a, b in zip(*runs, strict=True))
