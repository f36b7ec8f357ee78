"""Acting: episodes side by side are those one by one, starts are unseen, and only schemes that try whole nets train."""

import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from unlocked import train
from unlocked.config import load_config
from unlocked.data.sets.environments import EXTRA, Environment
from unlocked.errors import ConfigError, DataError, RunFailed
from unlocked.plan.plan import load_data
from unlocked.schemes import SCHEMES
from unlocked.tasks import make_task
from unlocked.tracking import read
from unlocked_models.contract.chain import Chain

gymnasium = pytest.importorskip("gymnasium")

FEW = ["data.options.starts=6", "data.options.validations=3", "data.options.tests=3"]


def data_of(environment="CartPole-v1", *words):
    options = [f"data.options.environment={environment}", *FEW, *words]
    return load_data(load_config("evolved/cartpole", options))


def net(n_in, n_out, seed=0):
    torch.manual_seed(seed)
    return Chain([nn.Sequential(nn.Linear(n_in, 4), nn.Tanh()), nn.Linear(4, n_out)]).eval()


@pytest.mark.parametrize(
    ("name", "scale"),
    [("CartPole-v1", [4.8, 1, 0.41887903, 1]), ("Pendulum-v1", [1, 1, 8]), ("MountainCar-v0", [1.2, 0.07])],
)
def test_episodes_side_by_side_are_those_of_gymnasium_one_by_one(name, scale):
    data = data_of(name, "data.options.options={max_episode_steps: 60}")
    chain, batch = net(len(scale), data.n_outputs), data.test.batch(torch.arange(3))
    found = make_task("control", {}).episodes(chain, batch)
    for i, seed in enumerate(batch.y.tolist()):
        env = gymnasium.make(name, max_episode_steps=60)
        seen, total, steps, over = env.reset(seed=seed)[0], 0.0, 0, False
        np.testing.assert_allclose(batch.x[i].numpy(), seen / np.array(scale), rtol=1e-6)
        while not over:
            out = chain(torch.from_numpy(np.asarray(seen / np.array(scale), np.float32))[None])[0].detach()
            low, high = getattr(env.action_space, "low", None), getattr(env.action_space, "high", None)
            act = int(out.argmax()) if low is None else np.clip(out.numpy(), low, high)
            seen, reward, ended, cut, _ = env.step(act)
            total, steps, over = total + reward, steps + 1, ended or cut
        assert steps == found.steps[i]
        assert total == pytest.approx(
            found.returns[i], abs=1e-3
        )  # passes of one row and of three differ in the last bit


def test_starts_of_the_splits_are_all_different_and_go_by_the_datas_seed():
    data, again, other = data_of(), data_of(), data_of("CartPole-v1", "data.seed=1")
    seeds = torch.cat([data.train.y, data.validation.y, data.test.y])
    assert len(set(seeds.tolist())) == 12
    assert torch.equal(data.train.y, again.train.y)
    assert not torch.equal(data.train.y, other.train.y)


def test_levels_of_a_curriculum_change_the_physics():
    levels = "data.options.levels=[{length: 1.0}, {length: 0.25, gravity: 5.0}]"
    first, second = (data_of("CartPole-v1", levels, f"data.options.level={level}") for level in (1, 2))
    assert first.example == second.example
    made = [Environment.of(data.train.extras[EXTRA]).make().unwrapped for data in (first, second)]
    assert [env.length for env in made] == [1.0, 0.25]
    assert [env.gravity for env in made] == [9.8, 5.0]


def test_a_curriculum_of_stages_goes_on_from_a_return(tmp_path):
    words = [
        *FEW,
        "data.options.levels=[{length: 0.5}, {length: 0.4}, {length: 0.3}]",
        "data.options.options={max_episode_steps: 12}",
        "train.curriculum=2",
        "scheme.strategy.population=4",
        "train.steps=4",
        "train.evaluate_steps=1",
        "tracking.uri=off",
        "tracking.figures=false",
        f"tracking.runs={tmp_path}",
    ]
    summary = train(load_config("evolved/cartpole", words))
    assert [value for _, value in read(Path(summary["run_dir"]))["curriculum/level"]] == [2, 3, 3, 3]
    with pytest.raises(ConfigError, match=r"scheme\.keep: best compares losses of several levels"):
        load_config("evolved/cartpole", [*words, "scheme.keep=best"])


