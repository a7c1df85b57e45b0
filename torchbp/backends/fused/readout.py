"""From final states to the result, and from the result's cotangent to kappa, the conjugate of d(loss)/d(psi)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import torch
from torch import Tensor

from torchbp.backends.base import COMPLEX
from torchbp.backends.fused.layout import Layout
from torchbp.backends.fused.lowering import Op, z_strings
from torchbp.backends.fused.plan import Plan
from torchbp.backends.fused.steps import Step
from torchbp.backends.fused.strings import ZStrings, signs
from torchbp.circuits.observables import PauliString, PauliSum

CACHED_NUMBERS = 2**22  # tables of an observable's coefficients up to this size are kept


MOST_IMAGES = 4  # of a state under observables, kept from forward to backward


class Readout(Protocol):
    n_images: int
    closing: list[Step]  # what is left of the circuit to carry out first

    def images(self, psi: Tensor) -> list[Tensor]:
        """What both `read` and `pull` need of states in the plan's final layout: n_images tensors of their size."""
        ...

    def read(self, psi: Tensor, images: Sequence[Tensor]) -> Tensor:
        """The result for each sample."""
        ...

    def pull(self, psi: Tensor, images: Sequence[Tensor], cotangent: Tensor) -> Tensor:
        """kappa in the same layout, in a tensor of its own."""
        ...


class States:
    """The final states themselves, (B, 2^n)."""

    n_images = 0

    def __init__(self, plan: Plan) -> None:
        self.layout, self.closing = plan.exit, plan.close()

    def images(self, psi: Tensor) -> list[Tensor]:
        return []

    def read(self, psi: Tensor, images: Sequence[Tensor]) -> Tensor:
        return self.layout.leave(psi)

    def pull(self, psi: Tensor, images: Sequence[Tensor], cotangent: Tensor) -> Tensor:
        return self.layout.enter(cotangent).clone().conj_physical_()


class Expectations:
    """Expectation values of Pauli sums, (B, M).

    Strings of Z only, from all observables together, need nothing but |psi|^2. Any other observable is applied to the
    states: H psi gives the value <psi|H psi> and the gradient 2 H psi. Behind permutations such as CNOT a string of Z
    is another string of Z, so if there is nothing else to measure, those at the end of the circuit cost nothing.
    """

    def __init__(self, observables: Sequence[PauliSum], plan: Plan) -> None:
        layout, dtype, device = plan.exit, plan.dtype, plan.device
        strings: dict[frozenset[int], int] = {}
        entries: list[tuple[int, int, float]] = []
        self.others: list[tuple[int, _Image]] = []
        moved = _moved_strings(observables, plan.closing)
        self.closing = plan.close() if moved is None else []
        for m, observable in enumerate(observables):
            rest = []
            for string, coefficient in observable.terms:
                if any(letter != "Z" for _, letter in string):
                    rest.append((string, coefficient))
                else:
                    wires = frozenset(wire for wire, _ in string)
                    wires, sign = (wires, 1) if moved is None else moved[wires]
                    entries.append((strings.setdefault(wires, len(strings)), m, sign * coefficient))
            if rest:
                self.others.append((m, _Image(rest, layout, dtype, device)))
        self.n_images = len(self.others) if len(self.others) <= MOST_IMAGES else 0
        self.layout, self.n_columns = layout, len(observables)
        self.strings = ZStrings(layout, list(strings), dtype, device) if strings else None
        matrix = torch.zeros(len(strings), len(observables), dtype=torch.float64)
        for j, m, coefficient in entries:
            matrix[j, m] += coefficient
        self.matrix = matrix.to(device, dtype)
        self.twice = 2 * self.matrix.T.contiguous()

    def images(self, psi: Tensor) -> list[Tensor]:
        if not self.n_images:
            return []
        psi = self.layout.matrix(psi)
        return [image(psi) for _, image in self.others]

    def read(self, psi: Tensor, images: Sequence[Tensor]) -> Tensor:
        psi = self.layout.matrix(psi)
        if self.strings is not None:
            out = self.strings.contract(torch.view_as_real(psi).square(), "both") @ self.matrix
        else:
            out = psi.real.new_zeros(psi.shape[1 if self.layout.batch_last else 0], self.n_columns)
        if self.others:
            over = 0 if self.layout.batch_last else 1
            columns = list(out.unbind(1))
            for k, (m, image) in enumerate(self.others):
                mapped = images[k] if images else image(psi)
                columns[m] = columns[m] + (psi.conj() * mapped).real.sum(over)
            out = torch.stack(columns, dim=1)
        return out

    def pull(self, psi: Tensor, images: Sequence[Tensor], cotangent: Tensor) -> Tensor:
        psi = self.layout.matrix(psi)
        if self.strings is None:
            kappa = torch.zeros_like(psi)
        else:
            pairs = self.strings.conjugate_by(cotangent @ self.twice)
            kappa = torch.view_as_complex(torch.view_as_real(psi) * pairs.view(*psi.shape, 2))
        for k, (m, image) in enumerate(self.others):
            factor = 2 * (cotangent[:, m] if self.layout.batch_last else cotangent[:, m : m + 1])
            kappa = kappa + (images[k] if images else image(psi)).conj() * factor
        return kappa


def _moved_strings(
    observables: Sequence[PauliSum], moves: Sequence[Op]
) -> dict[frozenset[int], tuple[frozenset[int], int]] | None:
    """The string, with its sign, that each string of Z is when measured before the permutations instead of behind.

    None if there are other strings, or if one becomes a sum of strings (behind a Toffoli gate).
    """
    found: dict[frozenset[int], tuple[frozenset[int], int]] = {}
    for string in {string for observable in observables for string, _ in observable.terms}:
        if any(letter != "Z" for _, letter in string):
            return None
        wires = moved = frozenset(wire for wire, _ in string)
        sign = 1
        for op in reversed(moves):
            assert op.permutation is not None
            behind = signs(op.wires, [moved & set(op.wires)])[:, 0].numpy()
            terms = z_strings(behind[op.permutation], op.wires)
            if len(terms) > 1:
                return None
            ((there, value),) = terms.items()
            moved, sign = (moved - set(op.wires)) | there, sign * round(value)
        found[wires] = moved, sign
    return found


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
        coefficients = torch.tensor([[c for _, c in strings]], dtype=COMPLEX[dtype], device="cpu")
        parts = (coefficients.real, coefficients.imag)
        self.parts = tuple(c.to(device).contiguous() if bool(c.any()) else None for c in parts)

    def __call__(self) -> tuple[Tensor | None, ...]:
        return tuple(None if part is None else self.strings.combine(part) for part in self.parts)
