"""The command line: results against the functions behind it, exit codes, suggestions, and pages."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from torchbp import QuantumLayer
from torchbp.circuits import hardware_efficient, local_z
from torchbp.cli import COMMANDS, main
from torchbp.cli.output import strict
from torchbp.cli.run_files import RunFiles
from torchbp.errors import InputError
from torchbp.trainability import lie_algebra, precheck

Capture = pytest.CaptureFixture[str]


TASK = """
import lightning as L, torch
from torch.utils.data import DataLoader, TensorDataset

class Task(L.LightningDataModule):
    def train_dataloader(self):
        x = torch.randn(16, 4, generator=torch.Generator().manual_seed(0))
        return DataLoader(TensorDataset(x, x[:, :1]), 4)

class Witness(L.Callback):
    def on_train_end(self, trainer, module):
        weights = torch.cat([p.detach().flatten() for p in module.parameters()])
        torch.save((trainer.global_step, weights), f"{trainer.global_rank} of {trainer.world_size}.pt")
"""
SETTINGS = """
seed_everything: 1
trainer:
  max_epochs: 1
  logger: false
  enable_progress_bar: false
  enable_model_summary: false
  enable_checkpointing: false
  accelerator: cpu
  callbacks: [{class_path: task.Witness}]
model:
  class_path: torchbp.models.HybridRegressor
  init_args: {n_features: 4, n_wires: 2, depth: 1}
data: {class_path: task.Task}
"""


def json_of(capsys: Capture, *words: str) -> tuple[int, dict]:
    code = main([*words, "--json"])
    return code, json.loads(capsys.readouterr().out)


def test_help_and_version(capsys: Capture) -> None:
    """Every command is listed; each has a help with an example; no command at all is a usage error."""
    assert main(["--help"]) == 0
    assert main([]) == 2
    listed = capsys.readouterr().out
    for name in COMMANDS:
        assert name in listed
        assert main([name, "--help"]) == 0
        shown = capsys.readouterr().out
        assert f"torchbp {name}" in shown
        assert "example:" in shown
    assert main(["--version"]) == 0


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["prechek"], "there is no command 'prechek'. Did you mean 'precheck'?"),
        (["lie", "--wries", "3"], "there is no option --wries. Did you mean --wires?"),
        (["lie", "--ansatz", "hardware_eficient"], "Unknown ansatz 'hardware_eficient'. Did you mean"),
        (["lie", "--observable", "globalz"], "Unknown observable 'globalz'. Did you mean 'global_z'"),
        (["lie", "--encoding", "angel"], "Unknown encoding 'angel'. Did you mean 'angle'"),
        (["lie", "--ansatz", "qaoa", "--hamiltonian", "maxcut"], "Unknown Hamiltonian 'maxcut'"),
        (["lie", "--ansatz", "qcnn", "--gate", "cz"], "--gate belongs to hardware_efficient, not to qcnn"),
        (["lie", "--hamiltonian", "tfim"], "--hamiltonian belongs to hamiltonian_variational and qaoa"),
        (["lie", "--wires", "x"], "argument --wires: takes a whole number of at least 1, got 'x'"),
        (["precheck", "--observable", "Z9"], "acts on wire 9"),
        (["landscape", "--encoding", "angle"], "leave --encoding out"),
        (["search", "--runner", "rey"], "Unknown runner 'rey'"),
        (["report", "/nowhere"], "There is no folder /nowhere"),
        (["demo", "now"], "what is 'now'?"),
    ],
)
def test_usage_errors(capsys: Capture, words: list[str], message: str) -> None:
    """Exit code 2, and on stderr what was given and what is meant."""
    assert main(words) == 2
    captured = capsys.readouterr()
    assert message in captured.err
    assert captured.out == ""


def test_precheck(capsys: Capture) -> None:
    """The function's numbers; 1 on a plateau, 0 for a healthy circuit."""
    code, found = json_of(capsys, "precheck", "--wires", "3", "--depth", "1", "--observable", "Z1", "--seconds", "5")
    direct = precheck(hardware_efficient(3, 1), observables="Z1", init="uniform")
    assert (code, found["verdict"]) == (0, "healthy")
    assert found["start"] == direct.start.to_dict()
    words = "precheck --ansatz strongly_entangling --wires 8 --depth 4 --observable global_z --seconds 0.001"
    assert main(words.split()) == 1
    assert "barren plateau" in capsys.readouterr().out