def test_a_run_resumes_evaluates_and_is_opened_as_any_other(tmp_path):
    short = [*FEW, "data.options.options={max_episode_steps: 12}", "scheme.strategy.population=4", "train.steps=3"]
    off = ["train.evaluate_steps=1", "tracking.uri=off", "tracking.figures=false", f"tracking.runs={tmp_path}"]
    run = train(load_config("evolved/cartpole", [*short, *off]))
    assert 8 <= run["metrics"]["test/return"] <= 12
    start = data_of("CartPole-v1", "data.options.options={max_episode_steps: 12}").test.batch(torch.arange(3))
    found = make_task("control", {}).episodes(Chain(list(run.model())).eval(), start)
    assert found.returns.mean() == pytest.approx(run["metrics"]["test/return"])


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["data.options.environment=CartPool-v1"], "data.options.environment: CartPool-v1: "),
        (["data.options.levels=[{lenght: 1.0}]"], "data.options: CartPole-v1 has no number 'lenght'"),
        (["data.options.tests=0"], "data.options.tests: must be at least 1, got 0"),
        (["data.options.level=2"], "data.options.level: 2, but data.options.levels has 0"),
        (["data.options.level=0"], "data.options.level: must be at least 1, got 0"),
        (["data.options.environment=Blackjack-v1"], "data.options.environment: observations of Blackjack-v1 are Tuple"),
    ],
)
def test_what_no_environment_has_is_said_in_one_line(words, said):
    with pytest.raises(DataError) as failure:
        load_data(load_config("evolved/cartpole", words))
    assert said in str(failure.value)
    assert "\n" not in str(failure.value)


class Growing(gymnasium.Env):
    """Its second observation is larger than its space."""

    observation_space = gymnasium.spaces.Box(-1, 1, (2,))
    action_space = gymnasium.spaces.Discrete(2)

    def reset(self, seed=None, options=None):
        return np.zeros(2, np.float32), {}

    def step(self, action):
        return np.zeros(3, np.float32), 1.0, False, False, {}


def test_an_observation_that_is_not_of_its_space_is_said_in_one_line():
    gymnasium.register("GrowingOfOurs-v0", Growing)
    data = data_of("GrowingOfOurs-v0")
    said = r"an observation of GrowingOfOurs-v0 has the shape \(3,\), its space \(2,\)"
    with pytest.raises(RunFailed, match=said):
        make_task("control", {}).episodes(net(2, 2), data.test.batch(torch.arange(3)))


def test_without_gymnasium_it_says_how_to_get_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "gymnasium", None)
    with pytest.raises(DataError, match=r"gymnasium, which is missing; pip install 'unlocked\[control\]'"):
        data_of()


def test_schemes_that_need_the_loss_of_an_output_are_refused_with_the_reason():
    able, said = [], []
    for scheme in SCHEMES:
        try:
            load_config("evolved/cartpole", [f"scheme.name={scheme}"])
            able.append(scheme)
        except ConfigError as error:
            said.append(str(error).startswith(f"scheme.name: {scheme} cannot train"))
    assert all(said)
    assert able == ["evolution"]


@pytest.mark.parametrize(
    ("strategy", "keep", "generations"), [("cma_es", "centre", 20), ("snes", "centre", 20), ("cosyne", "last", 8)]
)
def test_a_pole_is_held_up_from_starts_that_were_never_seen(strategy, keep, generations, seed_to_learn, tmp_path):
    words = [
        f"scheme.strategy.name={strategy}",
        f"scheme.keep={keep}",
        f"train.steps={generations}",
        "train.evaluate_steps=4",
        f"seed={seed_to_learn}",
        "tracking.uri=off",
        "tracking.figures=false",
        f"tracking.runs={tmp_path}",
    ]
    assert train(load_config("evolved/cartpole", words))["metrics"]["test/return"] >= 450  # of 500, mean of 20
