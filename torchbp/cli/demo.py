"""`torchbp demo`."""

from __future__ import annotations

import argparse
import logging
import time
import warnings
from pathlib import Path

from torchbp.cli.options import new_folder, whole
from torchbp.cli.output import Progress, add_json_option, show
from torchbp.errors import MissingDependencyError

DESCRIPTION = """\
Trains 64 pixels -> 8 wires -> 10 classes on scikit-learn's handwritten digits, measures the gradient SNR of every layer
on the way, and leaves TensorBoard logs and events, from which `torchbp report` makes a page."""
EXAMPLE = "torchbp demo --epochs 10 --logs runs && torchbp report runs/demo/version_0"


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--epochs", type=whole(0), default=25)
    parser.add_argument("--logs", type=new_folder, default=Path("runs"))
    parser.add_argument("--seed", type=whole(0), default=0)
    add_json_option(parser)


def run(arguments: argparse.Namespace) -> int:
    try:
        from sklearn.datasets import load_digits
    except ImportError as error:
        raise MissingDependencyError(
            "The demo's data come with scikit-learn. Run: pip install 'torchbp[demo]'"
        ) from error
    import lightning as L
    import torch
    from lightning.pytorch.loggers import TensorBoardLogger
    from torch.utils.data import DataLoader, TensorDataset, random_split

    from torchbp.callbacks import GradientSNRMonitor, PlateauDetector
    from torchbp.models import HybridClassifier

    progress = Progress("demo")

    class Epochs(L.Callback):
        """Lightning's own progress bar is on stdout, which is for results."""

        def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
            progress(f"epoch {trainer.current_epoch + 1} of {arguments.epochs}")

    logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)
    L.seed_everything(arguments.seed, verbose=False)
    pixels, classes = load_digits(return_X_y=True)
    data = TensorDataset(torch.tensor(pixels / 16, dtype=torch.float32), torch.tensor(classes))
    split = torch.Generator().manual_seed(arguments.seed)
    train, val, test = random_split(data, [0.7, 0.1, 0.2], generator=split)
    model = HybridClassifier(n_features=64, n_classes=10, n_wires=8, depth=4, learning_rate=0.02)
    monitor = GradientSNRMonitor(every_n_steps=25)
    logger = TensorBoardLogger(arguments.logs, name="demo")
    trainer = L.Trainer(
        max_epochs=arguments.epochs,
        callbacks=[monitor, PlateauDetector(monitor), Epochs()],
        logger=logger,
        log_every_n_steps=10,
        enable_checkpointing=False,
        enable_model_summary=False,
        enable_progress_bar=False,
    )
    began = time.perf_counter()
    with progress, warnings.catch_warnings():
        warnings.filterwarnings("ignore", "The '.*_dataloader' does not have many workers")
        warnings.filterwarnings("ignore", ".*LeafSpec.* is deprecated")
        trainer.fit(model, DataLoader(train, 32, shuffle=True), DataLoader(val, 512))
        seconds = time.perf_counter() - began
        accuracy = trainer.test(model, DataLoader(test, 512), verbose=False)[0]["test_accuracy"]
    folder = str(logger.log_dir)
    text = (
        f"{monitor.report()}\n\nTest accuracy {accuracy:.3f} after {arguments.epochs} epochs in {seconds:.0f} s.\n"
        f"A page about this run: torchbp report {folder}\nIn TensorBoard: tensorboard --logdir {arguments.logs}"
    )
    values = {"test_accuracy": accuracy, "epochs": arguments.epochs, "seconds": seconds, "logs": folder}
    show(arguments, values, text)
    return 130 if trainer.interrupted else 0
