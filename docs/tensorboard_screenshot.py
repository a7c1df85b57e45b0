"""Renders the pictures of TensorBoard in docs/images, from real runs.

    make demo && .venv/bin/python docs/tensorboard_screenshot.py runs    both pictures
    .venv/bin/python docs/tensorboard_screenshot.py                      the page of torchbp only

tensorboard.png is the Time Series page on the logs of the digits demo. plateau_page.png is the page "Barren plateaus"
on a run that is trained here: 12 wires, 12 layers, a global observable.

Needs selenium, chromium and its driver.
"""

from __future__ import annotations

import json
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote

from selenium import webdriver
from selenium.webdriver.support.ui import WebDriverWait
from tensorboard import program

ROOT = Path(__file__).parent.parent
IMAGES = Path(__file__).parent / "images"
CARDS = [
    {"plugin": "images", "tag": "torchbp/per_sample/snr_heatmap", "runId": "defaultExperimentId/.", "sample": 0},
    {"plugin": "scalars", "tag": "torchbp/per_sample/snr_median"},
    {"plugin": "scalars", "tag": "torchbp_snr_db/per_sample/quantum/layer0"},
    {"plugin": "scalars", "tag": "torchbp_median_abs/per_sample/quantum/layer0"},
    {"plugin": "scalars", "tag": "train_loss"},
    {"plugin": "scalars", "tag": "val_accuracy"},
]


@contextmanager
def chromium(width: int, height: int) -> Iterator[Any]:
    """A browser whose pages are this large."""
    options = webdriver.ChromeOptions()
    options.binary_location = str(shutil.which("chromium"))
    for argument in ("--headless=new", "--no-sandbox", "--disable-gpu", "--hide-scrollbars"):
        options.add_argument(argument)
    driver = webdriver.Chrome(options=options, service=webdriver.ChromeService(str(shutil.which("chromedriver"))))
    try:
        metrics = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False}
        driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
        yield driver
    finally:
        driver.quit()


def served(logs: Path) -> str:
    """Address of a TensorBoard on these logs."""
    board = program.TensorBoard()
    board.configure(logdir=str(logs), port=0, bind_all=False)
    return str(board.launch())


def time_series(logs: Path) -> None:
    """The cards of the digits demo."""
    run = sorted(logs.glob("digits/version_*"), key=lambda p: int(p.name.split("_")[1]))[-1]
    with chromium(1400, 857) as driver:
        driver.get(f"{served(run)}?smoothing=0&pinnedCards={quote(json.dumps(CARDS))}#timeseries")
        time.sleep(12)
        driver.execute_script(
            "[...document.querySelectorAll('button')].find(b => b.innerText.includes('Settings')).click()"
        )
        time.sleep(3)
        driver.save_screenshot(str(IMAGES / "tensorboard.png"))


def plateau_run(logs: Path) -> None:
    """A barren plateau, watched for 200 steps."""
    import lightning as L
    import torch
    from lightning.pytorch.loggers import TensorBoardLogger
    from torch.utils.data import DataLoader, TensorDataset

    from torchbp.callbacks import GradientSNRMonitor, PlateauDetector

    sys.path.insert(0, str(ROOT))
    from benchmarks.plateaubench.building import deep, inputs, mse, sgd
    from benchmarks.plateaubench.task import Learner

    torch.set_num_threads(1)
    torch.manual_seed(0)
    x = inputs(12, 2, samples=64)
    learner = Learner(deep(12, 2), mse, sgd(0.05))
    monitor = GradientSNRMonitor(every_n_steps=4, per_weight=True)
    trainer = L.Trainer(
        max_steps=200,
        accelerator="cpu",
        callbacks=[monitor, PlateauDetector(monitor, window=8)],
        logger=TensorBoardLogger(logs, name="global_z_12_wires"),
        log_every_n_steps=2,
        enable_progress_bar=False,
        enable_checkpointing=False,
        enable_model_summary=False,
    )
    parity = 0.8 * x.prod(1, keepdim=True).sign()
    trainer.fit(learner, DataLoader(TensorDataset(x, parity), batch_size=16, shuffle=True))


def plateau_page(logs: Path) -> None:
    """What the page says of it."""
    with chromium(1280, 1040) as driver:
        driver.get(f"{served(logs)}#torchbp")
        wait = WebDriverWait(driver, 60)
        wait.until(lambda d: d.find_elements("css selector", "iframe"))
        driver.switch_to.frame(0)
        wait.until(lambda d: d.execute_script("return document.querySelectorAll('.segment').length > 1"))
        driver.switch_to.default_content()
        time.sleep(2)  # TensorBoard's own header
        driver.save_screenshot(str(IMAGES / "plateau_page.png"))


def main() -> None:
    IMAGES.mkdir(exist_ok=True)
    if len(sys.argv) > 1:
        time_series(Path(sys.argv[1]))
    with tempfile.TemporaryDirectory() as folder:
        plateau_run(Path(folder))
        plateau_page(Path(folder))


if __name__ == "__main__":
    main()
