"""One trial, by itself."""

from __future__ import annotations

from pathlib import Path

from unlocked import resume, train
from unlocked.studies import trial as trial_module


def test_a_pruned_run_is_saved_and_goes_on(study):
    class Judge:
        def begun(self, number, seed, run):
            self.run = run

        def epoch(self, number, epoch, epochs, value):
            return epoch == 1

        def note(self, number, text): ...

    class Tracking:
        def __init__(self):
            self.tags = {}

        def write(self, *_): ...

    config = study("train.epochs=3", "data.validation=0.2")
    judge = Judge()
    outcome = trial_module.run_trial(trial_module.Job(0, config, "val/accuracy", {}), judge, Tracking())
    assert outcome.pruned == 1
    run = Path("runs") / judge.run
    assert not (run / "summary.json").exists()
    rest = resume(run)
    assert rest["epochs"] == 3
    assert rest["metrics"]["test/loss"] == train(config)["metrics"]["test/loss"]
