"""Imports go one way, and files stay small: the table of ARCHITECTURE.md, read from the source."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
FOLDERS = {
    "torchbp": ROOT / "torchbp",
    "torchbp.models": ROOT / "models",
    "torchbp.callbacks": ROOT / "callbacks",
}

# Each may import those above it and itself. Names on one line do not import each other.
LAYERS = [
    {"errors", "tensorboard"},
    {"circuits"},
    {"_torchquantum"},
    {"backends"},
    {"tracing", "sharing"},
    {"provenance"},
    {"translation"},
    {"layer"},
    {"gradients", "optim"},
    {"trainability", "hardware"},
    {"plots"},
    {"models", "callbacks"},
    {"cli"},
    {"__main__"},
]
RANK = {name: rank for rank, names in enumerate(LAYERS) for name in names}
LIGHTNING = {"lightning", "pytorch_lightning"}


def sources() -> dict[str, Path]:
    """Every file of the package by the name it is imported by."""
    found = {}
    for package, folder in FOLDERS.items():
        for path in folder.rglob("*.py"):
            parts = [package, *path.relative_to(folder).with_suffix("").parts]
            found[".".join(parts)] = path
    return found


def imports(module: str, source: str) -> set[str]:
    """Full names that a file imports anywhere, under TYPE_CHECKING and in functions too."""
    names = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            parent = module.split(".")[: -node.level] if node.level else []
            origin = [*parent, *([node.module] if node.module else [])]
            names |= {".".join([*origin, alias.name]) for alias in node.names}
    return names


def violations(module: str, source: str) -> list[str]:
    """What a file imports against the table; `module` is its name, `torchbp.__init__` the top-level one."""
    own = module.split(".")[1]
    found = []
    if own not in RANK and own != "__init__":
        found.append(f"{module} has no place in the table of layers: add it to LAYERS and to ARCHITECTURE.md")
    for name in sorted(imports(module, source)):
        package, _, rest = name.partition(".")
        if package == "torchquantum" and own != "_torchquantum":
            found.append(f"{module} imports {name}: take it from torchbp._torchquantum")
        if package in LIGHTNING and own not in {"models", "callbacks", "cli"}:
            found.append(f"{module} imports {name}: the core works without Lightning")
        if package in {"models", "callbacks"}:
            found.append(f"{module} imports {name}: its name is torchbp.{name}")
        if package != "torchbp" or own == "__init__" or rest == "__version__":
            continue
        other = rest.partition(".")[0]
        if other not in RANK:
            found.append(f"{module} imports {name}: import it from the file that defines it")
        elif other != own and RANK[other] >= RANK.get(own, len(LAYERS)):
            found.append(f"{module} imports {name}: imports go the other way")
    return found


def test_imports_go_one_way():
    """No file imports from its own line or a later one of the table, nor what belongs to another."""
    found = [line for module, path in sources().items() for line in violations(module, path.read_text())]
    assert not found, "\n".join(found)


@pytest.mark.parametrize(
    ("module", "source", "message"),
    [
        ("torchbp.circuits.circuit", "from torchbp.layer import QuantumLayer", "imports go the other way"),
        ("torchbp.layer", "from torchbp.gradients import stats", "imports go the other way"),
        ("torchbp.backends.base", "from ..layer import QuantumLayer", "imports go the other way"),
        ("torchbp.backends.base", "from .. import layer", "imports go the other way"),
        ("torchbp.circuits.ansatz", "def f():\n    import torchbp.cli", "imports go the other way"),
        (
            "torchbp.callbacks.monitor",
            "if TYPE_CHECKING:\n    from torchbp.models.a import A",
            "imports go the other way",
        ),
        ("torchbp.backends.base", "from torchbp import Circuit", "from the file that defines it"),
        ("torchbp.layer", "import torchquantum.functional", "take it from torchbp._torchquantum"),
        ("torchbp.optim", "from lightning.pytorch import Callback", "works without Lightning"),
        ("torchbp.callbacks.guard", "from models import classifier", "its name is torchbp.models.classifier"),
        ("torchbp.misc", "", "has no place in the table"),
    ],
)
def test_a_wrong_import_is_found(module, source, message):
    """Each rule catches an example of what it forbids."""
    (found,) = violations(module, source)
    assert message in found


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("torchbp.layer", "from torchbp import errors, __version__\nfrom torchbp.backends import base"),
        ("torchbp.circuits.ansatz", "from .circuit import Circuit"),
        ("torchbp.callbacks.guard", "import lightning\nfrom torchbp.callbacks.monitor import Monitor"),
        ("torchbp.__init__", "from torchbp.layer import QuantumLayer"),
        ("torchbp._torchquantum", "import torchquantum"),
    ],
)
def test_a_right_import_passes(module, source):
    """What the table allows is not complained about."""
    assert violations(module, source) == []


def test_files_stay_small():
    """A file of more than 400 lines holds more than one concept."""
    lengths = {module: len(path.read_text().splitlines()) for module, path in sources().items()}
    assert {module: length for module, length in lengths.items() if length > 400} == {}


def test_every_file_is_named_after_what_it_holds():
    """There is no utils.py."""
    assert [path for path in sources().values() if path.stem in {"utils", "util", "helpers", "misc"}] == []


def test_every_folder_is_packaged():
    """Each folder with Python files in it is in the list of packages, so that the wheel holds all of them."""
    folders = {module.rpartition(".")[0] for module in sources()}
    listed = (ROOT / "pyproject.toml").read_text().partition("packages = [")[2].partition("]")[0]
    assert folders == {line.strip(' ",') for line in listed.split("\n") if line.strip()}
