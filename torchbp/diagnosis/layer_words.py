"""Circuit layers in words: a verdict on forty of them is not to be read as forty names."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence


def in_words(named: Collection[str], every: Iterable[str]) -> str:
    """Which layers are meant: "all 10 layers", "layers 3 to 7", "layer 2 of encoder and all 4 layers of core".

    Args:
        named: circuit layers, "<path>/<circuit layer>", as `find_groups` has them.
        every: those that there are, in order; the numbers are places among those of one path, from 1 on.
    """
    homes: dict[str, list[str]] = {}
    for name in every:
        homes.setdefault(name.rpartition("/")[0], []).append(name)
    wanted = set(named)
    total = sum(map(len, homes.values()))
    if total > 1 and wanted >= {name for names in homes.values() for name in names}:
        return f"all {total} layers"
    parts = []
    for home, names in homes.items():
        if not wanted.isdisjoint(names):
            of = f" of {home}" if home and len(homes) > 1 else ""
            parts.append(_places([name in wanted for name in names]) + of)
    strangers = sorted(wanted.difference(*homes.values()))
    return _listed([*parts, *strangers])


def _places(meant: Sequence[bool]) -> str:
    if len(meant) == 1:
        return "the only layer"
    if all(meant):
        return f"all {len(meant)} layers"
    runs: list[list[int]] = []
    for place in (k for k, wanted in enumerate(meant, 1) if wanted):
        if runs and runs[-1][1] == place - 1:
            runs[-1][1] = place
        else:
            runs.append([place, place])
    texts = []
    for first, last in runs:
        texts += [f"{first} to {last}"] if last > first + 1 else [str(place) for place in range(first, last + 1)]
    return ("layer " if sum(meant) == 1 else "layers ") + _listed(texts)


def _listed(texts: Sequence[str]) -> str:
    return " and ".join([*([", ".join(texts[:-1])] if texts[:-1] else []), *texts[-1:]])
