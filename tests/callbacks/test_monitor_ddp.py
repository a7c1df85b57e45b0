"""GradientSNRMonitor on two processes against one with the whole batch."""

import sys

import pytest
import torch
from processes import run_alone

SCRIPT = """
import sys, torch, lightning.pytorch as L
from torch import nn
from torch.utils.data import DataLoader, DistributedSampler, TensorDataset
from torchbp import QuantumLayer
from torchbp.callbacks import GradientSNRMonitor
from torchbp.circuits import angle_encoding, hardware_efficient
from torchbp.gradients.groups import find_groups
from torchbp.gradients.microbatch import microbatch_gradients, split_batch
from torchbp.gradients.stats import GradientStatistics

folder, source, parts, odd = sys.argv[1], sys.argv[2], int(sys.argv[3]), sys.argv[4] == "odd"

class Model(L.LightningModule):
    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        core = QuantumLayer(angle_encoding(n_wires=2) + hardware_efficient(n_wires=2, depth=1))
        self.net = nn.Sequential(nn.Linear(3, 2), core, nn.Linear(2, 1))
    def training_step(self, batch, batch_idx):
        if odd and self.trainer.global_rank == 1 and len(batch[0]) == 8:  # more rows than samples
            return self.net(torch.cat([batch[0], batch[0]])).square().mean()
        return self.loss(batch)
    def loss(self, batch):
        return nn.functional.mse_loss(self.net(batch[0]), batch[1])
    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.1)
    def train_dataloader(self):  # Lightning's own sampler would shuffle
        rank = self.trainer.global_rank
        return DataLoader(self.data, batch_size=8, sampler=DistributedSampler(self.data, 2, rank, shuffle=False))

def run():
    torch.set_num_threads(1)
    x = torch.randn(16, 3, generator=torch.Generator().manual_seed(0))
    data = TensorDataset(x, x.sum(1, keepdim=True))
    model, monitor = Model(), GradientSNRMonitor(n_microbatches=4, source=source)
    groups = find_groups(model)
    shares = [p for r in range(2) for p in split_batch([t[r::2] for t in data.tensors], parts)]  # as the sampler deals
    samples = microbatch_gradients(model.loss, groups, shares)
    expected = GradientStatistics.from_samples(samples).split([len(g) for g in groups])
    class Save(L.Callback):
        def on_train_end(self, trainer, module):
            found = [getattr(s, name) for s in monitor.statistics.values() for name in ("mean", "standard_error")]
            seen = [(layer.source, layer.n_samples, layer.snr) for layer in monitor.latest]
            wanted = [getattr(s, name) for s in expected for name in ("mean", "standard_error")]
            torch.save((seen, found, wanted), f"{folder}/rank{trainer.global_rank}.pt")
    trainer = L.Trainer(max_epochs=1, accelerator="cpu", devices=2, strategy="ddp_fork",
        logger=False, use_distributed_sampler=False, callbacks=[monitor, Save()],
        enable_progress_bar=False, enable_model_summary=False, enable_checkpointing=False)
    model.data = data
    trainer.fit(model)

run()
"""


@pytest.mark.parametrize(
    ("source", "measured", "parts", "odd"),
    [("auto", "per_sample", 8, ""), ("auto", "microbatch", 4, "odd")],
)
def test_two_processes_agree(tmp_path, source, measured, parts, odd):
    """Two gloo ranks: the same numbers on both, and one source, even where only one rank's batch fits the first.

    Oracle: one process with the samples of both.
    """
    script = tmp_path / "run.py"
    script.write_text(SCRIPT)
    command = [sys.executable, script, tmp_path, source, str(parts), odd]
    done = run_alone(command)
    assert done.returncode == 0, done.stderr
    (seen, found, expected), (other, _, _) = (torch.load(tmp_path / f"rank{rank}.pt") for rank in range(2))
    assert seen == other
    assert [name for name, _, _ in seen] == [measured] * len(seen)
    assert [n for _, n, _ in seen] == [2 * parts] * len(seen)
    for one, twin in zip(found, expected, strict=True):
        torch.testing.assert_close(one, twin, rtol=1e-4, atol=1e-6)
