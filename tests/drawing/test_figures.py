from __future__ import annotations

import math
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path

import pytest

from unlocked.drawing import figures


def size_of(path: Path) -> tuple[int, int]:
    header = path.read_bytes()[:24]
    assert header[:8] == b"\x89PNG\r\n\x1a\n"
    return int.from_bytes(header[16:20]), int.from_bytes(header[20:24])


def test_learning_curves_are_drawn_with_missing_and_broken_points(tmp_path: Path):
    history = {
        "train/loss": [(step, 1.0 / (step + 1)) for step in range(500)],
        "val/loss": [(100, 1.0), (200, math.nan), (300, math.inf)],
        "val/accuracy": [(100, 0.5), (200, math.nan), (300, 0.75)],
    }
    drawn = figures.learning_curves(history, tmp_path / "figures" / "curves.png")
    assert size_of(drawn)[0] > size_of(drawn)[1] > 300


@pytest.mark.parametrize(
    ("metric", "best"),
    [
        ("val/accuracy", "best 75.0%"),
        ("val/bits", "best 0.5"),
        ("val/r2", "best 0.75"),
        ("val/mse", "best 0.5"),
        ("val/frechet", "best 0.5"),
    ],
)
def test_the_best_point_of_a_metric_is_the_lowest_where_lower_is_better(tmp_path: Path, metric, best):
    with figures.drawing(tmp_path / "one.png") as (_, (panel,)):
        assert figures._mark_best(panel, [(1, 0.5), (2, 0.75), (3, math.nan)], metric) == f", {best}"


@pytest.fixture
def panels(monkeypatch):
    """Of every panel that is drawn: its title, and the names of its lines and patches."""
    seen: list[tuple[str, list[str]]] = []
    drawing = figures.drawing

    @contextmanager
    def watched(*arguments, **options):
        with drawing(*arguments, **options) as (figure, axes):
            axes = list(axes)
            yield figure, list(axes)
            seen.extend(
                (axis.get_title(loc="left") or axis.get_title(), axis.get_legend_handles_labels()[1])
                for axis in figure.axes
            )

    monkeypatch.setattr(figures, "drawing", watched)
    return seen


def test_a_validation_loss_that_repeats_a_metric_is_no_curve_beside_the_training_loss(tmp_path: Path, panels):
    history = {"train/loss": [(1, 2.0)], "val/loss": [(1, 1249.0)], "val/frechet": [(1, 1249.0)]}
    history |= {f"val/{name}": [(1, 0.5)] for name in ("asked", "classes", "variance")}
    figures.learning_curves(history, tmp_path / "curves.png")
    assert panels[0] == ("Loss", ["training"])
    assert [title.split(",")[0] for title, _ in panels[1:]] == [
        f"Validation {name}" for name in ("asked", "classes", "frechet", "variance")
    ]
    assert panels[3][0].endswith("best 1,249")


def test_steps_are_whole_numbers_even_of_one_point(tmp_path: Path):
    with figures.drawing(tmp_path / "one.png") as (_, (panel,)):
        figures._curve(panel, [(13, 2.5)], "k", "training")
        assert [tick for tick in panel.get_xticks() if tick % 1] == []


def test_a_figure_without_its_metrics_is_not_drawn(tmp_path: Path):
    for draw in (figures.learning_curves, figures.alignment, figures.sg_loss):
        assert draw({"lr": [(1, 0.1)]}, tmp_path / "none.png") is None
    assert not list(tmp_path.iterdir())


def test_alignment_and_sg_loss_take_their_modules_in_numeric_order(tmp_path: Path):
    points = [(1, 0.1), (2, 0.2)]
    history = {f"{kind}/module_{k}": points for kind in ("align", "sg/loss") for k in (10, 2, 1)}
    assert list(figures._drawn(history, "align/")) == [1, 2, 10]
    alone = [size_of(draw(history, tmp_path / "a.png")) for draw in (figures.alignment, figures.sg_loss)]
    more = {
        f"{kind}/module_0": [(0, 0.0), *points] for kind in ("align/per_example", "align/norm_ratio", "inputs/loss")
    }
    wider = [size_of(draw(history | more, tmp_path / "a.png")) for draw in (figures.alignment, figures.sg_loss)]
    assert all(one[0] < other[0] for one, other in zip(alone, wider, strict=True))  # a panel for each


@pytest.mark.parametrize("classes", [2, 40])
def test_the_confusion_matrix_takes_few_and_many_classes(tmp_path: Path, classes: int):
    targets = list(range(classes)) * 2
    names = [f"class {k}" for k in range(classes)]
    assert size_of(figures.confusion_matrix(targets, targets[::-1], names, tmp_path / "c.png"))


def test_the_running_mean_neither_lags_nor_hides_a_break():
    line = [float(value) for value in range(100)]
    assert figures._running_mean(line, span=5)[50] == 50.0
    assert math.isnan(figures._running_mean([1.0, math.nan, 3.0], span=1)[1])


def test_no_window_system_is_touched():
    code = "import sys, unlocked.drawing.figures as f; from pathlib import Path; import tempfile;" \
           "f.sg_loss({'sg/loss/module_0': [(1, 1.0)]}, Path(tempfile.mkdtemp()) / 'x.png');" \
           "print('matplotlib.pyplot' in sys.modules)"  # fmt: skip
    done = subprocess.check_output([sys.executable, "-c", code], text=True, timeout=60)
    assert done.strip() == "False"
