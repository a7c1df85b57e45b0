"""TorchQuantum's import: complete, with stand-ins, missing or broken; each in a process of its own."""

import importlib.util
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

OUTSIDE = ("torchpack", "qiskit_ibm_runtime", "qiskit.providers.aer")
BORROWED = (*OUTSIDE, "torchquantum.plugin", "torchquantum.dataset", "torchquantum.pulse")

COMPLETE = {  # what a TorchQuantum with all its requirements looks like from outside
    "torchpack/__init__.py": "",
    "torchpack/utils/__init__.py": "",
    "torchpack/utils/logging.py": "logger = 'the real one'",
    "torchquantum/__init__.py": """
from torchpack.utils.logging import logger
from torchquantum import functional, plugin
class QuantumModule: pass
class QuantumDevice: pass
op_name_dict = {}
""",
    "torchquantum/plugin.py": "complete = True",
    "torchquantum/functional.py": "apply_unitary_bmm = print; func_name_dict = {}; mat_dict = {}",
}

without_runtime = pytest.mark.skipif(
    importlib.util.find_spec("qiskit_ibm_runtime") is not None, reason="the real runtime service is installed"
)


def python(code: str, path: Path, *options: str) -> subprocess.CompletedProcess:
    search = os.pathsep.join([str(path), os.environ.get("PYTHONPATH", "")]).rstrip(os.pathsep)
    return subprocess.run(
        [sys.executable, *options, "-c", code],
        capture_output=True,
        text=True,
        cwd=path,
        env={**os.environ, "PYTHONPATH": search},
    )


def answer(code: str, path: Path, *options: str) -> dict:
    done = python(f"import json, sys\n{code}\nprint(json.dumps(found))", path, *options)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    return json.loads(done.stdout)


def write(files: dict[str, str], folder: Path) -> None:
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)


@pytest.fixture(scope="module")
def freshly_compiled(tmp_path_factory) -> Path:
    """A copy of TorchQuantum without bytecode, so that what compiling it warns of is heard again."""
    folder = tmp_path_factory.mktemp("site")
    installed = Path(importlib.util.find_spec("torchquantum").origin).parent
    shutil.copytree(installed, folder / "torchquantum", ignore=shutil.ignore_patterns("__pycache__"))
    return folder


@pytest.fixture(scope="module")
def imported(freshly_compiled) -> dict:
    """What one process, in which every warning is an error, finds after importing the bridge."""
    return answer(
        f"""
import importlib
def outcome(name):
    try:
        return str(importlib.import_module(name).__file__)
    except Exception as error:
        return type(error).__name__ + ": " + str(error)
before = {{name: outcome(name) for name in {OUTSIDE}}}
import torchbp._torchquantum as bridge
found = {{
    "stand_ins": [n for n, m in sys.modules.items() if n.startswith({BORROWED}) and m.__spec__ is None],
    "same": sys.modules["torchquantum"] is bridge.tq and bridge.tq.functional is bridge.tqf,
    "copies": bridge.tq.QuantumDevice is not sys.modules["torchquantum.device.devices"].QuantumDevice,
    "lightning": "lightning" in sys.modules,
    "names": {{n: bool(getattr(bridge, n)) for n in bridge.__all__}},
    "before": before, "after": {{name: outcome(name) for name in before}},
}}
device = bridge.QuantumDevice(n_wires=2)
device.reset_states(3)
bridge.func_name_dict["hadamard"](device, wires=0)
bridge.tq.Op1QAllLayer(bridge.op_name_dict["rx"], n_wires=2, has_params=True)(device)
found["norms"] = device.get_states_1d().abs().square().sum(dim=1).tolist()
try:
    bridge.tq.get_provider("ibmq_manila")
except bridge.MissingDependencyError as error:
    found["used"] = str(error)
except Exception as error:
    found["used"] = "installed: " + repr(error)
""",
        freshly_compiled,
        "-W",
        "error",
    )


def test_leaves_no_stand_ins(imported):
    """After the import, what sys.modules holds under the borrowed names was loaded from a file."""
    assert imported["stand_ins"] == []


