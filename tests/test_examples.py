"""The examples run, and show what they say they show."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest

EXAMPLES = Path(__file__).parent.parent / "examples"


def load(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(Path(name).name, EXAMPLES / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.filterwarnings("ignore:You are using `torch.load`")
def test_digits(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The demo reaches 0.9 on digits it has not seen, prints a row for each circuit layer, and leaves its files."""
    assert load("digits").main(epochs=25, logs=tmp_path) >= 0.9
    printed = capsys.readouterr().out
    assert all(f"quantum/layer{i}" in printed for i in range(4))
    assert f"tensorboard --logdir {tmp_path} and open http://localhost:6006/#torchbp" in printed
    assert list(tmp_path.glob("digits/*/snr_heatmap.png"))
    assert list(tmp_path.glob("digits/*/events.out.tfevents*"))


def test_existing_code() -> None:
    """The callback finds TorchQuantum's modules in a LightningModule that knows nothing of torchbp."""
    monitor = load("existing_code/torchquantum_wine").main(epochs=2)
    quantum = [layer.name for layer in monitor.latest if layer.kind == "quantum"]
    assert len(quantum) == 2
    assert all(name.startswith("quantum.rotations") for name in quantum)


@pytest.mark.filterwarnings("ignore:Converting a tensor with requires_grad=True")
@pytest.mark.parametrize("library", ["pennylane", "qiskit", "deepquantum"])
def test_one_line_in_libraries(library: str) -> None:
    """The plateau is found, left by another start that is kept, and the run goes down from there."""
    pytest.importorskip({"qiskit": "qiskit_machine_learning"}.get(library, library))
    guard = load("existing_code/plateau").main(library, steps=100, accelerated=True)
    kinds = [event.kind for event in guard.events]
    assert kinds[:2] == ["verdict", "reset"]
    assert [kind for kind in kinds if kind != "verdict"][:2] == ["reset", "kept"]
    assert guard.events[0].data["verdict"] == "barren_plateau"
    assert guard.events[2].data["verdict"] == "healthy"


@pytest.mark.filterwarnings("ignore:Converting a tensor with requires_grad=True")
@pytest.mark.parametrize("library", ["pennylane", "deepquantum", "tensorcircuit"])
def test_one_line_in_libraries_as_they_are(library: str) -> None:
    """By calls of the library's module: the same verdict on the same plateau."""
    pytest.importorskip(library)
    guard = load("existing_code/plateau").main(library, steps=27, accelerated=False)
    assert [event.kind for event in guard.events][:2] == ["verdict", "reset"]
    assert guard.events[0].data["verdict"] == "barren_plateau"


def test_will_it_train(capsys: pytest.CaptureFixture[str]) -> None:
    """The two designs that plateau are told from those that don't, and each is printed with its numbers."""
    scans = load("will_it_train").main(wires=[4, 6, 8, 10], samples=256)
    assert {name: scan.verdict for name, scan in scans.items() if scan.verdict == "exponential"} == {
        "deep, uniform start": "exponential",
        "shallow, global observable": "exponential",
    }
    printed = capsys.readouterr().out
    assert all(f"{name}: {scan.verdict}" in printed for name, scan in scans.items())


def test_train_here_run_there(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Every backend stands in the table; mitigation takes away most of the noise's bias; the picture is drawn."""
    picture = tmp_path / "there.png"
    example = load("train_here_run_there")
    comparison = example.main("fake_manila", shots=2000, points=20, steps=100, picture=picture)
    printed = capsys.readouterr().out
    assert all(f"| {name} " in printed for name in ("shots", "noisy", "readout", "zne", "readout+zne"))
    assert comparison["readout+zne"].bias(comparison.ideal) < 0.7 * comparison["noisy"].bias(comparison.ideal)
    assert picture.stat().st_size > 10_000


def test_rescue_a_plateau(tmp_path: Path) -> None:
    """With fewer shots: the unguarded run gets nowhere, the guarded one is reset on trial and does; both are drawn."""
    doomed, saved, guard = load("rescue_a_plateau").main(shots=85_000, folder=tmp_path)
    assert [event.kind for event in guard.events][:2] == ["verdict", "reset"]
    assert max(doomed.shots[-1], saved.shots[-1]) <= 85_000
    assert min(doomed.loss) > 0.99
    assert saved.loss[-1] < 0.5
    assert (tmp_path / "rescue_a_plateau.png").stat().st_size > 10_000


def test_a_hundred_wires(capsys: pytest.CaptureFixture[str]) -> None:
    """On 30 wires: training goes from the Clifford circuit's energy most of the way to the exact one, and not below."""
    clifford, reached, exact = load("a_hundred_wires").main(n=30, steps=25)
    assert clifford == pytest.approx(-29, abs=1e-3)
    assert exact < reached < clifford + 0.7 * (exact - clifford)
    assert "random start: " in capsys.readouterr().out
