"""How many layers are named in a sentence."""

from __future__ import annotations

import re
from collections.abc import Collection

_NUMBERED = re.compile(r"(.*?)(\d+)\]?")


def name_layers(names: Collection[str], every: Collection[str] = ()) -> str:
    """Layers as a person would name them: "all 10 layers", "core/layer3 to core/layer7", "core/layer0 and 3 others".

    Args:
        names: the layers meant, in the order of the circuit.
        every: all there are, where that is known.
    """
    listed = list(names)
    if not listed:
        return "no layer"
    if len(listed) > 2 and set(listed) == set(every):
        return f"all {len(listed)} layers"
    if len(listed) <= 2:
        return " and ".join(listed)
    parts = [_NUMBERED.fullmatch(name) for name in listed]
    prefixes = {part and part.group(1) for part in parts}
    numbers = [int(part.group(2)) for part in parts if part]
    if len(prefixes) == 1 and None not in prefixes and numbers == list(range(numbers[0], numbers[0] + len(listed))):
        return f"{listed[0]} to {listed[-1]}"
    return f"{listed[0]} and {len(listed) - 1} others"
