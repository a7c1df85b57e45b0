"""The layers found in a model, against lists written by hand."""

import subprocess
import sys

import torch
from torch import nn

from torchbp import QuantumLayer
from torchbp._torchquantum import tq
from torchbp.circuits import angle_encoding, hardware_efficient
from torchbp.gradients.groups import MAX_WEIGHTS, find_groups


def quantum_layer(depth: int = 2) -> QuantumLayer:
    return QuantumLayer(angle_encoding(n_wires=2) + hardware_efficient(n_wires=2, depth=depth))


def found(model: nn.Module) -> list[tuple[str, str, int]]:
    groups = find_groups(model)
    assert sum(g.n_weights for g in groups) == sum(p.numel() for p in model.parameters())  # each weight once
    return [(g.name, g.kind, g.n_weights) for g in groups]


class Hybrid(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.encoder = nn.Sequential(nn.Linear(3, 2), nn.Tanh())
        self.quantum = quantum_layer()
        self.scale = nn.Parameter(torch.ones(1))
        self.head = nn.Linear(2, 4)


def test_hybrid():
    """One group for each layer of the circuit, one for each classical module. Oracle: by hand."""
    size = len(quantum_layer().weight_groups["layer0"])
    assert found(Hybrid()) == [
        ("Hybrid", "classical", 1),
        ("encoder.0", "classical", 8),
        ("quantum/layer0", "quantum", size),
        ("quantum/layer1", "quantum", size),
        ("head", "classical", 12),
    ]
    assert [name for name, *_ in found(quantum_layer())] == ["layer0", "layer1"]


def test_pick_takes_the_layer():
    """Oracle: the layer's own indices."""
    layer = quantum_layer()
    for group, indices in zip(find_groups(layer), layer.weight_groups.values(), strict=True):
        assert torch.equal(group.pick({layer.weights: layer.weights.detach()}), layer.weights.detach()[list(indices)])


def test_compiled_names():
    """torch.compile's wrapper does not show in the names. Oracle: those of the plain model."""
    model = Hybrid()
    plain = found(model)
    model.quantum, model.head = (torch.compile(m, backend="eager") for m in (model.quantum, model.head))
    assert found(model) == plain


class QLayer(tq.QuantumModule):
    """As in TorchQuantum's examples."""

    def __init__(self) -> None:
        super().__init__()
        self.random_layer = tq.RandomLayer(n_ops=20, wires=[0, 1], seed=0)
        self.rx0 = tq.RX(has_params=True, trainable=True)
        self.ry0 = tq.RY(has_params=True, trainable=True)
        self.fixed = tq.Hadamard()
        self.layer = tq.Op1QAllLayer(op=tq.RY, n_wires=3, has_params=True, trainable=True)


class Existing(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.q_layer = QLayer()
        self.gates = nn.ModuleList([tq.RX(has_params=True, trainable=True) for _ in range(3)])
        self.rz = tq.RZ(has_params=True, trainable=True)
        self.head = nn.Linear(2, 1)


def test_existing_torchquantum_code():
    """Operators are grouped by the list or module they stand in. Oracle: by hand."""
    model = Existing()
    n_random = sum(p.numel() for p in model.q_layer.random_layer.parameters())
    assert sorted(found(model)) == [
        ("gates", "quantum", 3),
        ("head", "classical", 3),
        ("operators", "quantum", 1),
        ("q_layer", "quantum", 2),
        ("q_layer.layer", "quantum", 3),
        ("q_layer.random_layer", "quantum", n_random),
    ]


def test_parameters_of_a_quantum_module():
    """A QuantumModule's own tensor of angles is quantum, a Linear inside it is not. Oracle: by hand."""

    class Mixed(tq.QuantumModule):
        def __init__(self) -> None:
            super().__init__()
            self.theta = nn.Parameter(torch.zeros(2, 3))
            self.head = nn.Linear(3, 1)

    assert found(Mixed()) == [("Mixed", "quantum", 6), ("head", "classical", 4)]


def test_shared_and_frozen():
    """A tied weight belongs to one group; frozen ones are listed. Oracle: by hand."""
    model = nn.Sequential(nn.Linear(2, 2, bias=False), nn.Linear(2, 2))
    model[1].weight = model[0].weight
    model[1].bias.requires_grad_(False)
    assert found(model) == [("0", "classical", 4), ("1", "classical", 2)]


def test_large_classical_layer_is_sampled():
    """Equally spaced weights of weight and bias stand for all. Oracle: counts, and the values picked."""
    model = nn.Linear(100, 200)
    (group,) = find_groups(model)
    assert (group.n_weights, len(group)) == (20_200, MAX_WEIGHTS)
    index = {
        model.weight: torch.arange(20_000.0).reshape(200, 100),
        model.bias: torch.arange(20_000.0, 20_200.0),
    }
    picked = group.pick(index)
    assert set(picked.diff().tolist()) <= {4.0, 5.0}
    assert picked[-1] >= 20_190


def test_torchquantum_is_not_imported():
    """Oracle: sys.modules of a fresh interpreter."""
    code = (
        "import sys; from torch import nn; from torchbp.gradients.groups import find_groups; "
        "find_groups(nn.Linear(2, 2)); assert 'torchquantum' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
