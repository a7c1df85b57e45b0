"""PennyLane's templates and the ways to build on them, one layer each: features in, expectation values out."""

from __future__ import annotations

from collections.abc import Callable
from inspect import Parameter, Signature
from typing import Any

import numpy as np
import pennylane as qml
import torch
from torch import Tensor, nn

Body = Callable[..., Any]
CASES: dict[str, Callable[[], tuple[nn.Module, Tensor]]] = {}
"""Of each name a function that makes a layer, and a batch for it."""
BATCH = 4


def layer(
    body: Body,
    shapes: dict[str, Any],
    wires: Any = 4,
    features: int = 3,
    embed: bool = True,
    measure: Body | None = None,
    device: str = "default.qubit",
) -> tuple[nn.Module, Tensor]:
    """A TorchLayer: RY of the features, the body, and Z on every wire."""
    labels = list(range(wires)) if isinstance(wires, int) else list(wires)
    names = ["inputs", *(shapes or {"angle": ()})]

    def node(**given):
        angle = given.pop("angle", None)
        if embed:
            inputs = given.pop("inputs")
            qml.AngleEmbedding(inputs, wires=labels[: inputs.shape[-1]], rotation="Y")
        body(**given)
        if angle is not None:  # a layer without a parameter is none
            qml.RX(angle, wires=labels[-1])
        return [qml.expval(qml.PauliZ(w)) for w in labels] if measure is None else measure(labels)

    node.__signature__ = Signature([Parameter(name, Parameter.POSITIONAL_OR_KEYWORD) for name in names])
    qnode = qml.QNode(node, qml.device(device), interface="torch", diff_method="backprop")
    x = 2 * torch.rand(BATCH, min(features, len(labels)) if embed else features) - 1
    return qml.qnn.TorchLayer(qnode, shapes or {"angle": ()}), x


def case(name: str, body: Body, shapes: dict[str, Any] | None = None, **options: Any) -> None:
    CASES[name] = lambda: layer(body, shapes or {}, **options)


def on(template: Any, wires: int = 4, **options: Any) -> Body:
    """A template of one tensor of weights on the first wires."""
    return lambda weights: template(weights, wires=range(wires), **options)


W4, W3, W2 = range(4), range(3), range(2)
RNG = np.random.default_rng(0)
UNITARY = np.linalg.qr(RNG.normal(size=(4, 4)) + 1j * RNG.normal(size=(4, 4)))[0]
ORTHOGONAL = np.linalg.qr(RNG.normal(size=(2, 2)))[0]
HAMILTONIAN = qml.Hamiltonian([0.4, -0.7, 0.3], [qml.X(0) @ qml.X(1), qml.Z(1) @ qml.Z(2), qml.Y(0)])
COMMUTING = qml.Hamiltonian([0.5, 0.3], [qml.X(0) @ qml.X(1), qml.X(1)])
LCU = qml.dot([0.25, 0.75], [qml.Z(2), qml.X(1) @ qml.X(2)])
AMPLITUDES = np.sqrt(np.array([0.1, 0.2, 0.3, 0.4]))
OCCUPIED = np.array([1, 1, 0, 0])
TENSORS = [
    np.array([[0.0, 0.107], [0.994, 0.0]]),
    np.array([[[0.0, 0.0], [1.0, 0.0]], [[0.0, 1.0], [0.0, 0.0]]]),
    np.array([[-1.0, 0.0], [0.0, -1.0]]),
]

