"""PlateauBench: how often is a diagnosis right, on training runs labelled by an oracle that is not the detector?

python benchmarks/plateaubench --half dev              runs a half, and reports
python benchmarks/plateaubench report --half dev       reports what has been run
python benchmarks/plateaubench label --half dev        asks the oracle, and writes labelled/dev.json
python benchmarks/plateaubench leaderboard             writes leaderboard.md from all results
"""

from __future__ import annotations

import argparse
import json
import logging
import traceback
import warnings
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

from benchmarks.plateaubench import labels, report, runner
from benchmarks.plateaubench.detectors import DETECTORS
from benchmarks.plateaubench.scenarios import HALVES, scenarios_of

DEFAULT_SEEDS = {"dev": 2, "test": 3, "healthy": 1000}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("command", nargs="?", choices=["run", "report", "label", "leaderboard"], default="run")
    parser.add_argument("--half", choices=HALVES, default="dev")
    parser.add_argument("--seeds", type=int, help="seeds of each scenario; by default those that have labels")
    parser.add_argument("--only", nargs="+", metavar="SCENARIO")
    parser.add_argument("--detector", nargs="+", choices=list(DETECTORS), default=["torchbp"])
    parser.add_argument("--jobs", type=int, default=1, help="processes")
    parser.add_argument("--ray", action="store_true", help="on a Ray cluster, or on all cores of this machine")
    parser.add_argument(
        "--results", type=Path, default=Path("plateaubench_results"), help="folder; runs in it are kept"
    )
    parser.add_argument("--json", type=Path, help="write the figures, too")
    arguments = parser.parse_args()
    warnings.filterwarnings("ignore")
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    {"run": run, "report": run, "label": label, "leaderboard": leaderboard}[arguments.command](arguments)


def wanted(arguments: argparse.Namespace) -> list[tuple[str, int]]:
    """(scenario, seed): those asked for, or those that have labels."""
    names = [s.name for s in scenarios_of(arguments.half)]
    unknown = set(arguments.only or ()) - set(names)
    if unknown:
        raise SystemExit(f"No scenario {', '.join(sorted(unknown))} in {arguments.half}; there are {', '.join(names)}.")
    names = [name for name in names if not arguments.only or name in arguments.only]
    known = labels.read(arguments.half)
    if arguments.seeds is None and known and arguments.command != "label":
        return [pair for pair in known if pair[0] in names]
    seeds = DEFAULT_SEEDS[arguments.half] if arguments.seeds is None else arguments.seeds
    return [(name, seed) for name in names for seed in range(seeds)]


def run(arguments: argparse.Namespace) -> None:
    built = {s.name: s.built for s in scenarios_of(arguments.half)}
    known, pairs = labels.read(arguments.half), wanted(arguments)
    path = arguments.results / f"{arguments.half}.jsonl"
    if arguments.command == "run":
        jobs = [runner.Job(arguments.half, *pair, name) for name in arguments.detector for pair in pairs]
        results = runner.run(jobs, path, arguments.jobs, arguments.ray)
    else:
        results = runner.read(path)
    results = [r for r in results if (r["scenario"], r["seed"]) in set(pairs)]
    found = {}
    for name in arguments.detector:
        outcomes = report.judged(results, known, name)
        if outcomes:
            print(f"\n{name}, {arguments.half}\n{report.text(outcomes, built)}")
            found[name] = report.figures(outcomes)
    if "torchbp-guard" in arguments.detector:
        print(f"\nthe guard, against the same runs left alone\n{report.harm_text(results, known)}")
    for result in results:
        if "error" in result and result["detector"] in arguments.detector:
            print(f"\n{result['scenario']} {result['seed']} failed:\n{result['error']}")
    if arguments.json:
        arguments.json.write_text(json.dumps(found, indent=1))


def label(arguments: argparse.Namespace) -> None:
    """Labels that are there already are kept, unless --only names their scenario."""
    known = labels.read(arguments.half)
    pairs = [pair for pair in wanted(arguments) if pair not in known or arguments.only]
    with ProcessPoolExecutor(arguments.jobs, mp_context=get_context("spawn")) as pool:
        for pair, found in zip(pairs, pool.map(labelled, [(arguments.half, *pair) for pair in pairs]), strict=True):
            if found is None:
                print(f"{pair[0]:24} {pair[1]:4}  left out", flush=True)
                continue
            known[pair] = found
            print(f"{pair[0]:24} {pair[1]:4}  {found.intervals}", flush=True)
            labels.write(arguments.half, known)


def labelled(which: tuple[str, str, int]) -> labels.Labels | None:
    """One run's labels; None where the oracle can't tell, which is said."""
    import torch

    from benchmarks.plateaubench import oracle

    torch.set_num_threads(1)
    half, name, seed = which
    scenario = next(s for s in scenarios_of(half) if s.name == name)
    try:
        return oracle.certify(scenario, seed) if half == "healthy" else oracle.label(scenario, seed).compact()
    except Exception:
        traceback.print_exc()  # one run without a label is no reason to lose those of the others
        return None


def leaderboard(arguments: argparse.Namespace) -> None:
    rows: dict[str, dict[str, dict[str, object]]] = {}
    for half in ("test", "healthy"):
        known = labels.read(half)
        results = runner.read(arguments.results / f"{half}.jsonl")
        for name in DETECTORS:
            outcomes = report.judged(results, known, name)
            if outcomes and name != "none":
                rows.setdefault(name, {})[half] = report.figures(outcomes)
    path = Path(__file__).parent / "leaderboard.md"
    path.write_text("# PlateauBench: leaderboard\n\n" + report.leaderboard(rows))
    print(path.read_text())
