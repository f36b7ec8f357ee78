"""Transforms: what they may do to a minibatch, and that every module, replica and resumed run sees it alike."""

from __future__ import annotations

import copy
from dataclasses import replace

import pytest
import torch

from unlocked.config import load_config
from unlocked.data import RawData, Split, TrainBatches
from unlocked.data.digest import digest
from unlocked.data.transform import TRANSFORMS, PerExample, Transform, build_transforms, register_transform
from unlocked.errors import ConfigError, DataError
from unlocked.schema.renamed import RenamedKey
from unlocked.tasks import load

ROWS = Split(torch.arange(24.0)[:, None].expand(24, 3).contiguous(), torch.arange(24), {"place": torch.arange(24)})


class Noise(PerExample):
    """Adds noise, and says how much."""

    def __init__(self, deviation: float = 0.1):
        self.deviation = deviation

    def draw(self, n, batch, generator):
        return (torch.randn(n, *batch.x.shape[1:], generator=generator),)

    def apply(self, batch, *choices):
        noise = self.deviation * choices[0].to(batch.x)
        return replace(batch, x=batch.x + noise, extras={**batch.extras, "noise": noise})


class Mixup(Transform):
    """Mixes every example with another of its minibatch (Zhang et al. 2018)."""

    def __call__(self, batch, generator):
        other = torch.randperm(len(batch.y), generator=generator)
        share = torch.rand(len(batch.y), generator=generator)[:, None] * batch.progress
        return replace(batch, x=batch.x + share * (batch.x[other] - batch.x), extras={"partner": other})


class Doubled(Transform):
    evaluates = True

    def __init__(self, times: int = 2):
        self.times = times

    def __call__(self, batch, generator):
        return replace(batch, x=batch.x.flatten(1).repeat(1, self.times))


@pytest.fixture
def own():
    """Registered for one test."""
    for name, kind in (("noisy", Noise), ("mixed", Mixup), ("doubled", Doubled)):
        register_transform(name)(kind)
    yield
    for name in ("noisy", "mixed", "doubled"):
        TRANSFORMS._entries.pop(name)
        TRANSFORMS._facts.pop(name)


@pytest.mark.parametrize("entries", [["noisy"], ["mixed"], ["noisy", "mixed", "noisy"]])
def test_replicas_together_see_exactly_what_one_process_sees(own, entries):
    """Also of a transform that looks at several examples at once."""
    whole, *parts = (
        TrainBatches(ROWS, 12, seed=5, transforms=build_transforms(entries), shard=shard, steps=40)
        for shard in ((0, 1), (0, 3), (1, 3), (2, 3))
    )
    for step in (0, 1, 30):
        for what in ("x", "y"):
            seen = torch.stack([getattr(part, what)(step) for part in parts], 1).flatten(0, 1)
            assert torch.equal(seen, getattr(whole, what)(step))
        for name, extra in whole.extras(step).items():
            assert torch.equal(torch.stack([part.extras(step)[name] for part in parts], 1).flatten(0, 1), extra)


def test_a_minibatch_is_a_function_of_seed_and_step_alone(own):
    straight, jumping = (TrainBatches(ROWS, 8, seed=1, transforms=build_transforms(["noisy"])) for _ in range(2))
    expected = {step: (straight.extras(step)["noise"], straight.x(step)) for step in range(6)}
    for step in (5, 0, 3):
        assert torch.equal(jumping.x(step), expected[step][1])
        assert torch.equal(jumping.x(step), ROWS.x[jumping.indices(step)] + expected[step][0])
    assert not torch.equal(expected[0][0], expected[1][0])
    other = TrainBatches(ROWS, 8, seed=2, transforms=build_transforms(["noisy"]))
    assert not torch.equal(other.extras(0)["noise"], expected[0][0])


def test_draws_of_different_purposes_do_not_touch_each_other(own):
    both = TrainBatches(ROWS, 8, seed=1, transforms=build_transforms(["mixed", "noisy"]), steps=10)
    alone = TrainBatches(ROWS, 8, seed=1, transforms=build_transforms(["noisy"]), steps=10)
    assert torch.equal(both.extras(3)["noise"], alone.extras(3)["noise"])


def test_a_transform_sees_how_far_the_run_is(own):
    batches = TrainBatches(ROWS, 8, seed=1, transforms=build_transforms(["mixed"]), steps=10)
    assert torch.equal(batches.x(0), ROWS.x[batches.indices(0)])
    assert not torch.equal(batches.x(5), ROWS.x[batches.indices(5)])


