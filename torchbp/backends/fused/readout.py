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


MOST_IMAGES = 4  # of a state under observables, kept from forward to backward


class Readout(Protocol):
    n_images: int

    def images(self, psi: Tensor) -> list[Tensor]:
        """What both `read` and `pull` need of states in the plan's final layout: n_images tensors of their size."""
        ...

    def read(self, psi: Tensor, images: Sequence[Tensor]) -> Tensor:
        """The result for each sample."""
        ...

    def pull(self, psi: Tensor, images: Sequence[Tensor], cotangent: Tensor) -> Tensor:
        """d(loss)/d(psi) in the same layout, in a tensor of its own."""
        ...


class States:
    """The final states themselves, (B, 2^n)."""

    n_images = 0

    def __init__(self, layout: Layout) -> None:
        self.layout = layout

    def images(self, psi: Tensor) -> list[Tensor]:
        return []

    def read(self, psi: Tensor, images: Sequence[Tensor]) -> Tensor:
        return self.layout.leave(psi)

    def pull(self, psi: Tensor, images: Sequence[Tensor], cotangent: Tensor) -> Tensor:
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
        self.n_images = len(self.others) if len(self.others) <= MOST_IMAGES else 0
        self.layout, self.n_columns = layout, len(observables)
        self.strings = ZStrings(layout, list(strings), dtype, device) if strings else None
        matrix = torch.zeros(len(strings), len(observables), dtype=torch.float64)
        for j, m, coefficient in entries:
            matrix[j, m] += coefficient
        self.matrix = matrix.to(device, dtype)

    def images(self, psi: Tensor) -> list[Tensor]:
        return [image(psi) for _, image in self.others[: self.n_images]]

    def read(self, psi: Tensor, images: Sequence[Tensor]) -> Tensor:
        batch = psi.shape[1] if self.layout.batch_last else len(psi)
        out = psi.real.new_zeros(batch, self.n_columns)
        if self.strings is not None:
            out = self.strings.contract(torch.addcmul(psi.real.square(), psi.imag, psi.imag)) @ self.matrix
        if self.others:
            over = 0 if self.layout.batch_last else 1
            columns = list(out.unbind(1))
            for k, (m, image) in enumerate(self.others):
                mapped = images[k] if images else image(psi)
                columns[m] = columns[m] + (psi.conj() * mapped).real.sum(over)
            out = torch.stack(columns, dim=1)
        return out

    def pull(self, psi: Tensor, images: Sequence[Tensor], cotangent: Tensor) -> Tensor:
        twice = 2 * cotangent
        lam = torch.zeros_like(psi) if self.strings is None else psi * self.strings.combine(twice @ self.matrix.T)
        for k, (m, image) in enumerate(self.others):
            factor = twice[:, m] if self.layout.batch_last else twice[:, m : m + 1]
            lam = lam + (images[k] if images else image(psi)) * factor
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
        """H psi = R + i I: most strings have a real or an imaginary factor, and half the arithmetic."""
        over = 0 if self.layout.batch_last else 1
        sums: list[Tensor | None] = [None, None]
        for flips, given in self._factors.items():
            index = self._indices[flips] if flips in self._indices else self._every ^ flips
            flipped = torch.view_as_real(psi.index_select(over, index))
            for k, table in enumerate(given if isinstance(given, tuple) else given()):
                if table is not None:
                    factor = table.unsqueeze(-1)
                    before = sums[k]
                    sums[k] = flipped * factor if before is None else before.addcmul_(flipped, factor)
        real, imaginary = (None if part is None else torch.view_as_complex(part) for part in sums)
        if imaginary is None:
            return torch.zeros_like(psi) if real is None else real
        return 1j * imaginary if real is None else torch.add(real, imaginary, alpha=1j)


class _Factor:
    """The number that each flipped amplitude is multiplied by: its real and its imaginary part, None where zero."""

    def __init__(
        self,
        strings: Sequence[tuple[frozenset[int], complex]],
        layout: Layout,
        dtype: torch.dtype,
        device: torch.device,
    ) -> None:
        self.strings = ZStrings(layout, [wires for wires, _ in strings], dtype, device)
        coefficients = torch.tensor([[c for _, c in strings]], dtype=torch.complex128).to(device, COMPLEX[dtype])
        self.parts = tuple(c.contiguous() if bool(c.any()) else None for c in (coefficients.real, coefficients.imag))

    def __call__(self) -> tuple[Tensor | None, ...]:
        return tuple(None if part is None else self.strings.combine(part) for part in self.parts)
