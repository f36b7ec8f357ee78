"""A loss, a metric and a callback of a user's own in a study: swept, ranked by, and part of each trial."""

from __future__ import annotations

import pytest

from unlocked import Callback, register_callback, register_loss, register_metric, sweep


@pytest.fixture(autouse=True, scope="module")
def own(plug_ins_leave_with_their_tests):
    @register_loss("scaled_s", of="classes")
    def scaled(output, target, factor: float = 1.0):
        return -factor * output.log_softmax(1).gather(1, target[:, None])[:, 0]

    @register_metric("sure_s", of="classes", higher_is_better=True)
    def sure(outputs, targets):
        return outputs.softmax(1).amax(1).mean()

    @register_callback("counts_s")
    class Counts(Callback):
        def on_epoch_end(self, run, epoch, metrics):
            run.log({"counted": epoch * run.config.objective["factor"]})


GIVEN = ["objective.loss=scaled_s", "sweep.space.objective.factor=[0.0,1.0]", "train.epochs=1"]


def test_a_study_is_ranked_by_a_metric_of_ones_own(study):
    summary = sweep(study(*GIVEN, "metrics=[sure_s]", "sweep.metric=val/sure_s"))
    found = [row.seeds["0"]["val/sure_s"] for row in summary["rows"]]
    assert summary["best"]["mean"] == max(found) > min(found)  # the direction is that of its registration


def test_a_study_is_ranked_by_what_a_callback_logs(study):
    summary = sweep(study(*GIVEN, "callbacks=[counts_s]", "sweep.metric=counted", "sweep.direction=minimize"))
    assert summary["best"] == {"group": {"objective.factor": "0.0"}, "mean": 0.0, "seeds": 1}
