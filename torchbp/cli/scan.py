"""`torchbp scan`."""

from __future__ import annotations

import argparse

from torchbp.cli.circuits import add_circuit_options, circuit_of, observable_of
from torchbp.cli.options import new_file, picture, real, whole
from torchbp.cli.output import Progress, add_json_option, save, show

DESCRIPTION = """\
Measures the variance of the cost and of its gradient over random weights for several numbers of wires, and says which
law they follow. A plateau is an exponential. Beyond 20 wires it walks Pauli paths instead of simulating (--method): any
number of wires. With --file, an interrupted scan continues where it was.

exit code 1: the gradient's variance falls exponentially."""
EXAMPLE = "torchbp scan --ansatz alternating_layered --wires 2 4 6 8 --observable global_z --file scan.npz"


def configure(parser: argparse.ArgumentParser) -> None:
    add_circuit_options(parser, sizes=True)
    parser.add_argument(
        "--depth-per-wire", type=whole(1), metavar="K", help="K n layers on n wires, instead of --depth"
    )
    parser.add_argument("--method", default="auto", metavar="NAME", help="auto (default), simulate or paths")
    parser.add_argument("--paths", type=whole(1), default=20_000, help="Pauli paths for each size (default 20000)")
    parser.add_argument("--samples", type=whole(3), default=512, help="random weights for each size (default 512)")
    parser.add_argument(
        "--tolerance", type=real(above=0, below=1), help="relative error at which a size has enough samples"
    )
    parser.add_argument("--init", default="uniform", metavar="NAME", help="where weights are drawn (default uniform)")
    parser.add_argument("--shots", type=whole(1), help="measure with so many shots; their noise is subtracted")
    parser.add_argument("--seed", type=whole(0), default=0)
    parser.add_argument("--file", type=new_file, metavar="SCAN.npz", help="keeps what was measured, to continue from")
    parser.add_argument("--plot", type=picture, metavar="SCAN.png", help="draw the variances and their law")
    add_json_option(parser)


def run(arguments: argparse.Namespace) -> int:
    from torchbp.trainability import Progress as Step
    from torchbp.trainability import VarianceScan, variance_scan

    progress = Progress("scan")

    def step(at: Step) -> None:
        progress(f"{at.n_wires} wires, {at.samples} draws; {at.done / at.total:.0%} of all")

    def depth(n: int) -> int:
        return arguments.depth_per_wire * n if arguments.depth_per_wire else arguments.depth

    rows: dict[int, VarianceScan] = {}
    stopped = False
    sizes = sorted(set(arguments.wires))
    try:
        with progress:
            for upto in range(1, len(sizes) + 1):  # size by size, so that what was measured is there when stopped
                rows[upto] = variance_scan(
                    lambda n: circuit_of(arguments, n, depth(n)),
                    [sizes[upto - 1]],
                    lambda n: observable_of(arguments, n),
                    method=arguments.method,
                    samples=arguments.samples,
                    paths=arguments.paths,
                    tolerance=arguments.tolerance,
                    init=arguments.init,
                    shots=arguments.shots,
                    seed=arguments.seed,
                    file=arguments.file,
                    progress=step,
                )
    except KeyboardInterrupt:
        stopped = True
    if not rows:
        return 130
    parts = list(rows.values())
    settings = parts[0].settings | {"observable": arguments.observable}
    found = VarianceScan(tuple(row for part in parts for row in part.rows), settings)
    show(arguments, found.to_dict(), f"{found.table()}\n\n{found.text}")
    if arguments.plot:
        from torchbp.plots import variance_scaling

        save(variance_scaling(found), arguments.plot)
    return 130 if stopped else int(found.verdict == "exponential")
