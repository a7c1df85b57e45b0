"""What VQE and QAOA share: no data, one circuit, and its energy is the loss."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, cast

import lightning as L
import torch
from torch import Tensor
from torch.utils.data import DataLoader, TensorDataset

from torchbp.arguments import checked
from torchbp.arguments.kinds import a, function
from torchbp.backends import Backend
from torchbp.backends.noise import NoiseModel
from torchbp.circuits import Circuit, PauliSum, given
from torchbp.circuits.initializers import Initializer
from torchbp.errors import UnknownNameError
from torchbp.layer import QuantumLayer

PARTS = 8
"""Into how many parts the shots of a step can be split: the rows of a batch."""


def _an_optimizer(name: str, value: Any) -> Any:
    """A check of arguments: a class of optimizers or a function; "adam" is taken for the one of torch of that name."""
    if not isinstance(value, str):
        return function(name, value)
    kinds = {n.lower(): c for n, c in vars(torch.optim).items() if isinstance(c, type) and n != "Optimizer"}
    if value.lower() not in kinds:
        raise UnknownNameError(name, value, [c.__name__ for c in kinds.values()])
    return kinds[value.lower()]


class EnergyModule(L.LightningModule):
    """Minimizes <H> over the weights of a circuit: every training step is one estimate of the energy.

    Logs `energy`, and with Pauli propagation `truncation`, the error estimate of what was dropped. It brings its own
    data loader, so that `Trainer(max_steps=...).fit(model)` is enough; with a loader of one's own, a batch is one step,
    and what is in it does not matter. The batches of its own stand for the shots of a step in eight parts, without
    features: a part of a batch is measured with as many parts of the shots, so that a source of gradient samples that
    splits batches sees the shot noise of a step.

    Args:
        circuit: the ansatz; its weights are trained.
        hamiltonian: H.
        shots, noise, backend, init, generator: as for `QuantumLayer`.
        optimizer: called with the parameters and `lr=learning_rate`; or the name of one of torch's, such as "adam".
        learning_rate: radians for each step of Adam; whatever it means to another optimizer.
        steps_per_epoch: batches of the loader that the model brings.

    Attributes:
        quantum: the `QuantumLayer`, with H as its only observable.

    Raises:
        InputError: the learning rate is not positive.
        InputError: `steps_per_epoch` is not a whole number of at least 1; and what `QuantumLayer` raises.
    """

    @checked(
        circuit=given.circuit,
        hamiltonian=given.observable,
        noise=a(NoiseModel, write="NoiseModel(depolarizing_2q=0.01)"),
        optimizer=_an_optimizer,
    )
    def __init__(
        self,
        circuit: Circuit,
        hamiltonian: PauliSum,
        *,
        shots: int | None = None,
        noise: NoiseModel | None = None,
        backend: str | Backend = "fused",
        init: str | Initializer | Tensor = "gaussian",
        generator: torch.Generator | None = None,
        optimizer: Callable[..., torch.optim.Optimizer] | str = torch.optim.Adam,
        learning_rate: float = 0.05,
        steps_per_epoch: int = 100,
    ) -> None:
        super().__init__()
        self.steps_per_epoch = steps_per_epoch
        self.hamiltonian = hamiltonian
        self.quantum = QuantumLayer(
            circuit, hamiltonian, shots=shots, noise=noise, backend=backend, init=init, generator=generator
        )
        self.optimizer = cast(Callable[..., torch.optim.Optimizer], optimizer)
        self.learning_rate = learning_rate

    def remember(self, options: Mapping[str, Any], **arguments: Any) -> None:
        """Keep arguments in the checkpoint, so that `load_from_checkpoint` needs only those that are objects."""
        plain = {key: value for key, value in options.items() if isinstance(value, int | float) or value is None}
        self.hparams.update(arguments | plain)

    def forward(self) -> Tensor:
        """The energy, a scalar, differentiable; an estimate where `shots` is set."""
        return self.quantum().squeeze()

    @torch.no_grad()
    def exact_energy(self) -> float:
        """<H> at the present weights, without shots and, as it judges the weights, without noise."""
        with self.quantum.exact(), self.quantum.noiseless():
            return float(self())

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        with self.quantum.shots_at(self._shots_for(batch)):
            energy = self()
        self.log("energy", energy, prog_bar=True, batch_size=1)
        truncation = getattr(self.quantum.backend, "truncation", None)
        if truncation is not None:
            self.log("truncation", float(truncation.estimate.max()), batch_size=1)
        return energy

    def train_dataloader(self) -> Iterable[Any]:
        return DataLoader(TensorDataset(torch.empty(PARTS * self.steps_per_epoch, 0)), batch_size=PARTS)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return self.optimizer(self.parameters(), lr=self.learning_rate)

    def _shots_for(self, batch: Any) -> int | None:
        shots = self.quantum.shots
        own = (
            isinstance(batch, list) and len(batch) == 1 and isinstance(batch[0], Tensor) and batch[0].shape[1:] == (0,)
        )
        return max(1, shots * len(batch[0]) // PARTS) if shots and own else shots
