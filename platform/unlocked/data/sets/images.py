"""Images of one's own, from folders or a table: their classes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Literal

import numpy as np

from unlocked.data.dataset import RawData, register_data
from unlocked.data.files.source import Source
from unlocked.data.media import image_files
from unlocked.data.media.file_trees import Kind
from unlocked.data.media.image_files import FITS, Recipe
from unlocked.data.media.labelled_files import labelled, raw_data, refuse_too_many
from unlocked.data.splits import Splits, with_splits
from unlocked.errors import DataError
from unlocked_models.contract.registry import unknown

IMAGES = Kind("images", image_files.SUFFIXES, "convert them to PNG or JPEG")
COLORS = ("auto", "grey", "rgb")
LARGEST_SIDE = 4096


@register_data("images", task="classification", family="images")
@with_splits()
def images(
    source: Source,
    splits: Splits,
    file: str,
    path: str = "file",
    target: str = "label",
    task: Literal["classification", "regression"] = "classification",
    size: int | list[int] | None = None,
    fit: str = "crop",
    color: str = "auto",
    normalise: bool = True,
) -> RawData:
    """Image files of your own. `file`: a folder with a folder for every class, `pictures/cat/1.png`, or with those in
    folders train and test, `pictures/train/cat/1.png`; or a table, whose column `path` names the files, from its own
    folder on, and whose column `target` says the class of each, or a value (`task=regression`). `size`: height and
    width in pixels, or both in one number; null: as they are, if all are alike. `fit`: crop (fills the size, cuts off
    what is over), stretch or pad. `color`: grey, rgb, or auto, which is grey if all images are. `normalise`: mean 0
    and deviation 1 of each channel of the training split; else values are from 0 to 1. PNG, JPEG, BMP, GIF, TIFF and
    WebP are read; 16 bits of grey stay 16 bits.
    """
    _check(size, fit, color)
    found = labelled(source, splits, file, IMAGES, path, target, task)
    recipe = recipe_of(found.paths, size, fit, color)
    channels, height, width = recipe.shape
    refuse_too_many(
        f"{len(found.paths)} images of {channels} x {height} x {width} values",
        len(found.paths),
        (12 if recipe.deep else 10) * channels * height * width,  # as they are, by split, normalised
    )

    def read(paths: Sequence[Path]) -> tuple[np.ndarray, dict[str, np.ndarray]]:
        return image_files.stacked(paths, recipe), {}

    return raw_data(
        source,
        found,
        read,
        normalise="train" if normalise else None,
        channels="first",
        files={"kind": "images", "path": path, **asdict(recipe)},
    )


def _check(size: int | list[int] | None, fit: str, color: str) -> None:
    sides = [size] if isinstance(size, int) else size or []
    if size is not None and (len(sides) not in (1, 2) or not all(1 <= side <= LARGEST_SIDE for side in sides)):
        raise DataError(
            f"data.options.size: must be a number of pixels from 1 to {LARGEST_SIDE}, or height and width, got {size}"
        )
    for key, value, known in (("fit", fit, FITS), ("color", color, COLORS)):
        if value not in known:
            raise DataError(f"data.options.{key}: {unknown('choice', value, list(known))}")


def recipe_of(paths: Sequence[Path], size: int | list[int] | None, fit: str, color: str) -> Recipe:
    """By the headers of all files. Raises `DataError` if they have several sizes and none is given."""
    seen = image_files.headers(paths)
    if size is None:
        shapes = Counter((each.height, each.width) for each in seen)
        if len(shapes) > 1:
            common = shapes.most_common(1)[0][0]
            at = next(i for i, each in enumerate(seen) if (each.height, each.width) != common)
            raise DataError(
                f"data.options.size: images have {len(shapes)} sizes, such as {common[1]} x {common[0]} pixels and "
                f"{seen[at].width} x {seen[at].height} ({paths[at]}); name one, such as data.options.size=64"
            )
        height, width = next(iter(shapes))
        if max(height, width) > LARGEST_SIDE:
            raise DataError(f"data.options.size: images are {width} x {height} pixels; name a smaller size, such as 64")
    else:
        height, width = (size, size) if isinstance(size, int) else (size[0], size[-1])
    grey = color == "grey" or (color == "auto" and all(each.grey for each in seen))
    deep = any(each.deep for each in seen)
    return Recipe(height, width, "grey" if grey else "rgb", fit, deep)  # type: ignore[arg-type]
