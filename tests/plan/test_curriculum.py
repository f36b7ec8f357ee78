"""Curricula that no plan can be made of, each refused in one line."""

import pytest

from unlocked.config import load_config
from unlocked.errors import ConfigError
from unlocked.plan.make import make_plan
from unlocked.plan.plan import load_data

FEW = ["data.options.episodes=64", "model.hidden=4", "model.rows=8", "model.columns=4"]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["data.options.level=2", "data.options.last=2"], "train.curriculum: copy has no level after 2, at which"),
        (["train.curriculum=-1"], "train.curriculum: must be greater than 0, below which val/bits never fall; got -1"),
    ],
)
def test_a_curriculum_that_leads_nowhere_is_refused(words, said):
    config = load_config("memory/copy", [*FEW, "data.options.level=2", "data.options.test_level=20", *words])
    with pytest.raises(ConfigError) as error:
        make_plan(config, load_data(config))
    assert said in str(error.value)


def test_a_return_that_ends_a_stage_may_be_below_zero():
    pytest.importorskip("gymnasium")
    stages = "data.options={environment: Pendulum-v1, starts: 6, levels: [{g: 2.0}, {g: 10.0}]}"
    config = load_config("evolved/pendulum", [stages, "data.batch_size=2", "train.curriculum=-900"])
    assert make_plan(config, load_data(config)).config.train.curriculum == -900
