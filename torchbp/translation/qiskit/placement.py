"""Where a transpiled circuit has put the qubits of the circuit it was made from."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from torchbp.errors import CircuitError


@dataclass(frozen=True)
class Placement:
    """A transpiled circuit in terms of the wires of the circuit before.

    Attributes:
        wires: of each qubit of the transpiled circuit the wire it is at the start; None where nothing happens.
        n_wires: the wires of the circuit before, and behind them the other qubits that have gates.
        swaps: exchanges of wires behind the last gate, which bring each wire's state back to it.
    """

    wires: tuple[int | None, ...]
    n_wires: int
    swaps: tuple[tuple[int, int], ...]

    @classmethod
    def of(cls, circuit: Any) -> Placement:
        """The placement of a circuit; every qubit its own wire if it was not transpiled.

        Raises:
            CircuitError: the circuit has other qubits than its layout tells of.
        """
        count, layout = circuit.num_qubits, getattr(circuit, "layout", None)
        if layout is None:
            return cls(tuple(range(count)), count, ())
        start, end = layout.initial_index_layout(), layout.final_index_layout(filter_ancillas=False)
        if len(start) != count or len(end) != count:
            raise CircuitError(
                f"The circuit has {count} qubits, and its layout, from being transpiled, tells of {len(start)}: import "
                "it as it was before it was transpiled."
            )
        own = len(layout.final_index_layout(filter_ancillas=True))
        used = {circuit.find_bit(q).index for item in circuit.data for q in item.qubits if len(item.qubits)}
        order = [q for i, q in enumerate(start) if i < own or q in used]
        wire_of = {qubit: wire for wire, qubit in enumerate(order)}
        # The state of wire i has come to where[i]; wires that nothing happens to stay.
        where = [wire_of[end[start.index(qubit)]] for qubit in order]
        return cls(tuple(wire_of.get(q) for q in range(count)), len(order), tuple(_swaps(where)))


def _swaps(where: list[int]) -> list[tuple[int, int]]:
    """Exchanges that bring the state at where[i] to i, for every i."""
    found, where = [], list(where)
    for wire in range(len(where)):
        if where[wire] != wire:
            found.append((wire, where[wire]))
            other = where.index(wire)  # whose state makes room
            where[other], where[wire] = where[wire], wire
    return found