# Embeddings
case("AngleEmbedding", lambda: None)
case(
    "AmplitudeEmbedding",
    lambda inputs: qml.AmplitudeEmbedding(inputs, W2, normalize=True),
    wires=3,
    features=4,
    embed=False,
)
case("BasisEmbedding", lambda: qml.BasisEmbedding(6, W3), features=1)
case("IQPEmbedding", lambda inputs: qml.IQPEmbedding(inputs, W3, n_repeats=2), embed=False)
case(
    "QAOAEmbedding",
    lambda inputs, weights: qml.QAOAEmbedding(inputs, weights, W3),
    {"weights": (2, 6)},
    wires=3,
    embed=False,
)
# Layers
case("BasicEntanglerLayers", on(qml.BasicEntanglerLayers), {"weights": (2, 4)})
case("StronglyEntanglingLayers", on(qml.StronglyEntanglingLayers), {"weights": (2, 4, 3)})
case("RandomLayers", on(qml.RandomLayers, seed=3), {"weights": (2, 5)})
case(
    "SimplifiedTwoDesign",
    lambda first, weights: qml.SimplifiedTwoDesign(first, weights, W4),
    {"first": (4,), "weights": (2, 3, 2)},
)
case("GateFabric", on(qml.GateFabric, init_state=OCCUPIED, include_pi=True), {"weights": (2, 1, 2)}, features=1)
case("ParticleConservingU1", on(qml.ParticleConservingU1, init_state=OCCUPIED), {"weights": (2, 3, 2)}, features=1)
case("ParticleConservingU2", on(qml.ParticleConservingU2, init_state=OCCUPIED), {"weights": (2, 7)}, features=1)
# Preparations of states
case("BasisState", lambda: qml.BasisState([1, 0, 1], W3), features=1)
case("StatePrep", lambda inputs: qml.StatePrep(inputs, W2, normalize=True), wires=3, features=4, embed=False)
case("ArbitraryStatePreparation", on(qml.ArbitraryStatePreparation, wires=3), {"weights": (14,)}, wires=3)
case("MottonenStatePreparation", lambda: qml.MottonenStatePreparation(AMPLITUDES, W2), features=1)
case("CosineWindow", lambda: qml.CosineWindow(W2), features=1)
case("MPSPrep", lambda: qml.MPSPrep(TENSORS, wires=W3, work_wires=[3]), features=1)
case("MultiplexerStatePreparation", lambda: qml.MultiplexerStatePreparation(AMPLITUDES, W2), features=1)
case(
    "QROMStatePreparation",
    lambda: qml.QROMStatePreparation(AMPLITUDES, wires=W2, precision_wires=[2, 3], work_wires=[4]),
    wires=5,
    features=1,
)
case(
    "Superposition",
    lambda: qml.Superposition(np.sqrt([0.5, 0.5]), np.array([[0, 0, 1], [1, 1, 0]]), wires=W3, work_wire=3),
    features=1,
)
case("SumOfSlatersPrep", lambda: qml.SumOfSlatersPrep(np.sqrt([0.3, 0.7]), W2, [0, 3]), features=1)
# Subroutines
case("QFT", lambda: qml.QFT(W4))
case("AQFT", lambda: qml.AQFT(order=1, wires=W4))
case("GroverOperator", lambda: qml.GroverOperator(W4))
case("Permute", lambda: qml.Permute([2, 0, 1, 3], W4))
case("FlipSign", lambda: qml.FlipSign([1, 0, 1], W3))
case("ApproxTimeEvolution", lambda time: qml.ApproxTimeEvolution(HAMILTONIAN, time, 2), {"time": ()})
case("CommutingEvolution", lambda time: qml.CommutingEvolution(COMMUTING, time), {"time": ()})
case("TrotterProduct", lambda time: qml.TrotterProduct(HAMILTONIAN, time, n=2, order=2), {"time": ()})
case("TrotterizedQfunc", lambda time: qml.trotterize(_evolve, n=2, order=2)(time, wires=[0, 1]), {"time": ()})
case("QDrift", lambda time: qml.QDrift(HAMILTONIAN, time, n=3, seed=7), {"time": ()})
case("ArbitraryUnitary", on(qml.ArbitraryUnitary, wires=2), {"weights": (15,)})
case(
    "UCCSD",
    lambda weights: qml.UCCSD(
        weights, W4, s_wires=[[0, 1, 2], [1, 2, 3]], d_wires=[[[0, 1], [2, 3]]], init_state=OCCUPIED
    ),
    {"weights": (3,)},
    features=1,
)
case(
    "kUpCCGSD",
    lambda weights: qml.kUpCCGSD(weights, W4, k=1, delta_sz=0, init_state=OCCUPIED),
    {"weights": (1, 6)},
    features=1,
)
case(
    "AllSinglesDoubles",
    lambda weights: qml.AllSinglesDoubles(weights, W4, OCCUPIED, singles=[[0, 2], [1, 3]], doubles=[[0, 1, 2, 3]]),
    {"weights": (3,)},
    features=1,
)
case("FermionicSingleExcitation", lambda weight: qml.FermionicSingleExcitation(weight, W3), {"weight": ()})
case("FermionicDoubleExcitation", lambda weight: qml.FermionicDoubleExcitation(weight, [0, 1], [2, 3]), {"weight": ()})
case("BasisRotation", lambda: qml.BasisRotation(W2, ORTHOGONAL))
case("SelectPauliRot", lambda weights: qml.SelectPauliRot(weights, control_wires=W2, target_wire=3), {"weights": (4,)})
case(
    "Select",
    lambda weights: qml.Select([qml.RX(weights[0], 2), qml.X(3), qml.RZ(weights[1], 2)], control=W2),
    {"weights": (2,)},
)
case("PrepSelPrep", lambda: qml.PrepSelPrep(LCU, control=[0]), wires=3)
case("Qubitization", lambda: qml.Qubitization(LCU, control=[0]), wires=3)
case("QROM", lambda: qml.QROM(["01", "11", "10", "00"], control_wires=[0, 1], target_wires=[2, 3], work_wires=None))
case(
    "QSVT",
    lambda: qml.QSVT(
        qml.BlockEncode(np.array([[0.1, 0.2], [0.3, 0.1]]), wires=W2), [qml.PCPhase(a, 2, wires=W2) for a in (0.3, 0.5)]
    ),
)
case("GQSP", lambda: qml.GQSP(qml.RX(0.3, 1), np.array([[0.2, 0.3], [0.1, 0.4], [0.5, 0.6]]), control=0))
case("FABLE", lambda: qml.FABLE(np.array([[0.1, 0.2], [0.3, 0.4]]), wires=W3, tol=0))
case("ControlledSequence", lambda weight: qml.ControlledSequence(qml.RX(weight, 3), control=W3), {"weight": ()})
case(
    "QuantumPhaseEstimation",
    lambda weight: qml.QuantumPhaseEstimation(qml.PhaseShift(weight, 3), estimation_wires=W3),
    {"weight": ()},
)
case(
    "QuantumMonteCarlo",
    lambda: qml.QuantumMonteCarlo(AMPLITUDES**2, lambda i: np.sin(i) ** 2, target_wires=W3, estimation_wires=[3, 4]),
    wires=5,
    features=1,
)
case(
    "AmplitudeAmplification",
    lambda: qml.AmplitudeAmplification(qml.prod(qml.H(0), qml.H(1)), qml.FlipSign(2, W2), iters=1),
)
case("Reflection", lambda weight: qml.Reflection(qml.prod(qml.H(0), qml.H(1)), weight), {"weight": ()})
case("HilbertSchmidt", lambda: qml.HilbertSchmidt(qml.RZ(0.3, 1), qml.H(0)))
case("LocalHilbertSchmidt", lambda: qml.LocalHilbertSchmidt([qml.RZ(0.3, 2), qml.CNOT([2, 3])], [qml.CZ([0, 1])]))
case("IQP", lambda: qml.IQP([0.3, 0.5, 0.7], 4, [[[0]], [[1]], [[0, 1], [2]]]))
case("Adder", lambda: qml.Adder(2, x_wires=W3, mod=8, work_wires=[3, 4]), wires=5)
case("PhaseAdder", lambda: qml.PhaseAdder(2, x_wires=W3, mod=8, work_wire=3))
case("SemiAdder", lambda: qml.SemiAdder([0, 1], [2, 3], work_wires=[4]), wires=5)
case("Multiplier", lambda: qml.Multiplier(3, x_wires=W2, mod=4, work_wires=[2, 3, 4, 5]), wires=6, features=2)
case("OutAdder", lambda: qml.OutAdder([0, 1], [2], [3, 4], mod=4, work_wires=[5, 6]), wires=7)
case("OutMultiplier", lambda: qml.OutMultiplier([0, 1], [2], [3, 4], mod=4, work_wires=[5, 6]), wires=7)
case(
    "OutPoly",
    lambda: qml.OutPoly(
        lambda x, y: x + 2 * y, input_registers=[[0, 1], [2]], output_wires=[3, 4], mod=4, work_wires=[5, 6]
    ),
    wires=7,
)
case("ModExp", lambda: qml.ModExp([0, 1], [2, 3], base=3, mod=4, work_wires=[4, 5, 6, 7]), wires=8, features=2)
case(
    "TemporaryAND",
    lambda: (qml.TemporaryAND([0, 1, 3]), qml.CNOT([3, 2]), qml.adjoint(qml.TemporaryAND)([0, 1, 3])),
    features=2,
)
case(
    "BBQRAM",
    lambda: qml.BBQRAM(["0", "1"], control_wires=[0], target_wires=[1], work_wires=[2, 3, 4, 5]),
    wires=6,
    features=1,
)
case(
    "SelectOnlyQRAM",
    lambda: qml.SelectOnlyQRAM(["01", "10", "11", "00"], control_wires=[0, 1], target_wires=[2, 3], select_wires=[]),
    features=2,
)
case(
    "HybridQRAM",
    lambda: qml.HybridQRAM(
        ["0", "1", "1", "0"], control_wires=[0, 1], target_wires=[2], work_wires=[3, 4, 5, 6, 7], k=1
    ),
    wires=8,
    features=2,
)
case(
    "TwoLocalSwapNetwork",
    lambda weights: qml.TwoLocalSwapNetwork(
        W4, lambda index, wires, param=None: qml.CRX(param, wires), weights, fermionic=False
    ),
    {"weights": (6,)},
)
case("MPS", lambda weights: qml.MPS(W4, 2, _block, 2, weights), {"weights": (3, 2)})
case("TTN", lambda weights: qml.TTN(W4, 2, _block, 2, weights), {"weights": (3, 2)})
case("MERA", lambda weights: qml.MERA(W4, 2, _block, 2, weights), {"weights": (5, 2)})
TEMPLATES = tuple(CASES)
"""Those that are templates of PennyLane's documentation; what follows are ways to build on them."""

