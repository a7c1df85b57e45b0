"""`torchbp doctor`."""

from __future__ import annotations

import argparse
import platform
from dataclasses import asdict, dataclass
from importlib import import_module
from importlib.metadata import PackageNotFoundError, requires, version
from importlib.util import find_spec
from typing import Any

from torchbp import __version__
from torchbp.cli.output import add_json_option, show
from torchbp.errors import TorchBPError

DESCRIPTION = """\
Shows versions, devices and optional packages, and for everything that is missing the command that installs it.

exit code 1: something that torchbp can't do without is missing or broken."""
EXAMPLE = "torchbp doctor"


@dataclass(frozen=True)
class Check:
    """One thing looked at; `state` is "ok", "missing" (optional) or "broken" (needed): not there, or unfit."""

    name: str
    state: str
    found: str
    mend: str = ""


NEEDED = ("torch", "numpy", "scipy", "lightning", "torchmetrics", "tensorboard", "matplotlib", "qiskit")

OPTIONAL = {  # module: distribution, what for, how to get it
    "sklearn": ("scikit-learn", "demo", "torchbp[demo]"),
    "jsonargparse": ("jsonargparse", "train", "torchbp[cli]"),
    "optuna": ("optuna", "resumable search", "torchbp[optuna]"),
    "ray": ("ray", "search on a cluster", "torchbp[ray]"),
    "qiskit_aer": ("qiskit-aer", "circuits on Qiskit Aer", "torchbp[qiskit]"),
    "qiskit_ibm_runtime": ("qiskit-ibm-runtime", "machines of IBM Quantum", "torchbp[ibm]"),
}


def configure(parser: argparse.ArgumentParser) -> None:
    add_json_option(parser)


def run(arguments: argparse.Namespace) -> int:
    checks = examine()
    show(arguments, {"checks": [asdict(check) for check in checks]}, report(checks))
    return int(any(check.state == "broken" for check in checks))


def examine() -> list[Check]:
    """Everything, in the order it is shown."""
    checks = [Check("torchbp", "ok", __version__), Check("python", "ok", platform.python_version())]
    checks += [_package(name, name, "broken", f'pip install "{name}"') for name in NEEDED]
    checks += [_bridge(), *_devices()]
    for module, (package, purpose, extra) in OPTIONAL.items():
        mend = f"pip install '{extra}'"
        checks.append(_package(module, package, "missing", mend, purpose))
    return checks


def report(checks: list[Check]) -> str:
    """A line for each check, and the commands at the end."""
    width = max(len(check.name) for check in checks)
    lines = [f"{check.state.ljust(8)}{check.name.ljust(width)}  {check.found}" for check in checks]
    mends = [f"  {check.mend}" for check in checks if check.mend]
    return "\n".join([*lines, *(["", "To mend or add:", *mends] if mends else [])])


def _package(module: str, package: str, missing: str, mend: str, purpose: str = "") -> Check:
    what = f" ({purpose})" if purpose else ""
    try:
        if find_spec(module) is None:
            return Check(package, missing, "-" + what, mend)
        found, bounds = version(package), _bounds(package)
        if bounds and not bounds.contains(found, prereleases=True):
            return Check(
                package, missing, f"{found}, and torchbp takes {bounds}{what}", f'pip install "{package}{bounds}"'
            )
        return Check(package, "ok", found + what)
    except (PackageNotFoundError, ImportError, ValueError) as error:
        return Check(package, missing, f"{type(error).__name__}: {error}{what}", mend)


def _bounds(package: str) -> Any:
    """The versions of a package that torchbp takes, as its own metadata has them; None where they say nothing."""
    from packaging.requirements import Requirement

    for line in requires("torchbp") or []:
        requirement = Requirement(line)
        if requirement.name.lower() == package and requirement.specifier:
            return requirement.specifier
    return None


def _bridge() -> Check:
    """Whether TorchQuantum can be imported beside what else is installed, which torchbp sees to."""
    try:
        bridge = import_module("torchbp._torchquantum")
        count = len(bridge.op_name_dict)
        return Check("torchquantum", "ok", f"{version('torchquantum')}, imported beside Qiskit, {count} gate names")
    except (TorchBPError, ImportError, PackageNotFoundError) as error:
        return Check("torchquantum", "broken", str(error), "pip install --no-deps torchquantum==0.1.8")


def _devices() -> list[Check]:
    try:
        import torch
    except ImportError:
        return []
    found = [Check("cpu", "ok", f"{torch.get_num_threads()} threads")]
    for i in range(torch.cuda.device_count() if torch.cuda.is_available() else 0):
        found.append(Check(f"cuda:{i}", "ok", torch.cuda.get_device_name(i)))
    if torch.backends.mps.is_available():
        found.append(Check("mps", "ok", "Apple GPU"))
    return found
