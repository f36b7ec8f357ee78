"""Options of a task, under `objective`: checked as a model's are, dropped with the task, and no part of older runs."""

from __future__ import annotations

import pytest
from torch import Tensor

from unlocked import load_config, register_task
from unlocked.config import from_tree, to_dict
from unlocked.errors import ConfigError
from unlocked.plan.make import make_plan
from unlocked.plan.plan import load_data
from unlocked.tasks import TASKS
from unlocked.tasks.classification import Classification
from unlocked.tracking import flatten
from unlocked.tracking.identity import config_hash


@pytest.fixture
def mine():
    @register_task("softened")
    class Softened(Classification):
        def __init__(self, softness: float = 0.0, words: str = "few"):
            if softness >= 1:
                raise ValueError("softness is a share")
            self.softness = softness

        @classmethod
        def misfit(cls, data_task, example):
            return None

        def loss(self, output: Tensor, target: Tensor) -> Tensor:
            return (1 - self.softness) * super().loss(output, target)

    yield Softened
    del TASKS._entries["softened"], TASKS._facts["softened"]


def test_options_reach_the_task(mine):
    config = load_config("quickstart", ["task=softened", "objective.softness=0"])
    assert config.objective == {"softness": 0.0}
    assert isinstance(config.objective["softness"], float)
    plan = make_plan(load_config("quickstart", ["task=softened", "objective.softness=0.5"]), load_data(config))
    assert plan.make_task().softness == 0.5
    assert from_tree(to_dict(plan.config)) == plan.config


@pytest.mark.parametrize(
    ("overrides", "line"),
    [
        (["objective.soft=1"], "objective.soft: unknown option of softened 'soft'; did you mean 'softness'?"),
        (["objective.softness=much"], "objective.softness: 'much' is not of type float"),
        (["objective.softness=2"], "objective: softened failed: softness is a share"),
        (
            ["task=translation", "objective.softness=0.5"],
            "objective.softness: translation has no options",
        ),
    ],
)
def test_options_that_it_does_not_take_are_one_line(mine, overrides, line):
    with pytest.raises(ConfigError) as error:
        load_config("quickstart", ["task=softened", *overrides])
    assert str(error.value).startswith(line)


def test_another_task_drops_the_options_of_the_one_before(mine, tmp_path):
    (tmp_path / "mine.yaml").write_text("extends: quickstart\ntask: softened\nobjective: {softness: 0.2}\n")
    assert load_config(tmp_path / "mine.yaml", ["objective.words=many"]).objective == {"softness": 0.2, "words": "many"}
    assert load_config(tmp_path / "mine.yaml", ["task=classification"]).objective == {}


def test_runs_without_options_are_those_from_before_there_were_any():
    params = flatten(to_dict(load_config("quickstart", [])))
    before = {key: value for key, value in params.items() if key != "objective"}
    assert params["objective"] == "{}"
    assert config_hash(params, {}) == config_hash(before, {})
