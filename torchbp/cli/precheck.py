"""`torchbp precheck`."""

from __future__ import annotations

import argparse

from torchbp.cli.circuits import add_circuit_options, circuit_of, observable_of
from torchbp.cli.options import real, whole
from torchbp.cli.output import Progress, add_json_option, show

DESCRIPTION = """\
Says before the first step whether a circuit will train: verdict, shots a step for an SNR of 3, the price of a run, the
SNR with fewer layers, and other starts, local observables and depths tried on the spot.

exit code 1: a verdict other than healthy."""
EXAMPLE = "torchbp precheck --ansatz hardware_efficient --wires 8 --depth 6 --observable global_z --price 0.0001"


def configure(parser: argparse.ArgumentParser) -> None:
    add_circuit_options(parser)
    parser.add_argument("--init", default="uniform", metavar="NAME", help="where weights start (default uniform)")
    parser.add_argument("--steps", type=whole(1), default=1000, help="optimizer steps of a run (default 1000)")
    parser.add_argument(
        "--budget", type=real(above=0), default=1e8, metavar="SHOTS", help="of a whole run (default 1e8)"
    )
    parser.add_argument("--price", type=real(), metavar="P", help="of a shot, in any currency")
    parser.add_argument(
        "--seconds", type=real(above=0), default=60.0, help="to try depths and remedies in (default 60)"
    )
    parser.add_argument("--seed", type=whole(0), default=0)
    add_json_option(parser)


def run(arguments: argparse.Namespace) -> int:
    from torchbp.trainability import precheck

    with Progress("precheck") as progress:
        found = precheck(
            circuit_of(arguments, arguments.wires),
            observables=observable_of(arguments, arguments.wires),
            init=arguments.init,
            steps=arguments.steps,
            budget=arguments.budget,
            price_per_shot=arguments.price,
            seconds=arguments.seconds,
            seed=arguments.seed,
            progress=progress,
        )
    show(arguments, found.to_dict(), found.report())
    return 130 if found.interrupted else int(not found.fine)
