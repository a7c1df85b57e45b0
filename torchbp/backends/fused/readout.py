"""From final states to the result, and from the result's cotangent to d(loss)/d(psi)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import torch
from torch import Tensor

from torchbp.backends.base import COMPLEX
from torchbp.backends.fused.layout import Layout
from torchbp.backends.fused.strings import ZStrings
from torchbp.circuits.observables import PauliString, PauliSum

CACHED_NUMBERS = 2**22  # tables of an observable's coefficients up to this size are kept


class Readout(Protocol):
    def read(self, psi: Tensor) -> Tensor:
        """The result for each sample, from states in the plan's final layout."""
        ...

    def pull(self, psi: Tensor, cotangent: Tensor) -> Tensor:
        """d(loss)/d(psi) in the same layout, in a tensor of its own."""
        ...


class States:
    """The final states themselves, (B, 2^n)."""

    def __init__(self, layout: Layout) -> None:
        self.layout = layout

    def read(self, psi: Tensor) -> Tensor:
        return self.layout.leave(psi)

    def pull(self, psi: Tensor, cotangent: Tensor) -> Tensor:
        return self.layout.enter(cotangent).clone()


class Expectations:
    """Expectation values of Pauli sums, (B, M).

    Strings of Z only, from all observables together, need nothing but |psi|^2. Any other observable is applied to the
    states: H psi gives the value <psi|H psi> and the gradient 2 H psi.
    """

    def __init__(
        self, observables: Sequence[PauliSum], layout: Layout, dtype: torch.dtype, device: torch.device
    ) -> None:
        strings: dict[frozenset[int], int] = {}
        entries: list[tuple[int, int, float]] = []
        self.others: list[tuple[int, _Image]] = []
        for m, observable in enumerate(observables):
            rest = []
            for string, coefficient in observable.terms:
                if any(letter != "Z" for _, letter in string):
                    rest.append((string, coefficient))
                else:
                    wires = frozenset(wire for wire, _ in string)
                    entries.append((strings.setdefault(wires, len(strings)), m, coefficient))
            if rest:
                self.others.append((m, _Image(rest, layout, dtype, device)))
        self.layout, self.n_columns = layout, len(observables)
        self.strings = ZStrings(layout, list(strings), dtype, device) if strings else None
        matrix = torch.zeros(len(strings), len(observables), dtype=torch.float64)
        for j, m, coefficient in entries:
            matrix[j, m] += coefficient
        self.matrix = matrix.to(device, dtype)

    def read(self, psi: Tensor) -> Tensor:
        batch = psi.shape[1] if self.layout.batch_last else len(psi)
        out = psi.real.new_zeros(batch, self.n_columns)
        if self.strings is not None:
            out = self.strings.contract(torch.addcmul(psi.real.square(), psi.imag, psi.imag)) @ self.matrix
        if self.others:
            over = 0 if self.layout.batch_last else 1
            columns = list(out.unbind(1))
            for m, image in self.others:
                columns[m] = columns[m] + (psi.conj() * image(psi)).real.sum(over)
            out = torch.stack(columns, dim=1)
        return out

    def pull(self, psi: Tensor, cotangent: Tensor) -> Tensor:
        twice = 2 * cotangent
        lam = torch.zeros_like(psi) if self.strings is None else psi * self.strings.combine(twice @ self.matrix.T)
        for m, image in self.others:
            factor = twice[:, m] if self.layout.batch_last else twice[:, m : m + 1]
            lam = lam + image(psi) * factor
        return lam


class _Image:
    """psi → H psi, with the strings that flip the same wires taken together.

    With X where `flips` is 1, a string maps psi(i) to (-i)^(number of Y) z(i) psi(i ^ flips), z the product of Z over
    its wires with Y or Z.
    """

    def __init__(
        self,
        terms: Sequence[tuple[PauliString, float]],
        layout: Layout,
        dtype: torch.dtype,
        device: torch.device,
    ) -> None:
        self.layout, n = layout, layout.n_wires
        position = {wire: n - 1 - i for i, wire in enumerate(layout.order)}
        groups: dict[int, list[tuple[frozenset[int], complex]]] = {}
        for string, coefficient in terms:
            flips = sum(1 << position[wire] for wire, letter in string if letter != "Z")
            signs = frozenset(wire for wire, letter in string if letter != "X")
            ys = sum(letter == "Y" for _, letter in string)
            groups.setdefault(flips, []).append((signs, coefficient * (-1j) ** ys))
        every = torch.arange(2**n, dtype=torch.int32, device=device)
        keep = len(groups) * 2**n <= CACHED_NUMBERS
        self._indices = {flips: every ^ flips for flips in groups} if keep else {}
        self._every = every
        self._factors = {}
        for flips, strings in groups.items():
            factor = _Factor(strings, layout, dtype, device)
            self._factors[flips] = factor() if keep else factor

    def __call__(self, psi: Tensor) -> Tensor:
        total = torch.zeros_like(psi)
        over = 0 if self.layout.batch_last else 1
        for flips, given in self._factors.items():
            factor = given if isinstance(given, Tensor) else given()
            index = self._indices[flips] if flips in self._indices else self._every ^ flips
            total = torch.addcmul(total, psi.index_select(over, index), factor)
        return total


class _Factor:
    """The number that each flipped amplitude is multiplied by."""

    def __init__(
        self,
        strings: Sequence[tuple[frozenset[int], complex]],
        layout: Layout,
        dtype: torch.dtype,
        device: torch.device,
    ) -> None:
        self.strings = ZStrings(layout, [wires for wires, _ in strings], dtype, device)
        coefficients = torch.tensor([[c for _, c in strings]], dtype=torch.complex128).to(device, COMPLEX[dtype])
        self.real, self.imag = coefficients.real.contiguous(), coefficients.imag.contiguous()

    def __call__(self) -> Tensor:
        return torch.complex(self.strings.combine(self.real), self.strings.combine(self.imag))
