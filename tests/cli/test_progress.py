"""The progress display: what the line of an epoch says."""

from __future__ import annotations

import io
import json
import math
import shlex
from argparse import Namespace
from pathlib import Path

import pytest
from rich.text import Text

from unlocked.cli import words
from unlocked.cli.ending import how_to_get_the_control, print_summary
from unlocked.cli.progress import Display
from unlocked.engines import ENGINES
from unlocked.schema.keys import TrackingConfig

VALUES = {"time/steps_per_second": 100.0, "val/accuracy": 0.5}


def line(capsys, monitor="accuracy", **values):
    display = Display()
    display._epochs, display.monitor = 10, monitor
    display.epoch(10, VALUES | values)
    return capsys.readouterr().out.strip()


def test_the_cosines_and_the_ratio_of_norms_stand_together_module_by_module(capsys):
    aligned = {
        "align/module_10": 0.5,
        "align/module_2": -0.25,
        "align/per_example/module_2": 0.125,
        "align/per_example/module_10": 0.0,
        "align/norm_ratio/module_2": 12.34,
        "align/norm_ratio/module_10": 0.051,
    }
    assert line(capsys, **{"train/loss": 1.0}, **aligned) == (
        "epoch 10/10  loss 1.0000  val/accuracy 0.5000  100 steps/s  align -0.25 +0.50  per example +0.12 +0.00  "
        "norm ratio 12 0.051"
    )


def test_a_scheme_that_records_no_loss_has_none_in_its_line(capsys):
    assert line(capsys) == "epoch 10/10  val/accuracy 0.5000  100 steps/s"


def test_the_metric_that_the_task_follows_stands_in_the_line_and_no_number_twice(capsys):
    measured = {"val/loss": 76.5, "val/frechet": 76.5}
    said = line(capsys, monitor="frechet", **{"train/loss": 2.0}, **measured)
    assert said == "epoch 10/10  loss 2.0000  val/accuracy 0.5000  val/frechet 76.5000  100 steps/s"
    assert "val/loss 2.0000  val/accuracy" in line(capsys, monitor="loss", **{"val/loss": 2.0})


def test_the_end_names_the_figures_of_the_run(tmp_path, capsys):
    (tmp_path / "figures").mkdir()
    for name in ("samples.png", "learning_curves.png", "words.txt"):
        (tmp_path / "figures" / name).touch()
    summary = {
        "metrics": {"test/loss": 1.0},
        "wait_fraction": None,
        "engine": "inprocess",
        "steps_per_second": 10.0,
        "scheme": "backprop",
        "tested": "last",
        "seconds": 1.0,
        "run_dir": str(tmp_path),
    }
    print_summary(summary, TrackingConfig(uri="off"))
    assert "  in figures/: learning_curves, samples\n" in capsys.readouterr().out


def test_the_end_says_how_far_beyond_training_the_test_split_is(tmp_path, capsys):
    summary = {
        "metrics": {"test/accuracy": 0.1267, "val/accuracy": 0.95},
        "engine": "inprocess",
        "wait_fraction": None,
        "steps_per_second": 10.0,
        "scheme": "backprop",
        "tested": "best",
        "tested_on": "level 40, harder than all that was trained on (levels up to 8; chance about 0.125)",
        "seconds": 1.0,
        "run_dir": str(tmp_path),
    }
    print_summary(summary, TrackingConfig(uri="off"), monitor="accuracy")
    said = "accuracy 0.1267, and 0.9500 of the validation split, which is as trained on"
    assert f"  test split: {summary['tested_on']}: {said}\n" in capsys.readouterr().out


def test_a_search_has_no_control_whose_lower_modules_learn_nothing():
    def told(preset: str) -> str:
        return how_to_get_the_control(Namespace(config=preset, overrides=[], resume=None, imports=[]), blocks=2)

    assert told("evolved/xor_cma_es") == ""
    assert told("xor/dfa") == "unlocked train xor/dfa scheme.name=frozen"


def test_a_run_says_how_many_workers_try_its_candidates():
    assert ENGINES.get("population")().place(3) == "3 Ray workers that try the candidates"


class Terminal(io.StringIO):
    encoding = "utf-8"

    def isatty(self):
        return True


