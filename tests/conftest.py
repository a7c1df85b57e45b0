"""What holds for all tests."""

from __future__ import annotations

import pytest
import torch


@pytest.fixture(autouse=True, scope="session")
def _one_thread() -> None:
    """Tensors as small as those of the tests gain nothing from a second thread, and wait for it on a busy machine."""
    torch.set_num_threads(1)
