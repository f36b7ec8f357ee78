"""Callbacks: told of every event, on any engine; they log, end the run with a reason, and go on where they were."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from unlocked import Callback, load_config, register_callback
from unlocked.callbacks import CALLBACKS
from unlocked.config import from_tree, to_dict
from unlocked.errors import ConfigError, RunFailed, RunInterrupted
from unlocked.loop.train import resume, train
from unlocked.runs.checkpoint import Checkpoints
from unlocked.tracking import read

TOLD: list[tuple] = []


@pytest.fixture(autouse=True)
def own(monkeypatch):
    """Those that a test registers are its own."""
    for kept in ("_entries", "_facts"):
        monkeypatch.setattr(CALLBACKS, kept, dict(getattr(CALLBACKS, kept)))
    TOLD.clear()


def register(name, **methods):
    return register_callback(name)(type(name, (Callback,), methods))


class Tells(Callback):
    """Everything that it is told."""

    def __init__(self, word: str = "a"):
        self.word = word

    def on_train_begin(self, run):
        TOLD.append((self.word, "begin", run.step))

    def on_step_end(self, run, step, values):
        TOLD.append((self.word, "step", step, run.step, values["train/loss"]))

    def on_evaluate(self, run, split, metrics):
        TOLD.append((self.word, split, run.step, metrics["accuracy"]))

    def on_epoch_end(self, run, epoch, metrics):
        TOLD.append((self.word, "epoch", epoch, run.epoch, metrics["val/accuracy"]))

    def on_train_end(self, run):
        TOLD.append((self.word, "end", run.step, run.metrics["test/accuracy"]))


def test_each_event_is_told_once_in_its_order(small):
    register_callback("tells")(Tells)
    summary = train(small("train.epochs=2", "callbacks=[tells]", "scheme.lag=3"))
    total, per_epoch, metrics = summary["steps"], summary["steps"] // 2, summary["metrics"]
    assert [each[1] for each in TOLD if each[1] != "step"] == [
        *("begin", "validation", "epoch", "validation", "epoch", "test", "end")
    ]
    steps = [each for each in TOLD if each[1] == "step"]
    assert [(each[2], each[3]) for each in steps] == [(t, t) for t in range(1, total + 1)]
    assert TOLD.index(("a", "validation", per_epoch, TOLD[per_epoch + 1][3])) == per_epoch + 1
    assert TOLD[-1] == ("a", "end", total, metrics["test/accuracy"])
    last = [each[4] for each in steps if each[2] > (total - 1) // 20 * 20]
    assert metrics["train/loss"] == pytest.approx(sum(last) / len(last))  # of the last segment


def test_they_change_no_number(small):
    register_callback("tells")(Tells)
    plain, told = train(small("scheme.lag=2")), train(small("scheme.lag=2", "callbacks=[tells]"))
    timing = ("time/",)
    assert {k: x for k, x in plain["metrics"].items() if not k.startswith(timing)} == {
        k: x for k, x in told["metrics"].items() if not k.startswith(timing)
    }


def test_without_one_that_watches_steps_segments_are_handed_over_as_before(small, monkeypatch):
    from unlocked.engine.group import InProcessGroup

    handed = []

    def run(self, segments, checkpoint_at, before=InProcessGroup.run):
        segments = list(segments)
        handed.append(len(segments))
        return before(self, segments, checkpoint_at)

    monkeypatch.setattr(InProcessGroup, "run", run)
    register("silent", on_evaluate=lambda self, run, split, metrics: None)
    train(small("train.epochs=1", "train.log_every=5", "callbacks=[silent]"))
    assert handed[0] > 1  # an epoch at once


def test_an_epoch_ends_also_if_nothing_else_is_due(small):
    epochs = []
    register("counts", on_epoch_end=lambda self, run, epoch, metrics: epochs.append(epoch))
    train(small("train.epochs=5", "train.evaluate_every=5", "train.checkpoint_every=5", "callbacks=[counts]"))
    assert epochs == [1, 2, 3, 4, 5]


def test_what_they_log_are_curves_of_the_run(small):
    class Norms(Callback):
        def on_step_end(self, run, step, values):
            run.log({"doubled": 2 * values["train/loss"]})

        def on_epoch_end(self, run, epoch, metrics):
            run.log({"norm/first": run.weights()["0.1.weight"].norm()})

    register_callback("norms")(Norms)
    summary = train(small("train.epochs=2", "callbacks=[norms]"))
    history = read(Path(summary["run_dir"]))
    assert [step for step, _ in history["doubled"]] == list(range(1, summary["steps"] + 1))
    assert [step for step, _ in history["norm/first"]] == [summary["steps"] // 2, summary["steps"]]
    assert summary["metrics"]["norm/first"] == history["norm/first"][-1][1] > 0


def test_the_net_can_be_asked_and_is_the_one_that_was_evaluated(small):
    found = []

    class Asks(Callback):
        def on_evaluate(self, run, split, metrics):
            data = getattr(run.data, split)
            right = (run.network()(data.x).argmax(1) == data.y).float().mean()
            found.append((float(right), metrics["accuracy"]))

    register_callback("asks")(Asks)
    train(small("train.epochs=2", "callbacks=[asks]", "model.norm=batch"))
    assert len(found) == 3
    for own, told in found:
        assert own == pytest.approx(told)


@pytest.mark.parametrize("watches", ["on_step_end", "on_epoch_end"])
def test_one_ends_the_run_with_a_reason(small, reporter, watches):
    class Ends(Callback):
        pass

    def ends(self, run, count, values):
        if count == (21 if watches == "on_step_end" else 2):
            run.stop("seen\nenough")

    setattr(Ends, watches, ends)
    register_callback("ends")(Ends)
    summary = train(small("train.epochs=9", "train.log_every=5", "callbacks=[ends]", "scheme.lag=3"), reporter=reporter)
    assert summary["stopped"] == "seen enough"
    if watches == "on_step_end":  # at the end of a segment, and of another one that late messages need
        assert summary["steps"] == 30
    else:
        assert summary["epochs"] == 2
    assert f"stopped early at step {summary['steps']}: seen enough" in reporter.notes
    history = read(Path(summary["run_dir"]))
    assert history["val/accuracy"][-1][0] == summary["steps"]
    assert Checkpoints(Path(summary["run_dir"])).last_step() == summary["steps"]
    assert resume(Path(summary["run_dir"]))["steps"] == summary["steps"]  # it stays stopped


def test_a_run_can_be_ended_before_its_first_step(small):
    register("never", on_train_begin=lambda self, run: run.stop("not today"))
    summary = train(small("callbacks=[never]"))
    assert (summary["steps"], summary["stopped"]) == (0, "not today")
    assert "test/accuracy" in summary["metrics"]


class Counts(Callback):
    """Logs how many steps it has seen, and the mean of the weights that it keeps."""

    def __init__(self):
        self.seen, self.kept = 0, torch.zeros(2)

    def on_step_end(self, run, step, values):
        self.seen += 1
        self.kept = self.kept + torch.tensor([1.0, values["train/loss"]])
        run.log({"seen": self.seen, "sum": float(self.kept[1])})

    def state_dict(self):
        return {"seen": self.seen, "kept": self.kept}

    def load_state_dict(self, state):
        self.seen, self.kept = state["seen"], state["kept"]


def test_state_survives_an_interruption_and_a_resumed_run_logs_what_an_unbroken_one_does(small):
    class Stop:
        def __init__(self, after):
            self.left = after

        @property
        def asked(self):
            self.left -= 1
            return self.left < 0

    register_callback("counts")(Counts)
    unbroken = train(small("callbacks=[counts]", "train.log_every=5", "scheme.lag=3", "name=whole"))
    with pytest.raises(RunInterrupted):
        train(small("callbacks=[counts]", "train.log_every=5", "scheme.lag=3", "name=parts"), stop=Stop(12))
    (folder,) = (Path(unbroken["run_dir"]).parent).glob("parts*")
    assert 0 < (Checkpoints(folder).last_step() or 0) < unbroken["steps"]
    resumed = resume(folder)
    assert resumed["metrics"]["seen"] == unbroken["metrics"]["seen"] == unbroken["steps"]
    assert resumed["metrics"]["sum"] == unbroken["metrics"]["sum"]
    assert read(folder)["sum"] == read(Path(unbroken["run_dir"]))["sum"]


@pytest.mark.parametrize("event", ["on_train_begin", "on_step_end", "on_evaluate", "on_epoch_end", "on_train_end"])
def test_one_that_fails_is_one_line_that_names_it_and_the_run_can_go_on(small, event):
    def fails(self, run, *what):
        raise LookupError("no such\nthing")

    whole = train(small("name=whole"))
    register("fails", **{event: fails})
    with pytest.raises(RunFailed) as error:
        train(small("callbacks=[fails]", "name=parts"))
    line = str(error.value)
    assert line.startswith(f"callbacks[0]: fails: {event} failed at ")
    assert "test_callbacks.py:" in line
    assert ": LookupError: no such; " in line
    assert len(line.splitlines()) == 1
    assert error.value.exit_code == 1
    (folder,) = (Path(whole["run_dir"]).parent).glob("parts*")
    if event == "on_train_begin":
        assert line.endswith("no step was saved yet")
    else:
        step = Checkpoints(folder).last_step()
        assert f"saved at step {step}; " in line
    register("mended", **{})
    CALLBACKS._entries["fails"] = CALLBACKS.get("mended")
    done = resume(folder)
    same = ("test/accuracy", "test/loss", "val/loss")
    assert {k: done["metrics"][k] for k in same} == {k: whole["metrics"][k] for k in same}


def test_a_state_that_no_file_gives_back_fails_and_loses_no_checkpoint(small):
    register("strange", state_dict=lambda self: {"opened": object()})
    with pytest.raises(RunFailed, match=r"callbacks\[0\]: strange: state_dict failed .* it gives more than tensors"):
        train(small("callbacks=[strange]", "name=strange"))


@pytest.mark.parametrize(
    ("values", "line"),
    [
        ({"val/accuracy": 1.0}, "log: val/accuracy is a metric of the run itself; give yours another name"),
        ({"lr": 1.0}, "log: lr is a metric of the run itself"),
        ({"mine": "high"}, "log: mine is str, not a number; write float(...) around it"),
        ({"50%": 1.0}, "log: '50%' is no name of a metric; use letters, digits and _ - . : / or a space"),
        ({3: 1.0}, "log: the name of a metric is a text, got 3"),
    ],
)
def test_what_cannot_be_logged_is_one_line(small, values, line):
    register("logs", on_epoch_end=lambda self, run, epoch, metrics: run.log(values))
    with pytest.raises(RunFailed) as error:
        train(small("callbacks=[logs]"))
    assert line in str(error.value)


def test_weights_in_the_middle_of_a_segment_are_refused(small):
    register("early", on_step_end=lambda self, run, step, values: run.weights())
    with pytest.raises(RunFailed, match="RuntimeError: weights: they are on the workers in the middle of a segment"):
        train(small("callbacks=[early]"))


@pytest.mark.parametrize(
    ("entries", "line"),
    [
        ("[stop_att]", "callbacks[0]: unknown callback 'stop_att'; did you mean 'stop_at'?"),
        ("[stop_at]", "callbacks[0].value: stop_at needs this option"),
        ("[{name: stop_at, valu: 1}]", "callbacks[0].valu: unknown option of stop_at 'valu'; did you mean 'value'?"),
        ("[{name: stop_at, value: high}]", "callbacks[0].value: 'high' is not of type float"),
        ("[{value: 1}]", "callbacks[0]: {'value': 1} is not a name such as stop_at, or a name and options: {name: "),
        ("[refuses_t]", "callbacks[0]: refuses_t failed at "),
    ],
)
def test_what_cannot_be_is_one_line(entries, line):
    def refuses(self):
        raise ValueError("never")

    register("refuses_t", __init__=refuses)
    with pytest.raises(ConfigError) as error:
        load_config("quickstart", [f"callbacks={entries}"])
    assert str(error.value).startswith(line)


def test_options_are_part_of_the_configuration():
    config = load_config("quickstart", ["callbacks=[{name: stop_at, value: 1}]"])
    assert config.callbacks == [{"name": "stop_at", "value": 1.0}]
    assert from_tree(to_dict(config)) == config


def test_what_is_no_callback_is_not_registered():
    with pytest.raises(TypeError, match=r"callback 'late': unknown event 'on_epoch_ends'; did you mean 'on_epoch_end'"):
        register_callback("late")(type("Late", (Callback,), {"on_epoch_ends": lambda self, run: None}))
    with pytest.raises(
        TypeError, match=r"on_epoch_end\(self, run\).* is called as on_epoch_end\(run, epoch, metrics\)"
    ):
        register_callback("few")(type("Few", (Callback,), {"on_epoch_end": lambda self, run: None}))


def test_the_run_ends_at_the_first_epoch_that_is_as_good(small):
    summary = train(small("train.epochs=9", "callbacks=[{name: stop_at, value: 0.5}]"))
    history = read(Path(summary["run_dir"]))["val/accuracy"]
    assert [value >= 0.5 for _, value in history] == [False] * (len(history) - 1) + [True]
    assert summary["stopped"].startswith("val/accuracy is 0.")


def test_a_metric_that_is_not_measured_yet_ends_nothing_and_one_that_never_is_is_told(small, reporter):
    more = ["train.epochs=4", "train.evaluate_every=2", "callbacks=[{name: stop_at, value: 0.0, metric: val/accuracy}]"]
    assert train(small(*more))["epochs"] == 2
    train(small("callbacks=[{name: stop_at, value: 0, metric: val/acuracy}]"), reporter=reporter)
    assert any("stop_at: unknown metric 'val/acuracy'; did you mean 'val/accuracy'?" in each for each in reporter.notes)
