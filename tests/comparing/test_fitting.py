"""The table of rows at the width of a terminal."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from unlocked.comparing.fitting import fitted
from unlocked.comparing.rows import Row

METRICS = ["test/accuracy", "best/val_accuracy", "time/steps_per_second", "time/wait_fraction"]


def rows(**more):
    made = []
    for number, scheme in enumerate(("backprop", "cdni", "frozen")):
        values = dict.fromkeys(METRICS, 0.5 + number / 10)
        seeds = {str(seed): {metric: value + seed / 100 for metric, value in values.items()} for seed in range(3)}
        made.append(Row({"model": "mlp", "scheme": scheme, **more}, seeds))
    return made


def shown(width, **more):
    console = Console(file=io.StringIO(), width=width)
    console.print(fitted(rows(**more), METRICS, width, title="digits, classification", notes=["a note"]))
    return console.file.getvalue()


@pytest.mark.parametrize("width", [80, 120, 200])
@pytest.mark.parametrize("keys", [{}, {f"optimizer.key_{n}": "0.12345" for n in range(8)}])
def test_no_line_is_wider_than_the_terminal_and_no_number_is_cut(width, keys):
    text = shown(width, **keys)
    assert max(map(len, text.splitlines())) <= width
    assert "…" not in text
    for word in ("cdni", "frozen", "(control)", "61.0 ± 1.0%", "a note", "digits, classification"):
        assert word in text, word


def test_a_narrow_table_says_where_ranges_are_and_a_wide_one_has_them():
    narrow, wide = shown(80), shown(200)
    assert "the CSV, or" in narrow
    assert "[60.0, 62.0]" not in narrow
    assert "61.0 ± 1.0% [60.0, 62.0], n=3" in wide


def test_rows_with_too_many_keys_become_entries():
    lines = shown(80, **{f"optimizer.key_{n}": "0.12345" for n in range(8)}).splitlines()
    assert "    test accuracy: 61.0 ± 1.0% [60.0, 62.0], n=3; 95 %: 58.5 to 63.5" in lines


def test_on_a_terminal_a_scheme_has_its_colour():
    console = Console(file=io.StringIO(), width=200, force_terminal=True, color_system="truecolor")
    console.print(fitted(rows(), METRICS, 200))
    assert "38;2;0;158;115mcdni" in console.file.getvalue()
