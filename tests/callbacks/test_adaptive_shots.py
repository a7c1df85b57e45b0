"""AdaptiveShots: how many by hand, and what becomes of them in a fit."""

from __future__ import annotations

import copy
import math
from typing import Any

import lightning.pytorch as L
import pytest
from scripted import Model, Scripted, fit, verdict

from torchbp.callbacks import AdaptiveShots, ShotBudget, adaptive_shots
from torchbp.callbacks.adaptive_shots import layer_snr, lowered, raised
from torchbp.callbacks.records.measurement import COLUMNS, Measurement
from torchbp.errors import InputError
from torchbp.gradients.stats import LayerSummary

STEP = 8 * (1 + 2 * 12 + 2 * 2)  # samples * circuits


def layer(snr: float, name: str = "core/layer1", source: str = "microbatch", kind: str = "quantum") -> Any:
    numbers: dict[str, Any] = dict.fromkeys(COLUMNS, 8.0)
    return LayerSummary(name, kind, source, **numbers | {"snr": snr})  # type: ignore[arg-type]


def adaptive(script: Any = None, **options: Any) -> AdaptiveShots:
    detector = Scripted({1: "shot_limited"} if script is None else script)
    return AdaptiveShots(detector, **options)


class Measures(L.Callback):
    """Puts an SNR into the monitor's history at the end of every step."""

    def __init__(self, remedy: AdaptiveShots, *snr: float) -> None:
        self.remedy, self.snr = remedy, snr
        self.shots: list[int] = []

    def on_train_batch_end(self, trainer: Any, pl_module: Any, *_: Any) -> None:
        step = self.remedy.step
        self.shots.append(pl_module.core.shots)
        snr = self.snr[min(step, len(self.snr) - 1)]
        self.remedy.detector.monitor.history.append(Measurement(step, (layer(snr),)))


def test_how_many_by_hand():
    """Oracle: S (target / snr)^2, within a factor of 2 to 4 up, 4 down."""
    assert [raised(100, snr, 3.0) for snr in (1.0, 1.75, 2.9, 0.0, math.nan)] == [400, 294, 200, 400, 200]
    assert [lowered(100, snr, 3.0) for snr in (6.0, 9.0, 100.0, math.inf)] == [57, 25, 25, 25]


def test_snr_of_a_layer():
    """Oracle: by hand: medians over measurements, the lowest of the parts, quantum and from micro-batches only."""
    first = Measurement(0, (layer(1.0), layer(9.0, "core/layer2"), layer(0.1, "core.head", kind="classical")))
    second = Measurement(1, (layer(3.0), layer(math.nan, "core/layer2"), layer(0.1, "other/layer1")))
    assert layer_snr([first, second], "core") == 2.0
    assert math.isnan(layer_snr([Measurement(0, (layer(1.0, source="per_sample"),))], "core"))


def test_shots_rise_at_the_verdict_and_come_back_after_the_fit():
    """Oracle: by hand: SNR 1.5 takes four times the shots, and at most 600."""
    model, remedy = Model(shots=100), adaptive({1: "shot_limited", 3: "shot_limited", 5: "shot_limited"}, max_shots=600)
    measures = Measures(remedy, 1.5)
    fit(model, [remedy, measures])
    assert measures.shots == [100, 100, 400, 400] + 8 * [600]
    assert [(event.step, event.kind) for event in remedy.events] == [(2, "shots"), (4, "shots")]
    assert remedy.events[0].data["snr"] == {"core": 1.5}
    assert model.core.shots == 100


@pytest.fixture(autouse=True)
def _two_measurements(monkeypatch):
    """Suffice here to judge an SNR by."""
    monkeypatch.setattr(adaptive_shots, "RECENT", 2)


def test_shots_that_are_wasted_are_saved():
    """Oracle: by hand: after a window of two measurements above 6; SNR 9 needs a quarter for 4.5."""
    model, remedy = Model(shots=100), adaptive({}, min_shots=20)
    measures = Measures(remedy, 9.0)
    fit(model, [remedy, measures])
    assert measures.shots == [100, 100, 25, 25] + 8 * [20]
    assert model.core.shots == 100


def test_one_clear_measurement_is_not_enough():
    """Oracle: nothing happens."""
    remedy = adaptive({})
    measures = Measures(remedy, 9.0, 5.0, 9.0, 5.0, 9.0, 5.0)
    fit(Model(shots=100), [remedy, measures])
    assert set(measures.shots) == {100}


