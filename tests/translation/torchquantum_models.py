"""Forty modules as people write them with TorchQuantum, each with inputs, to be translated as they are.

Written anew after what TorchQuantum's examples and those built on it do: images into angles or amplitudes, circuits in
loops and recurrences, states read directly, several circuits in a model, classical work before and behind.
Run as a script it prints what becomes of each.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from torchbp._torchquantum import tq, tqf

TRAINED = {"has_params": True, "trainable": True}
RY4 = [{"input_idx": [i], "func": "ry", "wires": [i]} for i in range(4)]
Inputs = Callable[[], tuple[Any, ...]]
MODELS: dict[str, tuple[Callable[[], nn.Module], Inputs]] = {}


def model(name: str, *shapes: tuple[int, ...], given: Inputs | None = None) -> Callable[[Any], Any]:
    """Registers a class (or function that makes one) with its inputs: random tensors of these shapes."""

    def inputs() -> tuple[Any, ...]:
        generator = torch.Generator().manual_seed(5)
        return tuple(torch.rand(shape, generator=generator).requires_grad_() for shape in shapes)

    def register(make: Any) -> Any:
        MODELS[name] = make, given or inputs
        return make

    return register


IMAGE = (3, 1, 28, 28)


class RandomBlock(tq.QuantumModule):
    """A random layer and a few gates of one's own: the circuit of the MNIST tutorials."""

    def __init__(self, n_wires: int = 4) -> None:
        super().__init__()
        self.n_wires = n_wires
        self.random = tq.RandomLayer(n_ops=12, wires=list(range(n_wires)), seed=1)
        self.rx, self.ry, self.rz = (op(**TRAINED) for op in (tq.RX, tq.RY, tq.RZ))
        self.crx = tq.CRX(**TRAINED)

    def forward(self, q_device: tq.QuantumDevice) -> None:
        self.random(q_device)
        self.rx(q_device, wires=0)
        self.ry(q_device, wires=1)
        self.rz(q_device, wires=self.n_wires - 1)
        self.crx(q_device, wires=[0, self.n_wires - 1])
        tqf.hadamard(q_device, wires=self.n_wires - 1)
        tqf.sx(q_device, wires=0)
        tqf.cnot(q_device, wires=[self.n_wires - 1, 0])


class ImageModel(tq.QuantumModule):
    """Pooled images, a GeneralEncoder, a circuit, Z on every wire, two classes."""

    encoding = "4x4_ryzxy"

    def __init__(self) -> None:
        super().__init__()
        self.n_wires = 4
        self.encoder = tq.GeneralEncoder(tq.encoder_op_list_name_dict[self.encoding])
        self.q_layer = self.circuit()
        self.measure = tq.MeasureAll(tq.PauliZ)

    def circuit(self) -> nn.Module:
        return RandomBlock()

    def pooled(self, x: Tensor) -> Tensor:
        return F.avg_pool2d(x, 6).view(len(x), 16)

    def head(self, x: Tensor) -> Tensor:
        return F.log_softmax(x.reshape(len(x), 2, 2).sum(-1).squeeze(), dim=1)

    def forward(self, x: Tensor, use_qiskit: bool = False) -> Tensor:
        qdev = tq.QuantumDevice(n_wires=self.n_wires, bsz=x.shape[0], device=x.device, record_op=True)
        x = self.pooled(x)
        self.encoder(qdev, x)
        self.q_layer(qdev)
        return self.head(self.measure(qdev))


MODELS["MNIST, random layer"] = ImageModel, lambda: (image(),)


def image(shape: tuple[int, ...] = IMAGE) -> Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(6)).requires_grad_()


@model("MNIST, U3-CU3 blocks", IMAGE)
class BlocksModel(ImageModel):
    def circuit(self) -> nn.Module:
        return tq.layer.U3CU3Layer0({"n_wires": 4, "n_blocks": 2, "n_layers_per_block": 2})


@model("MNIST, four classes", IMAGE)
class FourClasses(ImageModel):
    def head(self, x: Tensor) -> Tensor:
        return F.log_softmax(x, dim=1)


