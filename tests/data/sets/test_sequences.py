"""Texts, copy episodes and series: rows that go on in each other, targets where they belong."""

import numpy as np
import pytest

from unlocked.data.sets.copying import ITEM, QUERY
from unlocked.data.sets.episodes import BLANK, FIRST, SIGN
from unlocked.data.words.text import EOS, PAD, windows
from unlocked.errors import DataError
from unlocked.tasks import load


def test_the_manual_of_python_is_there_in_order_and_every_token_is_followed_by_its_target():
    data = load("python_manual", length=16, validation=0.1)
    assert data.task == "language_modelling"
    assert data.example.vocabulary == data.n_outputs == len(data.symbols)
    for part in (data.train, data.validation, data.test):
        assert (part.x[:, 1:] == part.y[:, :-1]).all()
        assert (part.y[:-1, -1] == part.x[1:, 0]).all()
    text = "".join(data.symbols[i] for i in data.train.x[:20].flatten().tolist())
    assert len(text.split()) > 20
    assert data.train.y[-1, -1] == data.validation.x[0, 0]  # the splits are cut, not drawn
    assert data.validation.y[-1, -1] == data.test.x[0, 0]


def test_a_text_is_cut_into_whole_windows():
    x, y = windows("made", np.arange(11), 3)
    assert x.tolist() == [[0, 1, 2], [3, 4, 5], [6, 7, 8]]
    assert y.tolist() == [[1, 2, 3], [4, 5, 6], [7, 8, 9]]


def test_a_text_file_of_ones_own(tmp_path):
    (tmp_path / "mine.txt").write_text("to be or not to be " * 40, encoding="utf-8")
    data = load("text", root=tmp_path, file="mine.txt", length=8)
    assert set(data.symbols[4:]) == set("to be rn")


def test_a_byte_order_mark_is_no_token(tmp_path):
    (tmp_path / "mine.txt").write_bytes(b"\xef\xbb\xbf" + b"to be or not to be " * 40)
    assert load("text", root=tmp_path, file="mine.txt", length=8).symbols[4:] == sorted(set("to be rn"))


@pytest.mark.parametrize(
    ("content", "options", "said"),
    [
        ("", {}, "mine.txt: is empty"),
        ("ab", {}, "a window of data.options.length 64 needs 65"),
        ("ab" * 99, {"length": 0}, "data.options.length: must be at least 1, got 0"),
        (b"\xff\xfe\xff", {}, "cannot be read as UTF-8"),
        (None, {}, "is no file"),
    ],
)
def test_a_text_that_cannot_be_used_is_one_line(tmp_path, content, options, said):
    path = tmp_path / "mine.txt"
    if content is not None:
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(DataError) as error:
        load("text", root=tmp_path, file="mine.txt", **options)
    assert said in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("window", [None, 1, 3, 4])
def test_a_copy_episode_shows_and_then_asks(window):
    data = load("copy", level=3, window=window, episodes=10)
    x, y = (part.reshape(10, -1).numpy() for part in (data.train.x, data.train.y))
    assert data.stretch == len(data.train) // 10
    assert (y[:, :3] == PAD).all()
    assert (y[:, 3:6] == x[:, :3]).all()
    assert (x[:, 3] == SIGN).all()
    assert (x[:, 4:6] == BLANK).all()
    assert (x[:, 6:] == PAD).all()
    assert (y[:, 6:] == PAD).all()


@pytest.mark.parametrize(("level", "n", "repeats"), [(1, 1, 1), (2, 2, 1), (3, 2, 2), (4, 3, 2)])
def test_repeat_copy_grows_in_length_and_repeats_in_turn(level, n, repeats):
    data = load("repeat_copy", level=level, episodes=6)
    x, y = data.train.x.numpy(), data.train.y.numpy()
    assert (x[:, n] == SIGN + repeats - 1).all()
    assert (y[:, n : n + n * repeats] == np.tile(x[:, :n], repeats)).all()
    assert (y[:, -1] == EOS).all()
    assert x.shape[1] == n + n * repeats + 1