case(
    "adjoint of a template",
    lambda weights: qml.adjoint(qml.StronglyEntanglingLayers)(weights, W3),
    {"weights": (1, 3, 3)},
)
case(
    "ctrl of a template",
    lambda weights: qml.ctrl(qml.BasicEntanglerLayers, control=3, control_values=0)(weights, W3),
    {"weights": (1, 3)},
)
case(
    "ctrl by two wires",
    lambda weights: (qml.ctrl(qml.RX(weights[0], 2), [0, 1]), qml.ctrl(qml.Rot(*weights, 3), [0, 1], [1, 0])),
    {"weights": (3,)},
)
case(
    "pow and exp",
    lambda weight: (qml.pow(qml.RX(weight, 0), 3), qml.pow(qml.X(1), 0.5), qml.exp(qml.X(0) @ qml.Z(1), -0.4j)),
    {"weight": ()},
)
case(
    "labels of any kind",
    lambda weights: qml.StronglyEntanglingLayers(weights, ["a", 7, "aux"]),
    {"weights": (1, 3, 3)},
    wires=["a", 7, "aux"],
)
case(
    "re-uploading of sums",
    lambda inputs, weights: _reupload(inputs, weights),
    {"weights": (2, 3)},
    wires=3,
    embed=False,
)
case("for_loop", lambda weights: _loop(weights), {"weights": (3,)})
case(
    "probs",
    on(qml.BasicEntanglerLayers, wires=3),
    {"weights": (1, 3)},
    wires=3,
    measure=lambda w: qml.probs(wires=[w[2], w[0]]),
)
case("Hamiltonian", on(qml.BasicEntanglerLayers), {"weights": (1, 4)}, measure=lambda w: qml.expval(HAMILTONIAN))
case(
    "Hermitian",
    on(qml.BasicEntanglerLayers),
    {"weights": (1, 4)},
    measure=lambda w: [
        qml.expval(qml.Hermitian(UNITARY + UNITARY.conj().T, [w[1], w[0]])),
        qml.expval(qml.Projector([0, 1], w[:2])),
    ],
)
case(
    "trained scale of a feature",
    lambda inputs, weight: qml.RX(inputs[..., 0] * weight, 0),
    {"weight": ()},
    wires=2,
    embed=False,
)
case("arccos of a feature", lambda inputs: qml.RX(torch.arccos(inputs[..., 0]), 0), wires=2, embed=False)
case("measurement in the middle", lambda: qml.cond(qml.measure(0), qml.X)(1))
case("noise channel", lambda: qml.AmplitudeDamping(0.1, 0), device="default.mixed")
case("variance", lambda: None, measure=lambda w: qml.var(qml.Z(0)))


def _evolve(time, wires):
    qml.RX(time, wires[0])
    qml.IsingZZ(time, wires)


def _block(weights, wires):
    qml.RY(weights[0], wires=wires[0])
    qml.RY(weights[1], wires=wires[1])
    qml.CNOT(wires=wires)


def _reupload(inputs, weights):
    for row in weights:
        for wire in range(3):
            qml.RZ(inputs[..., wire] * 0.5 + row[wire], wires=wire)
            qml.RY(row[wire], wires=wire)
            qml.CZ(wires=[wire, (wire + 1) % 3])


def _loop(weights):
    @qml.for_loop(0, 3, 1)
    def rotate(i):
        qml.RX(weights[i], wires=i)
        qml.IsingXY(weights[i] / 2, wires=[i, i + 1])

    rotate()
