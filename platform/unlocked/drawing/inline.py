"""Copies of figures for the dashboard's pages, which show a picture at its own size beside a column of facts."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

INLINE = "inline"  # the folder of the copies, beside the figures
WIDEST = 700  # pixels: a wider one pushes the facts out of a page of 1,440
SCALE = 0.6  # of the file, for print: letters of all figures have about the size of the page's own


def inline_copies(figures: Sequence[Path], folder: Path) -> Path:
    """PNG files again in `folder`, of one scale, at most `WIDEST` wide."""
    from PIL import Image

    folder.mkdir(parents=True, exist_ok=True)
    for path in figures:
        with Image.open(path) as picture:
            scale = min(SCALE, WIDEST / picture.width)
            size = (max(1, round(picture.width * scale)), max(1, round(picture.height * scale)))
            picture.convert("RGB").resize(size, Image.Resampling.LANCZOS).save(folder / path.name, optimize=True)
    return folder
