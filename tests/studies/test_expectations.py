"""A study of presets: each trial is that preset, and what it promises is held against the means over the seeds."""

from pathlib import Path

import pytest

from unlocked import load_config, sweep
from unlocked.errors import ConfigError
from unlocked.studies.space import Space

ONE = """
extends: quickstart
parallel: {engine: inprocess}
optimizer: {lr: 1.0e-3}
schemes: {dfa: {optimizer: {lr: 3.0e-4}}}
expect:
  cdni: {test/accuracy: {min: 0.9}}
  dfa: {test/accuracy: {min: 0.85, max: 0.9}}
"""
TWO = "extends: mnist1d/base\nparallel: {engine: inprocess}\noptimizer: {lr: 2.0e-3}\n"


@pytest.fixture
def presets(study, tmp_path: Path):
    (tmp_path / "experiments").mkdir()
    for name, text in (("one", ONE), ("two", TWO)):
        (tmp_path / "experiments" / f"{name}.yaml").write_text(text)
    return lambda *more: study(
        "sweep.space.preset=[one,two]", "sweep.space.scheme.name=[cdni,dfa]", "sweep.space.seed=[0,1]", *more
    )


def test_a_trial_is_its_preset_with_the_study_s_tracking(presets):
    space = Space(presets("tracking.experiment=mine"))
    points = space.grid()
    assert len(points) == 8
    config = space.config({"preset": "one", "scheme.name": "dfa", "seed": 1})
    assert (config.optimizer.lr, config.scheme.name, config.seed) == (3e-4, "dfa", 1)
    assert (config.data.name, config.tracking.experiment, config.name) == ("digits", "mine", "small")
    assert config.train.epochs == load_config("one").train.epochs  # not the study's
    config = space.config({"preset": "two", "scheme.name": "cdni", "seed": 0})
    assert (config.data.name, config.optimizer.lr) == ("mnist1d", 2e-3)


def test_conditions_look_into_the_preset(presets):
    space = Space(presets("sweep.space.optimizer.lr={choice: [0.1, 0.2], when: {data.name: mnist1d}}"))
    names = [point["preset"] for point in space.grid() if "optimizer.lr" in point]
    assert set(names) == {"two"}
    assert len(names) == 8


def test_promises_are_held_against_means(presets, trained, tmp_path):
    summary = sweep(presets())
    assert len(trained) == 8
    assert summary["promises"] == 3 - 1  # cdni's and dfa's, of the one preset that promises anything
    # cdni 0.90 and 0.91; dfa 0.80 and 0.81
    assert summary["broken"] == ["one dfa: test/accuracy is 0.805 over 2 seeds, expected at least 0.85"]
    lines = Path(summary["matrix"]).read_text().splitlines()
    assert lines[0] == "| | metric | cdni | dfa | parameters | steps/s |"
    assert lines[2] == "| one | test/accuracy | 0.905 [0.9, 0.91] ✓ | 0.805 [0.8, 0.81] ✗ | 1,234 | 50 |"
    assert len(lines) == 3  # the other preset promises nothing


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("sweep.space.preset=[one,tow]", "config: no preset 'tow'; did you mean 'two'"),
        ("sweep.space.preset=[{optimizer.lr: 1}]", "is no name of a preset"),
    ],
)
def test_wrong_presets_are_one_line(presets, override, said):
    with pytest.raises(ConfigError) as error:
        Space(presets(override))
    assert said in str(error.value)


def test_presets_come_first(study):
    with pytest.raises(ConfigError, match="chosen by the dimension preset, which is the first"):
        Space(study("sweep.space.seed=[0]", "sweep.space.preset=[quickstart]"))
