"""`unlocked data` of folders of images and sounds, and of arrays: what it says is true, and its configuration loads."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.io.wavfile
from PIL import Image

from unlocked.data.files.looking import kind_of, look_at
from unlocked.data.files.source import Source
from unlocked.tasks import load


@pytest.fixture
def looked(tmp_path, monkeypatch):
    """`looked(name)`: the kind of a file here, what was seen, and the set that its configuration loads."""
    monkeypatch.chdir(tmp_path)

    def look(name, **options):
        path = tmp_path / name
        kind = kind_of(path)
        found = look_at(Source(kind, tmp_path), path, kind, options)
        return kind, found, load(found.config["data"]["name"], **found.config["data"]["options"])

    return look


def test_a_folder_of_images_is_counted_and_copies_are_told(looked, tmp_path):
    for c, name in enumerate(("cat", "dog")):
        (tmp_path / "pictures" / name).mkdir(parents=True)
        for i in range(5):
            Image.new("L", (90 + i, 80), 10 * i + c).save(tmp_path / "pictures" / name / f"{i}.png")
    same = (tmp_path / "pictures" / "cat" / "0.png").read_bytes()
    (tmp_path / "pictures" / "dog" / "again.png").write_bytes(same)
    kind, look, data = looked("pictures")
    assert (kind, look.read_as) == ("images", "a folder for each class, grey, 8 bits")
    assert look.counts == {"images": 11, "classes": 2}
    assert look.tables["classes"] == [{"class": "cat", "files": 5}, {"class": "dog", "files": 6}]
    notes = " ".join(look.notes)
    for said in (
        "classes of fewer than 10 files: cat (5), dog (6)",
        "copies of other files: 1",
        "size=64 crops and scales",
    ):
        assert said in notes
    assert data.in_shape == (1, 64, 64)


def test_a_folder_of_sounds_is_measured(looked, tmp_path):
    for c, name in enumerate(("high", "low")):
        (tmp_path / "sounds" / name).mkdir(parents=True)
        for i in range(10):
            values = np.random.default_rng(i + 10 * c).integers(-999, 999, 8000 if i == 9 else 1000).astype(np.int16)
            scipy.io.wavfile.write(tmp_path / "sounds" / name / f"{i}.wav", 8000 if i else 4000, values)
    kind, look, data = looked("sounds", mels=8)
    assert (kind, look.counts) == ("audio", {"sounds": 20, "classes": 2})
    assert look.read_as.startswith("WAV, 4000 Hz, 8000 Hz, mono")
    assert data.in_shape[:2] == (1, 8)
    assert data.files is not None
    assert (data.files["rate"], data.files["samples"]) == (4000, 4000 * look.config["data"]["options"]["seconds"])


def test_arrays_are_listed_and_images_and_values_are_known_as_such(looked, tmp_path):
    y = np.arange(40) % 2
    np.savez(tmp_path / "grey.npz", x_train=np.zeros((40, 9, 8), np.uint8), y_train=y)
    kind, look, data = looked("grey.npz")
    assert (kind, data.in_shape, look.config["model"]["name"]) == ("arrays", (1, 9, 8), "cnn")
    assert look.tables["arrays"][0] == {"array": "x_train", "shape": "40 x 9 x 8", "of": "uint8"}
    assert look.tables["classes"] == [{"class": "0", "rows": 20}, {"class": "1", "rows": 20}]
    np.save(tmp_path / "x.npy", np.random.default_rng(0).normal(size=(40, 3)))
    np.save(tmp_path / "y.npy", np.array(["a", "b"])[y])
    assert looked("x.npy", y="y.npy")[1].tables["classes"] == [{"class": "a", "rows": 20}, {"class": "b", "rows": 20}]
    np.savez(tmp_path / "values.npz", x=np.random.default_rng(0).normal(size=(40, 3)), y=y + 0.5)
    _, look, data = looked("values.npz")
    assert (data.task, look.counts) == ("regression", {"arrays": 2, "rows": 40})
