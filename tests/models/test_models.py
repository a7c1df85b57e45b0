"""The hybrid models: they learn, their parts can be replaced, they load back from a checkpoint."""

from __future__ import annotations

from pathlib import Path

import lightning as L
import pytest
import torch
from sklearn.datasets import load_iris
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from torchbp import QuantumLayer
from torchbp.circuits import angle_encoding, global_z, real_amplitudes
from torchbp.errors import InputError
from torchbp.models import HybridClassifier, HybridRegressor


def trainer(path: Path, epochs: int) -> L.Trainer:
    return L.Trainer(
        max_epochs=epochs,
        accelerator="cpu",
        logger=False,
        default_root_dir=path,
        enable_progress_bar=False,
        enable_model_summary=False,
    )


def iris(targets: slice | None = None, shuffle: bool = True) -> DataLoader:
    features, classes = load_iris(return_X_y=True)
    x = torch.tensor((features - features.mean(0)) / features.std(0), dtype=torch.float32)
    y = torch.tensor(classes) if targets is None else x[:, targets]
    return DataLoader(TensorDataset(x, y), batch_size=30, shuffle=shuffle)


def test_classifier_learns_iris_and_loads_back(tmp_path: Path) -> None:
    """Better than 0.9 where guessing gives 0.33; the checkpoint gives the same logits."""
    L.seed_everything(0, verbose=False)
    model, data = HybridClassifier(4, 3, n_wires=2, depth=1, learning_rate=0.05), iris(shuffle=False)
    run = trainer(tmp_path, 15)
    run.fit(model, iris(), data)
    assert run.test(model, data, verbose=False)[0]["test_accuracy"] > 0.9
    run.save_checkpoint(tmp_path / "model.ckpt", weights_only=True)
    twin = HybridClassifier.load_from_checkpoint(tmp_path / "model.ckpt", weights_only=True)
    x = torch.rand(3, 4)
    torch.testing.assert_close(twin.cpu()(x), model(x))
    assert torch.cat(run.predict(model, data)).shape == (150, 3)


def test_regressor_learns_one_feature_from_the_others(tmp_path: Path) -> None:
    """A mean absolute error well below the 0.87 that predicting the mean gives."""
    L.seed_everything(0, verbose=False)
    model, data = (
        HybridRegressor(4, 1, n_wires=2, depth=1, learning_rate=0.05),
        iris(slice(2, 3), shuffle=False),
    )
    run = trainer(tmp_path, 15)
    run.fit(model, iris(slice(2, 3)), data)
    assert run.test(model, data, verbose=False)[0]["test_mae"] < 0.3


def test_parts_are_replaceable() -> None:
    """A head is made for the outputs of the quantum layer given."""
    quantum = QuantumLayer(angle_encoding(3) + real_amplitudes(3, 1), [global_z(3)])
    model = HybridClassifier(5, 2, 3, quantum=quantum, encoder=nn.Linear(5, 3))
    assert model.quantum is quantum
    assert model(torch.rand(4, 5)).shape == (4, 2)
    assert HybridRegressor(8, 2, head=nn.Linear(4, 2))(torch.rand(4, 2, 4)).shape == (4, 2)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: HybridClassifier(4, 1), "n_classes is a whole number of at least 2, got 1"),
        (lambda: HybridClassifier(0, 2), "n_features is a whole number of at least 1, got 0"),
        (lambda: HybridRegressor(4, 0), "n_targets is a whole number of at least 1, got 0"),
        (lambda: HybridRegressor(4, learning_rate=0.0), "learning_rate is a positive finite number, got 0.0"),
        (
            lambda: HybridRegressor(4, 2).training_step((torch.rand(3, 4), torch.rand(3)), 0),
            "predicts 2 targets, y has 1 columns",
        ),
    ],
)
def test_messages(make: object, message: str) -> None:
    with pytest.raises(InputError, match=message):
        make()  # type: ignore[operator]
