import doctest
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.model_selection import train_test_split

from unlocked.data import DATA, RawData, check_data_options, dataset, register_data, sampler, transform
from unlocked.data.transform import TRANSFORMS
from unlocked.errors import DataError
from unlocked.tasks import load

RNG = np.random.default_rng(0)
X, Y = RNG.normal(3.0, 2.0, (200, 5)), np.arange(200) % 4


@pytest.fixture
def add():
    """`add(RawData(...))` registers a set for this test alone and gives its name."""
    added = []

    def register(*args, **kwargs):
        name = f"made_{len(added)}"
        added.append(name)
        register_data(name)(lambda source, **options: RawData(*args, **kwargs))
        return name

    yield register
    for name in added:
        DATA._entries.pop(name)
        DATA._facts.pop(name)


def refused(name, **options) -> str:
    with pytest.raises(DataError) as caught:
        load(name, **options)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_a_set_of_ones_own_is_split_normalised_and_typed(add):
    name = add(X, Y, class_names=["a", "b", "c", "d"], normalise="train")
    data = load(name, validation=0.25, seed=3)
    assert (data.in_shape, data.n_outputs, data.task) == ((5,), 4, "classification")
    assert data.class_names == ["a", "b", "c", "d"]
    assert [len(split) for split in (data.train, data.validation, data.test)] == [120, 40, 40]
    assert data.train.x.dtype == torch.float32
    assert data.train.y.dtype == torch.int64
    for split in (data.train, data.validation, data.test):
        assert len(set(torch.bincount(split.y).tolist())) == 1, "stratified"


def test_the_splits_are_disjoint_cover_everything_and_follow_the_seed(add):
    rows = np.arange(200.0)[:, None]
    name = add(rows, Y)
    data = load(name, validation=0.25, seed=3)
    parts = [split.x.flatten().tolist() for split in (data.train, data.validation, data.test)]
    assert sorted(row for part in parts for row in part) == rows.flatten().tolist()
    again, other = load(name, validation=0.25, seed=3), load(name, validation=0.25, seed=4)
    assert torch.equal(again.validation.x, data.validation.x)
    assert not torch.equal(other.validation.x, data.validation.x)
    assert not torch.equal(other.test.x, data.test.x)


def test_the_test_split_is_the_one_sklearn_draws_from_the_same_seed(add):
    rows = np.arange(200.0)[:, None]
    _, expected = train_test_split(np.arange(200), test_size=0.2, stratify=Y, random_state=7)
    name = add(rows, Y)
    for validation in (0.0, 0.3):
        assert load(name, seed=7, validation=validation).test.x.flatten().tolist() == sorted(expected)


def test_training_statistics_come_from_the_training_split_alone(add):
    name = add(X, Y, X[:20] + 1000, Y[:20], normalise="train")
    data = load(name, validation=0.5, seed=0)
    assert torch.allclose(data.train.x.mean(0), torch.zeros(5), atol=1e-6)  # float32 rounding
    assert torch.allclose(data.train.x.std(0, correction=0), torch.ones(5), atol=1e-6)
    assert data.validation.x.mean(0).abs().max() > 1e-3
    assert data.test.x.min() > 100


def test_images_are_normalised_per_channel_and_series_per_feature(add):
    images = RNG.normal(size=(40, 3, 4, 4)) * np.array([1, 10, 100])[:, None, None]
    x = load(add(images, Y[:40], images, Y[:40], normalise="train")).train.x
    assert torch.allclose(x.std((0, 2, 3), correction=0), torch.ones(3), atol=1e-6)
    series = RNG.normal(size=(40, 7, 2)) * np.array([1, 10])
    x = load(add(series, Y[:40], series, Y[:40], normalise="train")).train.x
    assert torch.allclose(x.std((0, 1), correction=0), torch.ones(2), atol=1e-6)


def test_a_constant_feature_is_centred_and_not_blown_up(add):
    x = np.concatenate([X, np.full((200, 1), 0.1), np.full((200, 1), 1e9)], axis=1)
    for dtype in (np.float64, np.float32):
        train = load(add(x.astype(dtype), Y, normalise="train")).train.x
        assert train[:, 5].abs().max() < 1e-6
        assert train[:, 6].abs().max() < 1e-6 * 1e9


def test_large_float64_values_keep_their_differences(add):
    times = 1.6e9 + np.arange(200.0)[:, None]
    train = load(add(times, Y, times, Y, normalise="train")).train.x
    assert len(torch.unique(train)) == 200