def test_a_budget_limits_the_rise():
    """Oracle: fifty batches at the new shots must be left: as many as make the factor 1.6, or none."""
    for total, wanted in [(50 * 100 * STEP * 1.6 + 4 * 100 * STEP, 160), (40 * 100 * STEP, 100)]:
        remedy = adaptive()
        measures = Measures(remedy, 1.5)
        budget = ShotBudget(int(total))
        fit(Model(shots=100), [remedy, measures, budget], max_epochs=1)
        assert measures.shots[-1] == pytest.approx(wanted, abs=3)
        assert remedy.events[0].kind == "shots"


def test_a_rise_leaves_as_many_steps_as_there_were():
    """At step 80. Oracle: by hand: the budget pays for 160 more, or for 80 at twice the shots."""
    remedy = adaptive({79: "shot_limited"})
    measures = Measures(remedy, 0.5)
    total = (80 + 1 + 160) * 100 * STEP  # the first measurement of the monitor is one more
    fit(Model(shots=100), [remedy, measures, ShotBudget(total)], max_epochs=21)
    assert measures.shots[79] == 100
    assert measures.shots[80] == pytest.approx(200, abs=4)


def test_only_the_layers_of_the_verdict():
    """Oracle: the other layer keeps its shots."""
    model = Model(shots=100)
    model.encoder = copy.deepcopy(model.core)
    remedy, shots = adaptive({}), []

    class Look(L.Callback):
        def on_train_batch_end(self, trainer: Any, pl_module: Any, *_: Any) -> None:
            shots.append((pl_module.encoder.shots, pl_module.core.shots))

    name = next(iter(model.core.weight_groups))
    remedy.detector.script = {1: verdict("shot_limited", (f"core/{name}",))}
    fit(model, [remedy, Look()], max_epochs=1)
    assert shots[:2] == [(100, 100)] * 2
    assert all(one == 100 and 200 <= other <= 400 for one, other in shots[2:])


def test_shots_that_would_resolve_nothing_are_not_raised():
    """Oracle: by hand: an SNR of 1 takes a ninth of what resolves, and 600 are allowed, or 160 affordable."""
    affordable = int(50 * 100 * STEP * 1.6 + 4 * 100 * STEP)
    for name, resolve, total, kinds in [
        ("shot_limited", 9 * 599, None, ["shots"]),
        ("shot_limited", 9 * 601, None, []),
        ("shot_limited", 9 * 150, affordable, ["shots"]),
        ("shot_limited", 9 * 170, affordable, []),
        ("converged", 9 * 601, None, []),
    ]:
        remedy = adaptive({1: verdict(name, shots_to_resolve=resolve)}, max_shots=600)
        budget = [] if total is None else [ShotBudget(total)]
        fit(Model(shots=100), [remedy, Measures(remedy, 0.5), *budget], max_epochs=1)
        assert [event.kind for event in remedy.events] == kinds


def test_converged_may_mean_as_far_as_these_shots_go():
    """Oracle: by hand: more shots where the SNR is that of noise, none where it is not, or a target is known."""
    for snr, target, kinds in [(0.7, None, ["shots"]), (1.5, None, []), (0.7, 0.1, [])]:
        remedy = adaptive({1: verdict("converged")})
        remedy.detector.target = target
        fit(Model(shots=100), [remedy, Measures(remedy, snr)], max_epochs=1)
        assert [event.kind for event in remedy.events] == kinds


def test_exact_layers_have_no_shots_to_raise():
    """Oracle: nothing happens."""
    model, remedy = Model(), adaptive()
    fit(model, [remedy])
    assert remedy.events == []
    assert model.core.shots is None


def test_dry_run():
    """Oracle: the layer keeps its shots; what would be done is said."""
    for snr, text in [(1.5, "Would raise the shots for each circuit from 100 to 400"), (9.0, "Would lower")]:
        remedy = adaptive(None if snr < 3 else {}, dry_run=True)
        measures = Measures(remedy, snr)
        fit(Model(shots=100), [remedy, measures])
        assert set(measures.shots) == {100}
        assert remedy.events[0].message.startswith(text)
        assert {event.kind for event in remedy.events} == {"dry_run"}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"target_snr": 0.0}, "target_snr is a positive finite number, got 0.0"),
        ({"max_shots": 5}, "1 <= min_shots <= max_shots must hold, got 10 and 5"),
        ({"min_shots": 0}, "min_shots is a whole number of at least 1, got 0"),
    ],
)
def test_wrong_arguments(options, message):
    """Said where they are given."""
    with pytest.raises(InputError, match=message):
        adaptive(**options)
