"""The progress display: what the line of an epoch says."""

from __future__ import annotations

from unlocked.cli.progress import Display

VALUES = {"time/steps_per_second": 100.0, "val/accuracy": 0.5}


def line(capsys, **values):
    display = Display()
    display._epochs = 10
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
