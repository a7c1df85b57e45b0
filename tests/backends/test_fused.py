"""The fused backend's gradients, transforms, persistence and memory."""

from __future__ import annotations

import copy
import gc
import pickle
import platform
import subprocess
import sys
import threading
import weakref

import numpy as np
import pytest
import torch
from helpers import random_state
from test_backends import SIZES, random_case
from torch import Tensor, nn
from torch.func import functional_call, grad, hessian, jacfwd, jacrev, jvp, vjp, vmap

from torchbp import QuantumLayer
from torchbp.backends import FusedBackend, TorchQuantumBackend
from torchbp.circuits import Circuit, PauliSum, angle_encoding, feature, hardware_efficient, local_z, weight
from torchbp.circuits.circuit import Elementary
from torchbp.circuits.operations import embed

# Torch's own forward mode still compiles decompositions with torch.jit.
torch_jit_warns = pytest.mark.filterwarnings("ignore:`torch.jit:DeprecationWarning")


def twin(
    circuit: Circuit, observables: list[PauliSum], x: Tensor, weights: Tensor, start: Tensor | None = None
) -> Tensor:
    """Expectation values by dense (2^n, 2^n) matrices in plain differentiable torch, float64."""
    n = circuit.n_wires

    def matrix(step: Elementary) -> Tensor:
        if step.angle is None:
            return torch.from_numpy(embed(step.matrix, step.wires, n))[None]
        source = {
            "constant": lambda: torch.zeros(1, dtype=torch.float64),
            "weight": lambda: weights[..., step.angle.indices[0]].reshape(-1),
            "feature": lambda: x[:, list(step.angle.indices)].prod(1),
        }[step.angle.kind]()
        form = step.gate.rotation(len(step.wires))
        phase = form.frequency * (step.angle.scale * source + step.angle.offset)[:, None, None]
        parts = [torch.from_numpy(embed(m, step.wires, n)) for m in (form.constant, form.cosine, form.sine)]
        return parts[0] + phase.cos() * parts[1] + phase.sin() * parts[2]

    psi = start
    if psi is None:
        psi = torch.zeros(len(x), 2**n, dtype=torch.complex128)
        psi[:, 0] = 1
    for step in circuit.elementary:
        psi = (matrix(step) @ psi[:, :, None])[:, :, 0]
    images = [psi @ torch.from_numpy(o.matrix(n)).T for o in observables]
    return torch.stack([(psi.conj() * image).real.sum(1) for image in images], 1)


def gradients(run, leaves: list[Tensor], cotangent: Tensor) -> list[Tensor]:
    leaves = [leaf.detach().clone().requires_grad_() for leaf in leaves]
    total = (run(*leaves) * cotangent).sum()
    if not total.requires_grad:
        return [torch.zeros_like(leaf) for leaf in leaves]
    return list(torch.autograd.grad(total, leaves, allow_unused=True, materialize_grads=True))


