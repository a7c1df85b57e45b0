"""What importing torchbp loads: nothing before it is used."""

import subprocess
import sys

import pytest

import torchbp


def loaded(statement: str) -> set[str]:
    """Modules that a statement loads into a fresh interpreter, without the standard library's."""
    code = f"import sys; before = set(sys.modules); {statement}; print(*set(sys.modules) - before)"
    done = subprocess.run([sys.executable, "-W", "error", "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return {name for name in done.stdout.split() if name.partition(".")[0] not in sys.stdlib_module_names}


def test_import_loads_nothing_else():
    """`import torchbp` loads one file: no torch, no Lightning, no TorchQuantum, no Qiskit."""
    assert loaded("import torchbp") == {"torchbp"}


def test_circuits_are_data():
    """Building circuits needs neither a simulator nor a trainer."""
    names = {name.partition(".")[0] for name in loaded("from torchbp import Circuit")}
    assert not names & {"lightning", "torchquantum", "qiskit"}


def test_layer_needs_no_lightning():
    """The quantum layer works in plain PyTorch, without paying for Lightning."""
    names = {name.partition(".")[0] for name in loaded("from torchbp import QuantumLayer")}
    assert not names & {"lightning", "pytorch_lightning"}


def test_top_level_is_small_and_listed():
    """At most 15 names, all shown by dir() and all there."""
    assert len(torchbp.__all__) <= 15
    assert set(torchbp.__all__) <= set(dir(torchbp))
    assert set(torchbp._HOMES) == set(torchbp.__all__) - {"__version__"}
    assert all(getattr(torchbp, name) is not None for name in torchbp.__all__)


def test_unknown_name_lists_the_known_ones():
    """A misspelt name is an AttributeError that names what there is."""
    with pytest.raises(AttributeError, match=r"no attribute 'Circut'; it has Circuit, "):
        _ = torchbp.Circut
