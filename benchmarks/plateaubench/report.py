"""The tables that are printed, the figures that are stored, and the leaderboard."""

from __future__ import annotations

import math
import statistics
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from benchmarks.plateaubench.labels import Labels
from benchmarks.plateaubench.score import (
    Outcome,
    accuracy,
    bootstrap,
    calibration_error,
    clopper_pearson,
    f1,
    harm,
    judge,
    macro_f1,
    reliability,
)

Results = Sequence[dict[str, Any]]
All = dict[tuple[str, int], Labels]


def judged(results: Results, labels: All, detector: str) -> list[Outcome]:
    """The runs of a detector that went through and have a label."""
    return [
        judge(r, labels[r["scenario"], r["seed"]])
        for r in sorted(results, key=lambda r: (r["scenario"], r["seed"]))
        if r["detector"] == detector and "error" not in r and (r["scenario"], r["seed"]) in labels
    ]


def figures(outcomes: Sequence[Outcome]) -> dict[str, Any]:
    """All numbers of one detector on one half."""
    well = [o for o in outcomes if o.well]
    alarms = sum(not o.right for o in well)
    flat = [o for o in outcomes if _is_flat(o)]
    in_time = sum(o.delay <= 0.1 for o in flat)
    delays = [o.delay for o in outcomes if math.isfinite(o.delay)]
    told = [o.layers_right for o in outcomes if o.layers_right is not None]
    bins = reliability(outcomes)
    return {
        "runs": len(outcomes),
        "macro_f1": macro_f1(outcomes),
        "macro_f1_interval": bootstrap(outcomes, macro_f1),
        "f1": f1(outcomes),
        "accuracy": accuracy(outcomes),
        "accuracy_interval": bootstrap(outcomes, accuracy),
        "healthy": len(well),
        "false_alarms": alarms,
        "false_alarm_interval": clopper_pearson(alarms, len(well)) if well else (0.0, 1.0),
        "median_delay": statistics.median(delays) if delays else None,
        "plateaus": len(flat),
        "plateaus_named": sum(o.right and o.at is not None for o in flat),
        "plateaus_named_within_a_tenth": in_time,
        "layers_right": [sum(told), len(told)],
        "reliability": [asdict(b) for b in bins],
        "calibration_error": calibration_error(bins),
    }


def _is_flat(outcome: Outcome) -> bool:
    return outcome.truth == "barren_plateau" and not outcome.well


def text(outcomes: Sequence[Outcome], built: dict[str, str]) -> str:
    """A confusion table, a row a scenario, and the figures."""
    lines = ["rows: what is so; columns: the first verdict that somebody would act on", *_confusion(outcomes), ""]
    by_name: dict[str, list[Outcome]] = {}
    for outcome in outcomes:
        by_name.setdefault(outcome.scenario, []).append(outcome)
    for name, group in by_name.items():
        said = Counter(f"{'' if o.right else '!'}{o.verdict}" for o in group)
        when = "/".join("-" if o.at is None else str(o.at) for o in group[:6])
        words = ", ".join(f"{n} {verdict}" for verdict, n in said.most_common())
        lines.append(
            f"{name:24} {built.get(name, ''):15} {sum(o.right for o in group):2}/{len(group):<3} {words}  @{when}"
        )
    return "\n".join([*lines, "", *summary(figures(outcomes))])


def _confusion(outcomes: Sequence[Outcome]) -> list[str]:
    rows = sorted({o.truth for o in outcomes})
    columns = sorted({o.truth for o in outcomes} | {o.verdict for o in outcomes})
    counts = Counter((o.truth, o.verdict) for o in outcomes)
    table = [" " * 16 + "".join(f"{name[:9]:>10}" for name in columns)]
    return table + [f"{row:16}" + "".join(f"{counts[row, c] or '.':>10}" for c in columns) for row in rows]


def summary(found: dict[str, Any]) -> list[str]:
    low, high = found["macro_f1_interval"]
    upper = found["false_alarm_interval"][1]
    share = found["false_alarms"] / found["healthy"] if found["healthy"] else math.nan
    right, told = found["layers_right"]
    return [
        f"{found['runs']} runs: macro-F1 {found['macro_f1']:.3f} (95% {low:.3f} to {high:.3f}), "
        f"accuracy {found['accuracy']:.3f}",
        f"false alarms: {found['false_alarms']} of {found['healthy']} healthy runs, {share:.2%} (up to {upper:.2%})",
        f"plateaus named: {found['plateaus_named']} of {found['plateaus']}, "
        f"{found['plateaus_named_within_a_tenth']} within a tenth of the budget",
        f"right verdicts came {found['median_delay'] or 0:.0%} of the budget after the onset (median)",
        f"layers: {right} of {told} right; calibration error {found['calibration_error']:.3f}",
        *(
            f"  confidence {b['low']:.1f} to {b['high']:.1f}: {b['right']:.2f} right of {b['count']} "
            f"({b['interval'][0]:.2f} to {b['interval'][1]:.2f})"
            for b in found["reliability"]
        ),
    ]


def harm_text(results: Results, labels: All, guard: str = "torchbp-guard", alone: str = "none") -> str:
    """What the guard did to runs, against the same seeds left alone."""
    by_key = {(r["scenario"], r["seed"], r["detector"]): r for r in results if "error" not in r}
    pairs = [
        harm(r, by_key[name, seed, alone], labels[name, seed])
        for (name, seed, detector), r in sorted(by_key.items())
        if detector == guard and (name, seed, alone) in by_key and (name, seed) in labels
    ]
    found = [pair for pair in pairs if pair is not None]
    well = [h for h in found if h.well]
    lines = []
    for title, group in (("healthy", well), ("other", [h for h in found if not h.well])):
        touched = [h for h in group if h.stopped or h.deeds]
        better, worse = sum(h.loss < -0.02 for h in touched), sum(h.harmed for h in group)
        changed = sum(bool(h.deeds) for h in group)
        lines.append(
            f"{title} runs: {len(group)}, stopped {sum(h.stopped for h in group)}, changed {changed}; of these "
            f"{better} better and {worse} worse by more than a fiftieth of what the task gives"
        )
    for h in found:
        if h.harmed:
            lines.append(f"  {h.scenario} {h.seed}: {h.loss:+.3f}{' stopped' if h.stopped else ''} {' '.join(h.deeds)}")
    return "\n".join(lines)


def leaderboard(rows: dict[str, dict[str, dict[str, Any]]]) -> str:
    """Markdown: a row a detector, from {detector: {half: figures}}."""
    lines = [
        "| detector | macro-F1, test (95%) | accuracy, test | plateaus named, in time "
        "| false alarms, healthy (95% up to) | calibration error |",
        "|---|--:|--:|--:|--:|--:|",
    ]
    ranked = sorted(rows.items(), key=lambda item: -item[1].get("test", {}).get("macro_f1", -1.0))
    for name, halves in ranked:
        test, healthy = halves.get("test"), halves.get("healthy")
        cells = ["", "", "", "", ""]
        if test:
            low, high = test["macro_f1_interval"]
            cells[0] = f"{test['macro_f1']:.3f} ({low:.2f} to {high:.2f})"
            cells[1] = f"{test['accuracy']:.3f}"
            cells[2] = f"{test['plateaus_named']}, {test['plateaus_named_within_a_tenth']} of {test['plateaus']}"
            error = test["calibration_error"]
            cells[4] = "" if math.isnan(error) else f"{error:.3f}"
        if healthy:
            upper = healthy["false_alarm_interval"][1]
            cells[3] = f"{healthy['false_alarms']} of {healthy['healthy']} ({upper:.1%})"
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"
