"""What all figures have in common."""

import errno
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from unlocked.bench.measured.measure import Spread
from unlocked.bench.report import scaling_plot
from unlocked.drawing import comparisons, figures, style

LINE = "quickstart  ·  mlp on digits  ·  cdni  ·  seed 0  ·  2 modules, lag 2"


@pytest.fixture
def drawn(monkeypatch):
    """Every figure as it was written."""
    seen, write = [], style.write

    def watched(figure, panels, path):
        seen.append(figure)
        return write(figure, panels, path)

    monkeypatch.setattr(style, "write", watched)
    return seen


def assert_nothing_is_cut(figure):
    figure.canvas.draw()  # in pixels of the PNG again
    renderer, whole = figure.canvas.get_renderer(), figure.bbox
    boxes = [text.get_window_extent(renderer) for text in figure.texts]
    boxes.append(figure.get_tightbbox(renderer).transformed(figure.dpi_scale_trans))
    for box in boxes:
        assert max(-box.x0, box.x1 - whole.x1, -box.y0, box.y1 - whole.y1) <= 1


def test_a_runs_figures_say_which_run_it_is_below_their_title_and_lie_beside_an_svg(tmp_path, drawn):
    history = {"train/loss": [(1, 2.0), (2, 1.0)], "val/accuracy": [(2, 0.5)], "test/accuracy": [(2, 0.25)]}
    with style.about(LINE):
        path = figures.learning_curves(history, tmp_path / "curves.png")
    assert style.with_svg([path]) == [path, tmp_path / "curves.svg"]
    assert "Date" not in (tmp_path / "curves.svg").read_text()[:2000]
    (figure,) = drawn
    title, line = figure.texts
    assert (title.get_text(), line.get_text()) == ("Learning curves", LINE)
    renderer = figure.canvas.get_renderer()
    above = [text.get_window_extent(renderer) for text in (title, line, figure.axes[0]._left_title)]
    assert above[0].y0 >= above[1].y1
    assert above[1].y0 >= above[2].y1
    assert_nothing_is_cut(figure)


def test_a_second_line_is_wrapped_between_its_entries(tmp_path, drawn):
    words = style._filled("a name  ·  gan on digits  ·  6 modules, lag 0", 1.9, 8.5)
    assert [line.strip(" ·") for line in words.split("\n")] == ["a name", "gan on digits", "6 modules, lag 0"]


def test_a_figure_of_no_run_has_no_second_line_and_no_svg(tmp_path, drawn):
    path = figures.learning_curves({"train/loss": [(1, 2.0)]}, tmp_path / "curves.png")
    assert style.with_svg([path]) == [path]
    assert [text.get_text() for text in drawn[0].texts] == ["Learning curves"]


def test_training_validation_and_test_stand_together_with_units(tmp_path, drawn):
    history = {f"{split}/loss": [(1, 2.0), (2, 1.0)] for split in ("train", "val", "test")}
    history |= {"val/accuracy": [(2, 0.5)], "test/accuracy": [(2, 0.25)], "train/accuracy": [(2, 0.75)]}
    figures.learning_curves(history, tmp_path / "curves.png")
    loss, accuracy = drawn[0].axes
    assert loss.get_legend_handles_labels()[1] == ["training", "validation", "test 1"]
    assert accuracy.get_legend_handles_labels()[1] == ["training", "validation", "test 25.0%"]
    assert (loss.get_ylabel(), accuracy.get_ylabel()) == ("loss (mean per target)", "accuracy")
    assert accuracy.get_ylim()[0] < 0.25


def test_many_metrics_stand_in_rows_and_a_loss_that_repeats_one_is_not_drawn_beside_the_training_loss(tmp_path, drawn):
    history = {"train/loss": [(1, 2.0)]}
    history |= {f"{split}/{name}": [(1, 900.0)] for split in ("val", "test") for name in ("loss", "frechet", "a", "b")}
    figures.learning_curves(history, tmp_path / "curves.png")
    (figure,) = drawn
    assert [panel.get_subplotspec().rowspan.start for panel in figure.axes] == [0, 0, 1, 1]
    assert figure.axes[0].get_legend_handles_labels()[1] == ["training"]
    assert_nothing_is_cut(figure)


def test_the_loss_of_m_is_drawn_over_its_targets_size_with_the_level_of_no_use(tmp_path, drawn):
    points = [(1, 1.0), (2, 0.5)]
    figures.sg_loss({"sg/loss/module_0": points, "sg/relative_loss/module_0": points}, tmp_path / "sg.png")
    (panel,) = drawn[0].axes
    assert "mean square of the target" in panel.get_ylabel()
    assert [text.get_text() for text in panel.texts] == ["no better than zero"]


