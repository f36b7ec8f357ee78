"""Sounds from folders: every kind of WAV has the same values, spectra are torchaudio's, and faults name their file."""

from __future__ import annotations

import struct
import warnings
from types import SimpleNamespace

import numpy as np
import pytest
import scipy.io.wavfile
import torch

from unlocked.data.media import wav
from unlocked.data.media.mel import FLOOR, log_mel
from unlocked.data.media.sound_files import resampled
from unlocked.data.new.inputs import read_file
from unlocked.data.new.reading import Reading
from unlocked.errors import DataError
from unlocked.tasks import load

RATE = 4000


def tone(pitch, seconds, rate=RATE):
    return np.sin(2 * np.pi * pitch * np.arange(round(seconds * rate)) / rate)


@pytest.fixture
def sounds(tmp_path):
    """`sounds(folder)`: five low and five high tones, of 0.10 to 0.18 seconds."""

    def make(folder="sounds", rate=RATE):
        for name, pitch in (("high", 1500), ("low", 200)):
            (tmp_path / folder / name).mkdir(parents=True)
            for i in range(5):
                values = (16000 * tone(pitch, 0.1 + 0.02 * i, rate)).astype(np.int16)
                scipy.io.wavfile.write(tmp_path / folder / name / f"{i}.wav", rate, values)
        return tmp_path / folder

    return make


def riff(kind, bits, raw, channels=1, rate=RATE, length=None, more=b""):
    form = struct.pack("<HHIIHH", kind, channels, rate, rate * channels * bits // 8, channels * bits // 8, bits)
    body = b"WAVE" + more + b"fmt " + struct.pack("<I", 16) + form
    body += b"data" + struct.pack("<I", len(raw) if length is None else length) + raw
    return b"RIFF" + struct.pack("<I", len(body)) + body


@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.int32, np.float32, np.float64])
def test_values_are_those_that_scipy_reads(dtype, tmp_path):
    signal = 0.7 * tone(300, 0.02)
    scale = {"u": 127, "i": np.iinfo(dtype).max if np.dtype(dtype).kind == "i" else 1, "f": 1}[np.dtype(dtype).kind]
    scipy.io.wavfile.write(tmp_path / "a.wav", RATE, (signal * scale + 128 * (dtype == np.uint8)).astype(dtype))
    np.testing.assert_allclose(wav.samples(tmp_path / "a.wav"), signal, atol=1 / 60 if dtype == np.uint8 else 1e-4)


def test_24_bits_two_channels_and_odd_chunks_are_read(tmp_path):
    file = tmp_path / "a.wav"
    values = np.array([[2**22, 0], [-(2**23), -(2**23)]], "<i4")
    raw = values.astype("<i4").view(np.uint8).reshape(-1, 4)[:, :3].tobytes()
    file.write_bytes(riff(1, 24, raw, channels=2, more=b"LIST" + struct.pack("<I", 3) + b"abc\0"))
    assert wav.samples(file).tolist() == [0.25, -1.0]
    file.write_bytes(riff(1, 16, struct.pack("<2h", 16384, -16384), length=0xFFFFFFFF))  # streamed
    assert wav.samples(file).tolist() == [0.5, -0.5]


def test_a_law_and_mu_law_are_those_of_the_standard(tmp_path):
    file = tmp_path / "a.wav"
    file.write_bytes(riff(7, 8, bytes([0x00, 0x80, 0xFF, 0x7F, 0xE7])))
    assert (wav.samples(file) * 32768).tolist() == [-32124, 32124, 0, 0, 260]
    file.write_bytes(riff(6, 8, bytes([0xD5, 0x55, 0xAA, 0x2A, 0xC5])))
    assert (wav.samples(file) * 32768).tolist() == [8, -8, 32256, -32256, 264]


def test_a_folder_for_each_class_is_a_set_of_sequences_with_lengths(sounds):
    data = load("audio", file=str(sounds()), test=0.4, mels=20, window=0.032, normalise=False)
    assert (data.in_shape, data.class_names) == ((19, 20), ["high", "low"])
    assert sorted(torch.cat([data.train.lengths, data.test.lengths]).tolist()) == sorted([11, 13, 15, 17, 19] * 2)
    highest = data.train.x[:, :10].mean(1).argmax(1)
    assert highest[data.train.y == 0].min() > highest[data.train.y == 1].max()


def test_spectra_as_images_are_filled_up_with_silence_and_raw_sound_is_as_it_is(sounds):
    folder = str(sounds())
    data = load("audio", file=folder, test=0.2, mels=20, layout="image", normalise=False)
    assert data.in_shape == (1, 20, 19)
    assert data.train.x.min() == pytest.approx(np.log(FLOOR))
    raw = load("audio", file=folder, test=0.2, features="raw", seconds=0.11)
    assert raw.in_shape == (440,)
    assert set(raw.train.lengths.tolist()) == {400, 440}
    assert raw.train.x.abs().max() == pytest.approx(16000 / 32768, abs=1e-3)


def test_sounds_of_several_rates_need_one_and_are_resampled(sounds):
    folder = sounds()
    values = (16000 * tone(200, 0.3, 8000)).astype(np.int16)
    scipy.io.wavfile.write(folder / "low" / "fast.wav", 8000, values)
    with pytest.raises(DataError, match=r"high/0.wav has 4000 samples a second and .*low/fast.wav 8000; name one"):
        load("audio", file=str(folder))
    assert load("audio", file=str(folder), rate=4000, features="raw").in_shape == (1200,)
    inner = slice(100, -100)
    np.testing.assert_allclose(resampled(tone(200, 0.3, 8000), 8000, 4000)[inner], tone(200, 0.3)[inner], atol=2e-3)
    assert np.abs(resampled(tone(3000, 0.3, 8000), 8000, 4000)[inner]).max() < 2e-2  # above half of the new rate


