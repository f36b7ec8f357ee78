"""New inputs that are image or sound files, folders or tables of such, read as those that a net was trained on."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from unlocked.data.media import image_files, sound_files, wav
from unlocked.data.media.file_trees import Kind, files_in
from unlocked.data.media.labelled_files import paths_of
from unlocked.data.new.reading import FILE, Reading
from unlocked.data.tables.table import ENDINGS, read_table
from unlocked.errors import DataError, reason
from unlocked.options import fits, option_kinds

IMAGES = Kind("images", image_files.SUFFIXES)
SOUNDS = Kind("sounds", wav.SUFFIXES)
RecipeT = TypeVar("RecipeT", image_files.Recipe, sound_files.Recipe)


def raw_images(path: Path, reading: Reading) -> tuple[np.ndarray, list[str]]:
    """`(n, channels, height, width)` on the scale of the raw data, and their names."""
    found, names = _found(path, IMAGES, reading)
    recipe = _recipe(reading, "images", image_files.Recipe)
    if recipe is not None:
        return image_files.stacked(found, recipe), names
    x = np.stack([_of_that_size(each, reading) for each in found])
    if reading.dtype != "uint8":  # black is the lowest value of the data, white the highest
        x = reading.lowest + x / 255 * (reading.highest - reading.lowest)
    return x, names


def raw_sounds(path: Path, reading: Reading) -> tuple[np.ndarray, np.ndarray | None, list[str], list[str]]:
    """Raw inputs, the positions of each if the net is told, their names, and notes of files that were cut."""
    recipe = _recipe(reading, "audio", sound_files.Recipe)
    if recipe is None:
        raise DataError(f"{path}: is sound; this net was not trained on sound files, so how to read one is not known")
    found, names = _found(path, SOUNDS, reading)
    x, lengths = sound_files.stacked(found, recipe)
    most = recipe.samples / recipe.rate
    long = [name for name, each in zip(names, found, strict=True) if wav.header(each).seconds > most * 1.001 + 1e-3]
    notes = [f"{path}: longer than the {most:.3g} s that the net was trained on, and cut: {_listed(long)}"] * bool(long)
    return x, lengths if reading.example.has_lengths else None, names, notes


def _listed(names: Sequence[str], most: int = 5) -> str:
    return ", ".join(names[:most]) + f" and {len(names) - most} more" * (len(names) > most)


def lists(path: Path, reading: Reading) -> bool:
    """Whether it is a table that names files of a kind that the net was trained on."""
    return (reading.files or {}).get("kind") in ("images", "audio") and path.suffix.lower() in ENDINGS


def _found(path: Path, kind: Kind, reading: Reading) -> tuple[list[Path], list[str]]:
    if not path.exists():
        raise DataError(f"{path}: is no file")
    if lists(path, reading):
        table, column = read_table(path), str((reading.files or {}).get("path", "file"))
        found = paths_of(table, column, kind, f"{path}")
        return found, [str(each.relative_to(path.parent)) for each in found]
    if not path.is_dir():
        return [path], [path.name]
    found = files_in(path, kind)[0]
    if not found:
        raise DataError(f"{path}: has no {kind.named} ({' '.join(kind.suffixes)})")
    return found, [str(each.relative_to(path)) for each in found]


def _recipe(reading: Reading, kind: str, made: type[RecipeT]) -> RecipeT | None:
    """The one that the training files were read by; None if they were no files of that kind."""
    if reading.files is None or reading.files.get("kind") != kind:
        return None
    given = {key: value for key, value in reading.files.items() if key not in ("kind", "path")}
    kinds: dict[str, Any] = option_kinds(made)
    try:
        recipe = made(**given)
        known = all(fits(value, kinds[key]) for key, value in given.items()) and recipe.shape == reading.shape
    except (TypeError, KeyError, ValueError, ZeroDivisionError):
        known = False
    if not known:
        raise DataError(f"{FILE}: files: of no data set of {kind}")
    return recipe


def _of_that_size(path: Path, reading: Reading) -> np.ndarray:
    """Of a net whose training inputs were no files: an image of the very size, from 0 to 255."""
    from PIL import Image

    channels, height, width = reading.shape
    modes = {1: "L", 3: "RGB", 4: "RGBA"}
    if channels not in modes:
        raise DataError(f"{path}: this net reads {channels} channels, an image file has 1, 3 or 4; give an .npz")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # its size is looked at first
            image = Image.open(path, formats=image_files.FORMATS)
        with image:
            as_it_is = image.size == (width, height)
            pixels = np.asarray(image.convert(modes[channels]), dtype=np.float64) if as_it_is else None
    except Exception as error:  # of damaged files every format raises its own
        raise DataError(f"{path}: cannot be read as an image: {reason(error)}") from None
    if pixels is None:
        size = f"{image.size[0]} x {image.size[1]}"
        raise DataError(f"{path}: is {size} pixels; this net reads {width} x {height}: resize it first")
    return pixels.reshape(height, width, channels).transpose(2, 0, 1)
