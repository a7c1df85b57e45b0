"""Layers in words. Oracle: by hand."""

from __future__ import annotations

import pytest

from torchbp.diagnosis.layer_words import in_words

ONE = [f"core/l{k}" for k in range(1, 11)]
TWO = ["a/x", "b.c/x", "b.c/y", "b.c/z"]


@pytest.mark.parametrize(
    ("named", "every", "words"),
    [
        (ONE, ONE, "all 10 layers"),
        (ONE[2:7], ONE, "layers 3 to 7"),
        (ONE[2:3], ONE, "layer 3"),
        (ONE[2:4], ONE, "layers 3 and 4"),
        ([*ONE[:3], ONE[4], *ONE[8:]], ONE, "layers 1 to 3, 5, 9 and 10"),
        (TWO, TWO, "all 4 layers"),
        (TWO[:1], TWO, "the only layer of a"),
        (TWO[1:], TWO, "all 3 layers of b.c"),
        ([TWO[0], TWO[2]], TWO, "the only layer of a and layer 2 of b.c"),
        (["x"], ["x"], "the only layer"),
        (["stranger/q"], ONE, "stranger/q"),
        ([], ONE, ""),
    ],
)
def test_words(named, every, words):
    assert in_words(named, every) == words