def test_log_mel_spectra_are_those_of_torchaudio():
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            from torchaudio.transforms import MelSpectrogram
    except (ImportError, OSError):  # OSError: a library of another build of torch
        pytest.skip("torchaudio cannot be imported")
    signal = np.random.default_rng(0).normal(0, 0.1, 8000).astype(np.float32)
    made = MelSpectrogram(8000, n_fft=256, win_length=200, hop_length=80, n_mels=23)
    expected = torch.log(made(torch.from_numpy(signal)).T + FLOOR)
    np.testing.assert_allclose(log_mel(signal, 8000, 23, 0.025, 0.01), expected.numpy(), atol=1e-4)


def test_log_mel_spectra_follow_their_equation():
    """Frame by frame, as a sum over frequencies."""
    signal = tone(500, 0.1) + 0.1 * tone(1200, 0.1)
    found = log_mel(signal, RATE, 12, 0.032, 0.01)
    window = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(128) / 128)
    begin = 3 * 40
    piece = np.pad(signal, 64, mode="reflect")[begin : begin + 128] * window
    power = [abs(np.sum(piece * np.exp(-2j * np.pi * k * np.arange(128) / 128))) ** 2 for k in range(65)]
    hertz = np.arange(65) * RATE / 128
    corners = 700 * (10 ** (np.linspace(0, 2595 * np.log10(1 + 2000 / 700), 14) / 2595) - 1)
    bands = [np.interp(hertz, corners[m : m + 3], [0, 1, 0], left=0, right=0) @ power for m in range(12)]
    np.testing.assert_allclose(found[3], np.log(np.array(bands) + FLOOR), atol=1e-4)
    assert found.shape == (11, 12)


def test_new_sounds_are_read_as_those_of_training(sounds, tmp_path):
    data = load("audio", file=str(sounds()), mels=20, window=0.032)
    Reading.of(data).write(tmp_path)
    reading = Reading.read(tmp_path)
    assert reading is not None
    new = read_file(sounds("again", rate=8000), reading)  # another rate
    assert new.names is not None
    assert new.names[0] == "high/0.wav"
    assert new.extras["lengths"].tolist() == [11, 13, 15, 17, 19] * 2
    same = read_file(tmp_path / "sounds", reading)
    every, lengths = torch.cat([data.train.x, data.test.x]), torch.cat([data.train.lengths, data.test.lengths])
    assert all((every == x).flatten(1).all(1).any() for x in same.x)
    assert sorted(same.extras["lengths"].tolist()) == sorted(lengths.tolist())
    scipy.io.wavfile.write(tmp_path / "long.wav", RATE, np.ones(4000, np.int16))
    (note,) = read_file(tmp_path / "long.wav", reading).notes
    assert "longer than the 0.18 s that the net was trained on, and cut: long.wav" in note


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", r"0.wav: is empty$"),
        (riff(1, 16, b""), r"0.wav: has no sound: its length is zero"),
        (b"RIFF\0\0\0\0WAVE", r"0.wav: has no sound: its header names no values"),
        (b"ID3\3 an mp3", r"0.wav: is no WAV file \(it begins with 49 44 33 03\)"),
        (riff(1, 16, b"\1\2", length=1000), r"0.wav: is torn: its header promises 1,000 bytes of sound, 2 are there"),
        (riff(0x55, 16, b"\1\2"), r"0.wav: holds MP3; PCM, floats, A-law and mu-law are read"),
        (riff(1, 12, b"\1\2"), r"0.wav: has 12 bits a value; 8 or 16 or 24 or 32 are read"),
        (riff(3, 32, struct.pack("<f", np.nan)), r"0.wav: holds values that are not finite"),
        (riff(1, 16, b"\1\2", channels=0), r"0.wav: its header says 0 channels"),
        (riff(1, 16, b"\1\2")[:30], r"0.wav: is torn|has no sound"),
    ],
)
def test_a_fault_is_one_line_that_names_the_file(content, said, sounds):
    folder = sounds()
    (folder / "high" / "0.wav").write_bytes(content)
    with pytest.raises(DataError, match=said) as refused:
        load("audio", file=str(folder))
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"features": "mel"}, "data.options.features: .*logmel"),
        ({"features": "raw", "layout": "image"}, "data.options.layout: raw sound is a sequence"),
        ({"rate": 1}, "data.options.rate: must be from 100 to 400000"),
        ({"seconds": 0.0}, "data.options.seconds: must be a number of seconds above 0"),
        ({"mels": 300}, "data.options.mels: 300 bands are too narrow"),
    ],
)
def test_options_that_cannot_be_are_one_line(options, said, sounds):
    with pytest.raises(DataError, match=said):
        load("audio", **{"file": str(sounds()), **options})


def test_a_folder_of_other_files_says_what_to_do(tmp_path):
    (tmp_path / "sounds" / "a").mkdir(parents=True)
    (tmp_path / "sounds" / "a" / "one.mp3").write_bytes(b"x")
    with pytest.raises(DataError, match=r"has no sounds \(.wav .wave\); 1 .mp3 are there: convert them to WAV"):
        load("audio", file=str(tmp_path / "sounds"))


def test_sounds_that_no_memory_holds_are_refused_before_they_are_read(sounds, monkeypatch):
    monkeypatch.setattr("psutil.virtual_memory", lambda: SimpleNamespace(available=10**5))
    with pytest.raises(DataError, match=r"10 sounds of 1001 positions \(data.options.seconds cuts them\) take"):
        load("audio", file=str(sounds()), seconds=10.0)
