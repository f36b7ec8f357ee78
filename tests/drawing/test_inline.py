"""Copies of figures for the dashboard's pages: one scale, so that letters of one page are of one size, and none cut."""

from __future__ import annotations

import pytest

from unlocked.drawing.inline import SCALE, WIDEST, inline_copies


@pytest.mark.parametrize(("wide", "shown"), [(700, round(700 * SCALE)), (1100, round(1100 * SCALE)), (2100, WIDEST)])
def test_copies_have_one_scale_and_fit_the_page(tmp_path, wide: int, shown: int):
    image = pytest.importorskip("PIL.Image")
    image.new("RGB", (wide, 500), "white").save(tmp_path / "figure.png")
    folder = inline_copies([tmp_path / "figure.png"], tmp_path / "inline")
    with image.open(folder / "figure.png") as copy:
        assert copy.size == (shown, round(500 * shown / wide))