def test_lie(capsys: Capture) -> None:
    """One size and a growth; 1 if it is exponential."""
    code, found = json_of(capsys, "lie", "--wires", "3", "--observable", "Z0")
    assert (code, found) == (0, strict(lie_algebra(hardware_efficient(3, 2), "Z0").to_dict()))
    ising = ["--ansatz", "hamiltonian_variational", "--observable", "tfim"]
    code, found = json_of(capsys, "lie", *ising, "--wires", "3", "4", "5")
    assert (code, found["verdict"]) == (0, "polynomial")
    assert main(["lie", "--wires", "2", "3", "4", "5"]) == 1


def test_scan(capsys: Capture, tmp_path: Path) -> None:
    """An exponential is a finding; the file is one to continue from; the picture is there."""
    words = ["scan", "--wires", "2", "4", "6", "--samples", "64", "--observable", "global_z"]
    words += ["--file", str(tmp_path / "scan.npz"), "--plot", str(tmp_path / "scan.png")]
    code, found = json_of(capsys, *words)
    assert (code, found["verdict"]) == (1, "exponential")
    assert [row["n_wires"] for row in found["rows"]] == [2, 4, 6]
    assert (tmp_path / "scan.png").stat().st_size > 1000
    assert json_of(capsys, *words)[1]["rows"] == found["rows"]


def test_landscape(capsys: Capture, tmp_path: Path) -> None:
    """Numbers, and a picture."""
    picture = tmp_path / "l.png"
    code, found = json_of(capsys, "landscape", "--wires", "2", "--points", "5", "--plot", str(picture))
    assert code == 0
    assert (len(found["values"]), len(found["values"][0])) == (5, 5)
    assert picture.stat().st_size > 1000


def test_search(capsys: Capture) -> None:
    """Depths are ranked; the best is named."""
    words = "search --wires 2 --depths 1 2 --observable tfim --budget 8"
    code, found = json_of(capsys, *words.split())
    assert code == 0
    assert found["best"] in {"hardware_efficient, depth 1", "hardware_efficient, depth 2"}


def test_doctor(capsys: Capture) -> None:
    """What is needed is there, TorchQuantum among it; what is missing comes with its command."""
    code, found = json_of(capsys, "doctor")
    states = {check["name"]: check for check in found["checks"]}
    assert code == 0
    assert states["torchquantum"]["state"] == "ok"
    assert states["torch"]["found"].startswith(torch.__version__.split("+")[0])
    assert all(check["mend"] for check in found["checks"] if check["state"] != "ok")


