"""Models with TorchQuantum circuits anywhere in them, run by quantum layers: the numbers stay TorchQuantum's."""

from __future__ import annotations

import copy
import pickle
import threading

import pytest
import torch
import torchquantum_models
from torch import Tensor, nn
from torchquantum_models import MODELS, ImageModel, Plain, SuperQNN, compared, fits, image

from torchbp import QuantumLayer
from torchbp._torchquantum import QuantumDevice, tq, tqf
from torchbp.backends import NoiseModel
from torchbp.errors import CircuitError
from torchbp.translation.within import MOST_CIRCUITS


@pytest.mark.parametrize("name", MODELS)
def test_as_it_is(name: str) -> None:
    """Oracle: the module in TorchQuantum, its values and the gradients of parameters and inputs."""
    row = compared(name)
    assert fits(row), row
    assert row["circuits"]


def test_there_are_forty() -> None:
    assert len(MODELS) == 40


def model() -> ImageModel:
    torch.manual_seed(0)
    return ImageModel()


def test_it_is_the_model_with_its_parameters() -> None:
    """The same parameters once, under the model's names; a checkpoint of either fits the other."""
    original, x = model(), image()
    translated = QuantumLayer.within(original)
    translated(x)
    assert list(translated.parameters()) == list(original.parameters())
    assert list(translated.state_dict()) == list(original.state_dict())
    other = QuantumLayer.within(model())
    for parameter in other.parameters():
        nn.init.uniform_(parameter)
    other(x)
    other.load_state_dict(original.state_dict())
    torch.testing.assert_close(other(x), original(x))
    holder = nn.Sequential(other)
    holder.load_state_dict(holder.state_dict())
    (layer,) = translated.circuits
    assert list(layer.weight_groups) == ["q_layer.random", "q_layer"]


def test_training_moves_both() -> None:
    """Oracle: the original trained by itself."""
    one, two, x = model(), model(), image()
    translated = QuantumLayer.within(two)
    for module, parameters in ((one, one.parameters()), (translated, translated.parameters())):
        optimizer = torch.optim.Adam(parameters, lr=0.1)
        for _ in range(3):
            optimizer.zero_grad()
            module(x)[:, 0].sum().backward()
            optimizer.step()
    torch.testing.assert_close(translated(x), one(x), rtol=1e-4, atol=1e-5)
    assert len(translated.circuits) == 1


@pytest.mark.parametrize("duplicate", [copy.deepcopy, lambda m: pickle.loads(pickle.dumps(m))])
def test_copies(duplicate) -> None:
    """A copy gives the same and has parameters of its own."""
    translated, x = QuantumLayer.within(model()), image()
    y = translated(x)
    twin = duplicate(translated)
    torch.testing.assert_close(twin(x), y)
    with torch.no_grad():
        for parameter in twin.parameters():
            parameter.add_(0.3)
    assert not torch.allclose(twin(x), y)
    torch.testing.assert_close(translated(x), y)


def test_what_may_change_from_call_to_call() -> None:
    """Oracle: the original. Other batches and choices of blocks, frozen parameters, no gradients, evaluation."""
    torch.manual_seed(0)
    original = SuperQNN()
    translated = QuantumLayer.within(original)
    for chosen in ((0,), (1, 2), (0,)):
        original.chosen = chosen
        for batch in (1, 20):
            torch.testing.assert_close(translated(image((batch, 4))), original(image((batch, 4))))
    assert len(translated.circuits) == 2
    original.blocks[0].requires_grad_(False)
    torch.testing.assert_close(translated(image((2, 4))), original(image((2, 4))))
    with torch.no_grad():
        next(original.blocks[0].parameters()).add_(1.0)
        torch.testing.assert_close(translated(image((2, 4))), original(image((2, 4))))
    with torch.inference_mode():
        assert translated(image((2, 4))).shape == (2, 4)


