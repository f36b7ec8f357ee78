"""Log-mel spectra of sound: the logarithm of its power in bands that are as wide as the ear tells them apart.

The equations and defaults of `torchaudio.transforms.MelSpectrogram`: frames of a Hann window, centred, reflected at the
ends; power; triangles between frequencies that are equally far apart on the mel scale m = 2595 log10(1 + f / 700)
(O'Shaughnessy 1987), not normalised. By scipy, so that a set has the same numbers on every machine: torchaudio, which
its own build of torch needs, gives the same in float64.
"""

from __future__ import annotations

import math
from functools import lru_cache

import numpy as np
import torch

from unlocked.errors import DataError

FLOOR = 1e-6  # added to the power; silence is log(FLOOR)


def sizes(rate: int, window: float, hop: float) -> tuple[int, int, int]:
    """Samples of a window, of a step, and of the transform: the next power of 2."""
    wide, step = max(1, round(window * rate)), max(1, round(hop * rate))
    return wide, step, 1 << max(1, (wide - 1).bit_length())


def frames_of(samples: int, rate: int, hop: float) -> int:
    return 1 + samples // max(1, round(hop * rate))


def log_mel(signal: np.ndarray, rate: int, mels: int, window: float, hop: float) -> np.ndarray:
    """`(frames, mels)` float32 of a signal `(samples,)`; a shorter one than a window is filled up with silence."""
    import scipy.fft

    wide, step, points = sizes(rate, window, hop)
    frames = frames_of(len(signal), rate, hop)
    if len(signal) <= points // 2:  # too short to be reflected
        signal = np.pad(signal, (0, points // 2 + 1 - len(signal)))
    left = (points - wide) // 2
    hann = np.pad(torch.hann_window(wide).double().numpy(), (left, points - wide - left))
    padded = np.pad(signal.astype(np.float64), points // 2, mode="reflect")
    windows = np.lib.stride_tricks.sliding_window_view(padded, points)[::step]
    spectrum = scipy.fft.rfft(windows * hann, axis=1)
    power = (spectrum.real**2 + spectrum.imag**2) @ filters(rate, mels, points)
    found: np.ndarray = np.log(power[:frames] + FLOOR).astype(np.float32)
    return found


@lru_cache(maxsize=8)
def filters(rate: int, mels: int, points: int) -> np.ndarray:
    """Triangles `(points / 2 + 1, mels)`, computed in float32 as torchaudio does: the rounding of a narrow one shows.

    Raises `DataError` if one is so narrow that no frequency lies in it.
    """
    frequencies = torch.linspace(0, rate // 2, points // 2 + 1)
    most = 2595 * math.log10(1 + (rate / 2) / 700)
    corners = 700 * (10 ** (torch.linspace(0, most, mels + 2) / 2595) - 1)
    wide = corners.diff()
    away = corners[None] - frequencies[:, None]
    found = torch.minimum(-away[:, :-2] / wide[:-1], away[:, 2:] / wide[1:]).clamp(min=0)
    empty = (found.amax(0) == 0).nonzero().flatten().tolist()
    if empty:
        raise DataError(
            f"data.options.mels: {mels} bands are too narrow for windows of {points} points at {rate} Hz (band "
            f"{empty[0] + 1} is empty); take fewer, or a longer data.options.window"
        )
    return found.double().numpy()
