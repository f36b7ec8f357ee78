"""What is written down of a data set reads new inputs as it read its own."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
import torch

from unlocked.data import DATA, RawData, register_data
from unlocked.data.new.inputs import read_file
from unlocked.data.new.reading import FILE, Reading
from unlocked.data.words.text import PAD, SPECIAL, UNK
from unlocked.data.words.tokenize import decode, from_json
from unlocked.errors import ConfigError, DataError, UnlockedError
from unlocked.tasks import load


@pytest.fixture
def bytes_set(monkeypatch):
    monkeypatch.setattr(DATA, "_entries", dict(DATA._entries))
    monkeypatch.setattr(DATA, "_facts", dict(DATA._facts))

    @register_data("bytes_of_reading")
    def bytes_of_reading(source):
        x = np.random.default_rng(0).integers(0, 256, (40, 3, 4, 4)).astype(np.uint8)
        return RawData(x, np.arange(40) % 2, normalise="train")

    return load("bytes_of_reading")


@pytest.mark.parametrize("name", ["digits", "dates", "sunspots"])
def test_raw_inputs_become_what_the_net_was_tested_on(name, tmp_path):
    data = load(name, validation=0.1)
    Reading.of(data).write(tmp_path)
    reading = Reading.read(tmp_path)
    assert reading == Reading.of(data)
    shown = np.array(reading.shown, dtype=reading.dtype)
    assert torch.equal(reading.numbers("new", shown), data.test.x[:2])
    assert reading.stand_in().example == data.example


def test_bytes_are_normalised_by_the_training_split(bytes_set, tmp_path):
    Reading.of(bytes_set).write(tmp_path)
    reading = Reading.read(tmp_path)
    assert (reading.dtype, len(reading.mean)) == ("uint8", 3)
    shown = np.array(reading.shown)
    assert torch.equal(reading.numbers("new", shown), bytes_set.test.x[:2])
    assert torch.equal(reading.numbers("new", shown.astype(float)), bytes_set.test.x[:2])  # a table has no bytes
    with pytest.raises(DataError, match=r"^new: row 2 has the value 0.5; this net was trained on whole numbers from 0"):
        reading.numbers("new", np.stack([np.zeros((3, 4, 4)), np.full((3, 4, 4), 0.5)]))


@pytest.fixture(scope="module")
def docstrings():
    return load("docstrings", length=12)


def test_a_text_becomes_the_ids_that_the_data_set_has_for_it(docstrings):
    data, reading = docstrings, Reading.of(docstrings)
    rows = [row for row in data.test.x if UNK not in row and PAD in row][:5]
    texts = [decode(from_json(data.tokenizer), row.tolist()) for row in rows]
    assert torch.equal(reading.ids("new", texts), torch.stack(rows))


def test_a_text_that_is_too_long_is_cut_as_in_training(docstrings):
    ids = Reading.of(docstrings).ids("new", ["the file " * 9])[0]
    assert len(ids) == 12
    assert ids[-1] >= len(SPECIAL)  # no </s> after a cut


def test_a_text_without_a_known_word_names_its_row(docstrings):
    reading = Reading.of(docstrings)
    with pytest.raises(DataError, match=r"^new: row 2: no word of 'qqqqz' is in the vocabulary"):
        reading.ids("new", ["a file", "qqqqz"])
    with pytest.raises(DataError, match=r"^new: row 1 is empty"):
        reading.ids("new", ["  "])
    dates = Reading.of(load("dates"))
    with pytest.raises(DataError, match=r"^new: row 1: unknown token 'Aprill'; did you mean 'April'"):
        dates.ids("new", ["Aprill 3"])


@pytest.mark.parametrize(
    ("x", "said"),
    [
        (np.zeros((2, 8, 8)), r"new: is float64 of shape \(2, 8, 8\); this net reads numbers \(n, 1, 8, 8\)"),
        (np.array([["a"]]), "new: is <U1 of shape"),
        (np.zeros((0, 1, 8, 8)), "new: is empty"),
        (np.full((1, 1, 8, 8), np.nan), "new: row 1 has a value that is not finite"),
    ],
)
def test_inputs_that_are_none_are_one_line(x, said):
    with pytest.raises(DataError, match=said):
        Reading.of(load("digits")).numbers("new", x)


def test_a_data_set_put_together_by_hand_is_refused():
    with pytest.raises(DataError, match="put together by hand"):
        Reading.of(replace(load("digits"), loaded=None))


def test_a_damaged_file_is_one_line(tmp_path):
    (tmp_path / FILE).write_text('{"data": "digits"}')
    with pytest.raises(ConfigError, match=r"inputs\.json: is damaged"):
        Reading.read(tmp_path)


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"dtype": []}, "dtype: of no data set"),
        ({"dtype": "V8"}, "dtype: of no data set"),
        ({"example.y_shape": [10**11]}, "shape: of no data set"),
        ({"target_mean": [], "target_deviation": []}, "target_mean: of no data set"),
        ({"target_deviation": None}, "target_mean: of no data set"),
        ({"ends": None}, "begins: of no data set"),
        ({"begins": [10**30]}, "begins: of no data set"),
        ({"files.channels": ""}, "its series is damaged"),
        ({"files.length": 10**30}, "its series is damaged"),
        ({"files.horizon": 10**11}, "series' targets is damaged"),
        ({"files.targets": [[0]]}, "series' targets is damaged"),
    ],
)
def test_what_somebody_else_wrote_takes_no_memory_and_ends_in_one_line(tmp_path, changed, said):
    (tmp_path / "a.csv").write_text("v\n" + "\n".join(str(i % 7) for i in range(60)))
    Reading.of(load("series", file=str(tmp_path / "a.csv"), length=4, relative=True)).write(tmp_path)
    value = json.loads((tmp_path / FILE).read_text())
    for place, new in changed.items():
        held, _, key = place.rpartition(".")
        (value[held] if held else value)[key] = new
    (tmp_path / FILE).write_text(json.dumps(value))
    with pytest.raises(UnlockedError, match=said):
        read_file(tmp_path / "a.csv", Reading.read(tmp_path))
