"""Points in the plane: collapsed, few or of one number they are shown without t-SNE's trouble."""

from __future__ import annotations

import numpy as np
import pytest

from unlocked.drawing.plane import in_the_plane


@pytest.mark.parametrize(
    "points", [np.zeros((40, 4)), np.full((40, 1), 3.0), np.full((40, 4), np.nan), np.eye(2), np.ones((1, 3))]
)
def test_points_that_are_all_alike_or_few_stay_where_they_are(points):
    plane = in_the_plane(points, perplexity=5.0)
    assert plane.shape == (len(points), 2)
    assert np.isfinite(plane).all()


def test_points_of_one_number_have_a_place():
    plane = in_the_plane(np.arange(12.0)[:, None], perplexity=3.0, steps=250)
    assert plane.shape == (12, 2)
    assert len(np.unique(plane[:, 0])) == 12