def test_bytes_are_read_as_fractions_and_fixed_statistics_applied_per_channel(add):
    x = np.zeros((8, 2, 1, 1), dtype=np.uint8)
    x[:, 1] = 255
    train = load(add(x, Y[:8], x, Y[:8], normalise=((0.5, 0.5), (0.5, 0.25)))).train.x
    assert train[0].flatten().tolist() == [-1.0, 2.0]


def test_the_arrays_of_the_data_function_are_left_as_they_were(add):
    x = X.astype(np.float32)
    before = x.copy()
    load(add(x, Y, x, Y, normalise="train"))
    assert (x == before).all()


def test_read_only_and_big_endian_arrays_are_accepted(add):
    x = X.astype(">f4")
    x.flags.writeable = False
    assert load(add(x, Y.astype(">i2"), x, Y.astype(">i2"))).train.x[0, 0] == float(x[0, 0])


def test_no_validation_fraction_gives_none(add):
    assert load(add(X, Y)).validation is None


@pytest.mark.parametrize(
    ("raw", "said"),
    [
        ((X, Y[:-1]), "200 examples but y_train has 199"),
        ((X[:0], Y[:0]), "empty"),
        ((X, Y, X[:0], Y[:0]), "x_test is empty"),
        ((np.where(X > 8, np.nan, X), Y), "not finite"),
        ((np.where(X > 8, np.inf, X), Y), "not finite"),
        ((X * 1e300, Y), "do not fit float32"),
        ((X.astype(str), Y), "real numbers"),
        ((X[:, 0], Y), "an axis of examples and one of features"),
        ((X, Y + 1), "no example of class 0"),
        ((X, Y - 1), "no example of class 0"),
        ((X, Y * 2), "no example of class 1"),
        ((X, Y * 0), "classification needs two"),
        ((X, Y.astype(float)), "integer class ids"),
        ((X, Y.astype(str)), "integer class ids"),
        ((X, Y[:, None]), "integer class ids"),
        ((X, Y, X[:5], Y[:5] + 3), "y_test holds label"),
        ((X, Y, X[:5, :2], Y[:5]), "training example has shape (5,) but a test example (2,)"),
        ((X, Y, X), "x_test is given but y_test is not"),
        ((X, Y, None, Y), "y_test is given but x_test is not"),
        ((X, Y, None, None, ["a", "b"]), "y_train holds label 3; classes are 0 to 1"),
        ((X, Y, None, None, None, (0.0, 0.0)), "deviations above 0"),
        ((X, Y, None, None, None, ((0.0, 1.0), 1.0)), "2 means and 1 deviations for 5 features"),
        ((X, Y, None, None, None, "trian"), "did you mean 'train'"),
        ((X[:5], np.array([0, 0, 0, 1, 2])), "cannot be set aside"),
    ],
)
def test_arrays_that_are_no_data_set_are_refused_with_the_reason(add, raw, said):
    name = add(*raw)
    message = refused(name)
    assert said in message
    assert name in message


def test_the_first_bad_example_is_named(add):
    x = X.copy()
    x[17, 2] = x[30, 0] = np.nan
    assert "2, the first in example 17" in refused(add(x, Y))


def test_wrong_names_options_and_fractions_are_refused_with_the_nearest_match():
    assert "did you mean 'digits'" in refused("digts")
    assert "data.options.miror: unknown option of mnist 'miror'; did you mean 'mirror'" in refused("mnist", miror="x")
    assert "data.options.width: unknown option of digits" in refused("digits", width=3)
    for fraction in (1.0, -0.1, float("nan")):
        assert refused("digits", validation=fraction).startswith("data.validation: ")


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"length": "abc"}, "data.options.length: 'abc' is not of type int"),
        ({"length": True}, "data.options.length: True is not of type int"),
        ({"length": 8.5}, "data.options.length: 8.5 is not of type int"),
        ({"vocabulary": "abc"}, "data.options.vocabulary: 'abc' is not of type int | None"),
        ({"vocabulary": [1]}, "data.options.vocabulary: [1] is not of type int | None"),
        ({"tokens": 5}, "data.options.tokens: 5 is not of type str"),
        ({"tokens": None}, "data.options.tokens: null is not of type str; its default is char"),
    ],
)
def test_options_of_a_wrong_type_are_refused_before_anything_is_read(options, said):
    assert refused("python_manual", **options) == said


