"""How fast is TensorBoard's page "Barren plateaus" on a large run: 128 layers, 10,000 measurements?

Writes such a run, starts TensorBoard on it, and asks as the page does; then opens the page in chromium and takes the
times from its own clock: from the start of its navigation to the first drawing of the heatmap, with a TensorBoard that
has just started and read the file, and again; and from the choice of another quantity to its drawing. Medians.

    python benchmarks/tensorboard_page.py [--layers 128] [--measurements 10000] [--out tensorboard_page.json]

Needs selenium, chromium and its driver.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import re
import shutil
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import date
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from tensorboard.compat.proto.event_pb2 import Event
from tensorboard.compat.proto.summary_pb2 import Summary
from tensorboard.summary.writer.event_file_writer import EventFileWriter

from torchbp.tensorboard.schema import Manifest, stats_tag, table_summary

COLUMNS = ("n_weights", "n_samples", "snr", "median_abs", "variance", "signal", "resolved", "p_value")
SOURCE = "per_sample"
DRAWN = "performance.getEntriesByName('torchbp-drawn')"
FRESH, ROUNDS = 3, 7


def write(folder: Path, layers: int, measurements: int) -> float:
    """A run with random walks for SNRs and a loss; its size in MB."""
    rng = np.random.default_rng(0)
    walk = np.exp(0.03 * np.cumsum(rng.normal(size=(measurements, layers)), axis=0) + 1).astype("<f4")
    names = tuple(f"model.block{i // 8}/layer{i % 8}" for i in range(layers))
    manifest = Manifest(SOURCE, names, COLUMNS, ("quantum",) * layers, (24,) * layers, {"snr": 3.0})
    file = EventFileWriter(str(folder / "large"))
    for step in range(measurements):
        table = np.repeat(walk[step][:, None], len(COLUMNS), axis=1)
        summary = table_summary(stats_tag(SOURCE), table, manifest if step == 0 else None)
        summary.value.append(Summary.Value(tag="train_loss", simple_value=float(np.exp(-step / measurements))))
        file.add_event(Event(step=step, wall_time=time.time(), summary=summary))
    file.close()
    return sum(path.stat().st_size for path in (folder / "large").iterdir()) / 1e6


@contextmanager
def board(folder: Path, measurements: int) -> Iterator[str]:
    """A fresh TensorBoard that has read the run; its address."""
    command = [sys.executable, "-m", "tensorboard.main", f"--logdir={folder}", "--port=0", "--host=127.0.0.1"]
    quiet = os.environ | {"PYTHONWARNINGS": "ignore"}
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=quiet) as process:
        assert process.stderr is not None
        found = next(filter(None, (re.search(r"TensorBoard \S+ at (http\S+?)/? \(", line) for line in process.stderr)))

        def last_step() -> int:
            runs = json.loads(get(f"{found[1]}/data/plugin/torchbp/runs"))["runs"]
            return runs[0]["last_step"] if runs else -1

        try:
            until(lambda: last_step() == measurements - 1)
            yield found[1]
        finally:
            process.terminate()


def timed(action: Callable[[], Any]) -> tuple[float, Any]:
    """Seconds, and what came out."""
    begin = time.perf_counter()
    result = action()
    return time.perf_counter() - begin, result


def get(address: str) -> bytes:
    with urllib.request.urlopen(address) as answer:
        return bytes(answer.read())


def until(found: Callable[[], Any]) -> None:
    while not found():
        time.sleep(0.02)


def server(address: str) -> dict[str, Any]:
    """What the page asks for, in its order."""
    page = f"{address}/data/plugin/torchbp"
    stats = f"{page}/stats?run=large&source={SOURCE}&points=1500&column="
    asked = {"runs": f"{page}/runs", "run": f"{page}/run?run=large", "first quantity": f"{stats}snr"}
    asked |= {"another quantity": f"{stats}variance", "loss": f"{page}/curve?run=large&tag=train_loss&points=1500"}
    found = {}
    for name, url in asked.items():
        seconds, content = timed(lambda url=url: get(url))
        found[f"server: {name}"] = {"seconds": seconds, "kilobytes": len(content) / 1e3}
    return found


def drawn(driver: Any, times: int = 1) -> None:
    until(lambda: driver.execute_script(f"return {DRAWN}.length >= {times}"))


def page(driver: Any, address: str) -> float:
    """Milliseconds until the page, in a tab of its own, has drawn."""
    driver.get("about:blank")
    driver.get(f"{address}/data/plugin_entry.html?name=torchbp")
    drawn(driver)
    return float(driver.execute_script(f"return {DRAWN}[0].startTime"))


def inside(driver: Any, address: str) -> float:
    """Milliseconds until TensorBoard and the page inside have drawn."""
    driver.get("about:blank")
    driver.get(f"{address}/#torchbp")
    until(lambda: driver.find_elements("css selector", "iframe"))
    driver.switch_to.frame(0)
    drawn(driver)
    end = driver.execute_script(f"return performance.timeOrigin + {DRAWN}[0].startTime")
    driver.switch_to.default_content()
    return float(end - driver.execute_script("return performance.timeOrigin"))


def another(driver: Any) -> float:
    """Milliseconds from the choice of another quantity to its drawing."""
    times, begin = driver.execute_script(
        "const chosen = document.querySelector('select[name=quantity]'); chosen.value = 'variance';"
        f"const answer = [{DRAWN}.length, performance.now()];"
        "chosen.dispatchEvent(new Event('change')); return answer"
    )
    drawn(driver, times + 1)
    return float(driver.execute_script(f"return {DRAWN}[{times}].startTime") - begin)


def pointer(driver: Any) -> float:
    """Milliseconds for one move of the pointer over the heatmap."""
    move = "cells.dispatchEvent(new MouseEvent('mousemove', {clientX: 400 + i, clientY: 400, bubbles: true}))"
    return float(
        driver.execute_script(
            "const begin = performance.now(); const cells = document.querySelector('.heatmap');"
            f"for (let i = 0; i < 50; i += 1) {move}; return (performance.now() - begin) / 50"
        )
    )


def measure(folder: Path, measurements: int) -> dict[str, Any]:
    """Of the server from one fresh TensorBoard, of the page's first drawing from one each."""
    from selenium import webdriver

    options = webdriver.ChromeOptions()
    options.binary_location = str(shutil.which("chromium"))
    for argument in ("--headless=new", "--no-sandbox", "--disable-gpu", "--window-size=1280,943"):
        options.add_argument(argument)
    driver = webdriver.Chrome(options=options, service=webdriver.ChromeService(str(shutil.which("chromedriver"))))
    with board(folder, measurements) as address:
        found = server(address)
    rounds: dict[str, list[float]] = {}
    try:
        for _ in range(FRESH):
            with board(folder, measurements) as address:
                rounds.setdefault("page: first drawing, just started", []).append(page(driver, address))
        with board(folder, measurements) as address:
            for _ in range(ROUNDS):
                rounds.setdefault("TensorBoard with the page, empty tab", []).append(inside(driver, address))
                rounds.setdefault("page: first drawing, once more", []).append(page(driver, address))
                rounds.setdefault("page: another quantity", []).append(another(driver))
                rounds.setdefault("page: one move of the pointer", []).append(pointer(driver))
    finally:
        driver.quit()
    return found | {name: {"seconds": median(each) / 1e3, "rounds": each} for name, each in rounds.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--layers", type=int, default=128)
    parser.add_argument("--measurements", type=int, default=10_000)
    parser.add_argument("--out", type=Path, default=Path("tensorboard_page.json"))
    arguments = parser.parse_args()
    with TemporaryDirectory() as folder:
        size = write(Path(folder), arguments.layers, arguments.measurements)
        print(f"{arguments.layers} layers, {arguments.measurements} measurements: {size:.0f} MB")
        found = measure(Path(folder), arguments.measurements)
    for name, row in found.items():
        kilobytes = f"{row['kilobytes']:10.0f} kB" if "kilobytes" in row else ""
        print(f"{name:42}{1e3 * row['seconds']:8.0f} ms{kilobytes}")
    about = {"date": date.today().isoformat(), "machine": platform.machine(), "cores": os.cpu_count(), "size": size}
    arguments.out.write_text(json.dumps(about | vars(arguments) | {"results": found}, default=str, indent=1))


if __name__ == "__main__":
    main()
