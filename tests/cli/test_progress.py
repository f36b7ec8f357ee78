"""The progress display: what the line of an epoch says."""

from __future__ import annotations

from unlocked.cli.progress import Display, print_summary
from unlocked.schema.keys import TrackingConfig

VALUES = {"time/steps_per_second": 100.0, "val/accuracy": 0.5}


def line(capsys, monitor="accuracy", **values):
    display = Display()
    display._epochs, display._monitor = 10, monitor
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