def test_options_of_a_set_of_ones_own_are_checked_by_its_annotations():
    @register_data("made_annotated")
    def annotated(
        source,
        columns: list[int],
        scale: float = 1.0,
        where: str | None = None,
        kind: Any = None,
        table: np.ndarray | None = None,
        file: Path | None = None,
        free=None,
    ):
        return RawData(X[:, columns] * scale, Y)

    try:
        assert refused("made_annotated") == "data.options.columns: made_annotated needs this option"
        assert "data.options.columns: ['a'] is not of type list[int]" in refused("made_annotated", columns=["a"])
        assert "data.options.where: 3 is not of type str | None" in refused("made_annotated", columns=[0], where=3)
        assert "data.options.where: 'None' is a word of Python" in refused("made_annotated", columns=[0], where="None")
        assert "data.options.colums: unknown option of made_annotated 'colums'; did you mean 'columns'?" in refused(
            "made_annotated", colums=[0]
        )
        made = load("made_annotated", columns=[0, 1], scale=np.float32(2), kind={"any": 1}, table=X, file="x", free=0)
        assert made.in_shape == (2,)
    finally:
        DATA._entries.pop("made_annotated")


def test_an_option_cannot_stand_for_a_key_of_every_set():
    @register_data("made_open")
    def takes_any(source, **options):
        return RawData(X, Y)

    try:
        check_data_options("made_open", {"anything": 1})
        with pytest.raises(DataError, match=r"data.options.root: made_open has no such option; data.root"):
            check_data_options("made_open", {"root": "elsewhere"})
    finally:
        DATA._entries.pop("made_open")


def test_a_function_that_returns_no_raw_data_is_told_so():
    register_data("made_tuple")(lambda source: (X, Y))
    try:
        assert "its function <lambda> returned tuple, not RawData" in refused("made_tuple")
    finally:
        DATA._entries.pop("made_tuple")


def test_a_set_of_an_unknown_task_is_told_the_nearest_one_when_it_is_loaded():
    register_data("made_bad", task="clasification")(lambda source: RawData(X, Y))
    try:
        assert "registered for an unknown task 'clasification'; did you mean 'classification'?" in refused("made_bad")
    finally:
        DATA._entries.pop("made_bad")


def test_a_registration_that_cannot_work_is_refused_at_once():
    with pytest.raises(ValueError, match="would hide a key"):
        register_data("made_bad")(lambda source, seed=0: None)
    with pytest.raises(ValueError, match="takes the source first"):
        register_data("made_bad")(lambda: None)
    with pytest.raises(ValueError, match="already registered"):
        register_data("digits")(lambda source: None)
    assert "made_bad" not in DATA


def test_a_data_set_moves_with_all_its_splits(add):
    data = load(add(X, Y), validation=0.2)
    moved = data.to("meta")
    assert {split.x.device.type for split in (moved.train, moved.validation, moved.test)} == {"meta"}
    assert moved.test.y.device.type == "meta"
    wide = data.to(dtype=torch.float64)
    assert (wide.train.x.dtype, wide.train.y.dtype) == (torch.float64, torch.int64)
    assert load(add(X, Y)).to("cpu").validation is None


@pytest.mark.parametrize("module", [dataset, sampler, transform])
def test_the_examples_in_the_docstrings_run(module):
    try:
        outcome = doctest.testmod(module)
    finally:
        DATA._entries.pop("moons_doc", None)
        TRANSFORMS._entries.pop("noise_doc", None)
    assert outcome.attempted > 0
    assert outcome.failed == 0


def test_a_file_is_no_folder_of_data(tmp_path, monkeypatch):
    file = tmp_path / "file"
    file.write_text("")
    with pytest.raises(DataError, match=r"^data\.root: \S+file is no folder"):
        load("digits", root=file)
    monkeypatch.setenv("UNLOCKED_DATA", str(file))
    with pytest.raises(DataError, match=r"^UNLOCKED_DATA: \S+file is no folder"):
        load("digits")


def test_a_set_with_the_option_task_has_the_task_that_it_says():
    from typing import Literal

    from unlocked import load_config
    from unlocked.config.check import task_of
    from unlocked.data import DATA
    from unlocked.errors import ConfigError

    def read(source, task: Literal["classification", "regression"] = "classification"):
        return RawData(X, Y * 1.0 if task == "regression" else Y)

    register_data("either", task="classification")(read)
    try:
        assert load("either").task == "classification"
        assert load("either", task="regression").n_outputs == 1
        config = load_config("quickstart", ["data.name=either", "data.options.task=regression"])
        assert task_of(config) == "regression"
        with pytest.raises(ConfigError, match="'nodes' is not of type classification or regression"):
            load_config("quickstart", ["data.name=either", "data.options.task=nodes"])
    finally:
        DATA._entries.pop("either")
        DATA._facts.pop("either")