def test_of_associated_items_the_next_one_is_asked_for():
    data = load("associative_recall", level=3, symbols=3, item=2, episodes=40)
    x, y = data.train.x.numpy(), data.train.y.numpy()
    items = x[:, :12].reshape(40, 4, 3)  # a sign and two symbols each
    assert (items[..., 0] == ITEM).all()
    assert (items[..., 1:] >= FIRST).all()
    assert (x[:, [12, 15]] == QUERY).all()
    assert (x[:, 16:] == BLANK).all()
    assert (y[:, :16] == PAD).all()
    for shown, query, wanted in zip(items[..., 1:].tolist(), x[:, 13:15].tolist(), y[:, 16:].tolist(), strict=True):
        assert len({tuple(item) for item in shown}) == 4
        assert shown[shown.index(query) + 1] == wanted
    with pytest.raises(DataError, match=r"data.options.symbols: 2 symbols make 4 items of 2, 5 are to differ"):
        load("associative_recall", level=4, symbols=2, item=2)


@pytest.mark.parametrize("window", [None, 4])
def test_training_of_all_levels_and_a_harder_test(window):
    data = load("copy", level=3, mixed=True, test_level=5, window=window, episodes=90)
    train, test = (part.y.reshape(-1, data.stretch * data.train.x.shape[1]) for part in (data.train, data.test))
    counts = (train != PAD).sum(1)
    assert sorted(set(counts.tolist())) == [1, 2, 3]
    assert min(np.bincount(counts)[1:]) > 15
    assert ((test != PAD).sum(1) == 5).all()
    assert data.tested_on == "level 5, harder than all that was trained on (levels up to 3; chance about 0.125)"
    shown = data.train.x.reshape(len(train), -1)
    for x, y, n in zip(shown.tolist(), train.tolist(), counts.tolist(), strict=True):
        assert x[:n] == y[n : 2 * n]
        assert x[n] == SIGN


def test_wrong_episodes_are_one_line():
    for options, said in (
        ({"level": 3, "last": 2}, "data.options.last: 2 is the last level, got level 3"),
        ({"level": 3, "test_level": 2}, "data.options.test_level: 2 is below the level of the training split, 3"),
        ({"level": 0}, "data.options.level: must be at least 1, got 0"),
        ({"window": 0}, "data.options.window: must be at least 1, got 0"),
        ({"symbols": 0}, "data.options.symbols: must be at least 1, got 0"),
    ):
        with pytest.raises(DataError, match=said):
            load("copy", **options)
    with pytest.raises(DataError, match=r"data.options.level: must be at least 1, got 0"):
        load("repeat_copy", level=0)
    with pytest.raises(DataError, match="asks for more than 16 repeats"):
        load("repeat_copy", level=40)


@pytest.mark.parametrize(
    ("name", "options", "said"),
    [
        ("copy", {"symbols": 10_001}, "data.options.symbols: must be at most 10000"),
        ("copy", {"episodes": 10**10}, "data.options.episodes: 10000000000 episodes of 2 positions are more than"),
        ("copy", {"level": 10**9, "episodes": 1}, "data.options.level: 256 episodes of 2000000000 positions"),
        ("copy", {"last": 9, "test_level": 3}, "data.options.last: 9 is above data.options.test_level 3"),
        ("repeat_copy", {"last": 40}, "data.options.last: 40 asks for more than 16 repeats"),
        ("associative_recall", {"item": 25}, "items of 25 of 8 symbols are too many to number; at most 20"),
        ("associative_recall", {"item": 1, "symbols": 4, "last": 5}, "make 4 items of 1, 6 are to differ"),
    ],
)
def test_episodes_that_cannot_be_made_are_refused_before_they_are(name, options, said):
    with pytest.raises(DataError) as error:
        load(name, **options)
    assert said in str(error.value)


def test_items_of_the_most_symbols_that_can_be_numbered_are_drawn():
    assert load("associative_recall", item=20, episodes=4).train.x.max() < FIRST + 8


def test_sunspots_are_windows_of_years_and_the_years_behind_them():
    data = load("sunspots", length=5, horizon=2)
    assert data.task == "regression"
    assert data.train.x.shape[1:] == (5,)
    assert data.train.y.shape[1:] == (2,)
    assert (data.train.y[:-2, 0] == data.train.x[2:, -2]).all()  # what is forecast is what comes
    assert len(data.train) + len(data.test) == 309 - 6
    with pytest.raises(DataError, match="more than half"):
        load("sunspots", length=200)
