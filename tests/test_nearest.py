"""The nearest matches of a wrong word."""

from __future__ import annotations

import pytest

from unlocked.config import presets
from unlocked.nearest import did_you_mean, nearest


@pytest.mark.parametrize(
    ("word", "expected"),
    [
        ("quikstart", ["quickstart"]),
        ("gat", ["graph/gat"]),
        ("recurrent/grru", ["recurrent/gru"]),
        ("bahdanu", ["seq2seq/bahdanau"]),
        ("zzzz", []),
    ],
)
def test_a_preset_is_found_by_its_name_and_by_its_last_part(word, expected):
    assert nearest(word, presets()) == expected


def test_of_keys_of_one_name_the_plainest_comes_first():
    known = ["scheme.sg.lr", "optimizer.lr", "optimizer.lr_decay"]
    assert did_you_mean("lr", known) == "; did you mean 'optimizer.lr' or 'scheme.sg.lr'?"
    assert did_you_mean("optimzer", ["optimizer", "optimizer.d"]) == "; did you mean 'optimizer'?"
