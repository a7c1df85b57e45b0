"""`torchbp search`."""

from __future__ import annotations

import argparse
from itertools import product

from torchbp.circuits import Circuit
from torchbp.cli.circuits import add_circuit_options, circuit_of, observable_of
from torchbp.cli.options import real, whole
from torchbp.cli.output import Progress, add_json_option, show

DESCRIPTION = """\
Ranks ansätze and depths: first by precheck, then by the energy they reach when the observable is minimized, in rungs of
fewer candidates with more steps each. For a task of your own, call torchbp.trainability.search from Python.

exit code 1: all candidates are on a barren plateau."""
EXAMPLE = (
    "torchbp search --ansaetze hardware_efficient real_amplitudes --depths 1 2 4 --wires 4 --observable tfim "
    "--budget 1000 --storage sqlite:///search.db"
)


def configure(parser: argparse.ArgumentParser) -> None:
    add_circuit_options(parser)
    parser.add_argument("--ansaetze", nargs="+", metavar="NAME", help="to choose from, instead of --ansatz")
    parser.add_argument("--depths", nargs="+", type=whole(1), metavar="L", help="to choose from, instead of --depth")
    parser.add_argument(
        "--budget", type=whole(0), default=600, metavar="STEPS", help="training steps in all (default 600)"
    )
    parser.add_argument("--learning-rate", type=real(above=0), default=0.05)
    parser.add_argument("--runner", default="local", metavar="NAME", help="local or ray")
    parser.add_argument("--storage", metavar="URL", help="an Optuna storage, to continue from")
    parser.add_argument("--seed", type=whole(0), default=0)
    add_json_option(parser)


def run(arguments: argparse.Namespace) -> int:
    from torchbp.trainability import search

    observable, candidates = observable_of(arguments, arguments.wires), dict[str, Circuit]()
    for name, depth in product(arguments.ansaetze or [arguments.ansatz], arguments.depths or [arguments.depth]):
        arguments.ansatz = name
        candidates[f"{name}, depth {depth}"] = circuit_of(arguments, arguments.wires, depth)
    with Progress("search") as progress:
        found = search(
            candidates,
            arguments.budget,
            observables=observable,
            learning_rate=arguments.learning_rate,
            seed=arguments.seed,
            runner=arguments.runner,
            storage=arguments.storage,
            progress=progress,
        )
    show(arguments, found.to_dict(), found.report())
    plateaus = [s.verdict == "barren_plateau" for s in found.history if s.rung == 0]
    return 130 if found.interrupted else int(all(plateaus))
