"""Sound files as arrays of one length: resampled, cut or filled up, as they are or as log-mel spectra."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from unlocked.data.media import wav
from unlocked.data.media.mel import FLOOR, frames_of, log_mel
from unlocked.data.media.threads import in_threads

FEATURES = ("logmel", "raw")
LAYOUTS = ("sequence", "image")


@dataclass(frozen=True)
class Recipe:
    """How a file becomes one input: its first `samples` at `rate` a second, the mean of its channels.

    raw      `(samples,)`, from -1 to 1
    logmel   `(frames, mels)` in windows of `window` seconds, every `hop`; as an `image` `(1, mels, frames)`

    What a shorter file lacks is zeros after its end, and lengths say so; an image is filled up with silence.
    """

    rate: int
    samples: int
    features: Literal["logmel", "raw"] = "logmel"
    mels: int = 40
    window: float = 0.025
    hop: float = 0.01
    layout: Literal["sequence", "image"] = "sequence"

    @property
    def positions(self) -> int:
        return self.samples if self.features == "raw" else frames_of(self.samples, self.rate, self.hop)

    @property
    def shape(self) -> tuple[int, ...]:
        if self.features == "raw":
            return (self.positions,)
        return (1, self.mels, self.positions) if self.layout == "image" else (self.positions, self.mels)


def headers(paths: Sequence[Path]) -> list[wav.Wav]:
    return [wav.header(path) for path in paths]


def features(path: Path, recipe: Recipe) -> np.ndarray:
    """`(positions of this file,)` or `(frames, mels)`, float32. Raises `DataError`, one line that names the file."""
    found = wav.header(path)
    most = math.ceil(recipe.samples * found.rate / recipe.rate) + 1
    signal = resampled(wav.samples(path, most), found.rate, recipe.rate)[: recipe.samples]
    if recipe.features == "raw":
        return signal
    return log_mel(signal, recipe.rate, recipe.mels, recipe.window, recipe.hop)


def stacked(paths: Sequence[Path], recipe: Recipe) -> tuple[np.ndarray, np.ndarray]:
    """`(files, *shape)` and how many positions each file has."""
    fill = math.log(FLOOR) if recipe.layout == "image" else 0.0
    wide = (recipe.mels,) if recipe.features == "logmel" else ()
    found = np.full((len(paths), recipe.positions, *wide), fill, np.float32)
    lengths = np.zeros(len(paths), np.int64)

    def read(at: int) -> None:
        one = features(paths[at], recipe)
        lengths[at] = len(one)
        found[at, : len(one)] = one

    in_threads(read, range(len(paths)))
    if recipe.layout == "image":
        found = found.transpose(0, 2, 1)[:, None]
    return found, lengths


def resampled(signal: np.ndarray, given: int, wanted: int) -> np.ndarray:
    """At another rate, without what lies above half of the lower one (a windowed sinc, by scipy)."""
    if given == wanted:
        return signal
    from scipy.signal import resample_poly

    common = math.gcd(given, wanted)
    found: np.ndarray = resample_poly(signal.astype(np.float64), wanted // common, given // common)
    return found.astype(np.float32)