@pytest.mark.parametrize("width", [80, 120])
def test_a_terminal_shows_curves_alignment_and_waits_and_no_line_that_is_too_long(width, monkeypatch):
    monkeypatch.setenv("COLUMNS", str(width))
    monkeypatch.setenv("TERM", "xterm-256color")
    shown = Terminal()
    monkeypatch.setattr("sys.stdout", shown)
    display = Display()
    display._epochs = 4
    display._task = display._bar.add_task("cdni", total=40, status="")
    waits = {"time/wait_fraction/module_0": 0.62, "time/wait_fraction/module_1": 0.05}
    for epoch in range(1, 5):
        display.segment(10 * epoch, {"train/loss": 1 / epoch, "time/steps_per_second": 100.0} | waits)
        aligned = {
            f"align/{kind}module_{k}": 0.3 + k / 4 for kind in ("", "per_example/", "norm_ratio/") for k in (0, 1)
        }
        display.epoch(epoch, VALUES | {"train/loss": 1 / epoch, "val/loss": 2.0, "val/accuracy": 0.2 * epoch} | aligned)
    display.console.print(display._picture())
    text = Text.from_ansi(shown.getvalue()).plain
    assert max(len(line.rstrip()) for line in text.splitlines()) <= width
    assert "loss          1 █▃▁▁ 0.25" in text
    assert "val/accuracy  0.2 ▁▃▅█ 0.8  best 0.8" in text
    assert "alignment     0: +0.30  1: +0.55  (module 0: downhill, by a detour)" in text
    assert "waiting       0: 62%  1: 5%  (module 1 sets the pace)" in text
    assert ("per example" in text) == (width > 80)


@pytest.mark.parametrize(
    ("shares", "word"),
    [
        ([0.01, 0.02], "they hardly wait"),
        ([0.6, 0.55], "mostly waiting"),
        ([0.3, 0.25], "all wait about as long"),
        ([0.3] * 9 + [0.1], "10 modules, 9: 10% to 0: 30%  (module 9 sets the pace)"),
    ],
)
def test_waits_have_a_word_on_what_they_mean(shares, word):
    assert word in words.waiting(shares)


def test_many_points_become_a_line_of_bars_of_one_width():
    assert len(words.spark(list(range(1000)))) == words.WIDTH
    assert words.spark([1.0, math.nan, 2.0], plain=True) == "_#"
    assert words.alignment({0: math.nan}) == ""


def test_the_end_says_where_the_model_is_and_what_the_control_reached(unlocked, tmp_path):
    small = ["parallel.engine=inprocess", "parallel.threads=1", "tracking.uri=off", "tracking.figures=false"]
    first = unlocked("train", "quickstart", *small, "train.epochs=2")
    assert "frozen control: no run of this configuration yet; to get one:\n    unlocked train quickstart" in first.out
    (how,) = (line.strip() for line in first.out.splitlines() if line.strip().startswith("unlocked train"))
    assert how.endswith("train.epochs=2 scheme.name=frozen")
    control = unlocked(*shlex.split(how)[1:], "--json")
    value = json.loads(control.out)["metrics"]["test/accuracy"]
    again = unlocked("train", "quickstart", *small, "train.epochs=2", "seed=1", "scheme.name=backprop")
    (beside,) = (line for line in again.out.splitlines() if "frozen control" in line)
    assert f"test/accuracy {value:.4f} (one seed, higher is better); backprop is " in beside
    (model,) = (line.partition(": ")[2] for line in again.out.splitlines() if line.startswith("  model: "))
    assert (Path(model) / "MLmodel").is_file()
    assert f"  new inputs: unlocked predict {Path(model).parent} FILE" in again.out.splitlines()
    other = unlocked("train", "quickstart", *small, "train.epochs=1")
    assert "no run of this configuration yet" in other.out


def test_of_a_net_of_one_block_there_is_no_control_and_no_second_module(unlocked):
    words = ("scheme.name=cdni", "train.steps=3", "data.batch_size=64", "tracking.figures=false", "tracking.uri=off")
    told = unlocked("train", "classics/perceptron", *words).out
    assert "one module learns by backprop, also with scheme.name=cdni, and a net of one block has no more" in told
    assert "parallel.modules=2" not in told
