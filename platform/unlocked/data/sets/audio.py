"""Sound files of one's own, from folders or a table: their classes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Literal

import numpy as np

from unlocked.data.dataset import RawData, register_data
from unlocked.data.files.source import Source
from unlocked.data.media import sound_files, wav
from unlocked.data.media.file_trees import Kind
from unlocked.data.media.labelled_files import labelled, raw_data, refuse_too_many
from unlocked.data.media.mel import filters, sizes
from unlocked.data.media.sound_files import FEATURES, LAYOUTS, Recipe
from unlocked.data.splits import Splits, with_splits
from unlocked.errors import DataError
from unlocked_models.contract.batch import LENGTHS
from unlocked_models.contract.registry import unknown

SOUNDS = Kind("sounds", wav.SUFFIXES, "convert them to WAV (ffmpeg -i one.mp3 one.wav)")


@register_data("audio", task="classification", family="sound")
@with_splits()
def audio(
    source: Source,
    splits: Splits,
    file: str,
    path: str = "file",
    target: str = "label",
    task: Literal["classification", "regression"] = "classification",
    features: str = "logmel",
    layout: str = "sequence",
    rate: int | None = None,
    seconds: float | None = None,
    mels: int = 40,
    window: float = 0.025,
    hop: float = 0.01,
    normalise: bool = True,
) -> RawData:
    """WAV files of your own. `file`: a folder with a folder for every class, `sounds/dog/1.wav`, or with those in
    folders train and test, `sounds/train/dog/1.wav`; or a table, whose column `path` names the files, from its own
    folder on, and whose column `target` says the class of each, or a value (`task=regression`). `features`: logmel
    (`mels` bands in windows of `window` seconds, every `hop`) or raw. `layout` of logmel: sequence (frames, mels),
    which says how long each is, or image (1, mels, frames), filled up with silence. `rate` a second, to which all are
    resampled; null: as they are, if all are alike. `seconds`: longer files are cut; null: the longest. Channels are
    averaged. `normalise`: mean 0 and deviation 1 of each band (of an image, of all).
    """
    _check(features, layout, rate, seconds, mels, window, hop)
    found = labelled(source, splits, file, SOUNDS, path, target, task)
    recipe = _recipe(found.paths, rate, seconds, features, layout, mels, window, hop)
    positions = recipe.positions
    refuse_too_many(
        f"{len(found.paths)} sounds of {positions} positions (data.options.seconds cuts them)",
        len(found.paths),
        16 * int(np.prod(recipe.shape)),  # as they are, by split, normalised
    )
    sequence = features == "raw" or layout == "sequence"

    def read(paths: Sequence[Path]) -> tuple[np.ndarray, dict[str, np.ndarray]]:
        x, lengths = sound_files.stacked(paths, recipe)
        return x, {LENGTHS: lengths} if sequence else {}

    return raw_data(
        source,
        found,
        read,
        normalise="train" if normalise and features == "logmel" else None,
        channels=None if sequence else "first",
        files={"kind": "audio", "path": path, **asdict(recipe)},
    )


def _check(
    features: str, layout: str, rate: int | None, seconds: float | None, mels: int, window: float, hop: float
) -> None:
    for key, value, known in (("features", features, FEATURES), ("layout", layout, LAYOUTS)):
        if value not in known:
            raise DataError(f"data.options.{key}: {unknown('choice', value, list(known))}")
    if features == "raw" and layout != "sequence":
        raise DataError("data.options.layout: raw sound is a sequence; an image is of data.options.features=logmel")
    if rate is not None and not 100 <= rate <= 400_000:
        raise DataError(f"data.options.rate: must be from 100 to 400000 samples a second, got {rate}")
    if mels < 1:
        raise DataError(f"data.options.mels: must be at least 1, got {mels}")
    for key, length in (("seconds", seconds), ("window", window), ("hop", hop)):
        if length is not None and not 0 < length < 1e5:
            raise DataError(f"data.options.{key}: must be a number of seconds above 0, got {length}")


def _recipe(
    paths: Sequence[Path],
    rate: int | None,
    seconds: float | None,
    features: str,
    layout: str,
    mels: int,
    window: float,
    hop: float,
) -> Recipe:
    """By the headers of all files. Raises `DataError` if they have several rates and none is given."""
    seen = sound_files.headers(paths)
    if rate is None:
        rate = seen[0].rate
        other = next((i for i, each in enumerate(seen) if each.rate != rate), None)
        if other is not None:
            raise DataError(
                f"data.options.rate: {paths[0]} has {rate} samples a second and {paths[other]} {seen[other].rate}; "
                f"name one, to which all are brought, such as data.options.rate={min(each.rate for each in seen)}"
            )
    samples = round((max(each.seconds for each in seen) if seconds is None else seconds) * rate)
    if features == "logmel":
        filters(rate, mels, sizes(rate, window, hop)[2])
    return Recipe(rate, max(1, samples), features, mels, window, hop, layout)  # type: ignore[arg-type]
