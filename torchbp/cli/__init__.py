"""The command line `torchbp`: one file a command, each loaded when it is called.

Exit codes: 0 fine, 1 a finding that each command's help names (such as a plateau), 2 an error in what was asked for,
130 stopped by Ctrl-C, with what was found until then on the screen.
"""

from __future__ import annotations

import argparse
import difflib
import sys
from collections.abc import Sequence
from importlib import import_module

from torchbp import __version__
from torchbp.errors import TorchBPError

COMMANDS = {
    "demo": "train a hybrid network on handwritten digits and show its gradients",
    "precheck": "will a circuit train, at what price, and what would help",
    "scan": "how gradients scale with the number of wires",
    "lie": "the dynamical Lie algebra of a circuit, and what follows from it",
    "landscape": "a picture of the cost around a point",
    "search": "the best of many circuits, by trainability and by their score on a task",
    "train": "train a model from YAML files or options (LightningCLI)",
    "export": "a circuit as OpenQASM or QPY, for Qiskit",
    "report": "a training run as one page of HTML",
    "doctor": "what is installed, what is missing, and the command that mends it",
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; `argv` without the program's name. Returns the exit code."""
    words = list(sys.argv[1:] if argv is None else argv)
    if not words or words[0] in ("-h", "--help", "help"):
        print(overview())
        return 0 if words else 2
    if words[0] in ("-V", "--version"):
        print(f"torchbp {__version__}")
        return 0
    name = words[0]
    if name not in COMMANDS:
        close = difflib.get_close_matches(name, COMMANDS, n=1)
        hint = f" Did you mean {close[0]!r}?" if close else ""
        print(f"torchbp: there is no command {name!r}.{hint} Commands: {', '.join(COMMANDS)}.", file=sys.stderr)
        return 2
    module = import_module(f"torchbp.cli.{name}")
    parser = Parser(name, module)
    try:
        if hasattr(module, "run_words"):  # a command with a parser of its own
            return int(module.run_words(words[1:]))
        return int(module.run(parser.parse(words[1:])))
    except KeyboardInterrupt:
        print(f"\ntorchbp {name}: stopped.", file=sys.stderr)
        return 130
    except TorchBPError as error:
        print(f"torchbp {name}: {error}", file=sys.stderr)
        return 2
    except SystemExit as end:  # argparse: help or an error, said already
        return end.code if isinstance(end.code, int) else int(end.code is not None)
    except BrokenPipeError:  # whoever reads our output has seen enough
        sys.stderr.close()
        return 0


def overview() -> str:
    """What `torchbp --help` shows."""
    width = max(map(len, COMMANDS))
    lines = [f"  {name.ljust(width)}  {text}" for name, text in COMMANDS.items()]
    return "\n".join(
        [
            "usage: torchbp COMMAND [OPTIONS]",
            "",
            "Find, explain and treat vanishing gradients in hybrid quantum-classical networks.",
            "",
            "commands:",
            *lines,
            "",
            "torchbp COMMAND --help shows a command's options and an example.",
            "Exit codes: 0 fine, 1 a finding, 2 an error in what was asked for, 130 stopped by Ctrl-C.",
        ]
    )


class Parser(argparse.ArgumentParser):
    """argparse with a suggestion for what was misspelt; a command gives DESCRIPTION, EXAMPLE and `configure`."""

    def __init__(self, name: str, module: object) -> None:
        super().__init__(
            prog=f"torchbp {name}",
            description=getattr(module, "DESCRIPTION", None),
            epilog=f"example:\n  {getattr(module, 'EXAMPLE', '')}",
            formatter_class=argparse.RawDescriptionHelpFormatter,
            allow_abbrev=False,
        )
        configure = getattr(module, "configure", None)
        if configure is not None:
            configure(self)

    def parse(self, words: Sequence[str]) -> argparse.Namespace:
        """The arguments, or exit 2 with a suggestion."""
        found, unknown = self.parse_known_args(words)
        if unknown:
            known = [option for action in self._actions for option in action.option_strings]
            name = unknown[0].partition("=")[0]
            close = difflib.get_close_matches(name, known, n=1)
            hint = f" Did you mean {close[0]}?" if close else f" Options: {', '.join(known)}."
            self.error(f"there is no option {name}.{hint}" if name.startswith("-") else f"what is {name!r}?{hint}")
        return found
