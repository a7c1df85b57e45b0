"""The command line `torchbp`: one file a command, each loaded when it is called.

Exit codes: 0 fine, 1 a finding that each command's help names (such as a plateau), 2 an error in what was asked for,
3 an error that nobody foresaw, with its traceback, 130 stopped by Ctrl-C, with what was found until then on the screen.
"""

from __future__ import annotations

import argparse
import difflib
import os
import re
import sys
import traceback
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
    name = words[0] if words else "--help"
    who = f"torchbp {name}" if name in COMMANDS else "torchbp"
    try:
        try:
            code = _command(name, words[1:]) if words else _overview() or 2
        except SystemExit as end:  # argparse: help or an error, said already
            code = end.code if isinstance(end.code, int) else 2 * int(end.code is not None)
        sys.stdout.flush()  # what can't be written is told here, not by the interpreter as it ends
        return code
    except KeyboardInterrupt:
        print(f"\n{who}: stopped.", file=sys.stderr)
        return 130
    except TorchBPError as error:
        print(f"{who}: {error}", file=sys.stderr)
        return 2
    except BrokenPipeError:  # whoever reads our output has seen enough
        _forget_output()
        return 0
    except OSError as error:
        if name == "train":  # anybody's code: where it failed is worth more than a line
            return _crashed(who)
        what = f"{error.filename}: {error.strerror}" if error.filename else str(error.strerror or error)
        print(f"{who}: {what}. Give another place to write to, or read from.", file=sys.stderr)
        _forget_output()
        return 2
    except Exception:
        return _crashed(who)


def _command(name: str, words: Sequence[str]) -> int:
    if name in ("-h", "--help", "help"):
        return _overview()
    if name in ("-V", "--version"):
        print(f"torchbp {__version__}")
        return 0
    if name not in COMMANDS:
        close = difflib.get_close_matches(name, COMMANDS, n=1)
        hint = f" Did you mean {close[0]!r}?" if close else ""
        raise TorchBPError(f"there is no command {name!r}.{hint} Commands: {', '.join(COMMANDS)}.")
    module = import_module(f"torchbp.cli.{name}")
    if hasattr(module, "run_words"):  # a command with a parser of its own
        return int(module.run_words(list(words)))
    parser = Parser(name, module)
    try:
        return int(module.run(parser.parse(words)))
    except TorchBPError as error:
        raise TorchBPError(parser.as_options(str(error))) from error


def _overview() -> int:
    print(overview())
    return 0


def _crashed(who: str) -> int:
    traceback.print_exc()
    print(f"{who}: stopped by an error that nobody foresaw (above); this is no finding.", file=sys.stderr)
    return 3


def _forget_output() -> None:
    """What is left in stdout's buffer would fail again, with an exit code of the interpreter's own."""
    try:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except (OSError, ValueError):  # stdout is no file: captured, or closed
        return


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
            "Exit codes: 0 fine, 1 a finding, 2 an error in what was asked for, 3 a crash, 130 stopped by Ctrl-C.",
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

    def as_options(self, text: str) -> str:
        """A message about Python's arguments (shots=, ...) as one about the options of the same names."""
        options = {action.dest: action.option_strings[-1] for action in self._actions if action.option_strings}
        return re.sub(r"\b([a-z_]+)=(?=[\s,;:.)])", lambda found: options.get(found[1], found[0]), text)

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
