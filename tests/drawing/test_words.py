"""Words in the plane: those that would cover each other stand apart, the rest stay."""

from __future__ import annotations

import numpy as np

from unlocked.drawing.words import _apart

WIDE, HIGH, PANEL = 20.0, 9.0, (1100.0, 1100.0)


def test_words_that_cover_each_other_move_up_and_down_until_they_do_not():
    g = np.random.default_rng(0)
    corners = [[0.0, 0.0], [1000.0, 1000.0]]
    crowd = [[500.0, 500.0]] * 3 + (500 + 15 * g.standard_normal((20, 2))).tolist()
    xy = np.array([*corners, *crowd])
    moved = _apart(xy, np.full(len(xy), WIDE), HIGH, PANEL)
    assert np.array_equal(moved[:, 0], xy[:, 0])
    np.testing.assert_allclose(moved[:2], corners)
    across, up = (np.abs(moved[:, None, axis] - moved[:, axis]) for axis in (0, 1))
    covered = (across < WIDE) & (up < 0.9 * HIGH) & ~np.eye(len(xy), dtype=bool)
    assert not covered.any()
    before = (across < WIDE) & (np.abs(xy[:, None, 1] - xy[:, 1]) < 0.9 * HIGH) & ~np.eye(len(xy), dtype=bool)
    assert before.sum() > 20
