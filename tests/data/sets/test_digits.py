import pytest
import torch

from unlocked.errors import DataError
from unlocked.tasks import load


def test_digits_are_images_in_the_unit_interval_with_a_fifth_for_the_test():
    data = load("digits", validation=0.1, seed=0)
    assert data.in_shape == (1, 8, 8)
    assert data.n_outputs == 10
    assert (len(data.train), len(data.validation), len(data.test)) == (1293, 144, 360)
    assert (data.train.x.min(), data.train.x.max()) == (0, 1)
    assert data.class_names == list("0123456789")


def test_shrunk_digits_are_means_over_squares_of_pixels():
    large, small = load("digits", seed=0), load("digits", seed=0, side=4)
    assert small.in_shape == (1, 4, 4)
    squares = large.train.x.unfold(2, 2, 2).unfold(3, 2, 2).mean((-2, -1))
    torch.testing.assert_close(small.train.x, squares)


@pytest.mark.parametrize("side", [0, 9])
def test_digits_do_not_grow(side):
    with pytest.raises(DataError, match=rf"data\.options\.side: a number of pixels from 1 to 8, got {side}$"):
        load("digits", seed=0, side=side)