def test_ctrl_c_keeps_what_was_found(capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    """Exit code 130, with the sizes that were finished."""
    import torchbp.trainability as trainability

    real = trainability.lie_algebra

    def stopped_at_four(circuit, *arguments, **options):
        if circuit.n_wires == 4:
            raise KeyboardInterrupt
        return real(circuit, *arguments, **options)

    monkeypatch.setattr(trainability, "lie_algebra", stopped_at_four)
    assert main(["lie", "--wires", "2", "3", "4"]) == 130
    assert "| 3 | 63 |" in capsys.readouterr().out


def test_ctrl_c_in_a_precheck(capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    """The verdict is there, the remedies are listed as left out."""

    def stop(*_):
        raise KeyboardInterrupt

    module = sys.modules["torchbp.trainability.prechecks.cases"]
    monkeypatch.setattr(module, "first_layers", stop)
    assert main(["precheck", "--wires", "2"]) == 130
    assert "No time for: 1 of 2 layers" in capsys.readouterr().out


@pytest.mark.filterwarnings("ignore:You are using `torch.load`")
def test_demo_and_report(capsys: Capture, tmp_path: Path) -> None:
    """A page that needs nothing else, with the run's verdicts, pictures and versions in it."""
    pytest.importorskip("sklearn")
    code, found = json_of(capsys, "demo", "--epochs", "2", "--logs", str(tmp_path))
    assert code == 0
    assert found["test_accuracy"] > 0.2
    code, summary = json_of(capsys, "report", found["logs"])
    page = Path(summary["file"]).read_text()
    assert code == 0
    assert summary["measurements"] > 2
    assert page.count("data:image/png;base64,") == 2
    assert all(
        text in page for text in ("Gradient SNR", "train_loss" if False else "Loss", "hparams.yaml", "torchquantum")
    )
    assert "http" not in page.replace("https://", "", 0) or "src='http" not in page
    layers = {layer.name for m in RunFiles.read(Path(found["logs"])).measurements() for layer in m.layers}
    assert "quantum/layer0" in layers


def test_report_of_events_and_csv(capsys: Capture, tmp_path: Path) -> None:
    """A CSV logger's run; what events say is escaped; a line that was cut off is no event."""
    (tmp_path / "metrics.csv").write_text(
        "epoch,step,train_loss,torchbp_snr/microbatch/q/layer0\n0,0,1.5,\n0,1,1.25,4.0\n"
    )
    events = [
        {"step": 1, "kind": "verdict", "message": "<b>flat</b>", "data": {"verdict": "barren_plateau"}},
        {"step": 2, "kind": "shots", "message": "100 shots", "data": {}},
    ]
    lines = [json.dumps(event) for event in events]
    (tmp_path / "torchbp_events.jsonl").write_text("\n".join([*lines, '{"step": 3, "ki']))
    code, found = json_of(capsys, "report", str(tmp_path), "--out", str(tmp_path / "page.html"))
    page = (tmp_path / "page.html").read_text()
    assert (code, found["verdict"], found["events"]) == (0, "barren_plateau", 2)
    assert found["final_losses"] == {"train_loss": 1.25}
    assert "&lt;b&gt;flat&lt;/b&gt;" in page
    assert "class='verdict bad'" in page


def test_no_run(tmp_path: Path) -> None:
    """A folder without logs is told, with the runs below it."""
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "events.out.tfevents.1").touch()
    with pytest.raises(InputError, match=r"There are runs in .*a"):
        RunFiles.read(tmp_path)


def test_export(capsys: Capture, tmp_path: Path) -> None:
    """Oracle: Qiskit reads the file, with a parameter for each weight; a checkpoint's weights go with it."""
    hardware = pytest.importorskip("torchbp.hardware")
    layer = QuantumLayer(hardware_efficient(2, 1), local_z(2))
    torch.save({"state_dict": {"quantum.weights": layer.weights.detach()}}, tmp_path / "a.ckpt")
    words = [
        "export",
        str(tmp_path / "c.qpy"),
        "--wires",
        "2",
        "--depth",
        "1",
        "--checkpoint",
        str(tmp_path / "a.ckpt"),
    ]
    assert main(words) == 0
    loaded = hardware.load(tmp_path / "c.qpy")
    assert loaded.circuit.n_weights == 6
    assert torch.allclose(loaded.weights.float(), layer.weights.detach())


def test_train(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture) -> None:
    """LightningCLI from a YAML file that names torchbp's classes."""
    pytest.importorskip("jsonargparse")
    monkeypatch.chdir(tmp_path)
    settings = SETTINGS.replace("task.Witness", "torchbp.callbacks.GradientSNRMonitor")
    data = "lightning.pytorch.demos.boring_classes.BoringDataModule"
    (tmp_path / "run.yaml").write_text(settings.replace("task.Task", data))
    assert main(["train"]) == 2
    assert main(["train", "fit", "--config", "run.yaml", "--print_config"]) == 0
    shown = capsys.readouterr().out
    assert "torchbp.callbacks.GradientSNRMonitor" in shown
    assert "torchbp.models.HybridRegressor" in shown


def test_strict_json() -> None:
    """What JSON has no number for becomes null or a string."""
    assert strict({"a": [float("nan"), float("inf"), (1.5, "x")]}) == {"a": [None, "inf", [1.5, "x"]]}


def test_as_a_program() -> None:
    """`python -m torchbp` runs, and its help loads neither torch nor Lightning."""
    loaded = "print(sorted({'torch', 'lightning'} & set(sys.modules)))"
    code = f"import sys, torchbp.cli; torchbp.cli.main(['--help']); {loaded}"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip().endswith("[]")
    done = subprocess.run([sys.executable, "-m", "torchbp", "lei"], capture_output=True, text=True, check=False)
    assert (done.returncode, "Did you mean 'lie'" in done.stderr) == (2, True)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["scan", "--file", "FOLDER/none/scan.npz"], "argument --file: FOLDER/none/scan.npz can't be written"),
        (["scan", "--plot", "FOLDER/none/scan.png"], "argument --plot: FOLDER/none/scan.png can't be written"),
        (["landscape", "--plot", "FOLDER/a.xyz"], "argument --plot: FOLDER/a.xyz is no picture: give a name that ends"),
        (["export", "FOLDER/none/a.qpy"], "argument file: FOLDER/none/a.qpy can't be written"),
        (["export", "FOLDER/a.circuit"], "'a.circuit' does not tell the format: give --format, one of qpy"),
        (["report", "FOLDER", "--out", "FOLDER/none/a.html"], "argument --out: FOLDER/none/a.html can't be written"),
        (
            ["demo", "--logs", "FOLDER/file/logs"],
            "argument --logs: FOLDER/file/logs can't be made, as FOLDER/file is no",
        ),
        (["demo", "--epochs", "-1"], "argument --epochs: takes a whole number of at least 0, got '-1'"),
        (["scan", "--depth-per-wire", "0"], "argument --depth-per-wire: takes a whole number of at least 1, got '0'"),
        (["scan", "--tolerance", "2"], "argument --tolerance: takes a finite number above 0 and below 1, got '2'"),
        (["precheck", "--price", "nan"], "argument --price: takes a finite number of at least 0, got 'nan'"),
        (["search", "--storage", "sqlite:///FOLDER/none/a.db"], "can't be opened (OperationalError): --storage takes"),
        (["search", "--storage", "postgresql://me:secret@h/db"], "The storage 'postgresql://h/db' can't be opened"),
    ],
)
def test_what_can_not_be_done_is_found_before_the_work(
    capsys: Capture, tmp_path: Path, words: list[str], message: str
) -> None:
    """Exit code 2 and one line that names the option; nothing is left behind."""
    if words[0] == "search":
        pytest.importorskip("optuna")
    (tmp_path / "file").touch()
    assert main([word.replace("FOLDER", str(tmp_path)) for word in words]) == 2
    captured = capsys.readouterr()
    assert message.replace("FOLDER", str(tmp_path)) in captured.err
    assert captured.out == ""
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"junk", "is no checkpoint that can be read safely"),
        (b"", "is no checkpoint that can be read safely (EOFError)"),
        ([1, 2], "holds a list, not weights by name: give a state_dict"),
        ({"state_dict": 3}, "holds a int, not weights by name"),
        ({"weights": 3}, "'weights' in FILE is a int, not a tensor: give another --key"),
        ({"a.weights": 3, "b.weights": 4}, "has 2 entries that end in 'weights': give --key, one of a.weights, b.w"),
        ({"weights": torch.zeros(2)}, "weights"),
    ],
)
def test_broken_checkpoints(capsys: Capture, tmp_path: Path, content: object, message: str) -> None:
    """Exit code 2 and one line."""
    file = tmp_path / "a.ckpt"
    if isinstance(content, bytes):
        file.write_bytes(content)
    else:
        torch.save(content, file)
    words = ["export", str(tmp_path / "c.qpy"), "--wires", "2", "--checkpoint", str(file)]
    assert main(words) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert message.replace("FILE", str(file)) in line


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("torchbp_events.jsonl", "[1, 2]\n", "Line 1 of FILE is no event ({'step': int, 'kind': str,"),
        ("torchbp_events.jsonl", "null", "Line 1 of FILE is no event"),
        ("torchbp_events.jsonl", '{"step": "<b>", "kind": "verdict", "message": "m", "data": {}}', "is no event"),
        ("torchbp_events.jsonl", "[" * 100_000 + "\n", "Line 1 of FILE is no event"),
        ("torchbp_events.jsonl", b"\xff\xfe", "FILE is no text"),
        ("metrics.csv", "epoch,step,loss\n0,one,1.5\n", "FILE is no table of a CSV logger (ValueError"),
        ("metrics.csv", "loss\n1.5\n", "FILE is no table of a CSV logger (KeyError"),
    ],
)
def test_broken_logs(capsys: Capture, tmp_path: Path, name: str, content: str | bytes, message: str) -> None:
    """Exit code 2 and one line; no page is written."""
    file = tmp_path / name
    file.write_bytes(content.encode() if isinstance(content, str) else content)
    assert main(["report", str(tmp_path)]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert message.replace("FILE", str(file)) in line
    assert [path.name for path in tmp_path.iterdir()] == [name]


def test_no_secrets_on_the_page(capsys: Capture, tmp_path: Path) -> None:
    """Oracle: the page's text, without a token that stands in an event and one in the settings."""
    event = {"step": 1, "kind": "verdict", "message": "m Bearer pl4nted-token", "data": {"token": "pl4nted-token"}}
    (tmp_path / "torchbp_events.jsonl").write_text(json.dumps(event))
    (tmp_path / "hparams.yaml").write_text("api_key: pl4nted-token\nn_wires: 4\n")
    assert main(["report", str(tmp_path)]) == 0
    page = (tmp_path / "torchbp_report.html").read_text()
    assert "pl4nted" not in page
    assert "n_wires: 4" in page


def test_a_crash_is_no_finding(capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    """Exit code 3 with the traceback: 1 is for findings."""
    monkeypatch.setattr("torchbp.trainability.lie_algebra", None)
    assert main(["lie", "--wires", "2"]) == 3
    shown = capsys.readouterr().err
    assert "Traceback" in shown
    assert "this is no finding" in shown


@pytest.mark.parametrize("words", [["--help"], ["lie", "--wires", "2"]])
def test_a_full_disk(words: list[str]) -> None:
    """Exit code 2 and one line, whoever finds it."""
    with open("/dev/full", "w") as full:
        command = [sys.executable, "-m", "torchbp", *words]
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    assert done.returncode == 2
    assert "No space left on device" in done.stderr
    assert "Traceback" not in done.stderr


def test_ctrl_c_while_a_command_is_imported(capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    """Exit code 130 without a traceback."""

    def stop(name: str) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("torchbp.cli.import_module", stop)
    assert main(["lie"]) == 130
    assert capsys.readouterr().err == "\ntorchbp lie: stopped.\n"


def test_doctor_knows_which_versions_fit(capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    """A version that the package's own metadata rules out is broken, with the command that mends it."""
    from torchbp.cli import doctor

    real = doctor.version
    monkeypatch.setattr(doctor, "version", lambda name: "2.6.2" if name == "lightning" else real(name))
    code, found = json_of(capsys, "doctor")
    (check,) = [check for check in found["checks"] if check["name"] == "lightning"]
    assert (code, check["state"]) == (1, "broken")
    assert check["found"].startswith("2.6.2, and torchbp takes ")
    assert check["mend"].startswith('pip install "lightning')


@pytest.mark.parametrize(
    "program", [[str(Path(sys.executable).with_name("torchbp"))], [sys.executable, "-m", "torchbp"]]
)
def test_train_on_two_processes(tmp_path: Path, program: list[str]) -> None:
    """Oracle: both ranks took the two steps of half the batches, and hold the same weights at the end."""
    pytest.importorskip("jsonargparse")
    (tmp_path / "task.py").write_text(TASK)
    (tmp_path / "run.yaml").write_text(SETTINGS)
    words = ["train", "fit", "--config", "run.yaml", "--trainer.strategy", "ddp", "--trainer.devices", "2"]
    environment = {**os.environ, "PYTHONPATH": str(tmp_path), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [*program, *words], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False, timeout=600
    )
    assert done.returncode == 0, done.stderr
    (steps, weights), (others_steps, others) = (torch.load(tmp_path / f"{rank} of 2.pt") for rank in (0, 1))
    assert (steps, others_steps) == (2, 2)
    assert torch.equal(weights, others)