@model("MNIST, two qubits", IMAGE)
class TwoQubits(tq.QuantumModule):
    def __init__(self) -> None:
        super().__init__()
        self.n_wires = 2
        ops = [("ry", 0), ("ry", 1), ("rz", 0), ("rz", 1), ("rx", 0), ("rx", 1), ("ry", 0), ("ry", 1)]
        self.encoder = tq.GeneralEncoder(
            [{"input_idx": [i], "func": op, "wires": [w]} for i, (op, w) in enumerate(ops * 2)]
        )
        self.q_layer = tq.layer.RXYZCXLayer0({"n_wires": 2, "n_blocks": 2})
        self.measure = tq.MeasureAll(tq.PauliZ)

    def forward(self, x: Tensor) -> Tensor:
        x = F.avg_pool2d(x, 6).view(len(x), 16)
        qdev = tq.QuantumDevice(n_wires=2, bsz=len(x))
        self.encoder(qdev, x)
        self.q_layer(qdev)
        return F.log_softmax(self.measure(qdev), dim=1)


@model("MNIST, amplitude encoding", IMAGE)
class AmplitudeModel(ImageModel):
    def __init__(self) -> None:
        super().__init__()
        self.encoder = tq.StateEncoder()


@model("MNIST, phase encoding", IMAGE)
class PhaseModel(ImageModel):
    def __init__(self) -> None:
        super().__init__()
        self.encoder = tq.PhaseEncoder(tqf.ry)

    def pooled(self, x: Tensor) -> Tensor:
        return F.adaptive_avg_pool2d(x, 2).view(len(x), 4)


@model("MNIST, re-uploaded", IMAGE)
class Reuploading(ImageModel):
    def __init__(self) -> None:
        super().__init__()
        self.q_layers = nn.ModuleList(RandomBlock() for _ in range(2))

    def forward(self, x: Tensor) -> Tensor:
        x = F.adaptive_avg_pool2d(x, (2, 4)).view(len(x), 8)
        qdev = tq.QuantumDevice(n_wires=4, bsz=len(x))
        for k, layer in enumerate(self.q_layers):
            for wire in range(4):
                tqf.ry(qdev, wires=wire, params=math.pi * x[:, 4 * k + wire])
            layer(qdev)
        return self.head(self.measure(qdev))


