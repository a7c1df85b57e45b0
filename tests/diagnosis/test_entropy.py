"""Subsystem entropies, against partial traces in numpy and states whose entropy is known."""

from __future__ import annotations

import math
from itertools import combinations

import numpy as np
import pytest
import torch
from helpers import random_state
from torch import Tensor

from torchbp import QuantumLayer
from torchbp.circuits import hardware_efficient
from torchbp.diagnosis.entropy import entanglement_ratio, page_renyi2, renyi2_entropy
from torchbp.errors import InputError


def reduced(state: np.ndarray, wires: tuple[int, ...]) -> np.ndarray:
    """The reduced density matrix, element by element: sum over the bits of all other wires."""
    n = int(math.log2(len(state)))
    rho = np.zeros((2 ** len(wires), 2 ** len(wires)), dtype=complex)
    for i in range(len(state)):
        for j in range(len(state)):
            a, b = f"{i:0{n}b}", f"{j:0{n}b}"
            if all(a[w] == b[w] for w in range(n) if w not in wires):
                rows = (int("".join(bits[w] for w in wires), 2) for bits in (a, b))
                rho[tuple(rows)] += state[i] * state[j].conj()
    return rho


def ghz(n_wires: int) -> Tensor:
    state = torch.zeros(1, 2**n_wires, dtype=torch.complex128)
    state[0, 0] = state[0, -1] = math.sqrt(0.5)
    return state


@pytest.mark.parametrize("wires", [(0,), (2,), (0, 1), (1, 3), (3, 0), (2, 0, 1)])
def test_against_partial_trace(wires: tuple[int, ...]) -> None:
    """Oracle: -ln Tr(rho^2) of numpy partial traces, two random states of four wires."""
    rng = np.random.default_rng(0)
    states = np.stack([random_state(rng, 4) for _ in range(2)])
    found = renyi2_entropy(torch.from_numpy(states), wires)
    for value, state in zip(found, states, strict=True):
        rho = reduced(state, wires)
        assert float(value) == pytest.approx(-math.log(np.trace(rho @ rho).real), abs=1e-12)


def test_product_states_have_none() -> None:
    """Oracle: 0 for every subsystem of a product of random single-qubit states, in both precisions."""
    rng = np.random.default_rng(1)
    state = np.ones(1)
    for _ in range(4):
        state = np.kron(state, random_state(rng, 1))
    for dtype, atol in ((torch.complex128, 1e-12), (torch.complex64, 1e-5)):
        states = torch.from_numpy(state)[None].to(dtype)
        for wires in (w for k in (1, 2, 3) for w in combinations(range(4), k)):
            assert abs(float(renyi2_entropy(states, wires))) < atol
        assert entanglement_ratio(states) == pytest.approx(0.0, abs=atol)


@pytest.mark.parametrize("wires", [(0,), (3,), (1, 2), (0, 2, 3)])
def test_ghz(wires: tuple[int, ...]) -> None:
    """Oracle: ln 2, whatever the subsystem."""
    assert float(renyi2_entropy(ghz(4), wires)) == pytest.approx(math.log(2))


def test_bell_pairs_are_maximally_entangled() -> None:
    """Oracle: k ln 2 for the wires 0, 1 of pairs (0, 2) and (1, 3); the order of the wires is that of the index."""
    pair = np.array([1, 0, 0, 1]) / math.sqrt(2)
    state = np.kron(pair, pair).reshape(2, 2, 2, 2).transpose(0, 2, 1, 3).reshape(1, 16)
    states = torch.from_numpy(state.astype(complex))
    assert float(renyi2_entropy(states, (0, 1))) == pytest.approx(2 * math.log(2))
    assert float(renyi2_entropy(states, (0, 2))) == pytest.approx(0.0, abs=1e-12)


@pytest.mark.parametrize(("n_wires", "k"), [(3, 1), (4, 2), (6, 2)])
def test_page_value(n_wires: int, k: int) -> None:
    """Oracle: the mean purity of 2,000 Haar states, to six of its standard errors; false failures under 1e-8."""
    rng = np.random.default_rng(2)
    states = torch.from_numpy(np.stack([random_state(rng, n_wires) for _ in range(2000)]))
    purity = (-renyi2_entropy(states, list(range(k)))).exp()
    error = float(purity.std()) / math.sqrt(len(purity))
    assert abs(float(purity.mean()) - math.exp(-page_renyi2(n_wires, k))) < 6 * error


def test_page_value_of_a_small_part_of_a_large_system() -> None:
    """Oracle: its expansion, k ln 2 - 2^(2k - n) + 2^-n."""
    assert page_renyi2(20, 2) == pytest.approx(2 * math.log(2) - 2.0**-16 + 2.0**-20, abs=1e-9)


@pytest.mark.parametrize("n_wires", [2, 3, 4, 6])
def test_ratio_of_deep_circuits(n_wires: int) -> None:
    """Oracle: 1 for random states; within 4% for the mean of 64 deep circuits."""
    circuit = hardware_efficient(n_wires, 4 * n_wires)
    layer = QuantumLayer(circuit, generator=torch.Generator().manual_seed(0))
    weights = math.pi * (2 * torch.rand(64, circuit.n_weights, generator=torch.Generator().manual_seed(1)) - 1)
    states = layer.backend.states(circuit, torch.empty(64, 0), weights)
    assert entanglement_ratio(states) == pytest.approx(1.0, abs=0.04 if n_wires > 3 else 0.15)


def test_ratio_takes_every_window_of_the_ring() -> None:
    """Oracle: the mean over (0, 1), (1, 2), (2, 3), (3, 0), by hand for two neighbouring pairs."""
    pair = np.array([1, 0, 0, 1]) / math.sqrt(2)
    states = torch.from_numpy(np.kron(pair, pair).astype(complex))[None]  # (0, 1) and (2, 3)
    assert entanglement_ratio(states) == pytest.approx((0 + 2 + 0 + 2) * math.log(2) / 4 / page_renyi2(4, 2))
    assert entanglement_ratio(states, k=1) == pytest.approx(math.log(2) / page_renyi2(4, 1))


def test_one_wire_has_no_parts() -> None:
    """Oracle: by definition."""
    assert entanglement_ratio(torch.tensor([[1.0 + 0j, 0.0]])) == 0.0


def test_bad_arguments() -> None:
    """Oracle: the messages."""
    with pytest.raises(InputError, match=r"shape \(batch, 2\^n\), got \(1, 3\)"):
        renyi2_entropy(torch.zeros(1, 3, dtype=torch.complex64), (0,))
    with pytest.raises(InputError, match=r"shape \(batch, 2\^n\), got \(4,\)"):
        renyi2_entropy(torch.zeros(4, dtype=torch.complex64), (0,))
    for wires in ((), (0, 0), (2,), (-1,)):
        with pytest.raises(InputError, match=r"distinct wires from 0 to 1, got \["):
            renyi2_entropy(torch.zeros(1, 4, dtype=torch.complex64), wires)
    for k in (0, 3):
        with pytest.raises(InputError, match=f"1 to 2 wires, got {k}"):
            page_renyi2(3, k)
