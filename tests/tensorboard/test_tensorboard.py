"""The plugin's answers, from TensorBoard itself, with its fast data loader and with the slow one. No browser."""

from __future__ import annotations

import json
import math
import re
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from urllib.parse import urlencode

import numpy as np
import pytest
from board_logs import COLUMNS, SOURCE, RunWriter, get, served, unpack, until, verdict
from tensorboard.compat.proto.summary_pb2 import Summary

from torchbp.tensorboard import loader
from torchbp.tensorboard.plugin import STATIC
from torchbp.tensorboard.schema import EVENTS_TAG, VERSION, Manifest, events_summary, stats_tag, table_summary
from torchbp.tensorboard.table import Table

STEPS = 300
LAYERS = ("net/layer0", "net/layer1", '<img src=x onerror="alert(1)">')
KINDS = ("quantum", "quantum", "classical")


def ratio(step: int) -> list[float]:
    """The SNRs of the run `good`."""
    return [math.nan if step == 7 else 1 + step, math.inf if step == 8 else 2.5, 0.5]


def write_all(folder: Path) -> None:
    good = RunWriter(folder / "good", LAYERS, KINDS)
    for step in range(STEPS):
        good.stats(step, ratio(step))
        good.weights(step, 1, [step, -3.0], error=2.0)
        good.scalar(step, "train_loss", math.nan if step == 5 else 1 / (1 + step))
        good.scalar(step, "torchbp_snr_db/per_sample/net/layer0", 0.0)
    good.events(120, verdict("barren_plateau", 0.9, LAYERS[:2]))
    good.events(200, verdict("healthy"), ("kept", "The reset helped.", {"snr": math.inf}))
    good.close()

    again = RunWriter(folder / "restarted", LAYERS[:1])
    for step in [*range(20), *range(10, 15)]:
        again.stats(step, [100.0 + step if step < 10 else 200.0 + step])
    again.close()
    for step, suffix in ((0, ".first"), (1, ".second")):
        writer = RunWriter(folder / "two_writers", LAYERS[:1], suffix=suffix)
        for k in range(step, 20, 2):
            writer.stats(k, [float(k)])
        writer.close()

    cut = RunWriter(folder / "cut", LAYERS[:1])
    for step in range(10):
        cut.stats(step, [float(step)])
    cut.close()
    (file,) = (folder / "cut").iterdir()
    file.write_bytes(file.read_bytes()[:-7])
    noise = RunWriter(folder / "corrupt", LAYERS[:1])
    noise.stats(0, [1.0])
    noise.close()
    (file,) = (folder / "corrupt").iterdir()
    file.write_bytes(file.read_bytes() + bytes(range(256)))

    strange = RunWriter(folder / "strange", LAYERS[:1])
    strange.stats(0, [1.0])
    strange.add(1, table_summary(stats_tag(SOURCE), np.zeros((2, 2))))
    strange.add(2, table_summary(stats_tag(SOURCE), np.zeros(())))
    strange.stats(3, [4.0])
    good_event = json.dumps({"step": 3, "kind": "reset", "message": "m", "data": {}})
    no_events = ["{", "[]", "null", '{"step": "soon", "kind": 1, "message": 2}', '{"kind": "reset"}', "\x00é"]
    strange.add(3, events_summary([*no_events, good_event]))
    later = Manifest("future", ("a",), ("snr",), version=VERSION + 1)
    strange.add(3, table_summary(stats_tag("future"), np.zeros((1, 1)), later))
    strange.close()

    other = RunWriter(folder / "others", ())
    other.scalar(0, "loss", 1.0)
    other.close()