def test_everything_is_one_torchquantum(imported):
    """The failed first attempt leaves no second copy of TorchQuantum's classes behind."""
    assert imported["same"]
    assert not imported["copies"]


def test_exports_work(imported):
    """All exported names are there, and gates and layers act on a device of three samples."""
    assert all(imported["names"].values())
    assert imported["norms"] == pytest.approx([1, 1, 1])


def test_other_imports_end_as_without_torchbp(imported):
    """Importing a borrowed package gives the same module or the same error before and after the bridge."""
    assert imported["after"] == imported["before"]


def test_does_not_load_lightning(imported):
    """The core is usable without paying for Lightning."""
    assert not imported["lightning"]


@without_runtime
def test_using_a_stand_in_says_what_to_install(imported):
    """A part of TorchQuantum that needs an absent package fails when used, naming the command."""
    assert "qiskit_ibm_runtime.QiskitRuntimeService" in imported["used"]
    assert "pip install qiskit-ibm-runtime" in imported["used"]


@without_runtime
def test_a_package_installed_later_is_used(tmp_path, freshly_compiled):
    """A stand-in hands over to the real package where there is one, even if it appears after the import."""
    write({"qiskit_ibm_runtime.py": "def QiskitRuntimeService(**given): return given"}, tmp_path)
    found = answer(
        f"""
import torchbp._torchquantum as bridge
sys.path.insert(0, {str(tmp_path)!r})
found = bridge.tq.get_provider("ibmq_manila", hub="hub")
""",
        freshly_compiled,
    )
    assert found["channel"] == "ibm_quantum"


def test_complete_installation_is_used_as_it_is(tmp_path):
    """Where TorchQuantum imports by itself, its own parts and requirements stay in place."""
    write(COMPLETE, tmp_path)
    found = answer(
        """
import torchbp._torchquantum as bridge
import torchpack.utils.logging
found = {"plugin": bridge.tq.plugin.complete, "logger": bridge.tq.logger,
         "kept": torchpack.utils.logging.logger}
""",
        tmp_path,
    )
    assert found == {"plugin": True, "logger": "the real one", "kept": "the real one"}


def test_missing_torchquantum_says_how_to_install_it(tmp_path):
    """Without TorchQuantum there is one error, with the exact command and no chain of others."""
    done = python("import sys; sys.modules['torchquantum'] = None; import torchbp._torchquantum", tmp_path)
    assert done.stderr.splitlines()[-1] == (
        "torchbp.errors.MissingDependencyError: torchbp needs TorchQuantum, which is not installed. "
        "Run: pip install --no-deps torchquantum==0.1.8"
    )
    assert "During handling" not in done.stderr


def test_broken_torchquantum_gives_the_cause(tmp_path):
    """A TorchQuantum that cannot be imported is named with its place and the reason, and forgotten."""
    write(
        {"torchquantum/__init__.py": "import torchquantum.macro, not_there", "torchquantum/macro.py": ""},
        tmp_path,
    )
    found = answer(
        """
try:
    import torchbp._torchquantum
except ImportError as error:
    found = {"message": str(error), "cause": repr(error.__cause__),
             "left": [name for name in sys.modules if name.startswith(("torchquantum", "torchpack"))]}
""",
        tmp_path,
    )
    assert str(tmp_path) in found["message"]
    assert "No module named 'not_there'" in found["message"]
    assert "pip install --no-deps torchquantum==0.1.8" in found["message"]
    assert found["cause"].startswith("ModuleNotFoundError")
    assert found["left"] == []


@pytest.mark.parametrize(
    ("code", "instead"),
    [
        ("from torchquantum.dataset import MNIST", "torchvision.datasets has MNIST"),
        ("from torchquantum.plugin import tq2qiskit", "torchbp.hardware has to_qiskit, from_qiskit and QiskitBackend"),
    ],
)
def test_parts_that_do_not_import_say_what_to_use(code: str, instead: str) -> None:
    """Where they do import, they are TorchQuantum's own."""
    from torchbp.errors import MissingDependencyError

    try:
        exec(code, {})
    except MissingDependencyError as error:
        assert instead in str(error)  # noqa: PT017
