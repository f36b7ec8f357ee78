"""WAV files as float32 from -1 to 1: PCM of 8, 16, 24 and 32 bits, floats, A-law and mu-law; channels are averaged.

RIFF is a list of chunks, each a name of four letters and a length: `fmt ` says how `data` is to be read (Microsoft and
IBM, "Multimedia Programming Interface and Data Specifications 1.0", 1991; A-law and mu-law: ITU-T G.711). Lengths are
held against the file's own before memory is taken.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import numpy as np

from unlocked.errors import DataError, reason

SUFFIXES = (".wav", ".wave")
PCM, FLOAT, A_LAW, MU_LAW, EXTENSIBLE = 1, 3, 6, 7, 0xFFFE
_NAMES = {2: "ADPCM", 0x11: "IMA ADPCM", 0x31: "GSM 6.10", 0x55: "MP3", 0x50: "MPEG"}
_BITS = {PCM: (8, 16, 24, 32), FLOAT: (32, 64), A_LAW: (8,), MU_LAW: (8,)}
_STREAMED = 0x7FFF_F000  # and above: written before the length was known


@dataclass(frozen=True)
class Wav:
    """What the header of a file says: `frames` at `rate` a second, each of `channels` values."""

    rate: int
    channels: int
    frames: int
    kind: int
    bits: int
    start: int  # of the values, in bytes

    @property
    def seconds(self) -> float:
        return self.frames / self.rate


def header(path: Path) -> Wav:
    """Raises `DataError`, one line that names the file: no WAV, of a kind that is not read, without sound, torn."""
    try:
        size = path.stat().st_size
        if not size:
            raise DataError(f"{path}: is empty")
        with path.open("rb") as file:
            return _header(path, file, size)
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {reason(error)}") from None
    except struct.error:
        raise DataError(f"{path}: is torn: its header ends too early") from None


def _header(path: Path, file: IO[bytes], size: int) -> Wav:
    begin = file.read(12)
    if begin[:4] != b"RIFF" or begin[8:] != b"WAVE":
        raise DataError(f"{path}: is no WAV file (it begins with {begin[:4].hex(' ')})")
    form: tuple[int, int, int, int] | None = None
    while len(begin := file.read(8)) == 8:
        chunk, length = struct.unpack("<4sI", begin)
        if chunk == b"fmt ":
            body = file.read(length + length % 2) if length <= 1 << 16 else b""
            kind, channels, rate, _, _, bits = struct.unpack("<HHIIHH", body[:16])
            if kind == EXTENSIBLE and len(body) >= 26:
                kind = struct.unpack("<H", body[24:26])[0]
            form = kind, channels, rate, bits
        elif chunk == b"data":
            if form is None:
                raise DataError(f"{path}: is no WAV file: its values come before their format")
            return _checked(path, form, length, file.tell(), size)
        else:
            file.seek(length + length % 2, 1)
    raise DataError(f"{path}: has no sound: its header names no values")


def _checked(path: Path, form: tuple[int, int, int, int], length: int, start: int, size: int) -> Wav:
    kind, channels, rate, bits = form
    if kind not in _BITS:
        named = _NAMES.get(kind, f"kind {kind:#x}")
        raise DataError(f"{path}: holds {named}; PCM, floats, A-law and mu-law are read: convert it to WAV of 16 bits")
    if bits not in _BITS[kind]:
        raise DataError(f"{path}: has {bits} bits a value; {' or '.join(map(str, _BITS[kind]))} are read")
    if not (1 <= channels <= 64 and 1 <= rate <= 1_000_000):
        raise DataError(f"{path}: its header says {channels} channels at {rate} Hz, which no sound has")
    there = size - start
    if length >= _STREAMED:
        length = there
    if length > there:
        raise DataError(f"{path}: is torn: its header promises {length:,} bytes of sound, {there:,} are there")
    frames = length // (channels * bits // 8)
    if not frames:
        raise DataError(f"{path}: has no sound: its length is zero")
    return Wav(rate, channels, frames, kind, bits, start)


def samples(path: Path, most: int | None = None) -> np.ndarray:
    """`(frames,)` float32, the mean of the channels; the first `most` frames alone, if it is given."""
    wav = header(path)
    frames = wav.frames if most is None else min(most, wav.frames)
    wide = wav.channels * wav.bits // 8
    try:
        with path.open("rb") as file:
            file.seek(wav.start)
            values = _values(file.read(frames * wide), wav.kind, wav.bits)
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {reason(error)}") from None
    if not np.isfinite(values).all():
        raise DataError(f"{path}: holds values that are not finite")
    mean: np.ndarray = values.reshape(-1, wav.channels).mean(axis=1, dtype=np.float64)
    return mean.astype(np.float32)


def _values(raw: bytes, kind: int, bits: int) -> np.ndarray:
    if kind == FLOAT:
        return np.frombuffer(raw, f"<f{bits // 8}")
    if kind in (A_LAW, MU_LAW):
        table = _a_law() if kind == A_LAW else _mu_law()
        return table[np.frombuffer(raw, np.uint8)]
    if bits == 8:
        return (np.frombuffer(raw, np.uint8).astype(np.float32) - 128) / 128
    if bits == 24:
        parts = np.frombuffer(raw, np.uint8).reshape(-1, 3)
        wide = np.zeros((len(parts), 4), np.uint8)
        wide[:, 1:] = parts
        return (wide.view("<i4")[:, 0] / 2**31).astype(np.float32)
    return (np.frombuffer(raw, f"<i{bits // 8}") / 2.0 ** (bits - 1)).astype(np.float32)


def _mu_law() -> np.ndarray:
    """By code, the value (G.711, table 2b)."""
    code = ~np.arange(256, dtype=np.uint8)
    exponent, mantissa = (code >> 4) & 7, (code & 15).astype(np.int32)
    size = (((mantissa << 3) + 132) << exponent) - 132
    return (np.where(code & 128, -size, size) / 32768).astype(np.float32)


def _a_law() -> np.ndarray:
    """By code, the value (G.711, table 1b)."""
    code = np.arange(256, dtype=np.uint8) ^ 0x55
    exponent, mantissa = ((code >> 4) & 7).astype(np.int32), (code & 15).astype(np.int32)
    size = np.where(exponent == 0, (mantissa << 4) + 8, ((mantissa << 4) + 264) << np.maximum(exponent - 1, 0))
    return (np.where(code & 128, size, -size) / 32768).astype(np.float32)