@pytest.fixture(scope="module", params=["true", "false"], ids=["fast", "slow"])
def board(request: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Address of the plugin in a TensorBoard that has read everything."""
    folder = tmp_path_factory.mktemp("logs")
    write_all(folder)
    with served(folder, f"--load_fast={request.param}") as address:
        address += "/data/plugin/torchbp"

        def loaded() -> bool:
            answer = get(f"{address}/runs")
            return answer["others"] == 2 and sum(run["last_step"] for run in answer["runs"]) >= STEPS - 1 + 19 + 8 + 3

        until(loaded)
        yield address


def ask(board: str, what: str, **parameters: Any) -> Any:
    """A route's answer, a table unpacked."""
    content = get(f"{board}/{what}?{urlencode(parameters)}")
    return unpack(content) if isinstance(content, bytes) else content


def stats(board: str, run: str, column: str = "snr", **parameters: Any) -> Any:
    return ask(board, "stats", run=run, source=SOURCE, column=column, **parameters)


def test_is_listed(board: str) -> None:
    """TensorBoard offers the page, and loads it in a frame."""
    found = get(board.replace("/plugin/torchbp", "/plugins_listing"))["torchbp"]
    assert (found["enabled"], found["tab_name"]) == (True, "Barren plateaus")
    assert found["loading_mechanism"]["type"] == "IFRAME"


def test_runs(board: str) -> None:
    """Every run with data of torchbp, with its latest verdict; no others. Oracle: what was written."""
    answer = ask(board, "runs")
    found = {run["run"]: run for run in answer["runs"]}
    assert set(found) == {"good", "restarted", "two_writers", "cut", "corrupt", "strange"}
    assert found["good"]["verdict"] == "healthy"
    assert found["good"]["last_step"] == STEPS - 1
    assert found["cut"]["verdict"] is None
    assert found["strange"]["sources"] == [SOURCE]
    times = [run["time"] for run in answer["runs"]]
    assert times == sorted(times, reverse=True)
    assert answer["now"] >= times[0]


def test_run(board: str) -> None:
    """Rows, columns, events and curves. Two events of one step are both there. Oracle: what was written."""
    found = ask(board, "run", run="good")
    source = found["sources"][SOURCE]
    assert tuple(source["layers"]) == LAYERS
    assert tuple(source["columns"]) == COLUMNS
    assert tuple(source["kinds"]) == KINDS
    assert source["thresholds"] == {"snr": 3.0}
    assert source["per_weight"] == [LAYERS[1]]
    assert [(e["step"], e["kind"]) for e in found["events"]] == [(120, "verdict"), (200, "verdict"), (200, "kept")]
    assert found["events"][0]["data"]["layers"] == list(LAYERS[:2])
    assert found["events"][2]["data"] == {"snr": "Infinity"}
    assert found["curves"] == ["train_loss"]


def test_stats(board: str) -> None:
    """Every measurement, NaN and inf as they are. Oracle: what was written."""
    head, steps, values = stats(board, "good")
    expected = np.array([ratio(step) for step in range(STEPS)], dtype="<f4")
    assert head == {"steps": STEPS, "rows": 3, "total": STEPS, "every": 1, "skipped": 0, "range": [0, STEPS - 1]}
    np.testing.assert_array_equal(steps, np.arange(STEPS))
    np.testing.assert_array_equal(values, expected)
    np.testing.assert_array_equal(stats(board, "good", "n_samples")[2], np.full((STEPS, 3), 32))


def test_stats_are_thinned(board: str) -> None:
    """Real measurements at equal distances, and the last. Oracle: by hand."""
    head, steps, values = stats(board, "good", points=100)
    assert (head["every"], head["total"]) == (4, STEPS)
    assert steps.tolist() == [*range(0, STEPS, 4), STEPS - 1]
    np.testing.assert_array_equal(values[-1], ratio(STEPS - 1))
    head, steps, _ = stats(board, "good", points=100, **{"from": 50, "to": 99.5})
    assert steps.tolist() == list(range(50, 100))
    head, steps, values = stats(board, "good", **{"from": 5000})
    assert (head["total"], len(steps), values.shape, head["range"]) == (0, 0, (0, 3), [0, STEPS - 1])


def test_weights(board: str) -> None:
    """|mean| / standard error of every weight. Oracle: by hand."""
    for column, expected in (("snr", [50, 1.5]), ("median_abs", [100, 3]), ("mean", [100, -3])):
        _, steps, values = ask(board, "weights", run="good", source=SOURCE, layer=LAYERS[1], column=column)
        assert values[100].tolist() == expected
        assert len(steps) == STEPS


def test_curve(board: str) -> None:
    """Oracle: what was written."""
    _, steps, values = ask(board, "curve", run="good", tag="train_loss")
    assert len(steps) == STEPS
    assert math.isnan(values[5, 0])
    np.testing.assert_allclose(values[6:, 0], 1 / (1 + steps[6:]), rtol=1e-6)


def test_a_restart_and_a_second_writer(board: str) -> None:
    """Steps increase, each is there once, and the later value counts. Oracle: by hand.

    The fast loader forgets what a restart has overtaken, the slow one keeps it.
    """
    _, steps, values = stats(board, "restarted")
    assert steps.tolist() in (list(range(15)), list(range(20)))
    assert values[:15, 0].tolist() == [100.0 + k if k < 10 else 200.0 + k for k in range(15)]
    _, steps, values = stats(board, "two_writers")
    assert (np.diff(steps) > 0).all()
    np.testing.assert_array_equal(values[:, 0], steps)


def test_damaged_files(board: str) -> None:
    """What stands before the damage is shown. Oracle: what was written."""
    assert stats(board, "cut")[1].tolist() == list(range(9))
    assert stats(board, "corrupt")[1].tolist() == [0]
    head, steps, _ = stats(board, "strange")
    assert (steps.tolist(), head["skipped"]) == ([0, 3], 2)
    found = ask(board, "run", run="strange")
    assert [event["kind"] for event in found["events"]] == ["reset"]
    assert list(found["sources"]) == [SOURCE]


@pytest.mark.parametrize(
    ("what", "parameters", "status", "message"),
    [
        ("run", {"run": "god"}, 404, "There is no data of torchbp in run 'god'."),
        ("run", {}, 400, r"The address needs \?run=..."),
        ("stats", {"run": "good", "source": "shots", "column": "snr"}, 404, "no source 'shots' .* per_sample"),
        ("stats", {"run": "good", "source": SOURCE, "column": "sn"}, 404, "no quantity 'sn' .* snr, variance"),
        ("stats", {"run": "good", "source": SOURCE, "column": "snr", "points": "x"}, 400, "points must be a number"),
        ("stats", {"run": "good", "source": SOURCE, "column": "snr", "from": "nan"}, 400, "from must be a number"),
        ("weights", {"run": "good", "source": SOURCE, "layer": "x", "column": "snr"}, 404, "There are: net/layer1"),
        ("curve", {"run": "good", "tag": "los"}, 404, "There is no curve 'los' in run 'good'"),
    ],
)
def test_wrong_addresses(board: str, what: str, parameters: dict[str, str], status: int, message: str) -> None:
    """Each says what is wrong with it."""
    with pytest.raises(urllib.error.HTTPError) as error:
        ask(board, what, **parameters)
    assert error.value.code == status
    assert re.search(message, error.value.read().decode())


def test_page(board: str) -> None:
    """Every module and the style sheet are served as what they are, and no module imports one that is not there."""
    names = {path.name for path in STATIC.iterdir()}
    assert {"index.js", "style.css"} <= names
    for name in names:
        with urllib.request.urlopen(f"{board}/{name}") as answer:
            text = answer.read().decode()
            kind = {"js": "text/javascript", "css": "text/css"}[name.rpartition(".")[2]]
            assert answer.headers["Content-Type"].startswith(kind)
            assert answer.headers["X-Content-Type-Options"] == "nosniff"
        assert set(re.findall(r"from '\./([^']+)'", text)) <= names
        assert not re.search(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\(", text)
        assert not re.search(r"https?://(?!www\.w3\.org)", text)
    assert "export async function render" in (STATIC / "index.js").read_text()


def test_below_a_path_prefix(tmp_path: Path) -> None:
    """Behind a proxy with a path of its own. Oracle: the same answers."""
    writer = RunWriter(tmp_path / "run", LAYERS[:1])
    writer.stats(0, [1.0])
    writer.close()
    with served(tmp_path, "--path_prefix=/some/where") as address:
        assert address.endswith("/some/where")
        assert until(lambda: get(f"{address}/data/plugin/torchbp/runs")["runs"])[0]["run"] == "run"
        assert b"export async function render" in get(f"{address}/data/plugin/torchbp/index.js")


def test_without_data(tmp_path: Path) -> None:
    """A foreign log directory: no runs, and the number of others. Oracle: by hand."""
    for name in ("a", "b"):
        writer = RunWriter(tmp_path / name, ())
        writer.scalar(0, "loss", 1.0)
        writer.close()
    with served(tmp_path) as address:
        runs = f"{address}/data/plugin/torchbp/runs"
        assert until(lambda: get(runs)["others"] == 2)
        assert get(runs)["runs"] == []


def test_import_problems_keep_nothing_from_starting(tmp_path: Path) -> None:
    """TensorBoard goes without the page, and says so. Oracle: its list of plugins."""
    (tmp_path / "sitecustomize.py").write_text("import sys; sys.modules['torchbp.tensorboard.plugin'] = None")
    with served(tmp_path, PYTHONPATH=str(tmp_path)) as address:
        listed = until(lambda: get(f"{address}/data/plugins_listing"))
    assert "scalars" in listed
    assert "torchbp" not in listed


def test_a_missing_page_is_explained(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    """The log names the error."""
    monkeypatch.setitem(sys.modules, "torchbp.tensorboard.plugin", None)
    assert loader.Loader().load(None) is None
    assert "The page 'Barren plateaus' of torchbp is missing: ModuleNotFoundError" in caplog.text


def test_needs_neither_torch_nor_lightning() -> None:
    """What TensorBoard loads is small. Oracle: a fresh interpreter's list of modules."""
    code = "import sys, torchbp.tensorboard.loader, torchbp.tensorboard.plugin; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = {name.partition(".")[0] for name in done.stdout.split()}
    assert not loaded & {"torch", "lightning", "pytorch_lightning", "torchquantum", "matplotlib", "qiskit", "scipy"}


def test_flags() -> None:
    """All measurements are kept unless the user says otherwise."""
    for given, expected in (({}, loader.MEASUREMENTS), ({"torchbp": 7}, 7)):
        flags = SimpleNamespace(samples_per_plugin=dict(given))
        loader.Loader().fix_flags(flags)
        assert flags.samples_per_plugin == {"torchbp": expected}
    loader.Loader().fix_flags(SimpleNamespace())


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\xff",
        b"[]",
        b"null",
        b'{"version": 1}',
        b'{"version": 1, "source": "s", "layers": "ab", "columns": ["snr"]}',
        b'{"version": 1, "source": "s", "layers": [], "columns": []}',
        b'{"version": 2, "source": "s", "layers": ["a"], "columns": ["snr"]}',
        b'{"version": 1, "source": "s", "layers": ["a"], "columns": ["snr"], "thresholds": {"snr": "high"}}',
    ],
)
def test_damaged_manifests(content: bytes) -> None:
    """Are none, and no error."""
    assert Manifest.decode(content) is None


def test_manifest_round_trip() -> None:
    """Oracle: itself. Kinds and numbers of weights that do not fit the layers are left out."""
    manifest = Manifest("s", ("a", "b"), ("snr",), ("quantum", "classical"), (3, 4), {"snr": 3.0})
    assert Manifest.decode(manifest.encode()) == manifest
    odd = Manifest.decode(Manifest("s", ("a", "b"), ("snr",), ("quantum",), (3,)).encode())
    assert odd is not None
    assert (odd.kinds, odd.n_weights) == (("quantum", "quantum"), ())


def test_a_table_orders_and_counts() -> None:
    """The last record of a step counts; what does not fit is counted. Oracle: by hand."""
    records = [(5, np.ones((1, 1))), (3, np.zeros((1, 1))), (5, np.full((1, 1), 2.0)), (6, np.ones(2)), (7, [b"text"])]
    table = Table.of(records, (1, 1))
    assert (table.steps.tolist(), table.values.ravel().tolist(), table.skipped) == ([3, 5], [0, 2], 2)


def test_events_tag_is_not_the_text_pages() -> None:
    """torch's add_text appends to its tags: the two do not meet."""
    (value,) = Summary.FromString(events_summary(["{}"]).SerializeToString()).value
    assert (value.tag, value.metadata.plugin_data.plugin_name) == (EVENTS_TAG, "torchbp")


@pytest.mark.parametrize(
    "content",
    [
        b"[" * 100_000,
        b"null",
        b'{"layers":["a"],"columns":["b"],"source":"s","version":1e999}',
        b'{"layers":["a"],"columns":["b"],"source":"s","version":1,"n_weights":[1e999]}',
        b'{"layers":["a"],"columns":["b"],"source":"s","version":1,"n_weights":[-5]}',
        b'{"layers":["a"],"columns":["b"],"source":"s","version":1,"thresholds":5}',
    ],
    ids=["deep", "null", "version", "infinite", "negative", "thresholds"],
)
def test_hostile_manifests_are_none(content: bytes) -> None:
    """Whatever a file holds, nobody's page breaks on it."""
    assert Manifest.decode(content) is None