@pytest.mark.parametrize("seed", range(14))
def test_gradients(seed: int) -> None:
    """With respect to weights (P,) and (B, P), features and initial states, stored and recomputed.

    Oracle: autograd through dense matrices.
    """
    n_wires, batch = SIZES[seed % 7]
    circuit, observables, x, weights, cotangent = random_case(seed, n_wires, batch, gates=30 - 3 * n_wires)
    backends = [FusedBackend(1), FusedBackend(2, 0), FusedBackend(4), FusedBackend(None, 0), FusedBackend()]
    start = torch.from_numpy(np.stack([random_state(np.random.default_rng(b), n_wires) for b in range(batch)]))
    each = weights + torch.arange(batch)[:, None] / 7
    for leaves in ([x, weights], [x, each], [x, weights, start]):
        wanted = gradients(lambda *t: twin(circuit, observables, *t), leaves, cotangent)
        for backend in backends:
            got = gradients(lambda *t, b=backend: b.expectations(circuit, observables, *t), leaves, cotangent)
            for g, w in zip(got, wanted, strict=True):
                torch.testing.assert_close(g, w, rtol=1e-10, atol=1e-10)
    (wanted,) = gradients(lambda w: twin(circuit, observables, x, w), [weights.expand(batch, -1)], cotangent)
    for backend in backends:
        rows = backend.per_sample_gradients(circuit, observables, x, weights, cotangent)
        torch.testing.assert_close(rows, wanted, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("small", [0, 2**15])
@pytest.mark.parametrize("batch", [2, 17])
def test_ten_wires(batch: int, small: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Oracle: autograd through TorchQuantum's gates; blocks, permutations and phases span the register.

    States above and below the size from which buffers are used again, in both layouts.
    """
    monkeypatch.setattr("torchbp.backends.fused.steps.SMALL", small)
    n = 10
    circuit = Circuit(n)
    for wire in range(n):
        circuit.append("ry", wire, feature(wire))
    for _ in range(2):
        for wire in range(n):
            circuit.append("rx", wire, weight()).append("rz", wire, weight())
        for wire in range(n):
            circuit.append("cnot", (wire, (wire + 3) % n))
        circuit.append("rzz", (0, 7), weight()).append("toffoli", (9, 2, 5)).append("cry", (8, 1), feature(3))
        circuit.append("cz", (3, 6)).append("rzz", (2, 9), feature(5)).append("rz", 4, feature(6))
    circuit.append("swap", (8, 9))
    circuit.freeze()
    generator = torch.Generator().manual_seed(0)
    x, weights = (
        torch.randn(batch, n, generator=generator),
        torch.randn(circuit.n_weights, generator=generator),
    )
    observables = [PauliSum({"Z0": 1.0, "X3 Y9": 0.5}), PauliSum("Z2 Z8")]
    cotangent = torch.randn(batch, 2, generator=generator)
    wanted = gradients(lambda *t: TorchQuantumBackend().expectations(circuit, observables, *t), [x, weights], cotangent)
    for backend in (FusedBackend(), FusedBackend(3, 0)):
        got = gradients(lambda *t, b=backend: b.expectations(circuit, observables, *t), [x, weights], cotangent)
        for g, w in zip(got, wanted, strict=True):
            torch.testing.assert_close(g, w, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    ("gates", "free"),
    [
        ([("cnot", (0, 4)), ("swap", (1, 6)), ("cnot", (2, 0)), ("cnot", (5, 1)), ("cnot", (4, 6))], True),
        ([("cnot", (0, 4)), ("toffoli", (0, 5, 2)), ("swap", (4, 6))], False),
    ],
)
def test_permutations_before_a_measurement(gates: list[tuple[str, tuple[int, ...]]], free: bool) -> None:
    """They only change which strings of Z are measured, where each becomes one string; oracle: dense matrices."""
    n = 7
    circuit = angle_encoding(n) + hardware_efficient(n, 1)
    for name, wires in gates:
        circuit.append(name, wires)
    circuit.freeze()
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(3, n, generator=generator, dtype=torch.float64)
    weights = torch.randn(circuit.n_weights, generator=generator, dtype=torch.float64)
    plain = [PauliSum({"Z0": 1.0, "Z1 Z2": 0.5, "Z6": -2.0}), PauliSum({"Z2": 1.0, "": 0.3})]
    mixed = [*plain, PauliSum({"X0 Y1": 1.0, "Z0": 1.0})]
    for observables in (plain, mixed):
        cotangent = torch.randn(3, len(observables), generator=generator, dtype=torch.float64)
        runs = [
            lambda *t, o=observables: FusedBackend().expectations(circuit, o, *t),
            lambda *t, o=observables: twin(circuit, o, *t),
        ]
        for got, wanted in zip(*(gradients(run, [x, weights], cotangent) for run in runs), strict=True):
            torch.testing.assert_close(got, wanted, rtol=1e-10, atol=1e-10)
        torch.testing.assert_close(*(run(x, weights) for run in runs), rtol=1e-10, atol=1e-10)
    backend = FusedBackend()
    backend.expectations(circuit, plain, x, weights)
    backend.expectations(circuit, mixed, x, weights)
    closing = [
        bool(readout.closing)
        for readouts in backend._known_about(circuit)._readouts.values()
        for readout in readouts.values()
    ]
    assert closing == [not free, True]


def small() -> tuple[Circuit, list[PauliSum]]:
    """Three wires with every kind of gate and angle."""
    circuit, shared = Circuit(3), weight()
    circuit.append("ry", 0, feature(0)).append("rx", 1, shared).append("crx", (0, 2), weight())
    circuit.append("rzz", (1, 2), weight()).append("cnot", (0, 1)).append("ry", 2, feature(1) * feature(0))
    circuit.append("rxx", (0, 2), shared * 0.5 + 0.1).append("cp", (1, 0), weight()).append("h", 1)
    circuit.append("u3", 2, feature(2), weight(), 0.3)
    return circuit.freeze(), [PauliSum({"Z0": 1.0, "X1 Y2": 0.5}), PauliSum("Z1 Z2")]


def inputs(batch: int = 5) -> tuple[Tensor, Tensor, Tensor]:
    """(weights, x, start) for `small`."""
    generator = torch.Generator().manual_seed(0)
    start = torch.randn(batch, 8, generator=generator, dtype=torch.complex128)
    return (
        torch.randn(5, generator=generator, dtype=torch.float64),
        torch.randn(batch, 3, generator=generator, dtype=torch.float64),
        start / start.norm(dim=1, keepdim=True),
    )


TRANSFORMS = {
    "grad": lambda f, w, x: grad(lambda w: f(w, x).square().sum())(w),
    "grad x": lambda f, w, x: grad(lambda x: f(w, x).square().sum())(x),
    "vjp": lambda f, w, x: vjp(lambda w: f(w, x), w)[1](x[:, :2])[0],
    "jvp": lambda f, w, x: jvp(lambda w: f(w, x), (w,), (w.cos(),))[1],
    "jacrev": lambda f, w, x: jacrev(f)(w, x),
    "jacrev x": lambda f, w, x: jacrev(f, argnums=1)(w, x),
    "jacfwd": lambda f, w, x: jacfwd(f)(w, x),
    "hessian": lambda f, w, x: hessian(lambda w: f(w, x).sum())(w),
    "jacrev jacrev": lambda f, w, x: jacrev(jacrev(lambda w: f(w, x).sum()))(w),
    "jacfwd jacfwd": lambda f, w, x: jacfwd(jacfwd(lambda w: f(w, x).sum()))(w),
    "vmap x": lambda f, w, x: vmap(lambda row: f(w, row[None]))(x),
    "vmap x, last axis": lambda f, w, x: vmap(lambda column: f(w, column[None]), in_dims=1)(x.T),
    "vmap weights": lambda f, w, x: vmap(lambda w: f(w, x))(torch.stack([w, w + 1])),
    "vmap both": lambda f, w, x: vmap(lambda w, row: f(w, row[None]))(w + x[:, :1], x),
    "vmap vmap": lambda f, w, x: vmap(lambda w: vmap(lambda row: f(w, row[None]))(x))(torch.stack([w, w + 1])),
    "vmap grad": lambda f, w, x: vmap(lambda row: grad(lambda w: f(w, row[None]).sum())(w))(x),
    "vmap grad weights": lambda f, w, x: vmap(grad(lambda w: f(w, x).square().sum()))(torch.stack([w, w + 1])),
    "vmap grad x": lambda f, w, x: vmap(lambda w: grad(lambda x: f(w, x).sum())(x))(torch.stack([w, w + 1])),
    "grad vmap": lambda f, w, x: grad(lambda w: vmap(lambda row: f(w, row[None]))(x).square().sum())(w),
    "weights (B, P)": lambda f, w, x: jacrev(lambda w: f(w, x).sum(0))(w + x[:, :1]),
}


@torch_jit_warns
@pytest.mark.parametrize("name", TRANSFORMS)
def test_function_transforms(name: str) -> None:
    """Oracle: the same transform of dense matrices."""
    (circuit, observables), (weights, x, _), backend = small(), inputs(), FusedBackend(block_wires=2)
    got = TRANSFORMS[name](lambda w, x: backend.expectations(circuit, observables, x, w), weights, x)
    wanted = TRANSFORMS[name](lambda w, x: twin_batched(circuit, observables, x, w), weights, x)
    torch.testing.assert_close(got, wanted, rtol=1e-10, atol=1e-10)


def twin_batched(circuit: Circuit, observables: list[PauliSum], x: Tensor, weights: Tensor) -> Tensor:
    """`twin` without writing into a tensor, which transforms forbid."""
    start = torch.eye(8, dtype=torch.complex128)[0].expand(len(x), -1)
    return twin(circuit, observables, x, weights, start)


@pytest.mark.parametrize("method", ["expectations", "states"])
@pytest.mark.parametrize("store_bytes", [0, 2**30], ids=["recompute", "store"])
def test_gradcheck(method: str, store_bytes: int) -> None:
    """Oracle: finite differences, of first and second order."""
    (circuit, observables), backend = small(), FusedBackend(2, store_bytes)
    weights, x, start = (t.requires_grad_() for t in inputs(2))

    def run(weights: Tensor, x: Tensor, start: Tensor) -> Tensor:
        if method == "states":
            return backend.states(circuit, x, weights, start)
        return backend.expectations(circuit, observables, x, weights, start)

    assert torch.autograd.gradcheck(run, (weights, x, start))
    assert torch.autograd.gradgradcheck(run, (weights, x, start))


@torch_jit_warns
def test_forward_mode() -> None:
    """Oracle: reverse mode."""
    (circuit, observables), (weights, x, _), backend = small(), inputs(), FusedBackend()
    direction = weights.cos()
    with torch.autograd.forward_ad.dual_level():
        dual = torch.autograd.forward_ad.make_dual(weights, direction)
        y = backend.expectations(circuit, observables, x, dual)
        tangent = torch.autograd.forward_ad.unpack_dual(y).tangent
    jacobian = torch.autograd.functional.jacobian(lambda w: backend.expectations(circuit, observables, x, w), weights)
    torch.testing.assert_close(tangent, jacobian @ direction)


def make(n_wires: int = 4, depth: int = 2, **kwargs: object) -> QuantumLayer:
    circuit = angle_encoding(n_wires) + hardware_efficient(n_wires, depth)
    return QuantumLayer(circuit, backend="fused", generator=torch.Generator().manual_seed(0), **kwargs)


def features(batch: int = 9, n: int = 4) -> Tensor:
    return torch.rand(batch, n, generator=torch.Generator().manual_seed(1))


def test_backward_repeats() -> None:
    """retain_graph, calls between forward and backward, and nested layers leave each other alone."""
    layer, x = make(), features()
    y = layer(x)
    layer(x * 2).sum().backward()
    (once,) = torch.autograd.grad(y.sum(), layer.weights, retain_graph=True)
    layer(x * 3).sum().backward()
    (again,) = torch.autograd.grad(y.sum(), layer.weights)
    assert torch.equal(once, again)
    nested = layer(layer(x))
    (got,) = torch.autograd.grad(nested.sum(), layer.weights)
    shift = torch.zeros_like(layer.weights)
    shift[3] = 1e-3
    layer.double()

    def f(w: Tensor) -> Tensor:
        inner = functional_call(layer, {"weights": w}, (x,))
        return functional_call(layer, {"weights": w}, (inner,)).sum()

    w = layer.weights.detach().double()
    assert abs((f(w + shift) - f(w - shift)) / 2e-3 - got[3]) < 1e-4


def test_threads() -> None:
    """Two threads on one layer get what one gets alone."""
    layer = make(6)
    samples = [features(b, 6) for b in (3, 64)]
    alone = [torch.autograd.grad(layer(x).square().sum(), layer.weights)[0] for x in samples]
    wrong: list[int] = []

    def work(i: int) -> None:
        for _ in range(20):
            (got,) = torch.autograd.grad(layer(samples[i]).square().sum(), layer.weights)
            if not torch.allclose(got, alone[i], atol=1e-5):
                wrong.append(i)

    fresh = make(6)
    layer.backend = fresh.backend  # both threads also find nothing planned
    threads = [threading.Thread(target=work, args=(i,)) for i in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


@pytest.mark.parametrize(
    "copied", [copy.deepcopy, lambda layer: pickle.loads(pickle.dumps(layer))], ids=["deepcopy", "pickle"]
)
def test_copies(copied) -> None:
    """A copy made after use has the same values and its own plans; the state dict holds the weights only."""
    layer, x = make(), features()
    y = layer(x)
    other = copied(layer)
    assert torch.equal(other(x), y)
    other(x).sum().backward()
    assert layer.weights.grad is None
    assert list(other.state_dict()) == ["weights"]
    assert other.backend.store_bytes == layer.backend.store_bytes


def test_double_and_back() -> None:
    """One plan for each precision; oracle: float32 within its accuracy of float64."""
    layer, x = make(), features()
    single = layer(x)
    double = layer.double()(x)
    assert double.dtype == torch.float64
    torch.testing.assert_close(single.double(), double, rtol=0, atol=1e-6)
    assert torch.equal(layer.float()(x), single)


def test_autocast() -> None:
    """Mixed precision around forward and backward changes no number of the layer."""
    layer, x = make(), features()
    y = layer(x)
    (wanted,) = torch.autograd.grad(y.sum(), layer.weights)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        mixed = layer(x)
        (got,) = torch.autograd.grad(mixed.sum(), layer.weights)
    assert mixed.dtype == torch.float32
    assert torch.equal(mixed, y)
    assert torch.equal(got, wanted)


class Hybrid(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first, self.quantum, self.last = nn.Linear(5, 4), make(), nn.Linear(4, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.last(self.quantum(self.first(x).tanh()).relu())


@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor")  # dynamo looks at it on every resumed frame
def test_compile() -> None:
    """A compiled model holds the layer as one opaque call: one graph before it, one behind."""
    from torch._dynamo.testing import CompileCounter

    model, x, counter = Hybrid(), features(6, 5), CompileCounter()
    compiled = torch.compile(model, backend=counter)
    torch.testing.assert_close(compiled(x), model(x))
    compiled(features(6, 5)).sum().backward()
    assert counter.frame_count == 2
    assert model.quantum.weights.grad is not None
    torch._dynamo.reset()


def test_without_weights_or_features() -> None:
    """Circuits that read no weights, no features, or neither; empty batches."""
    bare = QuantumLayer(Circuit(2).append("h", 0).append("cnot", (0, 1)), ["X0 X1", "Z0"], backend="fused")
    torch.testing.assert_close(bare(), torch.tensor([[1.0, 0.0]]))
    constant = QuantumLayer(hardware_efficient(2, 1), backend="fused")
    y = constant(torch.empty(3, 0))
    assert y.shape == (3, 2)
    y.sum().backward()
    once = constant.weights.grad.clone()
    constant.weights.grad = None
    constant().sum().backward()
    torch.testing.assert_close(once, 3 * constant.weights.grad)
    encoder = QuantumLayer(angle_encoding(2), backend="fused")
    x = features(4, 2).requires_grad_()
    encoder(x).sum().backward()
    assert x.grad is not None
    assert encoder.per_sample_gradients(x).shape == (4, 0)
    assert make()(features(0)).shape == (0, 4)
    assert make().per_sample_gradients(features(0)).shape == (0, make().weights.numel())


def test_amplitude_encoding() -> None:
    """Gradients flow through the encoded state. Oracle: finite differences."""
    circuit = Circuit(3).encode_amplitudes(5)
    circuit.append("rx", 0, weight()).append("cnot", (0, 2)).append("ry", 1, feature(6))
    layer = QuantumLayer(circuit, backend="fused").double()
    x = torch.rand(3, 7, generator=torch.Generator().manual_seed(2), dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(layer, (x,))
    rows = layer.per_sample_gradients(x)
    torch.testing.assert_close(rows.sum(0), torch.autograd.grad(layer(x).sum(), layer.weights)[0])


def test_memory_is_released() -> None:
    """After backward the stored states are gone, and with the layer its plans."""
    layer = make(8, 3)
    y = layer(features(64, 8))
    node = y.grad_fn
    while node is not None and not hasattr(node, "saved_tensors"):
        node = node.next_functions[0][0]
    kept = [weakref.ref(t) for t in node.saved_tensors if t is not None and t.numel() == 64 * 2**8]
    assert kept
    y.sum().backward()
    with pytest.raises(RuntimeError, match="saved tensors"):
        node.saved_tensors  # noqa: B018
    circuit, known = weakref.ref(layer.circuit), layer.backend._known
    assert len(known) == 1
    del layer, y, node
    gc.collect()
    assert circuit() is None
    assert len(known) == 0
    assert all(ref() is None for ref in kept)


def test_recomputing_takes_constant_memory() -> None:
    """Without stored states, what backward keeps does not grow with depth."""
    kept = []
    for depth in (2, 6):
        circuit = (angle_encoding(8) + hardware_efficient(8, depth)).freeze()
        weights = torch.zeros(circuit.n_weights, requires_grad=True)
        y = FusedBackend(store_bytes=0).expectations(circuit, local_z(8), features(64, 8), weights)
        kept.append(sum(t.numel() == 64 * 2**8 for t in y.grad_fn.saved_tensors if t is not None))
    assert kept == [1, 1]


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="counts what glibc's malloc does")
def test_calls_need_no_fresh_memory() -> None:
    """What a call frees the next one gets, instead of pages from the system. Oracle: the process's page faults.

    In a process of its own, whose heap nobody else has grown. A quarter of the calls must need none, since the system
    may take idle pages back at any time; without `keep_freed_memory` nearly every call has hundreds or thousands.
    """
    code = """
import resource, torch
from torchbp import QuantumLayer
from torchbp.circuits import angle_encoding, hardware_efficient
torch.set_num_threads(1)
layer, x = QuantumLayer(angle_encoding(14) + hardware_efficient(14, 4)), torch.rand(8, 14)
def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    layer(x).sum().backward()
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
print(sorted(faults() for _ in range(20))[4])
"""
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert int(found.stdout) < 100
