"""DeepQuantum's gates and layers, a circuit each that stands in a module as its tutorials write it."""

from __future__ import annotations

from collections.abc import Callable

import deepquantum as dq
import torch
from torch import Tensor, nn

CASES: dict[str, Callable[[], tuple[nn.Module, Tensor]]] = {}
"""Of each name a function that makes a module, and a batch for it."""
BATCH, WIRES = 4, 3


class Classifier(nn.Module):
    """As in the tutorials: the circuit runs, and its expectation values go on."""

    def __init__(self, circuit: dq.QubitCircuit) -> None:
        super().__init__()
        self.circuit = circuit

    def forward(self, x: Tensor) -> Tensor:
        self.circuit(x)
        return self.circuit.expectation()


def case(name: str, build: Callable[[dq.QubitCircuit], None], features: int = WIRES, **options: bool) -> None:
    def make() -> tuple[nn.Module, Tensor]:
        circuit = dq.QubitCircuit(WIRES, **options)
        circuit.rylayer(encode=True)
        build(circuit)
        for wire in range(WIRES):
            circuit.observable(wire)
        circuit.observable([0, 2], basis="xy")
        return Classifier(circuit), 2 * torch.rand(BATCH, features) - 1

    CASES[name] = make


def _rotations(c: dq.QubitCircuit) -> None:
    c.rx(0), c.ry(1), c.rz(2), c.p(0), c.u3(1)
    c.rxx([0, 1]), c.ryy([1, 2]), c.rzz([0, 2]), c.rxy([0, 1]), c.rbs([1, 2])


def _controls(c: dq.QubitCircuit) -> None:
    c.h(0), c.h(1)
    c.crx(0, 1), c.cry(1, 2), c.crz(2, 0), c.cp(0, 2), c.cu(0, 1)
    c.rx(2, controls=[0, 1]), c.rzz([1, 2], controls=[0]), c.p(1, controls=[0, 2]), c.x(0, controls=[1, 2])


def _fixed(c: dq.QubitCircuit) -> None:
    c.ry(0)
    c.x(0), c.y(1), c.z(2), c.h(0), c.s(1), c.sdg(2), c.t(0), c.tdg(1), c.ch(0, 1), c.cy(1, 2), c.cz(2, 0)
    c.swap([0, 1]), c.iswap([1, 2]), c.toffoli(0, 1, 2), c.fredkin(2, 0, 1), c.cnot(0, 2), c.barrier()


def _inverse(c: dq.QubitCircuit) -> None:
    part = dq.QubitCircuit(WIRES)
    part.u3(0), part.rx(1), part.rxx([0, 2]), part.u3(2, controls=[0])
    c.add(part.inverse())


def _shared(c: dq.QubitCircuit) -> None:
    gate = dq.Rx(nqubit=WIRES, wires=0, requires_grad=True)
    c.add(gate)
    c.cnot_ring()
    c.add(gate, wires=1)


def _reupload(c: dq.QubitCircuit) -> None:
    for _ in range(2):
        c.rxlayer()
        c.cnot_ring()
        c.u3(0, encode=True)
        c.rzlayer(encode=True)


case("rotations", _rotations)
case("controls", _controls)
case("fixed gates", _fixed)
case("inverse", _inverse)
case("shared gate", _shared)
case("layers", lambda c: (c.u3layer(), c.cxlayer(), c.hlayer(), c.rylayer(), c.cnot_ring()))
case("re-uploading", _reupload, reupload=True)
case("re-uploading, five columns", _reupload, features=5, reupload=True)
case("matrix", lambda c: (c.rx(0), c.any(torch.linalg.qr(torch.eye(4).flip(0) + 0j)[0], [0, 2])))
case("hamiltonian of time", lambda c: c.hamiltonian([[0.5, "x0z1"]]))
case("channel", lambda c: c.depolarizing(0, 0.1), den_mat=True)
