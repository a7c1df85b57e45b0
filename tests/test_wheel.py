"""The built package: what is in it, and that it imports where nothing else of the repository is."""

import configparser
import shutil
import subprocess
import sys
import zipfile
from email import message_from_string
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent


def run(*command: str, cwd: Path) -> str:
    done = subprocess.run([sys.executable, *command], capture_output=True, text=True, cwd=cwd)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def copy(tmp_path_factory) -> Path:
    """The sources alone, apart from what earlier builds left in the checkout."""
    folder = tmp_path_factory.mktemp("copy")
    for name in ("torchbp", "models", "callbacks"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    for path in ROOT.iterdir():
        if path.is_file():
            shutil.copy(path, folder)
    return folder


@pytest.fixture(scope="module")
def dist(copy, tmp_path_factory) -> Path:
    """A source distribution, and the wheel built from it."""
    folder = tmp_path_factory.mktemp("dist")
    run("-m", "build", "--no-isolation", "--outdir", str(folder), cwd=copy)
    return folder


@pytest.fixture(scope="module")
def wheel(dist) -> zipfile.ZipFile:
    (path,) = dist.glob("torchbp-*.whl")
    with zipfile.ZipFile(path) as opened:
        yield opened


def test_holds_every_source_file(copy, wheel):
    """The wheel holds all of torchbp, models and callbacks, the last two below torchbp, and nothing else."""
    expected = {"torchbp/py.typed"}
    for package in ("torchbp", "torchbp/models", "torchbp/callbacks"):
        folder = copy / Path(package).name
        files = [*folder.rglob("*.py"), *folder.glob("tensorboard/static/*")]
        expected |= {f"{package}/{path.relative_to(folder).as_posix()}" for path in files}
    assert {"torchbp/tensorboard/static/index.js", "torchbp/tensorboard/static/style.css"} <= expected
    assert {name for name in wheel.namelist() if ".dist-info/" not in name} == expected


def test_metadata(wheel):
    """Licence, version and Python range are declared, and TorchQuantum is required only by its extra."""
    (name,) = (name for name in wheel.namelist() if name.endswith(".dist-info/METADATA"))
    metadata = message_from_string(wheel.read(name).decode())
    assert metadata["License-Expression"] == "MIT"
    assert metadata["Requires-Python"] == ">=3.10"
    assert name.startswith(f"torchbp-{metadata['Version']}.")
    assert name.replace("METADATA", "licenses/LICENSE") in wheel.namelist()
    required = [line for line in metadata.get_all("Requires-Dist") if line.startswith("torchquantum")]
    assert required == ['torchquantum==0.1.8; extra == "torchquantum"']


def test_tensorboard_finds_the_page(wheel):
    """The entry point that TensorBoard looks for is declared."""
    (name,) = (name for name in wheel.namelist() if name.endswith(".dist-info/entry_points.txt"))
    points = configparser.ConfigParser()
    points.read_string(wheel.read(name).decode())
    assert dict(points["tensorboard_plugins"]) == {"torchbp": "torchbp.tensorboard.loader:Loader"}


def test_source_distribution_builds_the_same_wheel(copy, wheel, tmp_path):
    """The wheel built from the source distribution equals the one built straight from the sources."""
    run("-m", "build", "--no-isolation", "--wheel", "--outdir", str(tmp_path), cwd=copy)
    (path,) = tmp_path.glob("*.whl")
    with zipfile.ZipFile(path) as direct:
        assert {name: direct.read(name) for name in direct.namelist() if not name.endswith("RECORD")} == {
            name: wheel.read(name) for name in wheel.namelist() if not name.endswith("RECORD")
        }


def test_installs_and_imports(wheel, tmp_path):
    """Installed on its own, everything imports from there, and no bare models or callbacks exists."""
    site = tmp_path / "site"
    run("-m", "pip", "install", "--no-deps", "--quiet", "--target", str(site), wheel.filename, cwd=tmp_path)
    code = f"""
import importlib.util, sys
sys.path.insert(0, {str(site)!r})
import torchbp, torchbp.callbacks, torchbp.models
for module in (torchbp, torchbp.callbacks, torchbp.models):
    assert module.__file__.startswith({str(site)!r}), module.__file__
assert importlib.util.find_spec("models") is importlib.util.find_spec("callbacks") is None
"""
    run("-c", code, cwd=tmp_path)
