"""Imports go one way, and files stay small: the table of ARCHITECTURE.md, read from the source."""

import ast
from collections import Counter
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
FOLDERS = {
    "torchbp": ROOT / "torchbp",
    "torchbp.models": ROOT / "models",
    "torchbp.callbacks": ROOT / "callbacks",
}

# Each may import those above it and itself. Names on one line do not import each other.
FLOORS = {
    "torchbp": [
        {"errors", "tensorboard"},
        {"arguments"},
        {"circuits"},
        {"_torchquantum"},
        {"backends"},
        {"translation"},
        {"layer"},
        {"gradients", "optim"},
        {"diagnosis"},
        {"trainability", "hardware"},
        {"plots"},
        {"models", "callbacks"},
        {"cli"},
        {"__main__"},
    ],
    # The rooms that have rooms of their own.
    "torchbp.trainability": [
        {"paths", "algebras", "states"},
        {"scans"},
        {"cost", "expressibility", "entanglement", "pretraining"},
        {"landscape", "curvature", "information_content"},
        {"prechecks", "search_runners"},
        {"search"},
    ],
    "torchbp.layer": [
        {"execution"},
        {"quantum_layer"},
        {"drop_in", "foreign"},
        {"accelerate"},
    ],
    "torchbp.translation": [
        {"adapters", "assembly", "controls", "packages", "sharing", "tracing"},
        {"provenance", "pennylane_gates", "within"},
        {"registered"},
        {"torchquantum"},
        {"pennylane", "qiskit", "deepquantum"},
        {"translated"},
    ],
    "torchbp.translation.adapters": [
        {"adapter"},
        {"marking", "pennylane", "qiskit_machine_learning", "deepquantum", "tensorcircuit"},
        {"table"},
    ],
    "torchbp.hardware": [
        {"outcomes", "mitigation", "calibration"},
        {"program", "estimation"},
        {"qiskit", "jobs"},
        {"executors"},
        {"targets"},
        {"qiskit_backend"},
        {"comparison"},
    ],
    "torchbp.callbacks": [
        {"records"},
        {"mechanics"},
        {"gradient_snr_monitor", "shot_budget"},
        {"plateau_detector"},
        {"remedy", "shot_ledger"},
        {"on_trial"},
        {
            "adaptive_shots",
            "gradient_free_fallback",
            "initialization_reset",
            "layerwise_training",
            "natural_gradient",
            "plateau_stopping",
        },
        {"plateau_guard"},
    ],
}
RANKS = {room: {name: rank for rank, names in enumerate(floors) for name in names} for room, floors in FLOORS.items()}
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
    """What a file imports against the tables; `module` is its name, `torchbp.__init__` the top-level one."""
    own = module.split(".")[1]
    found = []
    for name in sorted(imports(module, source)):
        package, _, rest = name.partition(".")
        if package == "torchquantum" and own != "_torchquantum":
            found.append(f"{module} imports {name}: take it from torchbp._torchquantum")
        if package in LIGHTNING and own not in {"models", "callbacks", "cli"}:
            found.append(f"{module} imports {name}: the core works without Lightning")
        if package in {"models", "callbacks"}:
            found.append(f"{module} imports {name}: its name is torchbp.{name}")
        if (
            package == "torchbp"
            and own != "__init__"
            and rest.partition(".")[0] not in {*RANKS["torchbp"], "__version__"}
        ):
            found.append(f"{module} imports {name}: import it from the file that defines it")
    return [*found, *(line for room in FLOORS for line in against(room, module, source))]


def against(room: str, module: str, source: str) -> list[str]:
    """What a file in a room imports against the table of that room."""
    ranks, own = RANKS[room], place(room, module)
    if own in (None, "__init__"):
        return []
    if own not in ranks:
        return [f"{module} has no place in the table of {room}: add it to FLOORS and to ARCHITECTURE.md"]
    others = {name: place(room, name) for name in sorted(imports(module, source))}
    return [
        f"{module} imports {name}: imports go the other way"
        for name, other in others.items()
        if other in ranks and other != own and ranks[other] >= ranks[own]
    ]


def place(room: str, name: str) -> str | None:
    """The part of a room that something belongs to; None outside of it."""
    inside = name.removeprefix(f"{room}.")
    return None if inside == name else inside.partition(".")[0]


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
            "torchbp.callbacks.remedy",
            "if TYPE_CHECKING:\n    from torchbp.models.a import A",
            "imports go the other way",
        ),
        ("torchbp.backends.base", "from torchbp import Circuit", "from the file that defines it"),
        ("torchbp.layer", "import torchquantum.functional", "take it from torchbp._torchquantum"),
        ("torchbp.optim.cma", "from lightning.pytorch import Callback", "works without Lightning"),
        ("torchbp.callbacks.remedy", "from models import classifier", "its name is torchbp.models.classifier"),
        ("torchbp.misc", "", "has no place in the table of torchbp:"),
        ("torchbp.hardware.misc", "", "has no place in the table of torchbp.hardware:"),
        ("torchbp.callbacks.records.events", "import torchbp.callbacks.mechanics.growth", "imports go the other way"),
        ("torchbp.hardware.jobs.runner", "from torchbp.hardware import targets", "imports go the other way"),
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
        ("torchbp.callbacks.remedy", "import lightning\nfrom torchbp.callbacks.mechanics.growth import Growth"),
        ("torchbp.__init__", "from torchbp.layer import QuantumLayer"),
        ("torchbp._torchquantum", "import torchquantum"),
    ],
)
def test_a_right_import_passes(module, source):
    """What the table allows is not complained about."""
    assert violations(module, source) == []


def test_no_file_imports_itself_by_a_detour():
    """Inside a room too there is no circle of imports; packages' own files, which list what is public, apart."""
    files = {name: path for name, path in sources().items() if not name.endswith("__init__")}
    graph = {name: imports(name, path.read_text()) for name, path in files.items()}
    parents = {name: {target for i in found for target in (i, i.rpartition(".")[0])} for name, found in graph.items()}
    TopologicalSorter({name: found & files.keys() for name, found in parents.items()}).prepare()


def test_no_room_is_a_drawer():
    """A folder lists at most sixteen files and rooms, so that a stranger finds what he looks for."""
    content = Counter(str(path.parent) for path in sources().values() if path.stem != "__init__")
    content.update(str(folder.parent) for folder in {path.parent for path in sources().values()})
    assert {folder: count for folder, count in content.items() if count > 16} == {}


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