def test_shots_noise_and_backends() -> None:
    """Oracle: expectations fade by 1 - p for a depolarizing gate (see `NoiseModel`); shots are counted."""

    class One(tq.QuantumModule):
        def __init__(self) -> None:
            super().__init__()
            self.turn = tq.RX(has_params=True, trainable=True, init_params=0.4)

        def forward(self) -> Tensor:
            device = QuantumDevice(n_wires=1)
            self.turn(device, wires=0)
            return tq.expval(device, 0, tq.PauliZ())

    exact = One()().detach()
    noisy = QuantumLayer.within(One(), noise=NoiseModel(depolarizing_1q=0.03))
    torch.testing.assert_close(noisy().detach(), exact * (1 - 0.03))
    sampled = QuantumLayer.within(One(), shots=100)
    sampled()
    assert sampled.circuits[0].shots_used == 100
    reference = QuantumLayer.within(One(), backend="torchquantum")
    torch.testing.assert_close(reference().detach(), exact)


def test_torchquantum_stays_as_it_was() -> None:
    """After a call, after one that fails, and for other threads during one."""
    before = tqf.gate_wrapper, tq.expval, tq.MeasureMultipleTimes.forward, "states" in vars(QuantumDevice)
    seen = []

    def elsewhere() -> None:
        device = QuantumDevice(n_wires=1)
        tqf.x(device, wires=0)
        seen.append((device.get_states_1d()[0], tq.expval(device, 0, tq.PauliZ())))

    class Busy(Plain):
        def forward(self, x: Tensor) -> Tensor:
            thread = threading.Thread(target=elsewhere)
            thread.start()
            thread.join()
            y = super().forward(x)
            if len(x) == 7:
                raise ValueError("seven")
            return y

    translated = QuantumLayer.within(Busy())
    translated(image((2, 4)))
    with pytest.raises(ValueError, match="seven"):
        translated(image((7, 4)))
    for state, value in seen:
        assert state.tolist() == [0, 1]
        assert value.tolist() == [[-1]]
    assert before == (tqf.gate_wrapper, tq.expval, tq.MeasureMultipleTimes.forward, "states" in vars(QuantumDevice))


def test_a_model_around_another() -> None:
    """Oracle: the original."""
    torch.manual_seed(0)
    inner = Plain()
    outer = nn.Sequential(QuantumLayer.within(inner), Plain("ry"))
    wanted = nn.Sequential(inner, outer[1])(image((3, 4)))
    torch.testing.assert_close(QuantumLayer.within(outer)(image((3, 4))), wanted)


def test_the_history_is_recorded() -> None:
    """Oracle: what TorchQuantum records."""
    found = []
    for wrap in (lambda m: m, QuantumLayer.within):
        history: list[dict] = []

        class Kept(tq.QuantumModule):
            def __init__(self) -> None:
                super().__init__()
                self.turn = tq.RX(has_params=True, trainable=True, init_params=0.4)

            def forward(self, history: list = history) -> Tensor:
                device = QuantumDevice(n_wires=2, record_op=True)
                self.turn(device, wires=1)
                device.cnot(wires=[1, 0])
                history += device.op_history
                return tq.expval(device, 0, tq.PauliZ())

        wrap(Kept())()
        found.append(history)
    assert found[0] == found[1]


def test_circuits_that_always_differ() -> None:
    class Restless(tq.QuantumModule):
        calls = 0

        def forward(self) -> Tensor:
            device = QuantumDevice(n_wires=1)
            self.calls += 1
            tqf.rx(device, wires=0, params=0.001 * self.calls)
            return tq.expval(device, 0, tq.PauliZ())

    translated = QuantumLayer.within(Restless())
    for _ in range(MOST_CIRCUITS):
        translated()
    with pytest.raises(CircuitError, match=f"The circuits in Restless differ from call to call \\({MOST_CIRCUITS} so"):
        translated()


def test_the_table_is_printed() -> None:
    """All in the table have inputs that can be made twice, alike."""
    for _, inputs in torchquantum_models.MODELS.values():
        for one, two in zip(inputs(), inputs(), strict=True):
            assert not isinstance(one, Tensor) or torch.equal(one, two)
