"""`torchbp landscape`."""

from __future__ import annotations

import argparse
import math

from torchbp.cli.circuits import add_circuit_options, circuit_of, observable_of
from torchbp.cli.options import picture, real, whole
from torchbp.cli.output import Progress, add_json_option, save, show
from torchbp.errors import InputError

DESCRIPTION = """\
The cost along one or two random directions through random weights, as a picture or as numbers. On a plateau it is flat
nearly everywhere."""
EXAMPLE = "torchbp landscape --wires 6 --depth 4 --observable global_z --plot landscape.png"


def configure(parser: argparse.ArgumentParser) -> None:
    add_circuit_options(parser)
    parser.add_argument("--init", default="uniform", metavar="NAME", help="the point to look around (default uniform)")
    parser.add_argument("--dimensions", type=int, choices=(1, 2), default=2)
    parser.add_argument("--points", type=whole(3), default=41, help="on each axis (default 41)")
    parser.add_argument("--span", type=real(above=0), default=math.pi, help="radians to both sides (default pi)")
    parser.add_argument("--seed", type=whole(0), default=0)
    parser.add_argument("--plot", type=picture, metavar="FILE.png", help="draw it")
    add_json_option(parser)


def run(arguments: argparse.Namespace) -> int:
    import torch

    from torchbp.layer import QuantumLayer
    from torchbp.trainability import landscape

    if arguments.encoding != "none":
        raise InputError("A landscape on the command line takes a circuit without features: leave --encoding out.")
    generator = torch.Generator().manual_seed(arguments.seed)
    n = arguments.wires
    layer = QuantumLayer(
        circuit_of(arguments, n), observable_of(arguments, n), init=arguments.init, generator=generator
    )
    with Progress("landscape") as progress:
        found = landscape(
            layer,
            directions=arguments.dimensions,
            points=arguments.points,
            span=arguments.span,
            generator=generator,
            progress=lambda done, total: progress(f"{done} of {total} points"),
        )
    bound = layer.observables[0].bound
    low, high = float(found.values.min()), float(found.values.max())
    text = (
        f"cost at the center {found.at_center:.4g}; from {low:.4g} to {high:.4g} on the grid, "
        f"{found.spread / (2 * bound):.1%} of what the observable can take"
    )
    show(arguments, found.to_dict(), text)
    if arguments.plot:
        from torchbp.plots import landscape as draw

        save(draw(found), arguments.plot)
    return 0