@model("hybrid CNN, circuit, linear head", IMAGE)
class HybridCNN(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv, self.down, self.up = nn.Conv2d(1, 2, 5, stride=4), nn.Linear(72, 4), nn.Linear(4, 3)
        self.quantum = Plain()

    def forward(self, x: Tensor) -> Tensor:
        return self.up(self.quantum(torch.tanh(self.down(F.relu(self.conv(x)).flatten(1)))))


class Plain(tq.QuantumModule):
    """Features (B, 4), a trainable circuit, Z on every wire."""

    def __init__(self, func: str = "rx") -> None:
        super().__init__()
        self.n_wires = 4
        self.encoder = tq.GeneralEncoder([{"input_idx": [i], "func": func, "wires": [i]} for i in range(4)])
        self.gates = nn.ModuleList(tq.RX(**TRAINED) for _ in range(4))
        self.measure = tq.MeasureAll(tq.PauliZ)

    def forward(self, x: Tensor) -> Tensor:
        qdev = tq.QuantumDevice(n_wires=4, bsz=x.shape[0], device=x.device)
        self.encoder(qdev, x)
        for wire, gate in enumerate(self.gates):
            gate(qdev, wires=wire)
        for wire in range(4):
            tqf.cnot(qdev, wires=[wire, (wire + 1) % 4])
        return self.measure(qdev)


MODELS["circuit of features"] = Plain, lambda: (image((3, 4)),)


@model("Fashion, residual", (3, 8))
class Residual(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.down, self.quantum, self.norm = nn.Linear(8, 4), Plain("ry"), nn.LayerNorm(4)

    def forward(self, x: Tensor) -> Tensor:
        x = self.down(x)
        return self.norm(x + self.quantum(x))


@model("quanvolution, fixed", IMAGE)
class Quanvolution(tq.QuantumModule):
    trainable = False

    def __init__(self) -> None:
        super().__init__()
        self.n_wires = 4
        self.encoder = tq.GeneralEncoder(RY4)
        self.q_layer = tq.RandomLayer(n_ops=8, wires=list(range(4)), seed=2)
        self.measure = tq.MeasureAll(tq.PauliZ)
        self.linear = nn.Linear(4 * 2 * 2, 3)

    def forward(self, x: Tensor) -> Tensor:
        size = len(x)
        x = F.adaptive_avg_pool2d(x, 4).view(size, 4, 4)
        qdev = tq.QuantumDevice(4, bsz=size, device=x.device)
        patches = []
        for c in range(0, 4, 2):
            for r in range(0, 4, 2):
                data = torch.stack([x[:, c, r], x[:, c, r + 1], x[:, c + 1, r], x[:, c + 1, r + 1]], dim=1)
                self.encoder(qdev, data)
                self.q_layer(qdev)
                patches.append(self.measure(qdev).view(size, 4))
        return F.log_softmax(self.linear(torch.cat(patches, dim=1).float()), -1)


@model("quanvolution, trainable", IMAGE)
class TrainableQuanvolution(Quanvolution):
    def __init__(self) -> None:
        super().__init__()
        self.q_layer = tq.layer.U3CU3Layer0({"n_wires": 4, "n_blocks": 1, "n_layers_per_block": 2})


@model("QCNN", (3, 8))
class QCNN(tq.QuantumModule):
    """Convolutions of neighbours, then pooling by controlled rotations onto every other wire."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.ParameterList(nn.Parameter(torch.rand(1, 3)) for _ in range(3))
        self.pool = nn.ParameterList(nn.Parameter(torch.rand(1, 1)) for _ in range(3))

    def forward(self, x: Tensor) -> Tensor:
        qdev = tq.QuantumDevice(n_wires=8, bsz=len(x))
        for wire in range(8):
            tqf.ry(qdev, wires=wire, params=x[:, wire])
        wires = list(range(8))
        for conv, pool in zip(self.conv, self.pool, strict=True):
            for a, b in pairwise(wires):
                tqf.rzz(qdev, wires=[a, b], params=conv[:, :1])
                tqf.u3(qdev, wires=a, params=conv)
            for a, b in zip(wires[::2], wires[1::2], strict=True):
                tqf.crx(qdev, wires=[b, a], params=pool)
            wires = wires[::2]
        return torch.sigmoid(tq.expval(qdev, wires[0], tq.PauliZ())).squeeze(-1)


class Gate(nn.Module):
    """One gate of a recurrent cell: a circuit of features and a few rotations."""

    def __init__(self) -> None:
        super().__init__()
        self.vqc = Plain()


@model("QLSTM", (3, 2, 3))
class QLSTM(nn.Module):
    """A long short-term memory whose four gates are circuits, over a sequence (T, B, F)."""

    def __init__(self) -> None:
        super().__init__()
        self.clayer_in, self.clayer_out = nn.Linear(3 + 2, 4), nn.Linear(4, 2)
        self.QLayer = nn.ModuleDict({name: Plain() for name in ("forget", "input", "cell", "output")})

    def forward(self, inputs: Tensor) -> Tensor:
        h, c = (torch.zeros(inputs.shape[1], 2) for _ in range(2))
        outputs = []
        for x in inputs:
            y = self.clayer_in(torch.cat((h, x), dim=1))
            f, i, o = (torch.sigmoid(self.clayer_out(self.QLayer[n](y))) for n in ("forget", "input", "output"))
            g = torch.tanh(self.clayer_out(self.QLayer["cell"](y)))
            c = f * c + i * g
            h = o * torch.tanh(c)
            outputs.append(h)
        return torch.stack(outputs)


@model("QLSTM, gates in a plain dict", (3, 2, 3))
class PlainDictQLSTM(QLSTM):
    def __init__(self) -> None:
        super().__init__()
        gates = dict(self.QLayer)
        del self.QLayer
        self.QLayer = gates


@model("QGRU, one circuit", (3, 2, 4))
class QGRU(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.cell, self.mix = Plain(), nn.Linear(8, 4)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        h = x.new_zeros(x.shape[1], 4)
        for step in x:
            h = h + 0.5 * self.cell(torch.tanh(self.mix(torch.cat([h, step], 1))))
        return x * h, h


@model("attention of circuits", (2, 3, 4))
class Attention(nn.Module):
    """Queries, keys and values by circuits, token by token."""

    def __init__(self) -> None:
        super().__init__()
        self.q, self.k, self.v = Plain(), Plain("ry"), Plain("rz")

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = (torch.stack([part(x[:, t]) for t in range(x.shape[1])], 1) for part in (self.q, self.k, self.v))
        return torch.softmax(q @ k.mT / 2, -1) @ v


@model("regression, sin of an angle", (3, 2))
class Regression(tq.QuantumModule):
    def __init__(self) -> None:
        super().__init__()
        self.n_wires = 3
        self.q_layer = tq.layer.RXYZCXLayer0({"n_wires": 3, "n_blocks": 2})

    def forward(self, x: Tensor) -> Tensor:
        qdev = tq.QuantumDevice(n_wires=3, bsz=len(x))
        qdev.ry(wires=0, params=torch.asin(0.9 * x[:, 0]))
        qdev.rz(wires=1, params=torch.acos(0.9 * x[:, 1]))
        self.q_layer(qdev)
        return tq.expval(qdev, [0, 1, 2], [tq.PauliX(), tq.PauliY(), tq.PauliZ()])[:, 1]


@model("regression, complex states", given=lambda: (states(3, 3),))
class StateRegression(tq.QuantumModule):
    """Quantum data: states (B, 2^n), complex."""

    def __init__(self) -> None:
        super().__init__()
        self.n_wires = 3
        self.q_layer = tq.layer.RXYZCXLayer0({"n_wires": 3, "n_blocks": 2})
        self.measure, self.head = tq.MeasureAll(tq.PauliZ), nn.Linear(3, 1)

    def forward(self, states: Tensor) -> Tensor:
        qdev = tq.QuantumDevice(n_wires=3, bsz=len(states))
        qdev.set_states(states)
        self.q_layer(qdev)
        return self.head(self.measure(qdev)).squeeze(1)


def states(batch: int, n_wires: int) -> Tensor:
    found = torch.randn(batch, 2**n_wires, dtype=torch.complex64, generator=torch.Generator().manual_seed(7))
    return found / found.norm(dim=1, keepdim=True)


H2 = [(-1.05, "II"), (0.39, "IZ"), (-0.39, "ZI"), (-0.01, "ZZ"), (0.18, "XX")]


@model("VQE, joint expectation values")
class VQE(tq.QuantumModule):
    def __init__(self) -> None:
        super().__init__()
        self.n_wires = 2
        self.u3_layers = tq.QuantumModuleList(tq.Op1QAllLayer(op=tq.U3, n_wires=2, **TRAINED) for _ in range(2))
        self.cu3_layers = tq.QuantumModuleList(
            tq.Op2QAllLayer(op=tq.CU3, n_wires=2, **TRAINED, circular=True) for _ in range(2)
        )

    def forward(self) -> Tensor:
        qdev = tq.QuantumDevice(n_wires=2)
        for u3, cu3 in zip(self.u3_layers, self.cu3_layers, strict=True):
            u3(qdev)
            cu3(qdev)
        energy = torch.zeros(())
        for coefficient, string in H2:
            energy = energy + coefficient * tq.measurement.expval_joint_analytical(qdev, observable=string)
        return energy


@model("VQE, measured in several bases")
class MultiBasisVQE(VQE):
    def __init__(self) -> None:
        super().__init__()
        layers = [{"wires": [0, 1], "observables": list(string.lower()), "coefficient": [c, c]} for c, string in H2[1:]]
        self.measure = tq.measurement.MeasureMultiPauliSum(layers)

    def forward(self) -> Tensor:
        qdev = tq.QuantumDevice(n_wires=2)
        for u3, cu3 in zip(self.u3_layers, self.cu3_layers, strict=True):
            u3(qdev)
            cu3(qdev)
        return self.measure(qdev)


GRAPH = [(0, 1), (1, 2), (2, 3), (3, 0)]


@model("QAOA, MaxCut")
class MaxCut(tq.QuantumModule):
    def __init__(self) -> None:
        super().__init__()
        self.n_wires, self.n_layers = 4, 3
        self.betas, self.gammas = (nn.Parameter(torch.rand(3)) for _ in range(2))

    def mixer(self, qdev: tq.QuantumDevice, beta: Tensor) -> None:
        for wire in range(4):
            qdev.rx(wires=wire, params=beta.unsqueeze(0))

    def entangler(self, qdev: tq.QuantumDevice, gamma: Tensor) -> None:
        for a, b in GRAPH:
            qdev.cx([a, b])
            qdev.rz(wires=b, params=gamma.unsqueeze(0))
            qdev.cx([a, b])

    def forward(self) -> Tensor:
        qdev = tq.QuantumDevice(n_wires=4)
        for wire in range(4):
            qdev.h(wires=wire)
        for layer in range(3):
            self.mixer(qdev, self.betas[layer])
            self.entangler(qdev, self.gammas[layer])
        cut = 0
        for edge in GRAPH:
            string = "".join("Z" if wire in edge else "I" for wire in range(4))
            cut = cut + 0.5 * tq.measurement.expval_joint_analytical(qdev, observable=string)
        return cut


@model("QAOA, scaled angles")
class ScaledMaxCut(MaxCut):
    def mixer(self, qdev: tq.QuantumDevice, beta: Tensor) -> None:
        for wire in range(4):
            tqf.rx(qdev, wires=wire, params=2 * beta)

    def entangler(self, qdev: tq.QuantumDevice, gamma: Tensor) -> None:
        for edge in GRAPH:
            tqf.rzz(qdev, wires=list(edge), params=-gamma)


@model("qubit rotation")
class Rotation(tq.QuantumModule):
    """A pure function of two angles, with autograd through it."""

    def __init__(self) -> None:
        super().__init__()
        self.params = nn.Parameter(torch.tensor([0.011, 0.6]))

    def forward(self) -> Tensor:
        qdev = tq.QuantumDevice(n_wires=1)
        qdev.rx(wires=0, params=self.params[0])
        qdev.ry(wires=0, params=self.params[1])
        return tq.expval(qdev, 0, tq.PauliZ())[0]


@model("QGAN generator", (3, 4))
class Generator(tq.QuantumModule):
    """Latent noise into probabilities of basis states, read from the state."""

    def __init__(self) -> None:
        super().__init__()
        self.n_wires = 4
        self.q_layer = tq.layer.SethLayer0({"n_wires": 4, "n_blocks": 2})

    def forward(self, z: Tensor) -> Tensor:
        qdev = tq.QuantumDevice(n_wires=4, bsz=len(z))
        for wire in range(4):
            tqf.ry(qdev, wires=wire, params=z[:, wire])
        self.q_layer(qdev)
        return qdev.get_states_1d().abs().square()[:, :8]


@model("QGAN discriminator", (3, 8))
class Discriminator(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.down, self.quantum = nn.Sequential(nn.Linear(8, 4), nn.Tanh()), Plain("ry")

    def forward(self, x: Tensor) -> Tensor:
        return torch.sigmoid(self.quantum(self.down(x)).mean(1, keepdim=True))


@model("quantum autoencoder", (3, 4))
class Autoencoder(tq.QuantumModule):
    """Compresses four wires to two: how far the other two are in |00>, by a swap test with a fresh register."""

    def __init__(self) -> None:
        super().__init__()
        self.n_wires = 7
        self.compress = tq.layer.RealAmplitudes(4, reps=1)

    def forward(self, x: Tensor) -> Tensor:
        qdev = tq.QuantumDevice(n_wires=7, bsz=len(x))
        for wire in range(4):
            tqf.ry(qdev, wires=wire, params=x[:, wire])
        self.compress(qdev)
        tqf.hadamard(qdev, wires=6)
        for a, b in ((2, 4), (3, 5)):
            tqf.cswap(qdev, wires=[6, a, b])
        tqf.hadamard(qdev, wires=6)
        return 1 - tq.expval(qdev, 6, tq.PauliZ())


@model("quantum kernel", given=lambda: (image((3, 4)), image((3, 4)).detach().flip(0)))
class Kernel(tq.QuantumModule):
    """Two feature inputs: the overlap of their states, one encoder behind the other's inverse."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.rand(4))

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        qdev = tq.QuantumDevice(n_wires=4, bsz=len(x))
        for wire in range(4):
            tqf.ry(qdev, wires=wire, params=self.scale[wire] * x[:, wire])
        for wire in range(3):
            tqf.cnot(qdev, wires=[wire, wire + 1])
        for wire in reversed(range(3)):
            tqf.cnot(qdev, wires=[wire, wire + 1])
        for wire in range(4):
            tqf.ry(qdev, wires=wire, params=-self.scale[wire] * y[:, wire])
        return qdev.get_states_1d()[:, 0].abs() ** 2


@model("hadamard test")
class HadamardTest(tq.QuantumModule):
    def __init__(self) -> None:
        super().__init__()
        self.angle = nn.Parameter(torch.tensor([[0.7]]))

    def forward(self) -> Tensor:
        qdev = tq.QuantumDevice(n_wires=2)
        tqf.hadamard(qdev, wires=0)
        tqf.crz(qdev, wires=[0, 1], params=self.angle)
        tqf.hadamard(qdev, wires=0)
        return tq.expval(qdev, [0], [tq.PauliZ()])


@model("Hamiltonian exponential")
class PauliExponential(tq.QuantumModule):
    """The matrix of its gates depends on trainable numbers."""

    def __init__(self) -> None:
        super().__init__()
        self.one = tq.operator.OpPauliExp(coeffs=[1.0, 0.5], paulis=["YX", "ZI"], theta=0.5)
        self.other = tq.operator.OpPauliExp(coeffs=[0.7], paulis=["XI"], theta=0.2)
        self.turn = tq.RY(**TRAINED)

    def forward(self) -> tuple[Tensor, Tensor]:
        qdev = tq.QuantumDevice(n_wires=2, record_op=True)
        qdev.h(wires=1)
        self.one(qdev, wires=[0, 1])
        self.turn(qdev, wires=0)
        self.other(qdev, wires=[0, 1])
        return tq.measurement.expval_joint_analytical(qdev, observable="ZZ"), qdev.get_states_1d()


@model("state preparation")
class StatePreparation(tq.QuantumModule):
    def __init__(self) -> None:
        super().__init__()
        self.n_wires = 2
        self.gates = nn.ModuleList(op(**TRAINED) for op in (tq.RY, tq.RY, tq.RZ, tq.RZ))
        self.register_buffer("target", states(1, 2))

    def forward(self) -> Tensor:
        qdev = tq.QuantumDevice(n_wires=2)
        for k, gate in enumerate(self.gates):
            gate(qdev, wires=k % 2)
            qdev.cnot(wires=[0, 1])
        overlap = (self.target.conj() * qdev.get_states_1d()).sum()
        return 1 - overlap.abs() ** 2


@model("unitary preparation")
class UnitaryPreparation(tq.QuantumModule):
    """All basis states at once, as a batch."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = tq.layer.U3CU3Layer0({"n_wires": 2, "n_blocks": 2})

    def forward(self) -> Tensor:
        qdev = tq.QuantumDevice(n_wires=2, bsz=4)
        qdev.reset_identity_states()
        self.layer(qdev)
        return torch.view_as_real(qdev.get_states_1d())


@model("SuperQNN, sampled sub-circuits", (3, 4))
class SuperQNN(tq.QuantumModule):
    """Which blocks run is chosen from outside."""

    def __init__(self) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(tq.layer.CXRZSXLayer0({"n_wires": 4, "n_blocks": 1}) for _ in range(3))
        self.chosen = (0, 2)
        self.measure = tq.MeasureAll(tq.PauliZ)

    def forward(self, x: Tensor) -> Tensor:
        qdev = tq.QuantumDevice(n_wires=4, bsz=len(x))
        for wire in range(4):
            tqf.ry(qdev, wires=wire, params=x[:, wire])
        for k in self.chosen:
            self.blocks[k](qdev)
        return self.measure(qdev)


@model("post-measurement normalization between nodes", (4, 4))
class MultiNode(nn.Module):
    """Circuits one behind the other, standardized over the batch in between, as against noise."""

    def __init__(self) -> None:
        super().__init__()
        self.nodes = nn.ModuleList((Plain("ry"), Plain("rz")))

    def forward(self, x: Tensor) -> Tensor:
        for node in self.nodes:
            x = node(x)
            x = (x - x.mean(0)) / (x.std(0) + 0.1)
        return x


@model("operators made from a history")
def from_history() -> nn.Module:
    circuit = tq.QuantumModule.from_op_history(
        [
            {"name": "ry", "wires": 0, "params": 0.4, "trainable": True},
            {"name": "cnot", "wires": [0, 1]},
            {"name": "rx", "wires": 1, "params": 0.7, "trainable": True},
        ]
    )

    class Measured(tq.QuantumModule):
        def __init__(self) -> None:
            super().__init__()
            self.circuit, self.measure = circuit, tq.MeasureAll(tq.PauliZ)

        def forward(self) -> Tensor:
            qdev = tq.QuantumDevice(n_wires=2)
            self.circuit(qdev)
            return self.measure(qdev)

    return Measured()


@model("operators in a plain list", (3, 2))
class PlainList(tq.QuantumModule):
    def __init__(self) -> None:
        super().__init__()
        self.first, self.ops = tq.RY(**TRAINED), [tq.RX(**TRAINED) for _ in range(2)]
        self.measure = tq.MeasureAll(tq.PauliX)

    def forward(self, x: Tensor) -> Tensor:
        qdev = tq.QuantumDevice(n_wires=2, bsz=len(x))
        tqf.ry(qdev, wires=0, params=x[:, :1])
        self.first(qdev, wires=0)
        for wire, op in enumerate(self.ops):
            op(qdev, wires=wire)
        qdev.cz(wires=[0, 1])
        return self.measure(qdev)


@model("features before the device", given=lambda: (image((3, 2)), tq.QuantumDevice(n_wires=2, bsz=3)))
class FeaturesFirst(tq.QuantumModule):
    def __init__(self) -> None:
        super().__init__()
        self.turn, self.measure = tq.Rot(**TRAINED), tq.MeasureAll(tq.PauliZ)

    def forward(self, x: Tensor, q_device: tq.QuantumDevice) -> Tensor:
        q_device.reset_states(len(x))
        for wire in range(2):
            tqf.rx(q_device, wires=wire, params=x[:, wire])
        self.turn(q_device, wires=1)
        tqf.swap(q_device, wires=[0, 1])
        return self.measure(q_device)


@model("measured between gates", (3, 2))
class Between(tq.QuantumModule):
    def __init__(self) -> None:
        super().__init__()
        self.one, self.two = (tq.Op1QAllLayer(tq.RY, 2, **TRAINED) for _ in range(2))

    def forward(self, x: Tensor) -> Tensor:
        qdev = tq.QuantumDevice(n_wires=2, bsz=len(x))
        for wire in range(2):
            tqf.ry(qdev, wires=wire, params=x[:, wire])
        self.one(qdev)
        first = tq.expval(qdev, [0, 1], [tq.PauliZ(), tq.PauliZ()])
        qdev.cnot(wires=[0, 1])
        self.two(qdev)
        return torch.cat([first, tq.expval(qdev, [0, 1], [tq.PauliX(), tq.PauliZ()])], 1)


@model("fixed unitaries and QFT", (3, 3))
class Fourier(tq.QuantumModule):
    def __init__(self) -> None:
        super().__init__()
        self.turn = tq.Op1QAllLayer(tq.RX, 3, **TRAINED)
        self.register_buffer("mixing", torch.linalg.qr(states(4, 2))[0])

    def forward(self, x: Tensor) -> Tensor:
        qdev = tq.QuantumDevice(n_wires=3, bsz=len(x))
        for wire in range(3):
            tqf.ry(qdev, wires=wire, params=x[:, wire])
        self.turn(qdev)
        tqf.qubitunitary(qdev, wires=[2, 0], params=self.mixing)
        tqf.qft(qdev, wires=[0, 1, 2], n_wires=3)
        return tq.MeasureAll(tq.PauliZ)(qdev)


@model("gradient of the output in the loss", (3, 4))
class Penalized(nn.Module):
    """A physics-informed loss: the derivative by the input counts."""

    def __init__(self) -> None:
        super().__init__()
        self.quantum = Plain("ry")

    def forward(self, x: Tensor) -> Tensor:
        y = self.quantum(x).sum(1)
        (slope,) = torch.autograd.grad(y.sum(), x, create_graph=True)
        return y + slope.square().sum(1)


def compared(name: str) -> dict[str, Any]:
    """One module translated as it is: the largest differences of values and of gradients, and what has run."""
    from torchbp import QuantumLayer

    torch.manual_seed(0)
    make, inputs = MODELS[name]
    original = make()
    found = []
    translated = QuantumLayer.within(original)
    leaves = list(dict.fromkeys(leaf for leaf in _leaves(original)))
    for module in (original, translated):
        given = inputs()
        output = module(*given)
        parts = [_flat(part) for part in (output if isinstance(output, tuple) else (output,))]
        values = torch.cat([part.detach() for part in parts])
        loss = torch.stack([(part + 0.7 * torch.arange(len(part))).sin().sum() for part in parts]).sum()
        wanted = [*leaves, *(x for x in given if isinstance(x, Tensor) and x.requires_grad)]
        gradients = torch.autograd.grad(loss, wanted, allow_unused=True, materialize_grads=True)
        found.append((values, torch.cat([g.flatten() for g in gradients])))
    (y, g), (z, h) = found
    return {
        "values": float((y - z).abs().max()),
        "gradients": float((g - h).abs().max()),
        "size": float(g.abs().max()),
        "circuits": len(translated.circuits),
        "weights": sum(layer.circuit.n_weights for layer in translated.circuits),
        "features": sum(layer.circuit.n_features for layer in translated.circuits),
    }


def fits(row: dict[str, Any]) -> bool:
    """Whether values and gradients are those of TorchQuantum, which computes in single precision."""
    return row["values"] < 1e-5 and row["gradients"] < 1e-5 * max(1.0, row["size"])


def _leaves(module: nn.Module) -> list[Tensor]:
    """Everything trainable, registered or not."""
    found, seen, waiting = [], set(), [module]
    while waiting:
        part = waiting.pop()
        if id(part) in seen:
            continue
        seen.add(id(part))
        if isinstance(part, Tensor):
            found += [part] if part.requires_grad and part.is_leaf else []
        elif isinstance(part, nn.Module):
            waiting += [*part._parameters.values(), *part._modules.values(), *vars(part).values()]
        elif isinstance(part, list | tuple):
            waiting += part
        elif isinstance(part, dict):
            waiting += part.values()
    return found


def _flat(part: Tensor) -> Tensor:
    return torch.view_as_real(part).flatten() if part.is_complex() else part.flatten()


if __name__ == "__main__":
    done = 0
    print(f"{'module':46} {'values':>8} {'gradients':>9} circuits weights features")
    for name in MODELS:
        try:
            row = compared(name)
        except Exception as error:
            print(f"{name:46} {type(error).__name__}: {error}")
            continue
        done += fits(row)
        print("{:46} {values:8.0e} {gradients:9.0e} {circuits:8} {weights:7} {features:8}".format(name, **row))
    print(f"{done} of {len(MODELS)} translated as they are")