def test_the_example_is_what_the_transforms_make_of_one(own):
    data = load("digits", validation=0.2, transforms=[{"name": "doubled", "times": 3}, "noisy"])
    assert data.example.in_shape == data.in_shape == (192,)
    assert [extra.name for extra in data.example.extras] == ["noise"]


@pytest.fixture
def evaluated(own):
    return load("digits", validation=0.2, transforms=["doubled"])


def test_evaluation_splits_hold_one_draw_of_what_goes_for_them_too(evaluated):
    plain = load("digits", validation=0.2)
    assert torch.equal(evaluated.test.x, plain.test.x.flatten(1).repeat(1, 2))
    assert torch.equal(evaluated.validation.x, plain.validation.x.flatten(1).repeat(1, 2))
    assert torch.equal(evaluated.train.x, plain.train.x)
    assert torch.equal(evaluated.train_shown.x, plain.train.x.flatten(1).repeat(1, 2))
    assert digest(evaluated) != digest(plain)


class Wrong(Transform):
    def __init__(self, how: str = "rows"):
        self.how = how

    def __call__(self, batch, generator):
        if self.how == "raises":
            raise RuntimeError("so it is")
        if self.how == "nothing":
            return None
        if self.how == "shape":
            return replace(batch, x=batch.x[:, :1])
        return replace(batch, x=torch.cat([batch.x, batch.x]))


@pytest.mark.parametrize(
    ("how", "said"),
    [
        ("raises", "data.transforms: wrong failed at "),
        ("nothing", "wrong gives a NoneType; it has to give a Batch"),
        ("rows", "wrong gives 4 rows of 2 examples; every example stays in its place"),
        ("shape", "has to go for evaluation too: evaluates = True"),
    ],
)
def test_a_transform_that_breaks_the_contract_is_told_in_one_line(own, how, said):
    register_transform("wrong")(Wrong)
    try:
        with pytest.raises(DataError) as caught:
            load("sunspots" if how == "shape" else "digits", transforms=[{"name": "wrong", "how": how}])
    finally:
        TRANSFORMS._entries.pop("wrong")
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


def test_what_is_no_transform_cannot_be_registered():
    with pytest.raises(TypeError, match="is not a subclass of"):
        register_transform("odd")(lambda batch, generator: batch)


def test_a_data_set_may_bring_its_own_which_come_first(own, monkeypatch):
    from unlocked.data import DATA, register_data

    register_data("mine")(lambda source: RawData(ROWS.x.numpy(), ROWS.y.numpy() % 2, transforms=[Doubled()]))
    try:
        data = load("mine", transforms=["noisy"])
    finally:
        DATA._entries.pop("mine")
    assert data.in_shape == (6,)
    assert [type(each) for each in data.transforms] == [Doubled, Noise]


def test_the_old_key_is_read_as_the_new_one():
    with pytest.warns(RenamedKey, match=r"data\.augment is now data\.transforms"):
        config = load_config("fashion_cnn/dni", ["data.name=digits", "data.augment=[flip,crop:2]"])
    assert config.data.transforms == ["flip", {"name": "crop", "size": 2}]
    with pytest.warns(RenamedKey), pytest.raises(ConfigError, match="is given twice"):
        load_config("quickstart", ["data.augment=[flip]", "data.transforms=[crop]"])


@pytest.mark.parametrize("scheme", ["backprop", "cdni", "dfa"])
def test_cuts_and_restarts_change_nothing_under_any_scheme(own, lab, scheme):
    tree = {
        "model": {"name": "mlp", "hidden": [12, 12]},
        "scheme": {"name": scheme, "lag": 0 if scheme == "backprop" else 2},
        "parallel": {"modules": 3},
    }
    data = replace(lab.data((9,)), transforms=build_transforms(["noisy", "mixed"]))
    unbroken, first, second = (lab.start(data, **tree) for _ in range(3))
    expected = lab.train(unbroken, 0, 8)
    assert expected != lab.train(lab.start(replace(data, transforms=()), **tree), 0, 8)
    lab.train(first, 0, 4, checkpoint_at=4)
    second.load_states(copy.deepcopy(first.states(4)))
    assert lab.train(second, 4, 8) == expected[4:]
    lab.assert_equal(lab.weights(second), lab.weights(unbroken))
