"""A run's records as TensorBoard's events."""

import importlib.util

import pytest

from unlocked.errors import ConfigError
from unlocked.tracking import Recorder
from unlocked.tracking.tensorboard import write_events


@pytest.fixture
def run_dir(tmp_path):
    recorder = Recorder(tmp_path / "run")
    recorder.start({}, {})
    recorder.metrics(5, {"train/loss": 2.0, "val/accuracy": 0.5})
    recorder.metrics(10, {"train/loss": 1.0})
    recorder.close()
    (tmp_path / "run" / "config.yaml").write_text("name: digits\n")
    return tmp_path / "run"


def test_every_point_is_an_event_once(run_dir):
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    write_events(run_dir)
    events = EventAccumulator(str(write_events(run_dir)))  # the second time anew
    events.Reload()
    assert [(e.step, e.value) for e in events.Scalars("train/loss")] == [(5, 2.0), (10, 1.0)]
    assert events.Tags()["tensors"] == ["config/text_summary"]


def test_without_the_package_the_line_says_what_to_install(run_dir, monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ConfigError, match=r"tensorboard is not installed: pip install 'unlocked\[tensorboard\]'"):
        write_events(run_dir)


def test_a_folder_that_is_no_run_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: object())
    with pytest.raises(ConfigError, match="has no records of a run"):
        write_events(tmp_path)
