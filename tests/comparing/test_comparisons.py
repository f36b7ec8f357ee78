from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import pytest
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from unlocked.comparing.rows import Row
from unlocked.drawing.comparisons import _bottom, _Line, _lines, _name_lines, comparison, comparison_against


def row(accuracy: float, seeds: int = 1, **group: str) -> Row:
    return Row(group, {str(seed): {"test/accuracy": accuracy + seed / 100} for seed in range(seeds)})


STUDY = [
    *(row(0.8 - int(lag) / 200, 3, scheme=scheme, modules=modules, lag=lag)
      for scheme in ("cdni", "dfa") for modules in "24" for lag in ("1", "4", "16", "64")),
    row(0.5, 3, scheme="frozen", modules="2", lag="-"),
    row(0.9, 3, scheme="backprop", modules="-", lag="-"),
]  # fmt: skip


def is_png(path: Path | None) -> bool:
    return path is not None and path.read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"


def test_a_name_with_dollars_is_no_formula(tmp_path: Path):
    rows = [Row({"scheme": "dni", "data.options.path": r"$a\b$"}, {"0": {"test/accuracy": 0.9}})]
    assert is_png(comparison(rows, tmp_path / "c.png"))  # which would end in an error of matplotlib's parser


def test_the_comparison_shows_every_row_that_has_the_metric(tmp_path: Path):
    rows = [
        Row({"scheme": "dni"}, {"0": {"test/accuracy": 0.9}, "1": {"test/accuracy": 0.92}}),
        Row({"scheme": "dfa"}, {"0": {"time/steps_per_second": 9.0}}),
        Row({"scheme": "frozen"}, {"0": {"test/accuracy": 0.4}}),
    ]
    assert is_png(comparison(rows, tmp_path / "c.png"))
    assert rows[-1].is_control
    assert comparison([], tmp_path / "none.png") is None
    assert not (tmp_path / "none.png").exists()


def test_values_that_lie_close_together_are_drawn_without_bars(tmp_path: Path, monkeypatch):
    drawn = []
    monkeypatch.setattr(Axes, "barh", lambda *args, **look: drawn.append(args))
    for lowest, bars in ((2.0, 0), (0.2, 2), (2.1, 4)):  # equal ones have no axis of their own
        rows = [Row({"scheme": "dni"}, {"0": {"test/bits": 2.1}}), Row({"scheme": "dfa"}, {"0": {"test/bits": lowest}})]
        assert is_png(comparison(rows, tmp_path / "c.png", "test/bits"))
        assert len(drawn) == bars


def test_bars_are_named_by_what_differs_in_short_and_the_whiskers_are_explained(tmp_path: Path, monkeypatch):
    told = {}
    monkeypatch.setattr(Figure, "supxlabel", lambda self, words, **_: told.update(foot=words))
    monkeypatch.setattr(Axes, "set_yticks", lambda self, places, names: told.update(names=names))
    rows = [
        row(0.9, 2, model="mlp", scheme=scheme, **{"optimizer.lr": lr, "train.epochs": "2"})
        for scheme, lr in (("backprop", "0.0025811552841929356"), ("frozen", "0.01"))
    ]
    rows.append(row(0.8, model="mlp", scheme="dfa", **{"optimizer.lr": "-", "train.epochs": "30"}))
    assert is_png(comparison(rows, tmp_path / "c.png"))
    assert [" ".join(name.split()) for name in told["names"]] == [
        "backprop, lr 0.002581, epochs 2",
        "frozen, lr 0.01, epochs 2 (control)",
        "dfa, epochs 30",
    ]
    assert max(len(line) for name in told["names"] for line in name.split("\n")) <= 30
    assert "from the lowest to the highest seed" in told["foot"]
    near = [
        row(0.8, scheme=scheme, lag=lag, **{"scheme.sg.lr": lr})
        for scheme in ("dni", "cdni")
        for lag in "12"
        for lr in ("0.10001", "0.10002")
    ]
    lines = _lines(near, "lag", "test/accuracy")
    assert [len(line.points) for line in lines] == [2, 2, 2, 2]  # though their names are alike


def test_what_only_the_schemes_differ_in_is_not_said_of_their_lines():
    table = [
        row(0.8, scheme=scheme, modules=modules, **{"optimizer.lr": lr})
        for scheme, lr in (("cdni", "0.1"), ("dfa", "0.2"))
        for modules in "24"
    ]
    assert [line.name for line in _lines(table, "modules", "test/accuracy")] == ["cdni", "dfa"]


def test_each_group_is_a_line_named_by_what_differs_and_a_group_without_x_is_a_level(tmp_path: Path):
    lines = {line.name: line for line in _lines(STUDY, "lag", "test/accuracy")}
    assert sorted(lines) == [
        "backprop",
        "cdni, 2 modules",
        "cdni, 4 modules",
        "dfa, 2 modules",
        "dfa, 4 modules",
        "frozen, 2 modules (control)",
    ]
    assert sorted(lines["dfa, 4 modules"].points) == [1, 4, 16, 64]
    assert lines["dfa, 4 modules"].points[4] == pytest.approx([0.78, 0.79, 0.80])
    assert (lines["backprop"].points, list(lines["backprop"].level)) == ({}, pytest.approx([0.9, 0.91, 0.92]))
    assert [name for name, line in lines.items() if line.look["linestyle"] == "--"] == ["frozen, 2 modules (control)"]
    assert lines["dfa, 2 modules"].look["color"] == lines["dfa, 4 modules"].look["color"]
    assert lines["dfa, 2 modules"].look["color"] != lines["cdni, 2 modules"].look["color"]
    assert lines["dfa, 2 modules"].look["marker"] != lines["dfa, 4 modules"].look["marker"]
    assert is_png(comparison_against(STUDY, "lag", tmp_path / "l.png"))


def test_without_a_number_on_the_axis_nothing_is_drawn(tmp_path: Path):
    assert comparison_against(STUDY[-2:], "lag", tmp_path / "none.png") is None
    assert comparison_against([], "lag", tmp_path / "none.png") is None
    assert not list(tmp_path.iterdir())


def test_names_at_the_ends_of_lines_never_overlap_and_keep_their_order():
    class Panel:
        def __init__(self):
            self.places: dict[str, float] = {}

        def get_ylim(self):
            return 0.0, 1.0

        def set_ylim(self, *_): ...

        def annotate(self, name, xy, **_):
            self.places[name] = xy[1]

    panel, ends = Panel(), [0.50, 0.51, 0.52, 0.70, 0.9]
    _name_lines(panel, [_Line(str(end), {"color": "k"}, mean=[end]) for end in ends], 1.0)
    places = [panel.places[str(end)] for end in ends]
    assert all(above - below > 0.0499 for below, above in pairwise(places))
    assert places[-1] == pytest.approx(0.9)
    assert sum(places[:3]) / 3 == pytest.approx(0.51)
    assert _bottom([_Line("a", {}, mean=[0.5])], 0.1) == pytest.approx(0.45)
