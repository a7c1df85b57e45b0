"""Two processes with half a batch each, against one with all of it."""

import sys
from pathlib import Path

import torch
from processes import run_together
from torch import Tensor, nn

from torchbp import QuantumLayer
from torchbp.circuits import angle_encoding, hardware_efficient

RANK = """
import sys
import torch
from processes import run_together
from torch import distributed
from torch.nn.parallel import DistributedDataParallel
from test_ddp import gradients, make
rank, folder = int(sys.argv[1]), sys.argv[2]
distributed.init_process_group("gloo", init_method=f"file://{folder}/meeting", rank=rank, world_size=2)
torch.set_num_threads(1)
model = DistributedDataParallel(make())
torch.save(gradients(model, rank), f"{folder}/{rank}.pt")
distributed.barrier()
distributed.destroy_process_group()
"""


def make() -> nn.Module:
    generator = torch.Generator().manual_seed(0)
    circuit = angle_encoding(n_wires=3) + hardware_efficient(n_wires=3, depth=2)
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 3), QuantumLayer(circuit, generator=generator), nn.Linear(3, 2))


def gradients(model: nn.Module, rank: int | None) -> list[Tensor]:
    """Of a mean over 6 samples, or over one rank's 3 of them, after two steps."""
    x = torch.randn(6, 4, generator=torch.Generator().manual_seed(1))
    x = x if rank is None else x[3 * rank : 3 * rank + 3]
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    for _ in range(2):
        optimizer.zero_grad()
        model(x).square().mean().backward()
        optimizer.step()
    return [p.grad for p in model.parameters()]


def test_distributed_data_parallel(tmp_path: Path) -> None:
    """Oracle: one process with the whole batch."""
    command = [sys.executable, "-W", "ignore", "-c", RANK]
    ranks = run_together([[*command, rank, tmp_path] for rank in (0, 1)], cwd=Path(__file__).parent)
    assert [rank.returncode for rank in ranks] == [0, 0], [rank.stderr for rank in ranks]
    for rank in (0, 1):
        for got, wanted in zip(torch.load(tmp_path / f"{rank}.pt"), gradients(make(), None), strict=True):
            torch.testing.assert_close(got, wanted)
