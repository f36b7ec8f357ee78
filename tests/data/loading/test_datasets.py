"""A torch Dataset or DataLoader, and a Hugging Face Dataset, in place of arrays."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader, Dataset, IterableDataset, Subset, TensorDataset, WeightedRandomSampler

from unlocked import RawData
from unlocked.data import from_dataset
from unlocked.data.rows.tensor import RowTensor
from unlocked.data.sets.handed import handed
from unlocked.engine.group import InProcessGroup
from unlocked.errors import DataError, RunFailed, RunInterrupted
from unlocked.launch.interrupt import StopSignal
from unlocked.loop.train import resume, train
from unlocked.tasks import load

RNG = np.random.default_rng(0)
X, Y = RNG.normal(0, 1, (120, 6)).astype("f4"), np.arange(120) % 3


class Pairs(Dataset):
    """Pairs, of which `noise` is drawn anew each time."""

    classes = ("red", "green", "blue")

    def __init__(self, noise=0.0, x=X, y=Y):
        self.x, self.y, self.noise = x, y, noise

    def __len__(self):
        return len(self.x)

    def __getitem__(self, i):
        drawn = torch.randn(6).numpy() + np.random.randn() if self.noise else 0
        return (self.x[i] + self.noise * drawn).astype("f4"), int(self.y[i])


class Named(Pairs):
    def __getitem__(self, i):
        x, y = super().__getitem__(i)
        return {"id": i, "image": torch.from_numpy(x), "label": y}


def untimed(summary):
    return {key: value for key, value in summary["metrics"].items() if not key.startswith("time/")}


@pytest.fixture
def config(small):
    return small("data.batch_size=16", "optimizer.lr=0.01", "data.validation=0.2")


@pytest.mark.parametrize("made", [Pairs, Named, lambda: DataLoader(Pairs(), 16, shuffle=True)])
def test_a_dataset_trains_to_the_numbers_of_its_arrays(config, made):
    given, arrays = train(config, data=made()), train(config, data=RawData(X, Y, class_names=Pairs.classes))
    assert untimed(given) == untimed(arrays)


def test_splits_classes_and_batch_size_are_those_that_were_given(config):
    parts = {"train": DataLoader(Subset(Pairs(), range(80)), 20), "val": Pairs(x=X[80:99], y=Y[80:99]), "test": Pairs()}
    with handed(parts):
        data = load("dataset", validation=0.2)
    assert [len(each) for each in (data.train, data.validation, data.test)] == [80, 19, 120]
    assert isinstance(data.train.x, RowTensor)
    assert torch.equal(data.test.x[:9], torch.from_numpy(X[:9]))
    summary = train(config, data=parts)
    assert summary["steps"] == 3 * 4
    with handed(Pairs()):
        assert load("dataset").class_names == ["red", "green", "blue"]


def test_real_targets_are_a_regression_and_inputs_can_be_normalised(config):
    regression = TensorDataset(torch.from_numpy(X) * 3 + 1, torch.from_numpy(X[:, :2].copy()))
    summary = train(config, data=regression)
    assert "test/r2" in summary["metrics"] or "test/mse" in summary["metrics"]
    with handed(regression):
        x = load("dataset", task="regression", normalise=True).train.x
    assert float(x.whole().mean().abs()) < 1e-6


def test_examples_made_by_chance_follow_from_the_seed_and_the_step_in_any_number_of_processes(config):
    noisy = Pairs(noise=0.5)
    before = torch.get_rng_state()
    rows = from_dataset(noisy).x_train
    first, second = rows.drawn(np.arange(5), 1), rows.drawn(np.array([4]), 1)
    assert np.array_equal(first[[4]], second)
    assert torch.equal(before, torch.get_rng_state())
    one = train(config, data=noisy)
    again = train(config, data=DataLoader(noisy, 16, num_workers=2))
    assert untimed(one) == untimed(again)
    assert untimed(train(replace(config, seed=1), data=noisy)) != untimed(one)
    assert untimed(train(config, data=Pairs())) != untimed(one)


def test_a_run_on_a_dataset_goes_on_to_the_same_numbers(config, monkeypatch):
    noisy = Pairs(noise=0.5)
    whole = train(config, data=noisy)
    stop, taken = StopSignal(), InProcessGroup.tick

    def tick(group, t):
        stop.asked = stop.asked or t == 7
        taken(group, t)

    monkeypatch.setattr(InProcessGroup, "tick", tick)
    with pytest.raises(RunInterrupted):
        train(config, data=noisy, stop=stop)
    (stopped,) = {each.path for each in os.scandir(config.tracking.runs)} - {whole["run_dir"]}
    with pytest.raises(DataError, match=r"is handed over in Python.*resume\(run, data="):
        resume(Path(stopped))
    assert untimed(resume(stopped, data=noisy)) == untimed(whole)  # the folder as the summary has it


class Stream(IterableDataset):
    def __iter__(self):
        yield from ()


class Broken(Pairs):
    def __init__(self, value):
        super().__init__()
        self.value = value

    def __getitem__(self, i):
        if i != 7:
            return super().__getitem__(i)
        if isinstance(self.value, Exception):
            raise self.value
        return self.value


@pytest.mark.parametrize(
    ("dataset", "line"),
    [
        (Stream(), "Stream gives no example by its number"),
        (3, "int gives no example by its number"),
        (Pairs(x=X[:0]), "the data set Pairs: is empty"),
        (Broken(ValueError("no such file")), r"example 7 failed at .*test_datasets.py:\d+: ValueError: no such file"),
        (Broken((X[0], 1, 2)), "example 7 is a tuple; it needs to be a pair"),
        (Broken((X[0, :3], 1)), r"example 7 is float32 of shape \(3,\), example 0 float32 of shape \(6,\)"),
        (Broken((X[0] * np.nan, 1)), "example 7 has a value that is not finite"),
        (Broken((["a"] * 6, 1)), "the input of example 7 is <U1; it needs real numbers"),
        (Broken((X[0], [1, 2])), r"the target of example 7 has shape \(2,\)"),
        (Broken({"q": 1}), "which is x"),
        ({"train": Pairs(), "tests": Pairs()}, "unknown split 'tests'; did you mean 'test'"),
        ({"test": Pairs()}, "data: has no split train"),
        (DataLoader(Pairs(), collate_fn=list), "collate_fn of its own"),
        (DataLoader(Pairs(), sampler=WeightedRandomSampler([1.0] * 120, 120)), "has a WeightedRandomSampler"),
    ],
)
def test_what_is_no_such_dataset_is_one_line(dataset, line):
    with pytest.raises(DataError, match=line) as caught:
        from_dataset(dataset)
    assert "\n" not in str(caught.value)


def test_keys_that_are_named_are_taken_and_unknown_ones_refused():
    rows = from_dataset(Named(), x="image", y="id").y_train
    assert rows.tolist() == list(range(120))
    with pytest.raises(DataError, match="unknown column 'lable'; did you mean 'label'"):
        from_dataset(Named(), y="lable")


class Dying(Pairs):
    def __getitem__(self, i):
        if os.getpid() != PARENT:
            os._exit(3)
        return super().__getitem__(i)


PARENT = os.getpid()


def test_a_process_that_dies_is_one_line(config):
    with pytest.raises(RunFailed, match="the data set Dying: a process that reads its examples died"):
        train(config, data=DataLoader(Dying(), 16, num_workers=1))


def test_a_hugging_face_dataset_is_read_by_its_columns(config):
    datasets = pytest.importorskip("datasets")
    names = ["no", "yes", "perhaps"]
    features = datasets.Features(
        {"features": datasets.Sequence(datasets.Value("float32"), 6), "label": datasets.ClassLabel(names=names)}
    )
    dataset = datasets.Dataset.from_dict({"features": X.tolist(), "label": Y.tolist()}, features=features)
    with handed(dataset):
        assert load("dataset").class_names == names
    assert untimed(train(config, data=dataset)) == untimed(train(config, data=RawData(X, Y)))
    parts = dataset.train_test_split(0.25, seed=0)  # a DatasetDict
    with handed(parts):
        assert len(load("dataset").test) == 30