@pytest.mark.parametrize("classes", [2, 10, 40])
def test_no_name_of_a_confusion_matrix_is_cut(tmp_path, drawn, classes):
    targets = list(range(classes)) * 2
    names = [f"a class with an uncommonly long name, number {k}" for k in range(classes)]
    with style.about(LINE):
        figures.confusion_matrix(targets, targets[::-1], names, tmp_path / "c.png")
    assert_nothing_is_cut(drawn[0])
    assert len({text.get_text() for text in drawn[0].axes[0].get_yticklabels()}) > min(classes, 20) - 1


def test_a_figure_is_opaque_whatever_the_readers_own_settings(tmp_path):
    import matplotlib
    from matplotlib.image import imread

    with matplotlib.rc_context({"figure.facecolor": "black", "savefig.transparent": True, "text.color": "white"}):
        figures.learning_curves({"train/loss": [(1, 2.0)]}, tmp_path / "one.png")
    pixels = imread(tmp_path / "one.png")
    assert np.array_equal(pixels[0, 0, :3], [1, 1, 1])
    assert float(pixels[..., 3:].min(initial=1.0)) == 1.0


def test_bars_and_lines_have_the_colour_of_their_scheme(tmp_path, drawn):
    from matplotlib.colors import to_hex

    from unlocked.colors import scheme_color
    from unlocked.comparing.rows import Row

    rows = [
        Row({"scheme": scheme, "lag": lag}, {"0": {"test/accuracy": 0.1 * (1 + int(lag))}})
        for scheme in ("dfa", "cdni")
        for lag in ("1", "2")
    ]
    comparisons.comparison(rows, tmp_path / "bars.png")
    bars = [to_hex(bar.get_facecolor()).upper() for bar in drawn[0].axes[0].patches]
    assert bars == [scheme_color(name) for name in ("dfa", "dfa", "cdni", "cdni")]
    comparisons.comparison_against(rows, "lag", tmp_path / "lines.png")
    assert [line.get_color() for line in drawn[1].axes[0].lines] == [scheme_color("cdni"), scheme_color("dfa")]


def test_the_plot_of_bench_scaling_is_in_the_house_style(tmp_path, drawn):
    spread = Spread(1.5, 1.2, 1.7)
    results = {name: SimpleNamespace(ratios={"backprop_1_thread": spread}) for name in ("ideal", "cdni")}
    scaling = SimpleNamespace(case="mlp", cut=[2, 3], steps=50, results=results, foreign=[0.0] * 3)
    scaling_plot(scaling, tmp_path / "bench.png")
    (figure,) = drawn
    assert figure._suptitle.get_text() == "mlp over 2 modules"
    assert figure.axes[0].get_xlabel() == "steps per second, over backprop in one thread"
    assert_nothing_is_cut(figure)


@pytest.mark.parametrize(
    ("ticks", "labels"),
    [
        ([0.4, 0.425, 0.45], ["40.0%", "42.5%", "45.0%"]),
        ([0.2, 0.4, 0.6], ["20%", "40%", "60%"]),
        ([1.0, 1.2], ["100%", ""]),
    ],
)
def test_shares_have_the_decimals_that_their_ticks_need(tmp_path, ticks, labels):
    with style.drawing(tmp_path / "shares.png") as (_, (panel,)):
        style.in_percent(panel.yaxis, most=1.0)
        panel.set_yticks(ticks)
        assert panel.yaxis.get_major_formatter().format_ticks(ticks) == labels


@pytest.mark.parametrize("ending", [".png", ".pdf", ".svg"])
def test_a_full_disk_is_told_by_the_file_and_leaves_the_figure_that_was_there(tmp_path, monkeypatch, ending):
    path = tmp_path / f"figure{ending}"
    path.write_text("before")

    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(OSError, match="No space left") as failure, style.drawing(path):
        pass
    assert failure.value.filename == str(path)
    assert [each.name for each in tmp_path.iterdir()] == [path.name]
    assert path.read_text() == "before"


def test_a_figure_of_a_command_has_the_second_line_and_no_file_beside_it(tmp_path):
    with style.captioned("mlp on digits"), style.drawing(tmp_path / "one.png") as (figure, _):
        pass
    assert "mlp on digits" in [text.get_text() for text in figure.texts]
    assert [path.name for path in tmp_path.iterdir()] == ["one.png"]
