"""`torchbp lie`."""

from __future__ import annotations

import argparse
import sys

from torchbp.cli.circuits import add_circuit_options, circuit_of, observable_of
from torchbp.cli.options import whole
from torchbp.cli.output import Progress, add_json_option, show

DESCRIPTION = """\
The dynamical Lie algebra of a circuit: its dimension, its ideals, and the variance of the cost that they predict for
deep circuits. With three or more numbers of wires, how the dimension grows.

exit code 1: it grows exponentially."""
EXAMPLE = "torchbp lie --ansatz hamiltonian_variational --hamiltonian tfim --wires 4 6 8 10 --observable tfim"


def configure(parser: argparse.ArgumentParser) -> None:
    add_circuit_options(parser, sizes=True)
    parser.set_defaults(wires=[4])
    parser.add_argument("--max-dimension", type=whole(1), default=2**18, help="where to stop (default 262144)")
    add_json_option(parser)


def run(arguments: argparse.Namespace) -> int:
    from torchbp.errors import CapacityError
    from torchbp.trainability import LieAlgebra, lie_algebra
    from torchbp.trainability.algebras.lie_growth import growth_of

    progress, found, stopped = Progress("lie"), list[LieAlgebra](), False
    try:
        with progress:
            for n in sorted(set(arguments.wires)):
                progress(f"{n} wires")
                circuit, observable = circuit_of(arguments, n), observable_of(arguments, n)
                found.append(lie_algebra(circuit, observable, max_dimension=arguments.max_dimension))
                if not found[-1].complete:
                    break
    except CapacityError as error:
        if not found:
            raise
        print(f"torchbp lie: stopped at {n} wires: {error}", file=sys.stderr)
    except KeyboardInterrupt:
        stopped = True
    if len(found) > 1:
        growth = growth_of(found)
        show(arguments, growth.to_dict(), growth.report())
    elif found:
        show(arguments, found[0].to_dict(), found[0].report())
    return 130 if stopped else int(len(found) > 1 and growth.verdict == "exponential")
