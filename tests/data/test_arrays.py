"""What a user's data function may return, and what of it is no array of numbers."""

import re
from pathlib import Path

import numpy as np
import pytest
import scipy.sparse
import torch

from unlocked.data import DATA, RawData, register_data
from unlocked.data.arrays import as_array
from unlocked.errors import DataError
from unlocked.tasks import load

X = np.arange(24, dtype=np.float32).reshape(8, 3)


def refused(value) -> str:
    with pytest.raises(DataError) as caught:
        as_array("mine", "x_train", value)
    message = str(caught.value)
    assert message.startswith("data 'mine': x_train ")
    assert "\n" not in message
    return message


@pytest.mark.parametrize(
    "value",
    [
        X,
        X.tolist(),
        list(X),
        torch.tensor(X),
        torch.tensor(X, requires_grad=True),
        list(torch.tensor(X)),
        [row.requires_grad_() for row in torch.tensor(X)],
        torch.tensor(X).bfloat16(),
        np.ma.masked_array(X),
        list(np.ma.masked_array(X)),
        torch.nn.Parameter(torch.tensor(X)),
    ],
)
def test_arrays_tensors_and_lists_of_them_are_read(value):
    array = as_array("mine", "x_train", value)
    assert type(array) is np.ndarray
    assert (array == X).all()


def test_an_array_is_not_copied():
    assert as_array("mine", "x_train", X) is X


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (np.ma.masked_array(X, X > 10), "13 masked entries, the first in example 3; they are missing, not numbers"),
        (list(np.ma.masked_array(X, X > 20)), "3 masked entries, the first in example 7"),
        ([[1.0, 2.0], [3.0]], "ragged: its examples have different shapes"),
        ([np.zeros(2), np.zeros(3)], "ragged"),
        ([torch.zeros(2), torch.zeros(3)], "ragged"),
        (np.array([np.zeros(2), np.zeros(3)], dtype=object), "ragged"),
        (torch.tensor(X).to_sparse(), "is a sparse tensor; give x_train.to_dense()"),
        (scipy.sparse.csr_matrix(X), "is a sparse matrix; give x_train.toarray()"),
        (torch.empty(3, device="meta"), "a tensor that numpy cannot read (torch.float32, meta)"),
        (
            np.array([[1, None], [2, 3]], dtype=object),
            "holds objects instead of numbers, such as 'None' of type NoneType",
        ),
        (iter([1, 2]), "is a list_iterator, not an array"),
    ],
)
def test_what_is_no_array_of_numbers_is_one_line_that_says_what_to_give(value, words):
    assert words in refused(value)


@pytest.fixture
def mine():
    """`mine(function)` registers a data function as `mine`, for this test alone."""
    yield register_data("mine")
    DATA._entries.pop("mine", None)
    DATA._facts.pop("mine", None)


def failing(source):
    raise KeyError("no such column")


def leaving(source):
    raise SystemExit(3)


@pytest.mark.parametrize(
    ("function", "words"), [(failing, "KeyError: 'no such column'"), (leaving, "it ends the process, with exit code 3")]
)
def test_an_exception_in_a_data_function_is_told_with_its_file_and_line(mine, function, words):
    mine(function)
    with pytest.raises(DataError) as caught:
        load("mine")
    line = function.__code__.co_firstlineno + 1
    said = re.escape(f"data 'mine': its function {function.__name__} failed at ")
    assert re.fullmatch(rf"{said}\S*test_arrays.py:{line}: {re.escape(words)}", str(caught.value))


def test_the_line_is_the_users_where_a_library_raises(mine):
    mine(lambda source: RawData(np.concatenate([X, X[0]]), [0]))
    with pytest.raises(DataError) as caught:
        load("mine")
    assert f"{Path(__file__).name}:" in str(caught.value)
    assert "its function <lambda> failed at " in str(caught.value)


def test_complex_numbers_are_no_inputs(mine):
    mine(lambda source: RawData(X + 1j, np.arange(8) % 2))
    with pytest.raises(DataError, match="x_train holds complex64 values; it needs real numbers"):
        load("mine")


@pytest.mark.parametrize("shape", [(8, 9, 9, 3), (8, 5, 7, 4), (8, 28, 28, 1)])
def test_images_with_their_channels_behind_are_refused_or_turned_as_is_said(mine, shape):
    images, labels = np.random.default_rng(0).normal(size=shape), np.arange(8) % 2
    options = {}
    mine(lambda source: RawData(images, labels, images, labels, **options))
    with pytest.raises(DataError, match=re.escape(f"x_train has shape {shape}, which looks like {shape[1]} x")):
        load("mine")
    options["channels"] = "last"
    assert load("mine").in_shape == (shape[3], *shape[1:3])
    assert torch.equal(load("mine").train.x, torch.tensor(images, dtype=torch.float32).permute(0, 3, 1, 2))
    options["channels"] = "first"
    assert load("mine").in_shape == shape[1:]


@pytest.mark.parametrize("shape", [(8, 3, 9, 9), (8, 1, 28, 28), (8, 6, 64, 1), (8, 3, 4, 4), (8, 64, 2, 2)])
def test_maps_with_their_channels_in_front_are_taken(mine, shape):
    mine(lambda source: RawData(np.zeros(shape), np.arange(8) % 2))
    assert load("mine").in_shape == shape[1:]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"channels": "behind"}, "channels is 'behind'; it is 'first', 'last' or None"),
        ({"channels": "last"}, "x_train has shape (8, 3); channels='last' is for images"),
    ],
)
def test_wrong_words_for_channels_are_refused(mine, options, words):
    mine(lambda source: RawData(X, np.arange(8) % 2, **options))
    with pytest.raises(DataError, match=re.escape(words)):
        load("mine")
