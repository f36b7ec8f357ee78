"""What a run says of itself while it trains, each once."""

from unlocked import train
from unlocked.loop.watch import Watch


def watched(*seen, helps="more of M helps"):
    notes = []
    watch = Watch(notes.append, helps)
    for step, values in enumerate(seen, 1):
        watch.see(step, values)
    return notes


def test_a_loss_far_above_its_lowest_is_told_once():
    losses = [{"train/loss": loss} for loss in (2.0, 1.0, 0.5, 2.4, 3.0, 9.0)]
    (note,) = watched(*losses)
    assert note.startswith("step 5: the loss diverges: 3, from 0.5 at its lowest")
    assert "optimizer.clip_norm" in note
    assert watched(*losses[:3]) == []


def test_a_module_whose_alignment_stays_at_zero_does_not_learn():
    values = {"align/module_0": 0.01, "align/module_1": 0.5}
    (note,) = watched(values, values, values, values)
    assert note.startswith("step 3: module 0 does not learn: at 3 probes in a row")
    assert note.endswith("more of M helps")
    assert watched(values, values, {"align/module_0": 0.3}, values, values) == []


def test_dead_and_saturated_units_are_told_with_their_module():
    notes = watched({"units/dead/module_1": 0.9}, {"units/saturated/module_0": 0.6, "units/dead/module_0": 0.4})
    assert [note.partition(";")[0] for note in notes] == [
        "step 1: 90% of the rectified units of module 1 give 0 for every example of the probe",
        "step 2: 60% of the outputs of module 0's sigmoids are at their flat ends",
    ]


def test_a_run_whose_module_does_not_learn_says_so(small, reporter, monkeypatch):
    monkeypatch.setattr("unlocked.loop.trainer.alignments", lambda probed: {"align/module_0": 0.001})
    train(small("train.probe_every=1", "data.examples=64", "data.batch_size=32"), reporter=reporter)
    (note,) = [note for note in reporter.notes if "module 0 does not learn" in note]
    assert "scheme.sg.lr" in note
