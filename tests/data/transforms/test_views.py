"""Two views of an image, and turned images with the turn as the target."""

from __future__ import annotations

import pytest
import torch

from unlocked.data.transform import build_transforms, example_after
from unlocked.data.transforms.views import Turns, Views
from unlocked.errors import DataError
from unlocked.testing import TransformContract
from unlocked_models import Batch, Example

X = torch.rand(40, 2, 6, 6, generator=torch.Generator().manual_seed(0))
Y = torch.arange(40)
STILL = {"angle": 0.0, "scale": 0.0, "shift": 0.0, "contrast": 0.0}


class TestViewsContract(TransformContract):
    transform = "views"
    options = {"noise": 0.1}  # noqa: RUF012


class TestTurnsContract(TransformContract):
    transform = "turns"


def shown(**options: float) -> torch.Tensor:
    return Views(**{**STILL, **options})(Batch(X, Y), torch.Generator().manual_seed(1)).x


def test_views_that_change_nothing_are_the_image_twice():
    found = shown()
    assert found.shape == (40, 2, 2, 6, 6)
    torch.testing.assert_close(found, X[:, None].expand(-1, 2, -1, -1, -1))


@pytest.mark.parametrize("change", [{"angle": 30.0}, {"scale": 0.3}, {"shift": 0.2}, {"contrast": 0.4}, {"noise": 0.2}])
def test_each_change_makes_two_different_views(change):
    one, other = shown(**change).unbind(1)
    differ = [(a - b).abs().mean((1, 2, 3)) > 1e-4 for a, b in ((one, other), (one, X), (other, X))]
    assert all(float(d.float().mean()) > 0.9 for d in differ)
    assert torch.equal(shown(**change), shown(**change))


def test_a_contrast_keeps_the_mean_and_a_shift_moves_by_pixels():
    assert torch.allclose(shown(contrast=0.4).mean((2, 3, 4)), X.mean((1, 2, 3))[:, None].expand(-1, 2), atol=1e-5)
    image = torch.zeros(1, 1, 9, 9)
    image[..., 4, 4] = 1
    places = []
    for seed in range(30):
        views = Views(**{**STILL, "shift": 2 / 9})(Batch(image, Y[:1]), torch.Generator().manual_seed(seed)).x[0, :, 0]
        weights = views / views.sum((1, 2), keepdim=True)
        places += [(w.sum(1) @ torch.arange(9.0), w.sum(0) @ torch.arange(9.0)) for w in weights]
    offsets = torch.tensor(places) - 4
    assert 1.5 < float(offsets.abs().max()) <= 2.01


def test_an_angle_turns_non_square_images_without_skewing_them():
    """A right angle: rows become columns, in pixels, also if the sides differ."""
    image = torch.zeros(1, 1, 5, 9)
    image[..., 2, 3:6] = 1  # a bar of three pixels through the middle
    upright = torch.zeros(1, 1, 5, 9)
    upright[..., 1:4, 4] = 1
    views = Views(**STILL)
    views.angle = 90.0
    turned = views._moved(image, torch.tensor([[1.0, 0, 0, 0, 0]]))
    torch.testing.assert_close(turned, upright, atol=1e-5, rtol=0)


def test_turns_are_the_target():
    after = Turns()(Batch(X, Y), torch.Generator().manual_seed(0))
    assert set(after.y.tolist()) == {0, 1, 2, 3}
    for x, turned, k in zip(X, after.x, after.y, strict=True):
        assert torch.equal(turned, x.rot90(int(k), (1, 2)))
    example = example_after([Turns()], Batch(X, Y), Example((2, 6, 6), 10))
    assert (example.n_outputs, example.in_shape) == (4, (2, 6, 6))


def test_images_that_cannot_be_turned_or_seen_are_one_line():
    with pytest.raises(DataError, match=r"data.transforms: turns needs square images: one of 4 x 6 has another shape"):
        example_after(build_transforms(["turns"]), Batch(X[:, :, :4], Y), Example((2, 4, 6), 10))
    with pytest.raises(DataError, match=r"data.transforms: views needs images \(channels, height, width\), but"):
        example_after(build_transforms(["views"]), Batch(X[:, 0, 0], Y), Example((6,), 10))
    with pytest.raises(DataError, match=r"data.transforms\[0\]: views: shift must be from 0 to below 1, got 1.5"):
        build_transforms([{"name": "views", "shift": 1.5}])
