"""Image files as arrays of one size: PNG, JPEG, BMP, GIF, TIFF and WebP by Pillow, in several threads.

    8 bits              uint8, read as value / 255
    16 bits of grey     float32 from 0 to 1, all of them: Pillow's own conversion to 8 bits cuts off what is above 255
    transparent pixels  lie on white; their hidden colours are not looked at
    turned by EXIF      stand upright, as a viewer shows them

The size is read from the header and checked before a pixel is unpacked.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from unlocked.data.media.threads import in_threads
from unlocked.errors import DataError, reason

if TYPE_CHECKING:
    from PIL.Image import Image

SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".gif", ".tif", ".tiff", ".webp")
FORMATS = ("PNG", "JPEG", "BMP", "GIF", "TIFF", "WEBP")  # a PostScript file by another name would be run
MOST_PIXELS = 100_000_000  # of a file
FITS = ("crop", "stretch", "pad")
COLOURS = {"grey": 1, "rgb": 3}
_DEEP = ("I;16", "I;16B", "I;16L", "I;16N")
_GREY = ("1", "L", "LA", "La")


@dataclass(frozen=True)
class Header:
    """`width` and `height` as a viewer shows them; `deep`: 16 bits of grey."""

    width: int
    height: int
    grey: bool
    deep: bool


@dataclass(frozen=True)
class Recipe:
    """How a file becomes one input `(channels, height, width)`: float32 from 0 to 1 if `deep`, else uint8.

    `fit`: `crop` fills the size and cuts off what is over on both sides; `stretch` changes the proportions; `pad` shows
    the whole image, with black beside it.
    """

    height: int
    width: int
    colour: Literal["grey", "rgb"] = "rgb"
    fit: Literal["crop", "stretch", "pad"] = "crop"
    deep: bool = False

    @property
    def shape(self) -> tuple[int, int, int]:
        return COLOURS[self.colour], self.height, self.width


def header(path: Path) -> Header:
    """Raises `DataError`, one line that names the file: no image, or more than `MOST_PIXELS`."""
    with _opened(path) as image:
        width, height = image.size
        # of a PNG without EXIF before its pixels, those would be unpacked to look for some after them
        exif = {} if image.format == "PNG" and "exif" not in image.info else image.getexif()
        if exif.get(0x0112, 1) in (5, 6, 7, 8):  # orientation: lies on its side
            width, height = height, width
        deep = _is_deep(image)
        return Header(width, height, deep or image.mode in _GREY, deep)


def headers(paths: Sequence[Path]) -> list[Header]:
    return _in_threads(header, paths)


def pixels(path: Path, recipe: Recipe) -> np.ndarray:
    """`(channels, height, width)`. Raises `DataError`, one line that names the file, if it is damaged."""
    from PIL import ImageOps

    with _opened(path) as image:
        try:
            if image.format in ("JPEG", "MPO"):  # decodes a large photograph at a fraction of its size
                image.draft(None, (2 * recipe.width, 2 * recipe.height))
            image.load()
            upright = ImageOps.exif_transpose(image)
            deep = _is_deep(upright)
            if upright.mode in ("I", "F") and not deep:
                raise ValueError(f"holds {upright.mode!r} values of 32 bits, whose range is not known; save 8 or 16")
            plain = (
                _as_float(upright) if deep else _on_white(upright).convert("L" if recipe.colour == "grey" else "RGB")
            )
            if plain.size != (recipe.width, recipe.height):
                plain = _fitted(plain, recipe)
            values = np.asarray(plain)
        except Exception as error:  # of damaged files every format raises its own
            raise _unreadable(path, error) from None
    if deep:
        values = np.clip(values / 65535, 0, 1, dtype=np.float32)
        values = values if recipe.deep else np.round(values * 255).astype(np.uint8)
    elif recipe.deep:
        values = values.astype(np.float32) / 255
    if values.ndim == 2:
        return np.broadcast_to(values, recipe.shape)
    return values.transpose(2, 0, 1)


def stacked(paths: Sequence[Path], recipe: Recipe) -> np.ndarray:
    """`(files, channels, height, width)`."""
    found = np.empty((len(paths), *recipe.shape), np.float32 if recipe.deep else np.uint8)

    def read(at: int) -> None:
        found[at] = pixels(paths[at], recipe)

    _in_threads(read, range(len(paths)))
    return found


def _in_threads(what: Any, over: Sequence[Any]) -> list[Any]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of sizes, which are checked here, and of odd EXIF
        return in_threads(what, over)


def _opened(path: Path) -> Image:
    from PIL import Image

    try:
        image = Image.open(path, formats=FORMATS)
    except Exception as error:
        raise _unreadable(path, error) from None
    width, height = image.size
    if width * height > MOST_PIXELS:
        image.close()
        raise DataError(
            f"{path}: is {width} x {height} pixels; up to {MOST_PIXELS:,} are read: make it smaller, or leave it out"
        )
    return image


def _unreadable(path: Path, error: Exception) -> DataError:
    if path.is_file() and not path.stat().st_size:
        return DataError(f"{path}: is empty")
    why = reason(error).replace(f" {str(path)!r}", "")
    return DataError(f"{path}: cannot be read as an image: {why}")


def _is_deep(image: Image) -> bool:
    return image.mode in _DEEP or (image.mode == "I" and image.format == "PNG")


def _as_float(image: Image) -> Image:
    from PIL import Image

    return Image.fromarray(np.asarray(image).astype(np.float32))


def _on_white(image: Image) -> Image:
    from PIL import Image

    if "A" not in image.getbands() and "a" not in image.getbands() and "transparency" not in image.info:
        return image
    clear = image.convert("RGBA")
    return Image.alpha_composite(Image.new("RGBA", clear.size, (255, 255, 255, 255)), clear)


def _fitted(image: Image, recipe: Recipe) -> Image:
    from PIL import Image, ImageOps

    size, how = (recipe.width, recipe.height), Image.Resampling.BILINEAR
    if recipe.fit == "crop":
        return ImageOps.fit(image, size, how)
    if recipe.fit == "pad":
        return ImageOps.pad(image, size, how)
    return image.resize(size, how)
