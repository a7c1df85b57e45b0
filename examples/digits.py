"""Does a hybrid network learn handwritten digits, and do its quantum gradients stay above the noise?

64 pixels → 8 wires → 10 classes, on scikit-learn's digits (1,797 real 8x8 images that come with the package).
Prints the test accuracy, the verdict and a table of the circuit layers; leaves TensorBoard logs and a picture of the
SNR in `runs/`.
"""

from __future__ import annotations

import argparse
import logging
import os
import sys
import time
import warnings
from pathlib import Path

import lightning as L
import torch
from lightning.pytorch.callbacks import TQDMProgressBar
from lightning.pytorch.loggers import TensorBoardLogger
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from torch.utils.data import DataLoader, TensorDataset

from torchbp.callbacks import GradientSNRMonitor, PlateauDetector
from torchbp.models import HybridClassifier


def digits(batch_size: int) -> tuple[DataLoader, DataLoader, DataLoader]:
    """Training, validation and test images, (B, 64) in [0, 1], with their classes: 70, 10 and 20 percent."""
    pixels, classes = load_digits(return_X_y=True)
    x, y = torch.tensor(pixels / 16, dtype=torch.float32), torch.tensor(classes)
    rest, test = train_test_split(range(len(y)), test_size=0.2, stratify=y, random_state=0)
    train, val = train_test_split(rest, test_size=0.125, stratify=y[rest], random_state=0)
    parts = [TensorDataset(x[i], y[i]) for i in (train, val, test)]
    return DataLoader(parts[0], batch_size, shuffle=True), DataLoader(parts[1], 512), DataLoader(parts[2], 512)


# Advice of Lightning's that does not apply to a data set of this size.
warnings.filterwarnings("ignore", "The '.*_dataloader' does not have many workers")
warnings.filterwarnings("ignore", ".*LeafSpec.* is deprecated")
logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)


PAGE = "http://localhost:6006/#torchbp"  # TensorBoard's page "Barren plateaus"

torch.set_num_threads(1)  # tensors this small gain nothing from more, and wait for them on a busy machine


def main(epochs: int, logs: Path) -> float:
    L.seed_everything(0, verbose=False)
    train, val, test = digits(batch_size=32)
    model = HybridClassifier(n_features=64, n_classes=10, n_wires=8, depth=4, learning_rate=0.02)
    monitor = GradientSNRMonitor(every_n_steps=25, per_weight=True)
    detector = PlateauDetector(monitor)
    logger = TensorBoardLogger(logs, name="digits")
    trainer = L.Trainer(
        max_epochs=epochs,
        callbacks=[monitor, detector, TQDMProgressBar(refresh_rate=10)],
        logger=logger,
        log_every_n_steps=10,
        enable_checkpointing=False,
        enable_model_summary=False,
    )
    start = time.perf_counter()
    trainer.fit(model, train, val)
    seconds = time.perf_counter() - start
    accuracy = trainer.test(model, test, verbose=False)[0]["test_accuracy"]

    picture = Path(logger.log_dir) / "snr_heatmap.png"
    monitor.heatmap().savefig(picture)
    print(f"\n{monitor.report()}\n")
    print(f"Verdict: {detector.diagnosis}")
    print(f"Test accuracy {accuracy:.3f} after {epochs} epochs in {seconds:.0f} s.")
    print(f"Gradient SNR as a picture: {picture}")
    board = os.path.relpath(Path(sys.executable).with_name("tensorboard"))
    print(f"To see how it went: {board} --logdir {logs} and open {PAGE}")
    return accuracy


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--epochs", type=int, default=25)
    parser.add_argument("--logs", type=Path, default=Path("runs"))
    arguments = parser.parse_args()
    main(arguments.epochs, arguments.logs)
