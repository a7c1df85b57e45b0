"""Error mitigation: what is measured besides, and how the results are combined. Data; the backend runs it.

Readout correction takes two more circuits, once. Zero-noise extrapolation (Temme 2017, 1612.02058) measures every
circuit again with its two-qubit gates folded, and extrapolates to no noise by a polynomial.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from torchbp.arguments import checked
from torchbp.arguments.kinds import whole
from torchbp.errors import InputError, UnknownNameError


@checked(degree=whole(0))
@dataclass(frozen=True)
class Mitigation:
    """What is done against errors.

    Readout correction removes a bias and costs little: it is the choice for training. Extrapolation removes most of the
    bias of gates, and multiplies the variance by `variance_factor` at `len(scales)` times the circuits: take it to
    evaluate. Gradients need direction more than magnitude, and their noise grows while their bias is mostly a factor.

    Args:
        readout: correct readout errors, qubit by qubit. Errors that depend on other qubits stay.
        scales: odd factors of the noise of two-qubit gates to measure at; (1,) is no extrapolation. A circuit
            without such gates is not changed by it.
        degree: of the polynomial in the scale; the highest that the scales determine if left out (Richardson).

    Raises:
        InputError: scales that are not distinct odd numbers, or fewer than degree + 1 of them.

    Example:
        >>> QiskitBackend("fake_manila", mitigation=Mitigation(readout=True, scales=(1, 3), degree=1))
    """

    readout: bool = False
    scales: tuple[int, ...] = (1,)
    degree: int | None = None

    def __post_init__(self) -> None:
        scales = tuple(self.scales)
        object.__setattr__(self, "scales", scales)
        odd = all(isinstance(s, int) and s > 0 and s % 2 for s in scales)
        if not scales or not odd or len(set(scales)) != len(scales):
            raise InputError(f"scales= takes distinct odd whole numbers such as (1, 3, 5), got {self.scales!r}.")
        if self.degree is not None and not 0 <= self.degree < len(scales):
            raise InputError(
                f"A polynomial of degree {self.degree} takes {self.degree + 1} scales or more, got {len(scales)}."
            )

    @cached_property
    def factors(self) -> np.ndarray:
        """The weight of each scale's value in the result: the constant term of the least-squares polynomial."""
        degree = len(self.scales) - 1 if self.degree is None else self.degree
        return np.asarray(np.linalg.pinv(np.vander(self.scales, degree + 1, increasing=True).astype(float))[0])

    @property
    def variance_factor(self) -> float:
        """By how much extrapolation multiplies the variance, at the same shots for each circuit."""
        return float((self.factors**2).sum())


MITIGATIONS = {
    "none": Mitigation(),
    "readout": Mitigation(readout=True),
    "zne": Mitigation(scales=(1, 3, 5)),
    "readout+zne": Mitigation(readout=True, scales=(1, 3, 5)),
}


def as_mitigation(given: str | Mitigation | None) -> Mitigation:
    """The mitigation of this name; None is "none".

    Raises:
        UnknownNameError: no such name.
    """
    if isinstance(given, Mitigation):
        return given
    name = "none" if given is None else given
    if name not in MITIGATIONS:
        raise UnknownNameError("mitigation", name, MITIGATIONS)
    return MITIGATIONS[name]
