"""Renders docs/images/tensorboard.png: TensorBoard's Time Series page on the logs of the digits demo.

    make demo && .venv/bin/python docs/tensorboard_screenshot.py runs

Needs selenium, chromium and its driver.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from urllib.parse import quote

from selenium import webdriver
from tensorboard import program

CARDS = [
    {"plugin": "images", "tag": "torchbp/per_sample/snr_heatmap", "runId": "defaultExperimentId/.", "sample": 0},
    {"plugin": "scalars", "tag": "torchbp/per_sample/snr_median"},
    {"plugin": "scalars", "tag": "torchbp_snr_db/per_sample/quantum/layer0"},
    {"plugin": "scalars", "tag": "torchbp_median_abs/per_sample/quantum/layer0"},
    {"plugin": "scalars", "tag": "train_loss"},
    {"plugin": "scalars", "tag": "val_accuracy"},
]


def main(logs: str) -> None:
    run = sorted(Path(logs).glob("digits/version_*"), key=lambda p: int(p.name.split("_")[1]))[-1]
    board = program.TensorBoard()
    board.configure(logdir=str(run), port=0, bind_all=False)
    options = webdriver.ChromeOptions()
    for argument in ("--headless=new", "--no-sandbox", "--disable-gpu", "--window-size=1400,1000"):
        options.add_argument(argument)
    driver = webdriver.Chrome(options=options)
    try:
        driver.get(f"{board.launch()}?smoothing=0&pinnedCards={quote(json.dumps(CARDS))}#timeseries")
        time.sleep(12)
        driver.execute_script(
            "[...document.querySelectorAll('button')].find(b => b.innerText.includes('Settings')).click()"
        )
        time.sleep(3)
        picture = Path(__file__).parent / "images" / "tensorboard.png"
        picture.parent.mkdir(exist_ok=True)
        driver.save_screenshot(str(picture))
    finally:
        driver.quit()


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else "runs")
